/* What the tests of alerts share: alerts whose notices are counted, a clock of their own, and
 * results of checks. */
#pragma once

#include "base/json.h"
#include "watch/alerts/alerts.h"
#include "watch/alerts/silence.h"

#define MINUTE INT64_C(60)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define START  (20000 * DAY)

struct world {
    struct alerts alerts;
    unsigned notices[NOTICE_RECOVERED + 1];
    bool silent;
    struct silence silence; /* none when it has no end */
    unsigned kept, forgotten;
    char last[400]; /* text of the last alert that was told of */
    int64_t now;
};

/* Without alerts, at START; ends with alerts_fini(). */
void world_begin(struct world *world);

/* ---- results: JSON that the caller owns ---- */

json_t *endpoint(const char *address, const char *outcome);
void add_finding(json_t *object, const char *id, const char *severity, const char *certificate,
                 bool hard);
void add_certificate(json_t *object, const char *sha256, int64_t not_before, int64_t not_after);

/* Endpoints at 192.0.2.1:443. */
json_t *healthy(void);
json_t *refused(void);
json_t *revoked(void);

/* One result of up to two endpoints, which are taken over (NULL: none). */
void world_results(struct world *world, const char *target, json_t *first, json_t *second);
void world_result(struct world *world, const char *target, json_t *object);
