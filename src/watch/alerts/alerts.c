#include "watch/alerts/alerts_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/string.h"

#define DAY INT64_C(86400)

/* What the steps of a certificate's life tell better. */
static const char *const told_by_steps[] = {"certificate-expired", "certificate-expires-soon",
                                            "renewal-overdue", "chain-breaks"};

const char *notice_name(enum notice notice)
{
    static const char *const names[] = {[NOTICE_OPENED] = "opened",
                                        [NOTICE_WORSE] = "worse",
                                        [NOTICE_REMINDER] = "reminder",
                                        [NOTICE_RECOVERED] = "recovered"};

    return names[notice];
}

void alerts_init(struct alerts *alerts, const struct alerts_rules *rules,
                 const struct alerts_host *host)
{
    *alerts = (struct alerts){.rules = *rules, .host = *host};
    map_init(&alerts->by_cause);
    alert_index_init(&alerts->at_target);
    alert_index_init(&alerts->by_last_place);
}

void alerts_fini(struct alerts *alerts)
{
    const struct map_entry *entry;

    for (size_t at = 0; (entry = map_next(&alerts->by_cause, &at)) != NULL;)
        alert_free(entry->value);
    map_fini(&alerts->by_cause);
    alert_index_fini(&alerts->at_target);
    alert_index_fini(&alerts->by_last_place);
}

/* Takes it out of everything, and frees it. Accepts NULL. */
static void let_go(struct alerts *alerts, struct watch_alert *alert)
{
    if (alert == NULL)
        return;
    for (size_t i = 0; i < alert->place_count; i++)
        alert_index_remove(&alerts->at_target, alert->places[i].target, alert);
    if (alert->last_place[0] != '\0')
        alert_index_remove(&alerts->by_last_place, alert->last_place, alert);
    ignore(map_remove(&alerts->by_cause, alert->key) != NULL);
    alert_free(alert);
}

/* Nobody asks for it any more. */
static bool is_past(const struct watch_alert *alert, int64_t now)
{
    return alert->state == ALERT_CLOSED && now - alert->closed_at >= DAY;
}

void alerts_restore(struct alerts *alerts, struct watch_alert *alert, int64_t now)
{
    if (alert->number > alerts->last_number)
        alerts->last_number = alert->number;
    if (is_past(alert, now)) {
        alerts->host.forget(alerts->host.context, alert);
        alert_free(alert);
        return;
    }
    let_go(alerts, map_get(&alerts->by_cause, alert->key));
    bool whole = map_put(&alerts->by_cause, alert->key, alert);
    for (size_t i = 0; i < alert->place_count; i++)
        whole = whole && alert_index_add(&alerts->at_target, alert->places[i].target, alert);
    if (alert->last_place[0] != '\0')
        whole = whole && alert_index_add(&alerts->by_last_place, alert->last_place, alert);
    if (!whole)
        let_go(alerts, alert);
}

struct watch_alert *alerts_find(const struct alerts *alerts, uint64_t number)
{
    const struct map_entry *entry;

    for (size_t at = 0; (entry = map_next(&alerts->by_cause, &at)) != NULL;) {
        struct watch_alert *alert = entry->value;
        if (alert->number == number)
            return alert;
    }
    return NULL;
}

/* ---- opening and closing ---- */

static void keep(struct alerts *alerts, const struct watch_alert *alert)
{
    alerts->host.keep(alerts->host.context, alert);
}

static void tell(struct alerts *alerts, struct watch_alert *alert, enum notice notice, int64_t now)
{
    alert->silenced = !alerts->host.notice(alerts->host.context, alert, notice);
    if (!alert->silenced)
        alert->noticed_at = now;
}

static void note_change(struct watch_alert *alert, int64_t now)
{
    memmove(&alert->changes[1], &alert->changes[0],
            sizeof alert->changes - sizeof alert->changes[0]);
    alert->changes[0] = now;
}

static bool flapping(const struct alerts *alerts, const struct watch_alert *alert, int64_t now)
{
    unsigned recent = 0;

    for (size_t i = 0; i < ALERT_CHANGES_MAX; i++)
        recent += alert->changes[i] != 0 && alert->changes[i] > now - DAY;
    return recent >= alerts->rules.flaps;
}

