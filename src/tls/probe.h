/* One handshake as a client that wants to know everything: it goes on through certificates that it
 * would not trust, remembers every message, and judges nothing. Bytes in, bytes out; no sockets.
 *
 * What was seen is in `struct probe_seen`, also after a failure, as far as it went. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tls/certificate.h"
#include "tls/certificate_facts.h"
#include "tls/chain.h"

/* What is offered; plain value. */
struct probe_offer {
    const char *server_name; /* SNI; NULL: none (also for IP addresses) */
    int only_key_type;       /* enum key_type, -1: any */
    uint16_t max_version;    /* TLS_VERSION_*, also 0x0301 and 0x0302; 0: what the library can. The
                                lowest is TLS 1.0 */
    const uint8_t *alpn;     /* wire format */
    size_t alpn_size;
    bool no_tickets;    /* TLS 1.2: to see resumption by id */
    bool trace;         /* keep the messages */
    size_t *chain_room; /* bytes of certificates that may still be kept, shared with other probes,
                           and taken from; NULL: no limit. Must outlive the probe */
    const struct probe_session *resume;
};

struct probe_session; /* what may be resumed; reference of its own */
void probe_session_free(struct probe_session *session);             /* accepts NULL */
bool probe_session_has_ticket(const struct probe_session *session); /* NULL: no */

enum { /* record types (RFC 8446 §5.1) */
       PROBE_CONTENT_CHANGE_CIPHER_SPEC = 20,
       PROBE_CONTENT_ALERT = 21,
       PROBE_CONTENT_HANDSHAKE = 22,
       PROBE_CONTENT_DATA = 23
};

struct probe_message {
    uint64_t at_ns; /* since the probe began */
    bool sent;
    uint8_t content_type,
        type;       /* record type; type of the handshake message, or level of the alert */
    uint8_t detail; /* alert description */
    uint32_t size;  /* bytes with header */
};
#define PROBE_MESSAGES_MAX 64 /* more are counted */

struct probe_seen {
    uint16_t version;         /* negotiated; 0: it did not come so far */
    const char *version_name; /* "TLS 1.3" */
    const char *suite;        /* IANA name; NULL */
    const char *group; /* "X25519", "P-256", "ffdhe2048", "DHE", "RSA" (no forward secrecy); NULL:
                          unknown */
    bool forward_secrecy;
    unsigned dh_bits; /* of a finite-field Diffie-Hellman exchange below TLS 1.3; 0: none */
    char alpn[32];    /* printable; "" */
    const struct certificate_facts *chain[CHAIN_SERVED_MAX]; /* as sent, leaf first; references */
    size_t chain_count;
    size_t chain_dropped;      /* sent beyond that, or without room */
    char chain_malformed[160]; /* why a certificate could not be read, "" */
    size_t chain_size;         /* bytes of the certificates */
    uint8_t *staple;           /* OCSP response, owned */
    size_t staple_size;
    uint8_t *timestamps; /* SCT list of the TLS extension, owned */
    size_t timestamps_size;
    bool resumed;
    bool secure_renegotiation; /* RFC 5746; always with TLS 1.3 */
    bool extended_master_secret;
    bool downgrade_sentinel; /* RFC 8446 §4.1.3, in ServerHello.random */
    bool hello_retry;
    bool client_certificate_asked;
    bool client_certificate_required; /* and refused to go on without one: all else was seen */
    unsigned tickets;                 /* NewSessionTicket messages */
    uint32_t ticket_lifetime_s;
    uint8_t alert_received, alert_sent; /* but close_notify; ALERT_NONE: none */
    char reason[160];                   /* of a failure, printable; "" */
    const char *stage; /* where: "client_hello", "server_hello", "certificate", … static */
    bool not_tls;      /* what came was no TLS record at all */
    char plain[64];    /* its first bytes, printable */
    struct probe_message messages[PROBE_MESSAGES_MAX];
    size_t message_count, messages_dropped;
};
void probe_seen_fini(struct probe_seen *seen); /* accepts zeroed */

enum probe_status { PROBE_WANT_READ, PROBE_DONE, PROBE_FAILED };

struct probe;
/* Contexts are made once per key type and kept for the life of the process. */
MUST_CHECK int probe_new(struct probe **ret_probe, const struct probe_offer *offer,
                         struct error *error);
void probe_free(struct probe *probe); /* accepts NULL */
/* Feeds what came (size 0 at first); takes all of it. After PROBE_DONE it may go on: tickets,
 * application data. */
MUST_CHECK enum probe_status probe_feed(struct probe *probe, const uint8_t *input, size_t size);
/* Nothing will come any more; `how` in words ("the connection was closed"). */
MUST_CHECK enum probe_status probe_end(struct probe *probe, const char *how);
size_t probe_output(struct probe *probe, const uint8_t **ret_data);
void probe_sent(struct probe *probe, size_t size);

/* After PROBE_DONE: does the server send its tickets behind the handshake (TLS 1.3)? */
bool probe_tickets_follow(const struct probe *probe);
/* Application data, after PROBE_DONE: bytes, 0: nothing now, -1: over. */
long probe_read(struct probe *probe, uint8_t *output, size_t size);
long probe_write(struct probe *probe, const uint8_t *input, size_t size);
void probe_close(struct probe *probe); /* close_notify into the output */
/* TLS 1.2: the client's wish to renegotiate into the output. Feed what comes until it is no more
 * PROBE_WANT_READ: PROBE_DONE when the server has begun to renegotiate, else it refuses. */
MUST_CHECK bool probe_renegotiate(struct probe *probe);

/* Moves what was seen to the caller; once. When the handshake had not ended, the reason says what
 * came last. */
void probe_take(struct probe *probe, struct probe_seen *ret_seen);
/* What may be resumed, after PROBE_DONE and, for TLS 1.3, a ticket; NULL: nothing. */
struct probe_session *probe_session(struct probe *probe);

/* In words for people: "handshake_failure: no common cipher suite, version or key type". */
const char *probe_alert_text(uint8_t alert);                        /* static */
const char *probe_message_text(uint8_t content_type, uint8_t type); /* "ServerHello", …; static */
