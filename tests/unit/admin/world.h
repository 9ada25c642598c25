/* A daemon's shared state on the heap: two workers each, a configuration with hostile names, one
 * arena per relay. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "admin/view.h"

#define WORLD_SLOTS 64
#define WORLD_NOW   (1000000 * 1000000000ull) /* CLOCK_MONOTONIC of all processes */

struct world {
    struct conf *conf;
    struct board *board;
    void *events;
    struct admin_view view;
};

extern struct world world;

/* Fixtures for cmocka. */
int world_set_up(void **state);
int world_tear_down(void **state);

/* Puts a session of relay `relay` into slot `index`. */
struct slot *world_session(unsigned relay, uint32_t index, uint64_t serial);
