/* What the outputs have in common: reading endpoints in their JSON form (doc/check-json.md), and
 * the words for numbers. Objects and texts are borrowed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>

#define REPORT_TEXT_MAX 64

/* 0 ok, 1 warning, 2 critical, 3 unknown; of one endpoint. */
int report_verdict(const json_t *endpoint);
int report_verdict_code(const char *verdict); /* of "ok", …; -1: it is none of them */
const char *report_verdict_word(int code);    /* "ok", … */
/* The worse of two such codes: critical, warning, unknown, ok. */
int report_worse(int a, int b);
const char *report_verdict_name(int code);       /* "OK", "WARNING", "CRITICAL", "UNKNOWN" */
int report_verdict_style(int code);              /* CELL_… of base/table.h */
int report_severity_code(const json_t *finding); /* "info" counts as ok */

/* The first finding of the worst severity; NULL when nothing is worse than "info". */
const json_t *report_worst_finding(const json_t *endpoint);

const json_t *report_leaf(const json_t *endpoint); /* NULL: no certificate was seen */
/* By which people know a certificate: its common name, else its first alternative name, else its
 * subject. */
const char *report_certificate_name(const json_t *certificate);
/* Does its end count? Not of what nobody needs, nor of roots. */
bool report_certificate_counts(const json_t *certificate);
/* The fewest days left among those that count; false: there are none. */
bool report_days_left(const json_t *endpoint, double *ret_days);

/* "41 d", "17 h", "-3 d": rounded down, so that nothing looks better than it is. */
const char *report_days_text(char text[REPORT_TEXT_MAX], double days);
/* The date of an RFC 3339 time, or with the time of the day when it is less than two days from
 * now; "-" for "". */
const char *report_date_text(char text[REPORT_TEXT_MAX], const char *time, double days);

/* A value as it stands in a label of Prometheus' text format, whose escapes it has; control
 * characters have no place there and become '?'. Cut, but never inside an escape. Returns `label`.
 */
const char *report_label(char *label, size_t size, const char *value);

/* How many targets the endpoints are of (those of one target stand in a row). */
size_t report_targets(const json_t *endpoints);
/* Index behind the last endpoint of the target that begins at `begin`. */
size_t report_target_end(const json_t *endpoints, size_t begin);
