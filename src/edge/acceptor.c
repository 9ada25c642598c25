/* Listening sockets: who may come in, and when accepting pauses. Pausing never spins: the sockets
 * are unwatched until relays have granted credits or descriptors are free again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "edge/handshaker.h"

#define ACCEPTS_PER_EVENT  2  /* few, so that relays get sessions one by one and not in bursts */
#define REFUSALS_PER_EVENT 64 /* of connections that waited too long */
#define EXCESS_PER_EVENT   4  /* for want of room: a tenth of the cost of who is admitted */
#define RETRY_CREDITS_NS   (5 * NS_PER_MS)
#define RETRY_FDS_NS       (100 * NS_PER_MS)
#define REPORT_EVERY_NS    NS_PER_S

/* ---- which sockets ---- */

/* The bind addresses of the listeners in force, in order; NULL when out of memory. */
static struct acceptor_socket *list_sockets(const struct conf *conf, size_t *ret_count)
{
    size_t count = 0;

    for (size_t i = 0; i < conf->listener_count; i++)
        count += conf->listeners[i].bind.count;
    struct acceptor_socket *sockets = calloc(count + 1, sizeof *sockets);
    if (sockets == NULL)
        return NULL;
    count = 0;
    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        for (size_t j = 0; conf_listener_in_force(listener) && j < listener->bind.count; j++)
            sockets[count++] = (struct acceptor_socket){
                .fd = -1, .listener = (uint16_t)i, .address = listener->bind.items[j]};
    }
    *ret_count = count;
    return sockets;
}

bool acceptor_prepare(struct handshaker *handshaker)
{
    acceptor_forget(handshaker);
    handshaker->next_sockets =
        list_sockets(handshaker->worker.next_conf, &handshaker->next_socket_count);
    return handshaker->next_sockets != NULL;
}

void acceptor_forget(struct handshaker *handshaker)
{
    for (size_t i = 0; handshaker->next_sockets != NULL && i < handshaker->next_socket_count; i++) {
        if (handshaker->next_sockets[i].fd >= 0)
            ignore(close(handshaker->next_sockets[i].fd));
    }
    free(handshaker->next_sockets);
    handshaker->next_sockets = NULL;
    handshaker->next_socket_count = 0;
}

void acceptor_take_socket(struct handshaker *handshaker, unsigned number, int fd)
{
    bool coming = handshaker->next_sockets != NULL;
    struct acceptor_socket *sockets = coming ? handshaker->next_sockets : handshaker->sockets;
    size_t count = coming ? handshaker->next_socket_count : handshaker->socket_count;

    if (number >= count || sockets[number].fd >= 0) {
        ignore(close(fd));
        return;
    }
    sockets[number].fd = fd;
}

/* ---- watching and pausing ---- */

static void watch(struct handshaker *handshaker, unsigned number, bool wanted)
{
    struct acceptor_socket *it = &handshaker->sockets[number];

    if (it->fd < 0 || it->watched == wanted)
        return;
    if (!wanted)
        loop_unwatch(handshaker->worker.loop, it->fd);
    else if (!loop_watch(handshaker->worker.loop, it->fd, LOOP_READ | LOOP_EXCLUSIVE,
                         handshaker->socket_handler, number))
        return;
    it->watched = wanted;
}

static void watch_all(struct handshaker *handshaker, bool wanted)
{
    for (unsigned i = 0; i < handshaker->socket_count; i++)
        watch(handshaker, i, wanted && !handshaker->sockets[i].shut);
}

static void pause_accepting(struct handshaker *handshaker, uint64_t delay_ns)
{
    handshaker->paused = true;
    handshaker->report_resume = false;
    watch_all(handshaker, false);
    timer_set(handshaker->worker.loop, &handshaker->resume,
              loop_now(handshaker->worker.loop) + delay_ns);
}

static void report_pause(struct handshaker *handshaker, const char *why)
{
    uint64_t now_ns = loop_now(handshaker->worker.loop);
    struct event *event;

    worker_count(&handshaker->worker, COUNTER_ACCEPT_PAUSES, 1);
    if (now_ns < handshaker->pause_reported_ns + REPORT_EVERY_NS)
        return;
    handshaker->report_resume = true;
    event = event_begin(&handshaker->worker.events, EVENT_ACCEPT_PAUSED);
    if (event == NULL)
        return;
    handshaker->pause_reported_ns = now_ns;
    memcpy(event->detail, why, strlen(why) + 1);
    event_end(&handshaker->worker.events, EVENT_ACCEPT_PAUSED);
}

