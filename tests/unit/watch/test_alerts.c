/* From results to alerts: when they open, get worse, close, and how few they stay. */
#include "watch/alerts/alerts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/string.h"
#include "watch/alerts/silence.h"

#define MINUTE INT64_C(60)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define START  (20000 * DAY)

struct world {
    struct alerts alerts;
    unsigned notices[NOTICE_RECOVERED + 1];
    bool silent;
    struct silence silence; /* none when it has no end */
    unsigned kept, forgotten;
    char last[400]; /* text of the last alert that was told of */
    int64_t now;
};

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

static void begin(struct world *world)
{
    const struct alerts_rules rules = {
        .open_after = 3, .close_after = 2, .reminder_s = DAY, .quiet_s = 6 * HOUR, .flaps = 4};
    const struct alerts_host host = {
        .context = world, .notice = notice, .keep = keep, .forget = forget};

    *world = (struct world){.now = START};
    alerts_init(&world->alerts, &rules, &host);
}

static json_t *endpoint(const char *address, const char *outcome)
{
    return json_pack("{s:s, s:s, s:s, s:[], s:[]}", "address", address, "outcome", outcome,
                     "key_type", "ecdsa", "findings", "certificates");
}

static void add_finding(json_t *object, const char *id, const char *severity,
                        const char *certificate, bool hard)
{
    ignore(json_array_append_new(json_object_get(object, "findings"),
                                 json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "id", id, "severity",
                                           severity, "text", "text of it", "next", "do this",
                                           "certificate", certificate, "hard", (int)hard)));
}

static void add_certificate(json_t *object, const char *sha256, int64_t not_before,
                            int64_t not_after)
{
    json_t *list = json_object_get(object, "certificates");
    json_t *certificate =
        json_pack("{s:i, s:s, s:b, s:[s]}", "position", (int)json_array_size(list), "sha256",
                  sha256, "needed", 1, "subject_an", "shop.example");

    json_set_time(certificate, "not_before", not_before);
    json_set_time(certificate, "not_after", not_after);
    ignore(json_array_append_new(list, certificate));
}

/* One result of up to two endpoints, which are taken over (NULL: none). */
static void results(struct world *world, const char *target, json_t *first, json_t *second)
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

static void result(struct world *world, const char *target, json_t *object)
{
    results(world, target, object, NULL);
}

static json_t *healthy(void)
{
    return endpoint("192.0.2.1:443", "seen");
}

static json_t *refused(void)
{
    json_t *object = endpoint("192.0.2.1:443", "refused");

    add_finding(object, "connection-refused", "critical", "", false);
    return object;
}

static json_t *revoked(void)
{
    json_t *object = healthy();

    add_finding(object, "revoked", "critical", "aa", true);
    return object;
}

static void test_mishaps_open_nothing(void **state)
{
    struct world world;
    (void)state;

    begin(&world);
    for (int i = 0; i < 20; i++) {
        result(&world, "a:443", i % 3 == 2 ? healthy() : refused());
        world.now += MINUTE;
    }
    assert_int_equal(world.notices[NOTICE_OPENED], 0);
    result(&world, "a:443", healthy());
    assert_int_equal(world.alerts.by_cause.count, 0);
    alerts_fini(&world.alerts);
}

static void test_info_is_no_alert(void **state)
{
    struct world world;
    json_t *object = healthy();
    (void)state;

    begin(&world);
    add_finding(object, "post-quantum", "info", "", true);
    add_finding(object, "certificate-expires-soon", "critical", "aa", true); /* told by steps */
    result(&world, "a:443", object);
    assert_int_equal(world.alerts.by_cause.count, 0);
    alerts_fini(&world.alerts);
}

static void test_opens_and_recovers(void **state)
{
    struct world world;
    (void)state;

    begin(&world);
    for (int i = 0; i < 3; i++)
        result(&world, "a:443", refused());
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    result(&world, "a:443", refused());
    result(&world, "a:443", healthy());
    assert_int_equal(world.notices[NOTICE_RECOVERED], 0);
    result(&world, "a:443", healthy());
    assert_int_equal(world.notices[NOTICE_RECOVERED], 1);
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    alerts_fini(&world.alerts);
}

