/* Attached sessions: OpenSSL goes on carrying a session in the handshaker that made it, because
 * policy says so (`detach = never`), because it may renegotiate, or because it cannot be detached.
 *
 *   client ══ TLS, by OpenSSL ══ handshaker ── socket pair, plain ── relay ── upstream
 *
 * For the relay it is a session like any other whose client speaks in the clear: which server,
 * limits, time-outs, drains and metrics are its business. How either stream ended is said on the
 * board (session/board.h: enum attached_word), because a socket pair knows no reset. */
#pragma once

#include "edge/handshaker.h"

struct attached;

/* Does the finished handshake stay with OpenSSL, and why? */
bool attached_wanted(const struct conf_listener *conf, const struct handshake *handshake,
                     const struct handshake_facts *facts, enum attached_reason *ret_reason);

/* … because it may renegotiate, or we may? */
bool renegotiation_possible(const struct conf_listener *conf, const struct handshake *handshake);

/* Plaintext that a client may have sent before its certificate; a record may lie behind that. */
#define ATTACHED_EARLY_MAX (32u << 10)
#define ATTACHED_UP_MAX    (ATTACHED_EARLY_MAX + RECORD_PLAINTEXT_MAX)

struct attached_new {
    struct handshaker *handshaker;
    struct handshake *handshake; /* all its output was sent */
    int fd;                      /* the client's socket, watched by nobody */
    uint16_t listener;
    enum attached_reason reason;
    const uint8_t *surplus; /* bytes already read from the client */
    size_t surplus_size;
    const uint8_t *early; /* plaintext that OpenSSL has given out already, up to ATTACHED_UP_MAX */
    size_t early_size;
    uint8_t client[16];
    uint16_t client_port;
};
/* Takes the handshake and the client's socket, fills in what the offer to the relay says of it, and
 * returns the relay's end of the pair; -1 when there is no room, and nothing was taken. */
int attached_begin(const struct attached_new *what, struct session_offer *offer);

void attached_init(struct handshaker *handshaker);
void attached_event(struct handshaker *handshaker, struct attached *attached, bool of_relay,
                    unsigned events);
/* After each batch of events: who has work left has a turn, who is gone is freed. */
void attached_run_all(struct handshaker *handshaker);
/* They may go on until then (CLOCK_MONOTONIC); the closing is spread over the time before. */
void attached_retire_all(struct handshaker *handshaker, uint64_t until_ns);
