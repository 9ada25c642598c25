/* The ledger of superseded sessions: which of the living still hang on a certificate,
 * configuration, binary, ticket key, traffic key or client CA that has been replaced. Read from the
 * slots, in one pass. */
#pragma once

#include "admin/view.h"

/* X(symbol, name). The names appear in filters, JSON and metrics. */
#define SUPERSEDED_LIST(X)                                                                         \
    /* the version it was made with is no longer in service, or the certificate is gone */         \
    X(SUPERSEDED_CERTIFICATE, "certificate")                                                       \
    X(SUPERSEDED_CONFIG, "config")                                                                 \
    X(SUPERSEDED_BINARY, "binary")                                                                 \
    /* the key that its tickets were made with */                                                  \
    X(SUPERSEDED_TICKET_KEY, "ticket-key")                                                         \
    /* a KeyUpdate of the client's leg is outstanding, or one that an operator wants */            \
    X(SUPERSEDED_TRAFFIC_KEY, "traffic-key")                                                       \
    /* its client's certificate is no longer accepted: CA gone, revoked, or ended */               \
    X(SUPERSEDED_CA, "ca")

enum superseded {
#define X(symbol, name) symbol,
    SUPERSEDED_LIST(X)
#undef X
        SUPERSEDED_COUNT
};
const char *superseded_name(enum superseded kind);
/* A bit per kind: 1u << kind. */
#define SUPERSEDED_ANY ((1u << SUPERSEDED_COUNT) - 1)
/* The bit of a name; 0: there is none such. */
uint32_t superseded_bit(const char *name);

/* In what a session, read from slot `index` of a relay, is superseded, as bits. */
uint32_t ledger_judge(const struct admin_view *view, unsigned relay, uint32_t index,
                      const struct slot *slot);
/* Can this kind be told now? Certificates only when the vault has read them all. */
bool ledger_knows(const struct admin_view *view, enum superseded kind);

struct ledger_entry {
    uint64_t sessions;
    uint64_t oldest_ns; /* age of the oldest; 0: there is none */
};
struct ledger {
    struct ledger_entry entries[SUPERSEDED_COUNT][BOARD_LISTENERS_MAX];
    struct ledger_entry sums[SUPERSEDED_COUNT]; /* of all listeners, also of those that are gone */
};
void ledger_take(const struct admin_view *view, uint64_t now_ns, struct ledger *ret_ledger);
