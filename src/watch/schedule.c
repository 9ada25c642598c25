#include "watch/schedule.h"

#define STEP_MS     50
#define SOONEST_MS  1000
#define HOUR_MS     3600000ull
#define DOUBLED_MAX 12

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t schedule_first(uint64_t interval_ms, uint64_t since_ms, uint64_t index, uint64_t count)
{
    uint64_t spread = smaller(interval_ms, count * STEP_MS);

    if (since_ms < interval_ms)
        return interval_ms - since_ms;
    return count == 0 ? 0 : spread * index / count;
}

uint64_t schedule_next(uint64_t interval_ms, const struct schedule_result *result, uint64_t chance)
{
    uint64_t base = interval_ms;

    if (result->failures != 0) {
        unsigned doubled = result->failures < DOUBLED_MAX ? result->failures : DOUBLED_MAX;
        base = smaller(interval_ms << doubled, interval_ms + HOUR_MS);
    } else if (result->changed && interval_ms > SOONEST_MS) {
        base = interval_ms / 4 > SOONEST_MS ? interval_ms / 4 : SOONEST_MS;
    }
    return base - base / 10 + chance % (base / 5 + 1);
}