static void open_alert(struct alerts *alerts, struct watch_alert *alert, int64_t now)
{
    alert->state = ALERT_OPEN;
    alert->opened_at = now;
    alert->closed_at = alert->acknowledged_at = 0;
    alert->level = alert->successions = 0;
    if (alert->number == 0)
        alert->number = ++alerts->last_number;
    note_change(alert, now);
    tell(alerts, alert, NOTICE_OPENED, now);
    keep(alerts, alert);
}

/* Should it be bad again soon, by another certificate, it is this alert again. */
static void remember_last_place(struct alerts *alerts, struct watch_alert *alert)
{
    const struct alert_place *last = NULL;

    for (size_t i = 0; i < alert->place_count; i++) {
        if (alert->places[i].over && alert->places[i].certificate[0] != '\0')
            last = &alert->places[i];
    }
    if (alert->last_place[0] != '\0')
        alert_index_remove(&alerts->by_last_place, alert->last_place, alert);
    alert->last_place[0] = '\0';
    if (last == NULL || !alert_index_add(&alerts->by_last_place, last->text, alert))
        return;
    string_copy(alert->last_place, sizeof alert->last_place, last->text);
    alert->last_position = last->position;
}

static void close_alert(struct alerts *alerts, struct watch_alert *alert, int64_t now)
{
    bool told = alert->noticed_at >= alert->opened_at;

    remember_last_place(alerts, alert);
    alert->state = ALERT_CLOSED;
    alert->closed_at = now;
    if (told)
        tell(alerts, alert, NOTICE_RECOVERED, now);
    alert->silenced = false;
    keep(alerts, alert);
}

/* No place is left. A flapping one is closed by alerts_tick(), once it has been quiet. */
static void all_clear(struct alerts *alerts, struct watch_alert *alert, int64_t now)
{
    if (alert->changes[0] < alert->bad_at) /* else this clearing is known */
        note_change(alert, now);
    if (flapping(alerts, alert, now) && now - alert->bad_at < alerts->rules.quiet_s)
        keep(alerts, alert);
    else
        close_alert(alerts, alert, now);
}

/* ---- one observation ---- */

static struct watch_alert *new_alert(struct alerts *alerts, const struct observation *seen,
                                     int64_t now)
{
    struct watch_alert *alert = calloc(1, sizeof *alert);

    if (alert == NULL)
        return NULL;
    string_copy(alert->cause, sizeof alert->cause, seen->cause);
    string_copy(alert->key, sizeof alert->key, seen->cause);
    alert->since = now;
    if (!map_put(&alerts->by_cause, alert->key, alert)) {
        alert_free(alert);
        return NULL;
    }
    return alert;
}

/* `bad`: how often in a row a place that is new here was so before. */
static struct alert_place *place_of(struct alerts *alerts, struct watch_alert *alert,
                                    const struct observation *seen, unsigned bad)
{
    const char *target = seen->subject->target;
    struct alert_place *known = alert_find_place(alert, seen->place, target);

    if (known != NULL)
        return known;
    if (alert->place_count == ALERT_PLACES_MAX) {
        alert->places_dropped++;
        return NULL;
    }
    struct alert_place *places =
        realloc(alert->places, (alert->place_count + 1) * sizeof *alert->places);
    if (places == NULL)
        return NULL;
    alert->places = places;
    if (!alert_index_add(&alerts->at_target, target, alert))
        return NULL;
    struct alert_place *place = &places[alert->place_count++];
    *place = (struct alert_place){.bad = bad};
    string_copy(place->text, sizeof place->text, seen->place);
    string_copy(place->target, sizeof place->target, target);
    return place;
}

static void describe_text(struct watch_alert *alert, const char *text)
{
    if (alert->successions == 0)
        string_copy(alert->text, sizeof alert->text, text);
    else
        ignore(snprintf(alert->text, sizeof alert->text,
                        "%.300s; since this alert opened the certificate was replaced %u time%s, "
                        "by none that is better",
                        text, alert->successions, alert->successions == 1 ? "" : "s"));
}

/* What it is now. A place that is less bad does not make it better, and one with another
 * certificate than the alert speaks of does not change what it says. */
