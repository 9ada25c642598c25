/* Typed messages with descriptors between our processes, over SOCK_SEQPACKET socket pairs.
 *
 * A message is a header {type, size} and a body, both plain values; senders and receivers are of
 * the same build or agree through the version in the hello. A full queue is back-pressure
 * (CHANNEL_FULL), never an error: the sender keeps its object and tries again when the channel is
 * writable. Message types: ipc/messages.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

#define CHANNEL_BODY_MAX 65536
#define CHANNEL_FDS_MAX  64

enum channel_result {
    CHANNEL_DONE,
    CHANNEL_FULL,   /* sending: no room; receiving: nothing there */
    CHANNEL_CLOSED, /* the other side is gone, or this one */
    CHANNEL_BAD     /* receiving: malformed: wrong size, truncated control data (its descriptors are
                       closed), the next may be good; sending: the system refuses it */
};

struct message {
    uint32_t type;
    uint32_t size; /* of body */
    size_t fd_count;
    int fds[CHANNEL_FDS_MAX]; /* owned by the receiver; set an entry to -1 when taken, message_fini
                                 closes the rest */
    uint8_t body[CHANNEL_BODY_MAX] __attribute__((aligned(16)));
};

/* Both ends non-blocking, close-on-exec, with room for `queue_bytes`. Returns false when the system
 * refuses. */
MUST_CHECK bool channel_pair(int ret_fds[2], size_t queue_bytes);

/* Sends one message; `fds` stay open here. */
MUST_CHECK enum channel_result channel_send(int fd, uint32_t type, const void *body, size_t size,
                                            const int *fds, size_t fd_count);
MUST_CHECK enum channel_result channel_receive(int fd, struct message *ret_message);
void message_fini(struct message *message);
