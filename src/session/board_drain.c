/* Drains on the board: whoever is started again finds them there. */
#include "base/hash.h"
#include "session/board.h"

bool board_drain_read(const struct board_drain *place, struct drain *ret_drain)
{
    uint32_t current = __atomic_load_n(&place->current, __ATOMIC_ACQUIRE);

    *ret_drain = place->copies[current & 1];
    return ret_drain->begin_ns != 0;
}

void board_drain_write(struct board_drain *place, const struct drain *drain)
{
    uint32_t next = (place->current ^ 1) & 1;

    place->copies[next] = drain != NULL ? *drain : (struct drain){.begin_ns = 0};
    __atomic_store_n(&place->over, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&place->current, next, __ATOMIC_RELEASE);
}

static bool accepts(const struct board_drain *place, uint64_t now_ns)
{
    struct drain drain;

    return !board_drain_read(place, &drain) || now_ns < drain.accept_until_ns;
}

bool board_accepts(const struct board *board, unsigned listener, uint64_t now_ns)
{
    return accepts(&board->drain, now_ns) &&
           (listener >= BOARD_LISTENERS_MAX || accepts(&board->listeners[listener].drain, now_ns));
}

uint64_t drain_due(const struct drain *drain, uint64_t session, uint64_t open_ns)
{
    uint64_t from =
        drain->begin_ns > drain->accept_until_ns ? drain->begin_ns : drain->accept_until_ns;

    if (open_ns > from)
        from = open_ns; /* it came late: the time that is left is its time */
    if (drain->end_ns <= from)
        return from;
    uint64_t span = drain->end_ns - from;
    uint64_t share = hash_mix(hash_mix(session) ^ drain->begin_ns) >> 32; /* of 2^32 */
    return from + (span >> 32) * share + ((span & UINT32_MAX) * share >> 32);
}
