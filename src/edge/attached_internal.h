/* The inside of an attached session, shared by attached.c (the bytes), attached_renegotiation.c
 * (TLS 1.2 renegotiation in it) and attached_keys.c (its traffic keys). */
#pragma once

#include "base/buffer.h"
#include "edge/attached.h"
#include "tls/governor.h"

enum attached_side { ATTACHED_CLIENT, ATTACHED_RELAY, ATTACHED_SIDES };

enum attached_phase {
    ATTACHED_CARRYING,
    ATTACHED_PARTING, /* the client gets its last bytes and is waited for */
    ATTACHED_WAITING, /* the client's socket is closed; the relay is still to let go */
    ATTACHED_OVER
};

/* The lowest bit of a watch's tag: which side. */
#define ATTACHED_TAG_RELAY 1u

struct attached {
    struct handshaker *handshaker;
    struct attached *next, *previous, *next_ready;
    struct handshake *handshake;
    int client, relay; /* sockets; client -1: closed */
    enum attached_phase phase;
    uint16_t listener, place;
    uint64_t serial;
    uint8_t client_address[16];
    uint16_t client_port;
    bool readable[ATTACHED_SIDES], writable[ATTACHED_SIDES];
    bool queued;
    bool up_ended;    /* the client's end was passed on */
    bool up_dropped;  /* the relay takes nothing more */
    bool down_ended;  /* the server's end was taken */
    bool fin_sent;    /* … and passed on */
    bool client_gone; /* its end of stream was read */
    struct buffer up; /* plaintext that the relay has not taken */
    size_t moved;     /* in this turn */
    struct timer timer, retirement;

    bool held;         /* a renegotiation is asked for or under way: nothing is written */
    bool unanswered;   /* the client did not begin, or declined: it is not asked again */
    uint32_t refusals; /* in a row */
    uint64_t rate_ns;  /* the time up to which the rate of its client's renegotiations is used up */
    struct handshake_renegotiations seen;

    uint32_t updates;    /* KeyUpdates of the client so far */
    uint64_t updates_ns; /* … and the time up to which the rate of them is used up */
    struct leg key;      /* never sealed with: how far our key was used */
    struct key_limits limits;
    uint32_t limits_generation; /* of the configuration that they are from */
    bool update_unable;         /* the client is known not to implement KeyUpdate */
};

/* ---- attached.c ---- */

void attached_queue(struct attached *it);
/* Ends it at once: the client sees a reset, the relay the word. */
void attached_break(struct attached *it, enum attached_word word);
/* Ends it in order: the handshake's output is still sent. */
void attached_part(struct attached *it, enum attached_word word);

/* ---- attached_keys.c ---- */

void attached_keys_init(struct attached *it, const struct handshake_facts *facts);
/* Our key is new. */
void attached_keys_fresh(struct attached *it);
void attached_keys_wrote(struct attached *it, size_t size);
/* Before data is written, or when there is none (`idle`): a worn key is renewed, or the session
 * ends in good time. False when nothing may be written now. */
MUST_CHECK bool attached_keys_allow(struct attached *it, bool idle);

/* After each reading: has the client renewed its key too often? May end the session. */
void attached_keys_look(struct attached *it);

/* ---- attached_renegotiation.c ---- */

/* A bucket: each step moves a point of time, which may be `burst` steps ahead of now. */
MUST_CHECK bool rate_take(uint64_t *point_ns, uint64_t now_ns, uint64_t step_ns, uint64_t burst);

bool renegotiation_possible(const struct conf_listener *conf, const struct handshake *handshake);
void renegotiation_init(struct attached *it);
/* After each reading: where does it stand? May end the session. */
void renegotiation_look(struct attached *it);
/* A time-out, or the time to ask. */
void renegotiation_timer(struct attached *it);
/* An operator wants other keys, or TLS 1.2 limits do. False when the client cannot be asked. */
bool renegotiation_renew(struct attached *it);
void attached_report(struct attached *it, enum event_type type, const char *detail);
