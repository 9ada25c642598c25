/* Sessions outlive their relay. One part of this file works for the successor: it registers
 * descriptors with the supervisor and, told so, leaves everything in order. The other part is the
 * successor: it takes descriptors while its predecessor still serves, and with GO the slots.
 *
 * What a slot does not say is how much of an input run was filled and of an output run written.
 * A predecessor that left in order has written it down (in the copy of the hot part that is not
 * valid); after a crash the kernel's counters tell. Where neither does, the session ends: nothing
 * is ever guessed, because a wrong sequence number would break the cipher. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/secret.h"
#include "edge/relay.h"
#include "ipc/memory.h"
#include "loop/socket.h"
#include "loop/socket_counters.h"

#define FLUSH_TRIES 100
#define FLUSH_MS    20

/* ---- for the successor: registration ---- */

struct outbox {
    struct message_sessions body;
    int fds[2 * MESSAGE_SESSIONS_MAX];
    size_t fd_count;
};

/* `wait`: a full channel is waited for, a little; else the caller tries again later. */
static bool deliver(struct relay *relay, uint32_t type, const struct outbox *box, bool wait)
{
    for (unsigned i = 0; i < FLUSH_TRIES; i++) {
        struct pollfd room = {.fd = relay->worker.supervisor_fd, .events = POLLOUT};
        if (worker_tell(&relay->worker, type, &box->body, sizeof box->body, box->fds,
                        box->fd_count))
            return true;
        if (!wait)
            return false;
        ignore(poll(&room, 1, FLUSH_MS));
    }
    return false;
}

/* Writes down where both streams stand, so that the kernel's counters mean something later. */
static bool note_streams(struct relay *relay, uint32_t index)
{
    const struct relay_session *session = &relay->sessions[index];
    struct slot *slot = &relay->arena.slots[index];
    const struct slot_hot *hot = slot_hot(slot);

    for (unsigned side = 0; side < SIDE_COUNT; side++) {
        unsigned in = side == SIDE_CLIENT ? FLOW_UP : FLOW_DOWN, out = in ^ 1;
        struct socket_counters counters;
        if (session->fds[side] < 0 || (side == SIDE_UPSTREAM && slot->upstream_unix))
            continue;
        if (!socket_counters(session->fds[side], &counters))
            return false;
        slot->streams[side].received =
            counters.received - (uint32_t)(hot->flows[in].read_position + session->input_size[in]);
        slot->streams[side].sent =
            counters.sent - (uint32_t)(hot->flows[out].write_position + session->written[out]);
    }
    return true;
}

static void add_reference(struct relay *relay, uint32_t index, struct outbox *box)
{
    struct relay_session *session = &relay->sessions[index];
    struct slot *slot = &relay->arena.slots[index];
    struct session_reference *reference = &box->body.sessions[box->body.count++];

    *reference = (struct session_reference){.slot = index, .serial = slot->serial};
    slot->client_cookie = socket_cookie(session->fds[SIDE_CLIENT]);
    slot->upstream_cookie =
        session->fds[SIDE_UPSTREAM] >= 0 ? socket_cookie(session->fds[SIDE_UPSTREAM]) : 0;
    slot_note(slot);
    reference->cookies[SIDE_CLIENT] = slot->client_cookie;
    reference->cookies[SIDE_UPSTREAM] = slot->upstream_cookie;
    for (unsigned side = 0; side < SIDE_COUNT; side++) {
        if (session->fds[side] < 0)
            continue;
        reference->sides |= 1u << side;
        box->fds[box->fd_count++] = session->fds[side];
    }
    session->registered = (uint8_t)reference->sides;
    session->register_again = false;
}

static bool flush_box(struct relay *relay, struct outbox *box, bool wait)
{
    bool sent = box->body.count == 0 || deliver(relay, MESSAGE_REGISTER, box, wait);

    for (uint32_t i = 0; i < box->body.count && !sent; i++)
        relay->sessions[box->body.sessions[i].slot].register_again = true; /* next time */
    box->body.count = 0;
    box->fd_count = 0;
    return sent;
}

static bool to_register(const struct relay_session *session)
{
    return session->registered == 0 || session->register_again;
}

/* An established session that has lasted, and is worth what its survival costs. */
static bool due(const struct relay *relay, uint32_t index)
{
    const struct relay_session *session = &relay->sessions[index];
    const struct slot *slot = &relay->arena.slots[index];
    uint64_t age_ns = relay->now_ns - slot->accepted_ns;

    return to_register(session) &&
           (slot->state == SESSION_OPEN || slot->state == SESSION_HALF_CLOSED) &&
           age_ns >= relay->worker.conf->protect_after * NS_PER_MS;
}

void succession_protect(struct relay *relay)
{
    struct outbox box = {.fd_count = 0};
    bool able = relay->worker.board->crash_survival != 0 &&
                relay->worker.conf->protect_after != 0 && succession_flush(relay);

    for (uint32_t i = 0; i < relay->arena.header->high_water; i++) {
        if (!relay->sessions[i].in_use)
            continue;
        bool now = able && due(relay, i);
        session_settle(relay, i, now);
        if (!now || !note_streams(relay, i))
            continue;
        add_reference(relay, i, &box);
        if (box.body.count == MESSAGE_SESSIONS_MAX && !flush_box(relay, &box, false))
            return;
    }
    ignore(flush_box(relay, &box, false));
}

