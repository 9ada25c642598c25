/* The plugin API of Nagios and its kin: one line that says the most important thing, numbers for
 * graphs in the names of check_ssl_cert, and more lines for who looks closer. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "watch/report.h"
#include "watch/report_words.h"

#define ELEMENTS_MAX 12 /* of a chain, with a number of their own */

/* A pipe would begin the perfdata, wherever it stands. */
static void put_text(FILE *stream, const char *text)
{
    for (; *text != '\0'; text++)
        fputc(*text == '|' ? '/' : *text, stream);
}

static const json_t *worst_endpoint(const json_t *endpoints)
{
    const json_t *worst = json_array_get(endpoints, 0);

    for (size_t i = 1; i < json_array_size(endpoints); i++) {
        const json_t *endpoint = json_array_get(endpoints, i);
        int code = report_verdict(worst);
        if (report_worse(code, report_verdict(endpoint)) != code)
            worst = endpoint;
    }
    return worst;
}

/* The endpoint whose certificates end first. */
static const json_t *shortest_endpoint(const json_t *endpoints, double *ret_days)
{
    const json_t *shortest = NULL;
    double least = HUGE_VAL, days;

    for (size_t i = 0; i < json_array_size(endpoints); i++) {
        const json_t *endpoint = json_array_get(endpoints, i);
        if (report_days_left(endpoint, &days) && days < least) {
            least = days;
            shortest = endpoint;
        }
    }
    *ret_days = least;
    return shortest;
}

static void put_place(FILE *stream, const json_t *endpoints, const json_t *endpoint)
{
    put_text(stream, json_text(endpoint, "target"));
    if (json_array_size(endpoints) > 1) {
        fputs(" at ", stream);
        put_text(stream, json_text(endpoint, "address"));
    }
}

static void put_counts(FILE *stream, const json_t *endpoints)
{
    size_t targets = report_targets(endpoints), count = json_array_size(endpoints);

    if (targets > 1)
        fprintf(stream, ", %zu targets", targets);
    fprintf(stream, ", %zu endpoint%s", count, count == 1 ? "" : "s");
}

static void put_well(FILE *stream, const json_t *endpoints)
{
    double days;
    const json_t *endpoint = shortest_endpoint(endpoints, &days);
    char left[REPORT_TEXT_MAX], end[REPORT_TEXT_MAX];

    if (endpoint == NULL) {
        put_place(stream, endpoints, json_array_get(endpoints, 0));
    } else {
        put_place(stream, endpoints, endpoint);
        fprintf(stream, ": %s left, chain ok to %s", report_days_text(left, days),
                report_date_text(end, json_text(endpoint, "breaks_at"), days));
    }
    put_counts(stream, endpoints);
}

static void put_unfinished(FILE *stream, const struct report_nagios_options *options)
{
    fprintf(stream, "%zu of %zu targets were not finished", options->unfinished, options->targets);
}

static void put_first_line(FILE *stream, const json_t *endpoints, int code,
                           const struct report_nagios_options *options)
{
    const json_t *worst = worst_endpoint(endpoints);
    const json_t *finding = report_worst_finding(worst);

    fprintf(stream, "SSL_CERT %s - ", report_verdict_name(code));
    if (options->unfinished > 0 && report_verdict(worst) != code) {
        put_unfinished(stream, options);
        return;
    }
    if (worst == NULL) {
        fputs("nothing was checked", stream);
    } else if (finding == NULL) {
        put_well(stream, endpoints);
    } else {
        put_place(stream, endpoints, worst);
        fputs(": ", stream);
        put_text(stream, json_text(finding, "text"));
        put_counts(stream, endpoints);
    }
    if (options->unfinished > 0) {
        fputs(", ", stream);
        put_unfinished(stream, options);
    }
}

/* ---- perfdata ---- */

static void put_range(FILE *stream, double days, const struct report_nagios_options *options)
{
    if (days > 0)
        fprintf(stream, "%g%s", days, options->compatible_ranges ? "" : ":");
    fputc(';', stream);
}

/* A threshold that is a share becomes days of this certificate. */
static double threshold_of(double days, double share, const json_t *certificate)
{
    double left = json_real_or(certificate, "days_left", 0);
    double life = json_real_or(certificate, "life_left", 0);

    return share > 0 && life > 0 ? round(share * left / life) : days;
}

