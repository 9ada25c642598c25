/* Addresses of upstream servers that are configured by name.
 *
 * getaddrinfo() blocks, so a forked child asks and reports through a pipe; it holds no descriptor
 * but that pipe, and memory with secrets is not inherited (base/secret.h). Asked at start and every
 * 30 seconds. An address that is still among the answers is kept, so that servers behind several
 * addresses do not wander; when a name no longer resolves, its last address stays. */
#pragma once

#include <sys/types.h>

#include "conf/conf.h"
#include "loop/loop.h"
#include "session/messages.h"

struct resolver_facts {
    const char *upstream, *name;
    const struct address *address; /* the one in use; size 0: none yet */
    bool resolved;                 /* the last question was answered */
    const char *reason;            /* of a failure */
};

struct resolver_host {
    void *context;
    /* The address changed, or a question failed after an answered one (or the first). Called on
     * such changes only. */
    void (*changed)(void *context, unsigned server, const struct resolver_facts *facts);
};

struct resolver_entry {
    unsigned server; /* board number */
    uint32_t upstream, index;
    struct address address;
    bool asked, resolved;
};

struct resolver {
    struct loop *loop;
    const struct conf *conf;
    struct resolver_host host;
    struct resolver_entry *entries; /* one per server with a name */
    size_t count;
    pid_t child; /* 0: none */
    int pipe_fd; /* -1: none */
    uint8_t handler;
    struct timer next;    /* the next round */
    struct timer timeout; /* of the child */
};

/* False when out of memory. Nothing is asked before resolver_start(). */
MUST_CHECK bool resolver_init(struct resolver *resolver, struct loop *loop, const struct conf *conf,
                              const struct resolver_host *host);
void resolver_fini(struct resolver *resolver); /* accepts zeroed */

/* Begins a round and keeps on; does nothing when no server has a name. */
void resolver_start(struct resolver *resolver);

/* Goes on with another configuration, in which servers keep their numbers: addresses that are known
 * stay known, new names are asked for at once. False when out of memory; then all is as before. */
MUST_CHECK bool resolver_reload(struct resolver *resolver, const struct conf *next);

/* The message for entry `at`; false when it has no address yet. For relays that start later. */
bool resolver_message(const struct resolver *resolver, size_t at,
                      struct message_address *ret_message);
