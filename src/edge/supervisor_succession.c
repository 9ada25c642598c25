/* One mechanism for the crash of a relay, its planned replacement and an upgrade: a successor is
 * prepared with duplicates of all descriptors, and gets GO for the whole arena once the one before
 * can touch nothing any more, because it is dead or because it has locked itself out. There are
 * never two owners.
 *
 * Handshakers take over from each other, too, without sessions: the old one stops receiving, the
 * new one begins, the old one finishes its handshakes. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "edge/supervisor_internal.h"

#define SEND_AGAIN_NS (NS_PER_MS)     /* a channel that is full empties quickly */
#define PREPARE_NS    (30 * NS_PER_S) /* for a successor to be there */
#define HAND_OVER_NS  (5 * NS_PER_S)  /* for a relay to take its hands off */
#define RETIRE_NS     (2 * NS_PER_S)  /* for a handshaker to stop receiving */
#define FINISH_NS     (10 * NS_PER_S) /* for handshakes of one that retires */
#define PART_NS       (NS_PER_S)      /* for attached sessions of one before that */
#define PARTED_NS     (5 * NS_PER_S)  /* beyond their time, before what is left is killed */

/* ---- the registry ---- */

static struct house_session *entry_of(struct process *relay, uint32_t slot)
{
    return slot < relay->supervisor->house->slot_capacity
               ? &relay->supervisor->sessions[relay->index][slot]
               : NULL;
}

static void forget(struct house_session *entry)
{
    static const struct linger none = {.l_onoff = 0};

    for (unsigned side = 0; side < 2 && entry->serial != 0; side++) {
        if (entry->fds[side] < 0)
            continue;
        /* Whatever a relay has set there: we do not wait. */
        ignore(setsockopt(entry->fds[side], SOL_SOCKET, SO_LINGER, &none, sizeof none));
        ignore(close(entry->fds[side]));
    }
    *entry = (struct house_session){.fds = {-1, -1}};
}

static void make_reference(const struct house_session *entry, uint32_t slot,
                           struct session_reference *ret_reference)
{
    *ret_reference = (struct session_reference){.slot = slot,
                                                .sides = (entry->fds[0] >= 0 ? 1u : 0u) |
                                                         (entry->fds[1] >= 0 ? 2u : 0u),
                                                .serial = entry->serial,
                                                .cookies = {entry->cookies[0], entry->cookies[1]}};
}

/* ---- what a successor is sent ---- */

/* A batch of sessions from slot *at on; false when the channel is full (*at is untouched). */
static bool send_batch(struct process *relay, uint32_t *at)
{
    struct message_sessions body = {.count = 0};
    int fds[2 * MESSAGE_SESSIONS_MAX];
    uint32_t capacity = relay->supervisor->house->slot_capacity, slot = *at;
    size_t count = 0;

    for (; slot < capacity && body.count < MESSAGE_SESSIONS_MAX; slot++) {
        const struct house_session *entry = entry_of(relay, slot);
        if (entry->serial == 0)
            continue;
        make_reference(entry, slot, &body.sessions[body.count++]);
        for (unsigned side = 0; side < 2; side++) {
            if (entry->fds[side] >= 0)
                fds[count++] = entry->fds[side];
        }
    }
    if (body.count != 0 && !spawn_tell(life_of(relay, LIFE_SUCCESSOR), MESSAGE_REGISTER, &body,
                                       sizeof body, fds, count))
        return false;
    *at = slot;
    return true;
}

static void send_more(void *context)
{
    struct process *relay = context;
    struct supervisor *supervisor = relay->supervisor;
    const struct house_life *successor = life_of(relay, LIFE_SUCCESSOR);

    if (successor->pid <= 0 || !relay->sending)
        return;
    while (relay->sent < supervisor->house->slot_capacity) {
        if (!send_batch(relay, &relay->sent)) {
            timer_set(supervisor->loop, &relay->send_again, clock_monotonic_ns() + SEND_AGAIN_NS);
            return;
        }
    }
    if (!relay->go_pending && !spawn_tell(successor, MESSAGE_PREPARE, NULL, 0, NULL, 0)) {
        timer_set(supervisor->loop, &relay->send_again, clock_monotonic_ns() + SEND_AGAIN_NS);
        return;
    }
    relay->sending = false;
    if (relay->go_pending)
        succession_promote(relay);
}

