/* admin/peers.h: a worker that does not read, one that is replaced, one that is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/peers.h"
#include "base/clock.h"
#include "ipc/memory.h"

#define MESSAGES 3000

static struct loop *loop;
static struct message *message;
static struct peers peers;
static unsigned received, ended;

static void on_message(void *context, struct peer *peer, struct message *incoming)
{
    (void)context;
    assert_int_equal(peer->index, 1);
    assert_int_equal(incoming->type, MESSAGE_CERTIFICATE_LIVE);
    received++;
}

static void on_ended(void *context, struct peer *peer)
{
    (void)context, (void)peer;
    ended++;
}

static int set_up(void **state)
{
    (void)state;
    loop = loop_new();
    message = malloc(sizeof *message);
    peers_init(&peers, loop, message, on_message, on_ended, NULL);
    received = ended = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    peers_fini(&peers);
    loop_free(loop);
    free(message);
    return 0;
}

static void stop(void *context)
{
    loop_stop(context, 0);
}

static void run_shortly(void)
{
    struct timer timer;

    timer_init(&timer, stop, loop);
    timer_set(loop, &timer, clock_monotonic_ns() + NS_PER_MS);
    loop_run(loop);
    timer_cancel(loop, &timer);
}

static void nobody_there(void **state)
{
    (void)state;
    assert_null(peers_find(&peers, PROCESS_CONTROL, 0));
    assert_null(peers_find(&peers, PROCESS_RELAY, BOARD_WORKERS_MAX));
    assert_false(peer_send(peers_find(&peers, PROCESS_RELAY, 0), MESSAGE_ADDRESS, "x", 1, -1));
}

static void what_does_not_fit_arrives_later_in_order(void **state)
{
    struct peer *peer = peers_find(&peers, PROCESS_HANDSHAKER, 1);
    struct message *incoming = malloc(sizeof *incoming);
    int fds[2], document = memory_document("test", "pem", 3);
    uint32_t expected = 0;
    (void)state;

    assert_true(channel_pair(fds, 65536));
    assert_true(peer_connect(peer, fds[0]));
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct message_certificate body = {.version = i};
        assert_true(
            peer_send(peer, MESSAGE_CERTIFICATE, &body, sizeof body, i % 100 == 0 ? document : -1));
    }
    assert_int_not_equal(peer->queued, 0);
    close(document); /* the queue holds its own */
    while (expected < MESSAGES) {
        if (channel_receive(fds[1], incoming) != CHANNEL_DONE) {
            run_shortly();
            continue;
        }
        struct message_certificate body;
        memcpy(&body, incoming->body, sizeof body);
        assert_int_equal(body.version, expected);
        assert_int_equal(incoming->fd_count, expected % 100 == 0);
        message_fini(incoming);
        expected++;
    }
    assert_int_equal(peer->queued, 0);
    run_shortly();
    assert_false(peer->waiting);
    close(fds[1]);
    free(incoming);
}

static void a_replaced_peer_starts_afresh(void **state)
{
    struct peer *peer = peers_find(&peers, PROCESS_HANDSHAKER, 1);
    struct message_certificate_live live = {.request = 1};
    int first[2], second[2];
    (void)state;

    assert_true(channel_pair(first, 65536));
    assert_true(channel_pair(second, 65536));
    assert_true(peer_connect(peer, first[0]));
    for (int i = 0; i < MESSAGES; i++)
        assert_true(peer_send(peer, MESSAGE_CERTIFICATE, &live, sizeof live, -1));
    assert_true(peer_connect(peer, second[0]));
    assert_int_equal(ended, 1);
    assert_int_equal(peer->queued, 0);
    assert_int_equal(channel_send(second[1], MESSAGE_CERTIFICATE_LIVE, &live, sizeof live, NULL, 0),
                     CHANNEL_DONE);
    run_shortly();
    assert_int_equal(received, 1);
    close(second[1]);
    run_shortly();
    assert_int_equal(ended, 2);
    assert_int_equal(peer->fd, -1);
    close(first[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_does_not_fit_arrives_later_in_order, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_replaced_peer_starts_afresh, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
