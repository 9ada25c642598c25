/* The load generator: one thread, one epoll loop, OpenSSL as the client, one measure per run.
 *
 * Whoever runs it measures from outside: it prepares everything (sessions to resume, open
 * connections), prints "ready", waits for a line on standard input, does the counted work, prints
 * one JSON object, and waits for the next line before it takes anything down (idle sessions must
 * first serve another request, and the object is printed again). So no CPU time of set-up or
 * tear-down falls into the window.
 *
 * What was negotiated is part of the result: a connection that is not TLS 1.3 with X25519 and the
 * one suite asked for, or that is (not) resumed against the measure's intent, counts as failed. */
#include "client.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE (256u << 10)
#define EVENTS    256
#define WARM_UP   64u
#define AT_ONCE                                                                                    \
    64u /* handshakes under way before idle sessions are opened; half as many while they are */

enum measure { FULL, RESUMED, KEEPALIVE, BULK, IDLE };

static const char *const measure_names[] = {"full", "resumed", "keepalive", "bulk", "idle"};

enum phase { CLOSED, HANDSHAKING, REQUESTING, READING, RESTING, CLOSING };

struct connection {
    int fd;
    enum phase phase;
    SSL *ssl;
    SSL_SESSION *session; /* to be resumed by the next connection in this place */
    struct answer answer;
};

static struct {
    enum measure measure;
    uint16_t port;
    unsigned connections;
    unsigned count;   /* requests or connections in the window */
    unsigned seconds; /* after which to give up */
    const char *suite;
} options;

static SSL_CTX *context;
static int epoll;
static struct connection *connections;
static unsigned connection_count;
static char scratch[READ_SIZE];
static char request[128];
static size_t request_length;

/* Of the phase in hand: how many are still to be started, how many came to their end. */
static unsigned to_start, finished, failed;
static bool priming; /* the connection before the window: full, whatever the measure */
static char first_failure[160];

static void note_failure(const char *what)
{
    failed++;
    if (!first_failure[0])
        snprintf(first_failure, sizeof(first_failure), "%s (%s)", what,
                 ERR_peek_error() ? ERR_reason_error_string(ERR_peek_error()) : strerror(errno));
    ERR_clear_error();
}

/* ---- one connection ---- */

static void connection_close(struct connection *connection)
{
    if (connection->phase == CLOSED)
        return;
    SSL_free(connection->ssl);
    close(connection->fd);
    connection->ssl = NULL;
    connection->phase = CLOSED;
}

static void connection_fail(struct connection *connection, const char *what)
{
    note_failure(what);
    connection_close(connection);
    finished++;
}

static void connection_open(struct connection *connection)
{
    connection->fd = client_dial(options.port, true);
    if (connection->fd < 0) {
        connection_fail(connection, "connect");
        return;
    }
    connection->ssl = SSL_new(context);
    SSL_set_fd(connection->ssl, connection->fd);
    SSL_set_tlsext_host_name(connection->ssl, "localhost");
    if (connection->session && !priming)
        SSL_set_session(connection->ssl, connection->session);
    SSL_set_connect_state(connection->ssl);
    connection->phase = HANDSHAKING;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        client_die("epoll_ctl");
}

/* Returns false when the socket has to wait; a failure ends the connection. */
static bool connection_waits(struct connection *connection, int result, const char *what)
{
    int error = SSL_get_error(connection->ssl, result);

    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        connection_fail(connection, what);
    return false;
}

static bool step_handshake(struct connection *connection)
{
    int result = SSL_do_handshake(connection->ssl);

    if (result != 1)
        return connection_waits(connection, result, "handshake");
    bool want_resumed = options.measure == RESUMED && !priming;
    const char *fault = client_negotiation_fault(connection->ssl, options.suite, want_resumed);
    if (fault) {
        connection_fail(connection, fault);
        return false;
    }
    connection->phase = REQUESTING;
    return true;
}

static bool step_request(struct connection *connection)
{
    int result = SSL_write(connection->ssl, request, (int)request_length);

    if (result <= 0)
        return connection_waits(connection, result, "request");
    answer_start(&connection->answer);
    connection->phase = READING;
    return true;
}

/* One answer is here: what the measure does with the connection now. */
static bool connection_answered(struct connection *connection)
{
    bool keeps_open = options.measure == KEEPALIVE || options.measure == BULK ||
                      (options.measure == IDLE && !priming);

    if (keeps_open) {
        finished++;
        connection->phase = RESTING;
        if (to_start == 0 || options.measure == IDLE || priming)
            return false;
        to_start--;
        connection->phase = REQUESTING;
        return true;
    }
    if (options.measure == RESUMED) {
        SSL_SESSION_free(connection->session);
        connection->session = SSL_get1_session(connection->ssl);
    }
    /* A clean end from our side, seen through to the peer's, so that its cost lies in the window.
     */
    SSL_shutdown(connection->ssl);
    shutdown(connection->fd, SHUT_WR);
    connection->phase = CLOSING;
    return true;
}

static bool step_read(struct connection *connection)
{
    int result = SSL_read(connection->ssl, scratch, sizeof(scratch));

    if (result <= 0)
        return connection_waits(connection, result, "answer");
    switch (answer_feed(&connection->answer, scratch, (size_t)result)) {
    case 0:
        return true;
    case 1:
        return connection_answered(connection);
    default:
        connection_fail(connection, "answer that is none");
        return false;
    }
}

