#include "watch/export.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/string.h"
#include "watch/prober_process.h"
#include "watch/report_words.h"
#include "watch/target.h"

/* ---- modules ---- */

static const struct module {
    const char *name, *scheme; /* scheme "" : TLS at once */
} modules[] = {
    {"tcp", ""},          {"tcp_connect", ""}, {"tcp_connect_tls", ""}, {"tcp_tls", ""},
    {"tls", ""},          {"tls_connect", ""}, {"https", "https://"},   {"http_2xx", "https://"},
    {"http", "https://"}, {"file", "file:"},
};

#define STARTTLS_SUFFIX "_starttls"

/* "smtp_starttls", "tcp_smtp_starttls": blackbox_exporter's and ssl_exporter's ways of saying it.
 */
static bool starttls_scheme(char *scheme, size_t size, const char *module)
{
    if (string_starts_with(module, "tcp_"))
        module += 4;
    if (!string_ends_with(module, STARTTLS_SUFFIX))
        return false;
    int length = (int)(strlen(module) - strlen(STARTTLS_SUFFIX));
    for (unsigned i = TARGET_TLS + 1; i < TARGET_PROTOCOL_COUNT; i++) {
        const char *name = target_protocol_name((enum target_protocol)i);
        if ((int)strlen(name) == length && strncmp(name, module, (size_t)length) == 0) {
            ignore(snprintf(scheme, size, "%.*s+starttls://", length, module));
            return true;
        }
    }
    return false;
}

static int module_scheme(char *scheme, size_t size, const char *module, struct error *error)
{
    char shown[96];

    for (size_t i = 0; i < ARRAY_SIZE(modules); i++) {
        if (strcmp(modules[i].name, module) == 0) {
            ignore(string_copy(scheme, size, modules[i].scheme));
            return 0;
        }
    }
    if (starttls_scheme(scheme, size, module))
        return 0;
    return error_set(error, ERROR_USAGE,
                     "module: found '%s'; expected tcp, https, file, smtp_starttls, "
                     "imap_starttls and their like",
                     string_printable(shown, sizeof shown, module, strlen(module)));
}

/* ---- what may be asked for ---- */

static bool pattern_matches(const char *pattern, const struct target *target)
{
    char with_port[TARGET_HOST_MAX + 8];
    const char *host = target->host;

    if (pattern[0] == '*') { /* "*.shop.example": any host below */
        pattern++;
        const char *end = strchr(pattern, ':');
        size_t size = end == NULL ? strlen(pattern) : (size_t)(end - pattern);
        size_t length = strlen(host);
        if (length <= size || strncmp(host + length - size, pattern, size) != 0)
            return false;
        return end == NULL || (unsigned)strtoul(end + 1, NULL, 10) == target->port;
    }
    ignore(snprintf(with_port, sizeof with_port,
                    target->is_address && strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host,
                    target->port));
    return strcmp(pattern, host) == 0 || strcmp(pattern, with_port) == 0;
}

static bool allowed(const struct conf *conf, const struct target *target)
{
    const struct conf_text_list *list = &conf->exporter.targets;

    for (size_t i = 0; target->kind == TARGET_ENDPOINT && i < list->count; i++) {
        if (pattern_matches(list->items[i], target))
            return true;
    }
    return false;
}

/* What is watched is judged here as it is there. */
static json_t *request_of(const struct conf *conf, const struct conf_watch *watch,
                          const struct target *target)
{
    json_t *request = watch != NULL ? prober_request(watch, target->text, false)
                                    : json_pack("{s:s, s:{}}", "target", target->text, "options");

    json_set_number(json_object_get(request, "options"), "timeout_ms", conf->exporter.timeout);
    return request;
}

int export_request(json_t **ret_request, const struct conf *conf, const struct watcher *watcher,
                   const char *text, const char *module, struct error *error)
{
    char scheme[48] = "", whole[TARGET_TEXT_MAX + sizeof scheme];
    struct target target;

    if (text == NULL || text[0] == '\0')
        return error_set(error, ERROR_USAGE,
                         "target: found none; expected /probe?target=shop.example:443");
    if (module != NULL && module_scheme(scheme, sizeof scheme, module, error) < 0)
        return -(int)error->code;
    bool has_scheme = strstr(text, "://") != NULL || string_starts_with(text, "file:");
    if (snprintf(whole, sizeof whole, "%s%s", has_scheme ? "" : scheme, text) >= (int)sizeof whole)
        return error_set(error, ERROR_USAGE, "target: found more than %d characters",
                         TARGET_TEXT_MAX);
    if (target_parse(&target, whole, error) < 0)
        return -(int)error->code;
    const struct conf_watch *watch = watcher != NULL ? watcher_find(watcher, target.text) : NULL;
    if (watch == NULL && !allowed(conf, &target))
        return error_set(error, ERROR_NOT_FOUND,
                         "this target may not be probed from here; add it to targets in the "
                         "section exporter, or watch it");
    *ret_request = request_of(conf, watch, &target);
    return *ret_request != NULL ? 0 : error_set(error, ERROR_MEMORY, "out of memory");
}

/* ---- metrics ---- */

/* Without formatting: it is most of what ten thousand targets cost. */
static void write_label(struct buffer *output, const char *name, const char *value, bool first)
{
    char escaped[2 * TARGET_TEXT_MAX];

    buffer_append_text(output, first ? "" : ",");
    buffer_append_text(output, name);
    buffer_append_text(output, "=\"");
    buffer_append_text(output, report_label(escaped, sizeof escaped, value));
    buffer_append_text(output, "\"");
}

