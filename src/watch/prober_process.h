/* The process that probes: `holdfast worker prober`, a child of control. It alone reads what
 * strangers send to the watch, and holds nothing worth stealing: no key, no configuration, no
 * descriptor but the socket to control; files it may open for reading only (seccomp). The dialogue:
 * watch/prober_client.h. */
#pragma once

#include <jansson.h>

#include "conf/conf.h"
#include "watch/checker.h"

int prober_main(int fd);

/* ---- options of a request, written and read in one place ---- */

/* How a target of this section is looked at: from outside, or, with `origin`, at the addresses
 * behind the edge. NULL: out of memory. */
json_t *prober_request(const struct conf_watch *watch, const char *target, bool origin);

/* The options in one piece of memory, to be freed with prober_options_free(). */
struct prober_options {
    struct checker_options checker;
    json_t *source; /* owns the texts */
};
MUST_CHECK int prober_options_read(struct prober_options *ret_options, json_t *options,
                                   struct error *error);
void prober_options_free(struct prober_options *options);
