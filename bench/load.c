/* The load generator: one thread, one epoll loop, OpenSSL as the client, one measure per run.
 *
 * Whoever runs it measures from outside: it prepares everything (sessions to resume, open connections), prints "ready", waits
 * for a line on standard input, does the counted work, prints one JSON object, and waits for the next line before it
 * takes anything down (idle sessions must first serve another request, and the object is printed again). So no CPU time of set-up or tear-down falls into the window.
 *
 * What was negotiated is part of the result: a connection that is not TLS 1.3 with X25519 and the one suite asked for, or that
 * is (not) resumed against the measure's intent, counts as failed. */
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX       1024u
#define READ_SIZE      (256u << 10)
#define EVENTS         256
#define STORM_SLOTS    1024u /* open at once at most; arrivals beyond are counted as not sent */
#define WARM_UP        64u
#define PROBE_GAP      3000000u /* ns between two requests of the probed session */
#define PROBES_MAX     100000u
#define SECOND         1000000000u

enum measure { FULL, RESUMED, KEEPALIVE, BULK, IDLE, STORM };

static const char *const measure_names[] = { "full", "resumed", "keepalive", "bulk", "idle", "storm" };

enum phase { CLOSED, HANDSHAKING, REQUESTING, READING, RESTING, CLOSING };

struct connection {
    int fd;
    enum phase phase;
    SSL *ssl;
    SSL_SESSION *session; /* to be resumed by the next connection in this place */
    size_t head_length;
    size_t body_left;
    char head[HEAD_MAX];
};

static struct {
    enum measure measure;
    uint16_t port;
    unsigned connections;
    unsigned count;   /* requests or connections in the window; arrivals per second for STORM */
    unsigned seconds; /* STORM: of the storm, after as many seconds of quiet / 2 */
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
static unsigned to_start, finished, failed, not_sent;
static bool priming; /* the connection before the window: full, whatever the measure */
static char first_failure[160];

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void note_failure(const char *what)
{
    failed++;
    if (!first_failure[0])
        snprintf(first_failure, sizeof(first_failure), "%s (%s)", what,
                 ERR_peek_error() ? ERR_reason_error_string(ERR_peek_error()) : strerror(errno));
    ERR_clear_error();
}

/* ---- one connection ---- */

static int dial(bool nonblocking)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(options.port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);

    if (fd < 0)
        die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static const char *negotiation_fault(SSL *ssl, bool want_resumed)
{
    if (SSL_version(ssl) != TLS1_3_VERSION)
        return "not TLS 1.3";
    if (SSL_get_negotiated_group(ssl) != NID_X25519)
        return "not X25519";
    if (strcmp(SSL_get_cipher_name(ssl), options.suite) != 0)
        return "another suite";
    if (SSL_session_reused(ssl) != want_resumed)
        return want_resumed ? "not resumed" : "resumed";
    return NULL;
}

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
    connection->fd = dial(true);
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
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection };
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        die("epoll_ctl");
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
    const char *fault = negotiation_fault(connection->ssl, want_resumed);
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
    connection->head_length = 0;
    connection->body_left = 0;
    connection->phase = READING;
    return true;
}

/* Feeds bytes of an answer. Returns 1 when it is complete, 0 when it goes on, -1 when it is none. */
static int answer_feed(struct connection *connection, const char *bytes, size_t length)
{
    if (connection->body_left == 0) {
        size_t room = HEAD_MAX - 1 - connection->head_length;
        size_t taken = length < room ? length : room;
        memcpy(connection->head + connection->head_length, bytes, taken);
        connection->head_length += taken;
        connection->head[connection->head_length] = '\0';
        char *end = strstr(connection->head, "\r\n\r\n");
        if (!end)
            return taken == room ? -1 : 0;
        char *field = strcasestr(connection->head, "\r\nContent-Length:");
        if (!field || strncmp(connection->head, "HTTP/1.1 200", 12) != 0)
            return -1;
        /* The bytes of this read that lie beyond the head. */
        size_t before = connection->head_length - taken;
        length -= (size_t)(end + 4 - connection->head) - before;
        connection->body_left = strtoul(field + 17, NULL, 10);
    }
    if (length > connection->body_left)
        return -1;
    connection->body_left -= length;
    return connection->body_left == 0;
}

