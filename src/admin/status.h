/* The daemon's state as JSON objects for `status` and `upstream`. */
#pragma once

#include <jansson.h>

#include "admin/view.h"

/* Everything in one object; `config_path` as the daemon was started with. */
json_t *status_to_json(const struct admin_view *view, const char *config_path, uint64_t now_ns);

/* One upstream server. */
json_t *status_server_to_json(const struct admin_view *view, uint32_t upstream, uint32_t server);

const char *server_admin_name(uint32_t admin);
