/* A stretch of time that comes again every day or week, or once: "sun 02:00-04:00", "daily
 * 23:30-00:30" (UTC, over midnight if need be), "2026-12-01T02:00Z/2026-12-01T04:00Z". */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

struct conf_window {
    bool weekly;     /* else once */
    uint8_t days;    /* bit 0 = Sunday */
    uint32_t from_s; /* since midnight UTC */
    uint32_t length_s;
    int64_t from, until; /* Unix seconds, of one that happens once */
};

#define CONF_WINDOW_EXPECTED                                                                       \
    "\"sun 02:00-04:00\", \"daily 23:30-00:30\" or \"2026-12-01T02:00Z/2026-12-01T04:00Z\", in "   \
    "UTC"

/* False: it is none. */
MUST_CHECK bool conf_window_parse(struct conf_window *ret_window, const char *text);
bool conf_window_covers(const struct conf_window *window, int64_t now);
