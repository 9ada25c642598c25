#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void never_backwards(void **state)
{
    (void)state;
    uint64_t before = clock_monotonic_ns();

    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_monotonic_ns();
        assert_true(now >= before);
        before = now;
    }
    assert_true(clock_wall_ns() > 1600000000 * NS_PER_S);
}

static void text(void **state)
{
    (void)state;
    char destination[25];

    assert_string_equal(clock_rfc3339(destination, sizeof destination, 0),
                        "1970-01-01T00:00:00.000Z");
    assert_string_equal(
        clock_rfc3339(destination, sizeof destination, 1795233961 * NS_PER_S + 123999999),
        "2026-11-21T04:06:01.123Z");
    assert_string_equal(clock_rfc3339(destination, 5, 0), "1970");
}

static void seconds(void **state)
{
    (void)state;
    char destination[21];

    assert_string_equal(clock_rfc3339_seconds(destination, sizeof destination, 0),
                        "1970-01-01T00:00:00Z");
    assert_string_equal(clock_rfc3339_seconds(destination, sizeof destination, 1795233961),
                        "2026-11-21T04:06:01Z");
    assert_string_equal(clock_rfc3339_seconds(destination, sizeof destination, -1),
                        "1969-12-31T23:59:59Z");
    /* RFC 5280 §4.1.2.5: "no well-defined expiration date". */
    assert_string_equal(clock_rfc3339_seconds(destination, sizeof destination, 253402300799),
                        "9999-12-31T23:59:59Z");
    assert_string_equal(clock_rfc3339_seconds(destination, sizeof destination, INT64_MAX),
                        "9999-12-31T23:59:59Z");
    assert_string_equal(clock_rfc3339_seconds(destination, sizeof destination, INT64_MIN),
                        "0001-01-01T00:00:00Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_backwards),
        cmocka_unit_test(text),
        cmocka_unit_test(seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