static void test_hard_facts_open_at_once(void **state)
{
    struct world world;
    (void)state;

    begin(&world);
    result(&world, "a:443", revoked());
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    alerts_fini(&world.alerts);
}

static void test_unreachable_clears_no_certificate(void **state)
{
    struct world world;
    (void)state;

    begin(&world);
    result(&world, "a:443", revoked());
    for (int i = 0; i < 5; i++)
        result(&world, "a:443", refused());
    assert_int_equal(world.notices[NOTICE_RECOVERED], 0);
    assert_int_equal(world.notices[NOTICE_OPENED], 2); /* revoked; refused */
    alerts_fini(&world.alerts);
}

static void test_one_alert_for_a_certificate(void **state)
{
    struct world world;
    char target[32];
    (void)state;

    begin(&world);
    for (int i = 0; i < 200; i++) {
        ignore(snprintf(target, sizeof target, "host%d:443", i));
        result(&world, target, revoked());
    }
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    assert_int_equal(world.alerts.by_cause.count, 1);
    assert_int_equal(alert_open_places(alerts_find(&world.alerts, 1)), 200);
    for (int i = 0; i < 2; i++)
        result(&world, "host0:443", healthy());
    assert_int_equal(world.notices[NOTICE_RECOVERED], 0);
    assert_int_equal(alert_open_places(alerts_find(&world.alerts, 1)), 199);
    assert_int_equal(alerts_find(&world.alerts, 1)->place_count, 200); /* to be told of */
    for (int i = 2; i < 400; i++) {
        ignore(snprintf(target, sizeof target, "host%d:443", i / 2));
        result(&world, target, healthy());
    }
    assert_int_equal(world.notices[NOTICE_RECOVERED], 1);
    assert_int_equal(alerts_find(&world.alerts, 1)->place_count, 0);
    alerts_fini(&world.alerts);
}

/* What could not be found out at one place does not hide what is known of another. */
static void test_unknown_hides_nothing(void **state)
{
    struct world world;
    json_t *object = healthy();
    (void)state;

    begin(&world);
    result(&world, "a:443", revoked());
    add_finding(object, "revoked", "unknown", "aa", true);
    result(&world, "b:443", object);
    assert_int_equal(alerts_find(&world.alerts, 1)->severity, SEVERITY_CRITICAL);
    alerts_fini(&world.alerts);
}

static void test_steps_of_a_life(void **state)
{
    struct world world;
    (void)state;

    begin(&world);
    for (int day = 0; day <= 90; day++) {
        json_t *object = healthy();
        add_certificate(object, "aa", START, START + 90 * DAY);
        world.now = START + day * DAY;
        result(&world, "a:443", object);
    }
    assert_int_equal(world.notices[NOTICE_OPENED], 1); /* overdue */
    assert_int_equal(world.notices[NOTICE_WORSE], 4);  /* 14, 7, 1, over */
    assert_non_null(strstr(world.last, "has ended"));
    assert_int_equal(alerts_find(&world.alerts, 1)->level, 4);
    /* replaced */
    for (int i = 0; i < 2; i++) {
        json_t *object = healthy();
        add_certificate(object, "bb", world.now, world.now + 90 * DAY);
        result(&world, "a:443", object);
    }
    assert_int_equal(world.notices[NOTICE_RECOVERED], 1);
    alerts_fini(&world.alerts);
}

