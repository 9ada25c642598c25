/* A turn of the data path: its working copy of the slot's hot part, and the writing half. */
#include "edge/relay_turn.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

/* Copies the hot part in force. */
static void look(struct turn *turn)
{
    turn->next = *slot_hot(turn->slot);
    if (turn->upstream_tls)
        turn->upstream =
            turn->relay->arena.upstream_secrets[turn->index].leg[turn->slot->current & 1];
}

void turn_begin(struct turn *turn, struct relay *relay, uint32_t index, unsigned direction)
{
    turn->relay = relay;
    turn->index = index;
    turn->direction = direction;
    turn->session = &relay->sessions[index];
    turn->slot = &relay->arena.slots[index];
    turn->upstream_tls = (turn->slot->flags & SLOT_UPSTREAM_TLS) != 0;
    look(turn);
    turn->dirty = false;
    turn->broken = DISCARD_NOTHING;
    turn->moved = 0;
}

void turn_commit(struct turn *turn)
{
    if (turn->upstream_tls)
        slot_commit_upstream(turn->slot, &turn->next,
                             &turn->relay->arena.upstream_secrets[turn->index], &turn->upstream);
    else
        slot_commit(turn->slot, &turn->next);
    if (!slot_settled(turn->slot, &turn->relay->arena.upstream_secrets[turn->index])) {
        slot_settle(&turn->relay->arena, turn->index);
        record_crypto_forget(turn->relay->crypto); /* RFC 9846 §7.2: the old keys end here */
        look(turn);
    }
    turn->dirty = false;
}

unsigned run_order(size_t size)
{
    unsigned order = 0;
    while (order < BLOCK_ORDER_MAX && run_size(order) < size)
        order++;
    return order;
}

void turn_release_input(struct turn *turn)
{
    struct flow *flow = &turn->next.flows[turn->direction];
    if (flow->input == BLOCK_NONE)
        return;
    memory_give(turn->relay, flow->input, flow->input_order);
    turn->session->stuck_since_s = 0; /* counted anew if something is kept */
    flow->input = BLOCK_NONE;
    flow->input_offset = 0;
    turn->dirty = true;
}

void turn_release_output(struct turn *turn, unsigned direction)
{
    struct flow *flow = &turn->next.flows[direction];
    flow->write_position += flow->output_size;
    flow->output_size = 0;
    turn->session->written[direction] = 0;
    turn->session->stuck_since_s = 0; /* counted anew if something is kept */
    if (flow->output != BLOCK_NONE)
        memory_give(turn->relay, flow->output, flow->output_order);
    flow->output = BLOCK_NONE;
    turn->dirty = true;
}

/* ---- writing ---- */

static bool count_by_hand(const struct turn *turn, enum relay_side side)
{
    return (turn->slot->by_hand >> side & 1) != 0;
}

void turn_count_begin(struct turn *turn, enum relay_side side)
{
    if (count_by_hand(turn, side))
        __atomic_store_n(&turn->slot->busy, (uint8_t)(1u << side), __ATOMIC_SEQ_CST);
}

void turn_count_end(struct turn *turn, enum relay_side side, ssize_t received, ssize_t sent)
{
    struct slot_stream *stream = &turn->slot->streams[side];

    if (!count_by_hand(turn, side))
        return;
    stream->received += received > 0 ? (uint32_t)received : 0;
    stream->sent += sent > 0 ? (uint32_t)sent : 0;
    __atomic_store_n(&turn->slot->busy, 0, __ATOMIC_SEQ_CST);
}

static void count_written(struct turn *turn, unsigned direction, size_t size)
{
    worker_count(&turn->relay->worker,
                 direction == FLOW_UP ? COUNTER_UPSTREAM_BYTES_OUT : COUNTER_CLIENT_BYTES_OUT,
                 size);
}

