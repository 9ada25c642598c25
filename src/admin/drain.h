/* Drains as control sees them: beginning and cancelling them on the board, telling the workers, and
 * who is left. */
#pragma once

#include <jansson.h>

#include "admin/view.h"

/* Who is left of a drain: of one listener, or of the house (CONF_NONE). */
struct drain_rest {
    uint64_t sessions, handshakes;
};
struct drain_rest drain_rest(const struct admin_view *view, uint32_t listener);

/* The place of a listener's drain on the board, or of the house's (CONF_NONE). */
struct board_drain *drain_place(const struct admin_view *view, uint32_t listener);
/* Is the listener drained, by itself or with the house? */
bool drain_of_listener(const struct admin_view *view, uint32_t listener);
/* The house is drained, or the daemon stops: health says 503. */
bool drain_of_house(const struct admin_view *view);

/* {"drain": "house" | "listener", "listener", "state", "accepting", "sessions", "handshakes",
 * "deadline", …}; for the house with a list of its listeners. `wall_s`: Unix seconds at `now_ns`.
 */
json_t *drain_to_json(const struct admin_view *view, uint32_t listener, uint64_t now_ns,
                      int64_t wall_s);
