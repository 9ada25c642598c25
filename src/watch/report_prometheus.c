/* Metrics of endpoints, so that dashboards and alert rules made for blackbox_exporter and
 * ssl_exporter go on working, and more exact ones of our own.
 *
 * What is better than there, on purpose: series of certificates also when they are not trusted; no
 * OCSP series without a staple and no chain series without a chain, instead of zeros that mean
 * "good" or the year 1; no two series with the same labels, whatever a server sends. */
#include <arpa/inet.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/map.h"
#include "watch/report.h"
#include "watch/report_words.h"

#define METRIC_MAX (64u << 20) /* bytes of one metric */
#define LABELS_MAX 16384
#define NAMES_MAX  100 /* of a certificate, in a label */

/* X(symbol, name, help) */
#define METRIC_LIST(X)                                                                             \
    X(SUCCESS, "probe_success", "Whether every endpoint is as a strict client wants it")           \
    X(DURATION, "probe_duration_seconds", "How long the slowest endpoint took")                    \
    X(LOOKUP, "probe_dns_lookup_time_seconds", "How long resolving took")                          \
    X(IP_PROTOCOL, "probe_ip_protocol", "4 or 6, of the first address")                            \
    X(IP_HASH, "probe_ip_addr_hash", "Hash of the first address")                                  \
    X(EARLIEST, "probe_ssl_earliest_cert_expiry",                                                  \
      "The first end of any certificate that is served, as a Unix time")                           \
    X(LAST_CHAIN, "probe_ssl_last_chain_expiry_timestamp_seconds",                                 \
      "When the path that holds the longest ends, as a Unix time")                                 \
    X(LAST_CHAIN_INFO, "probe_ssl_last_chain_info", "The leaf")                                    \
    X(TLS_VERSION, "probe_tls_version_info", "The version that was negotiated")                    \
    X(TLS_CIPHER, "probe_tls_cipher_info", "The suite that was negotiated")                        \
    X(HTTP_STATUS, "probe_http_status_code", "Status of the HTTP answer")                          \
    X(HTTP_SSL, "probe_http_ssl", "Whether TLS was spoken")                                        \
    X(HTTP_DURATION, "probe_http_duration_seconds", "How long each phase took")                    \
    X(SSL_SUCCESS, "ssl_probe_success", "As probe_success")                                        \
    X(SSL_PROBER, "ssl_prober", "What was probed")                                                 \
    X(SSL_NOT_AFTER, "ssl_cert_not_after", "End of a certificate that is served, as a Unix time")  \
    X(SSL_NOT_BEFORE, "ssl_cert_not_before",                                                       \
      "Begin of a certificate that is served, as a Unix time")                                     \
    X(SSL_VERIFIED_AFTER, "ssl_verified_cert_not_after",                                           \
      "End of a certificate of the path that holds the longest, as a Unix time")                   \
    X(SSL_VERIFIED_BEFORE, "ssl_verified_cert_not_before", "The begin of the same")                \
    X(SSL_FILE_AFTER, "ssl_file_cert_not_after", "End of a certificate in a file")                 \
    X(SSL_FILE_BEFORE, "ssl_file_cert_not_before", "Begin of a certificate in a file")             \
    X(SSL_VERSION, "ssl_tls_version_info", "The version that was negotiated")                      \
    X(OCSP_STAPLED, "ssl_ocsp_response_stapled", "Whether an OCSP response was stapled")           \
    X(OCSP_STATUS, "ssl_ocsp_response_status", "0 good, 1 revoked, 2 unknown")                     \
    X(OCSP_PRODUCED, "ssl_ocsp_response_produced_at", "As a Unix time")                            \
    X(OCSP_THIS, "ssl_ocsp_response_this_update", "As a Unix time")                                \
    X(OCSP_NEXT, "ssl_ocsp_response_next_update", "As a Unix time")                                \
    X(OCSP_REVOKED, "ssl_ocsp_response_revoked_at", "As a Unix time")                              \
    X(CERT_END, "holdfast_endpoint_cert_not_after_timestamp_seconds",                              \
      "End of a certificate, by endpoint and place in the chain")                                  \
    X(BREAKS, "holdfast_endpoint_chain_breaks_timestamp_seconds",                                  \
      "From when on no path to this store is left")                                                \
    X(ARI_END, "holdfast_endpoint_ari_window_end_timestamp_seconds",                               \
      "End of the window in which the CA suggests to renew")                                       \
    X(VERDICT, "holdfast_endpoint_verdict", "0 ok, 1 warning, 2 critical, 3 unknown")              \
    X(FINDING, "holdfast_endpoint_finding_info", "A finding that is not only information")         \
    X(HANDSHAKE, "holdfast_endpoint_handshake_seconds", "How long the handshake took")             \
    X(LAST_CHECK, "holdfast_endpoint_last_check_timestamp_seconds", "When it was checked")

