/* Rates as buckets that hold no tokens: all that is kept of one is the point of time up to which it
 * is used up, 0 in the beginning. Taking moves the point by one step; it may be at most `burst`
 * steps ahead of now. Step and burst may change between two calls: what was taken counts as the
 * time that it was taken for, and is over by then. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

/* False: no more for now, and nothing was taken. `burst` is at least 1. */
MUST_CHECK bool rate_take(uint64_t *point_ns, uint64_t now_ns, uint64_t step_ns, uint64_t burst);
/* The same from a point that several processes share. Their clocks need not agree to the
 * nanosecond, and whoever dies takes nothing along. */
MUST_CHECK bool rate_take_shared(uint64_t *point_ns, uint64_t now_ns, uint64_t step_ns,
                                 uint64_t burst);