/* At its end a certificate is on no path any more; that is no recovery, and no second alert. */
static void test_ended(void **state)
{
    struct world world;
    (void)state;

    begin(&world);
    for (int day = 88; day <= 92; day++) {
        json_t *object = healthy();
        add_certificate(object, "aa", START, START + 90 * DAY);
        if (day >= 90) {
            json_object_set_new(json_array_get(json_object_get(object, "certificates"), 0),
                                "needed", json_false());
            add_finding(object, "certificate-expired", "critical", "aa", true);
            add_finding(object, "chain-expired", "critical", "aa", true);
        }
        world.now = START + day * DAY;
        result(&world, "a:443", object);
    }
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    assert_int_equal(world.notices[NOTICE_RECOVERED], 0);
    assert_int_equal(alerts_find(&world.alerts, 1)->step, EXPIRY_OVER);
    alerts_fini(&world.alerts);
}

/* Dates of others' certificates may lie anywhere. */
static void test_ended_before_the_epoch(void **state)
{
    struct world world;
    json_t *object = healthy();
    (void)state;

    begin(&world);
    add_certificate(object, "aa", -800 * DAY, -700 * DAY);
    result(&world, "a:443", object);
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    assert_non_null(strstr(world.last, "(1968-02-01T"));
    alerts_fini(&world.alerts);
}

static void test_acknowledged(void **state)
{
    struct world world;
    (void)state;

    begin(&world);
    result(&world, "a:443", revoked());
    world.now += 25 * HOUR;
    alerts_tick(&world.alerts, world.now);
    assert_int_equal(world.notices[NOTICE_REMINDER], 1);
    alerts_acknowledge(&world.alerts, alerts_find(&world.alerts, 1), "ann", "on it", world.now);
    world.now += 25 * HOUR;
    alerts_tick(&world.alerts, world.now);
    assert_int_equal(world.notices[NOTICE_REMINDER], 1);
    alerts_fini(&world.alerts);
}

static void test_acknowledged_is_not_escalated(void **state)
{
    struct world world;
    json_t *object = healthy();
    (void)state;

    begin(&world);
    world.now = START + 70 * DAY;
    add_certificate(object, "aa", START, START + 90 * DAY);
    result(&world, "a:443", object);
    struct watch_alert *alert = alerts_find(&world.alerts, 1);
    alerts_acknowledge(&world.alerts, alert, "ann", "", world.now);
    world.now = START + 80 * DAY;
    object = healthy();
    add_certificate(object, "aa", START, START + 90 * DAY);
    result(&world, "a:443", object);
    assert_int_equal(world.notices[NOTICE_WORSE], 1);
    assert_int_equal(alert->level, 0);
    assert_int_equal(alert->acknowledged_at, 0); /* the next step wants an answer of its own */
    alerts_fini(&world.alerts);
}

static void test_silence(void **state)
{
    struct world world;
    (void)state;

    begin(&world);
    world.silent = true;
    result(&world, "a:443", revoked());
    alerts_tick(&world.alerts, world.now += MINUTE);
    assert_int_equal(world.notices[NOTICE_OPENED], 0);
    world.silent = false;
    alerts_tick(&world.alerts, world.now += MINUTE);
    alerts_tick(&world.alerts, world.now += MINUTE);
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    /* came and went in silence: nobody hears of it */
    world.silent = true;
    result(&world, "b:443", NULL);
    for (int i = 0; i < 3; i++)
        result(&world, "b:443", refused());
    world.silent = false;
    for (int i = 0; i < 2; i++)
        result(&world, "b:443", healthy());
    assert_int_equal(world.notices[NOTICE_RECOVERED], 0);
    alerts_fini(&world.alerts);
}

/* When it recovers an alert has no open place left: its silence is still that of its target, and
 * the silence of another target is not. */
static void test_silence_of_a_target(void **state)
{
    struct world world;
    (void)state;

    begin(&world);
    result(&world, "a:443", revoked());
    world.silence = (struct silence){.until = INT64_MAX};
    ignore(string_copy(world.silence.target, sizeof world.silence.target, "b:443"));
    result(&world, "a:443", healthy());
    result(&world, "a:443", healthy());
    assert_int_equal(world.notices[NOTICE_RECOVERED], 1);
    result(&world, "a:443", revoked());
    assert_int_equal(world.notices[NOTICE_OPENED], 2);
    ignore(string_copy(world.silence.target, sizeof world.silence.target, "a:443"));
    result(&world, "a:443", healthy());
    result(&world, "a:443", healthy());
    assert_int_equal(world.notices[NOTICE_RECOVERED], 1);
    alerts_fini(&world.alerts);
}

