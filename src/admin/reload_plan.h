/* What another configuration changes, as JSON lines (doc/control-protocol.md). */
#pragma once

#include <jansson.h>

#include "admin/view.h"

/* An array of objects: what is added, removed and changed, per listener how many sessions stay as
 * they are ("kept"), take up the new settings ("moved") or are to go ("drained"), and which
 * listeners' tickets no longer resume. `next` was merged with view->conf. NULL when out of memory.
 */
json_t *reload_plan(const struct admin_view *view, const struct conf *next);
