/* The event loop of a process: descriptors, timers, signals. No other code sees epoll.
 *
 * A descriptor is watched under a *handler* (a function with its context, registered once) and a
 * 48-bit *tag* of the caller's choice, so that watching ten thousand sessions allocates nothing.
 * Events of one batch that belong to a descriptor closed earlier in the batch still arrive; the tag
 * must tell the caller (slot number + serial). Watching is edge-triggered for LOOP_EDGE, else
 * level-triggered. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

enum {
    LOOP_READ = 1,       /* readable, or end of stream, or error */
    LOOP_WRITE = 2,      /* writable, or error */
    LOOP_HANGUP = 4,     /* peer shut down its writing side (RDHUP) */
    LOOP_ERROR = 8,      /* error pending or fully closed; reported always */
    LOOP_EDGE = 16,      /* edge-triggered */
    LOOP_EXCLUSIVE = 32, /* wake one of the processes sharing this listening socket */
    LOOP_URGENT = 64     /* urgent data is there: a read that stops in front of it leaves some */
};

struct loop;

typedef void loop_handler_fn(void *context, uint64_t tag, unsigned events);
typedef void loop_timer_fn(void *context);
typedef void loop_signal_fn(void *context, int signal_number);
typedef void loop_batch_fn(void *context);

/* Intrusive; lives in the owner's struct, zeroed before its first use. */
struct timer {
    uint64_t deadline_ns;
    uint32_t position; /* place in the heap + 1; 0 = not armed */
    loop_timer_fn *fn;
    void *context;
};

struct loop *loop_new(void); /* NULL when the system refuses */
void loop_free(struct loop *loop);

/* Returns a handler number for loop_watch (below LOOP_HANDLER_FIXED). */
uint8_t loop_handler(struct loop *loop, loop_handler_fn *fn, void *context);

/* What is watched can outlive a process: made here, kept and passed on by another process, used by
 * the loop of one after the other. A watched descriptor that is open elsewhere, too, stays watched,
 * and its events name handler and tag as they were given: such handlers have fixed numbers, from
 * LOOP_HANDLER_FIXED to 255. Returns -1 when the system refuses. */
#define LOOP_HANDLER_FIXED 192
int loop_watches_new(void);
/* From now on the loop uses these watches (takes the descriptor); its own are gone. */
void loop_use_watches(struct loop *loop, int fd);
void loop_handler_fixed(struct loop *loop, uint8_t number, loop_handler_fn *fn, void *context);

/* What is watched already is changed instead. */
MUST_CHECK bool loop_watch(struct loop *loop, int fd, unsigned events, uint8_t handler,
                           uint64_t tag);
/* Not for LOOP_EXCLUSIVE: the kernel wants such a descriptor unwatched and watched again. */
MUST_CHECK bool loop_change(struct loop *loop, int fd, unsigned events, uint8_t handler,
                            uint64_t tag);
void loop_unwatch(struct loop *loop, int fd);

void timer_init(struct timer *timer, loop_timer_fn *fn, void *context);
/* (Re-)arms for `deadline_ns` of loop_now(). */
void timer_set(struct loop *loop, struct timer *timer, uint64_t deadline_ns);
void timer_cancel(struct loop *loop, struct timer *timer);

/* Delivers a signal through the loop (blocks its normal delivery in this process). */
MUST_CHECK bool loop_signal(struct loop *loop, int signal_number, loop_signal_fn *fn,
                            void *context);

/* Runs `fn` (at most 8 of them, in order) after each batch of events and timers, before the loop
 * waits again: flush batched messages, free closed objects. */
void loop_after_batch(struct loop *loop, loop_batch_fn *fn, void *context);

/* Work is left over from this batch: the next wait returns at once. */
void loop_again(struct loop *loop);

/* CLOCK_MONOTONIC as read when the current batch began. */
uint64_t loop_now(const struct loop *loop);

/* Runs until loop_stop(), which may have been called before; returns the code given there. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop, int code);