static bool step_close(struct connection *connection)
{
    ssize_t n = recv(connection->fd, scratch, sizeof(scratch), 0);

    if (n > 0)
        return true;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    connection_close(connection);
    finished++;
    return false;
}

/* Goes on with a connection until it has to wait or has ended. */
static void connection_advance(struct connection *connection)
{
    bool goes_on = true;

    while (goes_on) {
        errno = 0;
        switch (connection->phase) {
        case HANDSHAKING:
            goes_on = step_handshake(connection);
            break;
        case REQUESTING:
            goes_on = step_request(connection);
            break;
        case READING:
            goes_on = step_read(connection);
            break;
        case CLOSING:
            goes_on = step_close(connection);
            break;
        case CLOSED:
        case RESTING:
            goes_on = false;
            break;
        }
    }
}

static void wait_events(void)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, -1);

    for (int i = 0; i < count; i++)
        connection_advance(events[i].data.ptr);
}

/* ---- the measures ---- */

/* `count` connections, at most `at_once` of them open, each in a place that is free. */
static void run_connections(unsigned count, unsigned at_once)
{
    to_start = count;
    finished = 0;
    while (finished < count) {
        for (unsigned i = 0; i < at_once && to_start > 0; i++) {
            if (connections[i].phase == CLOSED) {
                to_start--;
                connection_open(&connections[i]);
            }
        }
        if (finished < count)
            wait_events();
    }
}

/* Opens `count` connections with one request each, and leaves them open. */
static void open_resting(unsigned count)
{
    to_start = 0;
    finished = 0;
    for (unsigned i = 0; i < count; i++) {
        connection_open(&connections[i]);
        while (i + 1 - finished >= AT_ONCE / 2)
            wait_events();
    }
    while (finished < count)
        wait_events();
}

static void run_requests(unsigned count)
{
    finished = 0;
    to_start = count;
    for (unsigned i = 0; i < connection_count && to_start > 0; i++) {
        if (connections[i].phase != RESTING)
            continue;
        to_start--;
        connections[i].phase = REQUESTING;
        connection_advance(&connections[i]);
    }
    while (finished < count)
        wait_events();
}

/* ---- results ---- */

static void print_result(uint64_t elapsed)
{
    printf("{\"finished\": %u, \"failed\": %u, \"seconds\": %.6f, \"first_failure\": \"%s\"}\n",
           finished, failed, (double)elapsed / 1e9, first_failure);
    fflush(stdout);
}

/* ---- set-up ---- */

static void prepare(void)
{
    priming = true;
    switch (options.measure) {
    case RESUMED:
        run_connections(options.connections * 2, options.connections);
        break;
    case KEEPALIVE:
    case BULK:
        open_resting(options.connections);
        break;
    case FULL:
        run_connections(WARM_UP, options.connections);
        break;
    case IDLE:
        /* What grows with the handshakes under way at once has grown, and does not count as the
         * sessions'. */
        run_connections(4 * AT_ONCE, AT_ONCE);
        break;
    }
    priming = false;
}

static uint64_t measure(void)
{
    uint64_t start = client_now();

    switch (options.measure) {
    case FULL:
    case RESUMED:
        run_connections(options.count, options.connections);
        break;
    case KEEPALIVE:
    case BULK:
        run_requests(options.count);
        break;
    case IDLE:
        open_resting(options.connections);
        break;
    }
    return client_now() - start;
}

static bool parse_options(int argc, char **argv)
{
    if (argc != 7)
        return false;
    for (unsigned i = 0; i < sizeof(measure_names) / sizeof(measure_names[0]); i++) {
        if (strcmp(argv[1], measure_names[i]) == 0) {
            options.measure = (enum measure)i;
            options.port = (uint16_t)atoi(argv[2]);
            options.connections = (unsigned)atoi(argv[3]);
            options.count = (unsigned)atoi(argv[4]);
            options.seconds = (unsigned)atoi(argv[5]);
            options.suite = argv[6];
            return options.port && options.connections && options.count && options.seconds;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    if (!parse_options(argc, argv)) {
        fputs("usage: load full|resumed|keepalive|bulk|idle PORT CONNECTIONS COUNT SECONDS SUITE\n"
              "  SECONDS: after which to give up\n",
              stderr);
        return 2;
    }
    client_begin(options.seconds);
    request_length =
        (size_t)snprintf(request, sizeof(request), "GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
                         options.measure == BULK ? "10m" : "s");
    connection_count = options.connections > AT_ONCE ? options.connections : AT_ONCE;
    connections = calloc(connection_count, sizeof(*connections));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || epoll < 0)
        client_die("set-up");
    context = client_context(options.suite, options.measure == IDLE);
    prepare();
    if (failed) {
        fprintf(stderr, "load: before the window: %s\n", first_failure);
        return 1;
    }
    puts("ready");
    client_wait_line();
    uint64_t elapsed = measure();
    print_result(elapsed);
    client_wait_line();
    if (options.measure == IDLE) {
        /* Memory per session counts only if the sessions are still there: each serves a second
         * request. */
        run_requests(options.connections);
        print_result(elapsed);
    }
    return 0;
}
