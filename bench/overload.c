/* More clients than can be served. First what the server does at best: connections with a full
 * handshake, one request and a clean end, as many at once as it takes to keep it busy. Then others
 * open connections at a multiple of that pace, whatever becomes of them (open loop). A client gives
 * up after 5 s. Whether an arrival is a new client or one that was refused and comes back is the
 * same to the server; there is no other retry.
 *
 * Meanwhile an established session is asked (probe.c). Dialogue with whoever runs it as in load.c;
 * "storm" is printed when the time begins that counts: clients have begun to give up by then. */
#include "client.h"
#include "probe.h"
#include "quick.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define PLACES_MAX    60000u
#define EVENTS        256
#define SECOND        1000000000ull
#define PATIENCE      (5 * SECOND)
#define BUSY          64u /* at once, to find the best pace */
#define QUIET_SECONDS 2u
#define PEAK_SECONDS  3u
#define SOURCES       16u /* addresses to come from: one has too few ports */

struct connection {
    struct connection *next, *previous; /* in the order of their age; or free */
    int fd;
    bool asked, ending;
    uint64_t begin;
    size_t in_length;
    uint8_t *in; /* once something came */
    struct quick quick;
    struct answer answer;
};

struct counts {
    unsigned finished, refused, given_up, not_sent, broken;
};

static struct {
    uint16_t port;
    double times;
    unsigned seconds;
    const char *suite;
} options;

static const char request[] = "GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n";
static int epoll;
static struct connection *connections, *free_list, *oldest, *newest;
static unsigned open_count;
static struct counts counts;
static bool keep_busy;          /* each end is a new beginning */
static struct latencies *waits; /* from the beginning to the answer */

/* ---- one connection ---- */

static void link_newest(struct connection *it)
{
    it->next = NULL;
    it->previous = newest;
    if (newest)
        newest->next = it;
    else
        oldest = it;
    newest = it;
    open_count++;
}

static void end(struct connection *it)
{
    *(it->previous ? &it->previous->next : &oldest) = it->next;
    *(it->next ? &it->next->previous : &newest) = it->previous;
    open_count--;
    close(it->fd);
    free(it->in);
    it->in = NULL;
    it->next = free_list;
    free_list = it;
}

static void begin(void)
{
    static uint32_t turn;
    struct sockaddr_in source = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + turn++ % SOURCES)};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct connection *it = free_list;
    int fd = it ? socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;

    if (fd < 0) {
        counts.not_sent++;
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = it};
    if (bind(fd, (struct sockaddr *)&source, sizeof(source)) != 0 ||
        (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 && errno != EINPROGRESS) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        counts.not_sent++;
        close(fd);
        return;
    }
    free_list = it->next;
    it->fd = fd;
    it->asked = it->ending = false;
    it->in_length = 0;
    it->begin = client_now();
    link_newest(it);
}

/* Sends the ClientHello once the connection stands. */
static void ask(struct connection *it)
{
    uint8_t out[QUICK_OUT_MAX];
    size_t length = quick_hello(&it->quick, out);

    it->asked = true;
    send(it->fd, out, length, MSG_NOSIGNAL); /* what fails shows in the next read */
}

static void send_request(struct connection *it)
{
    uint8_t out[2 * QUICK_OUT_MAX];
    size_t length = quick_finish(&it->quick, out);

    length += quick_seal(&it->quick, 23, request, sizeof(request) - 1, out + length);
    answer_start(&it->answer);
    send(it->fd, out, length, MSG_NOSIGNAL);
}

static void say_goodbye(struct connection *it)
{
    uint8_t out[QUICK_OUT_MAX];
    size_t length = quick_seal(&it->quick, 21, (const uint8_t[]){1, 0}, 2, out);

    send(it->fd, out, length, MSG_NOSIGNAL);
    shutdown(it->fd, SHUT_WR);
    it->ending = true;
    counts.finished++;
    if (waits)
        latencies_add(waits, (double)(client_now() - it->begin) / 1e3);
}

/* Takes all whole records; false when they are not what they should be. */
static bool take(struct connection *it)
{
    size_t taken = 0, used = 1;

    while (used > 0 && !it->ending) {
        const uint8_t *data;
        size_t length;
        int fed = 0;
        switch (
            quick_feed(&it->quick, it->in + taken, it->in_length - taken, &used, &data, &length)) {
        case QUICK_FAILED:
            return false;
        case QUICK_HANDSHAKEN:
            send_request(it);
            break;
        case QUICK_DATA:
            fed = answer_feed(&it->answer, (const char *)data, length);
            break;
        case QUICK_MORE:
            break;
        }
        if (fed < 0)
            return false;
        if (fed > 0)
            say_goodbye(it);
        taken += used;
    }
    it->in_length -= taken;
    memmove(it->in, it->in + taken, it->in_length);
    return true;
}