/* A week of a server that is up for ten minutes and down for ten, checked every minute. */
static void test_week_of_flapping(void **state)
{
    struct world world;
    size_t open_most = 0;
    (void)state;

    begin(&world);
    for (int minute = 0; minute < 7 * 24 * 60; minute++) {
        world.now += MINUTE;
        result(&world, "a:443", minute / 10 % 2 == 0 ? refused() : healthy());
        alerts_tick(&world.alerts, world.now);
        if (world.alerts.by_cause.count > open_most)
            open_most = world.alerts.by_cause.count;
    }
    assert_int_equal(open_most, 1);
    assert_true(world.notices[NOTICE_OPENED] <= 3);
    assert_true(world.notices[NOTICE_RECOVERED] <= 2);
    assert_int_equal(alerts_find(&world.alerts, 1)->state, ALERT_OPEN);
    for (int minute = 0; minute < 7 * 60; minute++) {
        world.now += MINUTE;
        result(&world, "a:443", healthy());
        alerts_tick(&world.alerts, world.now);
    }
    assert_int_equal(alerts_find(&world.alerts, 1)->state, ALERT_CLOSED);
    world.now += 2 * DAY;
    alerts_tick(&world.alerts, world.now);
    assert_int_equal(world.alerts.by_cause.count, 0);
    alerts_fini(&world.alerts);
}

/* ---- bad certificates that follow one another ---- */

#define SIXTH "192.0.2.6:443"
#define FIRST "192.0.2.1:443"

/* An endpoint whose certificate is bad. */
static json_t *bad_by(const char *address, const char *sha256, bool hard)
{
    json_t *object = endpoint(address, "seen");

    add_certificate(object, sha256, START, START + 3000 * DAY);
    add_finding(object, "untrusted", "critical", sha256, hard);
    return object;
}

static char *numbered(char text[16], int number)
{
    ignore(snprintf(text, 16, "%x", number));
    return text;
}

static size_t count_open(const struct world *world)
{
    const struct map_entry *entry;
    size_t count = 0;

    for (size_t at = 0; (entry = map_next(&world->alerts.by_cause, &at)) != NULL;)
        count += ((const struct watch_alert *)entry->value)->state == ALERT_OPEN;
    return count;
}

/* What is graver at one place than all that people were told of is told of. */
static void test_graver_successor_is_another_alert(void **state)
{
    struct world world;
    json_t *object = endpoint(FIRST, "seen");
    (void)state;

    begin(&world);
    world.now = START + 80 * DAY;
    for (int i = 0; i < 2; i++) {
        json_t *soon = endpoint(FIRST, "seen");
        add_certificate(soon, "aa", START, START + 90 * DAY);
        result(&world, i == 0 ? "a:443" : "b:443", soon);
    }
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    add_certificate(object, "bb", START, START + 79 * DAY);
    result(&world, "a:443", object);
    assert_int_equal(world.notices[NOTICE_OPENED], 2);
    assert_int_equal(alerts_find(&world.alerts, 2)->step, EXPIRY_OVER);
    assert_int_equal(alert_open_places(alerts_find(&world.alerts, 1)), 1);
    alerts_fini(&world.alerts);
}

/* A leaf and the intermediate behind it are two causes at one place, and stay two. */
static void test_successors_by_position(void **state)
{
    struct world world;
    char leaf[16], issuer[16];
    (void)state;

    begin(&world);
    for (int i = 0; i < 10; i++) {
        json_t *object = bad_by(FIRST, numbered(leaf, 2 * i), true);
        add_certificate(object, numbered(issuer, 2 * i + 1), START, START + 3000 * DAY);
        add_finding(object, "untrusted", "critical", issuer, true);
        result(&world, "a:443", object);
    }
    assert_int_equal(world.notices[NOTICE_OPENED], 2);
    assert_int_equal(world.alerts.by_cause.count, 2);
    assert_int_equal(count_open(&world), 2);
    alerts_fini(&world.alerts);
}

