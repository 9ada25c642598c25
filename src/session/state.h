/* The states of a session and the reasons for its end; one table each. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum session_state {
    SESSION_FREE,        /* the slot is not in use */
    SESSION_CONNECTING,  /* upstream connection under way */
    SESSION_ENCRYPTING,  /* the upstream leg's TLS handshake is with a handshaker */
    SESSION_OPEN,        /* both directions flow */
    SESSION_HALF_CLOSED, /* one direction has ended, the other flows */
    SESSION_CLOSING,     /* last bytes (an alert, close_notify) are on their way to the client */
    SESSION_STATE_COUNT
};

struct session_state_facts {
    const char *name;
    const char *waits_for;
    bool carries_data; /* data read from the client goes on to the upstream */
};
extern const struct session_state_facts session_states[SESSION_STATE_COUNT];

/* X(symbol, name, is the edge's or a peer's fault → counted as failure). Names appear in events and
 * metrics. */
#define SESSION_END_LIST(X)                                                                        \
    X(SESSION_END_NONE, "none", false)                                                             \
    X(SESSION_END_BOTH_CLOSED, "both-closed", false)                                               \
    X(SESSION_END_CLIENT_RESET, "client-reset", false)                                             \
    X(SESSION_END_UPSTREAM_RESET, "upstream-reset", true)                                          \
    X(SESSION_END_TRUNCATED, "client-truncated", true)                                             \
    X(SESSION_END_UPSTREAM_TRUNCATED, "upstream-truncated", true)                                  \
    X(SESSION_END_NO_UPSTREAM, "no-upstream", true)                                                \
    X(SESSION_END_CLIENT_PROTOCOL, "client-protocol-error", true)                                  \
    X(SESSION_END_UPSTREAM_PROTOCOL, "upstream-protocol-error", true)                              \
    X(SESSION_END_PEER_ALERT, "peer-alert", true)                                                  \
    X(SESSION_END_IDLE, "idle-timeout", false)                                                     \
    X(SESSION_END_HALF_CLOSE_TIMEOUT, "half-close-timeout", false)                                 \
    X(SESSION_END_AGE, "max-session-age", false)                                                   \
    X(SESSION_END_DRAINED, "drained", false)                                                       \
    X(SESSION_END_ADMIN, "closed-by-operator", false)                                              \
    X(SESSION_END_BUFFER_MEMORY, "out-of-buffer-memory", true)                                     \
    X(SESSION_END_INTERNAL, "internal-error", true)                                                \
    X(SESSION_END_LIMIT, "connection-limit", false)                                                \
    X(SESSION_END_CRASHED_RELAY, "crashed-its-relay", true)                                        \
    X(SESSION_END_CORRUPT, "corrupt-slot", true)                                                   \
    X(SESSION_END_LOST, "lost-with-its-relay", true)                                               \
    X(SESSION_END_KEY_LIMIT, "traffic-key-limit", false)                                           \
    X(SESSION_END_LOST_HANDSHAKER, "lost-with-its-handshaker", true)                               \
    X(SESSION_END_RENEGOTIATION, "renegotiation-failed", true)                                     \
    X(SESSION_END_AUTHENTICATION, "client-authentication-failed", true)                            \
    X(SESSION_END_CLIENT_REVOKED, "client-certificate-revoked", false)                             \
    X(SESSION_END_CLIENT_UNTRUSTED, "client-certificate-untrusted", false)                         \
    X(SESSION_END_CLIENT_EXPIRED, "client-certificate-expired", false)

enum session_end {
#define X(symbol, name, failure) symbol,
    SESSION_END_LIST(X)
#undef X
        SESSION_END_COUNT
};
const char *session_end_name(enum session_end end);