enum metric {
#define X(symbol, name, help) METRIC_##symbol,
    METRIC_LIST(X)
#undef X
        METRIC_COUNT
};

static const struct {
    const char *name, *help;
} metrics[METRIC_COUNT] = {
#define X(symbol, name, help) [METRIC_##symbol] = {name, help},
    METRIC_LIST(X)
#undef X
};

/* Series are collected by metric, because those of one must stand together. */
struct exposition {
    struct buffer samples[METRIC_COUNT];
    struct map known; /* name and labels of each series */
    bool targets;
};

struct labels {
    char text[LABELS_MAX];
    size_t size;
};

/* ---- labels and samples ---- */

static void label(struct labels *labels, const char *name, const char *value)
{
    char *at = labels->text + labels->size;
    size_t room = sizeof labels->text - labels->size, length = strlen(name) + 5;

    if (length + 2 * strlen(value) > room)
        value = ""; /* absent, rather than half of it */
    if (length > room)
        return;
    labels->size += (size_t)snprintf(at, room, "%s%s=\"", labels->size > 0 ? "," : "", name);
    at = labels->text + labels->size;
    labels->size += strlen(report_label(at, sizeof labels->text - labels->size - 2, value));
    strcpy(labels->text + labels->size++, "\"");
}

/* Begins a set of labels: with the target where there are several. */
static void begin(const struct exposition *exposition, struct labels *labels,
                  const json_t *endpoint)
{
    labels->size = 0;
    labels->text[0] = '\0';
    if (exposition->targets)
        label(labels, "target", json_text(endpoint, "target"));
}

static void sample(struct exposition *exposition, enum metric metric, const struct labels *labels,
                   double value)
{
    static char present;
    struct buffer *output = &exposition->samples[metric];
    char key[LABELS_MAX + 80];

    ignore(snprintf(key, sizeof key, "%s{%s}", metrics[metric].name, labels->text));
    if (isnan(value) || map_get(&exposition->known, key) != NULL ||
        !map_put(&exposition->known, key, &present))
        return;
    buffer_append_text(output, metrics[metric].name);
    if (labels->text[0] != '\0')
        buffer_printf(output, "{%s}", labels->text);
    buffer_printf(output, " %.15g\n", value);
}

static double time_or_nan(const json_t *object, const char *key)
{
    int64_t moment = json_get_time(object, key);

    return moment != 0 ? (double)moment : NAN;
}

/* ---- of a target as a whole: what blackbox_exporter says ---- */

static double seconds_of(const json_t *endpoint)
{
    static const char *const parts[] = {"resolve_s", "connect_s", "starttls_s", "handshake_s",
                                        "http_s"};
    const json_t *times = json_object_get(endpoint, "times");
    double sum = 0;

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        sum += json_real_or(times, parts[i], 0);
    return sum;
}

/* FNV-1a of 32 bits over the text of the address. */
static uint32_t address_hash(const char *address, size_t size)
{
    uint32_t hash = 0x811c9dc5;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (uint8_t)address[i]) * 0x01000193;
    return hash;
}

static void put_address(struct exposition *exposition, const struct labels *labels,
                        const json_t *endpoint)
{
    const char *address = json_text(endpoint, "address"), *port = strrchr(address, ':');
    bool brackets = address[0] == '[';

    if (port == NULL || strcmp(json_text(endpoint, "kind"), "file") == 0)
        return;
    sample(exposition, METRIC_IP_PROTOCOL, labels, brackets ? 6 : 4);
    sample(exposition, METRIC_IP_HASH, labels,
           address_hash(address + brackets, (size_t)(port - address) - 2 * brackets));
}

/* The first end among all certificates that the endpoints serve. */
static double earliest_end(const json_t *endpoints, size_t begin_index, size_t end)
{
    double earliest = NAN;

    for (size_t i = begin_index; i < end; i++) {
        const json_t *list = json_object_get(json_array_get(endpoints, i), "certificates");
        for (size_t k = 0; k < json_array_size(list); k++)
            earliest = fmin(earliest, time_or_nan(json_array_get(list, k), "not_after"));
    }
    return earliest;
}

