#include "watch/finding.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/json.h"

const char *severity_name(enum severity severity)
{
    static const char *const names[SEVERITY_COUNT] = {[SEVERITY_INFO] = "info",
                                                      [SEVERITY_WARNING] = "warning",
                                                      [SEVERITY_CRITICAL] = "critical",
                                                      [SEVERITY_UNKNOWN] = "unknown"};

    return names[severity];
}

struct finding *findings_add(struct findings *findings, const char *id, enum severity severity,
                             const char *next, const char *format, ...)
{
    static struct finding scratch;
    struct finding *finding = &scratch;
    va_list arguments;

    if (findings->count < FINDINGS_MAX)
        finding = &findings->items[findings->count++];
    else
        findings->dropped++;
    *finding = (struct finding){.id = id, .severity = severity, .next = next};
    va_start(arguments, format);
    ignore(vsnprintf(finding->text, sizeof finding->text, format, arguments));
    va_end(arguments);
    return finding;
}

enum severity findings_worst(const struct findings *findings)
{
    static const uint8_t weights[SEVERITY_COUNT] = {[SEVERITY_INFO] = 0,
                                                    [SEVERITY_UNKNOWN] = 1,
                                                    [SEVERITY_WARNING] = 2,
                                                    [SEVERITY_CRITICAL] = 3};
    enum severity worst = SEVERITY_INFO;

    for (size_t i = 0; i < findings->count; i++) {
        if (weights[findings->items[i].severity] > weights[worst])
            worst = findings->items[i].severity;
    }
    return worst;
}

json_t *finding_to_json(const struct finding *finding)
{
    json_t *object = json_object();

    json_set_text(object, "id", finding->id);
    json_set_text(object, "severity", severity_name(finding->severity));
    json_set_text(object, "text", finding->text);
    json_set_text(object, "evidence", finding->evidence);
    json_set_text(object, "next", finding->next);
    json_set_text(object, "certificate", finding->certificate);
    json_set_flag(object, "hard", finding->hard);
    return object;
}