/* The kernel tells one watcher of a new connection and no other: who watches must be able to take
 * it. */
static bool has_room(struct handshaker *handshaker)
{
    if (dispatch_credits(handshaker) > 0)
        return true;
    pause_accepting(handshaker, RETRY_CREDITS_NS);
    return false;
}

void acceptor_update(struct handshaker *handshaker)
{
    bool wanted = handshaker->go && handshaker->certificates_complete && !handshaker->stopping &&
                  !handshaker->paused;

    if (!wanted || has_room(handshaker))
        watch_all(handshaker, wanted);
}

static void on_resume(void *context)
{
    struct handshaker *handshaker = context;
    struct event *event;

    if (dispatch_credits(handshaker) <= 0) {
        timer_set(handshaker->worker.loop, &handshaker->resume,
                  loop_now(handshaker->worker.loop) + RETRY_CREDITS_NS);
        return;
    }
    handshaker->paused = false;
    acceptor_update(handshaker);
    event = handshaker->report_resume
                ? event_begin(&handshaker->worker.events, EVENT_ACCEPT_RESUMED)
                : NULL;
    if (event != NULL)
        event_end(&handshaker->worker.events, EVENT_ACCEPT_RESUMED);
}

bool acceptor_init(struct handshaker *handshaker)
{
    timer_init(&handshaker->resume, on_resume, handshaker);
    handshaker->sockets = list_sockets(handshaker->worker.conf, &handshaker->socket_count);
    return handshaker->sockets != NULL;
}

/* ---- who may come in ---- */

static void refuse(struct handshaker *handshaker, unsigned listener, const uint8_t client[16],
                   enum counter counter, const char *why)
{
    struct event *event;

    worker_count(&handshaker->worker, counter, 1);
    board_add(&handshaker->worker.board->listeners[listener].refused, 1);
    event = event_begin(&handshaker->worker.events, EVENT_CONNECTION_REFUSED);
    if (event == NULL)
        return;
    event->listener = (uint16_t)listener;
    memcpy(event->client, client, sizeof event->client);
    memcpy(event->detail, why, strlen(why) + 1);
    event_end(&handshaker->worker.events, EVENT_CONNECTION_REFUSED);
}

bool acceptor_admits(struct handshaker *handshaker, unsigned listener, const uint8_t client[16])
{
    const struct conf_listener *conf = &handshaker->worker.conf->listeners[listener];

    if (network_list_contains(conf->deny.items, conf->deny.count, client) ||
        (conf->allow.count != 0 &&
         !network_list_contains(conf->allow.items, conf->allow.count, client))) {
        refuse(handshaker, listener, client, COUNTER_REFUSED_ACL,
               "the source address is not allowed");
        return false;
    }
    if (conf->max_connections != 0 &&
        board_listener_connections(handshaker->worker.board, listener) >= conf->max_connections) {
        refuse(handshaker, listener, client, COUNTER_REFUSED_LIMIT,
               "max-connections of the listener is reached");
        return false;
    }
    if (conf->max_connections_per_source != 0 &&
        board_source_count(handshaker->worker.board, listener, client) >=
            conf->max_connections_per_source) {
        refuse(handshaker, listener, client, COUNTER_REFUSED_LIMIT,
               "max-connections-per-source is reached");
        return false;
    }
    return true;
}

/* False when it was refused because it, or too many, waited too long. */
static bool accept_one(struct handshaker *handshaker, unsigned listener, int fd,
                       const struct address *client, bool excess)
{
    const struct conf_listener *conf = &handshaker->worker.conf->listeners[listener];
    uint8_t bytes[16];

    worker_count(&handshaker->worker, COUNTER_ACCEPTED, 1);
    board_add(&handshaker->worker.board->listeners[listener].accepted, 1);
    if (acceptor_drain_refuses(handshaker, listener, client)) {
        board_add(&handshaker->worker.board->listeners[listener].refused, 1);
        ignore(close(fd));
        return true;
    }
    if (admission_check(handshaker, listener, fd, client, excess) != ADMISSION_GRANTED)
        return false;
    address_bytes(bytes, client);
    bool behind_proxy =
        network_list_contains(conf->proxy_from.items, conf->proxy_from.count, bytes);
    if (!behind_proxy && !acceptor_admits(handshaker, listener, bytes))
        ignore(close(fd));
    else
        connection_begin(handshaker, listener, fd, client);
    return true;
}

