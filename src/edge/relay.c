/* The relay process: set-up, sessions from handshakers, messages, fairness, drain. */
#include "edge/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/secret.h"
#include "edge/offer.h"
#include "edge/sandbox.h"
#include "ipc/memory.h"

#define TURN_BYTES_MAX (BLOCK_SIZE << BLOCK_ORDER_MAX)
#define TURN_BYTES_MIN 65536u
/* Level-triggered: the rest comes with the next batch, after the live sessions of this one. */
#define MESSAGES_PER_EVENT 2

/* ---- credits ---- */

/* Sessions that a handshaker has sent here so far. */
static uint64_t sent_by(const struct relay *relay, unsigned handshaker)
{
    const struct board_process *peer =
        &relay->worker.board->processes[board_worker_number(PROCESS_HANDSHAKER, handshaker)];

    return __atomic_load_n(&peer->credits[relay->worker.setup.index], __ATOMIC_RELAXED);
}

/* Sessions that a handshaker may still send. (One that met a dead relay's successor may have sent
 * more than was granted.) */
static uint64_t outstanding(const struct relay *relay, unsigned handshaker)
{
    uint64_t granted = relay->worker.self->credits[handshaker],
             received = relay->received[handshaker];

    return granted > received ? granted - received : 0;
}

/* Grants each handshaker an equal share of the free slots: it may have as many handshakes under
 * way, so a small window would let a few slow clients stop all accepting. What was granted cannot
 * be taken back, and all grants together never exceed the free slots. Few of them go to another
 * handshaker from each relay: one that stands still must not have them all. */
static void grant(struct relay *relay)
{
    unsigned workers = relay->worker.setup.workers;
    uint64_t share = (relay->free_count + workers - 1) / workers;
    uint64_t left = relay->stopping ? 0 : relay->free_count;

    for (unsigned i = 0; i < workers; i++)
        left -= outstanding(relay, i) < left ? outstanding(relay, i) : left;
    for (unsigned k = 0; k < workers && left != 0; k++) {
        unsigned i = (relay->worker.setup.index + k) % workers;
        uint64_t have = outstanding(relay, i);
        uint64_t more = have >= share ? 0 : share - have < left ? share - have : left;
        if (more == 0)
            continue;
        __atomic_store_n(&relay->worker.self->credits[i], relay->received[i] + have + more,
                         __ATOMIC_RELAXED);
        left -= more;
    }
}

/* On the board as well: a successor goes on with the count. */
static void take_credit(struct relay *relay, unsigned handshaker, uint64_t received)
{
    relay->received[handshaker] = received;
    __atomic_store_n(&relay->worker.self->received[handshaker], received, __ATOMIC_RELAXED);
}

/* Sessions that a handshaker has sent and that are not in its queue any more were lost on the way
 * (with a handshaker that died, or for want of descriptors): what they used of the window comes
 * back. `sent` was read before the queue was found empty. */
static void settle(struct relay *relay, unsigned handshaker, uint64_t sent)
{
    if (relay->received[handshaker] < sent)
        take_credit(relay, handshaker, sent);
}

/* ---- handshakers ---- */

static void take_sessions(struct relay *relay, unsigned handshaker, struct message *message)
{
    const struct conf *conf = relay->worker.conf;
    const struct session_offer *offer;
    const struct client_identity *client;
    const uint8_t *data;
    size_t at = 0;

    for (size_t i = 0; i < message->fd_count; i++) {
        take_credit(relay, handshaker, relay->received[handshaker] + 1);
        offer = offer_next(message->body, message->size, &at, &client, &data);
        if (offer == NULL || offer->listener >= conf->listener_count ||
            offer->upstream >= conf->upstream_count ||
            conf->listeners[offer->listener].name == NULL ||
            conf->upstreams[offer->upstream].name == NULL) {
            worker_warn(&relay->worker, "malformed session from handshaker %u dropped", handshaker);
            return;
        }
        int fd = message->fds[i];
        message->fds[i] = -1;
        session_begin(relay, offer, client, data, fd);
    }
}

