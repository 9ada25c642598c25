/* Places of attached sessions: what is said at one is never heard at the next that has it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "session/board.h"

static struct board *board;

static int make(void **state)
{
    (void)state;
    board = calloc(1, sizeof *board);
    return board == NULL ? -1 : 0;
}

static int destroy(void **state)
{
    (void)state;
    free(board);
    return 0;
}

static const struct board_attached what = {
    .owner = 100, .suite = 0xc023, .listener = 200, .reason = ATTACHED_SUITE};

static void a_home_is_of_its_session_only(void **state)
{
    const struct attached_home home = {.relay = 63, .slot = 0xffffff, .session = 7};
    struct attached_home read = {0};
    uint16_t place;
    uint64_t serial;

    (void)state;
    assert_true(board_attached_take(board, &what, &place, &serial));
    assert_false(board_attached_home(board, place, serial, &read));
    board_attached_set_home(board, place, serial + 1, &home);
    assert_false(board_attached_home(board, place, serial, &read));
    assert_false(board_attached_home(board, place, serial + 1, &read));
    board_attached_set_home(board, place, serial, &home);
    assert_true(board_attached_home(board, place, serial, &read));
    assert_int_equal(read.relay, home.relay);
    assert_int_equal(read.slot, home.slot);
    assert_int_equal(read.session, home.session);
    assert_false(board_attached_home(board, BOARD_ATTACHED, serial, &read));
    board_attached_give(board, place, serial);
}

static void a_word_is_heard_by_its_session_only(void **state)
{
    uint16_t place;
    uint64_t serial;
    struct board_attached read;

    (void)state;
    assert_true(board_attached_take(board, &what, &place, &serial));
    assert_int_equal(board_attached_said(board, place, serial), 0);
    board_attached_say(board, place, serial, ATTACHED_CLIENT_CLOSED);
    board_attached_say(board, place, serial, ATTACHED_LET_GO);
    board_attached_say(board, place, serial + 1, ATTACHED_CLIENT_RESET);
    assert_int_equal(board_attached_said(board, place, serial),
                     ATTACHED_CLIENT_CLOSED | ATTACHED_LET_GO);
    board_attached_say(board, place, serial, ATTACHED_RENEWAL);
    board_attached_unsay(board, place, serial, ATTACHED_RENEWAL);
    board_attached_unsay(board, place, serial + 1, ATTACHED_LET_GO);
    assert_int_equal(board_attached_said(board, place, serial),
                     ATTACHED_CLIENT_CLOSED | ATTACHED_LET_GO);
    assert_true(board_attached_read(board, place, serial, &read));
    assert_int_equal(read.suite, what.suite);
    assert_int_equal(read.listener, what.listener);
    board_attached_give(board, place, serial);
    assert_int_equal(board_attached_said(board, place, serial), 0);
    assert_false(board_attached_read(board, place, serial, &read));
    board_attached_say(board, place, serial, ATTACHED_CLIENT_RESET);
    assert_int_equal(board->attached[place].state, 0);
}

static void no_serial_means_no_session(void **state)
{
    struct board_attached read;

    (void)state;
    board_attached_say(board, 0, 0, ATTACHED_CLIENT_RESET);
    assert_int_equal(board->attached[0].state, 0);
    assert_false(board_attached_read(board, 0, 0, &read));
    board_attached_say(board, UINT16_MAX, 7, ATTACHED_CLIENT_RESET); /* beyond the last place */
    assert_int_equal(board_attached_said(board, UINT16_MAX, 7), 0);
}

static void the_dead_leave_their_places(void **state)
{
    struct board_attached other = what;
    uint32_t counts[ATTACHED_REASON_COUNT];
    uint16_t places[3];
    uint64_t serials[3];

    (void)state;
    other.owner = 101;
    other.reason = ATTACHED_POLICY;
    assert_true(board_attached_take(board, &what, &places[0], &serials[0]));
    assert_true(board_attached_take(board, &other, &places[1], &serials[1]));
    assert_true(board_attached_take(board, &what, &places[2], &serials[2]));
    board_attached_count(board, counts);
    assert_int_equal(counts[ATTACHED_SUITE], 2);
    assert_int_equal(counts[ATTACHED_POLICY], 1);
    board_attached_forget(board, 100);
    board_attached_count(board, counts);
    assert_int_equal(counts[ATTACHED_SUITE], 0);
    assert_int_equal(counts[ATTACHED_POLICY], 1);
    board_attached_say(board, places[0], serials[0], ATTACHED_LET_GO);
    assert_int_equal(board_attached_said(board, places[0], serials[0]), 0);
}

static void refuses_when_all_are_taken(void **state)
{
    uint16_t place = 0;
    uint64_t serial = 0;

    (void)state;
    for (unsigned i = 0; i < BOARD_ATTACHED; i++)
        assert_true(board_attached_take(board, &what, &place, &serial));
    uint16_t last = place;
    assert_false(board_attached_take(board, &what, &place, &serial));
    board_attached_give(board, last, serial);
    assert_true(board_attached_take(board, &what, &place, &serial));
    assert_int_equal(place, last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_home_is_of_its_session_only, make, destroy),
        cmocka_unit_test_setup_teardown(a_word_is_heard_by_its_session_only, make, destroy),
        cmocka_unit_test_setup_teardown(no_serial_means_no_session, make, destroy),
        cmocka_unit_test_setup_teardown(the_dead_leave_their_places, make, destroy),
        cmocka_unit_test_setup_teardown(refuses_when_all_are_taken, make, destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
