/* The steps at which people are told of a certificate's end, for long and short lives. */
#include "watch/alerts/expiry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define HOUR INT64_C(3600)
#define DAY  (24 * HOUR)

static const struct expiry_rule automatic = {.manual = false}, manual = {.manual = true};

static struct expiry_life life_of(int64_t length)
{
    return (struct expiry_life){.not_before = 1000 * DAY, .not_after = 1000 * DAY + length};
}

/* The step so long before the end. */
static enum expiry_step before_end(const struct expiry_rule *rule, const struct expiry_life *life,
                                   int64_t left)
{
    return expiry_step(rule, life, life->not_after - left);
}

static void test_malformed_life(void **state)
{
    const struct expiry_life backwards = {.not_before = 2000, .not_after = 1000};
    (void)state;

    assert_int_equal(expiry_step(&automatic, &backwards, 1000), EXPIRY_OVER);
    assert_int_equal(expiry_step(&manual, &backwards, 999), EXPIRY_FINE);
}

static void test_automatic(void **state)
{
    struct expiry_life life = life_of(90 * DAY);
    (void)state;

    assert_int_equal(before_end(&automatic, &life, 31 * DAY), EXPIRY_FINE);
    assert_int_equal(before_end(&automatic, &life, 29 * DAY), EXPIRY_FINE); /* within the grace */
    assert_int_equal(before_end(&automatic, &life, 28 * DAY), EXPIRY_OVERDUE);
    assert_int_equal(before_end(&automatic, &life, 14 * DAY), EXPIRY_14_DAYS);
    assert_int_equal(before_end(&automatic, &life, 7 * DAY), EXPIRY_7_DAYS);
    assert_int_equal(before_end(&automatic, &life, DAY), EXPIRY_1_DAY);
    assert_int_equal(before_end(&automatic, &life, 1), EXPIRY_1_DAY);
    assert_int_equal(before_end(&automatic, &life, 0), EXPIRY_OVER);
}

static void test_suggested_window(void **state)
{
    struct expiry_life life = life_of(90 * DAY);
    (void)state;

    life.window_end = life.not_after - 60 * DAY; /* revoked in masses: renew now */
    assert_int_equal(before_end(&automatic, &life, 59 * DAY), EXPIRY_FINE);
    assert_int_equal(before_end(&automatic, &life, 58 * DAY), EXPIRY_OVERDUE);
    life.window_end = life.not_after + DAY; /* nonsense */
    assert_int_equal(before_end(&automatic, &life, 28 * DAY), EXPIRY_OVERDUE);
}

static void test_given_grace(void **state)
{
    const struct expiry_rule patient = {.grace_s = 10 * DAY};
    struct expiry_life life = life_of(90 * DAY);
    (void)state;

    assert_int_equal(before_end(&patient, &life, 21 * DAY), EXPIRY_FINE);
    assert_int_equal(before_end(&patient, &life, 20 * DAY), EXPIRY_OVERDUE);
}

static void test_manual(void **state)
{
    struct expiry_life life = life_of(398 * DAY);
    (void)state;

    assert_int_equal(before_end(&manual, &life, 31 * DAY), EXPIRY_FINE);
    assert_int_equal(before_end(&manual, &life, 30 * DAY), EXPIRY_NOTICE);
    assert_int_equal(before_end(&manual, &life, 14 * DAY), EXPIRY_14_DAYS);
}

static void test_short_lives(void **state)
{
    struct expiry_life month = life_of(45 * DAY), week = life_of(160 * HOUR);
    (void)state;

    assert_int_equal(before_end(&automatic, &month, 15 * DAY), EXPIRY_FINE);
    assert_int_equal(before_end(&automatic, &month, 14 * DAY), EXPIRY_OVERDUE);
    assert_int_equal(before_end(&automatic, &month, 7 * DAY), EXPIRY_14_DAYS);
    assert_int_equal(before_end(&automatic, &month, 12 * HOUR), EXPIRY_1_DAY);
    /* renewed at half of it */
    assert_int_equal(before_end(&automatic, &week, 80 * HOUR), EXPIRY_FINE);
    assert_int_equal(before_end(&automatic, &week, 76 * HOUR), EXPIRY_OVERDUE);
    assert_int_equal(before_end(&automatic, &week, 24 * HOUR), EXPIRY_14_DAYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed_life),   cmocka_unit_test(test_automatic),
        cmocka_unit_test(test_suggested_window), cmocka_unit_test(test_given_grace),
        cmocka_unit_test(test_manual),           cmocka_unit_test(test_short_lives)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
