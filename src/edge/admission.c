#include "edge/admission.h"

#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "edge/handshaker.h"

#define EPISODE_END_NS (3 * NS_PER_S) /* without a refusal */
#define BURST_SHARE    8              /* of queue-timeout: a queue that moves faster is none */
#define LONG_GONE_MS   250 /* who closed and waited this long expects no answer any more */
#define QUEUE_ROOM     8   /* an eighth of the backlog is kept free for what comes meanwhile */
#define DISCARD_MAX    (1u << 20)

/* ---- episodes ---- */

static void end_episode(struct handshaker *handshaker)
{
    struct admission *it = &handshaker->admission;
    struct event *event = event_begin(&handshaker->worker.events, EVENT_OVERLOAD_ENDED);

    it->refusing = false;
    __atomic_store_n(&handshaker->worker.self->overloaded, 0, __ATOMIC_RELAXED);
    if (event == NULL)
        return;
    event->listener = it->listener;
    event->duration_us = (it->last_ns - it->began_ns) / NS_PER_US;
    ignore(snprintf(event->detail, sizeof event->detail,
                    "%" PRIu64 " connections refused, %" PRIu64
                    " admitted; the longest wait was %" PRIu64 " ms",
                    it->refused, it->admitted, it->longest_wait_ms));
    event_end(&handshaker->worker.events, EVENT_OVERLOAD_ENDED);
}

static void on_quiet(void *context)
{
    struct handshaker *handshaker = context;
    struct admission *it = &handshaker->admission;

    if (loop_now(handshaker->worker.loop) < it->last_ns + EPISODE_END_NS)
        timer_set(handshaker->worker.loop, &it->end, it->last_ns + EPISODE_END_NS);
    else
        end_episode(handshaker);
}

static void begin_episode(struct handshaker *handshaker, unsigned listener, uint32_t waited_ms,
                          bool excess)
{
    const struct conf_listener *conf = &handshaker->worker.conf->listeners[listener];
    struct admission *it = &handshaker->admission;
    struct event *event = event_begin(&handshaker->worker.events, EVENT_OVERLOAD_BEGAN);

    it->refusing = true;
    it->listener = (uint16_t)listener;
    it->began_ns = handshaker->now_ns;
    it->refused = it->admitted = it->longest_wait_ms = 0;
    timer_set(handshaker->worker.loop, &it->end, it->began_ns + EPISODE_END_NS);
    __atomic_store_n(&handshaker->worker.self->overloaded, 1, __ATOMIC_RELAXED);
    if (event == NULL)
        return;
    event->listener = (uint16_t)listener;
    ignore(snprintf(event->detail, sizeof event->detail,
                    "a connection waited %" PRIu32 " ms (queue-timeout %" PRIu64
                    " ms)%s: refusing with %s",
                    waited_ms, conf->queue_timeout, excess ? " and the backlog is nearly full" : "",
                    conf->overload_action == CONF_OVERLOAD_ALERT ? "an alert" : "a reset"));
    event_end(&handshaker->worker.events, EVENT_OVERLOAD_BEGAN);
}

/* ---- refusing ---- */

/* An alert in the clear. What was sent is taken in first: closing on top of it would send a reset
 * that some systems let overtake the alert. */
static void send_alert(int fd)
{
    static const uint8_t record[] = {RECORD_ALERT, 3, 3, 0, 2, 2, ALERT_INTERNAL_ERROR};

    ignore(recv(fd, NULL, DISCARD_MAX, MSG_TRUNC));
    ignore(send(fd, record, sizeof record, MSG_NOSIGNAL));
}

static void refuse(struct handshaker *handshaker, unsigned listener, int fd, uint32_t waited_ms,
                   bool excess)
{
    static const struct linger reset = {.l_onoff = 1};
    struct admission *it = &handshaker->admission;

    if (!it->refusing)
        begin_episode(handshaker, listener, waited_ms, excess);
    it->refused++;
    it->last_ns = handshaker->now_ns;
    if (waited_ms > it->longest_wait_ms)
        it->longest_wait_ms = waited_ms;
    worker_count(&handshaker->worker, COUNTER_REFUSED_OVERLOAD, 1);
    board_add(&handshaker->worker.board->listeners[listener].refused, 1);
    if (handshaker->worker.conf->listeners[listener].overload_action == CONF_OVERLOAD_ALERT)
        send_alert(fd);
    else
        ignore(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset));
    ignore(close(fd));
}

/* ---- checking ---- */

/* Control looks at what is served in just such a time, too. */
static bool is_dial(const struct handshaker *handshaker, const struct address *client)
{
    uint8_t bytes[16];

    address_bytes(bytes, client);
    return board_is_dial(handshaker->worker.board, bytes, address_port(client));
}

static bool ask(int fd, struct tcp_info *info)
{
    socklen_t size = sizeof *info;

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &size) == 0;
}

void admission_init(struct handshaker *handshaker)
{
    timer_init(&handshaker->admission.end, on_quiet, handshaker);
    __atomic_store_n(&handshaker->worker.self->overloaded, 0, __ATOMIC_RELAXED);
}

unsigned admission_excess(const struct handshaker *handshaker, unsigned listener, int listening_fd)
{
    struct tcp_info info = {0};

    if (handshaker->worker.conf->listeners[listener].queue_timeout == 0 ||
        !ask(listening_fd, &info))
        return 0;
    /* Of a listening socket these two are the length of its queue and what it may be. */
    uint32_t full = info.tcpi_sacked - info.tcpi_sacked / QUEUE_ROOM;
    return info.tcpi_unacked > full ? info.tcpi_unacked - full : 0;
}

enum admission_verdict admission_check(struct handshaker *handshaker, unsigned listener, int fd,
                                       const struct address *client, bool excess)
{
    uint64_t limit = handshaker->worker.conf->listeners[listener].queue_timeout;
    struct tcp_info info = {0};

    if (limit == 0 || !ask(fd, &info)) /* a Unix socket */
        return ADMISSION_GRANTED;
    /* Since the ClientHello came: the socket is accepted no earlier (TCP_DEFER_ACCEPT). */
    uint32_t waited_ms = info.tcpi_last_data_recv;
    if (waited_ms >= LONG_GONE_MS && info.tcpi_state != TCP_ESTABLISHED) {
        worker_count(&handshaker->worker, COUNTER_GONE, 1);
        ignore(close(fd));
        return ADMISSION_GONE;
    }
    if (waited_ms > (excess ? limit / BURST_SHARE : limit) && !is_dial(handshaker, client)) {
        refuse(handshaker, listener, fd, waited_ms, excess);
        return ADMISSION_REFUSED;
    }
    handshaker->admission.admitted++;
    return ADMISSION_GRANTED;
}
