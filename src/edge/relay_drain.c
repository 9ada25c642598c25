/* Drains that an operator has begun (the board says which): their sessions are closed one after the
 * other, each at its own time. */
#include "base/clock.h"
#include "edge/relay.h"

#define TICKS       256u /* in the time of a drain: so many small groups are closed */
#define TICK_MIN_NS (20 * NS_PER_MS)
#define TICK_MAX_NS NS_PER_S

struct drains {
    struct drain house, listeners[BOARD_LISTENERS_MAX]; /* begin_ns 0: none */
};

/* Makes `*next` earlier for the next tick of this drain. */
static void plan(const struct drain *drain, uint64_t now_ns, uint64_t *next)
{
    uint64_t tick = (drain->end_ns - drain->begin_ns) / TICKS;

    if (tick < TICK_MIN_NS)
        tick = TICK_MIN_NS;
    if (now_ns < drain->end_ns && now_ns + tick < *next)
        *next = now_ns + tick;
}

/* False when there is none. */
static bool read_drains(const struct relay *relay, struct drains *ret_drains, uint64_t *ret_next)
{
    const struct board *board = relay->worker.board;
    bool any = board_drain_read(&board->drain, &ret_drains->house);

    *ret_next = relay->now_ns + TICK_MAX_NS;
    plan(&ret_drains->house, relay->now_ns, ret_next);
    for (unsigned i = 0; i < BOARD_LISTENERS_MAX; i++) {
        any |= board_drain_read(&board->listeners[i].drain, &ret_drains->listeners[i]);
        plan(&ret_drains->listeners[i], relay->now_ns, ret_next);
    }
    return any;
}

static bool is_due(const struct relay *relay, uint32_t index, const struct drain *drain)
{
    return drain->begin_ns != 0 && drain_due(drain, session_id(relay, index),
                                             relay->arena.slots[index].open_ns) <= relay->now_ns;
}

static void close_drained(struct relay *relay, uint32_t index)
{
    hand_take(relay, index);
    session_close(relay, index, SESSION_END_DRAINED, ALERT_CLOSE_NOTIFY);
    hand_empty(relay);
}

void relay_drain(struct relay *relay)
{
    struct drains drains;
    uint64_t next;

    if (!read_drains(relay, &drains, &next))
        return;
    for (uint32_t i = 0; i < relay->arena.header->high_water; i++) {
        const struct slot *slot = &relay->arena.slots[i];
        if (!relay->sessions[i].in_use || slot->state == SESSION_CLOSING)
            continue;
        if (is_due(relay, i, &drains.house) ||
            (slot->listener < BOARD_LISTENERS_MAX &&
             is_due(relay, i, &drains.listeners[slot->listener])))
            close_drained(relay, i);
    }
    timer_set(relay->worker.loop, &relay->drain, next);
}

static void on_timer(void *context)
{
    struct relay *relay = context;

    relay->now_ns = loop_now(relay->worker.loop);
    relay_drain(relay);
}

void relay_drain_init(struct relay *relay)
{
    timer_init(&relay->drain, on_timer, relay);
}
