/* From results to alerts: what is new, worse, still so after a while, or over.
 *
 * Pure: results, moments and people's wishes in, notices out; nothing here reads a clock or the
 * network. Who is told what, and whether a silence forbids it, is the receiver's affair
 * (notices.h). */
#pragma once

#include "base/map.h"
#include "watch/alerts/alert.h"
#include "watch/alerts/alert_index.h"

enum notice {
    NOTICE_OPENED,
    NOTICE_WORSE,    /* the next step, or a graver finding */
    NOTICE_REMINDER, /* still open and not acknowledged */
    NOTICE_RECOVERED
};
const char *notice_name(enum notice notice); /* "opened", "worse", "reminder", "recovered" */

struct alerts_rules {
    unsigned open_after;  /* bad results in a row; 1 for hard facts; default 3 */
    unsigned close_after; /* good ones; default 2 */
    int64_t reminder_s;   /* default 24 h; 0: none */
    int64_t quiet_s;      /* how long a flapping one must be good; default 6 h */
    unsigned flaps;       /* openings and closings within a day that make it flapping; default 4 */
};

struct alerts_host {
    void *context;
    /* Not for pending ones. False: it was held back (a silence); told again when that ends. */
    bool (*notice)(void *context, const struct watch_alert *alert, enum notice notice);
    /* Has changed in a way that a restart must not forget. */
    void (*keep)(void *context, const struct watch_alert *alert);
    /* Was kept, and need not be any more: closed for a day. Its number is not given again. */
    void (*forget)(void *context, const struct watch_alert *alert);
};

/* Whose result it is. */
struct alert_subject {
    const char *watch, *target;
    const char *owner, *service; /* "" : none */
    bool critical;
    struct expiry_rule renewal;
};

struct alerts {
    struct alerts_rules rules;
    struct alerts_host host;
    struct map by_cause; /* struct watch_alert: pending, open, and closed within the last day */
    struct alert_index at_target;
    struct alert_index by_last_place; /* with which they closed */
    uint64_t last_number;
};

void alerts_init(struct alerts *alerts, const struct alerts_rules *rules,
                 const struct alerts_host *host);
void alerts_fini(struct alerts *alerts);

/* An alert as it was kept; takes it. Before any result. */
void alerts_restore(struct alerts *alerts, struct watch_alert *alert, int64_t now);

/* One target has been checked: all its endpoints as report_json() gives them. */
void alerts_result(struct alerts *alerts, const struct alert_subject *subject,
                   const json_t *endpoints, int64_t now);
/* The target is no longer watched: its places are clear, and nobody is told of a recovery. */
void alerts_forget(struct alerts *alerts, const char *target, int64_t now);
/* All targets but these: what was restored may be of another configuration. */
typedef bool alerts_watched_fn(const void *context, const char *target);
void alerts_keep(struct alerts *alerts, alerts_watched_fn *watched, const void *context,
                 int64_t now);
/* Reminders, notices held back, flapping ones that have become quiet, closed ones that nobody asks
 * for any more. Every minute or so. */
void alerts_tick(struct alerts *alerts, int64_t now);

/* NULL: there is none of that number. */
struct watch_alert *alerts_find(const struct alerts *alerts, uint64_t number);
/* Reminders and escalation end until it gets worse. */
void alerts_acknowledge(struct alerts *alerts, struct watch_alert *alert, const char *by,
                        const char *comment, int64_t now);
