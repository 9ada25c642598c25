/* A ring of fixed-size records in shared memory: one producer, one consumer, no locks. A full ring
 * drops the new record and counts it, so the data path never waits for its observer. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

struct ring {
    uint32_t record_size;
    uint32_t capacity;          /* a power of two */
    _Alignas(64) uint64_t head; /* written by the producer */
    uint64_t dropped;
    _Alignas(64) uint64_t tail; /* written by the consumer */
    _Alignas(64) uint8_t records[];
};

/* Bytes needed for the given geometry. */
size_t ring_size(uint32_t record_size, uint32_t capacity);
void ring_init(struct ring *ring, uint32_t record_size, uint32_t capacity);

/* Returns where to write the next record, or NULL (dropped and counted); ring_publish() makes it
 * visible. */
void *ring_claim(struct ring *ring);
void ring_publish(struct ring *ring);

/* The oldest unread record, or NULL; ring_release() frees its place. The consumer names the
 * geometry it was built with instead of believing the shared page, so a broken producer can make it
 * read wrong records but never outside the ring. */
const void *ring_peek(struct ring *ring, uint32_t record_size, uint32_t capacity);
void ring_release(struct ring *ring);
