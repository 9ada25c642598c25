/* One synthetic client: connects, makes its handshake, and exchanges one numbered message after the
 * other. The state of all clients, shared by clients.c (how many, when) and client_session.c (what
 * one does). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "demo/scoreboard.h"
#include "loop/loop.h"
#include "tls/handshake.h"

#define MESSAGE_MAX 2048

enum client_phase {
    CLIENT_IDLE,        /* not begun, or ended as it should */
    CLIENT_HANDSHAKING, /* connecting or shaking hands */
    CLIENT_OPEN,
    CLIENT_LOST
};

struct client_session;

/* What the session reports. All may start or end other sessions. */
struct client_events {
    void (*opened)(void *context, struct client_session *session);
    void (*lost)(void *context, struct client_session *session, bool was_open, const char *why);
    void (*answered)(void *context, struct client_session *session, uint64_t latency_ns);
};

struct client_pool {
    struct loop *loop;
    struct tls_client *tls;
    struct client_events events;
    void *context;
    uint8_t handler;
    struct client_session *sessions; /* by number: the tag that the loop knows them by */
    uint32_t count;
};

struct client_session {
    struct client_pool *pool;
    struct handshake *handshake;
    struct timer timer;  /* time-out of what is awaited, or the pause before the next message */
    struct buffer input; /* read but not yet taken */
    uint64_t sent_ns, sequence;
    uint32_t number;
    int fd;
    uint16_t port;
    uint16_t size, received; /* of the message under way */
    enum client_phase phase;
    enum demo_version version;
    unsigned watched; /* LOOP_* that the loop reports */
    bool waiting;     /* for a message to come back */
    bool quiet;       /* sends no messages: the prober */
};

/* Makes `count` idle sessions; false when out of memory. */
bool client_pool_init(struct client_pool *pool, struct loop *loop, struct tls_client *tls,
                      uint32_t count);
void client_pool_fini(struct client_pool *pool);

/* Connects to loopback `port`. What fails later is reported by events.lost; false when it failed at
 * once. */
bool client_start(struct client_session *session, uint16_t port);
/* Ends it cleanly: close_notify, then close. */
void client_end(struct client_session *session);
