#include "base/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const headings[] = {"NAME", "DAYS", "WHAT", NULL};

static void rows(struct table *table)
{
    table_init(table, headings);
    table_cell(table, CELL_PLAIN, "shop");
    table_cell(table, CELL_RIGHT | CELL_BAD, "%d", 3);
    table_cell(table, CELL_PLAIN, "the certificate ends soon and nobody renews it");
    table_cell(table, CELL_PLAIN, "größer");
    table_cell(table, CELL_RIGHT, "%d", 80);
    table_cell(table, CELL_PLAIN, "%s", "");
}

static void printed(size_t width, bool colour, const char *expected)
{
    struct table table;
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    assert_non_null(stream);
    rows(&table);
    table_print_within(&table, stream, width, colour);
    table_fini(&table);
    assert_int_equal(fclose(stream), 0);
    assert_string_equal(text, expected);
    free(text);
}

static void columns_are_aligned(void **state)
{
    (void)state;
    printed(0, false,
            "NAME    DAYS  WHAT\n"
            "shop       3  the certificate ends soon and nobody renews it\n"
            "größer    80  \n");
}

static void the_last_column_is_broken_in_a_narrow_terminal(void **state)
{
    (void)state;
    printed(44, false,
            "NAME    DAYS  WHAT\n"
            "shop       3  the certificate ends soon and\n"
            "              nobody renews it\n"
            "größer    80  \n");
}

static void it_stands_beneath_in_a_very_narrow_one(void **state)
{
    (void)state;
    printed(36, false,
            "NAME    DAYS\n"
            "    WHAT\n"
            "shop       3\n"
            "    the certificate ends soon and\n"
            "    nobody renews it\n"
            "größer    80\n");
}

static void numbers_keep_their_colour(void **state)
{
    (void)state;
    printed(200, true,
            "NAME    DAYS  WHAT\n"
            "shop       \033[31m3\033[0m  the certificate ends soon and nobody renews it\n"
            "größer    80  \n");
}

static void nothing_is_printed_of_no_rows(void **state)
{
    (void)state;
    struct table table;
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    assert_non_null(stream);
    table_init(&table, headings);
    table_print_within(&table, stream, 80, true);
    assert_int_equal(table_rows(&table), 0);
    table_fini(&table);
    assert_int_equal(fclose(stream), 0);
    assert_string_equal(text, "");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_aligned),
        cmocka_unit_test(the_last_column_is_broken_in_a_narrow_terminal),
        cmocka_unit_test(it_stands_beneath_in_a_very_narrow_one),
        cmocka_unit_test(numbers_keep_their_colour),
        cmocka_unit_test(nothing_is_printed_of_no_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
