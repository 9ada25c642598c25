#include "session/slot.h"

#include <string.h>

#include "base/attributes.h"

_Static_assert(sizeof(struct arena_header) == 4096, "slots begin on a page");
_Static_assert(sizeof(struct slot) <= 512,
               "an idle session must stay below 1 KiB with its secrets");
_Static_assert(sizeof(struct slot_secrets) <= 400,
               "an idle session must stay below 1 KiB with its slot");

size_t arena_metadata_size(uint32_t capacity)
{
    return sizeof(struct arena_header) + (size_t)capacity * sizeof(struct slot);
}

size_t arena_client_secrets_size(uint32_t capacity)
{
    size_t size = (size_t)capacity * sizeof(struct slot_secrets);
    return (size + 4095) & ~(size_t)4095;
}

size_t arena_secrets_size(uint32_t capacity)
{
    return arena_client_secrets_size(capacity) +
           (size_t)capacity * sizeof(struct slot_upstream_secrets);
}

size_t arena_blocks_size(uint32_t block_count)
{
    return (size_t)block_count * BLOCK_SIZE;
}

bool arena_attach(struct arena *arena, void *metadata, size_t metadata_size, void *secrets,
                  void *blocks, uint32_t capacity, uint32_t block_count)
{
    struct arena_header *header = metadata;

    if (capacity != 0 && header->version == 0) {
        header->capacity = capacity;
        header->block_count = block_count;
        header->in_hand = UINT32_MAX;
        header->next_serial = 1;
        __atomic_store_n(&header->version, ARENA_VERSION, __ATOMIC_RELEASE);
    }
    if (header->version != ARENA_VERSION || arena_metadata_size(header->capacity) > metadata_size ||
        (capacity != 0 && (header->capacity != capacity || header->block_count != block_count)))
        return false;
    arena->header = header;
    arena->slots = (struct slot *)(void *)((uint8_t *)metadata + sizeof *header);
    arena->secrets = secrets;
    arena->upstream_secrets =
        secrets == NULL
            ? NULL
            : (struct slot_upstream_secrets *)(void *)((uint8_t *)secrets +
                                                       arena_client_secrets_size(header->capacity));
    arena->blocks = blocks;
    return true;
}

/* The compiler may not move the copy behind the flip, nor a killed worker's half-written copy
 * become valid. */
void slot_commit(struct slot *slot, const struct slot_hot *next)
{
    uint8_t spare = (slot->current ^ 1) & 1;

    slot->hot[spare] = *next;
    __atomic_store_n(&slot->current, spare, __ATOMIC_RELEASE);
}

void slot_commit_upstream(struct slot *slot, const struct slot_hot *next,
                          struct slot_upstream_secrets *secrets, const struct leg *upstream)
{
    uint8_t spare = (slot->current ^ 1) & 1;

    secrets->leg[spare] = *upstream;
    slot->hot[spare] = *next;
    __atomic_store_n(&slot->current, spare, __ATOMIC_RELEASE);
}
