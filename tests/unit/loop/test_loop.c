#include "loop/loop.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

static struct loop *loop;
static int pair[2];
static char trace[256];   /* what happened, one letter each */
static char letters[128]; /* contexts to be told apart */
static uint64_t last_tag;
static unsigned last_events;

static int setup(void **state)
{
    (void)state;
    trace[0] = '\0';
    for (size_t i = 0; i < sizeof letters; i++)
        letters[i] = (char)i;
    loop = loop_new();
    return loop != NULL && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    close(pair[0]);
    close(pair[1]);
    loop_free(loop);
    loop_free(NULL);
    return 0;
}

static void note(char letter)
{
    size_t length = strlen(trace);

    assert_true(length + 1 < sizeof trace);
    trace[length] = letter;
    trace[length + 1] = '\0';
}

static void on_event(void *context, uint64_t tag, unsigned events)
{
    note(*(const char *)context);
    last_tag = tag;
    last_events = events;
    loop_stop(loop, 7);
}

static void on_batch(void *context)
{
    note(*(const char *)context);
}

static void on_timer(void *context)
{
    note(*(const char *)context);
    loop_stop(loop, 3);
}

static void unwatchable_descriptors(void **state)
{
    (void)state;
    uint8_t handler = loop_handler(loop, on_event, &letters['e']);

    assert_false(loop_watch(loop, -1, LOOP_READ, handler, 0));
    assert_false(loop_change(loop, pair[0], LOOP_READ, handler, 0));
    assert_true(loop_watch(loop, pair[0], LOOP_READ, handler, 0));
    assert_true(loop_watch(loop, pair[0], LOOP_READ, handler, 0)); /* changed instead */
    loop_unwatch(loop, pair[0]);
    loop_unwatch(loop, pair[0]);
}

static void tag_and_handler_arrive_whole(void **state)
{
    (void)state;
    const uint64_t tag = (1ull << 48) - 1;
    uint8_t last = 0;

    while (last < LOOP_HANDLER_FIXED - 1)
        last = loop_handler(loop, on_event, &letters['x']);
    loop_handler_fixed(loop, 255, on_event, &letters['e']);
    assert_true(loop_watch(loop, pair[0], LOOP_READ, 255, tag));
    assert_int_equal(write(pair[1], "a", 1), 1);
    assert_int_equal(loop_run(loop), 7);
    assert_string_equal(trace, "e");
    assert_true(last_tag == tag);
    assert_int_equal(last_events, LOOP_READ);
}

/* Another process watches, ends, and leaves its watches: they go on as long as the descriptor is
 * open somewhere. One whose handler is unknown here is passed over. */
static void watches_outlive_their_process(void **state)
{
    (void)state;
    int watches = loop_watches_new();
    pid_t other = fork();

    assert_true(watches >= 0 && other >= 0);
    if (other == 0) {
        struct loop *theirs = loop_new();
        int one = dup(pair[0]), two = dup(pair[0]);
        loop_use_watches(theirs, watches);
        _exit(loop_watch(theirs, one, LOOP_READ | LOOP_EDGE, 201, 77) &&
                      loop_watch(theirs, two, LOOP_READ | LOOP_EDGE, 202, 78)
                  ? 0
                  : 1);
    }
    int status;
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(status, 0);
    loop_use_watches(loop, watches);
    loop_handler_fixed(loop, 201, on_event, &letters['e']);
    assert_int_equal(write(pair[1], "a", 1), 1);
    assert_int_equal(loop_run(loop), 7);
    assert_string_equal(trace, "e");
    assert_int_equal(last_tag, 77);
}

static void interest_is_changed(void **state)
{
    (void)state;
    uint8_t handler = loop_handler(loop, on_event, &letters['e']);

    assert_true(loop_watch(loop, pair[0], LOOP_READ, handler, 1));
    assert_true(loop_change(loop, pair[0], LOOP_WRITE, handler, 2));
    assert_int_equal(loop_run(loop), 7);
    assert_int_equal(last_events, LOOP_WRITE);
    assert_int_equal(last_tag, 2);
}

static void half_close_and_full_close(void **state)
{
    (void)state;
    uint8_t handler = loop_handler(loop, on_event, &letters['e']);

    assert_true(loop_watch(loop, pair[0], LOOP_READ | LOOP_HANGUP, handler, 0));
    shutdown(pair[1], SHUT_WR);
    loop_run(loop);
    assert_int_equal(last_events, LOOP_READ | LOOP_HANGUP);
    /* An error or a full close is reported whatever was asked for, and to reader and writer alike.
     */
    assert_true(loop_change(loop, pair[0], 0, handler, 0));
    shutdown(pair[0], SHUT_WR);
    loop_run(loop);
    assert_int_equal(last_events, LOOP_READ | LOOP_WRITE | LOOP_ERROR);
}

