/* The table for people. Endpoints of a target that say the same stand together; few targets are
 * told in full, of many only what is not well. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json.h"
#include "base/table.h"
#include "base/terminal.h"
#include "watch/report.h"
#include "watch/report_words.h"

#define FULL_MAX      5  /* targets told with all certificates */
#define NAME_WIDTH    36 /* of a certificate's name, longer ones are cut */
#define NAME_BESIDE   52 /* columns of what else stands in its line */
#define PLACES_MAX    6  /* addresses named, the others are counted */
#define SIGNATURE_MAX (1u << 20)
#define WIDTH         100 /* of lines with texts, where no terminal has its own */

/* Endpoints of one target that say the same. */
struct group {
    const json_t **endpoints;
    size_t count;
};

struct paper {
    FILE *stream;
    size_t width;
    bool colour, full;
};

static void put_styled(const struct paper *paper, int style, const char *format, ...)
    PRINTF_LIKE(3, 4);
static void put_styled(const struct paper *paper, int style, const char *format, ...)
{
    static const char *const codes[] = {[CELL_PLAIN] = "",
                                        [CELL_GOOD] = "\033[32m",
                                        [CELL_WARN] = "\033[33m",
                                        [CELL_BAD] = "\033[31m"};
    va_list arguments;

    if (paper->colour)
        fputs(codes[style], paper->stream);
    va_start(arguments, format);
    ignore(vfprintf(paper->stream, format, arguments));
    va_end(arguments);
    if (paper->colour && style != CELL_PLAIN)
        fputs("\033[0m", paper->stream);
}

/* ---- groups ---- */

static void sign_list(struct buffer *text, const json_t *list, const char *const *keys)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        for (const char *const *key = keys; *key != NULL; key++)
            buffer_printf(text, "%s|", json_text(json_array_get(list, i), *key));
    }
}

/* All that makes two endpoints say the same; texts of findings are left out, they name addresses.
 */
