#include "alerts_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/string.h"

static bool notice(void *context, const struct watch_alert *alert, enum notice kind)
{
    struct world *world = context;

    if (world->silent || silence_matches(&world->silence, alert, world->now))
        return false;
    world->notices[kind]++;
    ignore(snprintf(world->last, sizeof world->last, "%s", alert->text));
    return true;
}

static void keep(void *context, const struct watch_alert *alert)
{
    struct world *world = context;
    AUTO(json_t_pointer) object = alert_to_json(alert);
    struct watch_alert *again = alert_from_json(object);

    world->kept++;
    assert_non_null(again);
    assert_string_equal(again->cause, alert->cause);
    assert_int_equal(again->place_count, alert->place_count);
    assert_int_equal(again->noticed_at, alert->noticed_at);
    alert_free(again);
}

static void forget(void *context, const struct watch_alert *alert)
{
    struct world *world = context;

    assert_int_equal(alert->state, ALERT_CLOSED);
    world->forgotten++;
}

void world_begin(struct world *world)
{
    const struct alerts_rules rules = {
        .open_after = 3, .close_after = 2, .reminder_s = DAY, .quiet_s = 6 * HOUR, .flaps = 4};
    const struct alerts_host host = {
        .context = world, .notice = notice, .keep = keep, .forget = forget};

    *world = (struct world){.now = START};
    alerts_init(&world->alerts, &rules, &host);
}

json_t *endpoint(const char *address, const char *outcome)
{
    return json_pack("{s:s, s:s, s:s, s:[], s:[]}", "address", address, "outcome", outcome,
                     "key_type", "ecdsa", "findings", "certificates");
}

void add_finding(json_t *object, const char *id, const char *severity, const char *certificate,
                 bool hard)
{
    ignore(json_array_append_new(json_object_get(object, "findings"),
                                 json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "id", id, "severity",
                                           severity, "text", "text of it", "next", "do this",
                                           "certificate", certificate, "hard", (int)hard)));
}

void add_certificate(json_t *object, const char *sha256, int64_t not_before, int64_t not_after)
{
    json_t *list = json_object_get(object, "certificates");
    json_t *certificate =
        json_pack("{s:i, s:s, s:b, s:[s]}", "position", (int)json_array_size(list), "sha256",
                  sha256, "needed", 1, "subject_an", "shop.example");

    json_set_time(certificate, "not_before", not_before);
    json_set_time(certificate, "not_after", not_after);
    ignore(json_array_append_new(list, certificate));
}

void world_results(struct world *world, const char *target, json_t *first, json_t *second)
{
    const struct alert_subject subject = {
        .watch = "web", .target = target, .owner = "", .service = ""};
    AUTO(json_t_pointer) endpoints = json_array();

    if (first != NULL)
        ignore(json_array_append_new(endpoints, first));
    if (second != NULL)
        ignore(json_array_append_new(endpoints, second));
    alerts_result(&world->alerts, &subject, endpoints, world->now);
}

void world_result(struct world *world, const char *target, json_t *object)
{
    world_results(world, target, object, NULL);
}

json_t *healthy(void)
{
    return endpoint("192.0.2.1:443", "seen");
}

json_t *refused(void)
{
    json_t *object = endpoint("192.0.2.1:443", "refused");

    add_finding(object, "connection-refused", "critical", "", false);
    return object;
}

json_t *revoked(void)
{
    json_t *object = healthy();

    add_finding(object, "revoked", "critical", "aa", true);
    return object;
}
