/* Buddy allocator over an arena's blocks. The books are private to the worker: a successor rebuilds
 * them from the slots. Runs are taken from the lowest free place, so that a few pages serve all and
 * the rest can be given back. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/attributes.h"
#include "session/slot.h"

#define LARGEST   (1u << BLOCK_ORDER_MAX)
#define FREE_NONE 0xffu

struct blocks {
    uint8_t *memory;
    int fd;
    uint32_t count;
    uint32_t used;
    uint32_t touched;          /* blocks 0 … touched-1 may have pages */
    uint8_t *order;            /* of a free run, at its first block; FREE_NONE elsewhere */
    uint32_t *next, *previous; /* free lists, by first block */
    uint32_t head[BLOCK_ORDER_MAX + 1];
};

static void list_push(struct blocks *blocks, uint32_t first, unsigned order)
{
    uint32_t head = blocks->head[order];
    blocks->order[first] = (uint8_t)order;
    blocks->next[first] = head;
    blocks->previous[first] = BLOCK_NONE;
    if (head != BLOCK_NONE)
        blocks->previous[head] = first;
    blocks->head[order] = first;
}

static void list_remove(struct blocks *blocks, uint32_t first, unsigned order)
{
    uint32_t next = blocks->next[first], previous = blocks->previous[first];
    if (previous == BLOCK_NONE)
        blocks->head[order] = next;
    else
        blocks->next[previous] = next;
    if (next != BLOCK_NONE)
        blocks->previous[next] = previous;
    blocks->order[first] = FREE_NONE;
}

struct blocks *blocks_new(uint8_t *memory, int fd, uint32_t block_count)
{
    struct blocks *blocks = calloc(1, sizeof *blocks);
    if (blocks == NULL)
        return NULL;
    blocks->memory = memory;
    blocks->fd = fd;
    blocks->count = block_count - block_count % LARGEST;
    blocks->order = malloc(blocks->count + 1);
    blocks->next = calloc(blocks->count + 1, sizeof *blocks->next);
    blocks->previous = calloc(blocks->count + 1, sizeof *blocks->previous);
    if (blocks->order == NULL || blocks->next == NULL || blocks->previous == NULL) {
        blocks_free(blocks);
        return NULL;
    }
    memset(blocks->order, FREE_NONE, blocks->count + 1);
    for (unsigned i = 0; i <= BLOCK_ORDER_MAX; i++)
        blocks->head[i] = BLOCK_NONE;
    for (uint32_t first = blocks->count; first > 0; first -= LARGEST)
        list_push(blocks, first - LARGEST, BLOCK_ORDER_MAX);
    return blocks;
}

void blocks_free(struct blocks *blocks)
{
    if (blocks == NULL)
        return;
    free(blocks->order);
    free(blocks->next);
    free(blocks->previous);
    free(blocks);
}

uint32_t blocks_take(struct blocks *blocks, unsigned order)
{
    unsigned have = order;

    while (have <= BLOCK_ORDER_MAX && blocks->head[have] == BLOCK_NONE)
        have++;
    if (have > BLOCK_ORDER_MAX)
        return BLOCK_NONE;
    uint32_t first = blocks->head[have];
    list_remove(blocks, first, have);
    while (have > order) {
        have--;
        list_push(blocks, first + (1u << have), have);
    }
    blocks->used += 1u << order;
    if (first + (1u << order) > blocks->touched)
        blocks->touched = first + (1u << order);
    return first;
}

void blocks_give(struct blocks *blocks, uint32_t first, unsigned order)
{
    blocks->used -= 1u << order;
    while (order < BLOCK_ORDER_MAX) {
        uint32_t buddy = first ^ (1u << order);
        if (blocks->order[buddy] != order)
            break;
        list_remove(blocks, buddy, order);
        first &= ~(1u << order);
        order++;
    }
    list_push(blocks, first, order);
}

bool blocks_claim(struct blocks *blocks, uint32_t first, unsigned order)
{
    unsigned have = order;

    if (order > BLOCK_ORDER_MAX || first >= blocks->count || first % (1u << order) != 0)
        return false;
    while (have <= BLOCK_ORDER_MAX && blocks->order[first & ~((1u << have) - 1)] != have)
        have++;
    if (have > BLOCK_ORDER_MAX)
        return false;
    uint32_t whole = first & ~((1u << have) - 1);
    list_remove(blocks, whole, have);
    while (have > order) { /* what is not wanted of it goes back, half by half */
        have--;
        uint32_t half = 1u << have;
        list_push(blocks, (first & half) != 0 ? whole : whole + half, have);
        whole += first & half;
    }
    blocks->used += 1u << order;
    if (first + (1u << order) > blocks->touched)
        blocks->touched = first + (1u << order);
    return true;
}

uint32_t blocks_used(const struct blocks *blocks)
{
    return blocks->used;
}

uint32_t blocks_total(const struct blocks *blocks)
{
    return blocks->count;
}

uint32_t blocks_available(const struct blocks *blocks)
{
    return blocks->count - blocks->used;
}

bool blocks_scarce(const struct blocks *blocks)
{
    return blocks->used > blocks->count / 2;
}

void blocks_trim(struct blocks *blocks)
{
    for (uint32_t first = 0; first < blocks->touched;) {
        uint8_t order = blocks->order[first];
        if (order == FREE_NONE) {
            first++;
            continue;
        }
        ignore(fallocate(blocks->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         (off_t)first * BLOCK_SIZE, (off_t)(1u << order) * BLOCK_SIZE));
        first += 1u << order;
    }
    if (blocks->used == 0)
        blocks->touched = 0;
}
