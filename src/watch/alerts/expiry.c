#include "watch/alerts/expiry.h"

#include "watch/renewal.h"

#define HOUR       INT64_C(3600)
#define DAY        (24 * HOUR)
#define LIFE_WHOLE (90 * DAY) /* from here on, steps are as long as they are called */

static const int64_t step_days[] = {
    [EXPIRY_NOTICE] = 30, [EXPIRY_14_DAYS] = 14, [EXPIRY_7_DAYS] = 7, [EXPIRY_1_DAY] = 1};

const char *expiry_step_name(enum expiry_step step)
{
    static const char *const names[] = {
        [EXPIRY_FINE] = "fine",       [EXPIRY_NOTICE] = "30-days", [EXPIRY_OVERDUE] = "overdue",
        [EXPIRY_14_DAYS] = "14-days", [EXPIRY_7_DAYS] = "7-days",  [EXPIRY_1_DAY] = "1-day",
        [EXPIRY_OVER] = "over",
    };

    return names[step];
}

static int64_t life_of(const struct expiry_life *life)
{
    return life->not_after > life->not_before ? life->not_after - life->not_before : 0;
}

static int64_t overdue_from(const struct expiry_rule *rule, const struct expiry_life *life)
{
    int64_t grace =
        rule->grace_s > 0 ? rule->grace_s : renewal_grace(life->not_before, life->not_after);

    return renewal_due(life->not_before, life->not_after, life->window_end) + grace;
}

int64_t expiry_step_begins(const struct expiry_rule *rule, const struct expiry_life *life,
                           enum expiry_step step)
{
    int64_t whole = life_of(life);

    switch (step) {
    case EXPIRY_FINE:
        return INT64_MIN;
    case EXPIRY_OVERDUE:
        return rule->manual ? INT64_MAX : overdue_from(rule, life);
    case EXPIRY_NOTICE:
        if (!rule->manual)
            return INT64_MAX;
        break;
    case EXPIRY_14_DAYS:
    case EXPIRY_7_DAYS:
    case EXPIRY_1_DAY:
        break;
    case EXPIRY_OVER:
        return life->not_after;
    }
    int64_t before = step_days[step] * DAY;
    if (whole < LIFE_WHOLE)
        before = before * (whole / HOUR) / (LIFE_WHOLE / HOUR);
    return life->not_after - before;
}

enum expiry_step expiry_step(const struct expiry_rule *rule, const struct expiry_life *life,
                             int64_t now)
{
    for (enum expiry_step step = EXPIRY_OVER; step > EXPIRY_FINE; step--) {
        if (now >= expiry_step_begins(rule, life, step))
            return step;
    }
    return EXPIRY_FINE;
}
