/* Sessions that OpenSSL carries: one word per session, changed by compare-and-swap, so that a
 * serial number and what was said under it cannot come apart. */
#include <string.h>

#include "session/board.h"

#define WORD_BITS 20
#define WORD_MASK ((1u << WORD_BITS) - 1)

const char *attached_reason_name(enum attached_reason reason)
{
    static const char *const names[] = {
#define X(symbol, name) [symbol] = name,
        ATTACHED_REASON_LIST(X)
#undef X
    };
    return (unsigned)reason < ARRAY_SIZE(names) ? names[reason] : "unknown";
}

static uint64_t load(const struct board *board, uint16_t place)
{
    return place < BOARD_ATTACHED ? __atomic_load_n(&board->attached[place].state, __ATOMIC_ACQUIRE)
                                  : 0;
}

bool board_attached_take(struct board *board, const struct board_attached *what,
                         uint16_t *ret_place, uint64_t *ret_serial)
{
    uint64_t serial = __atomic_add_fetch(&board->attached_serial, 1, __ATOMIC_RELAXED);

    for (unsigned i = 0; i < BOARD_ATTACHED; i++) {
        uint16_t place = (uint16_t)((serial + i) % BOARD_ATTACHED);
        struct board_attached *it = &board->attached[place];
        uint64_t free_one = 0;
        if (!__atomic_compare_exchange_n(&it->state, &free_one, serial << WORD_BITS, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            continue;
        __atomic_store_n(&it->owner, what->owner, __ATOMIC_RELAXED);
        it->suite = what->suite;
        it->listener = what->listener;
        it->reason = what->reason;
        *ret_place = place;
        *ret_serial = serial;
        return true;
    }
    return false;
}

static void change(struct board *board, uint16_t place, uint64_t serial, uint64_t set,
                   uint64_t cleared)
{
    uint64_t state = load(board, place);

    while (state >> WORD_BITS == serial && serial != 0 &&
           !__atomic_compare_exchange_n(&board->attached[place].state, &state,
                                        (state | set) & ~cleared, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
        ;
}

void board_attached_say(struct board *board, uint16_t place, uint64_t serial,
                        enum attached_word word)
{
    change(board, place, serial, (uint64_t)word, 0);
}

void board_attached_unsay(struct board *board, uint16_t place, uint64_t serial,
                          enum attached_word word)
{
    change(board, place, serial, 0, (uint64_t)word);
}

unsigned board_attached_said(const struct board *board, uint16_t place, uint64_t serial)
{
    uint64_t state = load(board, place);

    return state >> WORD_BITS == serial ? (unsigned)state & WORD_MASK : 0;
}

bool board_attached_read(const struct board *board, uint16_t place, uint64_t serial,
                         struct board_attached *ret_attached)
{
    if (serial == 0 || load(board, place) >> WORD_BITS != serial)
        return false;
    *ret_attached = board->attached[place];
    return true;
}

void board_attached_set_home(struct board *board, uint16_t place, uint64_t serial,
                             const struct attached_home *home)
{
    if (load(board, place) >> WORD_BITS != serial || serial == 0)
        return;
    /* The serial number, as far as it fits; the relay; the slot. */
    uint64_t packed = serial << 32 | (uint64_t)home->relay << 24 | home->slot;
    __atomic_store_n(&board->attached[place].session, home->session, __ATOMIC_RELAXED);
    __atomic_store_n(&board->attached[place].home, packed, __ATOMIC_RELEASE);
}

bool board_attached_home(const struct board *board, uint16_t place, uint64_t serial,
                         struct attached_home *ret_home)
{
    uint64_t packed = place < BOARD_ATTACHED
                          ? __atomic_load_n(&board->attached[place].home, __ATOMIC_ACQUIRE)
                          : 0;

    if (packed == 0 || packed >> 32 != (serial & UINT32_MAX))
        return false;
    *ret_home = (struct attached_home){
        .relay = (unsigned)(packed >> 24) & 0xff,
        .slot = (uint32_t)packed & 0xffffff,
        .session = __atomic_load_n(&board->attached[place].session, __ATOMIC_RELAXED)};
    return true;
}

void board_attached_give(struct board *board, uint16_t place, uint64_t serial)
{
    uint64_t state = load(board, place);

    if (state >> WORD_BITS != serial || serial == 0)
        return;
    /* A place that is free belongs to nobody: else board_attached_forget() could take it from its
     * next owner. */
    __atomic_store_n(&board->attached[place].owner, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&board->attached[place].state, 0, __ATOMIC_RELEASE);
}

void board_attached_forget(struct board *board, uint32_t owner)
{
    for (unsigned i = 0; i < BOARD_ATTACHED; i++) {
        struct board_attached *it = &board->attached[i];
        if (__atomic_load_n(&it->owner, __ATOMIC_RELAXED) != owner)
            continue;
        __atomic_store_n(&it->owner, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&it->state, 0, __ATOMIC_RELEASE);
    }
}

void board_attached_count(const struct board *board, uint32_t ret_counts[ATTACHED_REASON_COUNT])
{
    memset(ret_counts, 0, ATTACHED_REASON_COUNT * sizeof *ret_counts);
    for (unsigned i = 0; i < BOARD_ATTACHED; i++) {
        uint8_t reason = board->attached[i].reason;
        if (load(board, (uint16_t)i) != 0 && reason < ATTACHED_REASON_COUNT)
            ret_counts[reason]++;
    }
}
