/* admin/log.h: outputs that are full, stuck, or gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/log.h"
#include "base/clock.h"

static struct loop *loop;
static struct log output;
static uint64_t dropped;

static int set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    loop = loop_new();
    dropped = 0;
    return loop == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    log_fini(&output);
    loop_free(loop);
    return 0;
}

static size_t write_lines(size_t count)
{
    char line[128];
    size_t bytes = 0;

    for (size_t i = 0; i < count; i++) {
        int size = snprintf(line, sizeof line, "{\"line\":%zu,\"padding\":\"%064d\"}\n", i, 0);
        log_write(&output, line, (size_t)size);
        bytes += (size_t)size;
    }
    return bytes;
}

static void stop(void *context)
{
    loop_stop(context, 0);
}

static void a_stuck_pipe_drops_and_counts_then_goes_on(void **state)
{
    static char taken[2 << 20];
    struct timer timer;
    size_t size = 0;
    ssize_t part;
    int fds[2];
    (void)state;

    assert_int_equal(pipe(fds), 0);
    log_init(&output, loop, fds[1], &dropped);
    assert_int_equal(fcntl(fds[1], F_GETFL) & O_NONBLOCK,
                     0); /* what the shell shares is left alone */
    for (int i = 0; i < 100; i++) {
        write_lines(100);
        log_flush(&output);
    }
    assert_true(output.waiting);
    assert_int_not_equal(dropped, 0);
    assert_in_range(output.pending.size, 1, LOG_PENDING_MAX);

    /* Room again: what was kept comes out, every line whole. */
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    while ((part = read(fds[0], taken + size, sizeof taken - size)) > 0 ||
           output.pending.size > 0) {
        size += part > 0 ? (size_t)part : 0;
        timer_init(&timer, stop, loop);
        timer_set(loop, &timer, clock_monotonic_ns() + NS_PER_MS);
        loop_run(loop);
    }
    assert_false(output.waiting);
    assert_int_equal(taken[size - 1], '\n');
    size_t lines = 0;
    for (const char *at = taken; at < taken + size;
         at = (const char *)memchr(at, '\n', size) + 1, lines++)
        assert_int_equal(strncmp(at, "{\"line\":", 8), 0);
    assert_int_equal(lines + dropped, 100 * 100);
    close(fds[0]);
    close(fds[1]);
}

static void a_full_disk_drops_and_counts(void **state)
{
    int full = open("/dev/full", O_WRONLY), terminal = dup(STDERR_FILENO),
        null = open("/dev/null", O_WRONLY);
    (void)state;

    dup2(null, STDERR_FILENO);
    log_init(&output, loop, full, &dropped);
    write_lines(10);
    log_flush(&output);
    dup2(terminal, STDERR_FILENO);
    assert_int_equal(dropped, 10);
    assert_int_equal(output.pending.size, 0);
    assert_true(output.warned);
    close(terminal);
    close(null);
    close(full);
}

static void a_vanished_reader_drops_and_counts(void **state)
{
    int fds[2], terminal = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);
    (void)state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    log_init(&output, loop, fds[1], &dropped);
    close(fds[0]);
    dup2(null, STDERR_FILENO);
    write_lines(3);
    log_flush(&output);
    dup2(terminal, STDERR_FILENO);
    assert_int_equal(dropped, 3);
    close(terminal);
    close(null);
    close(fds[1]);
}

static void a_stump_gets_an_end(void **state)
{
    char taken[64] = "";
    int fds[2];
    (void)state;

    assert_int_equal(pipe(fds), 0);
    log_init(&output, loop, fds[1], &dropped);
    output.mid_line = true; /* a disk that was full in the middle of a line has room again */
    log_write(&output, "{}\n", 3);
    log_flush(&output);
    assert_int_equal(read(fds[0], taken, sizeof taken), 4);
    assert_memory_equal(taken, "\n{}\n", 4);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_stuck_pipe_drops_and_counts_then_goes_on, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_drops_and_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_vanished_reader_drops_and_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stump_gets_an_end, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
