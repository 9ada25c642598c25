/* Quantities: what is refused, then what is understood, then what is shown. */
#include "base/quantity.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef int reader(double *ret_value, const char *text, struct error *error);

static void refuses(reader *read, const char *const *texts, const char *hint)
{
    for (; *texts != NULL; texts++) {
        struct error error = {0};
        double value = 42;
        assert_true(read(&value, *texts, &error) < 0);
        assert_true(value == 42);
        assert_int_equal(error.code, ERROR_USAGE);
        assert_non_null(strstr(error.message, hint));
        assert_non_null(strstr(error.message, "found \""));
    }
}

static void reads(reader *read, const char *text, double expected)
{
    struct error error = {0};
    double value;

    assert_int_equal(read(&value, text, &error), 0);
    assert_true(fabs(value - expected) <= fabs(expected) * 1e-12);
}

static void test_bytes(void **state)
{
    static const char *const wrong[] = {"",     "0",      "-1",     "k",   "1.5XB", "0x10",
                                        "nan",  "1e999",  "2^",     "1 2", "1kk",   " 1",
                                        "16k ", "10Gbit", "2^9999", "1/2", "10Gb",  NULL};
    (void)state;
    refuses(quantity_bytes, wrong, "16k, 1.5TB");
    reads(quantity_bytes, "1", 1);
    reads(quantity_bytes, "16k", 16384);
    reads(quantity_bytes, "16KiB", 16384);
    reads(quantity_bytes, "16kB", 16000);
    reads(quantity_bytes, "1.5TB", 1.5e12);
    reads(quantity_bytes, "4 GiB", 4.0 * 1024 * 1024 * 1024);
    reads(quantity_bytes, "2^37", exp2(37));
    reads(quantity_bytes, "1e12", 1e12);
    reads(quantity_bytes, "3e", 3 * exp2(60));
}

static void test_rates(void **state)
{
    static const char *const wrong[] = {
        "",    "10",    "10Gbit",    "10G/",   "0Gbit/s", "Gbit/s", "10Gbps/s", "10Gbit/fortnight",
        "1TB", "1/s/s", "10 gbit s", "10Gb/s", "5MBps",   NULL};
    (void)state;
    refuses(quantity_rate, wrong, "10Gbit/s");
    reads(quantity_rate, "10Gbit/s", 1.25e9);
    reads(quantity_rate, "10 Gbit/s", 1.25e9);
    reads(quantity_rate, "100Mbps", 12.5e6);
    reads(quantity_rate, "2MB/s", 2e6);
    reads(quantity_rate, "1TB/day", 1e12 / 86400);
    reads(quantity_rate, "1k/min", 1024.0 / 60);
}

static void test_probabilities(void **state)
{
    static const char *const wrong[] = {"",    "0",       "-1",   "1.5",   "2",
                                        "2^1", "2^-1001", "2^-x", "1/0.5", "nan",
                                        "1e",  "1e-400",  "1/",   "60",    NULL};
    (void)state;
    refuses(quantity_probability, wrong, "2^-60");
    reads(quantity_probability, "2^-60", -60);
    reads(quantity_probability, "0.5", -1);
    reads(quantity_probability, "1", 0);
    reads(quantity_probability, "1/1024", -10);
    reads(quantity_probability, "10^-3", -3 * log2(10));
}

static void test_shown(void **state)
{
    char text[QUANTITY_TEXT_MAX];
    (void)state;

    assert_string_equal(quantity_show_bytes(text, 387.7e9), "388 GB");
    assert_string_equal(quantity_show_bytes(text, 999.9e9), "1 TB");
    assert_string_equal(quantity_show_bytes(text, 12.4e12), "12.4 TB");
    assert_string_equal(quantity_show_bytes(text, 5), "5 B");
    assert_string_equal(quantity_show_bytes(text, INFINITY), "no limit");
    assert_string_equal(quantity_show_binary(text, exp2(35)), "32 GiB");
    assert_string_equal(quantity_show_binary(text, exp2(68)), "256 EiB");
    assert_string_equal(quantity_show_binary(text, exp2(70)), "1024 EiB");
    assert_string_equal(quantity_show_time(text, 310), "5.17 min");
    assert_string_equal(quantity_show_time(text, 0.5), "500 ms");
    assert_string_equal(quantity_show_time(text, 3101 * 24.0), "20.7 h");
    assert_string_equal(quantity_show_time(text, 1e18), "3.17e+10 years");
    assert_string_equal(quantity_show_time(text, INFINITY), "for ever");
    assert_string_equal(quantity_show_count(text, 42), "42");
    assert_string_equal(quantity_show_count(text, 0.003), "under 1");
    assert_string_equal(quantity_show_count(text, exp2(24.5)), "2^24.5");
    assert_string_equal(quantity_show_count(text, INFINITY), "no limit");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_probabilities),
        cmocka_unit_test(test_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
