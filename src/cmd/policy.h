/* The parts of `holdfast policy`. */
#pragma once

#include "admin/control_client.h"
#include "conf/conf.h"

/* What there is to speak of: a configuration and what history the daemon has. */
struct policy_source {
    struct conf *conf;
    json_t *facts; /* of the daemon; NULL: it was not asked */
};

/* policy_source.c: of the running daemon. */
MUST_CHECK int policy_source_running(struct policy_source *ret_source,
                                     const struct client_options *options, struct error *error);
/* Of a file; the path of the default one when `path` is NULL. */
MUST_CHECK int policy_source_file(struct policy_source *ret_source, const char *path,
                                  struct error *error);
/* The newest configuration that was in force, from the history in the state folder of `conf`.
 * False: there is none, or we may not read it. */
MUST_CHECK bool policy_source_history(struct policy_source *ret_source, const struct conf *conf);
void policy_source_fini(struct policy_source *source); /* accepts zeroed */

/* policy_lint.c: arguments with "lint" first. */
int policy_lint(int argc, char **argv);
