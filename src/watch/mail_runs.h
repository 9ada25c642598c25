/* mx:// targets: each is looked up, its hosts are checked as targets of their own, and all their
 * endpoints come back together, with what MTA-STS and DANE say about them. */
#pragma once

#include "watch/checker.h"

struct mail_run;

struct mail_runs {
    struct checker *checker; /* checks the hosts */
    struct http_client *http;
    struct mail_run *first;
    size_t count;
};

/* As checker_add(), with options that stay. */
MUST_CHECK bool mail_runs_add(struct mail_runs *runs, const struct target *target,
                              const struct checker_options *options, checker_done_fn *done,
                              void *context);
void mail_runs_fini(struct mail_runs *runs); /* nobody is called back; accepts zeroed */
