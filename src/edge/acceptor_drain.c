/* Listening sockets in a drain. All processes share the open sockets: the first handshaker that
 * looks shuts one, and clients are refused at once instead of waiting in its queue; the first one
 * that looks after the drain has it listen again. Whoever comes second changes nothing: therefore
 * connect(AF_UNSPEC) and not shutdown(), which marks a socket that does not listen any more, and
 * with it every connection accepted later, as ended.
 *
 * A Unix socket that was shut can never listen again: there, clients are accepted and closed. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "edge/handshaker.h"
#include "edge/sandbox.h"

#define LOOK_NS     NS_PER_S
#define REPAIR_NS   (100 * NS_PER_MS)
#define QUEUE_TURNS 128u /* of accepting what is queued, before the rest is refused */

static int option_of(int fd, int option)
{
    int value = 0;
    socklen_t size = sizeof value;

    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

/* Those who are in the queue came before the drain. */
static void accept_queued(struct handshaker *handshaker, unsigned number)
{
    const uint64_t *accepted = &handshaker->worker.self->counters[COUNTER_ACCEPTED];
    uint64_t before;

    for (unsigned i = 0; i < QUEUE_TURNS && handshaker->sockets[number].watched; i++) {
        before = *accepted;
        acceptor_accept(handshaker, number);
        if (*accepted == before)
            return;
    }
}

static void shut(struct handshaker *handshaker, unsigned number)
{
    static const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    struct acceptor_socket *it = &handshaker->sockets[number];

    if (it->shut && option_of(it->fd, SO_ACCEPTCONN) == 0)
        return;
    accept_queued(handshaker, number);
    it->shut = true;
    acceptor_update(handshaker); /* unwatched first: a shut socket reports itself without end */
    ignore(connect(it->fd, &nowhere, SANDBOX_CONNECT_SIZE));
}

static void reopen(struct handshaker *handshaker, unsigned number)
{
    struct acceptor_socket *it = &handshaker->sockets[number];
    const struct conf_listener *listener = &handshaker->worker.conf->listeners[it->listener];

    if (!it->shut && option_of(it->fd, SO_ACCEPTCONN) != 0)
        return;
    it->shut = listen(it->fd, listener->backlog) != 0;
    if (it->shut && !it->shut_told)
        worker_warn(&handshaker->worker,
                    "listener %s cannot listen again: %s (is its port in use by another program?)",
                    listener->name, strerror(errno));
    it->shut_told = it->shut;
}

/* Accepting ends without a further message when the notice of a drain is over. */
static uint64_t next_look(const struct handshaker *handshaker)
{
    uint64_t next = handshaker->now_ns + LOOK_NS;
    struct drain drain;

    if (board_drain_read(&handshaker->worker.board->drain, &drain) &&
        drain.accept_until_ns > handshaker->now_ns && drain.accept_until_ns < next)
        next = drain.accept_until_ns;
    return next;
}

void acceptor_drain_look(struct handshaker *handshaker)
{
    if (handshaker->stopping)
        return;
    handshaker->now_ns = loop_now(handshaker->worker.loop);
    for (unsigned i = 0; i < handshaker->socket_count; i++) {
        const struct acceptor_socket *it = &handshaker->sockets[i];
        if (it->fd < 0 || option_of(it->fd, SO_DOMAIN) == AF_UNIX)
            continue;
        if (board_accepts(handshaker->worker.board, it->listener, handshaker->now_ns))
            reopen(handshaker, i);
        else
            shut(handshaker, i);
    }
    acceptor_update(handshaker);
    timer_set(handshaker->worker.loop, &handshaker->drain, next_look(handshaker));
}

static void on_timer(void *context)
{
    acceptor_drain_look(context);
    acceptor_look(context);
}

void acceptor_drain_init(struct handshaker *handshaker)
{
    timer_init(&handshaker->drain, on_timer, handshaker);
}

void acceptor_drain_shut(struct handshaker *handshaker, unsigned number)
{
    handshaker->sockets[number].shut = true;
    acceptor_update(handshaker);
    timer_set(handshaker->worker.loop, &handshaker->drain, handshaker->now_ns + REPAIR_NS);
}

bool acceptor_drain_refuses(const struct handshaker *handshaker, unsigned listener,
                            const struct address *client)
{
    return client->any.sa_family == AF_UNIX &&
           !board_accepts(handshaker->worker.board, listener, handshaker->now_ns);
}
