/* Hash map from text to pointer (open addressing). Keys are copied; values belong to the caller. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

struct map_entry {
    char *key; /* NULL: free place */
    void *value;
};

struct map {
    struct map_entry *entries;
    size_t capacity;
    size_t count;
    uint64_t seed; /* random per map, so that a peer cannot choose colliding keys */
};

void map_init(struct map *map);
void map_fini(struct map *map); /* frees keys, not values; accepts zeroed */

void *map_get(const struct map *map, const char *key);
/* Inserts or replaces. Returns false when out of memory. */
MUST_CHECK bool map_put(struct map *map, const char *key, void *value);
/* Removes and returns the value, or NULL. */
void *map_remove(struct map *map, const char *key);

/* Iterates in no particular order: `for (size_t at = 0; (entry = map_next(map, &at)) != NULL;)`. */
const struct map_entry *map_next(const struct map *map, size_t *at);
