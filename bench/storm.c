/* The storm: others open connections at a fixed rate, each with a full handshake, one request and a
 * clean end, whatever the server's pace (open loop), while one established session is asked every 3
 * ms and its answers are timed.
 *
 * The probed session is that of probe.c; the storm comes from quick.c, because a client as dear as
 * the server could not press it. Dialogue with whoever runs it as in load.c; "storm" is printed
 * when the quiet before it is over. */
#include "client.h"
#include "probe.h"
#include "quick.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PLACES  512u /* open at once at most; arrivals beyond are counted as not sent */
#define WARM_UP 200u /* arrivals */
#define EVENTS  256
#define SECOND  1000000000u

struct connection {
    int fd; /* -1: free */
    bool ending;
    size_t in_length;
    struct quick quick;
    struct answer answer;
    uint8_t in[QUICK_IN_MAX];
};

static struct {
    uint16_t port;
    unsigned rate, seconds;
    const char *suite;
} options;

static const char request[] = "GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n";
static int epoll;
static struct connection *connections;
static unsigned free_places[PLACES], free_count;
static unsigned finished, failed, not_sent;
static const char *first_failure = "";

static bool realtime;
static struct latencies quiet, storm;

/* ---- one connection of the storm ---- */

static void connection_end(struct connection *connection, const char *failure)
{
    close(connection->fd);
    connection->fd = -1;
    free_places[free_count++] = (unsigned)(connection - connections);
    finished++;
    if (failure) {
        failed++;
        first_failure = failure;
    }
}

static void connection_open(struct connection *connection)
{
    uint8_t out[QUICK_OUT_MAX];
    size_t length = quick_hello(&connection->quick, out);

    connection->ending = false;
    connection->in_length = 0;
    /* On loopback a connection stands at once, unless the server's backlog is full; then the hello
     * cannot be sent. */
    connection->fd = client_dial(options.port, true);
    if (connection->fd < 0 || send(connection->fd, out, length, MSG_NOSIGNAL) != (ssize_t)length) {
        connection_end(connection, "connect");
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        client_die("epoll_ctl");
}

static void connection_request(struct connection *connection)
{
    uint8_t out[2 * QUICK_OUT_MAX];
    size_t length = quick_finish(&connection->quick, out);

    length += quick_seal(&connection->quick, 23, request, sizeof(request) - 1, out + length);
    answer_start(&connection->answer);
    send(connection->fd, out, length, MSG_NOSIGNAL); /* a lost connection shows in the next read */
}

static void connection_say_goodbye(struct connection *connection)
{
    uint8_t out[QUICK_OUT_MAX];
    size_t length = quick_seal(&connection->quick, 21, (const uint8_t[]){1, 0}, 2, out);

    send(connection->fd, out, length, MSG_NOSIGNAL);
    shutdown(connection->fd, SHUT_WR);
    connection->ending = true;
}

/* Takes all whole records. Returns what is wrong, or NULL. */
static const char *connection_take(struct connection *connection)
{
    size_t taken = 0, used = 1;

    while (used > 0 && !connection->ending) {
        const uint8_t *data;
        size_t data_length;
        switch (quick_feed(&connection->quick, connection->in + taken,
                           connection->in_length - taken, &used, &data, &data_length)) {
        case QUICK_FAILED:
            return "handshake";
        case QUICK_HANDSHAKEN:
            connection_request(connection);
            break;
        case QUICK_DATA:
            switch (answer_feed(&connection->answer, (const char *)data, data_length)) {
            case -1:
                return "answer that is none";
            case 1:
                connection_say_goodbye(connection);
                break;
            }
            break;
        case QUICK_MORE:
            break;
        }
        taken += used;
    }
    connection->in_length -= taken;
    memmove(connection->in, connection->in + taken, connection->in_length);
    return NULL;
}

static void connection_advance(struct connection *connection)
{
    while (connection->fd >= 0) {
        if (connection->ending)
            connection->in_length = 0; /* the peer's close_notify, of no interest */
        ssize_t n = recv(connection->fd, connection->in + connection->in_length,
                         QUICK_IN_MAX - connection->in_length, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            connection_end(connection, connection->ending ? NULL : "ended by the server");
            return;
        }
        connection->in_length += (size_t)n;
        const char *failure = connection->ending ? NULL : connection_take(connection);
        if (failure)
            connection_end(connection, failure);
    }
}

/* ---- the storm ---- */

static void wait_events(uint64_t until)
{
    struct epoll_event events[EVENTS];
    int count = client_wait(epoll, events, EVENTS, until);

    for (int i = 0; i < count; i++)
        connection_advance(events[i].data.ptr);
}

static void arrive(void)
{
    if (free_count > 0)
        connection_open(&connections[free_places[--free_count]]);
    else
        not_sent++;
}

static void rage(uint64_t from, uint64_t end)
{
    uint64_t next = from;

    while (client_now() < end) {
        while (next <= client_now() && next < end) {
            arrive();
            next += client_gap(options.rate);
        }
        wait_events(next < end ? next : end);
    }
}

static void warm_up(void)
{
    for (unsigned i = 0; i < WARM_UP; i++) {
        arrive();
        wait_events(client_now() + 1000000u);
    }
    while (free_count < PLACES)
        wait_events(client_now() + SECOND);
}

static void run_storm(void)
{
    uint64_t from = client_now() + options.seconds * (uint64_t)SECOND / 2;

    probe_into(&quiet);
    realtime = probe_start();
    while (client_now() < from)
        wait_events(from);
    probe_into(&storm);
    puts("storm");
    fflush(stdout);
    finished = failed = not_sent = 0;
    rage(from, from + options.seconds * (uint64_t)SECOND);
    probe_stop();
}

/* ---- results and set-up ---- */

int main(int argc, char **argv)
{
    if (argc != 5 || !(options.rate = (unsigned)atoi(argv[2])) ||
        !(options.seconds = (unsigned)atoi(argv[3]))) {
        fputs("usage: storm PORT RATE SECONDS SUITE\n", stderr);
        return 2;
    }
    options.port = (uint16_t)atoi(argv[1]);
    options.suite = argv[4];
    client_begin(options.seconds * 3 + 30);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc(PLACES, sizeof(*connections));
    if (epoll < 0 || !connections || !quick_setup())
        client_die("set-up");
    while (free_count < PLACES) {
        connections[free_count].fd = -1;
        free_places[free_count] = free_count;
        free_count++;
    }
    warm_up();
    if (failed) {
        fprintf(stderr, "storm: before the window: %s\n", first_failure);
        return 1;
    }
    probe_connect(options.port, options.suite);
    puts("ready");
    client_wait_line();
    run_storm();
    printf("{\"finished\": %u, \"failed\": %u, \"not_sent\": %u, \"seconds\": %u, "
           "\"first_failure\": \"%s\", \"realtime\": %s",
           finished, failed, not_sent, options.seconds, first_failure, realtime ? "true" : "false");
    latencies_print("quiet", &quiet);
    latencies_print("storm", &storm);
    puts("}");
    client_wait_line();
    return 0;
}
