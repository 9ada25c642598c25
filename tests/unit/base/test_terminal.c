#include "base/terminal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void wrapped(const char *text, size_t indent, size_t width, const char *expected)
{
    char *written = NULL;
    size_t size;
    FILE *stream = open_memstream(&written, &size);

    assert_non_null(stream);
    terminal_wrap(stream, text, indent, width);
    assert_int_equal(fclose(stream), 0);
    assert_string_equal(written, expected);
    free(written);
}

static void lines_are_broken_between_words(void **state)
{
    (void)state;
    wrapped("", 2, 10, "");
    wrapped("one two three", 0, 0, "one two three");
    wrapped("one two three", 0, 13, "one two three");
    wrapped("one two three", 0, 12, "one two\nthree");
    wrapped("one two three", 4, 12, "one two\n    three");
    wrapped("a-word-that-is-too-long for it", 4, 12, "a-word-that-is-too-long\n    for it");
}

static void a_character_is_one_column(void **state)
{
    (void)state;
    assert_int_equal(terminal_columns("größer → …"), 10);
    wrapped("öö öö öö", 0, 8, "öö öö öö");
}

static void a_file_is_no_terminal(void **state)
{
    (void)state;
    FILE *stream = fopen("/dev/null", "we");

    assert_non_null(stream);
    assert_int_equal(terminal_width(stream), 0);
    assert_int_equal(terminal_reading_width(stream, 77), 77);
    assert_int_equal(fclose(stream), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_broken_between_words),
        cmocka_unit_test(a_character_is_one_column),
        cmocka_unit_test(a_file_is_no_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
