/* The inside of an attached session, shared by attached.c (the bytes), attached_renegotiation.c
 * (TLS 1.2 renegotiation in it), attached_authentication.c (asking its client who it is) and
 * attached_keys.c (its traffic keys). */
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

    bool held;         /* a handshake is asked for or under way: nothing is written */
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

    bool asking;                       /* for the client's certificate */
    struct message_identity *identity; /* shown, and not yet in the slot; NULL: nothing to tell */
    uint64_t tell_ns;                  /* when it is told, or told again */
};

/* ---- attached.c ---- */

void attached_queue(struct attached *it);
/* Ends it at once: the client sees a reset, the relay the word. */
void attached_break(struct attached *it, enum attached_word word);
/* Ends it in order: the handshake's output is still sent. */
void attached_part(struct attached *it, enum attached_word word);
/* Before that: the client is told why, where TLS allows it, else that the session ends. */
void attached_alert(struct attached *it, enum alert alert);

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

/* One for all handshakers together; clients that are asked who they are count, too. */
MUST_CHECK bool renegotiation_budget(struct handshaker *handshaker);
void renegotiation_init(struct attached *it);
/* The client has its time to answer, … */
void renegotiation_await(struct attached *it);
/* … and nothing is written before it has, … */
void renegotiation_hold(struct attached *it);
/* … and now it goes on. */
void renegotiation_release(struct attached *it);
/* After each reading: where does it stand? May end the session. */
void renegotiation_look(struct attached *it);
/* A time-out, or the time to ask. */
void renegotiation_timer(struct attached *it);
/* The client's stream is over, in order (`closed`) or not: what was asked for or under way has
 * failed. True when the session cannot go on in the other direction, as in the middle of a
 * handshake. One that asks for a certificate is authentication_broke()'s business. */
bool renegotiation_cut(struct attached *it, bool closed);
/* An operator wants other keys, or TLS 1.2 limits do. False when the client cannot be asked. */
bool renegotiation_renew(struct attached *it);
/* NULL when there is no room for it. */
struct event *attached_event_begin(struct attached *it, enum event_type type);
void attached_report(struct attached *it, enum event_type type, const char *detail);

/* ---- attached_authentication.c ---- */

/* Does a session of TLS 1.3 stay here because its client may be asked who it is? */
bool authentication_possible(const struct handshake *handshake,
                             const struct handshake_facts *facts);
void authentication_init(struct attached *it);
void authentication_fini(struct attached *it);
/* An operator wants to know. False: not just now, try again. */
MUST_CHECK bool authentication_ask(struct attached *it);
/* After each reading: has it answered? May end the session. */
void authentication_look(struct attached *it);
/* Was it this time-out? */
bool authentication_timer(struct attached *it);
/* Whatever is known is told to the relay until its slot has it. */
void authentication_tell(struct attached *it);
/* It comes to nothing, which is told and counted; … */
void authentication_failed(struct attached *it, const char *detail);
/* … and ends the session; … */
void authentication_end(struct attached *it, const char *detail);
/* … which OpenSSL has ended already. */
void authentication_broke(struct attached *it);
