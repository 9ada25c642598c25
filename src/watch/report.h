/* Endpoints as others read them. The JSON form is the one that everything else is made from: the
 * daemon's probing child speaks it to control, the store keeps it, and it is documented in
 * doc/check-json.md. Texts of peers are printable and escaped. */
#pragma once

#include <stdio.h>
#include <jansson.h>

#include "base/buffer.h"
#include "watch/endpoint.h"

/* One object per endpoint; NULL: out of memory. */
json_t *report_json(const struct endpoint *endpoint);

/* For people. `colour` as table_colour() says. */
void report_table(FILE *stream, struct endpoint *const *endpoints, size_t count, bool colour);
void report_trace(FILE *stream, const struct endpoint *endpoint);

/* The Nagios plugin API: first line, perfdata, long output; returns the exit code. */
struct report_nagios_options {
    bool compatible_ranges; /* "30;14" as check_ssl_cert writes it, instead of "30:;14:" */
};
int report_nagios(FILE *stream, struct endpoint *const *endpoints, size_t count,
                  const struct report_nagios_options *options);

/* Prometheus text in the names of blackbox_exporter and ssl_exporter, and ours. `all`: with the
 * labels of several targets. */
void report_prometheus(struct buffer *output, struct endpoint *const *endpoints, size_t count);
