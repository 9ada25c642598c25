/* From results to alerts: when they open, get worse, close, what is kept of them, and how few they
 * stay. */
#include "watch/alerts/alerts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "alerts_world.h"
#include "base/string.h"

static void test_mishaps_open_nothing(void **state)
{
    struct world world;
    (void)state;

    world_begin(&world);
    for (int i = 0; i < 20; i++) {
        world_result(&world, "a:443", i % 3 == 2 ? healthy() : refused());
        world.now += MINUTE;
    }
    assert_int_equal(world.notices[NOTICE_OPENED], 0);
    world_result(&world, "a:443", healthy());
    assert_int_equal(world.alerts.by_cause.count, 0);
    alerts_fini(&world.alerts);
}

static void test_info_is_no_alert(void **state)
{
    struct world world;
    json_t *object = healthy();
    (void)state;

    world_begin(&world);
    add_finding(object, "post-quantum", "info", "", true);
    add_finding(object, "certificate-expires-soon", "critical", "aa", true); /* told by steps */
    world_result(&world, "a:443", object);
    assert_int_equal(world.alerts.by_cause.count, 0);
    alerts_fini(&world.alerts);
}

static void test_opens_and_recovers(void **state)
{
    struct world world;
    (void)state;

    world_begin(&world);
    for (int i = 0; i < 3; i++)
        world_result(&world, "a:443", refused());
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    world_result(&world, "a:443", refused());
    world_result(&world, "a:443", healthy());
    assert_int_equal(world.notices[NOTICE_RECOVERED], 0);
    world_result(&world, "a:443", healthy());
    assert_int_equal(world.notices[NOTICE_RECOVERED], 1);
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    alerts_fini(&world.alerts);
}

static void test_hard_facts_open_at_once(void **state)
{
    struct world world;
    (void)state;

    world_begin(&world);
    world_result(&world, "a:443", revoked());
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    alerts_fini(&world.alerts);
}

static void test_unreachable_clears_no_certificate(void **state)
{
    struct world world;
    (void)state;

    world_begin(&world);
    world_result(&world, "a:443", revoked());
    for (int i = 0; i < 5; i++)
        world_result(&world, "a:443", refused());
    assert_int_equal(world.notices[NOTICE_RECOVERED], 0);
    assert_int_equal(world.notices[NOTICE_OPENED], 2); /* revoked; refused */
    alerts_fini(&world.alerts);
}

