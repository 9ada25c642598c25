/* One turn of one direction of a session, for relay_flow.c: the state it works on and what both its
 * halves need. Works on a copy of the slot's hot part; nothing counts before turn_commit(). */
#pragma once

#include "edge/relay.h"

#define HELD_MAX 65536u /* what a blocked direction may hold */

/* One turn of one direction: the slot's hot part as it will be committed, and whom it concerns. */
struct turn {
    struct relay *relay;
    uint32_t index;
    unsigned direction;
    struct relay_session *session;
    struct slot *slot;
    struct slot_hot next;
    struct leg upstream; /* valid when upstream_tls */
    bool upstream_tls;
    bool dirty;
    enum flow_discard broken; /* what a write that failed means for the rest */
    uint64_t moved;
};

static inline enum relay_side source_side(unsigned direction)
{
    return direction == FLOW_UP ? SIDE_CLIENT : SIDE_UPSTREAM;
}

static inline enum relay_side sink_side(unsigned direction)
{
    return direction == FLOW_UP ? SIDE_UPSTREAM : SIDE_CLIENT;
}

/* Copies the hot part in force. */
void turn_begin(struct turn *turn, struct relay *relay, uint32_t index, unsigned direction);

/* Puts turn->next in force, with the upstream's leg when that is TLS, and keys that changed into
 * their place. */
void turn_commit(struct turn *turn);

/* NULL for a plain side. */
static inline struct leg *turn_leg(struct turn *turn, enum relay_side side)
{
    struct leg *leg = side == SIDE_CLIENT ? &turn->next.client : &turn->upstream;
    if (side == SIDE_UPSTREAM && !turn->upstream_tls)
        return NULL;
    return leg->suite == 0 ? NULL : leg;
}

static inline struct leg_banks turn_keys(const struct turn *turn, enum relay_side side)
{
    return side == SIDE_CLIENT ? slot_client_keys(&turn->relay->arena, turn->index)
                               : slot_upstream_keys(&turn->relay->arena, turn->index);
}

static inline uint32_t run_size(unsigned order)
{
    return BLOCK_SIZE << order;
}

/* The smallest run that holds `size` bytes, or the largest there is. */
unsigned run_order(size_t size);

/* Give a run back; turn_commit() is the caller's. An output run counts as written. */
void turn_release_input(struct turn *turn);
void turn_release_output(struct turn *turn, unsigned direction);

/* Around each call that receives from or sends to `side`: a Unix socket has no counters in the
 * kernel, so ours are open while a call is under way. */
void turn_count_begin(struct turn *turn, enum relay_side side);
void turn_count_end(struct turn *turn, enum relay_side side, ssize_t received, ssize_t sent);

enum write_result { WRITE_DONE, WRITE_WAIT, WRITE_BROKEN /* turn->broken says what remains */ };

/* Writes the (committed) output run of a direction; turn_write() also gives it back when done. */
enum write_result turn_write_run(struct turn *turn, unsigned direction);
enum write_result turn_write(struct turn *turn, unsigned direction);

/* Seals what the leg owes (KeyUpdate, alert) behind the output of the direction to `side`, if there
 * is room, and commits. False when it could not be done now for want of memory. */
bool turn_append_owed(struct turn *turn, enum relay_side side);

/* ---- relay_keys.c ---- */

/* There is data to be sealed for `side`: is a KeyUpdate to go first? It is owed then. */
MUST_CHECK bool keys_renew(struct turn *turn, enum relay_side side);
/* Records of this side were opened: counts, and may ask the peer for another key. `owed_before`: an
 * answer was owed before that. */
void keys_opened(struct turn *turn, enum relay_side side, bool owed_before,
                 const struct leg_opened *opened);
/* So much was sealed for this side: for the board. */
void keys_sealed(struct turn *turn, enum relay_side side, uint64_t blocks, uint64_t records);