void succession_forget_registrations(struct relay *relay)
{
    for (uint32_t i = 0; i < relay->arena.header->high_water; i++)
        relay->sessions[i].register_again = true; /* some duplicates may be there all the same */
}

/* A slot is not registered again before this was told: there is room for one each. */
static void queue_release(struct relay *relay, uint32_t index, uint64_t serial)
{
    relay->released[relay->released_count++] = (struct released){.slot = index, .serial = serial};
}

void succession_release(struct relay *relay, uint32_t index)
{
    struct relay_session *session = &relay->sessions[index];

    if (session->registered == 0)
        return;
    session->registered = 0;
    queue_release(relay, index, relay->arena.slots[index].serial);
}

bool succession_flush(struct relay *relay)
{
    while (relay->released_count != 0) {
        struct outbox box = {.fd_count = 0};
        while (box.body.count < MESSAGE_SESSIONS_MAX && box.body.count < relay->released_count) {
            const struct released *it =
                &relay->released[relay->released_count - 1 - box.body.count];
            box.body.sessions[box.body.count++] =
                (struct session_reference){.slot = it->slot, .serial = it->serial};
        }
        if (!deliver(relay, MESSAGE_RELEASE, &box, false))
            return false;
        relay->released_count -= box.body.count;
    }
    return true;
}

/* ---- for the successor: leaving in order ---- */

static void leave_rest(struct relay *relay, uint32_t index)
{
    const struct relay_session *session = &relay->sessions[index];
    struct slot_rest rest;

    for (unsigned i = 0; i < FLOW_COUNT; i++) {
        rest.input_size[i] = session->input_size[i];
        rest.written[i] = session->written[i];
    }
    slot_leave_rest(&relay->arena.slots[index], &rest);
}

/* Nothing but writing to the supervisor and ending is possible from here on: whatever else this
 * process would try, the kernel kills it. So the successor need not wait until the system has
 * closed all our descriptors. */
static bool lock_out(const struct relay *relay)
{
    unsigned channel = (unsigned)relay->worker.supervisor_fd;
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_exit_group, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_write, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, channel, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog filter = {.len = ARRAY_SIZE(program), .filter = program};

    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

static void unmap_arena(struct relay *relay)
{
    const struct worker_setup *setup = &relay->worker.setup;

    memory_unmap(relay->arena.secrets, arena_secrets_size(setup->slot_capacity));
    memory_unmap(relay->arena.blocks, arena_blocks_size(setup->block_count));
    memory_unmap(relay->arena.header, arena_metadata_size(setup->slot_capacity));
}

NORETURN void succession_leave(struct relay *relay)
{
    struct outbox box = {.fd_count = 0};
    const uint32_t message[2] = {MESSAGE_HANDED_OVER, 0}; /* header of ipc/channel.h */

    relay->now_ns = loop_now(relay->worker.loop);
    for (unsigned i = 0; i < FLUSH_TRIES && !succession_flush(relay); i++)
        ignore(poll(NULL, 0, FLUSH_MS));
    for (uint32_t i = 0; i < relay->arena.header->high_water; i++) {
        if (!relay->sessions[i].in_use)
            continue;
        leave_rest(relay, i);
        if (to_register(&relay->sessions[i])) {
            session_settle(relay, i, true);
            ignore(note_streams(relay, i));
            add_reference(relay, i, &box);
        }
        if (box.body.count == MESSAGE_SESSIONS_MAX)
            ignore(flush_box(relay, &box, true));
    }
    ignore(flush_box(relay, &box, true));
    event_flush(&relay->worker.events);
    relay->arena.header->in_hand = SLOT_NONE;
    unmap_arena(relay);
    /* Without the lock our end alone tells the supervisor. */
    if (lock_out(relay))
        ignore(write(relay->worker.supervisor_fd, message, sizeof message));
    _exit(0);
}

/* ---- the successor: descriptors beforehand ---- */

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

/* ---- the successor: slots ---- */

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

    if (side == SIDE_UPSTREAM && slot->upstream_unix) {
        *ret_now = slot->streams[side];
        return !slot->upstream_busy;
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
    queue_release(relay, index, it->serial);
    disinherit(it);
}

/* Ends a session of which nothing may be believed: the client sees a reset. */
static void give_up(struct relay *relay, uint32_t index, enum session_end end)
{
    struct slot *slot = &relay->arena.slots[index];

    session_report_end(relay, index, end);
    worker_count(&relay->worker, COUNTER_SESSIONS_LOST, 1);
    session_uncount_source(relay, index);
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
                                   .events = POLLIN | POLLRDHUP};
    }
    int ready = poll(asked, count * SIDE_COUNT, 0);
    for (uint32_t i = 0; i < count * SIDE_COUNT && ready > 0; i++) {
        struct relay_session *session = &relay->sessions[i / SIDE_COUNT];
        uint8_t bit = (uint8_t)(1u << i % SIDE_COUNT);
        if (asked[i].revents == 0)
            continue;
        ready--;
        session->readable |= bit;
        if ((asked[i].revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0)
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