static void test_new_bad_certificate_at_every_check(void **state)
{
    struct world world;
    char sha256[16];
    (void)state;

    begin(&world);
    for (int minute = 0; minute < 7 * 24 * 60; minute++) {
        world.now += MINUTE;
        numbered(sha256, minute);
        results(&world, "a:443", bad_by(FIRST, sha256, true), bad_by(SIXTH, sha256, true));
        result(&world, "b:443", bad_by(FIRST, sha256, true));
        assert_int_equal(world.alerts.by_cause.count, 1);
    }
    const struct watch_alert *alert = alerts_find(&world.alerts, 1);
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    assert_int_equal(world.notices[NOTICE_WORSE], 0);
    assert_int_equal(alert_open_places(alert), 3);
    assert_string_equal(alert->certificate, sha256);
    assert_string_equal(alert->cause, "untrusted 0"); /* by which others know it */
    assert_non_null(strstr(alert->text, "replaced 10079 times, by none that is better"));
    for (int i = 0; i < 2; i++) {
        results(&world, "a:443", healthy(), endpoint(SIXTH, "seen"));
        result(&world, "b:443", healthy());
    }
    assert_int_equal(world.notices[NOTICE_RECOVERED], 1);
    assert_int_equal(count_open(&world), 0);
    alerts_fini(&world.alerts);
}

/* Findings that open after some bad results count them over all certificates. */
static void test_soft_findings_are_counted_on(void **state)
{
    struct world world;
    char sha256[16];
    (void)state;

    begin(&world);
    for (int i = 0; i < 10; i++) {
        result(&world, "a:443", bad_by(FIRST, numbered(sha256, i), false));
        assert_int_equal(world.notices[NOTICE_OPENED], i < 2 ? 0 : 1);
    }
    assert_int_equal(world.alerts.by_cause.count, 1);
    alerts_fini(&world.alerts);
}

/* An alert speaks of its certificate until no place sends it any more. */
static void test_one_place_after_the_other(void **state)
{
    struct world world;
    (void)state;

    begin(&world);
    result(&world, "a:443", bad_by(FIRST, "aa", true));
    result(&world, "b:443", bad_by(FIRST, "aa", true));
    for (int i = 0; i < 3; i++)
        result(&world, "a:443", bad_by(FIRST, "bb", true));
    const struct watch_alert *alert = alerts_find(&world.alerts, 1);
    assert_string_equal(alert->certificate, "aa");
    assert_int_equal(alert_open_places(alert), 2);
    result(&world, "c:443", bad_by(FIRST, "bb", true)); /* new, and told of */
    assert_int_equal(world.notices[NOTICE_OPENED], 2);
    for (int i = 0; i < 2; i++)
        result(&world, "a:443", bad_by(FIRST, "bb", true)); /* goes to its like */
    assert_int_equal(alert_open_places(alert), 1);
    assert_int_equal(alert_open_places(alerts_find(&world.alerts, 2)), 2);
    for (int i = 0; i < 2; i++)
        result(&world, "b:443", bad_by(FIRST, "bb", true));
    assert_int_equal(alert_open_places(alerts_find(&world.alerts, 2)), 3);
    assert_int_equal(alert->state, ALERT_CLOSED);
    assert_int_equal(world.notices[NOTICE_OPENED], 2);
    assert_int_equal(world.notices[NOTICE_RECOVERED], 1);
    alerts_fini(&world.alerts);
}

/* Two nodes with a bad certificate each, answering in turn: one trouble. */
static void test_bad_certificates_in_turn(void **state)
{
    struct world world;
    (void)state;

    begin(&world);
    for (int i = 0; i < 100; i++) {
        world.now += MINUTE;
        result(&world, "a:443", bad_by(FIRST, i % 2 == 0 ? "aa" : "bb", true));
        alerts_tick(&world.alerts, world.now);
        assert_int_equal(world.alerts.by_cause.count, 1);
    }
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    alerts_fini(&world.alerts);
}