/* From this slot on, again: the successor knows what it has already. */
static void send_from(struct process *relay, uint32_t slot)
{
    if (life_of(relay, LIFE_SUCCESSOR)->pid <= 0 || slot >= relay->sent)
        return;
    relay->sent = slot;
    relay->sending = true;
    send_more(relay);
}

/* ---- what relays say ---- */

void registry_add(struct process *relay, struct message *message)
{
    const struct message_sessions *body = (const void *)message->body;
    uint32_t first = UINT32_MAX;
    size_t next = 0;

    if (relay->kind != PROCESS_RELAY || message->size != sizeof *body ||
        body->count > MESSAGE_SESSIONS_MAX)
        return;
    for (uint32_t i = 0; i < body->count; i++) {
        const struct session_reference *reference = &body->sessions[i];
        struct house_session *entry = entry_of(relay, reference->slot);
        if (entry == NULL)
            continue;
        forget(entry);
        entry->serial = reference->serial;
        memcpy(entry->cookies, reference->cookies, sizeof entry->cookies);
        for (unsigned side = 0; side < 2; side++) {
            if ((reference->sides >> side & 1) == 0 || next >= message->fd_count)
                continue;
            entry->fds[side] = message->fds[next];
            message->fds[next++] = -1;
        }
        first = reference->slot < first ? reference->slot : first;
    }
    send_from(relay, first);
}

void registry_remove(struct process *relay, const struct message *message)
{
    const struct message_sessions *body = (const void *)message->body;
    const struct house_life *successor = life_of(relay, LIFE_SUCCESSOR);

    if (relay->kind != PROCESS_RELAY || message->size != sizeof *body ||
        body->count > MESSAGE_SESSIONS_MAX)
        return;
    for (uint32_t i = 0; i < body->count; i++) {
        struct house_session *entry = entry_of(relay, body->sessions[i].slot);
        if (entry != NULL && entry->serial == body->sessions[i].serial)
            forget(entry);
    }
    /* One that does not hear of it finds out by the serial numbers. */
    if (successor->pid > 0)
        ignore(spawn_tell(successor, MESSAGE_RELEASE, body, sizeof *body, NULL, 0));
}

/* ---- taking over ---- */

static void move_life(struct process *process, enum life_role from, enum life_role to)
{
    *life_of(process, to) = *life_of(process, from);
    *life_of(process, from) = (struct house_life){.channel = -1};
    if (life_of(process, to)->channel >= 0) {
        loop_unwatch(process->supervisor->loop, life_of(process, to)->channel);
        life_watch(process, to);
    }
}

/* Attached sessions have as long as at a stop. */
static uint64_t carry_ns(const struct process *process)
{
    uint64_t drain_ns = process->supervisor->conf->drain_timeout * NS_PER_MS;

    return drain_ns > FINISH_NS ? drain_ns : FINISH_NS;
}

uint64_t succession_finish_ns(const struct process *process)
{
    return process->kind == PROCESS_HANDSHAKER ? carry_ns(process) + PARTED_NS
                                               : FINISH_NS + RETIRE_NS;
}

/* One handshaker at a time retires: the one before has only the time that the next takes to
 * prepare. */
static void hurry_retiring(struct process *process)
{
    uint64_t now_ns = clock_monotonic_ns();
    struct message_stop body = {.deadline_ns = now_ns, .carry_ns = now_ns + PART_NS};
    const struct house_life *life = life_of(process, LIFE_RETIRING);

    if (process->kind == PROCESS_HANDSHAKER && life->pid > 0)
        ignore(spawn_tell(life, MESSAGE_RETIRE, &body, sizeof body, NULL, 0));
}

void succession_promote(struct process *process)
{
    struct message_go body = {.predecessor = process->durable->predecessor};
    struct house_life *life = life_of(process, LIFE_CURRENT);

    process->go_pending = false;
    timer_cancel(process->supervisor->loop, &process->patience);
    if (life->pid > 0) { /* harmless from here on; only its end is waited for */
        life_kill(life_of(process, LIFE_RETIRING));
        move_life(process, LIFE_CURRENT, LIFE_RETIRING);
        timer_set(process->supervisor->loop, &process->patience,
                  clock_monotonic_ns() + succession_finish_ns(process));
    }
    move_life(process, LIFE_SUCCESSOR, LIFE_CURRENT);
    life->stage = LIFE_STARTING;
    if (!spawn_tell(life, MESSAGE_GO, &body, sizeof body, NULL, 0))
        life_kill(life);
    life_promoted(process);
}

