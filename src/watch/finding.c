#include "watch/finding.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

const char *severity_name(enum severity severity)
{
    static const char *const names[SEVERITY_COUNT] = {[SEVERITY_INFO] = "info",
                                                      [SEVERITY_WARNING] = "warning",
                                                      [SEVERITY_CRITICAL] = "critical",
                                                      [SEVERITY_UNKNOWN] = "unknown"};

    return names[severity];
}

enum severity severity_read(const char *name)
{
    for (enum severity severity = 0; severity < SEVERITY_COUNT; severity++) {
        if (strcmp(severity_name(severity), name) == 0)
            return severity;
    }
    return strcmp(name, "ok") == 0 ? SEVERITY_INFO : SEVERITY_UNKNOWN;
}

unsigned severity_weight(enum severity severity)
{
    static const unsigned weights[SEVERITY_COUNT] = {[SEVERITY_INFO] = 0,
                                                     [SEVERITY_UNKNOWN] = 1,
                                                     [SEVERITY_WARNING] = 2,
                                                     [SEVERITY_CRITICAL] = 3};

    return weights[severity];
}

/* A place for one that is so bad. When all are taken, the last of the least bad ones makes room for
 * a worse one: what a peer says a hundred times must not hide what counts. */
static struct finding *make_room(struct findings *findings, enum severity severity)
{
    static struct finding scratch;
    struct finding *least = &findings->items[FINDINGS_MAX - 1];

    if (findings->count < FINDINGS_MAX)
        return &findings->items[findings->count++];
    findings->dropped++;
    for (size_t i = FINDINGS_MAX; i-- > 0;) {
        if (severity_weight(findings->items[i].severity) < severity_weight(least->severity))
            least = &findings->items[i];
    }
    return severity_weight(least->severity) < severity_weight(severity) ? least : &scratch;
}

struct finding *findings_add(struct findings *findings, const char *id, enum severity severity,
                             const char *next, const char *format, ...)
{
    struct finding *finding = make_room(findings, severity);
    va_list arguments;

    *finding = (struct finding){.id = id, .severity = severity, .next = next};
    va_start(arguments, format);
    ignore(vsnprintf(finding->text, sizeof finding->text, format, arguments));
    va_end(arguments);
    return finding;
}

enum severity findings_worst(const struct findings *findings)
{
    enum severity worst = SEVERITY_INFO;

    for (size_t i = 0; i < findings->count; i++) {
        if (severity_weight(findings->items[i].severity) > severity_weight(worst))
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
