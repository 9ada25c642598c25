/* What Prometheus may ask of the watch: a probe of a target, by the names of modules that
 * blackbox_exporter and ssl_exporter have, and the metrics of all that is watched. */
#pragma once

#include <jansson.h>

#include "base/buffer.h"
#include "conf/conf.h"
#include "watch/alerts/alerting.h"
#include "watch/watcher.h"

/* The request to the process that probes (watch/prober_client.h). `module` NULL: what the target
 * says. A target of a section `watch` is judged as it is there (its time-out apart). ERROR_USAGE:
 * malformed; ERROR_NOT_FOUND: not allowed here. */
MUST_CHECK int export_request(json_t **ret_request, const struct conf *conf,
                              const struct watcher *watcher, const char *target, const char *module,
                              struct error *error);

#define EXPORT_MAX (64u << 20) /* bytes; some 2 KiB for a target with two key types */

/* Either may be NULL. */
void export_metrics(struct buffer *output, const struct watcher *watcher,
                    const struct alerting *alerting, const struct conf *conf);
