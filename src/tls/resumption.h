/* Why a client that offered to resume got a full handshake. */
#pragma once

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
    X(RESUMPTION_MISS_CORRUPT, "corrupt")

enum resumption_miss {
#define X(symbol, name) symbol,
    RESUMPTION_MISS_LIST(X)
#undef X
        RESUMPTION_MISS_COUNT
};