static void on_handshaker_message(struct relay *relay, unsigned handshaker, struct message *message)
{
    if (message->type == MESSAGE_SESSIONS) {
        take_sessions(relay, handshaker, message);
        secret_wipe(message->body, message->size);
    } else if (message->type == MESSAGE_IDENTITY &&
               message->size == sizeof(struct message_identity)) {
        session_take_identity(relay, (const void *)message->body);
    } else if (message->type == MESSAGE_ENCRYPTED &&
               message->size >= sizeof(struct message_encrypted)) {
        const struct message_encrypted *body = (const void *)message->body;
        if (body->surplus_size == message->size - sizeof *body)
            session_encrypted(relay, body, message->body + sizeof *body);
        secret_wipe(message->body, message->size);
    }
}

static void on_channel(void *context, uint64_t tag, unsigned events)
{
    struct relay *relay = context;
    struct message *message = relay->worker.message;
    unsigned handshaker = (unsigned)tag % BOARD_WORKERS_MAX;
    (void)events;

    relay->now_ns = loop_now(relay->worker.loop);
    uint64_t sent = sent_by(relay, handshaker);
    for (unsigned i = 0; i < MESSAGES_PER_EVENT; i++) {
        switch (channel_receive(relay->handshakers[handshaker], message)) {
        case CHANNEL_DONE:
            on_handshaker_message(relay, handshaker, message);
            hand_empty(relay);
            message_fini(message);
            break;
        case CHANNEL_FULL:
            settle(relay, handshaker, sent);
            return;
        case CHANNEL_BAD: /* as when descriptors have run out */
            worker_warn(&relay->worker,
                        "a message from handshaker %u came incomplete and was dropped", handshaker);
            break;
        case CHANNEL_CLOSED:
            loop_unwatch(relay->worker.loop, relay->handshakers[handshaker]);
            return;
        }
    }
}

/* In regular ticks: a handshaker counts what it has sent after it was sent, perhaps after we have
 * found it lost; and without credit it sends nothing that would let us settle. */
static void look_at_handshakers(struct relay *relay)
{
    for (unsigned i = 0; i < relay->worker.setup.workers; i++)
        on_channel(relay, i, 0);
}

/* ---- sessions ---- */

static void on_side(void *context, uint64_t tag, unsigned events)
{
    struct relay *relay = context;
    uint32_t index = (uint32_t)(tag & 0xffffff);

    if (index >= relay->worker.setup.slot_capacity || !relay->sessions[index].in_use ||
        (relay->arena.slots[index].serial & 0x7fffff) != tag >> 25)
        return; /* closed earlier in this batch */
    relay->now_ns = loop_now(relay->worker.loop);
    hand_take(relay, index);
    session_event(relay, index, (enum relay_side)(tag >> 24 & 1), events);
    hand_empty(relay);
}

/* Those whose turn was over get another one, all the others' events having been seen in between. */
static void run_ready(struct relay *relay)
{
    uint32_t count = relay->ready_count;

    while (count-- > 0 && relay->ready_first != UINT32_MAX) {
        uint32_t index = relay->ready_first;
        struct relay_session *session = &relay->sessions[index];
        relay->ready_first = session->next_ready;
        relay->ready_count--;
        session->queued = false;
        hand_take(relay, index);
        if (session->in_use)
            session_event(relay, index, SIDE_CLIENT, 0);
        else if (!session->waiting)
            relay->free_slots[relay->free_count++] = index;
    }
    hand_empty(relay);
}

static void after_batch(void *context)
{
    struct relay *relay = context;

    relay->now_ns = loop_now(relay->worker.loop);
    if (relay->ready_first != UINT32_MAX)
        run_ready(relay);
    /* Those who have much to move share the time that one may take. */
    relay->turn_bytes = TURN_BYTES_MAX / (relay->busy == 0 ? 1 : relay->busy);
    if (relay->turn_bytes < TURN_BYTES_MIN)
        relay->turn_bytes = TURN_BYTES_MIN;
    relay->busy = 0;
    memory_wake(relay);
    grant(relay);
    ignore(registration_flush(relay));
}

