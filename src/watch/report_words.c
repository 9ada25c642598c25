#include "watch/report_words.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/table.h"
#include "watch/report.h"

static const char *const verdicts[] = {"ok", "warning", "critical", "unknown"};

int report_verdict_code(const char *verdict)
{
    for (int i = 0; i < (int)ARRAY_SIZE(verdicts); i++) {
        if (strcmp(verdict, verdicts[i]) == 0)
            return i;
    }
    return -1;
}

const char *report_verdict_word(int code)
{
    return verdicts[code];
}

int report_verdict(const json_t *endpoint)
{
    int code = report_verdict_code(json_text(endpoint, "verdict"));

    return code >= 0 ? code : 3;
}

int report_worse(int a, int b)
{
    static const int weights[] = {0, 2, 3, 1};

    return weights[b] > weights[a] ? b : a;
}

int report_exit_code(const json_t *endpoints)
{
    int worst = json_array_size(endpoints) == 0 ? 3 : 0;

    for (size_t i = 0; i < json_array_size(endpoints); i++)
        worst = report_worse(worst, report_verdict(json_array_get(endpoints, i)));
    return worst;
}

const char *report_verdict_name(int code)
{
    static const char *const names[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};

    return names[code];
}

int report_verdict_style(int code)
{
    static const int styles[] = {CELL_GOOD, CELL_WARN, CELL_BAD, CELL_WARN};

    return styles[code];
}

int report_severity_code(const json_t *finding)
{
    static const char *const names[] = {"info", "warning", "critical", "unknown"};
    const char *severity = json_text(finding, "severity");

    for (int i = 0; i < (int)ARRAY_SIZE(names); i++) {
        if (strcmp(severity, names[i]) == 0)
            return i;
    }
    return 0;
}

const json_t *report_worst_finding(const json_t *endpoint)
{
    const json_t *findings = json_object_get(endpoint, "findings"), *found = NULL;
    int worst = 0;

    for (size_t i = 0; i < json_array_size(findings); i++) {
        const json_t *finding = json_array_get(findings, i);
        int code = report_severity_code(finding);
        if (report_worse(worst, code) != worst) {
            worst = code;
            found = finding;
        }
    }
    return found;
}

const json_t *report_leaf(const json_t *endpoint)
{
    return json_array_get(json_object_get(endpoint, "certificates"), 0);
}

const char *report_certificate_name(const json_t *certificate)
{
    const char *name = json_text(certificate, "common_name");

    if (name[0] == '\0' && !json_flag(certificate, "is_ca")) {
        const char *first =
            json_string_value(json_array_get(json_object_get(certificate, "subject_an"), 0));
        name = first != NULL ? first : "";
    }
    return name[0] != '\0' ? name : json_text(certificate, "subject");
}

bool report_certificate_counts(const json_t *certificate)
{
    const char *role = json_text(certificate, "role");

    return strcmp(role, "leaf") == 0 || strcmp(role, "intermediate") == 0;
}

bool report_days_left(const json_t *endpoint, double *ret_days)
{
    const json_t *certificates = json_object_get(endpoint, "certificates");
    double least = HUGE_VAL;

    for (size_t i = 0; i < json_array_size(certificates); i++) {
        const json_t *certificate = json_array_get(certificates, i);
        if (report_certificate_counts(certificate))
            least = fmin(least, json_real_or(certificate, "days_left", HUGE_VAL));
    }
    if (least == HUGE_VAL)
        return false;
    *ret_days = least;
    return true;
}

const char *report_days_text(char text[REPORT_TEXT_MAX], double days)
{
    if (fabs(days) < 2)
        ignore(snprintf(text, REPORT_TEXT_MAX, "%.0f h", floor(days * 24)));
    else
        ignore(snprintf(text, REPORT_TEXT_MAX, "%.0f d", floor(days)));
    return text;
}

const char *report_date_text(char text[REPORT_TEXT_MAX], const char *time, double days)
{
    if (strlen(time) < sizeof "2026-11-21T04:06Z" - 1)
        return "-";
    if (fabs(days) < 2)
        ignore(snprintf(text, REPORT_TEXT_MAX, "%.10s %.5sZ", time, time + 11));
    else
        ignore(snprintf(text, REPORT_TEXT_MAX, "%.10s", time));
    return text;
}

size_t report_target_end(const json_t *endpoints, size_t begin)
{
    const char *target = json_text(json_array_get(endpoints, begin), "target");
    size_t end = begin + 1;

    while (end < json_array_size(endpoints) &&
           strcmp(target, json_text(json_array_get(endpoints, end), "target")) == 0)
        end++;
    return end;
}

const char *report_label(char *label, size_t size, const char *value)
{
    size_t used = 0;

    for (; *value != '\0' && used + 3 <= size; value++) {
        if (*value == '\\' || *value == '"')
            label[used++] = '\\';
        label[used++] = (unsigned char)*value < 0x20 || *value == 0x7f ? '?' : *value;
    }
    label[used] = '\0';
    return label;
}

size_t report_targets(const json_t *endpoints)
{
    size_t count = 0;

    for (size_t i = 0; i < json_array_size(endpoints); i = report_target_end(endpoints, i))
        count++;
    return count;
}