int succession_begin(struct process *process, struct error *error)
{
    if (spawn_process(process, LIFE_SUCCESSOR, error) < 0) {
        life_kill(life_of(process, LIFE_SUCCESSOR));
        return -(int)error->code;
    }
    life_watch(process, LIFE_SUCCESSOR);
    hurry_retiring(process);
    timer_set(process->supervisor->loop, &process->patience, clock_monotonic_ns() + PREPARE_NS);
    process->sent = 0;
    process->sending = process->kind == PROCESS_RELAY;
    if (process->sending)
        send_more(process);
    return 0;
}

void succession_prepared(struct process *process)
{
    struct house_life *life = life_of(process, LIFE_SUCCESSOR);

    if (life->stage == LIFE_STARTING)
        life->stage = LIFE_PREPARED;
    upgrade_advance(process->supervisor);
}

static void go_when_sent(struct process *process)
{
    process->go_pending = true;
    if (!process->sending)
        succession_promote(process);
}

bool succession_after_death(struct process *process, enum predecessor predecessor)
{
    /* What an earlier one left and nobody has dealt with yet counts on. */
    if (predecessor > process->durable->predecessor)
        process->durable->predecessor = predecessor;
    if (life_of(process, LIFE_SUCCESSOR)->pid <= 0)
        return false;
    go_when_sent(process);
    return true;
}

void succession_abandoned(struct process *process)
{
    process->sending = false;
    if (process->go_pending && process->supervisor->stop < STOP_RELAYS)
        timer_set(process->supervisor->loop, &process->restart,
                  clock_monotonic_ns() + 100 * NS_PER_MS);
}

/* It does not do as it was told, or does not end: its death will. */
/* (A successor that has waited so long is worth no more than a new one.) */
static void on_patience(void *context)
{
    struct process *process = context;
    const struct house_life *current = life_of(process, LIFE_CURRENT);

    life_kill(life_of(process, LIFE_RETIRING));
    life_kill(life_of(process, LIFE_SUCCESSOR));
    if (current->stage == LIFE_HANDING_OVER)
        life_kill(current);
}

static void tell_to_leave(struct process *process, uint32_t type, const void *body, size_t size,
                          uint64_t patience_ns)
{
    struct house_life *life = life_of(process, LIFE_CURRENT);

    life->stage = LIFE_HANDING_OVER;
    if (!spawn_tell(life, type, body, size, NULL, 0))
        life_kill(life);
    timer_set(process->supervisor->loop, &process->patience, clock_monotonic_ns() + patience_ns);
}

void succession_hand_over(struct process *process)
{
    uint64_t now_ns = clock_monotonic_ns();
    struct message_stop body = {.deadline_ns = now_ns + FINISH_NS,
                                .carry_ns = now_ns + carry_ns(process)};

    if (process->kind == PROCESS_RELAY)
        tell_to_leave(process, MESSAGE_HAND_OVER, NULL, 0, HAND_OVER_NS);
    else
        tell_to_leave(process, MESSAGE_RETIRE, &body, sizeof body, RETIRE_NS);
}

void succession_handed_over(struct process *relay)
{
    struct house_life *life = life_of(relay, LIFE_CURRENT);

    if (relay->kind != PROCESS_RELAY || life->stage != LIFE_HANDING_OVER)
        return;
    life->stage = LIFE_LOCKED;
    relay->durable->predecessor = PREDECESSOR_HANDED_OVER;
    if (life_of(relay, LIFE_SUCCESSOR)->pid > 0) /* else one is started when it has ended */
        go_when_sent(relay);
}

void succession_retired(struct process *handshaker)
{
    struct house_life *life = life_of(handshaker, LIFE_CURRENT);

    if (handshaker->kind == PROCESS_HANDSHAKER && life->stage == LIFE_HANDING_OVER &&
        life_of(handshaker, LIFE_SUCCESSOR)->pid > 0)
        succession_promote(handshaker);
}

void succession_init(struct process *process)
{
    timer_init(&process->send_again, send_more, process);
    timer_init(&process->patience, on_patience, process);
}