/* A connection that ends before its handshake was refused. */
static void lost(struct connection *it)
{
    if (!it->ending)
        *(it->in_length || it->quick.established ? &counts.broken : &counts.refused) += 1;
    end(it);
    if (keep_busy)
        begin();
}

static void advance(struct connection *it, uint32_t events)
{
    if (!it->asked && events & EPOLLOUT)
        ask(it);
    if (!it->in && events & (EPOLLIN | EPOLLERR | EPOLLHUP) && !(it->in = malloc(QUICK_IN_MAX)))
        client_die("memory");
    while (it->in) {
        if (it->ending)
            it->in_length = 0; /* the peer's close_notify, of no interest */
        ssize_t n = recv(it->fd, it->in + it->in_length, QUICK_IN_MAX - it->in_length, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            lost(it);
            return;
        }
        it->in_length += (size_t)n;
        if (!it->ending && !take(it)) {
            counts.broken++;
            end(it);
            return;
        }
    }
}

/* ---- all of them ---- */

static void give_up(void)
{
    while (oldest && client_now() > oldest->begin + PATIENCE) {
        if (!oldest->ending)
            counts.given_up++;
        end(oldest);
    }
}

static void wait_events(uint64_t until)
{
    struct epoll_event events[EVENTS];
    int count = client_wait(epoll, events, EVENTS, until);

    for (int i = 0; i < count; i++)
        advance(events[i].data.ptr, events[i].events);
    give_up();
}

/* Returns how many were finished in a second. */
static double find_peak(void)
{
    keep_busy = true;
    for (unsigned i = 0; i < BUSY; i++)
        begin();
    uint64_t from = client_now() + SECOND / 2, to = from + PEAK_SECONDS * SECOND;
    while (client_now() < from)
        wait_events(from);
    counts.finished = 0;
    while (client_now() < to)
        wait_events(to);
    keep_busy = false;
    double peak = counts.finished / (double)PEAK_SECONDS;
    to = client_now() + SECOND;
    while (open_count && client_now() < to)
        wait_events(to);
    return peak;
}

static void rage(double rate, uint64_t to)
{
    for (uint64_t next = client_now(); client_now() < to;) {
        for (unsigned i = 0; next <= client_now() && i < EVENTS; i++) {
            begin();
            next += client_gap(rate);
        }
        wait_events(next < to ? next : to);
    }
}

static void set_up(void)
{
    struct rlimit limit;
    unsigned places = PLACES_MAX;

    client_begin(options.seconds * 2 + 60);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        struct rlimit most = {PLACES_MAX + 100, PLACES_MAX + 100};
        if (setrlimit(RLIMIT_NOFILE, &most) != 0) {
            limit.rlim_cur = limit.rlim_max;
            setrlimit(RLIMIT_NOFILE, &limit);
            places = limit.rlim_max < PLACES_MAX + 100 ? (unsigned)limit.rlim_max - 100 : places;
        }
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc(places, sizeof(*connections));
    if (epoll < 0 || !connections || !quick_setup())
        client_die("set-up");
    for (unsigned i = 0; i < places; i++) {
        connections[i].next = free_list;
        free_list = &connections[i];
    }
}

int main(int argc, char **argv)
{
    static struct latencies quiet, storm, answered;

    if (argc != 5 || (options.times = atof(argv[2])) <= 0 ||
        !(options.seconds = (unsigned)atoi(argv[3]))) {
        fputs("usage: overload PORT TIMES SECONDS SUITE\n", stderr);
        return 2;
    }
    options.port = (uint16_t)atoi(argv[1]);
    options.suite = argv[4];
    set_up();
    probe_connect(options.port, options.suite);
    puts("ready");
    client_wait_line();
    probe_into(&quiet);
    bool realtime = probe_start();
    uint64_t to = client_now() + QUIET_SECONDS * SECOND;
    while (client_now() < to)
        wait_events(to);
    probe_into(NULL);
    double peak = find_peak();
    rage(peak * options.times, client_now() + PATIENCE + SECOND);
    puts("storm");
    fflush(stdout);
    counts = (struct counts){0};
    waits = &answered;
    probe_into(&storm);
    uint64_t from = client_now();
    rage(peak * options.times, from + options.seconds * SECOND);
    double seconds = (double)(client_now() - from) / (double)SECOND;
    probe_stop();
    printf("{\"finished\": %u, \"failed\": 0, \"refused\": %u, \"given_up\": %u, \"not_sent\": %u, "
           "\"broken\": %u, \"seconds\": %.3f, \"peak\": %.1f, \"realtime\": %s",
           counts.finished, counts.refused, counts.given_up, counts.not_sent, counts.broken,
           seconds, peak, realtime ? "true" : "false");
    latencies_print("quiet", &quiet);
    latencies_print("storm", &storm);
    latencies_print("answered", &answered);
    puts("}");
    client_wait_line();
    return 0;
}
