/* Sessions from a predecessor: the successor takes descriptors while the one before still serves,
 * and with GO the slots.
 *
 * What a slot does not say is how much of an input run was filled and of an output run written. A
 * predecessor that left in order has written it down (in the copy of the hot part that is not
 * valid); after a crash the kernel's counters tell. Where neither does, the session ends: nothing
 * is ever guessed, because a wrong sequence number would break the cipher. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/secret.h"
#include "edge/relay.h"
#include "loop/socket_counters.h"

/* ---- descriptors beforehand ---- */

struct succession_result {
    uint32_t adopted, lost;
    uint32_t reasons[SESSION_END_COUNT];
};

struct inherited {
    uint64_t serial; /* 0: none */
    uint64_t cookies[SIDE_COUNT];
    int fds[SIDE_COUNT];
};

static struct inherited *inheritance(struct relay *relay)
{
    uint32_t capacity = relay->worker.setup.slot_capacity;

    if (relay->inherited == NULL)
        relay->inherited = calloc(capacity, sizeof *relay->inherited);
    return relay->inherited;
}

static void disinherit(struct inherited *it)
{
    for (unsigned side = 0; side < SIDE_COUNT && it->serial != 0; side++) {
        if (it->fds[side] >= 0)
            ignore(close(it->fds[side]));
    }
    *it = (struct inherited){.fds = {-1, -1}};
}

static void inherit(struct relay *relay, const struct session_reference *reference,
                    struct message *message, size_t *next)
{
    struct inherited *it = &relay->inherited[reference->slot];
    bool known = it->serial == reference->serial;

    if (!known)
        disinherit(it); /* leaves -1 for descriptors, as zeroed memory does not */
    for (unsigned side = 0; side < SIDE_COUNT; side++) {
        if ((reference->sides >> side & 1) == 0 || *next >= message->fd_count)
            continue;
        int *fd = &message->fds[(*next)++];
        if (known)
            continue; /* sent again: closed with the message */
        it->serial = reference->serial;
        it->cookies[side] = reference->cookies[side];
        it->fds[side] = *fd;
        *fd = -1;
    }
}

void succession_inherit(struct relay *relay, struct message *message)
{
    const struct message_sessions *body = (const void *)message->body;
    uint32_t capacity = relay->worker.setup.slot_capacity;
    size_t next = 0;

    if (inheritance(relay) == NULL || message->size != sizeof *body ||
        body->count > MESSAGE_SESSIONS_MAX)
        return;
    for (uint32_t i = 0; i < body->count; i++) {
        if (body->sessions[i].slot < capacity)
            inherit(relay, &body->sessions[i], message, &next);
    }
}

void succession_disinherit(struct relay *relay, const struct message *message)
{
    const struct message_sessions *body = (const void *)message->body;

    if (relay->inherited == NULL || message->size != sizeof *body ||
        body->count > MESSAGE_SESSIONS_MAX)
        return;
    for (uint32_t i = 0; i < body->count; i++) {
        uint32_t slot = body->sessions[i].slot;
        if (slot < relay->worker.setup.slot_capacity &&
            relay->inherited[slot].serial == body->sessions[i].serial)
            disinherit(&relay->inherited[slot]);
    }
}

/* ---- slots ---- */

/* Runs that the slot says it holds, as far as they are there and nobody else's. What was claimed is
 * given back when one is not. */
static bool claim_runs(struct relay *relay, const struct slot_hot *hot)
{
    struct {
        uint32_t first;
        uint8_t order;
    } runs[2 * FLOW_COUNT];
    unsigned wanted = 0, claimed = 0;

    for (unsigned i = 0; i < FLOW_COUNT; i++) {
        const struct flow *flow = &hot->flows[i];
        if (flow->input != BLOCK_NONE) {
            runs[wanted].first = flow->input;
            runs[wanted++].order = flow->input_order;
        }
        if (flow->output != BLOCK_NONE) {
            runs[wanted].first = flow->output;
            runs[wanted++].order = flow->output_order;
        }
    }
    while (claimed < wanted &&
           blocks_claim(relay->blocks, runs[claimed].first, runs[claimed].order))
        claimed++;
    if (claimed == wanted)
        return true;
    while (claimed-- > 0)
        blocks_give(relay->blocks, runs[claimed].first, runs[claimed].order);
    return false;
}

