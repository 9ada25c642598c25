/* The timers of a loop: a binary heap over the owners' struct timer. Internal to loop/; see loop.h
 * for its users' side.
 *
 * Deadlines lie in the heap beside the pointers, so that ordering touches no other memory. Room for
 * the most timers a process can need is reserved as address space and taken by touching it: arming
 * a timer cannot fail. */
#pragma once

#include "loop/loop.h"

struct timer_heap_entry {
    uint64_t deadline_ns;
    struct timer *timer;
};

struct timer_heap {
    struct timer_heap_entry *entries;
    uint32_t count;
};

MUST_CHECK bool timer_heap_init(struct timer_heap *heap);
void timer_heap_fini(struct timer_heap *heap); /* accepts zeroed */

void timer_heap_set(struct timer_heap *heap, struct timer *timer, uint64_t deadline_ns);
void timer_heap_remove(struct timer_heap *heap, struct timer *timer); /* also when not armed */

/* Runs what is due; timers that handlers arm anew for a due time wait for the next call. */
void timer_heap_run(struct timer_heap *heap, uint64_t now_ns);

/* Milliseconds to sleep until the first deadline, rounded up; -1 when there is none. */
int timer_heap_wait_ms(const struct timer_heap *heap, uint64_t now_ns);