static void edge_reports_once(void **state)
{
    (void)state;
    struct timer timer;
    uint8_t handler = loop_handler(loop, on_event, &letters['e']);

    assert_true(loop_watch(loop, pair[0], LOOP_READ | LOOP_EDGE, handler, 0));
    assert_int_equal(write(pair[1], "a", 1), 1);
    loop_run(loop);
    timer_init(&timer, on_timer, &letters['t']);
    timer_set(loop, &timer, loop_now(loop) + NS_PER_MS);
    assert_int_equal(loop_run(loop), 3);
    assert_string_equal(trace, "et");
}

static void timers_fire_in_order(void **state)
{
    (void)state;
    struct timer first, second, cancelled;

    timer_init(&first, on_batch, &letters['1']);
    timer_init(&second, on_timer, &letters['2']);
    timer_init(&cancelled, on_batch, &letters['x']);
    uint64_t now = loop_now(loop);
    timer_set(loop, &second, now + 3 * NS_PER_MS);
    timer_set(loop, &first, now + 30 * NS_PER_S);
    timer_set(loop, &first, now + NS_PER_MS);
    timer_set(loop, &cancelled, now + 2 * NS_PER_MS);
    timer_cancel(loop, &cancelled);
    assert_int_equal(loop_run(loop), 3);
    assert_string_equal(trace, "12");
    assert_true(loop_now(loop) >= now + 3 * NS_PER_MS);
}

static void hooks_run_after_events_and_timers(void **state)
{
    (void)state;
    struct timer timer;
    uint8_t handler = loop_handler(loop, on_event, &letters['e']);

    timer_init(&timer, on_timer, &letters['t']);
    timer_set(loop, &timer, loop_now(loop));
    loop_after_batch(loop, on_batch, &letters['a']);
    loop_after_batch(loop, on_batch, &letters['b']);
    assert_true(loop_watch(loop, pair[0], LOOP_WRITE, handler, 0));
    loop_run(loop);
    assert_string_equal(trace, "etab");
}

static void count_down(void *context)
{
    unsigned *left = context;

    if (--*left == 0)
        loop_stop(loop, 5);
    else
        loop_again(loop);
}

static void again_does_not_wait(void **state)
{
    (void)state;
    unsigned left = 100;

    /* Nothing is watched and no timer runs: a loop that waited would wait for ever. */
    loop_after_batch(loop, count_down, &left);
    loop_again(loop);
    assert_int_equal(loop_run(loop), 5);
    assert_int_equal(left, 0);
}

static void on_signal(void *context, int number)
{
    (void)context;
    note(number == SIGUSR1 ? '1' : '2');
    if (strlen(trace) == 2)
        loop_stop(loop, 0);
}

static void signals_come_through_the_loop(void **state)
{
    (void)state;
    assert_true(loop_signal(loop, SIGUSR1, on_signal, NULL));
    assert_true(loop_signal(loop, SIGUSR2, on_signal, NULL));
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    assert_int_equal(kill(getpid(), SIGUSR2), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_string_equal(trace, "12");
}

static void on_first_of_two(void *context, uint64_t tag, unsigned events)
{
    (void)context;
    (void)events;
    /* Both descriptors are in this batch; the second event still comes although we stop watching it
     * now. */
    note((char)('0' + tag));
    loop_unwatch(loop, pair[0]);
    loop_unwatch(loop, pair[1]);
    loop_stop(loop, 0);
}

static void events_of_a_closed_descriptor_keep_their_tag(void **state)
{
    (void)state;
    uint8_t handler = loop_handler(loop, on_first_of_two, NULL);
    assert_true(loop_watch(loop, pair[0], LOOP_WRITE, handler, 1));
    assert_true(loop_watch(loop, pair[1], LOOP_WRITE, handler, 2));
    loop_run(loop);
    assert_string_equal(trace, "12");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(unwatchable_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(tag_and_handler_arrive_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(watches_outlive_their_process, setup, teardown),
        cmocka_unit_test_setup_teardown(interest_is_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(half_close_and_full_close, setup, teardown),
        cmocka_unit_test_setup_teardown(edge_reports_once, setup, teardown),
        cmocka_unit_test_setup_teardown(timers_fire_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(hooks_run_after_events_and_timers, setup, teardown),
        cmocka_unit_test_setup_teardown(again_does_not_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(signals_come_through_the_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(events_of_a_closed_descriptor_keep_their_tag, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