void acceptor_event(struct handshaker *handshaker, unsigned number)
{
    if (number >= handshaker->socket_count || handshaker->sockets[number].fd < 0)
        return; /* removed earlier in this batch */
    handshaker->sockets[number].ready = true;
}

void acceptor_accept(struct handshaker *handshaker, unsigned number)
{
    const struct acceptor_socket *it = &handshaker->sockets[number];
    unsigned excess = admission_excess(handshaker, it->listener, it->fd);
    unsigned admitted = 0, refused = 0;

    if (excess > EXCESS_PER_EVENT)
        excess = EXCESS_PER_EVENT;
    for (;;) {
        struct address client = {.size = sizeof client.un};
        if (!has_room(handshaker)) {
            report_pause(handshaker, "the relays have no free session slots");
            return;
        }
        if (admitted == ACCEPTS_PER_EVENT || refused == REFUSALS_PER_EVENT)
            return;
        int fd = accept4(it->fd, &client.any, &client.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (accept_one(handshaker, it->listener, fd, &client, refused < excess))
                admitted++;
            else
                refused++;
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(handshaker, RETRY_FDS_NS);
            report_pause(handshaker, "no descriptors are left");
        }
        if (errno == EINVAL)
            acceptor_drain_shut(handshaker, number);
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

void acceptor_look(struct handshaker *handshaker)
{
    for (unsigned i = 0; i < handshaker->socket_count; i++)
        handshaker->sockets[i].ready = true;
}

void acceptor_run(struct handshaker *handshaker)
{
    for (unsigned i = 0; i < handshaker->socket_count; i++) {
        struct acceptor_socket *it = &handshaker->sockets[i];
        bool wanted = it->ready && it->watched;
        it->ready = false;
        if (wanted)
            acceptor_accept(handshaker, i);
    }
}

/* ---- another configuration ---- */

/* An address stays the same socket; which listener has it may change. */
static void keep_socket(struct acceptor_socket *before, size_t count, struct acceptor_socket *next)
{
    for (size_t i = 0; i < count && next->fd < 0; i++) {
        if (before[i].fd >= 0 && address_equal(&before[i].address, &next->address)) {
            next->fd = before[i].fd;
            next->shut = before[i].shut;
            next->shut_told = before[i].shut_told;
            before[i].fd = -1;
        }
    }
}

/* What the kernel has queued came while the listener was there: it is served. */
static void end_socket(struct handshaker *handshaker, struct acceptor_socket *it)
{
    const struct conf_listener *listener = &handshaker->worker.conf->listeners[it->listener];

    for (int i = 0; i < listener->backlog && dispatch_credits(handshaker) > 0; i++) {
        struct address client = {.size = sizeof client.un};
        int fd = accept4(it->fd, &client.any, &client.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            ignore(accept_one(handshaker, it->listener, fd, &client, false));
        else if (errno != EINTR && errno != ECONNABORTED)
            break;
    }
    ignore(close(it->fd));
}

void acceptor_swap(struct handshaker *handshaker)
{
    struct acceptor_socket *before = handshaker->sockets;
    size_t count = handshaker->socket_count;

    /* A watch carries the socket's number, and numbers change. */
    for (unsigned i = 0; i < count; i++)
        watch(handshaker, i, false);
    for (size_t i = 0; i < handshaker->next_socket_count; i++)
        keep_socket(before, count, &handshaker->next_sockets[i]);
    handshaker->sockets = handshaker->next_sockets;
    handshaker->socket_count = handshaker->next_socket_count;
    handshaker->next_sockets = NULL;
    handshaker->next_socket_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (before[i].fd >= 0)
            end_socket(handshaker, &before[i]);
    }
    free(before);
    acceptor_update(handshaker);
}
