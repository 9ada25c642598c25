#include "tls/process_memory.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/attributes.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SYSTEM_ALLOCATOR
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SYSTEM_ALLOCATOR
#endif

/* Sizes are glibc's own: 16 n + 8 usable bytes up to SMALL_MAX, above it four steps per power of
 * two. The blocks are ordinary malloc() blocks whose size malloc knows: no header, and free() may
 * take them too. */
#define GRAIN       16
#define SLACK       8
#define SMALL_COUNT 65
#define SMALL_MAX   ((SMALL_COUNT - 1) * GRAIN + SLACK) /* 1032 */
#define LARGE_SHIFT 10                                  /* large sizes begin at 1¼ × 2^10 */
#define LARGE_COUNT 24                                  /* and end at 2^16 */
#define KEPT_BYTES  (512u << 10)                        /* per size; more goes back to malloc */

struct block {
    struct block *next;
};

/* Per thread, so that a library with threads of its own (a resolver) may use OpenSSL as well. */
static _Thread_local struct list {
    struct block *first;
    size_t kept; /* bytes */
} lists[SMALL_COUNT + LARGE_COUNT];

static size_t place_size(size_t place)
{
    if (place < SMALL_COUNT)
        return place * GRAIN + SLACK;
    size_t step = place - SMALL_COUNT;
    return (5 + step % 4) << (LARGE_SHIFT - 2 + step / 4);
}

/* floor(4 log2 size), with 2^10 as 0: what large sizes are counted by. */
static size_t quarter_steps(size_t size)
{
    size_t exponent = 63 - (size_t)__builtin_clzl(size);
    return (exponent - LARGE_SHIFT) * 4 + (size >> (exponent - 2) & 3);
}

/* The list whose blocks have at least `size` bytes. */
static size_t place_to_take(size_t size)
{
    if (size <= SMALL_MAX)
        return size <= GRAIN + SLACK ? 1 : (size - SLACK + GRAIN - 1) / GRAIN;
    return SMALL_COUNT + quarter_steps(size - 1);
}

/* The list whose blocks have at most `size` bytes. */
static size_t place_to_keep(size_t size)
{
    if (size <= SMALL_MAX)
        return (size - SLACK) / GRAIN;
    return SMALL_COUNT + quarter_steps(size) - 1;
}

static void *memory_allocate(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    if (size == 0)
        return NULL;
    size_t place = place_to_take(size);
    if (place >= ARRAY_SIZE(lists))
        return malloc(size);
    struct list *list = &lists[place];
    if (list->first == NULL)
        return malloc(place_size(place));
    struct block *block = list->first;
    list->first = block->next;
    list->kept -= place_size(place);
    return block;
}

static void memory_free(void *memory, const char *file, int line)
{
    (void)file, (void)line;
    if (memory == NULL)
        return;
    size_t size = malloc_usable_size(memory);
    size_t place = place_to_keep(size);
    explicit_bzero(memory, size);
    if (place >= ARRAY_SIZE(lists) || lists[place].kept >= KEPT_BYTES) {
        free(memory);
        return;
    }
    struct block *block = memory;
    block->next = lists[place].first;
    lists[place].first = block;
    lists[place].kept += place_size(place);
}

static void *memory_resize(void *memory, size_t size, const char *file, int line)
{
    if (memory == NULL)
        return memory_allocate(size, file, line);
    if (size == 0) {
        memory_free(memory, file, line);
        return NULL;
    }
    size_t held = malloc_usable_size(memory);
    if (held >= size)
        return memory;
    void *larger = memory_allocate(size, file, line);
    if (larger != NULL) {
        memcpy(larger, memory, held);
        memory_free(memory, file, line);
    }
    return larger;
}

void process_memory_init(void)
{
#ifdef SYSTEM_ALLOCATOR
    const bool wanted = false;
#else
    const bool wanted = true;
#endif
    if (wanted)
        ignore(CRYPTO_set_mem_functions(memory_allocate, memory_resize, memory_free));
}