/* ---- messages of control and supervisor ---- */

static void on_control(void *context, uint64_t tag, unsigned events)
{
    struct relay *relay = context;
    struct message *message = relay->worker.message;
    (void)tag, (void)events;

    relay->now_ns = loop_now(relay->worker.loop);
    for (;;) {
        enum channel_result result = channel_receive(relay->control_fd, message);
        if (result == CHANNEL_FULL)
            return;
        if (result != CHANNEL_DONE) {
            loop_unwatch(relay->worker.loop, relay->control_fd);
            return;
        }
        if (message->type == MESSAGE_ADDRESS && message->size == sizeof(struct message_address)) {
            upstreams_address(relay->upstreams, (const void *)message->body);
        } else if (message->type == MESSAGE_DRAIN) {
            relay_drain(relay);
        } else if (message->type == MESSAGE_RENEW_KEYS &&
                   message->size == sizeof(struct message_renew)) {
            keys_renew_wanted(relay, (const void *)message->body);
        } else if (message->type == MESSAGE_CLOSE_SESSION &&
                   message->size == sizeof(struct message_session)) {
            const struct message_session *body = (const void *)message->body;
            if (body->slot < relay->arena.header->capacity && relay->sessions[body->slot].in_use &&
                relay->arena.slots[body->slot].serial == body->serial) {
                hand_take(relay, body->slot);
                session_close_for(relay, body->slot,
                                  (enum session_end)(body->reason < SESSION_END_COUNT
                                                         ? body->reason
                                                         : SESSION_END_ADMIN));
                hand_empty(relay);
            }
        }
        message_fini(message);
    }
}

/* Moves a descriptor to the number that it has in every relay. */
static int place(int *fd, int number)
{
    int placed = dup3(*fd, number, O_CLOEXEC);

    ignore(close(*fd));
    *fd = -1;
    return placed;
}

static void on_descriptors(void *context, const struct message_descriptors *body, int *fds,
                           size_t count)
{
    struct relay *relay = context;

    for (size_t i = 0; i < count; i++) {
        unsigned number = body->first + (unsigned)i;
        if (body->role == DESCRIPTORS_HANDSHAKER && number < BOARD_WORKERS_MAX &&
            relay->handshakers[number] < 0)
            relay->handshakers[number] = place(&fds[i], HANDSHAKER_FD + (int)number);
        else if (body->role == DESCRIPTORS_CONTROL && relay->control_fd < 0)
            relay->control_fd = place(&fds[i], CONTROL_FD);
    }
}

static bool watch_channels(struct relay *relay)
{
    bool watched = loop_watch(relay->worker.loop, relay->control_fd, LOOP_READ, CONTROL_HANDLER, 0);

    for (unsigned i = 0; i < relay->worker.setup.workers; i++)
        watched = watched && loop_watch(relay->worker.loop, relay->handshakers[i], LOOP_READ,
                                        HANDSHAKER_HANDLER, i);
    return watched;
}

/* ---- stop ---- */

static void close_all(struct relay *relay, enum session_end end)
{
    for (uint32_t i = 0; i < relay->arena.header->high_water; i++) {
        if (!relay->sessions[i].in_use)
            continue;
        hand_take(relay, i);
        session_close(relay, i, end, ALERT_CLOSE_NOTIFY);
    }
    hand_empty(relay);
}

static void housekeeping(void *context)
{
    struct relay *relay = context;

    relay->now_ns = loop_now(relay->worker.loop);
    if (relay->stopping) {
        if (relay->worker.self->sessions == 0) {
            loop_stop(relay->worker.loop, 0);
            return;
        }
        if (relay->now_ns >= relay->stop_deadline_ns) {
            close_all(relay, SESSION_END_DRAINED);
            relay->stop_deadline_ns =
                UINT64_MAX; /* the rest ends by the time-out of closing sessions */
        }
    }
    look_at_handshakers(relay);
    relay_drain(relay);
    memory_relieve(relay);
    registration_protect(relay);
    if (relay->ready_first == UINT32_MAX)
        blocks_trim(relay->blocks);
    uint64_t protect_ns = relay->worker.conf->protect_after * NS_PER_MS;
    uint64_t interval_ns = protect_ns != 0 && protect_ns < NS_PER_S ? protect_ns : NS_PER_S;
    timer_set(relay->worker.loop, &relay->housekeeping,
              relay->now_ns + (relay->stopping ? 50 * NS_PER_MS : interval_ns));
}

