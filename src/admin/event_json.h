/* One event as a JSON object: names instead of indices, only what the event has. See
 * doc/control-protocol.md for the fields. */
#pragma once

#include <jansson.h>

#include "conf/conf.h"
#include "session/event.h"

/* A new reference, or NULL when out of memory. `event` need not be trusted: a worker wrote it.
 * Indices keep their meaning from one configuration to the next (conf/merge.h). */
json_t *event_to_json(const struct event *event, const struct conf *conf);

/* Session `id` as people see it: "RELAY-SERIAL"; at least 32 bytes. Returns `text`. */
#define SESSION_ID_TEXT_MAX 32
char *session_id_text(char text[SESSION_ID_TEXT_MAX], unsigned relay, uint64_t serial);
