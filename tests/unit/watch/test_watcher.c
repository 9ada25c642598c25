/* The watch over a process that answers from a script: deaths, rotation, certificates in turn, what
 * a restart remembers, what it must not believe, metrics of many targets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/json.h"
#include "watch/export.h"
#include "watcher_world.h"

/* What the process says is not believed, and it is replaced; others' answers come all the same. */
static void test_lies(void **state)
{
    struct watcher_state facts;
    (void)state;

    world_begin(W("", "\"lies\", \"escapes\", \"a.example\""));
    world_check("");
    assert_string_equal(world_place_of("a.example:443").verdict, "ok");
    assert_string_equal(world_place_of("lies:443").verdict, "unknown");
    assert_string_equal(world_place_of("escapes:443").verdict, "unknown");
    assert_non_null(strstr(world_place_of("lies:443").text, "died each time"));
    assert_true(world_times("breaks the rules") >= 2);
    watcher_state(world.watcher, &facts);
    assert_int_equal(facts.ok, 1);
    assert_int_equal(facts.unknown, 2);
    assert_true(facts.prober.starts > 3);
    world_end();
}

/* One target kills the process each time: only that one is given up. */
static void test_deaths(void **state)
{
    (void)state;

    world_begin(W("", "\"kills\", \"dies-once\", \"a.example\", \"b.example\""));
    world_check("");
    assert_string_equal(world_place_of("a.example:443").verdict, "ok");
    assert_string_equal(world_place_of("b.example:443").verdict, "ok");
    assert_string_equal(world_place_of("dies-once:443").verdict, "ok");
    assert_string_equal(world_place_of("kills:443").verdict, "unknown");
    world_end();
}

static void test_refused(void **state)
{
    (void)state;

    world_begin(W("", "\"fails\", \"gopher+starttls://x\""));
    world_check("");
    assert_string_equal(world_place_of("fails:443").verdict, "unknown");
    assert_non_null(strstr(world_place_of("fails:443").text, "no such store"));
    assert_string_equal(world_place_of("gopher+starttls://x").verdict, "unknown");
    world_end();
}

static void test_rotation(void **state)
{
    (void)state;

    world_begin(W("", "rotates"));
    for (int i = 0; i < 4; i++)
        world_check("rotates:443");
    assert_int_equal(world_times("watch-certificate"), 1);
    assert_int_equal(world_times("watch-in-turn"), 0);
    assert_string_equal(world_place_of("rotates:443").sha256, "bb");
    assert_false(world_place_of("rotates:443").in_turn);
    world_end();
}

/* Two nodes in turn: two events, however often they change, and the verdict of the worse one. */
static void test_in_turn(void **state)
{
    (void)state;

    world_begin(W("", "turns"));
    for (int i = 0; i < 12; i++)
        world_check("w");
    assert_int_equal(world_times("watch-certificate"), 1);
    assert_int_equal(world_times("watch-in-turn"), 1);
    assert_true(world_times("watch-verdict") <= 3);
    assert_true(world_found("served-in-turn"));
    assert_string_equal(world_place_of("turns:443").verdict, "critical");
    assert_true(world_place_of("turns:443").in_turn);
    world_end();
    world_begin(W("", "turns")); /* a restart remembers */
    assert_true(world_place_of("turns:443").in_turn);
    for (int i = 0; i < 4; i++)
        world_check("w");
    assert_int_equal(world_times("watch-certificate") + world_times("watch-in-turn"), 0);
    assert_int_equal(world_times("watch-verdict"), 0);
    world_end();
}

static void test_origin(void **state)
{
    (void)state;

    world_begin(W("origin = 192.0.2.9", "a.example"));
    world_check("w");
    assert_int_equal(json_array_size(world.last), 2);
    assert_true(world_found("edge-behind-origin"));
    world_end();
}

#define MANY 10000

/* The metrics of ten thousand targets with two key types each are given whole. */
static void test_many_metrics(void **state)
{
    struct buffer text;
    struct error error = {0};
    char path[96], target[64], at[32];
    (void)state;

    clock_rfc3339(at, sizeof at, (uint64_t)time(NULL) * NS_PER_S);
    snprintf(path, sizeof path, "%s/watch.db", world.folder);
    assert_int_equal(store_open(&world.store, path, &error), 0);
    buffer_init(&text, 1 << 20);
    for (int i = 0; i < 2 * MANY; i++) {
        snprintf(target, sizeof target, "host-%05d.shop.example:443", i / 2);
        json_t *endpoint = json_pack(
            "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:[{s:s, s:s}]}", "target", target, "address",
            "192.0.2.1:443", "name", "x", "key_type", i % 2 == 0 ? "ecdsa" : "rsa", "vantage",
            "public", "outcome", "seen", "verdict", "ok", "checked_at", at, "certificates",
            "sha256", "aa", "not_after", "2031-01-01T00:00:00Z");
        json_set_text(endpoint, "breaks_at", "2031-01-01T00:00:00Z");
        store_result(world.store, "w", target, endpoint);
        json_decref(endpoint);
        if (i % 2 == 0)
            buffer_printf(&text, "%s\"%s\"", i == 0 ? "watch w { targets = {" : ", ", target);
    }
    buffer_append_text(&text, "} }\n");
    store_free(world.store);
    world_begin(buffer_text(&text));
    buffer_fini(&text);
    buffer_init(&text, EXPORT_MAX);
    export_metrics(&text, world.watcher, NULL, world.conf);
    assert_false(text.failed);
    assert_true(text.size > (size_t)MANY * 2 * 6 * 80);
    buffer_fini(&text);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lies, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_deaths, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_refused, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_rotation, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_in_turn, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_origin, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_many_metrics, world_set_up, world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
