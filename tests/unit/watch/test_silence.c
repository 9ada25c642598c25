/* Silences: what they may be, and which alerts they hold for. */
#include "watch/alerts/silence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/string.h"

#define NOW INT64_C(1800000000)

static struct alert_place places[2];

static struct watch_alert two_places(void)
{
    struct watch_alert alert = {.number = 7, .places = places, .place_count = 2};

    string_copy(alert.finding, sizeof alert.finding, "certificate-ends");
    string_copy(alert.owner, sizeof alert.owner, "web");
    string_copy(places[0].target, sizeof places[0].target, "shop.example:443");
    string_copy(places[1].target, sizeof places[1].target, "shop.example:8443");
    places[0].open = places[1].open = true;
    return alert;
}

static int from(struct silence *silence, json_t *object, struct error *error)
{
    json_set_time(object, "until", NOW + 3600);
    int result = silence_from_json(silence, object, NOW, error);

    json_decref(object);
    return result;
}

static void test_refused(void **state)
{
    struct silence silence;
    struct error error = {0};
    (void)state;

    assert_true(from(&silence, json_object(), &error) < 0);
    assert_non_null(strstr(error.message, "nothing that the silence is to hold for"));
    assert_true(from(&silence, json_pack("{s:i}", "target", 1), &error) < 0);
    AUTO(json_t_pointer) endless = json_pack("{s:s}", "target", "x");
    assert_true(silence_from_json(&silence, endless, NOW, &error) < 0);
    assert_non_null(strstr(error.message, "an end in the future"));
    json_set_time(endless, "until", NOW + INT64_C(400) * 86400);
    assert_true(silence_from_json(&silence, endless, NOW, &error) < 0);
    json_set_time(endless, "until", NOW - 1);
    assert_true(silence_from_json(&silence, endless, NOW, &error) < 0);
}

static bool holds(json_t *object)
{
    struct watch_alert alert = two_places();
    struct silence silence;

    assert_int_equal(from(&silence, object, NULL), 0);
    return silence_matches(&silence, &alert, NOW + 10);
}

static void test_matching(void **state)
{
    struct watch_alert alert = two_places();
    struct silence silence;
    (void)state;

    assert_true(holds(json_pack("{s:s}", "target", "shop.example")));
    assert_true(holds(json_pack("{s:s}", "target", "shop*")));
    assert_false(
        holds(json_pack("{s:s}", "target", "shop.example:443"))); /* one place is outside */
    assert_false(holds(json_pack("{s:s}", "target", "shop.exampl")));
    assert_true(holds(json_pack("{s:i}", "alert", 7)));
    assert_false(holds(json_pack("{s:i}", "alert", 8)));
    assert_true(holds(json_pack("{s:s, s:s}", "owner", "web", "finding", "certificate-*")));
    assert_false(holds(json_pack("{s:s, s:s}", "owner", "web", "finding", "revoked")));
    assert_int_equal(from(&silence, json_pack("{s:s}", "owner", "web"), NULL), 0);
    assert_false(silence_matches(&silence, &alert, NOW - 1));
    assert_false(silence_matches(&silence, &alert, NOW + 3600));
}

static void test_round_trip(void **state)
{
    struct silence silence, again;
    (void)state;

    assert_int_equal(
        from(&silence,
             json_pack("{s:s, s:s, s:s}", "id", "s9", "target", "x", "comment", "moving house"),
             NULL),
        0);
    AUTO(json_t_pointer) object = silence_to_json(&silence);
    assert_int_equal(silence_from_json(&again, object, NOW + 60, NULL), 0);
    assert_memory_equal(&silence, &again, sizeof silence);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_matching),
                                       cmocka_unit_test(test_round_trip)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
