/* One connection to an endpoint: connect, the talk before TLS, then bytes both ways. Each stage has
 * its time-out as a whole, so that a peer that drips bytes gains nothing. What is said inside is
 * the owner's business. */
#pragma once

#include "base/buffer.h"
#include "loop/loop.h"
#include "loop/socket.h"
#include "watch/endpoint.h"
#include "watch/starttls.h"

struct caller;                                /* the connections of a process */
struct caller *caller_new(struct loop *loop); /* NULL: out of memory */
void caller_free(struct caller *caller);      /* accepts NULL; all calls are closed */

enum call_end {
    CALL_FAILED,   /* before TLS: outcome, stage and reason of the call say why */
    CALL_CLOSED,   /* by the peer, in order */
    CALL_BROKEN,   /* reset, or another error; the reason says which */
    CALL_TIMED_OUT /* of what call_deadline() set */
};

/* The owner may close the call, and forget it, in each of these. None is called before call_open()
 * has returned, and none after call_close(). */
struct call_events {
    void (*opened)(void *context); /* TLS may begin */
    void (*received)(void *context, const uint8_t *data, size_t size);
    void (*ended)(void *context, enum call_end end); /* at most once; it is closed already */
};

enum call_state { CALL_STATE_CLOSED, CALL_STATE_CONNECTING, CALL_STATE_TALKING, CALL_STATE_OPEN };

struct call { /* in the owner's memory, zeroed before its first use */
    struct caller *caller;
    const struct call_events *events;
    void *context;
    enum call_state state;
    int fd; /* -1: none */
    struct address address;
    int connect_error;  /* errno of a connection that could not even begin; 0 */
    uint64_t wanted_ns; /* when it was to begin: it may have to wait for a descriptor */
    uint32_t slot;
    struct timer timer;
    uint64_t timeout_ns;
    struct starttls *starttls;                  /* NULL: TLS from the first byte */
    struct buffer output;                       /* not sent yet */
    bool writing;                               /* the loop looks for room to write */
    uint64_t began_ns, connected_ns, opened_ns; /* of the monotonic clock; 0: not yet */
    enum endpoint_outcome outcome;              /* of CALL_FAILED */
    const char *stage;                          /* static */
    char reason[320];                           /* printable */
};

/* `timeout_ms` for each of connect, the talk before TLS, and what comes then. */
void call_open(struct call *call, struct caller *caller, const struct endpoint *endpoint,
               uint32_t timeout_ms, const struct call_events *events, void *context);
/* Sends, or keeps what finds no room. */
void call_send(struct call *call, const uint8_t *data, size_t size);
/* From now on. */
void call_deadline(struct call *call, uint64_t in_ns);
/* We shall send no more. */
void call_finish(struct call *call);
void call_close(struct call *call); /* also when not open */
