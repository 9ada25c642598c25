/* The data path: one direction of a session at a time, the same code for both.
 *
 *   source socket → input run → (open) → (seal) → output run → sink socket
 *
 * Order of every batch: the runs' numbers are committed before the first read; what was opened or
 * sealed is committed before it is written. So a relay killed at any instant leaves a slot from
 * which, with the kernel's counters, a successor goes on. A TLS leg's plaintext on its way to
 * another TLS leg stands in private scratch memory: until the commit it can be opened again. */
#include <errno.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "edge/relay_turn.h"

#define BUSY_BYTES                                                                                 \
    (2 * BLOCK_SIZE) /* a turn that moves so much counts among those who share the time */
#define ORDER_BULK 3 /* from this run size on, ask how much the sink can take */

/* ---- ends of streams ---- */

/* Passes the end of the source on to the sink, once everything before it was written. */
static enum write_result pass_end(struct turn *turn)
{
    unsigned direction = turn->direction;
    struct flow *flow = &turn->next.flows[direction];
    enum relay_side sink = sink_side(direction);
    struct leg *leg = turn_leg(turn, sink);

    if (leg != NULL && !leg->close_sent) {
        leg_alert(leg, ALERT_CLOSE_NOTIFY);
        if (!turn_append_owed(turn, sink))
            memory_await(turn->relay, turn->index);
        if (!leg->close_sent)
            return WRITE_WAIT;
        enum write_result result = turn_write(turn, direction);
        if (result != WRITE_DONE)
            return result;
    }
    flow->sink_ended = 1;
    turn_commit(turn); /* first: what is sent cannot be counted after a FIN */
    if (sink == SIDE_CLIENT)
        session_end_client(turn->relay, turn->index);
    if (!turn->next.flows[direction ^ 1]
             .sink_ended) /* else the session ends at once, and its descriptors with it */
        ignore(shutdown(turn->session->fds[sink], SHUT_WR));
    return WRITE_DONE;
}

/* ---- opening and sealing ---- */

static enum flow_status leg_failed(struct turn *turn, enum relay_side side,
                                   const struct leg_opened *opened)
{
    struct relay *relay = turn->relay;
    uint32_t index = turn->index;

    turn_commit(turn);
    turn->session->reason = (uint8_t)opened->reason;
    turn->session->alert_received = opened->peer_alert;
    if (opened->reason == LEG_REASON_PEER_ALERT) {
        session_end(relay, index,
                    side == SIDE_CLIENT ? SESSION_END_PEER_ALERT : SESSION_END_UPSTREAM_PROTOCOL,
                    true);
        return FLOW_DEAD;
    }
    worker_count(&relay->worker, COUNTER_RECORD_ERRORS, 1);
    if (side == SIDE_CLIENT)
        session_close(relay, index, SESSION_END_CLIENT_PROTOCOL, (enum alert)opened->alert);
    else
        session_close(relay, index, SESSION_END_UPSTREAM_PROTOCOL, ALERT_INTERNAL_ERROR);
    return FLOW_DEAD;
}

/* Largest plaintext whose seal fits a run of this order together with what the leg may owe. */
static size_t seal_capacity(const struct leg *leg, unsigned order)
{
    size_t room = run_size(order) - LEG_OWED_MAX;
    size_t overhead = leg_sealed_size(leg, room) - room;
    return room - overhead;
}

static unsigned order_for_seal(const struct leg *leg, size_t size)
{
    unsigned order = 0;
    while (order < BLOCK_ORDER_MAX && seal_capacity(leg, order) < size)
        order++;
    return order;
}

static void consume_input(struct turn *turn, size_t size)
{
    struct flow *flow = &turn->next.flows[turn->direction];
    flow->read_position += size;
    flow->input_offset += (uint32_t)size;
    turn->session->input_size[turn->direction] -= (uint32_t)size;
    turn->dirty = true;
}

enum transform_result { TRANSFORM_NOTHING, TRANSFORM_OUTPUT, TRANSFORM_STARVED, TRANSFORM_DEAD };

/* Seals into the output run. A failure here is one of the library or of a session that wore out its
 * sequence numbers. */
