/* A list of Certificate Transparency logs as Google and Apple publish it (JSON, version 3 of its
 * schema): keys, operators and states, of logs of both kinds. */
#pragma once

#include "tls/timestamps.h"

/* Logs whose key cannot be used are left out, and those of the type "test"; none at all is an
 * error. */
MUST_CHECK int log_list_read(struct certificate_logs **ret_logs, const char *path,
                             struct error *error);
/* Of the content of the file `path`. */
MUST_CHECK int log_list_parse(struct certificate_logs **ret_logs, const char *path,
                              const void *data, size_t size, struct error *error);
