/* admin/http.h over real connections: wrong methods and paths, garbage, too many connections. The
 * server runs in a child. */
#include "world.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/http.h"
#include "base/clock.h"

static struct sockaddr_in address = {.sin_family = AF_INET};
static pid_t child;

static int start(void **state)
{
    socklen_t size = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    signal(SIGPIPE, SIG_IGN);
    world_set_up(state);
    free(world.board);
    world.board =
        mmap(NULL, sizeof *world.board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    world.view.board = world.board;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listening, (const struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listening, 128), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &size), 0);
    child = fork();
    if (child == 0) {
        struct loop *loop = loop_new();
        struct http *http = http_new(loop, &world.view, NULL);
        _exit(http == NULL || http_listen(http, listening, NULL) < 0 ? 1 : loop_run(loop));
    }
    close(listening);
    return 0;
}

static int finish(void **state)
{
    int status;

    assert_int_equal(waitpid(child, &status, WNOHANG), 0);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    munmap(world.board, sizeof *world.board);
    world.board = NULL;
    world_tear_down(state);
    return 0;
}

static int connect_here(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static const char *exchange(const char *request)
{
    static char answer[1 << 18];
    size_t have = 0;
    ssize_t part;
    int fd = connect_here();

    assert_true(send(fd, request, strlen(request), MSG_NOSIGNAL) > 0);
    while (have < sizeof answer - 1 &&
           (part = read(fd, answer + have, sizeof answer - 1 - have)) > 0)
        have += (size_t)part;
    answer[have] = '\0';
    close(fd);
    return answer;
}

static void assert_status(const char *answer, const char *status)
{
    char expected[32];

    snprintf(expected, sizeof expected, "HTTP/1.1 %s ", status);
    if (strncmp(answer, expected, strlen(expected)) != 0)
        fail_msg("expected %s, found %.200s", status, answer);
}

#define END " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static void what_is_not_there_is_refused(void **state)
{
    (void)state;
    assert_status(exchange("GET /" END), "404");
    assert_status(exchange("GET /metricsx" END), "404");
    assert_status(exchange("GET /../metrics" END), "404");
    assert_status(exchange("DELETE /metrics" END), "405");
    assert_non_null(strstr(exchange("OPTIONS /metrics" END), "Allow: GET, HEAD"));
    assert_status(exchange("POST /healthz HTTP/1.1\r\nHost: x\r\nConnection: "
                           "close\r\nContent-Length: 5\r\n\r\nhello"),
                  "405");
    exchange("\x16\x03\x01 garbage\r\n\r\n");
}

static void health_follows_the_board(void **state)
{
    (void)state;
    assert_status(exchange("GET /healthz" END), "503");
    world.board->processes[board_worker_number(PROCESS_HANDSHAKER, 0)].pid = 5;
    world.board->processes[board_worker_number(PROCESS_HANDSHAKER, 0)].heartbeat_ns =
        clock_monotonic_ns();
    world.board->processes[board_worker_number(PROCESS_RELAY, 0)].pid = 6;
    world.board->processes[board_worker_number(PROCESS_RELAY, 0)].heartbeat_ns =
        clock_monotonic_ns();
    const char *answer = exchange("GET /healthz" END);
    assert_status(answer, "200");
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\nok\n");
    world.board->draining = 1;
    assert_status(exchange("GET /healthz" END), "503");
    world.board->draining = 0;
}

static void metrics_are_served_whole(void **state)
{
    (void)state;
    const char *answer = exchange("GET /metrics" END);
    assert_status(answer, "200");
    assert_non_null(strstr(answer, "Content-Type: text/plain; version=0.0.4"));
    assert_non_null(strstr(answer, "holdfast_session_duration_seconds_count 0\n"));
    answer = exchange("HEAD /metrics" END);
    assert_status(answer, "200");
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
}

/* Those who connect and say nothing do not keep the others out for good: the one over the limit is
 * closed, and a place becomes free. */
static void silent_connections_are_bounded(void **state)
{
    int fds[80];
    (void)state;

    for (size_t i = 0; i < 80; i++)
        fds[i] = connect_here();
    for (size_t i = 0; i < 80; i++)
        close(fds[i]);
    assert_status(exchange("GET /healthz" END), "200");
}

/* ---- a socket that ends while it is asked for probes ---- */

static unsigned probes_begun;

static bool exports(void *context, int number)
{
    (void)context, (void)number;
    return true;
}

static int begin_probe(void *context, struct http_probe *who, const char *target,
                       const char *module, struct error *error)
{
    (void)context, (void)who, (void)target, (void)module, (void)error;
    probes_begun++;
    return 0;
}

static void forget_probe(void *context, struct http_probe *who)
{
    (void)context, (void)who;
    probes_begun--;
}

static void stop_loop(void *context)
{
    loop_stop(context, 0);
}

static void turn(struct loop *loop)
{
    struct timer timer = {0};

    timer_init(&timer, stop_loop, loop);
    timer_set(loop, &timer, clock_monotonic_ns() + 50 * NS_PER_MS);
    loop_run(loop);
}

/* Listens where connect_here() goes from now on. */
static int listen_here(struct http *http)
{
    socklen_t size = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    address.sin_port = 0;
    assert_int_equal(bind(listening, (const struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listening, 128), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &size), 0);
    int number = http_listen(http, listening, NULL);
    assert_true(number >= 0);
    return number;
}

/* One waits for its probe, one asks at the last moment, and one was not even accepted. */
static void a_socket_ends_amid_probes(void **state)
{
    static const char request[] = "GET /probe?target=x" END;
    const struct http_host host = {
        .exports = exports, .probe = begin_probe, .forget = forget_probe};
    struct sockaddr_in before = address;
    int fds[3];
    struct loop *loop = loop_new();
    struct http *http = http_new(loop, &world.view, &host);
    (void)state;

    int number = listen_here(http);
    fds[0] = connect_here();
    fds[1] = connect_here();
    assert_true(send(fds[0], request, strlen(request), MSG_NOSIGNAL) > 0);
    while (probes_begun == 0)
        turn(loop);
    assert_true(send(fds[1], request, strlen(request), MSG_NOSIGNAL) > 0);
    fds[2] = connect_here();
    assert_true(send(fds[2], request, strlen(request), MSG_NOSIGNAL) > 0);
    http_unlisten(http, number);
    assert_int_equal(probes_begun, 0);
    for (size_t i = 0; i < 3; i++)
        close(fds[i]);
    http_free(http);
    loop_free(loop);
    address = before;
}

/* All places are taken, one waits outside, all leave at the same moment: it comes in. */
static void places_that_become_free_at_once_are_taken(void **state)
{
    struct sockaddr_in before = address;
    struct loop *loop = loop_new();
    struct http *http = http_new(loop, &world.view, NULL);
    char answer[64] = "";
    int fds[64];
    (void)state;

    listen_here(http);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = connect_here();
    turn(loop);
    int outside = connect_here();
    assert_true(send(outside, "GET /healthz" END, strlen("GET /healthz" END), MSG_NOSIGNAL) > 0);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
    for (int i = 0; i < 100 && recv(outside, answer, sizeof answer - 1, MSG_DONTWAIT) <= 0; i++)
        turn(loop);
    assert_status(answer, "200");
    close(outside);
    http_free(http);
    loop_free(loop);
    address = before;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_there_is_refused),
        cmocka_unit_test(health_follows_the_board),
        cmocka_unit_test(metrics_are_served_whole),
        cmocka_unit_test(silent_connections_are_bounded),
        cmocka_unit_test(a_socket_ends_amid_probes),
        cmocka_unit_test(places_that_become_free_at_once_are_taken),
    };
    return cmocka_run_group_tests(tests, start, finish);
}
