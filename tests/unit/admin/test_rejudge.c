/* admin/rejudge.h: when sessions that are not accepted any more end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "admin/rejudge.h"
#include "base/clock.h"

#define SPREAD (600 * NS_PER_S)
#define NOW    (1000000 * NS_PER_S)

static void test_within_the_spread(void **state)
{
    uint64_t first = UINT64_MAX, last = 0;

    (void)state;
    for (uint64_t session = 1; session <= 1000; session++) {
        uint64_t due = rejudge_due(session, NOW, SPREAD);
        assert_in_range(due, NOW, NOW + SPREAD - 1);
        first = due < first ? due : first;
        last = due > last ? due : last;
    }
    assert_in_range(first, NOW, NOW + SPREAD / 10);
    assert_in_range(last, NOW + SPREAD - SPREAD / 10, NOW + SPREAD);
    assert_int_equal(rejudge_due(1, NOW, 0), NOW);
}

/* A list that is published each minute must not put off who was revoked by an earlier one. */
static void test_changes_put_nothing_off(void **state)
{
    (void)state;
    for (uint64_t session = 1; session <= 1000; session++) {
        uint64_t due = rejudge_due(session, NOW, SPREAD);
        for (uint64_t change = NOW; change <= due; change += 60 * NS_PER_S)
            assert_int_equal(rejudge_due(session, change, SPREAD), due);
        assert_int_equal(rejudge_due(session, due, SPREAD), due);
        assert_int_equal(rejudge_due(session, due + 1, SPREAD), due + SPREAD);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_within_the_spread),
        cmocka_unit_test(test_changes_put_nothing_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