static bool seal_output(struct turn *turn, struct leg *leg, const uint8_t *input, size_t size)
{
    struct flow *flow = &turn->next.flows[turn->direction];
    enum relay_side side = sink_side(turn->direction);
    uint64_t blocks = leg->write_blocks, records = leg->write_sequence;

    flow->output_size = (uint32_t)leg_seal(turn->relay->crypto, leg, turn_keys(turn, side), input,
                                           size, block_memory(&turn->relay->arena, flow->output));
    if (flow->output_size != 0) {
        keys_sealed(turn, side, leg->write_blocks - blocks, leg->write_sequence - records);
        return true;
    }
    turn_commit(turn); /* the run is the session's, which gives it back */
    session_end(turn->relay, turn->index, SESSION_END_INTERNAL, true);
    return false;
}

/* TLS source: opens what is complete. Plaintext goes to the output run, or through scratch memory
 * into the sink's records. */
static enum transform_result open_input(struct turn *turn, struct leg *source)
{
    struct relay *relay = turn->relay;
    struct flow *flow = &turn->next.flows[turn->direction];
    enum relay_side side = source_side(turn->direction);
    struct leg *sink = turn_leg(turn, sink_side(turn->direction));
    uint32_t size = turn->session->input_size[turn->direction];
    uint32_t record =
        size < RECORD_WIRE_MAX_TLS12 ? size : RECORD_WIRE_MAX_TLS12; /* one must fit */
    const uint8_t *input = block_memory(&relay->arena, flow->input) + flow->input_offset;
    unsigned order = sink == NULL ? run_order(size) : order_for_seal(sink, size);
    unsigned least = sink == NULL ? run_order(record) : order_for_seal(sink, record);
    struct leg_opened opened;

    if (flow->output == BLOCK_NONE &&
        !memory_take(relay, order, least, &flow->output, &flow->output_order))
        return TRANSFORM_STARVED;
    turn->dirty = true;
    uint8_t *output = sink == NULL ? block_memory(&relay->arena, flow->output) : relay->scratch;
    size_t room =
        sink == NULL ? run_size(flow->output_order) : seal_capacity(sink, flow->output_order);
    bool owed = source->update_owed;
    enum leg_event event = leg_open(relay->crypto, source, turn_keys(turn, side), input, size,
                                    output, room, relay->now_ns / NS_PER_MS, &opened);
    keys_opened(turn, side, owed, &opened);
    if (opened.renegotiations != 0)
        worker_count(&relay->worker, COUNTER_RENEGOTIATIONS_REFUSED, opened.renegotiations);
    fault_input(output, opened.produced);
    if (sink == NULL)
        flow->output_size = (uint32_t)opened.produced;
    else if (opened.produced != 0 && !seal_output(turn, sink, output, opened.produced))
        return TRANSFORM_DEAD;
    consume_input(turn, opened.consumed);
    if (event == LEG_CLOSED)
        flow->source_ended = 1;
    if (event == LEG_FATAL) {
        ignore(leg_failed(turn, side, &opened));
        return TRANSFORM_DEAD;
    }
    if (opened.produced == 0)
        turn_release_output(turn, turn->direction);
    turn_commit(turn);
    if (!turn_append_owed(turn, side))
        memory_await(relay, turn->index);
    return flow->output_size != 0 || opened.consumed != 0 ? TRANSFORM_OUTPUT : TRANSFORM_NOTHING;
}

/* Plain source, TLS sink. */
static enum transform_result seal_input(struct turn *turn, struct leg *sink)
{
    struct flow *flow = &turn->next.flows[turn->direction];
    size_t size = turn->session->input_size[turn->direction];
    const uint8_t *input = block_memory(&turn->relay->arena, flow->input) + flow->input_offset;

    if (flow->output == BLOCK_NONE && !memory_take(turn->relay, order_for_seal(sink, size), 0,
                                                   &flow->output, &flow->output_order))
        return TRANSFORM_STARVED;
    size_t room = seal_capacity(sink, flow->output_order);
    size = size < room ? size : room;
    if (!seal_output(turn, sink, input, size))
        return TRANSFORM_DEAD;
    consume_input(turn, size);
    turn_commit(turn);
    return TRANSFORM_OUTPUT;
}

/* Pass-through: the run itself moves on. */
static enum transform_result pass_input(struct turn *turn)
{
    struct flow *flow = &turn->next.flows[turn->direction];
    uint32_t size = turn->session->input_size[turn->direction];

    flow->output = flow->input;
    flow->output_order = flow->input_order;
    flow->output_size = size;
    flow->input = BLOCK_NONE;
    flow->read_position += size;
    turn->session->input_size[turn->direction] = 0;
    turn_commit(turn);
    return TRANSFORM_OUTPUT;
}

static enum transform_result transform(struct turn *turn)
{
    struct leg *source = turn_leg(turn, source_side(turn->direction));
    struct leg *sink = turn_leg(turn, sink_side(turn->direction));

