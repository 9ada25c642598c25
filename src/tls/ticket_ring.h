/* The keys of session tickets: a ring in shared memory, written by control and read by handshakers.
 *
 * One key encrypts (the current one). Those behind it only decrypt and become current in their
 * turn; being known before they are used, they are never new to a node that shares the ring. Those
 * before it only decrypt, until the last ticket made with them has expired. Who is current stands
 * in the ring; it does not follow from the clock, so that a clock that jumps back never brings an
 * older key into use again.
 *
 * struct ticket_keys is a plain value that the functions here change: pure, with the time as an
 * argument. struct ticket_ring is how it stands in shared memory, where it outlives control,
 * handshakers and upgrades. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

#define TICKET_RING_VERSION    1 /* raise MESSAGES_VERSION as well: then no upgrade mixes two */
#define TICKET_KEYS_MAX        64
#define TICKET_KEY_NAME_SIZE   16
#define TICKET_KEY_SECRET_SIZE 32
#define TICKET_NODE_MAX        24
#define TICKET_ID_MAX          17 /* text, with its zero */

enum ticket_cause {
    TICKET_CAUSE_START,
    TICKET_CAUSE_TIME,
    TICKET_CAUSE_OPERATOR,
    TICKET_CAUSE_COUNT
};
const char *ticket_cause_name(uint32_t cause);

struct ticket_key {
    uint8_t name[TICKET_KEY_NAME_SIZE];
    uint8_t cipher_key[TICKET_KEY_SECRET_SIZE]; /* AES-256-CBC */
    uint8_t mac_key[TICKET_KEY_SECRET_SIZE];    /* HMAC-SHA-256 */
    uint64_t not_before; /* Unix seconds: when it is to become current; never changes */
    uint64_t since;      /* when it did; 0: not yet */
    uint64_t not_after;  /* when it opens no ticket any more; 0: it is current or will be */
    uint64_t retired_ns; /* CLOCK_MONOTONIC of this machine: when it was replaced; 0: it was not */
    uint32_t window_s;   /* the longest life of a ticket made with it */
    uint32_t generation; /* counts the keys that were current here; 0: it was not */
    uint32_t cause;      /* enum ticket_cause */
    char node[TICKET_NODE_MAX]; /* who made it */
};

struct ticket_keys {
    uint32_t count, current; /* in the order of not_before, then of the names */
    uint32_t epoch;          /* all older ones were thrown away: they never come back */
    uint32_t generation;     /* of the current key */
    uint64_t promoted_ns;    /* CLOCK_MONOTONIC: since when it is current */
    /* Tickets remember it, and those with another one do not resume (resumption.h). It lives as
     * long as the keys, so that a restart does not bring back what a revocation has ended. */
    uint64_t resumption_epoch;
    struct ticket_key keys[TICKET_KEYS_MAX];
};

struct ticket_clock {
    uint64_t wall_s, monotonic_ns;
};

struct ticket_rules {
    uint64_t lifetime_s; /* how long a key encrypts */
    uint64_t window_s;   /* the longest life of a ticket in force */
    const char *node;    /* our name */
};

enum { TICKET_KEYS_CHANGED = 1, TICKET_KEYS_PROMOTED = 2 /* another key is current */ };

/* Does what is due: the first keys, the next one's turn, another next one, the end of old ones. A
 * key is replaced when its time has come by the wall clock or when it was current for its lifetime,
 * whichever is first; an old one ends likewise. So no jump of the clock keeps a key for ever, and
 * none empties the ring. Returns TICKET_KEYS_* bits. */
unsigned ticket_keys_advance(struct ticket_keys *keys, const struct ticket_rules *rules,
                             const struct ticket_clock *clock);
/* The next key's turn is now. */
unsigned ticket_keys_rotate(struct ticket_keys *keys, const struct ticket_rules *rules,
                            const struct ticket_clock *clock);
/* Throws all keys away, also the next one, and makes new ones, and raises the resumption epoch:
 * nothing that was given so far resumes, by ticket or by session id. */
unsigned ticket_keys_replace(struct ticket_keys *keys, const struct ticket_rules *rules,
                             const struct ticket_clock *clock);
/* Takes what another node knows: the union by name of the same epoch; a newer epoch replaces all.
 * The later of both current keys is current. */
unsigned ticket_keys_merge(struct ticket_keys *keys, const struct ticket_keys *other,
                           const struct ticket_rules *rules, const struct ticket_clock *clock);
/* Would the same be stored for both? */
bool ticket_keys_same(const struct ticket_keys *a, const struct ticket_keys *b);

/* "previous", "current" or "next". */
const char *ticket_key_role(const struct ticket_keys *keys, uint32_t index);
/* An id for people: a hash of the name, which every ticket shows in clear. Returns `text`. */
char *ticket_key_id(const struct ticket_key *key, char text[TICKET_ID_MAX]);

/* ---- shared memory ---- */

struct ticket_ring {
    uint32_t version;  /* 0: nothing was published yet */
    uint32_t sequence; /* its lowest bit says which copy is valid */
    struct ticket_keys copies[2];
};

/* By control alone. Nothing of what stood there before remains. */
void ticket_ring_publish(struct ticket_ring *ring, const struct ticket_keys *keys);
/* All keys; false when there are none. Never waits for the writer. */
bool ticket_ring_read(const struct ticket_ring *ring, struct ticket_keys *ret_keys);
/* The key that encrypts, or the key of this name and whether it is that one. */
bool ticket_ring_current(const struct ticket_ring *ring, struct ticket_key *ret_key);
bool ticket_ring_find(const struct ticket_ring *ring, const uint8_t name[TICKET_KEY_NAME_SIZE],
                      struct ticket_key *ret_key, bool *ret_current);