static void describe(struct watch_alert *alert, const struct observation *seen, bool successor)
{
    const struct alert_subject *subject = seen->subject;

    if (!successor && alert->place_count > 1 &&
        (severity_weight(seen->severity) < severity_weight(alert->severity) ||
         strcmp(seen->certificate, alert->certificate) != 0))
        return;
    if (successor && alert->state == ALERT_OPEN)
        alert->successions++;
    string_copy(alert->finding, sizeof alert->finding, seen->finding);
    string_copy(alert->certificate, sizeof alert->certificate, seen->certificate);
    string_copy(alert->subject, sizeof alert->subject, seen->about);
    describe_text(alert, seen->text);
    string_copy(alert->next, sizeof alert->next, seen->next);
    string_copy(alert->watch, sizeof alert->watch, subject->watch);
    string_copy(alert->owner, sizeof alert->owner, subject->owner);
    string_copy(alert->service, sizeof alert->service, subject->service);
    alert->critical = alert->critical || subject->critical;
    alert->severity = seen->severity;
    alert->hard = seen->hard;
    alert->expiring = seen->expiring;
    alert->step = seen->step;
    alert->not_after = seen->not_after;
}

static void note_bad(struct alert_place *place, const struct observation *seen)
{
    place->seen = true;
    place->reached = seen->reached;
    place->over = false;
    place->good = 0;
    place->bad++;
    place->position = seen->position;
    string_copy(place->certificate, sizeof place->certificate, seen->certificate);
}

static void observe(struct alerts *alerts, const struct observation *seen, int64_t now)
{
    struct succession succession;

    alert_succession(alerts, seen, &succession);
    struct watch_alert *alert =
        succession.alert != NULL ? succession.alert : new_alert(alerts, seen, now);
    struct alert_place *place =
        alert != NULL ? place_of(alerts, alert, seen, succession.bad) : NULL;
    if (place == NULL || place->seen)
        return;
    enum severity severity = alert->severity;
    enum expiry_step step = alert->step;
    note_bad(place, seen);
    alert->bad_at = now;
    describe(alert, seen, succession.successor);
    unsigned needed = alert->hard ? 1 : alerts->rules.open_after;
    if (!place->open && place->bad < needed)
        return;
    bool joins = !place->open;
    place->open = true;
    if (alert->state != ALERT_OPEN) {
        open_alert(alerts, alert, now);
    } else if (alert->step > step ||
               (alert->severity != severity && alert->severity == SEVERITY_CRITICAL)) {
        alert->level += alert->acknowledged_at == 0;
        alert->acknowledged_at = 0;
        tell(alerts, alert, NOTICE_WORSE, now);
        keep(alerts, alert);
    } else if (joins || succession.successor) {
        keep(alerts, alert);
    }
}

/* ---- a result ---- */

/* A leaf that has ended breaks its chain, too. */
static bool told_otherwise(const json_t *endpoint, const char *finding, const char *certificate)
{
    const json_t *leaf = json_array_get(json_object_get(endpoint, "certificates"), 0);

    if (strcmp(finding, "chain-expired") == 0)
        return certificate[0] != '\0' && strcmp(json_text(leaf, "sha256"), certificate) == 0;
    for (size_t i = 0; i < ARRAY_SIZE(told_by_steps); i++) {
        if (strcmp(told_by_steps[i], finding) == 0)
            return true;
    }
    return false;
}

static bool endpoint_reached(const json_t *endpoint)
{
    return strcmp(json_text(endpoint, "outcome"), "seen") == 0;
}

static void name_place(struct observation *seen, const json_t *endpoint)
{
    alert_place_name(seen->place, seen->subject->target, endpoint);
    seen->reached = endpoint_reached(endpoint);
}

static const json_t *certificate_of(const json_t *endpoint, const char *sha256)
{
    const json_t *certificates = json_object_get(endpoint, "certificates"), *certificate;
    size_t i;

    json_array_foreach(certificates, i, certificate)
    {
        if (strcmp(json_text(certificate, "sha256"), sha256) == 0)
            return certificate;
    }
    return NULL;
}

static int position_of(const json_t *certificate)
{
    const json_t *position = json_object_get(certificate, "position");

    return position != NULL ? (int)json_integer_value(position) : -1;
}

