/* What an error of somebody's client means: what happened, which certificate is to blame, what to
 * do, and what holdfast check calls it; and back, what each client calls a finding. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <jansson.h>

#define EXPLAIN_CAUSES_MAX 5 /* of one error */

/* What is wrong, known by the id of its finding (doc/checks.md), or of the pre-flight's. */
struct explain_cause {
    const char *id;
    const char *what;  /* what happened */
    const char *which; /* which certificate or party; NULL: goes without saying */
    const char *next;  /* what to do */
};

/* What one client calls it. */
struct explain_error {
    const char *client;                     /* "Chrome", "OpenSSL", … */
    const char *name;                       /* as it is printed, or its part that does not change */
    int code;                               /* -1: none */
    const char *causes[EXPLAIN_CAUSES_MAX]; /* ids, the likeliest first */
};

/* The tables (explain_causes.c, explain_errors.c). */
extern const struct explain_cause explain_causes[];
extern const size_t explain_cause_count;
extern const struct explain_error explain_errors[];
extern const size_t explain_error_count;

const struct explain_cause *explain_cause(const char *id); /* NULL: there is none */

#define EXPLAIN_MATCHES_MAX 16
struct explain_answer {
    const struct explain_error *errors[EXPLAIN_MATCHES_MAX]; /* what was recognised */
    size_t error_count;
    const struct explain_cause *causes[EXPLAIN_MATCHES_MAX]; /* each once */
    size_t cause_count;
};

/* `text`: a finding's id, an error's name, "alert 45", "curl 60", a number alone, or a whole
 * message as somebody has pasted it. False: nothing of it is known. */
bool explain(struct explain_answer *ret_answer, const char *text);
/* The name or id that looks most like it. */
const char *explain_nearest(const char *text);