    if (source != NULL)
        return open_input(turn, source);
    return sink != NULL ? seal_input(turn, sink) : pass_input(turn);
}

/* ---- reading ---- */

/* How many bytes the sink is likely to take at once (kernel memory accounting; the estimate errs on
 * the small side). */
static size_t sink_room(int fd, bool is_unix)
{
    uint32_t info[SK_MEMINFO_VARS];
    socklen_t size = sizeof info;

    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size) != 0)
        return HELD_MAX;
    uint32_t limit = info[SK_MEMINFO_SNDBUF],
             queued = info[is_unix ? SK_MEMINFO_WMEM_ALLOC : SK_MEMINFO_WMEM_QUEUED];
    return queued >= limit ? 0 : (size_t)(limit - queued) / 8 * 7;
}

/* Moves the unprocessed input to the front of another run of 2^order blocks, or of a smaller one
 * down to 2^least. */
static bool move_input(struct turn *turn, unsigned order, unsigned least)
{
    struct flow *flow = &turn->next.flows[turn->direction];
    struct flow old = *flow;
    uint32_t run;
    uint8_t run_order;

    if (!memory_take(turn->relay, order, least, &run, &run_order))
        return false;
    memcpy(block_memory(&turn->relay->arena, run),
           block_memory(&turn->relay->arena, old.input) + old.input_offset,
           turn->session->input_size[turn->direction]);
    flow->input = run;
    flow->input_order = run_order;
    flow->input_offset = 0;
    turn_commit(turn);
    memory_give(turn->relay, old.input, old.input_order);
    return true;
}

/* A record must fit as a whole, whatever of it is there. */
static unsigned least_input_order(struct turn *turn)
{
    size_t held = turn->session->input_size[turn->direction];
    bool records = turn_leg(turn, source_side(turn->direction)) != NULL;

    return run_order(records && held < RECORD_WIRE_MAX_TLS12 ? RECORD_WIRE_MAX_TLS12 : held + 1);
}

/* Makes room for reading up to `limit` bytes behind the unprocessed input; a partial record may
 * have to move to a larger run. Returns the free bytes at *ret_place, 0 when memory is short. The
 * run is committed before anything is read into it. */
static size_t input_room(struct turn *turn, size_t limit, uint8_t **ret_place)
{
    struct relay_session *session = turn->session;
    struct flow *flow = &turn->next.flows[turn->direction];
    uint32_t held = session->input_size[turn->direction];
    unsigned order = session->read_order[turn->direction];
    unsigned needed = limit < run_size(BLOCK_ORDER_MAX) ? run_order(limit) : 0;

    if (flow->input != BLOCK_NONE && held != 0) {
        uint32_t end = flow->input_offset + held;
        /* A TLS record must fit behind the offset; else the start of it moves to the front of
         * another run. */
        uint32_t enough =
            turn_leg(turn, source_side(turn->direction)) != NULL ? RECORD_WIRE_MAX_TLS12 : 1;
        bool fits = run_size(flow->input_order) - flow->input_offset >= enough &&
                    end < run_size(flow->input_order);
        if (fits && (flow->input_order >= order || blocks_scarce(turn->relay->blocks))) {
            *ret_place = block_memory(&turn->relay->arena, flow->input) + end;
            return run_size(flow->input_order) - end;
        }
        unsigned least = least_input_order(turn);
        if (!move_input(turn, order < least ? least : order, least))
            return 0;
        *ret_place = block_memory(&turn->relay->arena, flow->input) + held;
        return run_size(flow->input_order) - held;
    }
    if (flow->input != BLOCK_NONE && flow->input_order != order)
        turn_release_input(turn);
    if (flow->input == BLOCK_NONE && !memory_take(turn->relay, order > needed ? order : needed,
                                                  needed, &flow->input, &flow->input_order))
        return 0;
    flow->input_offset = 0;
    turn_commit(turn);
    *ret_place = block_memory(&turn->relay->arena, flow->input);
    return run_size(flow->input_order);
}

enum read_result { READ_GOT, READ_NOTHING, READ_ENDED, READ_STARVED, READ_BROKEN };

/* The next run grows while reads fill it and shrinks when they do not. */
static void adapt_order(struct relay_session *session, unsigned direction, size_t got, size_t asked)
{
    uint8_t *order = &session->read_order[direction];
    if (got == asked && *order < BLOCK_ORDER_MAX)
        (*order)++;
    else if (got < asked / 4 && *order > 0)
        (*order)--;
}

