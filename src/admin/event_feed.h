/* From the event rings of all processes to the log and to whoever traces. */
#pragma once

#include <jansson.h>

#include "admin/log.h"
#include "admin/view.h"

/* Gets every event with its JSON form (a borrowed reference), those that the log leaves out as
 * well. */
typedef void event_listener_fn(void *context, const struct event *event, json_t *object);

struct event_feed {
    const struct admin_view *view;
    void *events;
    uint32_t config; /* generation in force */
    struct log *log;
    uint64_t done_seen;          /* completed handshakes, for `log-handshakes = sample` */
    uint64_t authenticated_seen; /* clients that have shown who they are after their handshake */
    event_listener_fn *listener; /* NULL while nobody traces */
    void *listener_context;
};

/* Takes what the rings hold, at most `maximum` events; true when there may be more. */
bool event_feed_drain(struct event_feed *feed, size_t maximum);

/* Does the configured policy want this event in the log? Counts completed handshakes for sampling.
 */
bool event_feed_logs(struct event_feed *feed, const struct event *event);
