/* When a target is looked at again. Pure arithmetic: the timers are the loop's heap, one small
 * entry for each target. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The first check of target number `index` of `count`: spread over the interval, but no slower than
 * 20 a second, so that few targets are known at once and ten thousand do not come in one wave.
 * `since_ms`: how long ago an earlier process checked it; UINT64_MAX: never. Milliseconds from
 * now. */
uint64_t schedule_first(uint64_t interval_ms, uint64_t since_ms, uint64_t index, uint64_t count);

struct schedule_result {
    bool changed;      /* another verdict or certificate than before */
    unsigned failures; /* in a row: no answer could be had at all, for a reason of ours */
};
/* The next one: the interval, a tenth more or less (by `chance`); a quarter of it, at least a
 * second, after a change, so that it is known soon whether it stays; twice as long for each failure
 * in a row, up to an hour beyond the interval. */
uint64_t schedule_next(uint64_t interval_ms, const struct schedule_result *result, uint64_t chance);
