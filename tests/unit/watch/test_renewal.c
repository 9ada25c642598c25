/* When a renewal is due, and when it is late. */
#include "watch/renewal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define HOUR  INT64_C(3600)
#define DAY   (24 * HOUR)
#define START (20000 * DAY)

static void test_odd_lives(void **state)
{
    (void)state;
    assert_int_equal(renewal_due(START, START - DAY, 0), START - DAY);
    assert_int_equal(renewal_grace(START, START - DAY), HOUR);
    assert_int_equal(renewal_due(START, START, 0), START);
}

static void test_due(void **state)
{
    (void)state;
    assert_int_equal(renewal_due(START, START + 90 * DAY, 0), START + 60 * DAY);
    assert_int_equal(renewal_due(START, START + 6 * DAY, 0), START + 3 * DAY);
    assert_int_equal(renewal_due(START, START + 10 * DAY, 0), START + 10 * DAY - 10 * DAY / 3);
}

static void test_window(void **state)
{
    (void)state;
    assert_int_equal(renewal_due(START, START + 90 * DAY, START + 30 * DAY), START + 30 * DAY);
    assert_int_equal(renewal_due(START, START + 90 * DAY, START + 91 * DAY), START + 60 * DAY);
}

static void test_grace(void **state)
{
    (void)state;
    assert_int_equal(renewal_grace(START, START + DAY), HOUR);
    assert_int_equal(renewal_grace(START, START + 50 * DAY), DAY);
    assert_int_equal(renewal_grace(START, START + 398 * DAY), 3 * DAY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_odd_lives), cmocka_unit_test(test_due),
                                       cmocka_unit_test(test_window), cmocka_unit_test(test_grace)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
