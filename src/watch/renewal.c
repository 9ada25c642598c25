#include "watch/renewal.h"

#define HOUR       INT64_C(3600)
#define DAY        (24 * HOUR)
#define LIFE_SHORT (10 * DAY)

static int64_t life_of(int64_t not_before, int64_t not_after)
{
    return not_after > not_before ? not_after - not_before : 0;
}

int64_t renewal_due(int64_t not_before, int64_t not_after, int64_t window_end)
{
    int64_t life = life_of(not_before, not_after);

    if (window_end > 0 && window_end < not_after)
        return window_end;
    return not_after - (life < LIFE_SHORT ? life / 2 : life / 3);
}

int64_t renewal_grace(int64_t not_before, int64_t not_after)
{
    int64_t grace = life_of(not_before, not_after) / 50;

    if (grace < HOUR)
        return HOUR;
    return grace > 3 * DAY ? 3 * DAY : grace;
}
