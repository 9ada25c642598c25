/* The cache of sessions (tls/session_cache.h) in a handshaker: mapped, kept clean, counted. */
#pragma once

#include "edge/worker.h"
#include "tls/session_cache.h"

struct session_memory {
    struct worker *worker;
    struct session_cache *cache; /* NULL: none is configured, or it could not be mapped */
    void *memory;
    size_t size;
    struct timer sweep;
    struct session_cache_counts told; /* on the board already */
};

/* Never fails: without a cache clients without tickets are not resumed. */
void session_memory_init(struct session_memory *sessions, struct worker *worker);
/* Begins to wipe what has ended; the worker must have GO. */
void session_memory_go(struct session_memory *sessions);
/* Puts what was counted since the last call on the board. */
void session_memory_count(struct session_memory *sessions);