/* "shop.example, www.shop.example (and 3 more)", or its subject. */
static void name_certificate(char *text, size_t size, const json_t *certificate)
{
    const json_t *names = json_object_get(certificate, "subject_an");
    size_t count = json_array_size(names), used = 0;

    if (count == 0) {
        ignore(snprintf(text, size, "%s", json_text(certificate, "subject")));
        return;
    }
    text[0] = '\0';
    for (size_t i = 0; i < count && i < 2 && used < size; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        used += (size_t)snprintf(text + used, size - used, "%s%.100s", i > 0 ? ", " : "",
                                 name != NULL ? name : "?");
    }
    if (count > 2 && used < size)
        ignore(snprintf(text + used, size - used, " (and %zu more)", count - 2));
}

static void observe_finding(struct alerts *alerts, const struct alert_subject *subject,
                            const json_t *endpoints, const json_t *endpoint, const json_t *finding,
                            int64_t now)
{
    struct observation seen = {.subject = subject,
                               .endpoints = endpoints,
                               .finding = json_text(finding, "id"),
                               .certificate = json_text(finding, "certificate"),
                               .text = json_text(finding, "text"),
                               .next = json_text(finding, "next"),
                               .severity = severity_read(json_text(finding, "severity")),
                               .hard = json_is_true(json_object_get(finding, "hard"))};

    if (seen.severity == SEVERITY_INFO || told_otherwise(endpoint, seen.finding, seen.certificate))
        return;
    bool certain = seen.certificate[0] != '\0';
    ignore(snprintf(seen.cause, sizeof seen.cause, "%s %s", seen.finding,
                    certain ? seen.certificate : subject->target));
    const json_t *certificate = certain ? certificate_of(endpoint, seen.certificate) : NULL;
    seen.position = position_of(certificate);
    if (certain)
        name_certificate(seen.about, sizeof seen.about, certificate);
    else
        ignore(snprintf(seen.about, sizeof seen.about, "%.255s", subject->target));
    name_place(&seen, endpoint);
    observe(alerts, &seen, now);
}

static enum severity step_severity(enum expiry_step step)
{
    return step >= EXPIRY_1_DAY ? SEVERITY_CRITICAL : SEVERITY_WARNING;
}

static void describe_step(char *text, size_t size, const struct expiry_rule *rule,
                          const struct expiry_life *life, enum expiry_step step, int64_t now)
{
    char end[32], left[24];
    int64_t distance = life->not_after > now ? life->not_after - now : now - life->not_after;

    clock_rfc3339_seconds(end, sizeof end, life->not_after);
    string_duration(left, sizeof left, (uint64_t)distance * 1000);
    if (step == EXPIRY_OVER)
        ignore(snprintf(text, size, "has ended %s ago (%s)", left, end));
    else if (rule->manual)
        ignore(snprintf(text, size, "ends in %s (%s)", left, end));
    else
        ignore(snprintf(text, size, "ends in %s (%s) and has not been renewed in time", left, end));
}

static void observe_life(struct alerts *alerts, const struct alert_subject *subject,
                         const json_t *endpoints, const json_t *endpoint, const json_t *certificate,
                         int64_t now)
{
    struct expiry_life life = {.not_before = json_get_time(certificate, "not_before"),
                               .not_after = json_get_time(certificate, "not_after")};
    char text[200];

    if (position_of(certificate) == 0)
        life.window_end = json_get_time(json_object_get(endpoint, "renewal"), "window_end");
    enum expiry_step step = expiry_step(&subject->renewal, &life, now);
    if (step == EXPIRY_FINE || life.not_after == 0)
        return;
    struct observation seen = {.subject = subject,
                               .endpoints = endpoints,
                               .finding = "certificate-ends",
                               .certificate = json_text(certificate, "sha256"),
                               .position = position_of(certificate),
                               .text = text,
                               .next = subject->renewal.manual
                                           ? "Renew the certificate, install it, and load it."
                                           : "Find out why renewal has failed, or why the renewed "
                                             "certificate is not served.",
                               .severity = step_severity(step),
                               .hard = true,
                               .expiring = true,
                               .step = step,
                               .not_after = life.not_after};
    describe_step(text, sizeof text, &subject->renewal, &life, step, now);
    ignore(snprintf(seen.cause, sizeof seen.cause, "certificate-ends %s", seen.certificate));
    name_certificate(seen.about, sizeof seen.about, certificate);
    name_place(&seen, endpoint);
    observe(alerts, &seen, now);
}