static enum read_result read_input(struct turn *turn)
{
    struct relay *relay = turn->relay;
    struct relay_session *session = turn->session;
    enum relay_side source = source_side(turn->direction), sink = sink_side(turn->direction);
    struct leg *sink_leg = turn_leg(turn, sink);
    uint8_t *place;

    if ((session->readable & (1u << source)) == 0)
        return READ_NOTHING;
    struct flow *flow = &turn->next.flows[turn->direction];
    uint32_t held = session->input_size[turn->direction];
    const uint8_t *beginning =
        held == 0 ? NULL : block_memory(&relay->arena, flow->input) + flow->input_offset;
    size_t limit =
        memory_read_limit(relay, session, source, turn_leg(turn, source) != NULL, beginning, held);
    if (limit == 0)
        return READ_NOTHING;
    size_t room = input_room(turn, limit, &place);
    if (room == 0)
        return READ_STARVED;
    room = room < limit ? room : limit;
    size_t left = relay->turn_bytes - turn->moved;
    room = room < left ? room : left;
    if (sink_leg != NULL && turn_leg(turn, source) == NULL) {
        size_t capacity = seal_capacity(sink_leg, flow->input_order);
        room = room < capacity ? room : capacity;
    }
    if (flow->input_order >= ORDER_BULK) {
        size_t likely = sink_room(session->fds[sink], (turn->slot->by_hand >> sink & 1) != 0);
        size_t least = HELD_MAX * 3 / 4;
        likely = likely < least ? least : likely;
        room = room < likely ? room : likely;
    }
    ssize_t got;
    turn_count_begin(turn, source);
    do {
        got = recv(session->fds[source], place, room, 0);
    } while (got < 0 && errno == EINTR);
    turn_count_end(turn, source, got, 0);
    if (got < 0 && errno == EAGAIN) {
        session->readable &= (uint8_t) ~(1u << source);
        return READ_NOTHING;
    }
    if (got < 0)
        return READ_BROKEN;
    if (got == 0)
        return READ_ENDED;
    if ((size_t)got < room && (session->hung_up & (1u << source)) == 0)
        session->readable &= (uint8_t) ~(1u << source); /* edge-triggered: more will be announced */
    adapt_order(session, turn->direction, (size_t)got, room);
    session->input_size[turn->direction] += (uint32_t)got;
    turn->moved += (size_t)got;
    turn->slot->active_s = (uint32_t)(relay->now_ns / NS_PER_S);
    worker_count(&relay->worker,
                 turn->direction == FLOW_UP ? COUNTER_CLIENT_BYTES_IN : COUNTER_UPSTREAM_BYTES_IN,
                 (size_t)got);
    return READ_GOT;
}

/* ---- one direction ---- */

/* The handshaker's end of an attached session is gone, or has ended otherwise than in order. */
static enum flow_status client_over(struct turn *turn, enum session_end end)
{
    struct relay *relay = turn->relay;

    turn_commit(turn);
    if (end == SESSION_END_DRAINED || end == SESSION_END_KEY_LIMIT) {
        session_close(relay, turn->index, end, ALERT_CLOSE_NOTIFY);
        return FLOW_DEAD;
    }
    if (end == SESSION_END_TRUNCATED)
        worker_count(&relay->worker, COUNTER_TRUNCATIONS, 1);
    else if (end == SESSION_END_CLIENT_PROTOCOL)
        worker_count(&relay->worker, COUNTER_RECORD_ERRORS, 1);
    else if (end == SESSION_END_LOST_HANDSHAKER)
        worker_count(&relay->worker, COUNTER_SESSIONS_LOST, 1);
    session_end(relay, turn->index, end, true);
    return FLOW_DEAD;
}

static enum flow_status source_broken(struct turn *turn)
{
    if (source_side(turn->direction) == SIDE_CLIENT)
        return client_over(turn, session_broken_end(turn->relay, turn->index));
    turn_commit(turn);
    session_end(turn->relay, turn->index, SESSION_END_UPSTREAM_RESET, true);
    return FLOW_DEAD;
}

/* The source's TCP stream ended. */
static enum flow_status source_finished(struct turn *turn)
{
    struct relay *relay = turn->relay;
    uint32_t index = turn->index;
    enum relay_side side = source_side(turn->direction);
    struct leg *leg = turn_leg(turn, side);
    struct flow *flow = &turn->next.flows[turn->direction];

