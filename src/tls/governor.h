/* The governor of traffic keys: when is the key of a leg renewed, and what becomes of a session
 * whose key cannot be?
 *
 * Each key that we seal with has limits (tls/key_limits.h): records, blocks (a probability), bytes,
 * age. At a soft one a TLS 1.3 leg sends a KeyUpdate with its next data, at most one in two
 * seconds. A peer known to end the session upon a KeyUpdate is sent one only at a hard limit. A
 * TLS 1.2 leg has one key for its life: its session is announced to end, and ends, somewhere
 * between soft and hard. The peer's key has no limit here (RFC 9846 §5.5): when it was used twice
 * as far as ours may be, the peer is asked once for another.
 *
 * Pure: state is the leg's, time an argument (CLOCK_MONOTONIC, nanoseconds). */
#pragma once

#include "conf/conf.h"
#include "tls/leg.h"

/* X(symbol, name). Why a key was renewed. */
#define KEY_CAUSE_LIST(X)                                                                          \
    X(KEY_CAUSE_RECORDS, "records")                                                                \
    X(KEY_CAUSE_BLOCKS, "blocks")                                                                  \
    X(KEY_CAUSE_BYTES, "bytes")                                                                    \
    X(KEY_CAUSE_AGE, "age")                                                                        \
    X(KEY_CAUSE_OPERATOR, "operator")                                                              \
    X(KEY_CAUSE_PEER, "peer")

enum key_cause {
#define X(symbol, name) symbol,
    KEY_CAUSE_LIST(X)
#undef X
        KEY_CAUSE_COUNT
};
const char *key_cause_name(enum key_cause cause);

/* The limits of a listener's sessions for keys of this suite. */
void governor_limits(const struct conf *conf, const struct conf_listener *listener,
                     const struct suite *suite, struct key_limits *ret_limits);

/* How far a key was used, in the unit in which it is farthest: 1000 at the hard limit, above it
 * when passed. Bytes and age count as hard at twice their limit. */
unsigned governor_used(const struct key_limits *limits, const struct key_usage *usage,
                       uint64_t now_ns, enum key_cause *ret_cause);

/* The same as a share: 1 at the hard limit; negative where there is none. At the rate since the key
 * came into use the limit is reached in (1 / share - 1) times the key's age. */
double governor_share(const struct key_limits *limits, const struct key_usage *usage,
                      uint64_t now_ns, enum key_cause *ret_cause);

/* There is data to be sealed: makes a KeyUpdate owed if it is time for one. `unable`: the peer is
 * known not to implement it. */
MUST_CHECK bool governor_renew(struct leg *leg, const struct key_limits *limits, bool unable,
                               uint64_t now_ns, enum key_cause *ret_cause);

/* Records were opened: makes a KeyUpdate owed that asks for the peer's if its key is worn. The
 * cause is KEY_CAUSE_PEER, unless our own key was due, too. */
MUST_CHECK bool governor_ask(struct leg *leg, const struct key_limits *limits, bool unable,
                             uint64_t now_ns, enum key_cause *ret_cause);

enum governor_end {
    GOVERNOR_GO_ON,
    GOVERNOR_ENDING,   /* it will have to end: to be announced */
    GOVERNOR_END_IDLE, /* it ends as soon as nothing is under way */
    GOVERNOR_END_NOW
};
/* What becomes of a session with this leg. `spread` (any number, one per session) keeps sessions
 * that began together from ending together. Always GO_ON for TLS 1.3. */
enum governor_end governor_end(const struct leg *leg, const struct key_limits *limits,
                               uint64_t spread, uint64_t now_ns);
/* When a TLS 1.2 leg is announced to end for the age of its key alone, or, if it was, ends; 0:
 * never. */
uint64_t governor_age_end(const struct leg *leg, const struct key_limits *limits, uint64_t spread);