static void observe_endpoint(struct alerts *alerts, const struct alert_subject *subject,
                             const json_t *endpoints, const json_t *endpoint, int64_t now)
{
    const json_t *findings = json_object_get(endpoint, "findings"), *item;
    const json_t *certificates = json_object_get(endpoint, "certificates");
    size_t i;

    json_array_foreach(findings, i, item)
    {
        observe_finding(alerts, subject, endpoints, endpoint, item, now);
    }
    json_array_foreach(certificates, i, item)
    {
        /* A leaf that has ended is needed by no path any more. */
        if (i == 0 || json_is_true(json_object_get(item, "needed")))
            observe_life(alerts, subject, endpoints, endpoint, item, now);
    }
}

/* ---- what was not seen again ---- */

static bool has_place_at(const struct watch_alert *alert, const char *target)
{
    for (size_t i = 0; i < alert->place_count; i++) {
        if (strcmp(alert->places[i].target, target) == 0)
            return true;
    }
    return false;
}

static void drop_place(struct alerts *alerts, struct watch_alert *alert, size_t at)
{
    struct alert_place gone = alert->places[at];

    alert->places[at] = alert->places[--alert->place_count];
    if (!has_place_at(alert, gone.target))
        alert_index_remove(&alerts->at_target, gone.target, alert);
}

/* Places of the target that this result does not speak of are better; those that only a handshake
 * can clear wait for one. */
static void better_places(struct alerts *alerts, struct watch_alert *alert, const char *target,
                          bool reached)
{
    for (size_t i = 0; i < alert->place_count; i++) {
        struct alert_place *place = &alert->places[i];
        if (strcmp(place->target, target) != 0 || place->seen || (place->reached && !reached))
            continue;
        place->bad = 0;
        if (++place->good < alerts->rules.close_after)
            continue;
        place->over = place->over || place->open;
        place->open = false;
    }
}

/* The places that are over go last: whether a recovery is told, and of whom, depends on them. */
static void clear_places(struct alerts *alerts, struct watch_alert *alert, const char *target,
                         bool reached, int64_t now)
{
    bool had_open = alert_open_places(alert) != 0;

    better_places(alerts, alert, target, reached);
    if (alert->state == ALERT_OPEN && had_open && alert_open_places(alert) == 0)
        all_clear(alerts, alert, now);
    for (size_t i = alert->place_count; i-- > 0;) {
        const struct alert_place *place = &alert->places[i];
        if (!place->open && place->bad == 0 && !(place->over && alert->state == ALERT_OPEN))
            drop_place(alerts, alert, i);
    }
}

/* May let the alert go by returning false. */
typedef bool each_fn(struct alerts *alerts, struct watch_alert *alert, void *context);

/* Those of the array, which nothing else changes. */
static void for_all(struct alerts *alerts, struct watch_alert *const *all, size_t count,
                    each_fn *fn, void *context)
{
    for (size_t i = 0; i < count; i++) {
        if (!fn(alerts, all[i], context))
            let_go(alerts, all[i]);
    }
}

/* Each alert in turn. */
static void for_each(struct alerts *alerts, each_fn *fn, void *context)
{
    const struct map_entry *entry;
    size_t count = alerts->by_cause.count, taken = 0;
    struct watch_alert **all = calloc(count > 0 ? count : 1, sizeof(struct watch_alert *));

    if (all == NULL)
        return;
    for (size_t at = 0; (entry = map_next(&alerts->by_cause, &at)) != NULL && taken < count;)
        all[taken++] = entry->value;
    for_all(alerts, all, taken, fn, context);
    free(all);
}

/* Each one with a place at the target. */
static void for_each_at(struct alerts *alerts, const char *target, each_fn *fn, void *context)
{
    const struct alert_list *list = alert_index_get(&alerts->at_target, target);
    size_t count = list == NULL ? 0 : list->count;
    struct watch_alert **all = count == 0 ? NULL : calloc(count, sizeof(struct watch_alert *));

    if (all == NULL)
        return;
    memcpy(all, list->items, count * sizeof(struct watch_alert *));
    for_all(alerts, all, count, fn, context);
    free(all);
}