static void stop_by(struct relay *relay, uint64_t deadline_ns)
{
    relay->stopping = true;
    relay->stop_deadline_ns = deadline_ns;
    timer_set(relay->worker.loop, &relay->housekeeping, loop_now(relay->worker.loop));
}

static void on_stop(void *context, const struct message_stop *body)
{
    stop_by(context, body->deadline_ns);
}

/* The supervisor is gone: say goodbye to everybody and go. */
static void on_orphaned(void *context)
{
    struct relay *relay = context;

    relay->now_ns = loop_now(relay->worker.loop);
    close_all(relay, SESSION_END_DRAINED);
    stop_by(relay, 0);
}

/* ---- start ---- */

static bool map_arena(struct relay *relay)
{
    const struct worker_setup *setup = &relay->worker.setup;
    size_t metadata_size = arena_metadata_size(setup->slot_capacity);
    size_t secrets_size = arena_secrets_size(setup->slot_capacity);
    void *metadata = memory_map(relay->worker.descriptors[SETUP_METADATA], metadata_size, true);
    void *secrets = memory_map(relay->worker.descriptors[SETUP_SECRETS], secrets_size, true);
    void *blocks = memory_map(relay->worker.descriptors[SETUP_BLOCKS],
                              arena_blocks_size(setup->block_count), true);

    if (metadata == NULL || secrets == NULL || blocks == NULL)
        return false;
    size_t used_size = arena_client_secrets_size(setup->slot_capacity);
    for (size_t i = 0; i < relay->worker.conf->upstream_count; i++) {
        if (relay->worker.conf->upstreams[i].tls)
            used_size = secrets_size;
    }
    relay->secrets_unlocked = !secret_protect(secrets, used_size);
    /* Blocks hold what is on its way in the clear. */
    ignore(madvise(blocks, arena_blocks_size(setup->block_count), MADV_DONTDUMP));
    return arena_attach(&relay->arena, metadata, metadata_size, secrets, blocks,
                        setup->slot_capacity, setup->block_count);
}

static bool relay_init(struct relay *relay)
{
    const struct worker_setup *setup = &relay->worker.setup;

    if (!map_arena(relay))
        return false;
    relay->scratch_size = TURN_BYTES_MAX;
    relay->scratch = malloc(relay->scratch_size);
    relay->sessions = calloc(setup->slot_capacity, sizeof *relay->sessions);
    relay->free_slots = calloc(setup->slot_capacity, sizeof *relay->free_slots);
    relay->released = calloc(setup->slot_capacity, sizeof *relay->released);
    relay->blocks = blocks_new(relay->arena.blocks, relay->worker.descriptors[SETUP_BLOCKS],
                               setup->block_count);
    relay->crypto = record_crypto_new();
    relay->upstreams = upstreams_new(&relay->worker);
    if (relay->scratch == NULL || relay->sessions == NULL || relay->free_slots == NULL ||
        relay->released == NULL || relay->blocks == NULL || relay->crypto == NULL ||
        relay->upstreams == NULL)
        return false;
    relay->ready_first = relay->ready_last = relay->waiting_first = relay->waiting_last =
        UINT32_MAX;
    relay->turn_bytes = TURN_BYTES_MAX;
    loop_handler_fixed(relay->worker.loop, SIDE_HANDLER, on_side, relay);
    loop_handler_fixed(relay->worker.loop, HANDSHAKER_HANDLER, on_channel, relay);
    loop_handler_fixed(relay->worker.loop, CONTROL_HANDLER, on_control, relay);
    timer_init(&relay->housekeeping, housekeeping, relay);
    relay_drain_init(relay);
    keys_configure(relay);
    reload_init(relay);
    return true;
}

