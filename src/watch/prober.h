/* One endpoint's connections: connect, the talk before TLS, the handshake, HTTP for HSTS, and what
 * --deep asks besides. Fills the endpoint; judges nothing. At most two connections unless deep. */
#pragma once

#include "loop/loop.h"
#include "watch/checker.h"

struct prober; /* the connections of a process */
struct prober_job;
typedef void prober_done_fn(void *context, struct endpoint *endpoint);

struct prober *prober_new(struct loop *loop); /* NULL: out of memory */
void prober_free(struct prober *prober);      /* accepts NULL; nobody is called back */
/* `endpoint` has target, name, sni, address and key type; it stays with the caller. Called back
 * once, never before this has returned. NULL: out of memory. */
struct prober_job *prober_start(struct prober *prober, struct endpoint *endpoint,
                                const struct checker_options *options, prober_done_fn *done,
                                void *context);
void prober_cancel(struct prober_job *job); /* accepts NULL */
