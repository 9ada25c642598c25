/* The inside of a prober, shared by its files: prober.c (jobs and their first look), and
 * prober_inventory.c (what is asked in connections of their own). */
#pragma once

#include "base/buffer.h"
#include "tls/probe_hello.h"
#include "watch/call.h"
#include "watch/prober.h"

struct inventory; /* prober_inventory.c */

struct prober_job {
    struct prober *prober;
    struct prober_job *previous, *next;
    struct endpoint *endpoint;
    const struct checker_options *options;
    prober_done_fn *done;
    void *context;
    struct call call;
    struct probe *probe;    /* of this connection; NULL: none */
    struct buffer response; /* HTTP */
    bool over;              /* shaken hands: what comes now is HTTP, or the server's farewell */
    uint64_t shaken_ns;
    struct probe_session *session; /* of the first look, when resumption is asked about */
    struct inventory *inventory;   /* NULL: not asked for */
};

struct caller *prober_caller(const struct prober *prober);

/* The offer of this endpoint, as its first look makes it. */
struct probe_offer prober_offer(const struct prober_job *job);
/* Tells the owner; the job is gone. */
void prober_finish(struct prober_job *job);
/* What the probe wants to send goes out. */
void prober_send(struct prober_job *job);

/* Is anything asked that needs connections of its own? */
bool inventory_wanted(const struct prober_job *job);
/* Begins with them; prober_finish() in the end. */
void inventory_start(struct prober_job *job);
void inventory_free(struct inventory *inventory); /* accepts NULL */