    if (turn->next.flows[turn->direction ^ 1].discard == DISCARD_BROKEN)
        return source_broken(turn);
    turn->session->readable &= (uint8_t) ~(1u << side);
    if (side == SIDE_CLIENT && (turn->slot->flags & SLOT_ATTACHED) != 0) {
        enum session_end end = session_attached_end(relay, index);
        if (end != SESSION_END_NONE)
            return client_over(turn, end);
    }
    if (leg != NULL && !leg->close_received) {
        const struct conf_listener *listener = &relay->worker.conf->listeners[turn->slot->listener];
        worker_count(&relay->worker, COUNTER_TRUNCATIONS, 1);
        if (side == SIDE_UPSTREAM || !listener->tolerate_truncation) {
            turn_commit(turn);
            session_end(
                relay, index,
                side == SIDE_CLIENT ? SESSION_END_TRUNCATED : SESSION_END_UPSTREAM_TRUNCATED, true);
            return FLOW_DEAD;
        }
    }
    flow->source_ended = 1;
    turn_release_input(turn);
    turn->session->input_size[turn->direction] = 0;
    turn_commit(turn);
    return FLOW_BUSY;
}

static enum flow_status sink_broken(struct turn *turn)
{
    struct relay *relay = turn->relay;
    enum relay_side sink = sink_side(turn->direction);

    if (sink == SIDE_CLIENT)
        return client_over(turn, session_broken_end(turn->relay, turn->index));
    /* The server takes no more, but what it has said may still be on its way to the client. */
    turn->next.flows[turn->direction].discard = (uint8_t)turn->broken;
    turn_commit(turn);
    session_queue(relay, turn->index);
    return FLOW_BUSY;
}

static enum flow_status starved(struct turn *turn)
{
    if (turn->dirty)
        turn_commit(turn);
    memory_await(turn->relay, turn->index);
    return FLOW_WAITING;
}

static enum flow_status turn_over(struct turn *turn, enum flow_status status)
{
    struct flow *flow = &turn->next.flows[turn->direction];
    unsigned least = least_input_order(turn);

    if (flow->input != BLOCK_NONE && turn->session->input_size[turn->direction] == 0)
        turn_release_input(turn);
    else if (flow->input != BLOCK_NONE && !turn->session->queued &&
             run_size(flow->input_order) > HELD_MAX && run_size(least) <= HELD_MAX)
        ignore(move_input(turn, least, least)); /* what waits for its rest needs no more */
    if (turn->dirty)
        turn_commit(turn);
    return status;
}

/* What to do next with this direction; FLOW_BUSY: go on. */
static enum flow_status flow_step(struct turn *turn)
{
    struct flow *flow = &turn->next.flows[turn->direction];
    struct leg *sink = turn_leg(turn, sink_side(turn->direction));
    struct relay_session *session = turn->session;

    switch (turn_write(turn, turn->direction)) {
    case WRITE_WAIT:
        return turn_over(turn, FLOW_WAITING);
    case WRITE_BROKEN:
        return sink_broken(turn);
    case WRITE_DONE:
        break;
    }
    if (!turn_append_owed(turn, sink_side(turn->direction)))
        return starved(turn);
    if (flow->output_size != 0)
        return FLOW_BUSY;
    if (sink != NULL && leg_owes(sink))
        return turn_over(turn,
                         FLOW_WAITING); /* nothing may be sealed before; room will be announced */
    if (session->input_size[turn->direction] != 0 && !flow->source_ended) {
        if (keys_renew(turn, sink_side(turn->direction)))
            return FLOW_BUSY;
        switch (transform(turn)) {
        case TRANSFORM_OUTPUT:
            return FLOW_BUSY;
        case TRANSFORM_STARVED:
            return starved(turn);
        case TRANSFORM_DEAD:
            return FLOW_DEAD;
        case TRANSFORM_NOTHING:
            break;
        }
    }
    if (flow->source_ended) {
        if (flow->sink_ended)
            return turn_over(turn, FLOW_WAITING);
        if (flow->discard == DISCARD_NOTHING) {
            enum write_result result = pass_end(turn);
            if (result == WRITE_BROKEN)
                return sink_broken(turn);
            return turn_over(turn, FLOW_WAITING);
        }
        flow->sink_ended = 1;
        turn->dirty = true;
        return turn_over(turn, FLOW_WAITING);
    }
    if (turn->moved >= turn->relay->turn_bytes) {
        session_queue(turn->relay, turn->index);
        return turn_over(turn, FLOW_WAITING);
    }
    switch (read_input(turn)) {
    case READ_GOT:
        return FLOW_BUSY;
    case READ_NOTHING:
        return turn_over(turn, FLOW_WAITING);
    case READ_ENDED:
        return source_finished(turn);
    case READ_STARVED:
        return starved(turn);
    case READ_BROKEN:
        return source_broken(turn);
    }
    return FLOW_WAITING;
}

