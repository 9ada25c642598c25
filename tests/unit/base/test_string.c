#include "base/string.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void copy_cuts(void **state)
{
    (void)state;
    char text[5] = "zzzz";

    assert_false(string_copy(text, sizeof text, "12345"));
    assert_string_equal(text, "1234");
    assert_true(string_copy(text, sizeof text, "1234"));
    assert_string_equal(text, "1234");
    assert_false(string_copy(text, 1, "a"));
    assert_string_equal(text, "");
    assert_false(string_copy(text, 0, ""));
}

static void printable_escapes(void **state)
{
    (void)state;
    char text[64];
    static const char hostile[] = "a\x1b[31m\"\\\n\x7f\xc3\xa4\0b";

    string_printable(text, sizeof text, hostile, sizeof hostile - 1);
    assert_string_equal(text, "a\\x1b[31m\\x22\\x5c\\x0a\\x7f\\xc3\\xa4\\x00b");
    assert_string_equal(string_printable(text, sizeof text, "", 0), "");
}

static void printable_is_cut(void **state)
{
    (void)state;
    char text[16];

    /* Every size ends within its bounds, terminated, and never in the middle of an escape. */
    for (size_t size = 1; size <= sizeof text; size++) {
        memset(text, 'Z', sizeof text);
        string_printable(text, size, "ab\x01\x02\x03\x04\x05\x06\x07", 9);
        size_t length = strlen(text);
        assert_true(length < size);
        for (size_t i = size; i < sizeof text; i++)
            assert_int_equal(text[i], 'Z');
        if (size >= 4)
            assert_true(string_ends_with(text, "…"));
    }
    assert_string_equal(string_printable(text, 6, "abcde", 5), "abcde");
    assert_string_equal(string_printable(text, 6, "abcdef", 6), "ab…");
    assert_string_equal(string_printable(text, 3, "abcdef", 6), "");
}

static void distance(void **state)
{
    (void)state;
    char giant[200];

    memset(giant, 'a', sizeof giant - 1);
    giant[sizeof giant - 1] = '\0';
    assert_int_equal(string_distance("", ""), 0);
    assert_int_equal(string_distance("", "abc"), 3);
    assert_int_equal(string_distance("listener", "listener"), 0);
    assert_int_equal(string_distance("listner", "listener"), 1);
    assert_int_equal(string_distance("lsitener", "listener"), 1);
    assert_int_equal(string_distance("upstream", "listener"), 6);
    assert_true(string_distance(giant, "a") > 10);
    assert_int_equal(string_distance(giant, giant), 0);
}

static void ends_and_starts(void **state)
{
    (void)state;
    assert_true(string_starts_with("unix:/x", "unix:"));
    assert_false(string_starts_with("uni", "unix:"));
    assert_true(string_ends_with("a.pem", ".pem"));
    assert_false(string_ends_with("pem", ".pem"));
    assert_true(string_ends_with("", ""));
}

static void lower_touches_ascii_only(void **state)
{
    (void)state;
    char text[] = "ExAmPlE-09.\xc3\x84";

    string_lower(text);
    assert_string_equal(text, "example-09.\xc3\x84");
}

static void hex_and_hash(void **state)
{
    (void)state;
    char text[9];
    static const uint8_t bytes[] = {0x00, 0x7f, 0xab, 0xff};

    string_hex(text, bytes, sizeof bytes);
    assert_string_equal(text, "007fabff");
    string_hex(text, bytes, 0);
    assert_string_equal(text, "");
    /* Published FNV-1a vectors. */
    assert_true(string_hash("") == 0xcbf29ce484222325ull);
    assert_true(string_hash("foobar") == 0x85944171f73967e8ull);
}

static void hex_is_read(void **state)
{
    (void)state;
    uint8_t bytes[3] = {0};

    assert_false(string_unhex(bytes, 3, ""));
    assert_false(string_unhex(bytes, 3, "00ff"));
    assert_false(string_unhex(bytes, 3, "00ff1"));
    assert_false(string_unhex(bytes, 3, "00ff1g"));
    assert_false(string_unhex(bytes, 3, "00fg10"));
    assert_true(string_unhex(bytes, 3, "00fFA9 what follows"));
    assert_memory_equal(bytes, "\x00\xff\xa9", 3);
    assert_true(string_unhex(bytes, 0, ""));
    for (int c = 0; c < 256; c++)
        assert_int_equal(string_hex_digit((char)c) >= 0, isxdigit(c) != 0);
}

static void for_people(void **state)
{
    (void)state;
    char text[32];

    assert_string_equal(string_duration(text, sizeof text, 0), "0 ms");
    assert_string_equal(string_duration(text, sizeof text, 999), "999 ms");
    assert_string_equal(string_duration(text, sizeof text, 3000), "3 s");
    assert_string_equal(string_duration(text, sizeof text, 12 * 60000), "12 min");
    assert_string_equal(string_duration(text, sizeof text, 5 * 3600000), "5 h");
    assert_string_equal(string_duration(text, sizeof text, 8ull * 86400000), "8 d");
    assert_string_equal(string_bytes(text, sizeof text, 17), "17 B");
    assert_string_equal(string_bytes(text, sizeof text, 1536), "1.5 KiB");
    assert_string_equal(string_bytes(text, sizeof text, 1048575), "1.0 MiB");
    assert_string_equal(string_bytes(text, sizeof text, UINT64_MAX), "16.0 EiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copy_cuts),        cmocka_unit_test(printable_escapes),
        cmocka_unit_test(printable_is_cut), cmocka_unit_test(distance),
        cmocka_unit_test(ends_and_starts),  cmocka_unit_test(lower_touches_ascii_only),
        cmocka_unit_test(hex_and_hash),     cmocka_unit_test(hex_is_read),
        cmocka_unit_test(for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
