#include "tls/session_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/secret.h"

#define VERSION      1
#define WAYS         8     /* places that a session may stand in */
#define SWEEP_PLACES 50000 /* a call */
#define WRITING_S    10    /* nobody writes that long and lives */

/* The seal of a place: EMPTY, a time (being written since then), or a checksum, which has the
 * highest bit set. */
#define EMPTY    0
#define CHECKSUM (1ull << 63)

struct head {
    uint32_t version;
    uint32_t sets;
    uint64_t clock; /* goes on with every use */
};

/* What is looked at without touching the sessions themselves. */
struct line {
    uint64_t seal;
    uint64_t tag; /* hash of the id */
    int64_t end;
    uint64_t used; /* by the clock */
};

struct place {
    uint32_t size;
    uint32_t id_size;
    uint8_t id[SESSION_CACHE_ID_MAX];
    uint8_t data[SESSION_CACHE_DATA_MAX];
};

struct session_cache {
    struct head *head;
    struct line *lines;
    struct place *places;
    uint32_t sets,
        count;        /* of places: as they were when it was opened, whoever writes to the memory */
    uint32_t swept;   /* this round, up to here */
    uint32_t found;   /* so far in this round */
    uint32_t entries; /* of the last round */
    struct session_cache_counts counts;
};

static uint32_t sets_for(uint32_t entries)
{
    return entries < WAYS ? 1 : entries / WAYS;
}

size_t session_cache_size(uint32_t entries)
{
    return sizeof(struct head) +
           (size_t)sets_for(entries) * WAYS * (sizeof(struct line) + sizeof(struct place));
}

void session_cache_format(void *memory, uint32_t entries)
{
    struct head *head = memory;

    head->version = VERSION;
    head->sets = sets_for(entries);
}

struct session_cache *session_cache_open(void *memory, size_t size)
{
    struct head *head = memory;
    uint32_t sets = size < sizeof *head ? 0 : __atomic_load_n(&head->sets, __ATOMIC_RELAXED);
    struct session_cache *cache;

    if (sets == 0 || sets > UINT32_MAX / WAYS || head->version != VERSION ||
        session_cache_size(sets * WAYS) != size || (cache = calloc(1, sizeof *cache)) == NULL)
        return NULL;
    cache->head = head;
    cache->sets = sets;
    cache->count = sets * WAYS;
    cache->lines = (struct line *)(head + 1);
    cache->places = (struct place *)(cache->lines + cache->count);
    return cache;
}

void session_cache_close(struct session_cache *cache)
{
    free(cache);
}

struct session_cache_counts *session_cache_counts(struct session_cache *cache)
{
    return &cache->counts;
}

/* ---- seals ---- */

static uint64_t hash_bytes(uint64_t sum, const void *data, size_t size)
{
    const uint8_t *at = data;

    for (; size > 0;) {
        uint64_t word = 0;
        size_t n = size < sizeof word ? size : sizeof word;
        memcpy(&word, at, n);
        sum = hash_mix(sum ^ word) + n;
        at += n;
        size -= n;
    }
    return sum;
}

static uint64_t seal_of(const struct line *line, const struct place *place)
{
    uint64_t sum = hash_mix(line->tag ^ hash_mix((uint64_t)line->end));

    return hash_bytes(sum, place, offsetof(struct place, data) + place->size) | CHECKSUM;
}

static uint64_t load(const uint64_t *place)
{
    return __atomic_load_n(place, __ATOMIC_ACQUIRE);
}

static bool is_sealed(uint64_t seal)
{
    return (seal & CHECKSUM) != 0;
}

/* Left by a writer that is no more, or the clock was set. */
static bool is_abandoned(uint64_t seal, int64_t now)
{
    return seal != EMPTY && !is_sealed(seal) &&
           ((int64_t)seal + WRITING_S < now || (int64_t)seal > now + WRITING_S);
}

static bool is_free(const struct line *line, uint64_t seal, int64_t now)
{
    return seal == EMPTY || is_abandoned(seal, now) || (is_sealed(seal) && line->end <= now);
}

