/* What a check has found: a stable id, how bad it is, what was seen and what to do next. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

#include "base/attributes.h"

enum severity {
    SEVERITY_INFO,     /* worth knowing; never changes a verdict */
    SEVERITY_WARNING,  /* valid, but weak, or soon over: exit 1 */
    SEVERITY_CRITICAL, /* a strict client fails: exit 2 */
    SEVERITY_UNKNOWN,  /* could not be found out, for a reason of ours: exit 3 */
    SEVERITY_COUNT
};
const char *severity_name(enum severity severity); /* "info", "warning", "critical", "unknown" */

/* "ok" is read as info, what is none of these as unknown. */
enum severity severity_read(const char *name);
/* Greater is worse: info, unknown, warning, critical. */
unsigned severity_weight(enum severity severity);

struct finding {
    const char *id; /* static: "chain-incomplete"; never renamed */
    enum severity severity;
    bool hard;            /* a fact about a certificate (expired, revoked), not a mishap of the
                             network: alerts open at the first sight of it */
    char text[320];       /* one sentence, printable */
    char evidence[320];   /* what was seen: names, numbers; printable, "" when text has it all */
    const char *next;     /* the next step in words; static */
    char certificate[65]; /* SHA-256 in hex of the one it is about, "" */
};

#define FINDINGS_MAX 48 /* the worst are kept, further ones counted */
struct findings {
    struct finding items[FINDINGS_MAX];
    size_t count, dropped;
};

/* Adds one; the text is formatted, everything of a peer in it must be printable already. Returns
 * it, to have evidence and certificate filled in; a scratch place when full. */
struct finding *findings_add(struct findings *findings, const char *id, enum severity severity,
                             const char *next, const char *format, ...) PRINTF_LIKE(5, 6);
/* Worst in the order critical, warning, unknown, info; info when there is none. */
enum severity findings_worst(const struct findings *findings);
json_t *finding_to_json(const struct finding *finding);