struct clearing {
    const char *target;
    bool reached;
    int64_t now;
};

static bool forget_seen(struct alerts *alerts, struct watch_alert *alert, void *context)
{
    (void)alerts;
    (void)context;
    for (size_t i = 0; i < alert->place_count; i++)
        alert->places[i].seen = false;
    return true;
}

static bool clear(struct alerts *alerts, struct watch_alert *alert, void *context)
{
    const struct clearing *clearing = context;

    clear_places(alerts, alert, clearing->target, clearing->reached, clearing->now);
    return alert->state != ALERT_PENDING || alert->place_count > 0;
}

void alerts_result(struct alerts *alerts, const struct alert_subject *subject,
                   const json_t *endpoints, int64_t now)
{
    struct clearing clearing = {.target = subject->target, .now = now};
    const json_t *endpoint;
    size_t i;

    for_each_at(alerts, subject->target, forget_seen, NULL);
    json_array_foreach(endpoints, i, endpoint)
    {
        clearing.reached = clearing.reached || endpoint_reached(endpoint);
        observe_endpoint(alerts, subject, endpoints, endpoint, now);
    }
    for_each_at(alerts, subject->target, clear, &clearing);
}

struct keeping {
    alerts_watched_fn *watched;
    const void *context;
    int64_t now;
};

static bool forget(struct alerts *alerts, struct watch_alert *alert, void *context)
{
    const struct keeping *keeping = context;
    size_t before = alert->place_count;

    for (size_t i = alert->place_count; i-- > 0;) {
        if (!keeping->watched(keeping->context, alert->places[i].target))
            drop_place(alerts, alert, i);
    }
    if (alert->state == ALERT_OPEN && alert->place_count < before &&
        alert_open_places(alert) == 0) {
        alert->noticed_at = 0; /* nobody is told */
        close_alert(alerts, alert, keeping->now);
    }
    return alert->state != ALERT_PENDING || alert->place_count > 0;
}

void alerts_keep(struct alerts *alerts, alerts_watched_fn *watched, const void *context,
                 int64_t now)
{
    struct keeping keeping = {.watched = watched, .context = context, .now = now};

    for_each(alerts, forget, &keeping);
}

static bool is_other(const void *context, const char *target)
{
    return strcmp(context, target) != 0;
}

void alerts_forget(struct alerts *alerts, const char *target, int64_t now)
{
    struct keeping keeping = {.watched = is_other, .context = target, .now = now};

    for_each_at(alerts, target, forget, &keeping);
}

/* ---- as time goes by ---- */

static bool tick(struct alerts *alerts, struct watch_alert *alert, void *context)
{
    const int64_t now = *(const int64_t *)context;

    if (is_past(alert, now)) {
        alerts->host.forget(alerts->host.context, alert);
        return false;
    }
    if (alert->state != ALERT_OPEN)
        return alert->state == ALERT_CLOSED || alert->place_count > 0; /* else: no memory */
    if (alert_open_places(alert) == 0) {
        if (now - alert->bad_at >= alerts->rules.quiet_s)
            close_alert(alerts, alert, now);
    } else if (alert->silenced) {
        tell(alerts, alert, alert->noticed_at < alert->opened_at ? NOTICE_OPENED : NOTICE_WORSE,
             now);
        if (!alert->silenced)
            keep(alerts, alert);
    } else if (alerts->rules.reminder_s > 0 && alert->acknowledged_at == 0 &&
               now - alert->noticed_at >= alerts->rules.reminder_s) {
        tell(alerts, alert, NOTICE_REMINDER, now);
        keep(alerts, alert);
    }
    return true;
}

void alerts_tick(struct alerts *alerts, int64_t now)
{
    for_each(alerts, tick, &now);
}

void alerts_acknowledge(struct alerts *alerts, struct watch_alert *alert, const char *by,
                        const char *comment, int64_t now)
{
    alert->acknowledged_at = now;
    string_copy(alert->acknowledged_by, sizeof alert->acknowledged_by, by);
    string_copy(alert->comment, sizeof alert->comment, comment);
    keep(alerts, alert);
}
