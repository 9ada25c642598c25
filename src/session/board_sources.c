/* Sessions per source address and listener, counted over all relays in a fixed table on the board.
 * Each place is one word, so that every change is one compare-and-swap: 48 bits of the source's
 * hash, 16 bits of count. A place whose count is 0 is free. */
#include <string.h>

#include "base/hash.h"
#include "session/board.h"

#define PROBES    64u
#define COUNT_MAX 0xffffu

static uint64_t key_of(const struct board *board, unsigned listener, const uint8_t client[16])
{
    uint64_t halves[2];

    memcpy(halves, client, sizeof halves);
    return hash_mix(hash_mix(halves[0] ^ board->started_wall_ns) ^ halves[1] ^
                    (uint64_t)listener << 56) >>
           16;
}

static uint64_t *place_at(struct board *board, uint64_t key, unsigned probe)
{
    return &board->sources[(key + probe) % BOARD_SOURCES];
}

static bool swap(uint64_t *place, uint64_t expected, uint64_t value)
{
    return __atomic_compare_exchange_n(place, &expected, value, false, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED);
}

uint32_t board_source_count(struct board *board, unsigned listener, const uint8_t client[16])
{
    uint64_t key = key_of(board, listener, client);

    for (unsigned probe = 0; probe < PROBES; probe++) {
        uint64_t word = __atomic_load_n(place_at(board, key, probe), __ATOMIC_RELAXED);
        if (word >> 16 == key && (word & COUNT_MAX) != 0)
            return (uint32_t)(word & COUNT_MAX);
    }
    return 0;
}

/* One try over the probes; true when `ret_admitted` says how it ended. */
static bool try_acquire(struct board *board, uint64_t key, uint32_t limit, bool *ret_admitted)
{
    uint64_t *free_place = NULL;
    uint64_t free_word = 0;

    for (unsigned probe = 0; probe < PROBES; probe++) {
        uint64_t *place = place_at(board, key, probe);
        uint64_t word = __atomic_load_n(place, __ATOMIC_RELAXED);
        uint32_t count = (uint32_t)(word & COUNT_MAX);
        if (count != 0 && word >> 16 == key) {
            *ret_admitted = count < limit && count < COUNT_MAX;
            return !*ret_admitted || swap(place, word, word + 1);
        }
        if (count == 0 && free_place == NULL) {
            free_place = place;
            free_word = word;
        }
    }
    *ret_admitted = free_place != NULL;
    return free_place == NULL || swap(free_place, free_word, key << 16 | 1);
}

bool board_source_acquire(struct board *board, unsigned listener, const uint8_t client[16],
                          uint32_t limit)
{
    uint64_t key = key_of(board, listener, client);
    bool admitted = false;

    while (!try_acquire(board, key, limit, &admitted)) /* another relay was quicker */
        ;
    return admitted;
}

void board_source_release(struct board *board, unsigned listener, const uint8_t client[16])
{
    uint64_t key = key_of(board, listener, client);

    for (unsigned probe = 0; probe < PROBES;) {
        uint64_t *place = place_at(board, key, probe);
        uint64_t word = __atomic_load_n(place, __ATOMIC_RELAXED);
        if (word >> 16 != key || (word & COUNT_MAX) == 0) {
            probe++;
            continue;
        }
        if (swap(place, word, word - 1))
            return;
    }
}
