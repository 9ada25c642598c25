#include "ipc/ring.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

size_t ring_size(uint32_t record_size, uint32_t capacity)
{
    return sizeof(struct ring) + (size_t)record_size * capacity;
}

void ring_init(struct ring *ring, uint32_t record_size, uint32_t capacity)
{
    assert(capacity > 0 && (capacity & (capacity - 1)) == 0);
    memset(ring, 0, sizeof *ring);
    ring->record_size = record_size;
    ring->capacity = capacity;
}

void *ring_claim(struct ring *ring)
{
    uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_RELAXED);
    uint64_t tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);

    if (head - tail >= ring->capacity) {
        __atomic_store_n(&ring->dropped, ring->dropped + 1, __ATOMIC_RELAXED);
        return NULL;
    }
    return ring->records + (head & (ring->capacity - 1)) * ring->record_size;
}

void ring_publish(struct ring *ring)
{
    __atomic_store_n(&ring->head, __atomic_load_n(&ring->head, __ATOMIC_RELAXED) + 1,
                     __ATOMIC_RELEASE);
}

const void *ring_peek(struct ring *ring, uint32_t record_size, uint32_t capacity)
{
    uint64_t tail = __atomic_load_n(&ring->tail, __ATOMIC_RELAXED);

    if (__atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) == tail)
        return NULL;
    return ring->records + (tail & (capacity - 1)) * record_size;
}

void ring_release(struct ring *ring)
{
    __atomic_store_n(&ring->tail, __atomic_load_n(&ring->tail, __ATOMIC_RELAXED) + 1,
                     __ATOMIC_RELEASE);
}
