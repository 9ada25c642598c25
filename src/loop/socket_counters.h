/* How much of a TCP stream this host's readers have taken and its writers have handed in, as the
 * kernel counts it: what a process had done to a socket can be told after its death.
 *
 * Linux only counts what is the same for all holders of a descriptor: bytes received in order less
 * those that wait to be read; bytes acknowledged and bytes that wait for it. Both are here modulo
 * 2^32 and only differences mean anything: how a connection began shifts them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

struct socket_counters {
    uint32_t received; /* taken by readers; the end of stream counts for nothing */
    uint32_t sent;     /* handed in by writers; only valid before shutdown(SHUT_WR) */
    bool closed;       /* the connection is over, by a reset or by both ends */
};

/* False when the socket is no TCP connection or its counters never stood still. */
MUST_CHECK bool socket_counters(int fd, struct socket_counters *ret_counters);

/* Do this kernel's counters behave (not every sandbox's do)? Tries it on a connection over
 * loopback, an end of stream included. */
bool socket_counters_work(void);