static void test_one_alert_for_a_certificate(void **state)
{
    struct world world;
    char target[32];
    (void)state;

    world_begin(&world);
    for (int i = 0; i < 200; i++) {
        ignore(snprintf(target, sizeof target, "host%d:443", i));
        world_result(&world, target, revoked());
    }
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    assert_int_equal(world.alerts.by_cause.count, 1);
    assert_int_equal(alert_open_places(alerts_find(&world.alerts, 1)), 200);
    for (int i = 0; i < 2; i++)
        world_result(&world, "host0:443", healthy());
    assert_int_equal(world.notices[NOTICE_RECOVERED], 0);
    assert_int_equal(alert_open_places(alerts_find(&world.alerts, 1)), 199);
    assert_int_equal(alerts_find(&world.alerts, 1)->place_count, 200); /* to be told of */
    for (int i = 2; i < 400; i++) {
        ignore(snprintf(target, sizeof target, "host%d:443", i / 2));
        world_result(&world, target, healthy());
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

    world_begin(&world);
    world_result(&world, "a:443", revoked());
    add_finding(object, "revoked", "unknown", "aa", true);
    world_result(&world, "b:443", object);
    assert_int_equal(alerts_find(&world.alerts, 1)->severity, SEVERITY_CRITICAL);
    alerts_fini(&world.alerts);
}

static void test_steps_of_a_life(void **state)
{
    struct world world;
    (void)state;

    world_begin(&world);
    for (int day = 0; day <= 90; day++) {
        json_t *object = healthy();
        add_certificate(object, "aa", START, START + 90 * DAY);
        world.now = START + day * DAY;
        world_result(&world, "a:443", object);
    }
    assert_int_equal(world.notices[NOTICE_OPENED], 1); /* overdue */
    assert_int_equal(world.notices[NOTICE_WORSE], 4);  /* 14, 7, 1, over */
    assert_non_null(strstr(world.last, "has ended"));
    assert_int_equal(alerts_find(&world.alerts, 1)->level, 4);
    /* replaced */
    for (int i = 0; i < 2; i++) {
        json_t *object = healthy();
        add_certificate(object, "bb", world.now, world.now + 90 * DAY);
        world_result(&world, "a:443", object);
    }
    assert_int_equal(world.notices[NOTICE_RECOVERED], 1);
    alerts_fini(&world.alerts);
}

/* At its end a certificate is on no path any more; that is no recovery, and no second alert. */
static void test_ended(void **state)
{
    struct world world;
    (void)state;

    world_begin(&world);
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
        world_result(&world, "a:443", object);
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

    world_begin(&world);
    add_certificate(object, "aa", -800 * DAY, -700 * DAY);
    world_result(&world, "a:443", object);
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    assert_non_null(strstr(world.last, "(1968-02-01T"));
    alerts_fini(&world.alerts);
}

static void test_acknowledged(void **state)
{
    struct world world;
    (void)state;

    world_begin(&world);
    world_result(&world, "a:443", revoked());
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

    world_begin(&world);
    world.now = START + 70 * DAY;
    add_certificate(object, "aa", START, START + 90 * DAY);
    world_result(&world, "a:443", object);
    struct watch_alert *alert = alerts_find(&world.alerts, 1);
    alerts_acknowledge(&world.alerts, alert, "ann", "", world.now);
    world.now = START + 80 * DAY;
    object = healthy();
    add_certificate(object, "aa", START, START + 90 * DAY);
    world_result(&world, "a:443", object);
    assert_int_equal(world.notices[NOTICE_WORSE], 1);
    assert_int_equal(alert->level, 0);
    assert_int_equal(alert->acknowledged_at, 0); /* the next step wants an answer of its own */
    alerts_fini(&world.alerts);
}

static void test_silence(void **state)
{
    struct world world;
    (void)state;

    world_begin(&world);
    world.silent = true;
    world_result(&world, "a:443", revoked());
    alerts_tick(&world.alerts, world.now += MINUTE);
    assert_int_equal(world.notices[NOTICE_OPENED], 0);
    world.silent = false;
    alerts_tick(&world.alerts, world.now += MINUTE);
    alerts_tick(&world.alerts, world.now += MINUTE);
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    /* came and went in silence: nobody hears of it */
    world.silent = true;
    world_result(&world, "b:443", NULL);
    for (int i = 0; i < 3; i++)
        world_result(&world, "b:443", refused());
    world.silent = false;
    for (int i = 0; i < 2; i++)
        world_result(&world, "b:443", healthy());
    assert_int_equal(world.notices[NOTICE_RECOVERED], 0);
    alerts_fini(&world.alerts);
}

/* When it recovers an alert has no open place left: its silence is still that of its target, and
 * the silence of another target is not. */
static void test_silence_of_a_target(void **state)
{
    struct world world;
    (void)state;

    world_begin(&world);
    world_result(&world, "a:443", revoked());
    world.silence = (struct silence){.until = INT64_MAX};
    ignore(string_copy(world.silence.target, sizeof world.silence.target, "b:443"));
    world_result(&world, "a:443", healthy());
    world_result(&world, "a:443", healthy());
    assert_int_equal(world.notices[NOTICE_RECOVERED], 1);
    world_result(&world, "a:443", revoked());
    assert_int_equal(world.notices[NOTICE_OPENED], 2);
    ignore(string_copy(world.silence.target, sizeof world.silence.target, "a:443"));
    world_result(&world, "a:443", healthy());
    world_result(&world, "a:443", healthy());
    assert_int_equal(world.notices[NOTICE_RECOVERED], 1);
    alerts_fini(&world.alerts);
}

/* A week of a server that is up for ten minutes and down for ten, checked every minute. */
static void test_week_of_flapping(void **state)
{
    struct world world;
    size_t open_most = 0;
    (void)state;

    world_begin(&world);
    for (int minute = 0; minute < 7 * 24 * 60; minute++) {
        world.now += MINUTE;
        world_result(&world, "a:443", minute / 10 % 2 == 0 ? refused() : healthy());
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
        world_result(&world, "a:443", healthy());
        alerts_tick(&world.alerts, world.now);
    }
    assert_int_equal(alerts_find(&world.alerts, 1)->state, ALERT_CLOSED);
    world.now += 2 * DAY;
    alerts_tick(&world.alerts, world.now);
    assert_int_equal(world.alerts.by_cause.count, 0);
    alerts_fini(&world.alerts);
}

/* What is kept of a closed alert is no longer needed after a day; its number is not given again. */
static void test_closed_are_forgotten(void **state)
{
    struct world world;
    (void)state;

    world_begin(&world);
    world_result(&world, "a:443", revoked());
    for (int i = 0; i < 2; i++)
        world_result(&world, "a:443", healthy());
    alerts_tick(&world.alerts, world.now += DAY - 1);
    assert_int_equal(world.forgotten, 0);
    alerts_tick(&world.alerts, world.now += 1);
    assert_int_equal(world.forgotten, 1);
    assert_int_equal(world.alerts.by_cause.count, 0);
    world_result(&world, "a:443", revoked());
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

    world_begin(&world);
    world_result(&world, "a:443", revoked());
    for (int i = 0; i < 3; i++)
        world_result(&world, "b:443", refused());
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

    world_begin(&first);
    world_result(&first, "a:443", revoked());
    AUTO(json_t_pointer) kept = alert_to_json(alerts_find(&first.alerts, 1));
    alerts_fini(&first.alerts);
    world_begin(&second);
    alerts_restore(&second.alerts, alert_from_json(kept), second.now);
    world_result(&second, "a:443", revoked());
    assert_int_equal(second.notices[NOTICE_OPENED], 0);
    json_object_del(kept, "key"); /* as older versions wrote it */
    struct watch_alert *old = alert_from_json(kept);
    assert_string_equal(old->key, old->cause);
    alert_free(old);
    json_object_clear(kept);
    assert_null(alert_from_json(kept));
    json_t *object = refused();
    world_result(&second, "b:443", object);
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

    world_begin(&first);
    world_result(&first, "a:443", revoked());
    world_result(&first, "b:443", revoked());
    AUTO(json_t_pointer) kept = alert_to_json(alerts_find(&first.alerts, 1));
    alerts_fini(&first.alerts);
    world_begin(&second);
    alerts_restore(&second.alerts, alert_from_json(kept), second.now);
    alerts_restore(&second.alerts, alert_from_json(kept), second.now); /* in place of the other */
    assert_int_equal(second.alerts.by_cause.count, 1);
    for (int i = 0; i < 2; i++)
        world_result(&second, "a:443", healthy());
    assert_int_equal(alert_open_places(alerts_find(&second.alerts, 1)), 1);
    assert_int_equal(alerts_find(&second.alerts, 1)->state, ALERT_OPEN);
    for (int i = 0; i < 2; i++)
        world_result(&second, "b:443", healthy());
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
            world_result(world, target, make());
        else
            alerts_forget(&world->alerts, target, world->now);
    }
}

/* Each target has an alert of its own, and all have one in common; nothing is left of them. */
static void test_many(void **state)
{
    struct world world;
    (void)state;

    world_begin(&world);
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
        cmocka_unit_test(test_closed_are_forgotten),
        cmocka_unit_test(test_restored),
        cmocka_unit_test(test_restored_places_are_cleared),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