static char *signature_of(const json_t *endpoint)
{
    static const char *const own[] = {"outcome", "verdict", "key_type", "name", "vantage"};
    static const char *const tls_keys[] = {"version", "suite", "group"};
    static const char *const certificate_keys[] = {"sha256", NULL};
    static const char *const finding_keys[] = {"id", "severity", "certificate", NULL};
    const json_t *tls = json_object_get(endpoint, "tls");
    struct buffer text;

    buffer_init(&text, SIGNATURE_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        buffer_printf(&text, "%s|", json_text(endpoint, own[i]));
    buffer_printf(&text, "%d|", json_flag(endpoint, "sni"));
    for (size_t i = 0; i < ARRAY_SIZE(tls_keys); i++)
        buffer_printf(&text, "%s|", json_text(tls, tls_keys[i]));
    sign_list(&text, json_object_get(endpoint, "certificates"), certificate_keys);
    sign_list(&text, json_object_get(endpoint, "findings"), finding_keys);
    char *copy = strdup(buffer_text(&text));
    buffer_fini(&text);
    return copy;
}

/* The endpoints from `first` on that say what it says; marks them as told. */
static size_t gather(const json_t **ret_group, const json_t *const *endpoints, char **signatures,
                     size_t first, size_t count)
{
    size_t gathered = 1;

    ret_group[0] = endpoints[first];
    for (size_t i = first + 1; i < count; i++) {
        if (signatures[first] == NULL || signatures[i] == NULL ||
            strcmp(signatures[first], signatures[i]) != 0)
            continue;
        ret_group[gathered++] = endpoints[i];
        free(signatures[i]);
        signatures[i] = NULL;
    }
    return gathered;
}

/* ---- one group ---- */

static void add_places(struct buffer *line, const struct group *group)
{
    for (size_t i = 0; i < group->count && i < PLACES_MAX; i++) {
        const char *address = json_text(group->endpoints[i], "address");
        buffer_printf(line, "%s%s", i > 0 ? ", " : "", address[0] != '\0' ? address : "no address");
    }
    if (group->count > PLACES_MAX)
        buffer_printf(line, " and %zu more", group->count - PLACES_MAX);
}

static void add_facts(struct buffer *line, const json_t *endpoint)
{
    const json_t *tls = json_object_get(endpoint, "tls");
    const char *const facts[] = {json_text(tls, "version"), json_text(tls, "suite"),
                                 json_text(tls, "group")};
    const char *key_type = json_text(endpoint, "key_type");

    if (strcmp(key_type, "any") != 0)
        buffer_printf(line, "  %s", key_type);
    if (strcmp(json_text(endpoint, "kind"), "file") != 0 && !json_flag(endpoint, "sni"))
        buffer_append_text(line, "  without SNI");
    for (size_t i = 0; i < ARRAY_SIZE(facts); i++) {
        if (facts[i][0] != '\0')
            buffer_printf(line, "%s%s", i == 0 ? "  " : ", ", facts[i]);
    }
}

/* Where, and what was agreed on; on two lines when one is too short for it. */
static void put_heading(const struct paper *paper, const struct group *group)
{
    struct buffer places, facts;

    buffer_init(&places, SIGNATURE_MAX);
    buffer_init(&facts, SIGNATURE_MAX);
    add_places(&places, group);
    add_facts(&facts, group->endpoints[0]);
    bool fits = places.size + facts.size + 12 <= paper->width;
    fprintf(paper->stream, "%s%s%s\n", buffer_text(&places), fits ? "" : "\n          ",
            facts.size > 0 ? buffer_text(&facts) : "");
    buffer_fini(&places);
    buffer_fini(&facts);
}

static void put_bounded(FILE *stream, const char *text, size_t width)
{
    size_t length = strlen(text);

    if (length > width)
        fprintf(stream, "%.*s…", (int)width - 1, text);
    else
        fprintf(stream, "%-*s", (int)width, text);
}

static int days_style(const json_t *certificate, double days)
{
    double life = json_real_or(certificate, "life_left", 1);

    if (!report_certificate_counts(certificate))
        return CELL_PLAIN;
    return days < 0 ? CELL_BAD : life < 1.0 / 3 && days < 30 ? CELL_WARN : CELL_GOOD;
}

static void put_certificate(const struct paper *paper, const json_t *certificate, size_t width)
{
    double days = json_real_or(certificate, "days_left", NAN);
    double life = json_real_or(certificate, "life_left", NAN);
    char left[REPORT_TEXT_MAX] = "?", share[16] = "?", end[REPORT_TEXT_MAX];

    if (!isnan(days))
        report_days_text(left, days);
    if (!isnan(life))
        ignore(snprintf(share, sizeof share, "%.0f %%", floor(life * 100)));
    fputs("      ", paper->stream);
    put_bounded(paper->stream, report_certificate_name(certificate), width);
    fprintf(paper->stream, "  %-12s  ", json_text(certificate, "role"));
    put_styled(paper, days_style(certificate, days), "%8s  %6s", left, share);
    fprintf(paper->stream, "  %s\n",
            report_date_text(end, json_text(certificate, "not_after"), days));
}

static void put_certificates(const struct paper *paper, const json_t *certificates)
{
    size_t width = 4;

    if (json_array_size(certificates) == 0)
        return;
    for (size_t i = 0; i < json_array_size(certificates); i++) {
        size_t length = strlen(report_certificate_name(json_array_get(certificates, i)));
        width = length > width ? length : width;
    }
    size_t most = paper->width < NAME_WIDTH + NAME_BESIDE ? paper->width - NAME_BESIDE : NAME_WIDTH;
    width = width > most ? most : width;
    fprintf(paper->stream, "      %-*s  %-12s  %8s  %6s  %s\n", (int)width, "NAME", "ROLE", "LEFT",
            "LIFE", "ENDS");
    for (size_t i = 0; i < json_array_size(certificates); i++)
        put_certificate(paper, json_array_get(certificates, i), width);
}

static void put_wrapped(const struct paper *paper, const char *text, size_t indent)
{
    terminal_wrap(paper->stream, text, indent, paper->width);
    fputc('\n', paper->stream);
}

static void put_finding(const struct paper *paper, const json_t *finding)
{
    const char *evidence = json_text(finding, "evidence"), *next = json_text(finding, "next");
    int code = report_severity_code(finding);

    fputs("      ", paper->stream);
    put_styled(paper, code == 0 ? CELL_PLAIN : report_verdict_style(code), "%-8s",
               json_text(finding, "severity"));
    fputs("  ", paper->stream);
    put_wrapped(paper, json_text(finding, "text"), 16);
    if (evidence[0] != '\0' && paper->full) {
        fprintf(paper->stream, "%16s", "");
        put_wrapped(paper, evidence, 16);
    }
    if (next[0] != '\0') {
        fprintf(paper->stream, "%16s-> ", "");
        put_wrapped(paper, next, 19);
    }
}

/* What the stores say differently from each other is worth a line of its own. */
static void put_stores(const struct paper *paper, const json_t *endpoint)
{
    const json_t *trust = json_object_get(endpoint, "trust");

    if (json_array_size(trust) < 2)
        return;
    for (size_t i = 0; i < json_array_size(trust); i++) {
        const json_t *store = json_array_get(trust, i);
        char end[REPORT_TEXT_MAX];
        bool trusted = strcmp(json_text(store, "outcome"), "trusted") == 0;
        fprintf(paper->stream, "      store %s: ", json_text(store, "store"));
        put_styled(paper, trusted ? CELL_GOOD : CELL_BAD, "%s", json_text(store, "outcome"));
        if (trusted)
            fprintf(paper->stream, ", breaks %s\n",
                    report_date_text(end, json_text(store, "breaks_at"), HUGE_VAL));
        else
            fprintf(paper->stream, ", %s\n", json_text(store, "reason"));
    }
}

static void put_group(const struct paper *paper, const struct group *group)
{
    const json_t *endpoint = group->endpoints[0];
    const json_t *findings = json_object_get(endpoint, "findings");
    const char *ends = json_text(endpoint, "breaks_at");
    int code = report_verdict(endpoint);
    double days = HUGE_VAL;
    char date[REPORT_TEXT_MAX];

    ignore(report_days_left(endpoint, &days));
    fputs("  ", paper->stream);
    put_styled(paper, report_verdict_style(code), "%-8s", report_verdict_name(code));
    fputs("  ", paper->stream);
    put_heading(paper, group);
    if (paper->full) {
        put_certificates(paper, json_object_get(endpoint, "certificates"));
        put_stores(paper, endpoint);
    }
    if (ends[0] != '\0' && paper->full)
        fprintf(paper->stream, "      breaks    %s\n", report_date_text(date, ends, days));
    for (size_t i = 0; i < json_array_size(findings); i++) {
        const json_t *finding = json_array_get(findings, i);
        if (paper->full || report_severity_code(finding) != 0)
            put_finding(paper, finding);
    }
}

/* ---- one target ---- */

static void put_groups(const struct paper *paper, const json_t *const *endpoints, size_t count)
{
    char **signatures = calloc(count, sizeof *signatures);
    const json_t **members = calloc(count, sizeof *members);

    for (size_t i = 0; signatures != NULL && i < count; i++)
        signatures[i] = signature_of(endpoints[i]);
    for (size_t i = 0; signatures != NULL && members != NULL && i < count; i++) {
        if (signatures[i] == NULL) /* told already */
            continue;
        const struct group group = {.endpoints = members,
                                    .count = gather(members, endpoints, signatures, i, count)};
        put_group(paper, &group);
    }
    for (size_t i = 0; signatures != NULL && i < count; i++)
        free(signatures[i]);
    free(signatures);
    free(members);
}

static void put_summary(const struct paper *paper, const json_t *const *endpoints, size_t count,
                        size_t width)
{
    int code = 0;
    double least = HUGE_VAL, days;
    const char *ends = "";
    char left[REPORT_TEXT_MAX] = "-", date[REPORT_TEXT_MAX];

    for (size_t i = 0; i < count; i++) {
        code = report_worse(code, report_verdict(endpoints[i]));
        if (report_days_left(endpoints[i], &days) && days < least) {
            least = days;
            ends = json_text(endpoints[i], "breaks_at");
        }
    }
    if (least != HUGE_VAL)
        report_days_text(left, least);
    put_styled(paper, report_verdict_style(code), "%-8s", report_verdict_name(code));
    fprintf(paper->stream, "  %-*s  %8s  %s\n", (int)width, json_text(endpoints[0], "target"), left,
            report_date_text(date, ends, least));
}

static void put_target(const struct paper *paper, const json_t *const *endpoints, size_t count,
                       size_t width)
{
    int code = 0;

    for (size_t i = 0; i < count; i++)
        code = report_worse(code, report_verdict(endpoints[i]));
    if (paper->full)
        fprintf(paper->stream, "%s\n", json_text(endpoints[0], "target"));
    else
        put_summary(paper, endpoints, count, width);
    if (paper->full || code != 0)
        put_groups(paper, endpoints, count);
}

/* ---- all of them ---- */

static void put_total(const struct paper *paper, const size_t counts[4], size_t targets)
{
    fprintf(paper->stream, "\n%zu targets:", targets);
    for (int i = 0; i < 4; i++) {
        if (counts[i] == 0)
            continue;
        fputc(' ', paper->stream);
        put_styled(paper, report_verdict_style(i), "%zu %s", counts[i], report_verdict_word(i));
    }
    fputc('\n', paper->stream);
}

static size_t widest_target(const json_t *endpoints)
{
    size_t width = 0;

    for (size_t i = 0; i < json_array_size(endpoints); i++) {
        size_t length = strlen(json_text(json_array_get(endpoints, i), "target"));
        width = length > width ? length : width;
    }
    return width < 60 ? width : 60;
}

void report_table(FILE *stream, const json_t *endpoints, bool colour)
{
    size_t targets = report_targets(endpoints), counts[4] = {0}, end;
    size_t width = widest_target(endpoints), total = json_array_size(endpoints);
    const struct paper paper = {.stream = stream,
                                .width = terminal_reading_width(stream, WIDTH),
                                .colour = colour,
                                .full = targets <= FULL_MAX};
    const json_t **list = calloc(total + 1, sizeof *list);

    if (list == NULL) {
        fputs("out of memory: nothing can be shown\n", stream);
        return;
    }
    for (size_t i = 0; i < total; i++)
        list[i] = json_array_get(endpoints, i);
    for (size_t begin = 0; begin < total; begin = end) {
        int code = 0;
        end = report_target_end(endpoints, begin);
        for (size_t i = begin; i < end; i++)
            code = report_worse(code, report_verdict(list[i]));
        counts[code]++;
        if (begin > 0 && paper.full)
            fputc('\n', stream);
        put_target(&paper, list + begin, end - begin, width);
    }
    if (targets > 1)
        put_total(&paper, counts, targets);
    free(list);
}
