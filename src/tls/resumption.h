/* Who may resume, and why a client that offered to do so got a full handshake.
 *
 * A resumed handshake proves nothing anew: whoever has the session is who it was. So a session
 * carries, in its ticket or in the session cache, what was true when server and client last proved
 * themselves with certificates (struct resumption_record), and keeps it however often it is
 * renewed: OpenSSL dates every TLS 1.3 ticket from its own making, which lets a chain of tickets go
 * on for ever (RFC 9846 §4.7.1 recommends a limit). The server's certificate is no part of what
 * must agree: its renewal ends no resumption, its end does. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"
#include "tls/client_hello.h"

/* X(symbol, name). Names appear in events and metrics. */
#define RESUMPTION_MISS_LIST(X)                                                                    \
    X(RESUMPTION_MISS_NONE, "none")               /* nothing was offered, or it was resumed */     \
    X(RESUMPTION_MISS_UNKNOWN_KEY, "unknown-key") /* no key of the ring opens the ticket, or no    \
                                                     session has this id */                        \
    X(RESUMPTION_MISS_EXPIRED, "expired")                                                          \
    X(RESUMPTION_MISS_POLICY_CHANGED, "policy-changed")                                            \
    X(RESUMPTION_MISS_TRUST_CHANGED, "trust-changed")                                              \
    X(RESUMPTION_MISS_NAME_CHANGED, "name-changed") /* the SNI is another one */                   \
    X(RESUMPTION_MISS_CAPPED, "capped") /* older than max-lineage, or than a certificate */        \
    X(RESUMPTION_MISS_CORRUPT, "corrupt")                                                          \
    X(RESUMPTION_MISS_UNSUITABLE, "unsuitable") /* it is good, but not for what this ClientHello   \
                                                   asks for: version, suite */

enum resumption_miss {
#define X(symbol, name) symbol,
    RESUMPTION_MISS_LIST(X)
#undef X
        RESUMPTION_MISS_COUNT
};
const char *resumption_miss_name(enum resumption_miss miss); /* "unknown" for a number that is none
                                                              */

#define RESUMPTION_TRUST_SIZE 8
#define RESUMPTION_NAME_SIZE  16

/* The longest that RFC 9846 §4.7.1 allows a ticket to live; and our longest chain of tickets. */
#define RESUMPTION_LINEAGE_MAX_S (7 * 24 * 3600)
/* How far the clocks of those who share ticket keys may differ. */
#define RESUMPTION_SKEW_S 60

/* What all sessions that may be resumed with each other have in common; a change of any of it ends
 * resumption, a renewed certificate does not. */
struct resumption_scope {
    const char *listener;
    bool strict_names;                           /* unknown names are refused */
    uint32_t client_certificates;                /* the listener's mode; 0: none are asked for */
    uint8_t trust_digest[RESUMPTION_TRUST_SIZE]; /* of the CAs that clients are checked against;
                                                    zero: none */
};
/* OpenSSL's session-id context. */
void resumption_context(const struct resumption_scope *scope, uint8_t ret_context[32]);

/* The server name as it travels with a session: lower-case, "" for none. */
void resumption_name(const char *server_name, uint8_t ret_name[RESUMPTION_NAME_SIZE]);

/* What a ClientHello offers to resume; filled before the handshake begins. */
struct resumption_offer {
    bool pre_shared_key; /* TLS 1.3 */
    bool ticket;         /* TLS 1.2 */
    bool session_id;     /* TLS 1.2; of a client that knows TLS 1.3 an id says nothing: it sends one
                            for the eyes of middleboxes (RFC 9846 §4.1.2) */
    uint8_t name[RESUMPTION_NAME_SIZE];
};
void resumption_offer(const struct client_hello *hello, struct resumption_offer *ret_offer);
/* Is anything of it meant for this version? */
bool resumption_offered(const struct resumption_offer *offer, uint16_t version);

/* What travels with a session, encrypted in its ticket or in the session cache. Times are Unix
 * seconds. */
#define RESUMPTION_RECORD_VERSION 1
struct resumption_record {
    uint32_t version;
    uint32_t reserved;
    int64_t authenticated; /* when certificates were last used */
    int64_t server_end;    /* notAfter of the server's certificate of then */
    int64_t client_end;    /* of the client's; 0: it had none */
    uint64_t epoch;        /* of the policy */
    uint8_t trust_digest[RESUMPTION_TRUST_SIZE];
    uint8_t name[RESUMPTION_NAME_SIZE];
};

/* From here on it does not resume: the earliest of lineage and certificates. */
int64_t resumption_cap(const struct resumption_record *record, int64_t lineage_s);

/* What holds at the moment of judging. */
struct resumption_moment {
    int64_t now;
    int64_t session_end; /* after this second the session's own lifetime is over */
    int64_t lineage_s;
    uint64_t epoch;    /* raised by the operator: whoever authenticated under an earlier one does it
                          again. A later one comes from a machine that shares the ticket keys. */
    bool same_context; /* the session-id contexts agree */
    uint8_t trust_digest[RESUMPTION_TRUST_SIZE];
    uint8_t name[RESUMPTION_NAME_SIZE];
};

/* RESUMPTION_MISS_NONE: it may be resumed. A session from the future (a clock was set back by more
 * than RESUMPTION_SKEW_S) is "capped": nobody can say any more how old it is. */
MUST_CHECK enum resumption_miss resumption_judge(const struct resumption_record *record,
                                                 const struct resumption_moment *moment);
