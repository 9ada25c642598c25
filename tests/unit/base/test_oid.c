/* base/oid.h: what is an object identifier, and what is none. */
#include "base/oid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"

static void none(void **state)
{
    static const char *const texts[] = {
        "",
        "1",
        "1.",
        ".1",
        "1..2",
        "1.2.",
        "3.1",
        "12.1",
        "0.40",
        "1.99",
        "1.02.3",
        "01.2",
        "1.2.x",
        "1.-2",
        "1.+2",
        "1 2 3",
        "1.2 ",
        " 1.2",
        "organisation",
        "2.5.29.32.0\n",
        "1.18446744073709551616",
        "2.1000000000.1000000000.1000000000.1000000000.1000000000.1000000" /* 64 characters */};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (oid_valid(texts[i]))
            fail_msg("'%s'", texts[i]);
    }
}

static void some(void **state)
{
    static const char *const texts[] = {
        "0.0",
        "1.39",
        "2.40",
        "2.999.1",
        "2.23.140.1.2.2",
        "2.5.29.32.0",
        "2.25.329800735698586629295641978511506172918",
        "2.1000000000.1000000000.1000000000.1000000000.1000000000.100000"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (!oid_valid(texts[i]))
            fail_msg("'%s'", texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none),
        cmocka_unit_test(some),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
