#include "admin/key_usage.h"

#include <math.h>

#include "admin/event_json.h"
#include "admin/sessions.h"
#include "base/clock.h"
#include "base/json.h"

static struct key_usage_entry *entry_of(struct key_usage_survey *survey, const struct leg *leg)
{
    for (size_t i = 0; i < survey->count; i++) {
        struct key_usage_entry *entry = &survey->entries[i];
        if (entry->version == leg->version && entry->suite == leg->suite)
            return entry;
    }
    if (survey->count == KEY_USAGE_SUITES)
        return NULL;
    struct key_usage_entry *entry = &survey->entries[survey->count++];
    *entry = (struct key_usage_entry){.version = leg->version, .suite = leg->suite};
    return entry;
}

/* How near its key is to the limits of its listener. */
static double share_of(const struct conf *conf, const struct slot *slot,
                       const struct key_usage *usage, enum key_cause *ret_cause)
{
    const struct leg *leg = &slot_hot(slot)->client;
    const struct suite *suite = suite_find(leg->version, leg->suite);
    struct key_limits limits = {0};

    if (suite != NULL && slot->listener < conf->listener_count &&
        conf->listeners[slot->listener].name != NULL)
        governor_limits(conf, &conf->listeners[slot->listener], suite, &limits);
    return governor_share(&limits, usage, clock_monotonic_ns(), ret_cause);
}

static void count(const struct conf *conf, struct key_usage_survey *survey, unsigned relay,
                  const struct slot *slot)
{
    const struct leg *leg = &slot_hot(slot)->client;
    enum key_cause limit;

    if ((slot->flags & SLOT_PASS_THROUGH) != 0 || leg->suite == 0 ||
        (survey->listener != CONF_NONE && slot->listener != survey->listener))
        return;
    struct key_usage_entry *entry = entry_of(survey, leg);
    struct key_usage usage = leg_write_usage(leg);
    double used = share_of(conf, slot, &usage, &limit);
    if (entry == NULL)
        return;
    if (entry->sessions++ == 0 || used > entry->used) {
        entry->usage = usage;
        entry->used = used;
        entry->limit = limit;
        entry->session = SESSION_ID(relay, slot->serial);
    }
}

bool key_usage_survey(const struct admin_view *view, struct key_usage_survey *survey,
                      size_t maximum)
{
    struct slot slot;

    for (; maximum > 0 && survey->relay < view->workers; maximum--) {
        if (survey->slot >= session_slots(view, survey->relay)) {
            survey->relay++;
            survey->slot = 0;
            continue;
        }
        if (session_read(&view->arenas[survey->relay], survey->slot++, &slot))
            count(view->conf, survey, survey->relay, &slot);
    }
    return survey->relay >= view->workers;
}

/* Null without a limit; when it is reached is null, too, for a key that was not used. */
static void set_limit(json_t *object, const struct key_usage_entry *entry, double age_s)
{
    bool limited = entry->used >= 0;
    double left = entry->used > 0 ? (1 / entry->used - 1) * age_s : INFINITY;

    ignore(json_object_set_new(object, "used", limited ? json_real(entry->used) : json_null()));
    ignore(json_object_set_new(object, "limit",
                               limited ? json_string(key_cause_name(entry->limit)) : json_null()));
    ignore(json_object_set_new(object, "seconds_left",
                               isfinite(left) ? json_real(left > 0 ? left : 0) : json_null()));
}

json_t *key_usage_to_json(const struct admin_view *view, const struct key_usage_survey *survey,
                          const struct key_usage_entry *entry, uint64_t now_ns)
{
    char number[VIEW_NUMBER_MAX], id[SESSION_ID_TEXT_MAX];
    uint64_t age = now_ns > entry->usage.since ? now_ns - entry->usage.since : 0;
    json_t *object = json_object();

    json_set_text(object, "listener", view_listener_name(view->conf, survey->listener));
    json_set_text(object, "version", view_version_name(entry->version, number));
    json_set_text(object, "suite", view_suite_name(entry->version, entry->suite, number));
    json_set_number(object, "sessions", entry->sessions);
    json_set_text(
        object, "session",
        session_id_text(id, SESSION_ID_RELAY(entry->session), SESSION_ID_SERIAL(entry->session)));
    json_set_number(object, "records", entry->usage.records);
    json_set_number(object, "blocks", entry->usage.blocks);
    json_set_number(object, "bytes", entry->usage.bytes);
    json_set_number(object, "age_ms", age / NS_PER_MS);
    set_limit(object, entry, (double)age / NS_PER_S);
    return object;
}