/* One answer is here: what the measure does with the connection now. */
static bool connection_answered(struct connection *connection)
{
    bool keeps_open =
        options.measure == KEEPALIVE || options.measure == BULK || options.measure == IDLE;

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
    /* A clean end from our side, seen through to the peer's, so that its cost lies in the window. */
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
    switch (answer_feed(connection, scratch, (size_t)result)) {
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

static void wait_events(uint64_t until)
{
    struct epoll_event events[EVENTS];
    uint64_t time = now();
    uint64_t left = until > time ? until - time : 0;
    struct timespec timeout = { .tv_sec = (time_t)(left / SECOND), .tv_nsec = (long)(left % SECOND) };
    int count = epoll_pwait2(epoll, events, EVENTS, until == UINT64_MAX ? NULL : &timeout, NULL);

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
            wait_events(UINT64_MAX);
    }
}

/* Opens `count` connections from place `first` on, with one request each, and leaves them open. */
static void open_resting(unsigned first, unsigned count)
{
    const unsigned at_once = 64;

    to_start = 0;
    finished = 0;
    for (unsigned i = 0; i < count; i++) {
        connection_open(&connections[first + i]);
        while (i + 1 - finished >= at_once)
            wait_events(UINT64_MAX);
    }
    while (finished < count)
        wait_events(UINT64_MAX);
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
        wait_events(UINT64_MAX);
}

/* ---- the storm, and the session that lives through it ---- */

struct probe {
    pthread_t thread;
    SSL *ssl;
    bool realtime;
    uint64_t storm_from, end;
    double *quiet, *storm; /* latencies in µs */
    size_t quiet_count, storm_count;
};

static bool probe_once(SSL *ssl)
{
    static struct connection answer; /* only its parser's state is used */
    char bytes[4096];
    int fed;

    answer.head_length = 0;
    answer.body_left = 0;
    if (SSL_write(ssl, request, (int)request_length) <= 0)
        return false;
    do {
        int n = SSL_read(ssl, bytes, sizeof(bytes));
        if (n <= 0)
            return false;
        fed = answer_feed(&answer, bytes, (size_t)n);
    } while (fed == 0);
    return fed == 1;
}

static void *probe_run(void *argument)
{
    struct probe *probe = argument;
    const struct sched_param priority = { .sched_priority = 2 };

    probe->realtime = pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority) == 0;
    for (uint64_t next = now(); next < probe->end; next += PROBE_GAP) {
        struct timespec time = { .tv_sec = (time_t)(next / SECOND), .tv_nsec = (long)(next % SECOND) };
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
        uint64_t start = now();
        if (!probe_once(probe->ssl)) {
            fputs("load: the established session was lost in the storm\n", stderr);
            exit(1);
        }
        double latency = (double)(now() - start) / 1e3;
        /* A slow request delays its successors, which are made up for at once: the worst times are not left out. */
        if (start < probe->storm_from && probe->quiet_count < PROBES_MAX)
            probe->quiet[probe->quiet_count++] = latency;
        else if (probe->storm_count < PROBES_MAX)
            probe->storm[probe->storm_count++] = latency;
    }
    return NULL;
}

static void probe_connect(struct probe *probe)
{
    int fd = dial(false);

    if (fd < 0)
        die("connect");
    probe->ssl = SSL_new(context);
    SSL_set_fd(probe->ssl, fd);
    SSL_set_tlsext_host_name(probe->ssl, "localhost");
    if (SSL_connect(probe->ssl) != 1 || negotiation_fault(probe->ssl, false) || !probe_once(probe->ssl))
        die("session to be probed");
    probe->quiet = calloc(PROBES_MAX, sizeof(double));
    probe->storm = calloc(PROBES_MAX, sizeof(double));
    if (!probe->quiet || !probe->storm)
        die("memory");
}

/* A pseudo-random number in (0, 1], the same row of them for every contestant. */
static double next_uniform(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return ((double)(state >> 11) + 1.0) / 9007199254740993.0;
}

/* Arrivals do not know of each other: exponential gaps, in ns. */
static uint64_t next_gap(void)
{
    return (uint64_t)(-log(next_uniform()) * SECOND / options.count);
}

static void storm_arrival(void)
{
    static unsigned place;

    for (unsigned tried = 0; tried < connection_count; tried++) {
        place = (place + 1) % connection_count;
        if (connections[place].phase == CLOSED) {
            connection_open(&connections[place]);
            return;
        }
    }
    not_sent++;
}