/* A blocked direction keeps its rest in a run no larger than needed. */
static void shrink_output(struct turn *turn, unsigned direction)
{
    struct flow *flow = &turn->next.flows[direction];
    uint32_t written = turn->session->written[direction];
    uint32_t rest = flow->output_size - written;
    uint8_t order = (uint8_t)run_order(rest + LEG_OWED_MAX);

    if (rest + LEG_OWED_MAX > HELD_MAX || order >= flow->output_order)
        return;
    uint32_t run;
    if (!memory_take(turn->relay, order, order, &run, &order))
        return;
    memcpy(block_memory(&turn->relay->arena, run),
           block_memory(&turn->relay->arena, flow->output) + written, rest);
    uint32_t old = flow->output;
    uint8_t old_order = flow->output_order;
    flow->output = run;
    flow->output_order = order;
    flow->write_position += written;
    flow->output_size = rest;
    turn->session->written[direction] = 0;
    turn_commit(turn);
    memory_give(turn->relay, old, old_order);
}

enum write_result turn_write_run(struct turn *turn, unsigned direction)
{
    struct relay_session *session = turn->session;
    struct flow *flow = &turn->next.flows[direction];
    enum relay_side sink = sink_side(direction);

    if (flow->discard != DISCARD_NOTHING)
        session->written[direction] = flow->output_size;
    while (session->written[direction] < flow->output_size) {
        if ((session->writable & (1u << sink)) == 0)
            return WRITE_WAIT;
        const uint8_t *from =
            block_memory(&turn->relay->arena, flow->output) + session->written[direction];
        size_t size = flow->output_size - session->written[direction];
        turn_count_begin(turn, sink);
        ssize_t sent = send(session->fds[sink], from, size, MSG_NOSIGNAL);
        turn_count_end(turn, sink, 0, sent);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN) { /* EPIPE leaves the other direction whole */
            turn->broken = errno == EPIPE ? DISCARD_REST : DISCARD_BROKEN;
            return WRITE_BROKEN;
        }
        if (sent > 0) {
            session->written[direction] += (uint32_t)sent;
            count_written(turn, direction, (size_t)sent);
        }
        if (sent < (ssize_t)size) {
            session->writable &= (uint8_t) ~(1u << sink);
            worker_count(&turn->relay->worker, COUNTER_BLOCKED, 1);
            shrink_output(turn, direction);
            return WRITE_WAIT;
        }
    }
    return WRITE_DONE;
}

enum write_result turn_write(struct turn *turn, unsigned direction)
{
    enum write_result result = turn_write_run(turn, direction);

    if (result == WRITE_DONE && turn->next.flows[direction].output != BLOCK_NONE)
        turn_release_output(turn, direction);
    return result;
}

/* ---- what a leg owes ---- */

bool turn_append_owed(struct turn *turn, enum relay_side side)
{
    unsigned direction = side == SIDE_CLIENT ? FLOW_DOWN : FLOW_UP;
    struct leg *leg = turn_leg(turn, side);
    struct flow *flow = &turn->next.flows[direction];

    if (leg == NULL || !leg_owes(leg))
        return true;
    if (flow->output == BLOCK_NONE) {
        if (!memory_allows_write(turn->relay, turn->session, side))
            return true; /* as soon as there is room */
        if (!memory_take(turn->relay, 0, 0, &flow->output, &flow->output_order))
            return false;
    } else if (flow->output_size + LEG_OWED_MAX > run_size(flow->output_order)) {
        return true; /* after the next write */
    }
    bool update = leg->update_owed;
    size_t size = leg_seal_owed(
        turn->relay->crypto, leg, turn_keys(turn, side), turn->relay->now_ns / NS_PER_MS,
        block_memory(&turn->relay->arena, flow->output) + flow->output_size);
    flow->output_size += (uint32_t)size;
    if (update && size != 0)
        worker_count(&turn->relay->worker, COUNTER_KEY_UPDATES_SENT, 1);
    turn_commit(turn);
    return true;
}
