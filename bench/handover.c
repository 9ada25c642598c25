/* The client of the hand-over measure: thousands of long sessions, on which small requests go
 * round, and the time of each session's answers while something is done to the contestant.
 *
 * Usage: handover PORT SECONDS SUITE. Takes one order per line and answers each with one line:
 *   open N      opens N more sessions, each of which makes a request: {"sessions", "lost"}
 *   talk RATE   requests go round the sessions, RATE a second in open loop: "talking"
 *   mark        a window begins: "marked"
 *   report      what the window showed, see report()
 *   quiet       no more requests; waits for those on their way: "quiet"
 *   ask         one request on every session: {"sessions", "lost"} */
#include "client.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SESSIONS_MAX 32768u
#define AT_ONCE      64u
#define EVENTS       256
#define STILL_NS     (20 * 1000000000ull) /* an answer that takes longer does not come */

enum phase { HANDSHAKING, RESTING, READING, LOST };

struct session {
    int fd;
    enum phase phase;
    SSL *ssl;
    struct answer answer;
    uint64_t asked_ns; /* when the request on its way was sent */
    uint64_t worst_ns; /* slowest answer of the window */
};

static SSL_CTX *context;
static int epoll;
static uint16_t port;
static const char *suite;
static struct session sessions[SESSIONS_MAX];
static unsigned opened;     /* sessions begun so far */
static unsigned lost, busy; /* handshakes and answers awaited */
static char scratch[65536];
static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

static double rate; /* of the rotation; 0: none */
static uint64_t rotation_start_ns, rotation_count;
static unsigned rotation_next;

static uint64_t *latencies; /* before the window: what is usual */
static size_t latency_count, latency_room;
static bool window;
static uint64_t window_ns, last_answer_ns, silence_ns;

static void lose(struct session *session, const char *what)
{
    if (lost++ < 5)
        fprintf(stderr, "handover: session %td lost: %s (%s)\n", session - sessions, what,
                ERR_peek_error() ? ERR_reason_error_string(ERR_peek_error()) : strerror(errno));
    ERR_clear_error();
    busy -= session->phase == HANDSHAKING || session->phase == READING;
    SSL_free(session->ssl);
    close(session->fd);
    session->phase = LOST;
}

/* ---- requests ---- */

static void ask(struct session *session)
{
    session->asked_ns = client_now();
    session->phase = READING;
    busy++;
    answer_start(&session->answer);
    ERR_clear_error();
    if (SSL_write(session->ssl, request, sizeof request - 1) != (int)sizeof request - 1)
        lose(session, "request");
}

static void note_usual(uint64_t took)
{
    if (latency_count == latency_room) {
        latency_room = latency_room ? latency_room * 2 : 65536;
        latencies = realloc(latencies, latency_room * sizeof *latencies);
        if (!latencies)
            client_die("memory");
    }
    latencies[latency_count++] = took;
}

static void answered(struct session *session)
{
    uint64_t now = client_now(), took = now - session->asked_ns;

    session->phase = RESTING;
    busy--;
    if (!window) {
        if (rate > 0)
            note_usual(took);
        return;
    }
    if (took > session->worst_ns)
        session->worst_ns = took;
    if (now - last_answer_ns > silence_ns)
        silence_ns = now - last_answer_ns;
    last_answer_ns = now;
}

static void take(struct session *session)
{
    for (;;) {
        ERR_clear_error();
        int size = SSL_read(session->ssl, scratch, sizeof scratch);
        if (size <= 0) {
            int error = SSL_get_error(session->ssl, size);
            if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
                lose(session, error == SSL_ERROR_ZERO_RETURN ? "close_notify" : "read");
            return;
        }
        int done =
            session->phase == READING ? answer_feed(&session->answer, scratch, (size_t)size) : -1;
        if (done < 0) {
            lose(session, "a wrong answer");
            return;
        }
        if (done)
            answered(session);
    }
}

static void handshake(struct session *session)
{
    ERR_clear_error();
    int result = SSL_do_handshake(session->ssl);

    if (result != 1) {
        int error = SSL_get_error(session->ssl, result);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
            lose(session, "handshake");
        return;
    }
    const char *fault = client_negotiation_fault(session->ssl, suite, false);
    if (fault) {
        lose(session, fault);
        return;
    }
    busy--;
    ask(session);
}

static void start(struct session *session)
{
    session->fd = client_dial(port, true);
    if (session->fd < 0)
        client_die("connect");
    session->ssl = SSL_new(context);
    if (!session->ssl || SSL_set_fd(session->ssl, session->fd) != 1)
        client_die("SSL_new");
    SSL_set_tlsext_host_name(session->ssl, "localhost");
    SSL_set_connect_state(session->ssl);
    session->phase = HANDSHAKING;
    busy++;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = session};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, session->fd, &event) != 0)
        client_die("epoll_ctl");
}

/* ---- the loop ---- */

static void turn(struct epoll_event *events, int happened, bool *ret_order)
{
    for (int i = 0; i < happened; i++) {
        struct session *session = events[i].data.ptr;
        if (!session)
            *ret_order = true;
        else if (session->phase == HANDSHAKING)
            handshake(session);
        else if (session->phase != LOST)
            take(session);
    }
}