static void write_labels(struct buffer *output, const struct watcher_place *place)
{
    buffer_append_text(output, "{");
    write_label(output, "watch", place->watch, true);
    write_label(output, "target", place->target, false);
    write_label(output, "address", place->address, false);
    write_label(output, "key_type", place->key_type, false);
    write_label(output, "vantage", place->vantage, false);
    buffer_append_text(output, "}");
}

enum place_metric {
    PLACE_SUCCESS,
    PLACE_EXPIRY,
    PLACE_VERDICT,
    PLACE_NOT_AFTER,
    PLACE_BREAKS,
    PLACE_CHECKED,
    PLACE_METRICS
};

static const struct {
    const char *name, *help;
} place_metrics[PLACE_METRICS] = {
    [PLACE_SUCCESS] = {"probe_success", "The endpoint is as the strictest client wants it"},
    [PLACE_EXPIRY] = {"probe_ssl_earliest_cert_expiry", "End of the certificate that is served"},
    [PLACE_VERDICT] = {"holdfast_endpoint_verdict", "0 ok, 1 warning, 2 critical, 3 unknown"},
    [PLACE_NOT_AFTER] = {"holdfast_endpoint_cert_not_after_timestamp_seconds", "End of the leaf"},
    [PLACE_BREAKS] = {"holdfast_endpoint_chain_breaks_timestamp_seconds",
                      "When no path to a trusted root will be left"},
    [PLACE_CHECKED] = {"holdfast_endpoint_last_check_timestamp_seconds", "The last check"},
};

/* False: this endpoint has no such value. */
static bool place_value(const struct watcher_place *place, enum place_metric metric,
                        int64_t *ret_value)
{
    int code = report_verdict_code(place->verdict), verdict = code >= 0 ? code : 3;

    switch (metric) {
    case PLACE_SUCCESS:
        *ret_value = verdict == 0 || verdict == 1;
        return true;
    case PLACE_VERDICT:
        *ret_value = verdict;
        return true;
    case PLACE_EXPIRY:
    case PLACE_NOT_AFTER:
        *ret_value = place->not_after;
        break;
    case PLACE_BREAKS:
        *ret_value = place->breaks_at;
        break;
    case PLACE_CHECKED:
        *ret_value = place->checked_at;
        break;
    case PLACE_METRICS:
        break;
    }
    return *ret_value != 0;
}

static void write_place_metric(struct buffer *output, const struct watcher *watcher,
                               enum place_metric metric)
{
    struct watcher_cursor cursor = {0};
    struct watcher_place place;
    int64_t value = 0;

    buffer_printf(output, "# HELP %s %s\n# TYPE %s gauge\n", place_metrics[metric].name,
                  place_metrics[metric].help, place_metrics[metric].name);
    while (watcher_next(watcher, &cursor, &place)) {
        if (strcmp(place.verdict, "pending") == 0 || !place_value(&place, metric, &value))
            continue;
        buffer_append_text(output, place_metrics[metric].name);
        write_labels(output, &place);
        buffer_printf(output, " %lld\n", (long long)value);
    }
}

static void write_number(struct buffer *output, const char *name, const char *type,
                         const char *help, uint64_t value)
{
    buffer_printf(output, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, type, name,
                  (unsigned long long)value);
}

static void write_watch(struct buffer *output, const struct watcher *watcher)
{
    struct watcher_state state;

    watcher_state(watcher, &state);
    write_number(output, "holdfast_watch_targets", "gauge", "Targets that are watched",
                 state.targets);
    write_number(output, "holdfast_watch_pending", "gauge", "Targets not checked yet",
                 state.pending);
    write_number(output, "holdfast_watch_checks_total", "counter", "Checks of targets",
                 state.checks);
    write_number(output, "holdfast_watch_prober_starts_total", "counter",
                 "Starts of the process that probes", state.prober.starts);
    write_number(output, "holdfast_watch_store_failing", "gauge",
                 "Results cannot be remembered just now", state.store.troubled);
    write_number(output, "holdfast_watch_store_dropped_total", "counter",
                 "Results that were lost because they could not be remembered",
                 state.store.dropped);
}

static void write_alerts(struct buffer *output, const struct alerting *alerting,
                         const struct conf *conf)
{
    static const char last[] = "holdfast_channel_last_delivery_timestamp_seconds";
    struct alerting_counts counts;

    alerting_counts(alerting, &counts);
    write_number(output, "holdfast_alerts_open", "gauge", "Open alerts", counts.open);
    write_number(output, "holdfast_alerts_critical", "gauge", "Of these, critical ones",
                 counts.critical);
    write_number(output, "holdfast_deliveries_waiting", "gauge", "Messages not delivered yet",
                 counts.waiting);
    buffer_printf(output, "# HELP %s When a message really was delivered, last\n# TYPE %s gauge\n",
                  last, last);
    for (size_t i = 0; i < conf->channel_count; i++) {
        const char *name = conf->channels[i].name;
        int64_t at = deliveries_last(alerting_deliveries(alerting), name);
        if (at != 0)
            buffer_printf(output, "%s{channel=\"%s\"} %lld\n", last, name, (long long)at);
    }
}

void export_metrics(struct buffer *output, const struct watcher *watcher,
                    const struct alerting *alerting, const struct conf *conf)
{
    for (int metric = 0; watcher != NULL && metric < PLACE_METRICS; metric++)
        write_place_metric(output, watcher, (enum place_metric)metric);
    if (watcher != NULL)
        write_watch(output, watcher);
    if (alerting != NULL)
        write_alerts(output, alerting, conf);
}
