/* The lines of a reload's answer (doc/control-protocol.md) for people. */
#pragma once

#include "admin/control_client.h"

/* A client_line_fn; needs no context. Findings and warnings go to standard error. */
void reload_print_line(void *context, json_t *line);
