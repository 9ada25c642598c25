/* Where the sending keys of the running sessions stand: one pass over the slots, an entry for each
 * version and suite, with the session whose key is nearest to the limits of its listener. */
#pragma once

#include <jansson.h>

#include "admin/view.h"
#include "tls/governor.h"

#define KEY_USAGE_SUITES 32

struct key_usage_entry {
    uint16_t version, suite;
    uint64_t sessions;
    uint64_t session; /* SESSION_ID of the nearest one; what follows is about its key */
    struct key_usage usage;
    double used; /* share of the hard limit; negative: there is none */
    enum key_cause limit;
};

struct key_usage_survey {
    uint32_t listener; /* CONF_NONE: all */
    unsigned relay;    /* where the pass goes on */
    uint32_t slot;
    struct key_usage_entry entries[KEY_USAGE_SUITES];
    size_t count;
};

/* Looks at up to `maximum` slots more; true at the end. */
bool key_usage_survey(const struct admin_view *view, struct key_usage_survey *survey,
                      size_t maximum);

json_t *key_usage_to_json(const struct admin_view *view, const struct key_usage_survey *survey,
                          const struct key_usage_entry *entry, uint64_t now_ns);
