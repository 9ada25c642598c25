/* holdfast config history|rollback|confirm: what the running daemon has accepted. */
#pragma once

#include "admin/control_client.h"

bool config_history_knows(const char *word);
/* arguments[0] is the word. Returns the exit code. */
int config_history(int count, char **arguments, const struct client_options *options);
