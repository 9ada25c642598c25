/* An upstream server as a table row; `status` and `upstream` show the same. */
#pragma once

#include <jansson.h>

#include "base/table.h"

extern const char *const server_headings[];
void server_row(struct table *table, const json_t *server);
