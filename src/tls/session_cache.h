/* The sessions of TLS 1.2 clients that take no tickets, by session id: one bounded table in shared
 * memory for all handshakers of the machine, which outlives each of them.
 *
 * There is no lock that a process could die with. A writer marks its place as being written, by one
 * atomic exchange that one process wins, and seals it with a checksum when it is done. Whoever
 * finds a place without its right seal takes it as empty, so a writer killed at any instant costs
 * one session, which is then a full handshake; what it left is wiped by session_cache_sweep().
 *
 * Bytes in, bytes out: what a session is, and whether it may be resumed, others know. All times are
 * Unix seconds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"

#define SESSION_CACHE_ID_MAX   32
#define SESSION_CACHE_DATA_MAX 2000 /* of one session; a client's certificate is in it */

/* What one process has done. */
struct session_cache_counts {
    uint64_t hits, misses, stored;
    uint64_t replaced;  /* sessions that could have been resumed and had to make room */
    uint64_t too_large; /* not stored */
};

/* ---- the memory ---- */

size_t session_cache_size(uint32_t entries);
/* Zeroed memory of that size becomes an empty cache. */
void session_cache_format(void *memory, uint32_t entries);

/* ---- use by a process ---- */

struct session_cache;
/* The memory stays the caller's and must be there until the cache is closed. NULL when it is not
 * laid out as this program knows it, or when out of memory. */
struct session_cache *session_cache_open(void *memory, size_t size);
void session_cache_close(struct session_cache *cache); /* accepts NULL */

/* Stores a session that is worthless from `end` on. In a full table the one that was used least
 * lately of a handful makes room. */
void session_cache_put(struct session_cache *cache, const uint8_t *id, size_t id_size,
                       const uint8_t *data, size_t size, int64_t now, int64_t end);
/* Copies a session; returns its size, 0: there is none. Counts nothing: whether it is of use shows
 * only later. */
size_t session_cache_get(struct session_cache *cache, const uint8_t *id, size_t id_size,
                         int64_t now, uint8_t output[SESSION_CACHE_DATA_MAX]);
void session_cache_remove(struct session_cache *cache, const uint8_t *id, size_t id_size,
                          int64_t now);

/* Wipes what has ended and what a killed writer left, a part of the table with each call: call it
 * once a second. Returns how many sessions the last complete round has found. */
uint32_t session_cache_sweep(struct session_cache *cache, int64_t now);

struct session_cache_counts *session_cache_counts(struct session_cache *cache);