/* Takes the place for writing, unless somebody was quicker. */
static bool claim(struct line *line, uint64_t seal, uint64_t mark)
{
    return __atomic_compare_exchange_n(&line->seal, &seal, mark, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

/* Gives it back, unless we were stopped for so long that it was taken from us. */
static void release(struct line *line, uint64_t mark, uint64_t seal)
{
    ignore((long)__atomic_compare_exchange_n(&line->seal, &mark, seal, false, __ATOMIC_RELEASE,
                                             __ATOMIC_RELAXED));
}

static uint64_t mark_of(int64_t now)
{
    return now > 0 ? (uint64_t)now : 1;
}

static void wipe(struct session_cache *cache, struct line *line, uint64_t seal, int64_t now)
{
    if (!claim(line, seal, mark_of(now)))
        return;
    secret_wipe(&cache->places[line - cache->lines], sizeof(struct place));
    release(line, mark_of(now), EMPTY);
}

/* ---- looking up ---- */

static uint64_t tag_of(const uint8_t *id, size_t id_size)
{
    return hash_bytes(id_size, id, id_size);
}

/* The places where a session with this tag may be. */
static struct line *set_of(const struct session_cache *cache, uint64_t tag)
{
    return &cache->lines[tag % cache->sets * WAYS];
}

static void touch(struct session_cache *cache, struct line *line)
{
    __atomic_store_n(&line->used, __atomic_add_fetch(&cache->head->clock, 1, __ATOMIC_RELAXED),
                     __ATOMIC_RELAXED);
}

/* A copy is judged, never the place itself, which may change at any time. */
static bool copy_whole(const struct session_cache *cache, const struct line *line,
                       struct place *ret_copy)
{
    uint64_t seal = load(&line->seal);
    const struct line seen = *line;

    if (!is_sealed(seal))
        return false;
    memcpy(ret_copy, &cache->places[line - cache->lines], sizeof *ret_copy);
    return ret_copy->size <= SESSION_CACHE_DATA_MAX && seal_of(&seen, ret_copy) == seal;
}

static bool is_of(const struct place *place, const uint8_t *id, size_t id_size)
{
    return place->id_size == id_size && memcmp(place->id, id, id_size) == 0;
}

size_t session_cache_get(struct session_cache *cache, const uint8_t *id, size_t id_size,
                         int64_t now, uint8_t output[SESSION_CACHE_DATA_MAX])
{
    uint64_t tag = tag_of(id, id_size);
    struct line *set = set_of(cache, tag);
    struct place copy;
    size_t size = 0;

    for (unsigned i = 0; i < WAYS && size == 0; i++) {
        if (set[i].tag != tag || set[i].end <= now || !copy_whole(cache, &set[i], &copy))
            continue;
        if (is_of(&copy, id, id_size)) {
            memcpy(output, copy.data, copy.size);
            size = copy.size;
            touch(cache, &set[i]);
        }
        secret_wipe(&copy, sizeof copy);
    }
    return size;
}

void session_cache_remove(struct session_cache *cache, const uint8_t *id, size_t id_size,
                          int64_t now)
{
    uint64_t tag = tag_of(id, id_size);
    struct line *set = set_of(cache, tag);

    for (unsigned i = 0; i < WAYS; i++) {
        uint64_t seal = load(&set[i].seal);
        if (is_sealed(seal) && set[i].tag == tag)
            wipe(cache, &set[i], seal, now);
    }
}

/* ---- storing ---- */

/* The same session, else a free place, else what was used least lately; NULL when all are being
 * written. */
static struct line *choose(struct line *set, uint64_t tag, int64_t now)
{
    struct line *best = NULL;
    bool best_free = false;

    for (unsigned i = 0; i < WAYS; i++) {
        uint64_t seal = load(&set[i].seal);
        bool unused = is_free(&set[i], seal, now);
        if (is_sealed(seal) && set[i].tag == tag)
            return &set[i];
        if ((!unused && !is_sealed(seal)) || best_free)
            continue;
        if (best == NULL || unused || set[i].used < best->used)
            best = &set[i];
        best_free = unused;
    }
    return best;
}

/* The seal is that of what we meant to write, not of what stands there then. */
static void write_place(struct session_cache *cache, struct line *line, uint64_t mark,
                        const struct line *described, const struct place *place)
{
    touch(cache, line); /* first: from now on there is something to sweep */
    memcpy(&cache->places[line - cache->lines], place, sizeof *place);
    line->tag = described->tag;
    line->end = described->end;
    release(line, mark, seal_of(described, place));
    cache->counts.stored++;
}

static void store(struct session_cache *cache, const struct line *described,
                  const struct place *place, int64_t now)
{
    for (unsigned attempt = 0; attempt < WAYS; attempt++) {
        struct line *line = choose(set_of(cache, described->tag), described->tag, now);
        if (line == NULL)
            return;
        uint64_t seal = load(&line->seal);
        bool replaces = !is_free(line, seal, now) && line->tag != described->tag;
        if (claim(line, seal, mark_of(now))) {
            cache->counts.replaced += replaces;
            write_place(cache, line, mark_of(now), described, place);
            return;
        }
    }
}

void session_cache_put(struct session_cache *cache, const uint8_t *id, size_t id_size,
                       const uint8_t *data, size_t size, int64_t now, int64_t end)
{
    struct place place = {.size = (uint32_t)size, .id_size = (uint32_t)id_size};

    if (size == 0 || size > SESSION_CACHE_DATA_MAX || id_size > SESSION_CACHE_ID_MAX) {
        cache->counts.too_large++;
        return;
    }
    if (end <= now)
        return;
    const struct line described = {.tag = tag_of(id, id_size), .end = end};
    memcpy(place.id, id, id_size);
    memcpy(place.data, data, size);
    store(cache, &described, &place, now);
    secret_wipe(&place, sizeof place);
}

/* ---- time ---- */

uint32_t session_cache_sweep(struct session_cache *cache, int64_t now)
{
    if (__atomic_load_n(&cache->head->clock, __ATOMIC_RELAXED) == 0)
        return 0; /* never used: no memory has come into being yet, nor shall it by looking */
    for (unsigned n = 0; n < SWEEP_PLACES && cache->swept < cache->count; n++) {
        struct line *line = &cache->lines[cache->swept++];
        uint64_t seal = load(&line->seal);
        if (seal != EMPTY && is_free(line, seal, now))
            wipe(cache, line, seal, now);
        else
            cache->found += is_sealed(seal);
    }
    if (cache->swept == cache->count) {
        cache->entries = cache->found;
        cache->swept = cache->found = 0;
    }
    return cache->entries;
}
