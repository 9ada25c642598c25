/* Upstream servers as one process sees them: addresses, balancing, health. Administrative state,
 * health results and session counts are shared through the board. Each relay probes every server at
 * interval × relays and publishes what it finds. */
#pragma once

#include "edge/worker.h"

struct upstreams;

struct upstreams *upstreams_new(struct worker *worker); /* NULL: out of memory */
void upstreams_free(struct upstreams *upstreams);

/* Follows worker->conf, which was reloaded: servers that stay keep their address and all else that
 * is known of them. `before` is the configuration until now, not yet freed. */
void upstreams_reload(struct upstreams *upstreams, const struct conf *before);

/* Chooses a server for a client by the upstream's policy, leaving out servers that are down,
 * draining, full, without address, or in `tried` (bit per server modulo 64). -1: none. */
int upstreams_choose(struct upstreams *upstreams, unsigned upstream, const uint8_t client[16],
                     uint64_t tried);

/* Begins to connect (next source address of the upstream included). Returns the descriptor or
 * -errno. */
int upstreams_connect(struct upstreams *upstreams, unsigned upstream, unsigned server,
                      struct address *ret_address);

/* Sets what only a connection that lasts needs (keep-alive, user time-out); short ones do not pay
 * for it. */
void upstreams_settle(struct upstreams *upstreams, unsigned upstream, int fd);

/* A session of this relay begins (+1) or ends (-1) at a server. */
void upstreams_count(struct upstreams *upstreams, unsigned upstream, unsigned server, int change);
/* What became of a connection attempt; failures without active checks keep a server out for a
 * second. */
void upstreams_connected(struct upstreams *upstreams, unsigned upstream, unsigned server,
                         bool success, uint64_t duration_us);

void upstreams_address(struct upstreams *upstreams, const struct message_address *body);
