/* Endpoints as others read them. The JSON form is the one that everything else is made from: the
 * daemon's probing child speaks it to control, the store keeps it, and it is documented in
 * doc/check-json.md. Texts of peers are printable and escaped in it, so that who makes tables,
 * plugin lines and metrics of it has only the quoting of that format to think of.
 *
 * `endpoints` below: a JSON array of such objects, of any number of targets, those of one target in
 * a row. */
#pragma once

#include <stdio.h>
#include <jansson.h>

#include "base/buffer.h"
#include "watch/endpoint.h"

/* One object per endpoint; NULL: out of memory. */
json_t *report_json(const struct endpoint *endpoint);
/* The worst verdict of all, as an exit code of the plugin API: 0 ok, 1 warning, 2 critical,
 * 3 unknown; critical > warning > unknown > ok. No endpoint at all: 3. */
int report_exit_code(const json_t *endpoints);

/* For people. `colour` as table_colour() says. */
void report_table(FILE *stream, const json_t *endpoints, bool colour);
/* One endpoint, message by message; wants the option `trace` of the checker. */
void report_trace(FILE *stream, const json_t *endpoint);

/* The Nagios plugin API: first line, perfdata, long output; returns the exit code. */
struct report_nagios_options {
    bool compatible_ranges;       /* "30;14" as check_ssl_cert writes it, instead of "30:;14:" */
    bool verbose;                 /* long output also of what is well */
    double warning_d, critical_d; /* days, for the ranges of perfdata; 0: none */
    double warning_l, critical_l; /* the same as shares of life */
    size_t unfinished, targets;   /* of so many, of which nothing is known: not among `endpoints` */
};
int report_nagios(FILE *stream, const json_t *endpoints,
                  const struct report_nagios_options *options);

/* Prometheus text in the names of blackbox_exporter and ssl_exporter, and ours. With `targets` each
 * series has a label "target": for more than one. */
void report_prometheus(struct buffer *output, const json_t *endpoints, bool targets);
