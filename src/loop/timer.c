#include "loop/timer.h"

#include <assert.h>
#include <limits.h>
#include <stddef.h>
#include <sys/mman.h>

#include "base/clock.h"

#define TIMERS_MAX (1u << 22)

bool timer_heap_init(struct timer_heap *heap)
{
    void *entries = mmap(NULL, TIMERS_MAX * sizeof *heap->entries, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (entries == MAP_FAILED)
        return false;
    *heap = (struct timer_heap){.entries = entries};
    return true;
}

void timer_heap_fini(struct timer_heap *heap)
{
    if (heap->entries != NULL)
        ignore(munmap(heap->entries, TIMERS_MAX * sizeof *heap->entries));
    *heap = (struct timer_heap){0};
}

static void place(struct timer_heap *heap, uint32_t at, struct timer_heap_entry entry)
{
    heap->entries[at] = entry;
    entry.timer->position = at + 1;
}

static void sift_up(struct timer_heap *heap, uint32_t at, struct timer_heap_entry entry)
{
    while (at > 0) {
        uint32_t parent = (at - 1) / 2;
        if (heap->entries[parent].deadline_ns <= entry.deadline_ns)
            break;
        place(heap, at, heap->entries[parent]);
        at = parent;
    }
    place(heap, at, entry);
}

static void sift_down(struct timer_heap *heap, uint32_t at, struct timer_heap_entry entry)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count &&
            heap->entries[child + 1].deadline_ns < heap->entries[child].deadline_ns)
            child++;
        if (entry.deadline_ns <= heap->entries[child].deadline_ns)
            break;
        place(heap, at, heap->entries[child]);
        at = child;
    }
    place(heap, at, entry);
}

void timer_heap_set(struct timer_heap *heap, struct timer *timer, uint64_t deadline_ns)
{
    struct timer_heap_entry entry = {deadline_ns, timer};

    assert(timer->fn != NULL);
    if (timer->position == 0) {
        assert(heap->count < TIMERS_MAX);
        timer->deadline_ns = deadline_ns;
        sift_up(heap, heap->count++, entry);
        return;
    }
    uint64_t old = timer->deadline_ns;
    timer->deadline_ns = deadline_ns;
    if (deadline_ns < old)
        sift_up(heap, timer->position - 1, entry);
    else
        sift_down(heap, timer->position - 1, entry);
}

void timer_heap_remove(struct timer_heap *heap, struct timer *timer)
{
    if (timer->position == 0)
        return;
    uint32_t at = timer->position - 1;
    struct timer_heap_entry last = heap->entries[--heap->count];
    timer->position = 0;
    if (last.timer == timer)
        return;
    if (at > 0 && last.deadline_ns < heap->entries[(at - 1) / 2].deadline_ns)
        sift_up(heap, at, last);
    else
        sift_down(heap, at, last);
}

void timer_heap_run(struct timer_heap *heap, uint64_t now_ns)
{
    /* A handler that re-arms its timer for a time already past must not keep us here for ever. */
    for (uint32_t left = heap->count; left > 0 && heap->count > 0; left--) {
        struct timer *timer = heap->entries[0].timer;
        if (heap->entries[0].deadline_ns > now_ns)
            break;
        timer_heap_remove(heap, timer);
        timer->fn(timer->context);
    }
}

int timer_heap_wait_ms(const struct timer_heap *heap, uint64_t now_ns)
{
    if (heap->count == 0)
        return -1;
    uint64_t deadline_ns = heap->entries[0].deadline_ns;
    if (deadline_ns <= now_ns)
        return 0;
    /* Rounded up: waking early would only mean waiting again. */
    uint64_t wait_ms = (deadline_ns - now_ns - 1) / NS_PER_MS + 1;
    return wait_ms < INT_MAX ? (int)wait_ms : INT_MAX;
}