/* What the board says of this relay is counted anew; what handshakers were granted and have sent is
 * not. */
static void take_board(struct relay *relay)
{
    struct board *board = relay->worker.board;
    unsigned index = relay->worker.setup.index;

    for (unsigned i = 0; i < relay->worker.setup.workers; i++) {
        relay->received[i] = relay->worker.self->received[i];
        if (relay->worker.self->credits[i] < relay->received[i])
            relay->worker.self->credits[i] = relay->received[i];
    }
    relay->worker.self->sessions = 0;
    for (unsigned i = 0; i < BOARD_SERVERS_MAX; i++)
        board->servers[i].sessions[index] = 0;
    for (unsigned i = 0; i < BOARD_LISTENERS_MAX; i++)
        board->listeners[i].connections[index] = 0;
}

/* Afresh: sessions that ended while they were taken over have put theirs there already. Those that
 * a list still names come when that list is dealt with. */
static void collect_free_slots(struct relay *relay)
{
    relay->free_count = 0;
    for (uint32_t i = relay->worker.setup.slot_capacity; i > 0; i--) {
        const struct relay_session *session = &relay->sessions[i - 1];
        if (!session->in_use && !session->queued && !session->waiting)
            relay->free_slots[relay->free_count++] = i - 1;
    }
}

static void on_go(void *context, enum predecessor predecessor)
{
    struct relay *relay = context;

    relay->now_ns = clock_monotonic_ns();
    ignore(fault_point("relay-go"));
    if (relay->secrets_unlocked)
        worker_warn(&relay->worker,
                    "session secrets are not locked in memory: raise RLIMIT_MEMLOCK to %zu KiB or "
                    "more",
                    arena_secrets_size(relay->worker.setup.slot_capacity) / 1024 + 64);
    take_board(relay);
    if (!watch_channels(relay) || !succession_take_over(relay, predecessor)) {
        worker_warn(&relay->worker, "out of memory or descriptors while taking over");
        loop_stop(relay->worker.loop, 3);
        return;
    }
    reload_take_over(relay);
    collect_free_slots(relay);
    grant(relay);
    housekeeping(relay);
    worker_ready(&relay->worker);
}

static void on_message(void *context, struct message *message)
{
    struct relay *relay = context;

    switch (message->type) {
    case MESSAGE_REGISTER:
        if (!relay->worker.begun)
            succession_inherit(relay, message);
        break;
    case MESSAGE_RELEASE:
        if (!relay->worker.begun)
            succession_disinherit(relay, message);
        break;
    case MESSAGE_PREPARE:
        ignore(worker_tell(&relay->worker, MESSAGE_PREPARED, NULL, 0, NULL, 0));
        break;
    case MESSAGE_HAND_OVER:
        registration_leave(relay);
    case MESSAGE_REGISTER_AGAIN:
        registration_renew(relay);
        break;
    default:
        reload_message(relay, message);
        break;
    }
}

int relay_main(int channel_fd)
{
    static const struct worker_role role = {
        .kind = PROCESS_RELAY,
        .descriptors = on_descriptors,
        .go = on_go,
        .stop = on_stop,
        .message = on_message,
        .orphaned = on_orphaned,
        .after_batch = after_batch,
    };
    static struct relay relay;
    struct error error = {0};

    record_process_init();
    relay.control_fd = -1;
    for (unsigned i = 0; i < BOARD_WORKERS_MAX; i++)
        relay.handshakers[i] = -1;
    if (worker_init(&relay.worker, channel_fd, &role, &relay, &error) < 0) {
        ignore(fprintf(stderr, "relay: %s\n", error.message));
        return error_exit_code(&error);
    }
    if (!relay_init(&relay)) {
        ignore(fprintf(stderr, "relay: cannot map its arena or out of memory\n"));
        return 3;
    }
    if (sandbox_enter(SANDBOX_RELAY, &error) < 0) {
        ignore(fprintf(stderr, "relay: %s\n", error.message));
        return error_exit_code(&error);
    }
    return worker_run(&relay.worker);
}