/* A week of ten bad and ten good minutes, with another bad certificate each time. */
static void test_week_of_flapping_certificates(void **state)
{
    struct world world;
    char sha256[16];
    (void)state;

    begin(&world);
    for (int minute = 0; minute < 7 * 24 * 60; minute++) {
        world.now += MINUTE;
        bool bad = minute / 10 % 2 == 0;
        result(&world, "a:443",
               bad ? bad_by(FIRST, numbered(sha256, minute / 20), true) : healthy());
        alerts_tick(&world.alerts, world.now);
        assert_true(count_open(&world) <= 1);
    }
    assert_true(world.notices[NOTICE_OPENED] <= 3);
    assert_true(world.notices[NOTICE_RECOVERED] <= 2);
    assert_int_equal(world.alerts.last_number, 1);
    alerts_fini(&world.alerts);
}

/* What is kept of a closed alert is no longer needed after a day; its number is not given again. */
static void test_closed_are_forgotten(void **state)
{
    struct world world;
    (void)state;

    begin(&world);
    result(&world, "a:443", revoked());
    for (int i = 0; i < 2; i++)
        result(&world, "a:443", healthy());
    alerts_tick(&world.alerts, world.now += DAY - 1);
    assert_int_equal(world.forgotten, 0);
    alerts_tick(&world.alerts, world.now += 1);
    assert_int_equal(world.forgotten, 1);
    assert_int_equal(world.alerts.by_cause.count, 0);
    result(&world, "a:443", revoked());
    assert_non_null(alerts_find(&world.alerts, 2));
    alerts_fini(&world.alerts);
}

static bool is_a(const void *context, const char *target)
{
    (void)context;
    return strcmp(target, "a:443") == 0;
}

/* What is open of targets that no configuration names any more would stay open for ever. */
static void test_kept(void **state)
{
    struct world world;
    (void)state;

    begin(&world);
    result(&world, "a:443", revoked());
    for (int i = 0; i < 3; i++)
        result(&world, "b:443", refused());
    assert_int_equal(world.notices[NOTICE_OPENED], 2);
    alerts_keep(&world.alerts, is_a, NULL, world.now);
    assert_int_equal(alerts_find(&world.alerts, 1)->state, ALERT_OPEN);
    assert_int_equal(alerts_find(&world.alerts, 2)->state, ALERT_CLOSED);
    assert_int_equal(world.notices[NOTICE_RECOVERED], 0);
    alerts_fini(&world.alerts);
}

static void test_restored(void **state)
{
    struct world first, second;
    (void)state;

    begin(&first);
    result(&first, "a:443", revoked());
    AUTO(json_t_pointer) kept = alert_to_json(alerts_find(&first.alerts, 1));
    alerts_fini(&first.alerts);
    begin(&second);
    alerts_restore(&second.alerts, alert_from_json(kept), second.now);
    result(&second, "a:443", revoked());
    assert_int_equal(second.notices[NOTICE_OPENED], 0);
    json_object_del(kept, "key"); /* as older versions wrote it */
    struct watch_alert *old = alert_from_json(kept);
    assert_string_equal(old->key, old->cause);
    alert_free(old);
    json_object_clear(kept);
    assert_null(alert_from_json(kept));
    json_t *object = refused();
    result(&second, "b:443", object);
    alerts_forget(&second.alerts, "b:443", second.now);
    alerts_forget(&second.alerts, "a:443", second.now);
    assert_int_equal(second.notices[NOTICE_RECOVERED], 0);
    assert_int_equal(alerts_find(&second.alerts, 1)->state, ALERT_CLOSED);
    alerts_fini(&second.alerts);
}