/* Of the first store's best paths the one that ends first. */
static double chain_end(const json_t *endpoints, size_t begin_index, size_t end)
{
    double earliest = NAN;

    for (size_t i = begin_index; i < end; i++) {
        const json_t *trust = json_object_get(json_array_get(endpoints, i), "trust");
        earliest = fmin(earliest, time_or_nan(json_array_get(trust, 0), "not_after"));
    }
    return earliest;
}

static void put_target(struct exposition *exposition, const json_t *endpoints, size_t first,
                       size_t end)
{
    const json_t *endpoint = json_array_get(endpoints, first);
    const char *protocol = json_text(endpoint, "protocol");
    bool file = strcmp(json_text(endpoint, "kind"), "file") == 0;
    bool success = true;
    double slowest = 0;
    struct labels labels;

    for (size_t i = first; i < end; i++) {
        success = success && report_verdict(json_array_get(endpoints, i)) < 2;
        slowest = fmax(slowest, seconds_of(json_array_get(endpoints, i)));
    }
    begin(exposition, &labels, endpoint);
    sample(exposition, METRIC_SUCCESS, &labels, success);
    sample(exposition, METRIC_SSL_SUCCESS, &labels, success);
    sample(exposition, METRIC_DURATION, &labels, slowest);
    sample(exposition, METRIC_LOOKUP, &labels,
           file ? NAN : json_real_or(json_object_get(endpoint, "times"), "resolve_s", 0));
    put_address(exposition, &labels, endpoint);
    sample(exposition, METRIC_EARLIEST, &labels, earliest_end(endpoints, first, end));
    sample(exposition, METRIC_LAST_CHAIN, &labels, chain_end(endpoints, first, end));
    bool https = json_object_get(endpoint, "http") != NULL;
    label(&labels, "prober", file ? "file" : https ? "https" : protocol[0] != '\0' ? "tcp" : "");
    sample(exposition, METRIC_SSL_PROBER, &labels, 1);
}

static void put_http(struct exposition *exposition, const json_t *endpoint)
{
    static const char *const phases[][2] = {{"resolve", "resolve_s"},
                                            {"connect", "connect_s"},
                                            {"tls", "handshake_s"},
                                            {"processing", "http_s"}};
    const json_t *http = json_object_get(endpoint, "http");
    struct labels labels;

    if (http == NULL)
        return;
    begin(exposition, &labels, endpoint);
    sample(exposition, METRIC_HTTP_STATUS, &labels, json_real_or(http, "status", 0));
    sample(exposition, METRIC_HTTP_SSL, &labels, 1);
    for (size_t i = 0; i < ARRAY_SIZE(phases); i++) {
        begin(exposition, &labels, endpoint);
        label(&labels, "phase", phases[i][0]);
        sample(exposition, METRIC_HTTP_DURATION, &labels,
               json_real_or(json_object_get(endpoint, "times"), phases[i][1], 0));
    }
}

static void put_negotiated(struct exposition *exposition, const json_t *endpoint)
{
    const json_t *tls = json_object_get(endpoint, "tls");
    const char *version = json_text(tls, "version"), *suite = json_text(tls, "suite");
    struct labels labels;

    if (version[0] == '\0')
        return;
    begin(exposition, &labels, endpoint);
    label(&labels, "version", version);
    sample(exposition, METRIC_TLS_VERSION, &labels, 1);
    sample(exposition, METRIC_SSL_VERSION, &labels, 1);
    begin(exposition, &labels, endpoint);
    label(&labels, "cipher", suite);
    sample(exposition, METRIC_TLS_CIPHER, &labels, 1);
}

/* ---- certificates: what ssl_exporter says ---- */

/* ",a,b," as ssl_exporter joins them: those of one kind. */
static void label_names(struct labels *labels, const char *name, const json_t *certificate,
                        const char *kind)
{
    const json_t *list = json_object_get(certificate, "subject_an");
    char text[LABELS_MAX / 4] = "";
    size_t used = 0;

    for (size_t i = 0; i < json_array_size(list) && i < NAMES_MAX; i++) {
        const char *value = json_string_value(json_array_get(list, i));
        struct in6_addr address;
        bool is_address =
            inet_pton(AF_INET, value, &address) == 1 || inet_pton(AF_INET6, value, &address) == 1;
        bool is_email = strncmp(value, "email:", 6) == 0;
        const char *found = is_address ? "ip" : is_email ? "email" : "dns";
        if (strcmp(found, kind) != 0 || used + strlen(value) + 3 > sizeof text)
            continue;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s,", used == 0 ? "," : "",
                                 value + (is_email ? 6 : 0));
    }
    label(labels, name, text);
}

