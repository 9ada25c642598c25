/* loop/socket_counters.h: what the kernel knows of a stream that nobody wrote down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop/socket_counters.h"

#define ROUNDS 200u

static void connect_pair(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM, 0);

    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(connect(fds[0], (struct sockaddr *)&address, size), 0);
    fds[1] = accept(listening, NULL, NULL);
    assert_true(fds[1] >= 0);
    close(listening);
}

static struct socket_counters count(int fd)
{
    struct socket_counters counters;

    assert_true(socket_counters(fd, &counters));
    return counters;
}

static void test_not_a_tcp_socket(void **state)
{
    struct socket_counters counters;
    int fds[2];
    (void)state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_false(socket_counters(fds[0], &counters));
    assert_false(socket_counters(-1, &counters));
    close(fds[0]);
    close(fds[1]);
}

static void test_a_reset_is_told(void **state)
{
    struct linger abort = {.l_onoff = 1};
    int fds[2];
    char byte;
    (void)state;

    connect_pair(fds);
    assert_false(count(fds[1]).closed);
    assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_LINGER, &abort, sizeof abort), 0);
    close(fds[0]);
    assert_int_equal(recv(fds[1], &byte, 1, 0), -1);
    assert_true(count(fds[1]).closed);
    close(fds[1]);
}

static void test_this_kernel_counts(void **state)
{
    (void)state;
    assert_true(socket_counters_work());
}

/* An urgent byte stands in the stream like any other (SO_OOBINLINE). */
static void test_urgent_bytes_count(void **state)
{
    int fds[2], one = 1;
    char bytes[8];
    (void)state;

    connect_pair(fds);
    assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_OOBINLINE, &one, sizeof one), 0);
    struct socket_counters before = count(fds[1]);
    assert_int_equal(send(fds[0], "ab", 2, 0), 2);
    assert_int_equal(send(fds[0], "c", 1, MSG_OOB), 1);
    assert_int_equal(send(fds[0], "d", 1, 0), 1);
    uint32_t got = 0;
    while (got < 4) {
        ssize_t some = recv(fds[1], bytes, sizeof bytes, 0);
        assert_true(some > 0);
        got += (uint32_t)some;
        assert_int_equal(count(fds[1]).received - before.received, got);
    }
    close(fds[0]);
    close(fds[1]);
}

/* A process that reads and writes without end is killed: the counters tell how far it came, and
 * what was read and written after it joins without a gap. */
static void test_a_killed_process(void **state)
{
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        int fds[2], told[2];
        uint32_t before;
        connect_pair(fds);
        assert_int_equal(pipe(told), 0);
        before = count(fds[1]).received;
        pid_t reader = fork();
        if (reader == 0) {
            char bytes[64];
            ssize_t got;
            while ((got = recv(fds[1], bytes, sizeof bytes, 0)) > 0)
                if (write(told[1], bytes, 1) != 1)
                    _exit(1);
            _exit(0);
        }
        uint8_t sequence[4096];
        for (unsigned i = 0; i < sizeof sequence; i++)
            sequence[i] = (uint8_t)(i % 251);
        assert_int_equal(send(fds[0], sequence, sizeof sequence, 0), sizeof sequence);
        char byte;
        for (unsigned i = 0; i < 1 + round % 16; i++)
            assert_int_equal(read(told[0], &byte, 1), 1);
        kill(reader, SIGKILL);
        assert_int_equal(waitpid(reader, NULL, 0), reader);
        uint32_t taken = count(fds[1]).received - before;
        assert_true(taken >= 1 + round % 16 && taken <= sizeof sequence);
        uint8_t next = 0;
        if (taken < sizeof sequence) {
            assert_int_equal(recv(fds[1], &next, 1, 0), 1);
            assert_int_equal(next, taken % 251);
        }
        for (unsigned i = 0; i < 2; i++) {
            close(fds[i]);
            close(told[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_a_tcp_socket),   cmocka_unit_test(test_a_reset_is_told),
        cmocka_unit_test(test_this_kernel_counts), cmocka_unit_test(test_urgent_bytes_count),
        cmocka_unit_test(test_a_killed_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
