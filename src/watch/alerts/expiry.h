/* How near its end a certificate is, in the steps at which people are told.
 *
 * Lives have become short and unlike: steps in days hold for lives of 90 days and more, and shrink
 * with shorter ones. Where renewal is automatic, the first step is the missed renewal
 * (watch/renewal.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum expiry_step {
    EXPIRY_FINE,
    EXPIRY_NOTICE,  /* renewal = manual: 30 days */
    EXPIRY_OVERDUE, /* renewal = auto: it should have been renewed */
    EXPIRY_14_DAYS,
    EXPIRY_7_DAYS,
    EXPIRY_1_DAY,
    EXPIRY_OVER
};
const char *expiry_step_name(enum expiry_step step); /* "fine", "overdue", "14-days", … stable */

struct expiry_rule {
    bool manual;     /* renewal = manual */
    int64_t grace_s; /* 0: renewal_grace() */
};
struct expiry_life { /* Unix seconds */
    int64_t not_before, not_after;
    int64_t window_end; /* of the suggested renewal window; 0: none is known */
};

enum expiry_step expiry_step(const struct expiry_rule *rule, const struct expiry_life *life,
                             int64_t now);
/* When a step begins. INT64_MAX: never by this rule. */
int64_t expiry_step_begins(const struct expiry_rule *rule, const struct expiry_life *life,
                           enum expiry_step step);