static bool counted(const struct relay *relay, uint32_t index, enum relay_side side,
                    struct slot_stream *ret_now)
{
    const struct slot *slot = &relay->arena.slots[index];
    struct socket_counters counters;

    if ((slot->by_hand >> side & 1) != 0) {
        *ret_now = slot->streams[side];
        return (slot->busy >> side & 1) == 0;
    }
    if (relay->worker.board->crash_survival == 0 ||
        !socket_counters(relay->inherited[index].fds[side], &counters) || counters.closed)
        return false;
    *ret_now = (struct slot_stream){counters.received - slot->streams[side].received,
                                    counters.sent - slot->streams[side].sent};
    return true;
}

/* Where a crash left the direction's streams; only what is held makes it necessary to ask. */
static bool recover_output(struct relay *relay, uint32_t index, unsigned direction,
                           struct slot_rest *rest)
{
    const struct flow *flow = &slot_hot(&relay->arena.slots[index])->flows[direction];
    struct slot_stream now;

    if (flow->discard != DISCARD_NOTHING) {
        rest->written[direction] = flow->output_size;
    } else if (flow->output != BLOCK_NONE && flow->output_size != 0 && !flow->sink_ended) {
        if (!counted(relay, index, direction == FLOW_UP ? SIDE_UPSTREAM : SIDE_CLIENT, &now))
            return false;
        rest->written[direction] = now.sent - (uint32_t)flow->write_position;
    }
    return true;
}

static bool recover_flow(struct relay *relay, uint32_t index, unsigned direction,
                         struct slot_rest *rest)
{
    const struct flow *flow = &slot_hot(&relay->arena.slots[index])->flows[direction];
    struct slot_stream now;

    if (flow->input != BLOCK_NONE && !flow->source_ended) {
        if (!counted(relay, index, direction == FLOW_UP ? SIDE_CLIENT : SIDE_UPSTREAM, &now))
            return false;
        rest->input_size[direction] = now.received - (uint32_t)flow->read_position;
    }
    return recover_output(relay, index, direction, rest);
}

static bool plausible(const struct slot_hot *hot, const struct slot_rest *rest)
{
    for (unsigned i = 0; i < FLOW_COUNT; i++) {
        const struct flow *flow = &hot->flows[i];
        uint64_t room = flow->input == BLOCK_NONE ? 0 : (uint64_t)BLOCK_SIZE << flow->input_order;
        uint64_t output =
            flow->output == BLOCK_NONE ? 0 : (uint64_t)BLOCK_SIZE << flow->output_order;
        if ((uint64_t)flow->input_offset + rest->input_size[i] > room && rest->input_size[i] != 0)
            return false;
        if (rest->written[i] > flow->output_size || flow->output_size > output)
            return false;
    }
    return true;
}

static bool find_rest(struct relay *relay, uint32_t index, enum predecessor predecessor,
                      struct slot_rest *ret_rest)
{
    const struct slot *slot = &relay->arena.slots[index];

    *ret_rest = (struct slot_rest){.magic = 0};
    if (predecessor == PREDECESSOR_HANDED_OVER)
        return slot_rest(slot, ret_rest);
    if (slot->state == SESSION_CLOSING) /* only what the client is still to get matters */
        return recover_output(relay, index, FLOW_DOWN, ret_rest);
    return recover_flow(relay, index, FLOW_UP, ret_rest) &&
           recover_flow(relay, index, FLOW_DOWN, ret_rest);
}

