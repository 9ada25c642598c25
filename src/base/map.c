/* Linear probing with backward-shift removal, so that there are no tombstones; at most three
 * quarters full. */
#include "base/map.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

#define SMALLEST_CAPACITY 16

struct sip_state {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t value, unsigned bits)
{
    return (value << bits) | (value >> (64 - bits));
}

static void sip_round(struct sip_state *s)
{
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

static void sip_word(struct sip_state *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

/* SipHash-1-3 (Aumasson, Bernstein) under the map's seed: a peer that does not know the seed cannot
 * aim at one bucket. */
static uint64_t hash_key(uint64_t seed, const char *key)
{
    size_t size = strlen(key);
    uint64_t word = 0;
    struct sip_state s = {seed ^ 0x736f6d6570736575ull, ~seed ^ 0x646f72616e646f6dull,
                          seed ^ 0x6c7967656e657261ull, ~seed ^ 0x7465646279746573ull};

    for (size_t left = size; left >= sizeof word; left -= sizeof word, key += sizeof word) {
        memcpy(&word, key, sizeof word);
        sip_word(&s, word);
    }
    word = (uint64_t)size << 56;
    memcpy(&word, key, size % sizeof word);
    sip_word(&s, word);
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

void map_init(struct map *map)
{
    *map = (struct map){0};
    if (getrandom(&map->seed, sizeof map->seed, GRND_NONBLOCK) != (ssize_t)sizeof map->seed)
        map->seed = clock_monotonic_ns() ^ (uint64_t)(uintptr_t)map;
}

void map_fini(struct map *map)
{
    for (size_t i = 0; i < map->capacity; i++)
        free(map->entries[i].key);
    free(map->entries);
    *map = (struct map){0};
}

/* The place where `key` is, or the free place where it would go. `capacity` is a power of two and
 * never full. */
static size_t find(const struct map *map, const char *key)
{
    size_t at = hash_key(map->seed, key) & (map->capacity - 1);

    while (map->entries[at].key != NULL && strcmp(map->entries[at].key, key) != 0)
        at = (at + 1) & (map->capacity - 1);
    return at;
}

static bool grow(struct map *map)
{
    struct map larger = {.seed = map->seed, .count = map->count};

    larger.capacity = map->capacity > 0 ? map->capacity * 2 : SMALLEST_CAPACITY;
    larger.entries = calloc(larger.capacity, sizeof *larger.entries);
    if (larger.entries == NULL)
        return false;
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->entries[i].key != NULL)
            larger.entries[find(&larger, map->entries[i].key)] = map->entries[i];
    }
    free(map->entries);
    *map = larger;
    return true;
}

void *map_get(const struct map *map, const char *key)
{
    return map->count > 0 ? map->entries[find(map, key)].value : NULL;
}

bool map_put(struct map *map, const char *key, void *value)
{
    if (map->count + 1 > map->capacity / 4 * 3 && !grow(map))
        return false;
    struct map_entry *entry = &map->entries[find(map, key)];
    if (entry->key == NULL) {
        entry->key = strdup(key);
        if (entry->key == NULL)
            return false;
        map->count++;
    }
    entry->value = value;
    return true;
}

/* Moves later entries of the same run forward into the hole at `hole`, so that none becomes
 * unreachable. */
static void close_hole(struct map *map, size_t hole)
{
    size_t mask = map->capacity - 1;

    for (size_t at = (hole + 1) & mask; map->entries[at].key != NULL; at = (at + 1) & mask) {
        size_t home = hash_key(map->seed, map->entries[at].key) & mask;
        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        map->entries[hole] = map->entries[at];
        hole = at;
    }
    map->entries[hole] = (struct map_entry){0};
}

void *map_remove(struct map *map, const char *key)
{
    if (map->count == 0)
        return NULL;
    size_t at = find(map, key);
    if (map->entries[at].key == NULL)
        return NULL;
    void *value = map->entries[at].value;
    free(map->entries[at].key);
    close_hole(map, at);
    map->count--;
    return value;
}

const struct map_entry *map_next(const struct map *map, size_t *at)
{
    while (*at < map->capacity) {
        const struct map_entry *entry = &map->entries[(*at)++];
        if (entry->key != NULL)
            return entry;
    }
    return NULL;
}