/* The certificate at this place of the chain that ends first. */
static const json_t *shortest_element(const json_t *endpoints, size_t begin, size_t end,
                                      size_t position)
{
    const json_t *found = NULL;
    double least = HUGE_VAL;

    for (size_t i = begin; i < end; i++) {
        const json_t *certificate =
            json_array_get(json_object_get(json_array_get(endpoints, i), "certificates"), position);
        double days = json_real_or(certificate, "days_left", HUGE_VAL);
        if (certificate != NULL && days < least) {
            least = days;
            found = certificate;
        }
    }
    return found;
}

/* Quotes and equals signs end a label. */
static void put_label(FILE *stream, const char *target, const char *name)
{
    fputs(" '", stream);
    for (; *target != '\0'; target++)
        fputc(*target == '\'' || *target == '=' || *target == '|' ? '_' : *target, stream);
    fprintf(stream, "%s'=", name);
}

static void put_elements(FILE *stream, const json_t *endpoints, size_t begin, size_t end,
                         const char *prefix, const struct report_nagios_options *options)
{
    for (size_t position = 0; position < ELEMENTS_MAX; position++) {
        const json_t *certificate = shortest_element(endpoints, begin, end, position);
        char name[40];
        if (certificate == NULL)
            return;
        ignore(snprintf(name, sizeof name, "%sdays_chain_elem%zu", prefix[0] != '\0' ? " " : "",
                        position + 1));
        put_label(stream, prefix, name);
        fprintf(stream, "%.0f;", floor(json_real_or(certificate, "days_left", 0)));
        put_range(stream, threshold_of(options->warning_d, options->warning_l, certificate),
                  options);
        put_range(stream, threshold_of(options->critical_d, options->critical_l, certificate),
                  options);
        fputc(';', stream);
    }
}

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

static void put_perfdata(FILE *stream, const json_t *endpoints,
                         const struct report_nagios_options *options)
{
    size_t well = 0, count = json_array_size(endpoints), end;
    bool several = report_targets(endpoints) > 1;
    double slowest = 0;

    fputc('|', stream);
    for (size_t i = 0; i < count; i++) {
        const json_t *endpoint = json_array_get(endpoints, i);
        well += report_verdict(endpoint) == 0;
        slowest = fmax(slowest, seconds_of(endpoint));
    }
    for (size_t begin = 0; begin < count; begin = end) {
        end = report_target_end(endpoints, begin);
        const char *target = json_text(json_array_get(endpoints, begin), "target");
        put_elements(stream, endpoints, begin, end, several ? target : "", options);
    }
    fprintf(stream, " time=%.6fs;;;0 endpoints_ok=%zu;;;0;%zu\n", slowest, well, count);
}

/* ---- long output ---- */

static void put_findings(FILE *stream, const json_t *endpoint, bool verbose)
{
    const json_t *findings = json_object_get(endpoint, "findings");

    for (size_t i = 0; i < json_array_size(findings); i++) {
        const json_t *finding = json_array_get(findings, i);
        const char *next = json_text(finding, "next");
        if (report_severity_code(finding) == 0 && !verbose)
            continue;
        fprintf(stream, "  %s: ", json_text(finding, "severity"));
        put_text(stream, json_text(finding, "text"));
        if (next[0] != '\0') {
            fputs(" - ", stream);
            put_text(stream, next);
        }
        fputc('\n', stream);
    }
}

static void put_long_output(FILE *stream, const json_t *endpoints, bool verbose)
{
    for (size_t i = 0; i < json_array_size(endpoints); i++) {
        const json_t *endpoint = json_array_get(endpoints, i);
        int code = report_verdict(endpoint);
        if (code == 0 && !verbose)
            continue;
        fprintf(stream, "%s: ", report_verdict_name(code));
        put_text(stream, json_text(endpoint, "target"));
        fputc(' ', stream);
        put_text(stream, json_text(endpoint, "address"));
        fprintf(stream, " (%s)\n", json_text(endpoint, "key_type"));
        put_findings(stream, endpoint, verbose);
    }
}

int report_nagios(FILE *stream, const json_t *endpoints,
                  const struct report_nagios_options *options)
{
    int code = report_exit_code(endpoints);

    if (options->unfinished > 0)
        code = report_worse(code, 3);
    put_first_line(stream, endpoints, code, options);
    put_perfdata(stream, endpoints, options);
    put_long_output(stream, endpoints, options->verbose);
    return code;
}