/* Restored places are found by their targets like those that were seen. */
static void test_restored_places_are_cleared(void **state)
{
    struct world first, second;
    (void)state;

    begin(&first);
    result(&first, "a:443", revoked());
    result(&first, "b:443", revoked());
    AUTO(json_t_pointer) kept = alert_to_json(alerts_find(&first.alerts, 1));
    alerts_fini(&first.alerts);
    begin(&second);
    alerts_restore(&second.alerts, alert_from_json(kept), second.now);
    alerts_restore(&second.alerts, alert_from_json(kept), second.now); /* in place of the other */
    assert_int_equal(second.alerts.by_cause.count, 1);
    for (int i = 0; i < 2; i++)
        result(&second, "a:443", healthy());
    assert_int_equal(alert_open_places(alerts_find(&second.alerts, 1)), 1);
    assert_int_equal(alerts_find(&second.alerts, 1)->state, ALERT_OPEN);
    for (int i = 0; i < 2; i++)
        result(&second, "b:443", healthy());
    assert_int_equal(alerts_find(&second.alerts, 1)->state, ALERT_CLOSED);
    assert_int_equal(second.notices[NOTICE_RECOVERED], 1);
    alerts_fini(&second.alerts);
}

#define MANY 1000

static void each_of_many(struct world *world, json_t *(*make)(void))
{
    char target[32];

    for (int i = 0; i < MANY; i++) {
        ignore(snprintf(target, sizeof target, "host%d:443", i));
        if (make != NULL)
            result(world, target, make());
        else
            alerts_forget(&world->alerts, target, world->now);
    }
}

/* Each target has an alert of its own, and all have one in common; nothing is left of them. */
static void test_many(void **state)
{
    struct world world;
    (void)state;

    begin(&world);
    each_of_many(&world, revoked);
    for (int i = 0; i < 3; i++)
        each_of_many(&world, refused);
    assert_int_equal(world.notices[NOTICE_OPENED], MANY + 1);
    assert_int_equal(alert_open_places(alerts_find(&world.alerts, 1)), MANY);
    assert_int_equal(world.alerts.at_target.by_target.count, MANY);
    for (int i = 0; i < 2; i++)
        each_of_many(&world, healthy);
    assert_int_equal(world.notices[NOTICE_RECOVERED], MANY + 1);
    assert_int_equal(world.alerts.at_target.by_target.count, 0);
    each_of_many(&world, refused); /* pending: it goes without a trace */
    each_of_many(&world, NULL);
    assert_int_equal(world.alerts.at_target.by_target.count, 0);
    world.now += 2 * DAY;
    alerts_tick(&world.alerts, world.now);
    assert_int_equal(world.alerts.by_cause.count, 0);
    alerts_fini(&world.alerts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mishaps_open_nothing),
        cmocka_unit_test(test_info_is_no_alert),
        cmocka_unit_test(test_opens_and_recovers),
        cmocka_unit_test(test_hard_facts_open_at_once),
        cmocka_unit_test(test_unreachable_clears_no_certificate),
        cmocka_unit_test(test_one_alert_for_a_certificate),
        cmocka_unit_test(test_unknown_hides_nothing),
        cmocka_unit_test(test_steps_of_a_life),
        cmocka_unit_test(test_ended),
        cmocka_unit_test(test_ended_before_the_epoch),
        cmocka_unit_test(test_acknowledged),
        cmocka_unit_test(test_acknowledged_is_not_escalated),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_silence_of_a_target),
        cmocka_unit_test(test_week_of_flapping),
        cmocka_unit_test(test_graver_successor_is_another_alert),
        cmocka_unit_test(test_successors_by_position),
        cmocka_unit_test(test_new_bad_certificate_at_every_check),
        cmocka_unit_test(test_soft_findings_are_counted_on),
        cmocka_unit_test(test_one_place_after_the_other),
        cmocka_unit_test(test_bad_certificates_in_turn),
        cmocka_unit_test(test_week_of_flapping_certificates),
        cmocka_unit_test(test_closed_are_forgotten),
        cmocka_unit_test(test_restored),
        cmocka_unit_test(test_restored_places_are_cleared),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