/* The slot's own word on whether it may be believed. */
static bool believable(const struct relay *relay, uint32_t index)
{
    const struct slot *slot = &relay->arena.slots[index];
    bool settled = slot->state == SESSION_OPEN || slot->state == SESSION_HALF_CLOSED;
    bool tls = (slot->flags & SLOT_UPSTREAM_TLS) != 0; /* set a moment before the leg is there */

    return slot->state < SESSION_STATE_COUNT &&
           slot->listener < relay->worker.conf->listener_count &&
           slot->upstream < relay->worker.conf->upstream_count && slot_noted(slot) &&
           slot_intact(slot, &relay->arena.upstream_secrets[index]) &&
           slot_settled(slot, &relay->arena.upstream_secrets[index]) &&
           (!settled || tls == (slot_hot(slot)->upstream_tls != 0));
}

/* Why the session cannot go on; SESSION_END_NONE when it can. */
static enum session_end judge(struct relay *relay, uint32_t index, bool in_hand,
                              enum predecessor predecessor, struct slot_rest *ret_rest)
{
    struct slot *slot = &relay->arena.slots[index];
    const struct inherited *it = &relay->inherited[index];

    if (it->serial != slot->serial || it->cookies[SIDE_CLIENT] != slot->client_cookie ||
        it->fds[SIDE_CLIENT] < 0)
        return SESSION_END_LOST; /* too young, or the number was given to another meanwhile */
    if (!believable(relay, index))
        return SESSION_END_CORRUPT;
    bool upstream = slot->state == SESSION_ENCRYPTING || slot->state == SESSION_OPEN ||
                    slot->state == SESSION_HALF_CLOSED;
    if (upstream &&
        (it->fds[SIDE_UPSTREAM] < 0 || it->cookies[SIDE_UPSTREAM] != slot->upstream_cookie))
        return SESSION_END_LOST;
    if (in_hand && (predecessor == PREDECESSOR_CRASHED ||
                    (predecessor == PREDECESSOR_KILLED && slot->killed++ > 0)))
        return SESSION_END_CRASHED_RELAY;
    if (!find_rest(relay, index, predecessor, ret_rest))
        return SESSION_END_LOST;
    if (!plausible(slot_hot(slot), ret_rest) || !claim_runs(relay, slot_hot(slot)))
        return SESSION_END_CORRUPT;
    return SESSION_END_NONE;
}

/* What was inherited and is not adopted: nobody goes on with it, neither here nor after us. Of a
 * session that had ended the peers still get their last bytes. */
static void abandon(struct relay *relay, uint32_t index)
{
    struct inherited *it = &relay->inherited[index];

    if (it->serial == 0)
        return;
    for (unsigned side = 0; side < SIDE_COUNT; side++) {
        if (it->fds[side] >= 0 && !socket_ended(it->fds[side]))
            socket_reset(it->fds[side]);
    }
    registration_queue_release(relay, index, it->serial);
    disinherit(it);
}

/* Ends a session of which nothing may be believed: the client sees a reset. */
static void give_up(struct relay *relay, uint32_t index, enum session_end end)
{
    struct slot *slot = &relay->arena.slots[index];

    session_report_end(relay, index, end);
    worker_count(&relay->worker, COUNTER_SESSIONS_LOST, 1);
    session_uncount_source(relay, index);
    session_let_go(relay, index);
    if (relay->inherited[index].serial == slot->serial)
        abandon(relay, index);
    slot_wipe(&relay->arena, index);
}

static void adopt(struct relay *relay, uint32_t index, bool in_hand, enum predecessor predecessor,
                  struct succession_result *result)
{
    struct slot *slot = &relay->arena.slots[index];
    struct slot_rest rest;

    enum session_end end = judge(relay, index, in_hand, predecessor, &rest);
    if (end != SESSION_END_NONE) {
        result->lost++;
        result->reasons[end]++;
        give_up(relay, index, end);
        return;
    }
    struct inherited *it = &relay->inherited[index];
    session_adopt(relay, index, it->fds, &rest);
    *it = (struct inherited){.fds = {-1, -1}};
    slot->generation.binary = relay->worker.setup.binary_generation;
    result->adopted++;
}

