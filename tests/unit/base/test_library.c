/* base/library.h with libm, which is there wherever libc is. */
#include "base/library.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct mathematics {
    double (*ceiling)(double);
    double (*floor)(double);
};

static const struct library_function functions[] = {
    {"ceil", offsetof(struct mathematics, ceiling)},
    {"floor", offsetof(struct mathematics, floor)},
    {"holdfast", offsetof(struct mathematics, floor)},
};

static void a_missing_library_is_named_with_its_package(void **state)
{
    const struct library missing = {"libholdfast-none.so.1", "libholdfast-none1", functions, 2};
    struct mathematics loaded = {0};
    struct error error;

    (void)state;
    assert_int_equal(library_load(&loaded, &missing, &error), -ERROR_IO);
    assert_non_null(strstr(error.message, "libholdfast-none.so.1: cannot open"));
    assert_non_null(strstr(error.message, "libholdfast-none1"));
    assert_null(loaded.ceiling);
}

static void a_library_without_a_function_is_refused(void **state)
{
    const struct library other = {"libm.so.6", "libc6", functions, 3};
    struct mathematics loaded = {0};
    struct error error;

    (void)state;
    assert_int_equal(library_load(&loaded, &other, &error), -ERROR_IO);
    assert_non_null(strstr(error.message, "libm.so.6 without holdfast()"));
    assert_null(loaded.ceiling);
}

static void every_function_is_found(void **state)
{
    const struct library library = {"libm.so.6", "libc6", functions, 2};
    struct mathematics loaded = {0};
    struct error error;

    (void)state;
    assert_int_equal(library_load(&loaded, &library, &error), 0);
    assert_true(loaded.ceiling(2.5) == 3);
    assert_true(loaded.floor(2.5) == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_library_is_named_with_its_package),
        cmocka_unit_test(a_library_without_a_function_is_refused),
        cmocka_unit_test(every_function_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
