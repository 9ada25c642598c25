#include "admin/peers.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECEIVE_MAX 64 /* messages of one peer per event */

static uint64_t peer_tag(const struct peer *peer)
{
    return (uint64_t)peer->serial << 16 | (uint64_t)peer->kind << 8 | peer->index;
}

static void drop_first(struct peer *peer)
{
    struct peer_message *message = peer->first;

    peer->first = message->next;
    if (peer->first == NULL)
        peer->last = NULL;
    peer->queued--;
    if (message->fd >= 0)
        close(message->fd);
    free(message);
}

static void disconnect(struct peer *peer)
{
    bool connected = peer->fd >= 0;

    while (peer->first != NULL)
        drop_first(peer);
    if (!connected)
        return;
    loop_unwatch(peer->peers->loop, peer->fd);
    close(peer->fd);
    peer->fd = -1;
    peer->waiting = false;
    if (peer->peers->ended != NULL)
        peer->peers->ended(peer->peers->context, peer);
}

static void set_waiting(struct peer *peer, bool waiting)
{
    unsigned events = waiting ? LOOP_READ | LOOP_WRITE : LOOP_READ;

    if (peer->waiting != waiting &&
        loop_change(peer->peers->loop, peer->fd, events, peer->peers->handler, peer_tag(peer)))
        peer->waiting = waiting;
}

static enum channel_result transmit(struct peer *peer, uint32_t type, const void *body, size_t size,
                                    int fd)
{
    return channel_send(peer->fd, type, body, size, fd >= 0 ? &fd : NULL, fd >= 0 ? 1 : 0);
}

static void flush(struct peer *peer)
{
    while (peer->first != NULL) {
        const struct peer_message *message = peer->first;
        switch (transmit(peer, message->type, message->body, message->size, message->fd)) {
        case CHANNEL_DONE:
        case CHANNEL_BAD:
            drop_first(peer);
            break;
        case CHANNEL_FULL:
            set_waiting(peer, true);
            return;
        case CHANNEL_CLOSED:
            disconnect(peer);
            return;
        }
    }
    set_waiting(peer, false);
}

static void receive(struct peer *peer)
{
    struct peers *peers = peer->peers;

    for (int i = 0; i < RECEIVE_MAX && peer->fd >= 0; i++) {
        switch (channel_receive(peer->fd, peers->message)) {
        case CHANNEL_DONE:
            peers->received(peers->context, peer, peers->message);
            message_fini(peers->message);
            break;
        case CHANNEL_FULL:
            return;
        case CHANNEL_BAD:
        case CHANNEL_CLOSED:
            disconnect(peer); /* the supervisor restarts it and sends a new channel */
            return;
        }
    }
}

static void on_peer(void *context, uint64_t tag, unsigned events)
{
    struct peer *peer =
        peers_find(context, (enum process_kind)(tag >> 8 & 0xff), (unsigned)(tag & 0xff));

    if (peer == NULL || peer->fd < 0 || peer_tag(peer) != tag)
        return;
    if ((events & LOOP_WRITE) != 0)
        flush(peer);
    if ((events & LOOP_READ) != 0 && peer->fd >= 0)
        receive(peer);
}

void peers_init(struct peers *peers, struct loop *loop, struct message *message,
                peer_message_fn *received, peer_ended_fn *ended, void *context)
{
    *peers = (struct peers){
        .loop = loop, .message = message, .received = received, .ended = ended, .context = context};
    peers->handler = loop_handler(loop, on_peer, peers);
    for (unsigned i = 0; i < BOARD_WORKERS_MAX; i++) {
        peers->handshakers[i] =
            (struct peer){.peers = peers, .kind = PROCESS_HANDSHAKER, .index = i, .fd = -1};
        peers->relays[i] =
            (struct peer){.peers = peers, .kind = PROCESS_RELAY, .index = i, .fd = -1};
    }
}

void peers_fini(struct peers *peers)
{
    peers->ended = NULL;
    for (unsigned i = 0; peers->loop != NULL && i < BOARD_WORKERS_MAX; i++) {
        disconnect(&peers->handshakers[i]);
        disconnect(&peers->relays[i]);
    }
}

struct peer *peers_find(struct peers *peers, enum process_kind kind, unsigned index)
{
    if (index >= BOARD_WORKERS_MAX)
        return NULL;
    if (kind == PROCESS_HANDSHAKER)
        return &peers->handshakers[index];
    return kind == PROCESS_RELAY ? &peers->relays[index] : NULL;
}

bool peer_connect(struct peer *peer, int channel_fd)
{
    disconnect(peer);
    peer->serial++;
    if (!loop_watch(peer->peers->loop, channel_fd, LOOP_READ, peer->peers->handler,
                    peer_tag(peer))) {
        close(channel_fd);
        return false;
    }
    peer->fd = channel_fd;
    return true;
}

static bool enqueue(struct peer *peer, uint32_t type, const void *body, size_t size, int fd)
{
    if (peer->queued == PEER_QUEUE_MAX)
        return false;
    struct peer_message *message = malloc(sizeof *message + size);
    if (message == NULL)
        return false;
    message->next = NULL;
    message->type = type;
    message->size = (uint32_t)size;
    message->fd = -1;
    if (size > 0)
        memcpy(message->body, body, size);
    if (fd >= 0) {
        message->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (message->fd < 0) {
            free(message);
            return false;
        }
    }
    if (peer->last != NULL)
        peer->last->next = message;
    else
        peer->first = message;
    peer->last = message;
    peer->queued++;
    set_waiting(peer, true);
    return true;
}

bool peer_send(struct peer *peer, uint32_t type, const void *body, size_t size, int fd)
{
    if (peer->fd < 0)
        return false;
    if (peer->first == NULL) {
        enum channel_result result = transmit(peer, type, body, size, fd);
        if (result != CHANNEL_FULL)
            return result == CHANNEL_DONE;
    }
    return enqueue(peer, type, body, size, fd);
}
