/* session/board.h: numbers, sums, histograms, and the event rings as a writer and control see them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "conf/conf.h"
#include "ipc/ring.h"
#include "session/board.h"
#include "tls/leg.h"

struct world {
    struct board *board;
    void *events;
    int notify_fd;
    struct event_writer writer;
};

#define WORKER 5

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);

    world->board = calloc(1, sizeof *world->board);
    world->events = aligned_alloc(64, events_size());
    memset(world->events, 0, events_size());
    world->notify_fd = eventfd(0, EFD_NONBLOCK);
    events_init(world->events);
    event_writer_init(&world->writer, world->events, WORKER, world->notify_fd, world->board);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    close(world->notify_fd);
    free(world->events);
    free(world->board);
    free(world);
    return 0;
}

static bool notified(const struct world *world)
{
    uint64_t count;
    return read(world->notify_fd, &count, sizeof count) == (ssize_t)sizeof count;
}

static void worker_numbers_are_distinct(void **state)
{
    bool used[BOARD_PROCESSES] = {false};
    (void)state;

    assert_int_equal(board_worker_number(PROCESS_SUPERVISOR, 0), 0);
    assert_int_equal(board_worker_number(PROCESS_CONTROL, 0), 1);
    for (unsigned i = 0; i < BOARD_WORKERS_MAX; i++) {
        unsigned handshaker = board_worker_number(PROCESS_HANDSHAKER, i),
                 relay = board_worker_number(PROCESS_RELAY, i);
        assert_in_range(handshaker, 2, BOARD_PROCESSES - 1);
        assert_in_range(relay, 2, BOARD_PROCESSES - 1);
        assert_false(used[handshaker]);
        used[handshaker] = true;
        assert_false(used[relay]);
        used[relay] = true;
    }
}

static void every_name_is_there(void **state)
{
    (void)state;
    for (int i = 0; i < COUNTER_COUNT; i++)
        assert_non_null(counter_facts[i].help);
    for (int i = 0; i < HISTOGRAM_COUNT; i++)
        assert_non_null(histogram_facts[i].name);
    for (int i = 0; i < EVENT_TYPE_COUNT; i++)
        assert_string_not_equal(event_name((enum event_type)i), "unknown");
    assert_string_equal(event_name(EVENT_TYPE_COUNT), "unknown");
    assert_string_equal(process_kind_name(PROCESS_KIND_COUNT), "unknown");
    assert_true(event_is_rare(EVENT_CERTIFICATE_REFUSED));
    assert_false(event_is_rare(EVENT_SESSION_CLOSED));
}

static void histogram_buckets_have_inclusive_upper_bounds(void **state)
{
    static const struct {
        uint64_t duration_us;
        unsigned bucket;
    } cases[] = {{0, 0},
                 {1, 0},
                 {64, 0},
                 {65, 1},
                 {128, 1},
                 {129, 2},
                 {256, 2},
                 {257, 3},
                 {64ull << 30, 30},
                 {(64ull << 30) + 1, 31},
                 {UINT64_MAX / 2, 31}};
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct board_histogram histogram = {.count = 0};
        board_observe(&histogram, cases[i].duration_us);
        assert_int_equal(histogram.buckets[cases[i].bucket], 1);
        assert_int_equal(histogram.count, 1);
        assert_int_equal(histogram.sum_us, cases[i].duration_us);
    }
}

static void sums_cover_all_processes(void **state)
{
    struct world *world = *state;

    world->board->processes[0].counters[COUNTER_ACCEPTED] = 1;
    world->board->processes[BOARD_PROCESSES - 1].counters[COUNTER_ACCEPTED] = 2;
    assert_int_equal(board_sum(world->board, COUNTER_ACCEPTED), 3);
    world->board->servers[7].sessions[0] = 4;
    world->board->servers[7].sessions[BOARD_WORKERS_MAX - 1] = 5;
    assert_int_equal(board_server_sessions(world->board, 7), 9);
    assert_int_equal(board_server_sessions(world->board, BOARD_SERVERS_MAX), 0);
    world->board->listeners[0].connections[3] = 6;
    assert_int_equal(board_listener_connections(world->board, 0), 6);
    assert_int_equal(board_listener_connections(world->board, BOARD_LISTENERS_MAX), 0);
}

static void an_event_begins_with_nothing_known(void **state)
{
    struct world *world = *state;
    struct event *event = event_begin(&world->writer, EVENT_HANDSHAKE_FAILED);

    assert_non_null(event);
    assert_int_equal(event->type, EVENT_HANDSHAKE_FAILED);
    assert_int_equal(event->worker, WORKER);
    assert_int_not_equal(event->wall_ns, 0);
    assert_int_equal(event->listener, EVENT_NO_INDEX);
    assert_int_equal(event->server, EVENT_NO_INDEX);
    assert_int_equal(event->certificate, CONF_NONE);
    assert_int_equal(event->alert_sent, ALERT_NONE);
    assert_int_equal(event->alert_received, ALERT_NONE);
    assert_string_equal(event->detail, "");
}

static void control_is_woken_once_per_batch(void **state)
{
    struct world *world = *state;

    event_flush(&world->writer);
    assert_false(notified(world));
    for (int i = 0; i < 3; i++) {
        assert_non_null(event_begin(&world->writer, EVENT_WARNING));
        event_end(&world->writer, EVENT_WARNING);
    }
    event_flush(&world->writer);
    assert_true(notified(world));
    event_flush(&world->writer);
    assert_false(notified(world));
    assert_non_null(ring_peek(events_ring(world->events, WORKER, true), sizeof(struct event),
                              EVENT_RARE_CAPACITY));
    assert_null(ring_peek(events_ring(world->events, WORKER, false), sizeof(struct event),
                          EVENT_BULK_CAPACITY));
    assert_null(ring_peek(events_ring(world->events, WORKER + 1, true), sizeof(struct event),
                          EVENT_RARE_CAPACITY));
}

static void a_flood_is_counted_and_leaves_room_for_rare_events(void **state)
{
    struct world *world = *state;
    unsigned written = 0;

    for (int i = 0; i < 2 * EVENT_BULK_CAPACITY; i++) {
        if (event_begin(&world->writer, EVENT_SESSION_CLOSED) == NULL)
            continue;
        event_end(&world->writer, EVENT_SESSION_CLOSED);
        written++;
    }
    assert_in_range(written, EVENT_BULK_CAPACITY - 1, EVENT_BULK_CAPACITY);
    assert_int_equal(world->board->processes[WORKER].counters[COUNTER_EVENTS_DROPPED],
                     2 * EVENT_BULK_CAPACITY - written);
    assert_non_null(event_begin(&world->writer, EVENT_CERTIFICATE_REFUSED));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worker_numbers_are_distinct),
        cmocka_unit_test(every_name_is_there),
        cmocka_unit_test(histogram_buckets_have_inclusive_upper_bounds),
        cmocka_unit_test_setup_teardown(sums_cover_all_processes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_event_begins_with_nothing_known, set_up, tear_down),
        cmocka_unit_test_setup_teardown(control_is_woken_once_per_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flood_is_counted_and_leaves_room_for_rare_events, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
