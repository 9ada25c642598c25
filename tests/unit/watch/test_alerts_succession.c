/* Bad certificates that follow one another at a place: one alert, unless it gets graver. */
#include "watch/alerts/alerts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "alerts_world.h"

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

    world_begin(&world);
    world.now = START + 80 * DAY;
    for (int i = 0; i < 2; i++) {
        json_t *soon = endpoint(FIRST, "seen");
        add_certificate(soon, "aa", START, START + 90 * DAY);
        world_result(&world, i == 0 ? "a:443" : "b:443", soon);
    }
    assert_int_equal(world.notices[NOTICE_OPENED], 1);
    add_certificate(object, "bb", START, START + 79 * DAY);
    world_result(&world, "a:443", object);
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

    world_begin(&world);
    for (int i = 0; i < 10; i++) {
        json_t *object = bad_by(FIRST, numbered(leaf, 2 * i), true);
        add_certificate(object, numbered(issuer, 2 * i + 1), START, START + 3000 * DAY);
        add_finding(object, "untrusted", "critical", issuer, true);
        world_result(&world, "a:443", object);
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

    world_begin(&world);
    for (int minute = 0; minute < 7 * 24 * 60; minute++) {
        world.now += MINUTE;
        numbered(sha256, minute);
        world_results(&world, "a:443", bad_by(FIRST, sha256, true), bad_by(SIXTH, sha256, true));
        world_result(&world, "b:443", bad_by(FIRST, sha256, true));
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
        world_results(&world, "a:443", healthy(), endpoint(SIXTH, "seen"));
        world_result(&world, "b:443", healthy());
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

    world_begin(&world);
    for (int i = 0; i < 10; i++) {
        world_result(&world, "a:443", bad_by(FIRST, numbered(sha256, i), false));
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

    world_begin(&world);
    world_result(&world, "a:443", bad_by(FIRST, "aa", true));
    world_result(&world, "b:443", bad_by(FIRST, "aa", true));
    for (int i = 0; i < 3; i++)
        world_result(&world, "a:443", bad_by(FIRST, "bb", true));
    const struct watch_alert *alert = alerts_find(&world.alerts, 1);
    assert_string_equal(alert->certificate, "aa");
    assert_int_equal(alert_open_places(alert), 2);
    world_result(&world, "c:443", bad_by(FIRST, "bb", true)); /* new, and told of */
    assert_int_equal(world.notices[NOTICE_OPENED], 2);
    for (int i = 0; i < 2; i++)
        world_result(&world, "a:443", bad_by(FIRST, "bb", true)); /* goes to its like */
    assert_int_equal(alert_open_places(alert), 1);
    assert_int_equal(alert_open_places(alerts_find(&world.alerts, 2)), 2);
    for (int i = 0; i < 2; i++)
        world_result(&world, "b:443", bad_by(FIRST, "bb", true));
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

    world_begin(&world);
    for (int i = 0; i < 100; i++) {
        world.now += MINUTE;
        world_result(&world, "a:443", bad_by(FIRST, i % 2 == 0 ? "aa" : "bb", true));
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

    world_begin(&world);
    for (int minute = 0; minute < 7 * 24 * 60; minute++) {
        world.now += MINUTE;
        bool bad = minute / 10 % 2 == 0;
        world_result(&world, "a:443",
                     bad ? bad_by(FIRST, numbered(sha256, minute / 20), true) : healthy());
        alerts_tick(&world.alerts, world.now);
        assert_true(count_open(&world) <= 1);
    }
    assert_true(world.notices[NOTICE_OPENED] <= 3);
    assert_true(world.notices[NOTICE_RECOVERED] <= 2);
    assert_int_equal(world.alerts.last_number, 1);
    alerts_fini(&world.alerts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graver_successor_is_another_alert),
        cmocka_unit_test(test_successors_by_position),
        cmocka_unit_test(test_new_bad_certificate_at_every_check),
        cmocka_unit_test(test_soft_findings_are_counted_on),
        cmocka_unit_test(test_one_place_after_the_other),
        cmocka_unit_test(test_bad_certificates_in_turn),
        cmocka_unit_test(test_week_of_flapping_certificates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
