#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void without_a_place_for_it(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, ERROR_IO, "lost"), -ERROR_IO);
    assert_true(error_prepend(NULL, "lost") < 0);
}

static void context_is_put_in_front(void **state)
{
    (void)state;
    struct error error = {0};

    assert_int_equal(error_set(&error, ERROR_PEER, "no answer from %s", "app"), -ERROR_PEER);
    assert_int_equal(error_prepend(&error, "upstream %d", 3), -ERROR_PEER);
    assert_string_equal(error.message, "upstream 3: no answer from app");
}

static void long_messages_are_cut(void **state)
{
    (void)state;
    struct error error = {0};
    char giant[3000];

    memset(giant, 'x', sizeof giant - 1);
    giant[sizeof giant - 1] = '\0';
    ignore(error_set(&error, ERROR_IO, "%s", giant));
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    ignore(error_prepend(&error, "context"));
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    assert_memory_equal(error.message, "context: xxx", 12);
    ignore(error_prepend(&error, "%s", giant));
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
}

static void names_are_unique_and_found(void **state)
{
    (void)state;
    for (int code = 1; code < ERROR_CODE_COUNT; code++)
        assert_int_equal(error_from_name(error_name((enum error_code)code)), code);
    assert_int_equal(error_from_name("no-such-code"), ERROR_NONE);
    assert_int_equal(error_from_name(""), ERROR_NONE);
    assert_string_equal(error_name((enum error_code)9999), "unknown");
    assert_int_equal(error_class((enum error_code)9999), ERROR_CLASS_INTERNAL);
}

static void exit_codes(void **state)
{
    (void)state;
    struct error error = {0};

    assert_int_equal(error_exit_code(&error), 0);
    error.code = ERROR_CONFIG;
    assert_int_equal(error_exit_code(&error), 2);
    error.code = ERROR_CERTIFICATE_EXPIRED;
    assert_int_equal(error_exit_code(&error), 6);
    error.code = ERROR_INTERNAL;
    assert_int_equal(error_exit_code(&error), 70);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_place_for_it),
        cmocka_unit_test(context_is_put_in_front),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(names_are_unique_and_found),
        cmocka_unit_test(exit_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
