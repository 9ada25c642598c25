/* Control's channels to handshakers and relays. What does not fit into a channel waits in a queue,
 * in order, until it is writable; a peer that is replaced starts with an empty queue. */
#pragma once

#include "ipc/channel.h"
#include "loop/loop.h"
#include "session/messages.h"

#define PEER_QUEUE_MAX 65536 /* messages waiting for one peer */

struct peer_message {
    struct peer_message *next;
    uint32_t type, size;
    int fd; /* -1: none; owned */
    uint8_t body[];
};

struct peers;

struct peer {
    struct peers *peers;
    enum process_kind kind;
    unsigned index;
    int fd; /* -1: not connected; owned */
    uint32_t serial;
    bool waiting; /* watched for room */
    struct peer_message *first, *last;
    size_t queued;
};

/* A message of a peer; its descriptors belong to the receiver as ipc/channel.h says. */
typedef void peer_message_fn(void *context, struct peer *peer, struct message *message);

/* Its channel is gone. */
typedef void peer_ended_fn(void *context, struct peer *peer);

struct peers {
    struct loop *loop;
    struct message *message; /* receive buffer, borrowed */
    uint8_t handler;
    peer_message_fn *received;
    peer_ended_fn *ended;
    void *context;
    struct peer handshakers[BOARD_WORKERS_MAX], relays[BOARD_WORKERS_MAX];
};

void peers_init(struct peers *peers, struct loop *loop, struct message *message,
                peer_message_fn *received, peer_ended_fn *ended, void *context);
void peers_fini(struct peers *peers); /* accepts zeroed */

/* The peer of this kind and index, connected or not; NULL for any other kind or number. */
struct peer *peers_find(struct peers *peers, enum process_kind kind, unsigned index);

/* Takes over the channel to a (new) process; an earlier one is closed and its queue dropped. False
 * when it cannot be watched. */
MUST_CHECK bool peer_connect(struct peer *peer, int channel_fd);

/* Sends or queues a message with at most one descriptor (-1: none; stays open here). False when the
 * peer is not connected or its queue is full. */
bool peer_send(struct peer *peer, uint32_t type, const void *body, size_t size, int fd);
