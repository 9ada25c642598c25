/* session/board.h: sessions per source address, counted by several processes at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "session/board.h"

static int set_up(void **state)
{
    *state =
        mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return *state == MAP_FAILED;
}

static int tear_down(void **state)
{
    return munmap(*state, sizeof(struct board));
}

static void address(uint8_t ret_client[16], uint32_t number)
{
    memset(ret_client, 0, 16);
    memcpy(ret_client + 12, &number, sizeof number);
}

static void test_refuses_beyond_the_limit(void **state)
{
    struct board *board = *state;
    uint8_t client[16];

    address(client, 1);
    assert_true(board_source_acquire(board, 0, client, 2));
    assert_true(board_source_acquire(board, 0, client, 2));
    assert_false(board_source_acquire(board, 0, client, 2));
    assert_int_equal(board_source_count(board, 0, client), 2);
    board_source_release(board, 0, client);
    assert_true(board_source_acquire(board, 0, client, 2));
}

static void test_listeners_and_sources_are_apart(void **state)
{
    struct board *board = *state;
    uint8_t client[16], other[16];

    address(client, 1);
    address(other, 2);
    assert_true(board_source_acquire(board, 0, client, 1));
    assert_true(board_source_acquire(board, 1, client, 1));
    assert_true(board_source_acquire(board, 0, other, 1));
    assert_false(board_source_acquire(board, 0, client, 1));
    assert_int_equal(board_source_count(board, 2, client), 0);
}

static void test_a_release_too_many_changes_nothing(void **state)
{
    struct board *board = *state;
    uint8_t client[16];

    address(client, 9);
    board_source_release(board, 0, client);
    assert_int_equal(board_source_count(board, 0, client), 0);
    assert_true(board_source_acquire(board, 0, client, 1));
}

/* Many sources come and go; each is counted on its own, and afterwards the table is as free as
 * before. */
static void test_many_sources(void **state)
{
    struct board *board = *state;
    uint8_t client[16];
    const uint32_t sources = BOARD_SOURCES / 2;

    for (unsigned round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < sources; i++) {
            address(client, i);
            assert_true(board_source_acquire(board, 0, client, 1));
        }
        for (uint32_t i = 0; i < sources; i++) {
            address(client, i);
            assert_int_equal(board_source_count(board, 0, client), 1);
            board_source_release(board, 0, client);
        }
    }
    for (uint32_t i = 0; i < BOARD_SOURCES; i++)
        assert_int_equal(board->sources[i] & 0xffff, 0);
}

/* Four processes count the same source up and down: nothing is lost, the limit is never passed. */
static void test_processes_at_once(void **state)
{
    struct board *board = *state;
    uint8_t client[16];

    address(client, 5);
    for (unsigned i = 0; i < 4; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child != 0)
            continue;
        for (unsigned j = 0; j < 100000; j++) {
            if (!board_source_acquire(board, 0, client, 3))
                continue;
            if (board_source_count(board, 0, client) > 3)
                _exit(1);
            board_source_release(board, 0, client);
        }
        _exit(0);
    }
    for (unsigned i = 0; i < 4; i++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(board_source_count(board, 0, client), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refuses_beyond_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_listeners_and_sources_are_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_release_too_many_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_sources, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_processes_at_once, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
