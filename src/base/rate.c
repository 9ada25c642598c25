#include "base/rate.h"

bool rate_take(uint64_t *point_ns, uint64_t now_ns, uint64_t step_ns, uint64_t burst)
{
    uint64_t point = *point_ns > now_ns ? *point_ns : now_ns;

    if (point - now_ns + step_ns > burst * step_ns)
        return false;
    *point_ns = point + step_ns;
    return true;
}

bool rate_take_shared(uint64_t *point_ns, uint64_t now_ns, uint64_t step_ns, uint64_t burst)
{
    uint64_t seen = __atomic_load_n(point_ns, __ATOMIC_RELAXED), point;

    do { /* until no other was quicker */
        point = seen;
        if (!rate_take(&point, now_ns, step_ns, burst))
            return false;
    } while (!__atomic_compare_exchange_n(point_ns, &seen, point, false, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return true;
}
