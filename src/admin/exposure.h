/* Who could read what: for every kind of secret in which processes it is, where it lies on disk,
 * until when recorded traffic can be decrypted with it, and what is left of it after a stop. Worked
 * out from the configuration in force, the board, the slots and the ring of ticket keys. */
#pragma once

#include "admin/key_usage.h"
#include "admin/view.h"

/* A JSON array with an object for each secret: `secret`, `name` (if there are several of the kind),
 * `processes` ([{kind, pids}]), `disk` ([{path, encrypted}]), `decrypts`, `until` (left out: see
 * `decrypts`), `after_stop`. `sessions` is a survey of all listeners that came to its end. */
json_t *exposure_to_json(const struct admin_view *view, const struct key_usage_survey *sessions);
