/* Admission control: a connection that has waited too long for its handshake to begin is refused,
 * early and at a thirtieth of what a handshake costs.
 *
 * When more clients come than can be served, each waits until it gives up and comes back, and all
 * work is spent on those who have just left. So the part of the queue is refused that would not be
 * served in time anyway. The kernel keeps the queue (the sockets use TCP_DEFER_ACCEPT, so that a
 * queued connection has already sent its ClientHello) and knows for how long: the listener's
 * `queue-timeout` bounds it. The queue's length is bounded, too: what would soon overflow it is
 * refused at its front, because the kernel drops in silence at its end, and clients would wait for
 * the retries of their system. That also keeps the wait short: at three times the capacity the
 * queue moves three times as fast.
 *
 * An *episode* lasts from the first refusal until none was made for some seconds; each has one
 * event at its beginning and one at its end. */
#pragma once

#include "conf/conf.h"
#include "loop/socket.h"
#include "loop/loop.h"

struct handshaker;

/* Of one handshaker. Zeroed, then admission_init(). */
struct admission {
    struct timer end; /* of the episode */
    bool refusing;    /* an episode is on */
    uint16_t listener;
    uint64_t began_ns, last_ns; /* the first and the last refusal */
    uint64_t refused, admitted; /* in this episode */
    uint64_t longest_wait_ms;
};

enum admission_verdict {
    ADMISSION_GRANTED,
    ADMISSION_REFUSED, /* and closed */
    ADMISSION_GONE     /* the client had left; closed */
};

void admission_init(struct handshaker *handshaker);

/* How many connections at the front of a listening socket's queue are too many, so that it will
 * soon overflow. They are refused if the queue is also slow: a burst is served. */
unsigned admission_excess(const struct handshaker *handshaker, unsigned listener, int listening_fd);

/* Looks at a connection that was just accepted; `excess`: it is one of those. Asks the kernel for
 * the connection's waiting time, which costs a thousandth of a handshake. */
enum admission_verdict admission_check(struct handshaker *handshaker, unsigned listener, int fd,
                                       const struct address *client, bool excess);