enum flow_status flow_run(struct relay *relay, uint32_t index, unsigned direction)
{
    struct turn turn;
    enum flow_status status;

    turn_begin(&turn, relay, index, direction);
    do {
        status = flow_step(&turn);
    } while (status == FLOW_BUSY);
    relay->busy += turn.moved >= BUSY_BYTES;
    return status;
}

/* ---- for the session's life ---- */

void flow_send_owed(struct relay *relay, uint32_t index, enum relay_side side)
{
    struct turn turn;
    turn_begin(&turn, relay, index, side == SIDE_CLIENT ? FLOW_DOWN : FLOW_UP);
    if (!turn_append_owed(&turn, side))
        memory_await(relay, index);
}

bool flow_owes(struct relay *relay, uint32_t index)
{
    const struct slot *slot = &relay->arena.slots[index];
    const struct slot_hot *hot = slot_hot(slot);

    return (hot->client.suite != 0 && leg_owes(&hot->client)) ||
           (hot->upstream_tls &&
            leg_owes(&relay->arena.upstream_secrets[index].leg[slot->current & 1]));
}

bool flow_idle(struct relay *relay, uint32_t index)
{
    const struct slot *slot = &relay->arena.slots[index];
    const struct slot_hot *hot = slot_hot(slot);

    if (slot->state != SESSION_OPEN)
        return false;
    for (unsigned i = 0; i < FLOW_COUNT; i++) {
        if (hot->flows[i].input != BLOCK_NONE || hot->flows[i].output != BLOCK_NONE ||
            hot->flows[i].source_ended)
            return false;
    }
    return !flow_owes(relay, index);
}

void flow_end_sink(struct relay *relay, uint32_t index, unsigned direction)
{
    struct turn turn;

    turn_begin(&turn, relay, index, direction);
    turn.next.flows[direction].sink_ended = 1;
    turn_commit(&turn); /* first: what is sent cannot be counted after a FIN */
    ignore(shutdown(turn.session->fds[sink_side(direction)], SHUT_WR));
}

bool flow_flush(struct relay *relay, uint32_t index, unsigned direction, bool *ret_failed)
{
    struct turn turn;

    turn_begin(&turn, relay, index, direction);
    enum write_result result = relay->arena.slots[index].state == SESSION_CONNECTING
                                   ? turn_write_run(&turn, direction)
                                   : turn_write(&turn, direction);
    if (turn.dirty)
        turn_commit(&turn);
    *ret_failed = result == WRITE_BROKEN;
    return result == WRITE_DONE;
}

bool flow_preload_input(struct relay *relay, uint32_t index, unsigned direction,
                        const uint8_t *data, size_t size)
{
    struct turn turn;

    if (size == 0)
        return true;
    turn_begin(&turn, relay, index, direction);
    struct flow *flow = &turn.next.flows[direction];
    if (!memory_take(relay, run_order(size), run_order(size), &flow->input, &flow->input_order))
        return false;
    memcpy(block_memory(&relay->arena, flow->input), data, size);
    turn.session->input_size[direction] = (uint32_t)size;
    turn_commit(&turn);
    return true;
}

bool flow_preload_output(struct relay *relay, uint32_t index, unsigned direction,
                         const uint8_t *data, size_t size)
{
    struct turn turn;

    if (size == 0)
        return true;
    turn_begin(&turn, relay, index, direction);
    struct flow *flow = &turn.next.flows[direction];
    if (size > BLOCK_SIZE || !memory_take(relay, 0, 0, &flow->output, &flow->output_order))
        return false;
    memcpy(block_memory(&relay->arena, flow->output), data, size);
    flow->output_size = (uint32_t)size;
    turn_commit(&turn);
    return true;
}

void flow_drop(struct relay *relay, uint32_t index)
{
    struct turn turn;

    turn_begin(&turn, relay, index, FLOW_UP);
    for (unsigned direction = 0; direction < FLOW_COUNT; direction++) {
        turn.direction = direction;
        turn_release_input(&turn);
        turn.session->input_size[direction] = 0;
        turn_release_output(&turn, direction);
    }
    turn_commit(&turn);
}