static uint64_t run_storm(struct probe *probe)
{
    uint64_t next;

    probe->storm_from = now() + options.seconds * (uint64_t)SECOND / 2;
    probe->end = probe->storm_from + options.seconds * (uint64_t)SECOND;
    if (pthread_create(&probe->thread, NULL, probe_run, probe) != 0)
        die("thread");
    finished = 0;
    next = probe->storm_from;
    while (now() < probe->end) {
        while (next <= now()) {
            storm_arrival();
            next += next_gap();
        }
        wait_events(next < probe->end ? next : probe->end);
    }
    pthread_join(probe->thread, NULL);
    return options.seconds * (uint64_t)SECOND;
}

/* ---- results ---- */

static int compare_doubles(const void *a, const void *b)
{
    const double *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

static double percentile(const double *sorted, size_t count, double part)
{
    return count ? sorted[(size_t)((double)(count - 1) * part)] : 0;
}

static void print_latencies(const char *name, double *latencies, size_t count)
{
    qsort(latencies, count, sizeof(*latencies), compare_doubles);
    printf(", \"%s\": {\"count\": %zu, \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f}", name, count,
           percentile(latencies, count, 0.5), percentile(latencies, count, 0.9),
           percentile(latencies, count, 0.99));
}

static void print_result(uint64_t elapsed, struct probe *probe)
{
    printf("{\"measure\": \"%s\", \"finished\": %u, \"failed\": %u, \"not_sent\": %u, \"seconds\": %.6f, "
           "\"first_failure\": \"%s\", \"suite\": \"%s\", \"version\": \"TLSv1.3\", \"group\": \"X25519\"",
           measure_names[options.measure], finished, failed, not_sent, (double)elapsed / SECOND,
           first_failure, options.suite);
    if (probe->ssl) {
        printf(", \"realtime\": %s", probe->realtime ? "true" : "false");
        print_latencies("quiet", probe->quiet, probe->quiet_count);
        print_latencies("storm", probe->storm, probe->storm_count);
    }
    puts("}");
    fflush(stdout);
}

/* ---- set-up ---- */

static void wait_line(void)
{
    char line[16];

    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin))
        exit(0); /* whoever started us has gone */
}

static void make_context(void)
{
    context = SSL_CTX_new(TLS_client_method());
    if (!context || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(context, options.suite) != 1 || SSL_CTX_set1_groups_list(context, "X25519") != 1)
        die("TLS client context");
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
}

static void prepare(struct probe *probe)
{
    priming = true;
    switch (options.measure) {
    case RESUMED:
        run_connections(options.connections * 2, options.connections);
        break;
    case KEEPALIVE:
    case BULK:
        open_resting(0, options.connections);
        break;
    case STORM:
        run_connections(WARM_UP, WARM_UP);
        probe_connect(probe);
        break;
    case FULL:
        run_connections(WARM_UP, options.connections);
        break;
    case IDLE:
        open_resting(options.connections, WARM_UP);
        for (unsigned i = 0; i < WARM_UP; i++)
            connection_close(&connections[options.connections + i]);
        break;
    }
    priming = false;
}

static uint64_t measure(struct probe *probe)
{
    uint64_t start = now();

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
        open_resting(0, options.connections);
        break;
    case STORM:
        return run_storm(probe);
    }
    return now() - start;
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
    struct probe probe = { 0 };

    if (!parse_options(argc, argv)) {
        fputs("usage: load full|resumed|keepalive|bulk|idle|storm PORT CONNECTIONS COUNT SECONDS SUITE\n"
              "  SECONDS: length of the storm; for the other measures the time after which to give up\n",
              stderr);
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    alarm(options.measure == STORM ? options.seconds * 3 + 30 : options.seconds);
    request_length = (size_t)snprintf(request, sizeof(request), "GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
                                      options.measure == BULK ? "10m" : "s");
    connection_count = options.measure == STORM ? STORM_SLOTS : options.connections + WARM_UP;
    connections = calloc(connection_count, sizeof(*connections));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || epoll < 0)
        die("set-up");
    make_context();
    prepare(&probe);
    if (failed) {
        fprintf(stderr, "load: before the window: %s\n", first_failure);
        return 1;
    }
    puts("ready");
    wait_line();
    uint64_t elapsed = measure(&probe);
    print_result(elapsed, &probe);
    wait_line();
    if (options.measure == IDLE) {
        /* Memory per session counts only if the sessions are still there: each serves a second request. */
        run_requests(options.connections);
        print_result(elapsed, &probe);
    }
    return 0;
}
