/* Which alerts have a place at a target: a result concerns these and no others, however many are
 * open. */
#pragma once

#include "base/map.h"
#include "watch/alerts/alert.h"

struct alert_list {
    struct watch_alert **items;
    size_t count, capacity;
};

struct alert_index {
    struct map by_target; /* struct alert_list, never empty */
};

void alert_index_init(struct alert_index *index);
void alert_index_fini(struct alert_index *index);

/* Is known once, however often it is added. False: out of memory. */
MUST_CHECK bool alert_index_add(struct alert_index *index, const char *target,
                                struct watch_alert *alert);
void alert_index_remove(struct alert_index *index, const char *target,
                        const struct watch_alert *alert);
/* NULL: none. Valid until one is added or removed. */
const struct alert_list *alert_index_get(const struct alert_index *index, const char *target);
