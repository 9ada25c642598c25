/* session/board.h: drains on the board, and when they close a session. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/clock.h"
#include "session/board.h"

static struct board *board;

static int set_up(void **state)
{
    (void)state;
    board = calloc(1, sizeof *board);
    return board == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    free(board);
    return 0;
}

static void a_zeroed_board_has_none(void **state)
{
    struct drain drain;
    (void)state;

    assert_false(board_drain_read(&board->drain, &drain));
    assert_int_equal(drain.begin_ns, 0);
    assert_true(board_accepts(board, 0, 1000));
    assert_true(board_accepts(board, BOARD_LISTENERS_MAX, 1000));
}

static void accepting_ends_with_the_notice(void **state)
{
    const struct drain house = {.begin_ns = 100, .accept_until_ns = 200, .end_ns = 300};
    const struct drain one = {.begin_ns = 100, .accept_until_ns = 100, .end_ns = 300};
    (void)state;

    board_drain_write(&board->listeners[3].drain, &one);
    assert_false(board_accepts(board, 3, 100));
    assert_true(board_accepts(board, 4, 100));
    board_drain_write(&board->drain, &house);
    assert_false(board_accepts(board, 3, 199));
    assert_true(board_accepts(board, 4, 199));
    assert_false(board_accepts(board, 4, 200));
    assert_false(board_accepts(board, BOARD_LISTENERS_MAX, 200));
    assert_false(board_accepts(board, 4, 5000)); /* when it is over, it still stands */
}

static void a_change_and_a_cancellation(void **state)
{
    const struct drain first = {.begin_ns = 1, .accept_until_ns = 1, .end_ns = 50};
    const struct drain second = {.begin_ns = 2, .accept_until_ns = 1, .end_ns = 70};
    struct drain drain;
    (void)state;

    board_drain_write(&board->drain, &first);
    board->drain.over = 1;
    board_drain_write(&board->drain, &second);
    assert_true(board_drain_read(&board->drain, &drain));
    assert_memory_equal(&drain, &second, sizeof drain);
    assert_int_equal(board->drain.over, 0);
    board->drain.current += 2; /* any number leads to one of the copies */
    assert_true(board_drain_read(&board->drain, &drain));
    board_drain_write(&board->drain, NULL);
    assert_false(board_drain_read(&board->drain, &drain));
    assert_true(board_accepts(board, 0, 60));
}

/* Each tenth of the time gets its share, in an order that has nothing to do with the serials. */
static void check_spread(const struct drain *drain, uint64_t from)
{
    uint32_t tenths[10] = {0};
    unsigned ascending = 0;
    uint64_t before = 0;

    for (uint64_t serial = 1; serial <= 10000; serial++) {
        uint64_t due = drain_due(drain, SESSION_ID(serial % 2, serial), 5);
        assert_true(due >= from && due < drain->end_ns);
        tenths[(due - from) / ((drain->end_ns - from) / 10 + 1)]++;
        ascending += due > before;
        before = due;
    }
    for (unsigned i = 0; i < 10; i++)
        assert_in_range(tenths[i], 800, 1200);
    assert_in_range(ascending, 4500, 5500);
}

static void sessions_end_evenly_over_the_time(void **state)
{
    static const uint64_t spans[] = {NS_PER_S, 600 * NS_PER_S, 7 * 86400 * NS_PER_S};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(spans); i++) {
        uint64_t now = 77 * NS_PER_S;
        struct drain drain = {.begin_ns = now,
                              .accept_until_ns = now + NS_PER_S,
                              .end_ns = now + NS_PER_S + spans[i]};
        check_spread(&drain, drain.accept_until_ns);
        drain.accept_until_ns = 5; /* changed when the notice was over long ago */
        check_spread(&drain, drain.begin_ns);
    }
}

static void those_who_are_left_are_spread_anew(void **state)
{
    struct drain first = {.begin_ns = 1000, .accept_until_ns = 1000, .end_ns = 1000 + NS_PER_S};
    struct drain second = first;
    unsigned early = 0, left = 0;
    (void)state;

    second.begin_ns = 1000 + NS_PER_S / 2;
    second.end_ns = second.begin_ns + NS_PER_S;
    for (uint64_t serial = 1; serial <= 10000; serial++) {
        if (drain_due(&first, serial, 0) < second.begin_ns)
            continue;
        left++;
        early += drain_due(&second, serial, 0) < second.begin_ns + NS_PER_S / 4;
    }
    assert_in_range(early * 100 / left, 20, 30);
}

static void late_ones_get_what_is_left(void **state)
{
    const struct drain drain = {.begin_ns = 1000, .accept_until_ns = 1000, .end_ns = 2000};
    const struct drain none = {.begin_ns = 1000, .accept_until_ns = 1000, .end_ns = 1000};
    (void)state;

    for (uint64_t serial = 1; serial < 1000; serial++) {
        assert_in_range(drain_due(&drain, serial, 1900), 1900, 1999);
        assert_int_equal(drain_due(&drain, serial, 2500), 2500); /* after the end: at once */
        assert_int_equal(drain_due(&none, serial, 10), 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_zeroed_board_has_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(accepting_ends_with_the_notice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_change_and_a_cancellation, set_up, tear_down),
        cmocka_unit_test(sessions_end_evenly_over_the_time),
        cmocka_unit_test(those_who_are_left_are_spread_anew),
        cmocka_unit_test(late_ones_get_what_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
