/* What a relay does while it serves so that its sessions outlive it: it registers their descriptors
 * with the supervisor and, told so, leaves everything in order and locks itself out. */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "edge/relay.h"
#include "ipc/memory.h"
#include "loop/socket_counters.h"

#define FLUSH_TRIES 100
#define FLUSH_MS    20

/* ---- registration ---- */

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
        if (session->fds[side] < 0 || (slot->by_hand >> side & 1) != 0)
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

void registration_protect(struct relay *relay)
{
    struct outbox box = {.fd_count = 0};
    bool able = relay->worker.board->crash_survival != 0 &&
                relay->worker.conf->protect_after != 0 && registration_flush(relay);

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

void registration_renew(struct relay *relay)
{
    for (uint32_t i = 0; i < relay->arena.header->high_water; i++)
        relay->sessions[i].register_again = true; /* some duplicates may be there all the same */
}

/* A slot is not registered again before this was told: there is room for one each. */
void registration_queue_release(struct relay *relay, uint32_t index, uint64_t serial)
{
    relay->released[relay->released_count++] = (struct released){.slot = index, .serial = serial};
}

void registration_release(struct relay *relay, uint32_t index)
{
    struct relay_session *session = &relay->sessions[index];

    if (session->registered == 0)
        return;
    session->registered = 0;
    registration_queue_release(relay, index, relay->arena.slots[index].serial);
}

bool registration_flush(struct relay *relay)
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

/* ---- leaving in order ---- */

static void leave_rest(struct relay *relay, uint32_t index)
{
    const struct relay_session *session = &relay->sessions[index];
    struct slot_rest rest = {.magic = 0};

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

NORETURN void registration_leave(struct relay *relay)
{
    struct outbox box = {.fd_count = 0};
    const uint32_t message[2] = {MESSAGE_HANDED_OVER, 0}; /* header of ipc/channel.h */
    struct pollfd room = {.fd = relay->worker.supervisor_fd, .events = POLLOUT};

    relay->now_ns = loop_now(relay->worker.loop);
    for (unsigned i = 0; i < FLUSH_TRIES && !registration_flush(relay); i++)
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
    ignore(poll(&room, 1, FLUSH_TRIES * FLUSH_MS)); /* the last word must not find it full */
    /* Without the lock our end alone tells the supervisor. */
    if (lock_out(relay))
        ignore(write(relay->worker.supervisor_fd, message, sizeof message));
    _exit(0);
}
