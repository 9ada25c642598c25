/* When a target is checked next. */
#include "watch/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void test_schedule(void **state)
{
    const struct schedule_result same = {0}, changed = {.changed = true}, failing = {.failures = 3};
    (void)state;

    assert_int_equal(schedule_first(60000, UINT64_MAX, 0, 1), 0);
    assert_int_equal(schedule_first(60000, 20000, 0, 1), 40000);
    assert_int_equal(schedule_first(60000, 70000, 0, 1), 0);
    assert_int_equal(schedule_first(900000, UINT64_MAX, 9999, 10000), 500000 * 9999ull / 10000);
    for (uint64_t chance = 0; chance < 100000; chance += 777) {
        uint64_t next = schedule_next(60000, &same, chance);
        assert_true(next >= 54000 && next <= 66000);
        next = schedule_next(60000, &changed, chance);
        assert_true(next >= 13500 && next <= 16500);
        next = schedule_next(60000, &failing, chance);
        assert_true(next >= 432000 && next <= 528000);
        next = schedule_next(1000, &changed, chance);
        assert_true(next >= 900 && next <= 1100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