static void label_certificate(struct labels *labels, const json_t *certificate)
{
    label(labels, "serial_no", json_text(certificate, "serial"));
    label(labels, "issuer_cn", json_text(certificate, "issuer_cn"));
    label(labels, "cn", json_text(certificate, "common_name"));
    label_names(labels, "dnsnames", certificate, "dns");
    label_names(labels, "ips", certificate, "ip");
    label_names(labels, "emails", certificate, "email");
    label(labels, "ou", "");
}

static void put_leaf_info(struct exposition *exposition, const json_t *endpoint)
{
    const json_t *leaf = report_leaf(endpoint);
    const json_t *list = json_object_get(leaf, "subject_an");
    char names[LABELS_MAX / 4] = "";
    size_t used = 0;
    struct labels labels;

    if (leaf == NULL)
        return;
    for (size_t i = 0; i < json_array_size(list) && i < NAMES_MAX; i++) {
        const char *value = json_string_value(json_array_get(list, i));
        if (used + strlen(value) + 2 > sizeof names)
            break;
        used +=
            (size_t)snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? "," : "", value);
    }
    begin(exposition, &labels, endpoint);
    label(&labels, "fingerprint_sha256", json_text(leaf, "sha256"));
    label(&labels, "subject", json_text(leaf, "subject"));
    label(&labels, "issuer", json_text(leaf, "issuer"));
    label(&labels, "subjectalternative", names);
    label(&labels, "serialnumber", json_text(leaf, "serial"));
    sample(exposition, METRIC_LAST_CHAIN_INFO, &labels, 1);
}

static bool is_on_path(const json_t *path, const json_t *certificate)
{
    for (size_t i = 0; i < json_array_size(path); i++) {
        if (strcmp(json_string_value(json_array_get(path, i)), json_text(certificate, "sha256")) ==
            0)
            return true;
    }
    return false;
}

static void put_own_series(struct exposition *exposition, const json_t *endpoint,
                           const json_t *certificate)
{
    char position[16];
    struct labels labels = {.size = 0};

    ignore(snprintf(position, sizeof position, "%.0f", json_real_or(certificate, "position", 0)));
    label(&labels, "target", json_text(endpoint, "target"));
    label(&labels, "address", json_text(endpoint, "address"));
    label(&labels, "key_type", json_text(endpoint, "key_type"));
    label(&labels, "role", json_text(certificate, "role"));
    label(&labels, "position", position);
    label(&labels, "sha256", json_text(certificate, "sha256"));
    sample(exposition, METRIC_CERT_END, &labels, time_or_nan(certificate, "not_after"));
}

static void put_certificate(struct exposition *exposition, const json_t *endpoint,
                            const json_t *certificate)
{
    const json_t *trust = json_array_get(json_object_get(endpoint, "trust"), 0);
    bool file = strcmp(json_text(endpoint, "kind"), "file") == 0;
    double after = time_or_nan(certificate, "not_after");
    double before = time_or_nan(certificate, "not_before");
    struct labels labels;

    begin(exposition, &labels, endpoint);
    if (file)
        label(&labels, "file", json_text(endpoint, "host"));
    label_certificate(&labels, certificate);
    sample(exposition, file ? METRIC_SSL_FILE_AFTER : METRIC_SSL_NOT_AFTER, &labels, after);
    sample(exposition, file ? METRIC_SSL_FILE_BEFORE : METRIC_SSL_NOT_BEFORE, &labels, before);
    if (!file && is_on_path(json_object_get(trust, "path"), certificate)) {
        begin(exposition, &labels, endpoint);
        label(&labels, "chain_no", "0");
        label_certificate(&labels, certificate);
        sample(exposition, METRIC_SSL_VERIFIED_AFTER, &labels, after);
        sample(exposition, METRIC_SSL_VERIFIED_BEFORE, &labels, before);
    }
    put_own_series(exposition, endpoint, certificate);
}