static void report(struct relay *relay, const struct succession_result *result)
{
    struct event *event = event_begin(&relay->worker.events, EVENT_SESSIONS_ADOPTED);
    size_t size;

    if (event == NULL)
        return;
    size = (size_t)snprintf(event->detail, sizeof event->detail, "%u go on, %u ended",
                            result->adopted, result->lost);
    for (unsigned i = 0; i < SESSION_END_COUNT && size < sizeof event->detail; i++) {
        if (result->reasons[i] != 0)
            size += (size_t)snprintf(event->detail + size, sizeof event->detail - size, "; %u %s",
                                     result->reasons[i], session_end_name((enum session_end)i));
    }
    event_end(&relay->worker.events, EVENT_SESSIONS_ADOPTED);
}

/* The watches were the predecessor's: what was announced to it and not dealt with is asked for
 * once, all at a time. Who is ready has its turn in the next batch. */
static bool ask_all(struct relay *relay)
{
    uint32_t count = relay->arena.header->high_water;
    struct pollfd *asked = calloc(count + 1, SIDE_COUNT * sizeof *asked);

    if (asked == NULL)
        return false;
    for (uint32_t i = 0; i < count * SIDE_COUNT; i++) {
        const struct relay_session *session = &relay->sessions[i / SIDE_COUNT];
        bool wanted = session->in_use && (session->writable >> i % SIDE_COUNT & 1) != 0;
        asked[i] = (struct pollfd){.fd = wanted ? session->fds[i % SIDE_COUNT] : -1,
                                   .events = POLLIN | POLLPRI | POLLRDHUP};
    }
    int ready = poll(asked, count * SIDE_COUNT, 0);
    for (uint32_t i = 0; i < count * SIDE_COUNT && ready > 0; i++) {
        struct relay_session *session = &relay->sessions[i / SIDE_COUNT];
        uint8_t bit = (uint8_t)(1u << i % SIDE_COUNT);
        if (asked[i].revents == 0)
            continue;
        ready--;
        session->readable |= bit;
        if ((asked[i].revents & (POLLPRI | POLLRDHUP | POLLHUP | POLLERR)) != 0)
            session->hung_up |= bit;
        session_queue(relay, i / SIDE_COUNT);
    }
    free(asked);
    return true;
}

/* Of sessions that have ended meanwhile: the predecessor may not have come to tell. */
static void abandon_rest(struct relay *relay)
{
    for (uint32_t i = 0; i < relay->worker.setup.slot_capacity; i++)
        abandon(relay, i);
    free(relay->inherited);
    relay->inherited = NULL;
}

bool succession_take_over(struct relay *relay, enum predecessor predecessor)
{
    struct arena_header *header = relay->arena.header;
    struct succession_result result = {.adopted = 0};
    uint32_t in_hand = header->in_hand, above = 0;

    if (inheritance(relay) == NULL)
        return false;
    slot_settle_left(&relay->arena, in_hand);
    header->used = 0;
    for (uint32_t i = 0; i < header->high_water && i < relay->worker.setup.slot_capacity; i++) {
        struct slot *slot = &relay->arena.slots[i];
        if (slot->state == SESSION_FREE) {
            session_uncount_source(relay, i); /* it was about to begin or to end */
            slot_wipe(&relay->arena, i);
            continue;
        }
        header->in_hand = i; /* should it be our end, too, the next one will know */
        adopt(relay, i, in_hand == i, predecessor, &result);
        if (slot->state != SESSION_FREE)
            above = i + 1;
    }
    header->high_water = above;
    header->in_hand = SLOT_NONE;
    abandon_rest(relay);
    if (!ask_all(relay))
        return false;
    worker_count(&relay->worker, COUNTER_SESSIONS_ADOPTED, result.adopted);
    if (predecessor != PREDECESSOR_NONE)
        report(relay, &result);
    return true;
}
