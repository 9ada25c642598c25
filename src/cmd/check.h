/* The parts of `holdfast check`. */
#pragma once

#include <getopt.h>
#include <jansson.h>

#include "base/error.h"
#include "watch/campaign.h"
#include "watch/checker.h"
#include "watch/log_list.h"
#include "watch/report.h"

#define CHECK_PASSWORD_SIZE 256

enum check_output {
    CHECK_TABLE,
    CHECK_JSON,
    CHECK_NAGIOS,
    CHECK_PROMETHEUS,
    CHECK_TRACE,
    CHECK_CAMPAIGN,
    CHECK_COMPARE
};

struct check_order {
    struct checker_options checker;
    char name[TARGET_HOST_MAX]; /* of `checker` */
    enum check_output output;
    bool json; /* also of CHECK_CAMPAIGN and CHECK_COMPARE */
    struct campaign campaign;
    const char *campaign_text;
    struct report_nagios_options nagios;
    struct certificate_logs *logs; /* owned; NULL: none given */
    bool no_fetch;
    char *password;            /* of PKCS#12 files; secret memory of CHECK_PASSWORD_SIZE, or NULL */
    uint32_t total_timeout_ms; /* of all together; 0: none */
    bool discovering;          /* what speaks no TLS is left out */
    struct target *targets;    /* each once */
    size_t count, capacity;
};
void check_order_fini(struct check_order *order);

/* check_options.c: the command line. -1: go on; else the exit code with which to end. */
int check_options(struct check_order *order, int argc, char **argv);
/* Says why nothing can be checked, on standard output for a plugin; returns the exit code. */
int check_complain(const struct check_order *order, const struct error *error);

/* check_targets.c: TARGET words and what stands for them. */
struct check_words { /* how targets were named besides */
    const char *service, *from;
    const char *host, *protocol, *file; /* -H, -P, -f of plugins */
    const char *port;                   /* -p */
    const char *discover[16];           /* ranges, "zone:FILE" */
    size_t discover_count;
};
MUST_CHECK int check_targets(struct check_order *order, const struct check_words *words,
                             char **targets, size_t count, struct error *error);

/* check_values.c: values of options. */
MUST_CHECK int check_threshold(struct threshold *ret_threshold, const char *text,
                               struct error *error);
/* RFC 3339, a date, or "+30d" from `now`. */
MUST_CHECK int check_moment(int64_t *ret_unix_s, const char *text, int64_t now,
                            struct error *error);
/* "192.0.2.1", "192.0.2.1:8443", "2001:db8::1", "[2001:db8::1]:8443". */
MUST_CHECK int check_address(struct address *ret_address, const char *text, struct error *error);

/* check_run.c: checks them all; what was found as one array, in the order of the targets. With
 * CHECK_JSON each is printed as soon as it is known instead, and the array holds nothing.
 * `ret_code`: the worst verdict; `ret_unfinished`: targets that a signal or the time cut off. */
struct check_outcome {
    json_t *endpoints;
    int code;
    size_t unfinished;
    bool interrupted; /* by a signal, not by the time */
};
MUST_CHECK int check_run(const struct check_order *order, struct check_outcome *ret_outcome,
                         struct error *error);

/* check_fleet.c: prints, and returns the exit code: 0 none has it, or all are alike; 1; 3: nothing
 * was seen of some. */
int check_campaign(const struct check_order *order, const json_t *endpoints);
int check_compare(const struct check_order *order, const json_t *endpoints);