/* One look at the sockets; returns true when an order waits. */
static bool look(int timeout_ms)
{
    struct epoll_event events[EVENTS];
    bool order = false;

    turn(events, epoll_wait(epoll, events, EVENTS, timeout_ms), &order);
    return order;
}

static void rotate(void)
{
    uint64_t due = (uint64_t)((double)(client_now() - rotation_start_ns) * rate / 1e9);

    while (rotation_count < due && opened > 0) {
        struct session *session = &sessions[rotation_next];
        rotation_next = (rotation_next + 1) % opened;
        rotation_count++;
        if (session->phase == RESTING) /* one whose answer is still to come keeps waiting for it */
            ask(session);
    }
}

/* Waits until at most `most` answers are on their way. What does not come any more is lost. */
static void settle(unsigned most)
{
    while (busy > most) {
        look(10);
        uint64_t now = client_now();
        for (unsigned i = 0; i < opened; i++) {
            if (sessions[i].phase == READING && now > sessions[i].asked_ns + STILL_NS)
                lose(&sessions[i], "no answer");
        }
    }
}

/* ---- orders ---- */

static void open_sessions(unsigned count)
{
    if (opened + count > SESSIONS_MAX)
        client_die("too many sessions");
    for (unsigned i = 0; i < count; i++) {
        start(&sessions[opened++]);
        settle(AT_ONCE - 1);
    }
    settle(0);
}

static void ask_all(void)
{
    settle(0);
    for (unsigned i = 0; i < opened; i++) {
        look(0); /* a session that has ended must not be asked as if it stood */
        if (sessions[i].phase == RESTING)
            ask(&sessions[i]);
        settle(AT_ONCE - 1);
    }
    settle(0);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double part_us(const uint64_t *sorted, size_t count, double part)
{
    return count == 0 ? 0 : (double)sorted[(size_t)((double)(count - 1) * part)] / 1e3;
}

/* The usual answer times; each session's slowest answer of the window, what still waits included;
 * how long nobody at all was answered. Microseconds. */
static void report(void)
{
    static uint64_t worst[SESSIONS_MAX];
    uint64_t now = client_now();
    size_t count = 0;

    for (unsigned i = 0; i < opened; i++) {
        struct session *session = &sessions[i];
        uint64_t waits = session->phase == READING ? now - session->asked_ns : 0;
        if (waits > session->worst_ns)
            session->worst_ns = waits;
        if (session->phase != LOST && session->worst_ns > 0)
            worst[count++] = session->worst_ns;
    }
    qsort(worst, count, sizeof *worst, compare);
    qsort(latencies, latency_count, sizeof *latencies, compare);
    printf("{\"seconds\": %.3f, \"sessions\": %u, \"measured\": %zu, \"lost\": %u, "
           "\"usual\": {\"p50\": %.0f, \"p99\": %.0f}, "
           "\"worst\": {\"p50\": %.0f, \"p99\": %.0f, \"max\": %.0f}, \"silence\": %.0f}\n",
           (double)(now - window_ns) / 1e9, opened, count, lost,
           part_us(latencies, latency_count, 0.5), part_us(latencies, latency_count, 0.99),
           part_us(worst, count, 0.5), part_us(worst, count, 0.99), part_us(worst, count, 1),
           (double)silence_ns / 1e3);
    latency_count = 0;
    window = false;
}

static void mark(void)
{
    for (unsigned i = 0; i < opened; i++)
        sessions[i].worst_ns = 0;
    window = true;
    window_ns = last_answer_ns = client_now();
    silence_ns = 0;
    puts("marked");
}

static void count_out(void)
{
    printf("{\"sessions\": %u, \"lost\": %u}\n", opened, lost);
}

static void obey(const char *order)
{
    if (strncmp(order, "open ", 5) == 0) {
        open_sessions((unsigned)atoi(order + 5));
        count_out();
    } else if (strncmp(order, "talk ", 5) == 0) {
        rate = atof(order + 5);
        rotation_start_ns = client_now();
        rotation_count = 0;
        puts("talking");
    } else if (strcmp(order, "mark\n") == 0) {
        mark();
    } else if (strcmp(order, "report\n") == 0) {
        report();
    } else if (strcmp(order, "quiet\n") == 0) {
        rate = 0;
        settle(0);
        puts("quiet");
    } else if (strcmp(order, "ask\n") == 0) {
        ask_all();
        count_out();
    } else {
        errno = EINVAL;
        client_die(order);
    }
    fflush(stdout);
}

int main(int count, char **arguments)
{
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
    char order[64];

    if (count != 4) {
        fputs("usage: handover PORT SECONDS SUITE\n", stderr);
        return 2;
    }
    port = (uint16_t)atoi(arguments[1]);
    suite = arguments[3];
    client_begin((unsigned)atoi(arguments[2]));
    context = client_context(suite, true);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0)
        client_die("epoll");
    setvbuf(stdin, NULL, _IONBF, 0);
    for (;;) {
        bool waiting = look(rate > 0 ? 1 : 1000);
        if (rate > 0)
            rotate();
        if (!waiting)
            continue;
        if (!fgets(order, sizeof order, stdin))
            return 0;
        obey(order);
    }
}