static void put_staple(struct exposition *exposition, const json_t *endpoint)
{
    static const char *const states[] = {"good", "revoked", "unknown"};
    const json_t *staple = json_object_get(endpoint, "staple");
    struct labels labels;

    if (staple == NULL)
        return;
    begin(exposition, &labels, endpoint);
    sample(exposition, METRIC_OCSP_STAPLED, &labels, json_flag(staple, "present"));
    for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
        if (strcmp(json_text(staple, "status"), states[i]) == 0)
            sample(exposition, METRIC_OCSP_STATUS, &labels, (double)i);
    }
    sample(exposition, METRIC_OCSP_PRODUCED, &labels, time_or_nan(staple, "produced_at"));
    sample(exposition, METRIC_OCSP_THIS, &labels, time_or_nan(staple, "this_update"));
    sample(exposition, METRIC_OCSP_NEXT, &labels, time_or_nan(staple, "next_update"));
    sample(exposition, METRIC_OCSP_REVOKED, &labels, time_or_nan(staple, "revoked_at"));
}

/* ---- ours ---- */

static void begin_endpoint(struct labels *labels, const json_t *endpoint)
{
    labels->size = 0;
    labels->text[0] = '\0';
    label(labels, "target", json_text(endpoint, "target"));
    label(labels, "address", json_text(endpoint, "address"));
    label(labels, "key_type", json_text(endpoint, "key_type"));
    label(labels, "sni", json_flag(endpoint, "sni") ? json_text(endpoint, "name") : "");
}

static void put_stores(struct exposition *exposition, const json_t *endpoint)
{
    const json_t *trust = json_object_get(endpoint, "trust");
    struct labels labels;

    for (size_t i = 0; i < json_array_size(trust); i++) {
        const json_t *store = json_array_get(trust, i);
        begin_endpoint(&labels, endpoint);
        label(&labels, "store", json_text(store, "store"));
        sample(exposition, METRIC_BREAKS, &labels, time_or_nan(store, "breaks_at"));
    }
}

static void put_findings(struct exposition *exposition, const json_t *endpoint)
{
    const json_t *findings = json_object_get(endpoint, "findings");
    struct labels labels;

    for (size_t i = 0; i < json_array_size(findings); i++) {
        const json_t *finding = json_array_get(findings, i);
        if (report_severity_code(finding) == 0)
            continue;
        begin_endpoint(&labels, endpoint);
        label(&labels, "id", json_text(finding, "id"));
        label(&labels, "severity", json_text(finding, "severity"));
        sample(exposition, METRIC_FINDING, &labels, 1);
    }
}

static void put_endpoint(struct exposition *exposition, const json_t *endpoint)
{
    const json_t *certificates = json_object_get(endpoint, "certificates");
    struct labels labels;

    put_http(exposition, endpoint);
    put_negotiated(exposition, endpoint);
    put_leaf_info(exposition, endpoint);
    for (size_t i = 0; i < json_array_size(certificates); i++)
        put_certificate(exposition, endpoint, json_array_get(certificates, i));
    put_staple(exposition, endpoint);
    put_stores(exposition, endpoint);
    put_findings(exposition, endpoint);
    begin_endpoint(&labels, endpoint);
    sample(exposition, METRIC_ARI_END, &labels,
           time_or_nan(json_object_get(endpoint, "renewal"), "window_end"));
    sample(exposition, METRIC_VERDICT, &labels, report_verdict(endpoint));
    sample(exposition, METRIC_HANDSHAKE, &labels,
           json_real_or(json_object_get(endpoint, "times"), "handshake_s", NAN));
    sample(exposition, METRIC_LAST_CHECK, &labels, time_or_nan(endpoint, "checked_at"));
}

void report_prometheus(struct buffer *output, const json_t *endpoints, bool targets)
{
    struct exposition *exposition = calloc(1, sizeof *exposition);
    size_t end;

    if (exposition == NULL) {
        output->failed = true;
        return;
    }
    exposition->targets = targets;
    map_init(&exposition->known);
    for (size_t i = 0; i < METRIC_COUNT; i++)
        buffer_init(&exposition->samples[i], METRIC_MAX);
    for (size_t first = 0; first < json_array_size(endpoints); first = end) {
        end = report_target_end(endpoints, first);
        put_target(exposition, endpoints, first, end);
        for (size_t i = first; i < end; i++)
            put_endpoint(exposition, json_array_get(endpoints, i));
    }
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        struct buffer *samples = &exposition->samples[i];
        if (samples->size > 0)
            buffer_printf(output, "# HELP %s %s\n# TYPE %s gauge\n%s", metrics[i].name,
                          metrics[i].help, metrics[i].name, buffer_text(samples));
        output->failed = output->failed || samples->failed;
        buffer_fini(samples);
    }
    map_fini(&exposition->known);
    free(exposition);
}
