/* What the watch looks at changes: by reloads, also while checks are under way, and by what is
 * discovered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "watcher_world.h"

/* What both configurations have goes on; what went is forgotten, also by who waits for it. */
static void test_reload(void **state)
{
    struct watcher_cursor cursor = {0};
    struct watcher_place place;
    (void)state;

    world_begin(W("", "\"a.example\", \"b.example\""));
    world_check("");
    struct conf *next = world_parse(W("owner = me", "\"b.example\", \"c.example\""));
    int64_t before = world_place_of("b.example:443").checked_at;
    assert_int_equal(watcher_check(world.watcher, "a.example:443", world_on_done, &world), 1);
    world.wanted = 0;
    assert_true(watcher_reload(world.watcher, next));
    conf_free(world.conf);
    world.conf = next;
    assert_string_equal(world.last_error, "it is no longer watched");
    assert_string_equal(world_place_of("b.example:443").owner, "me");
    assert_int_equal(world_place_of("b.example:443").checked_at, before);
    assert_string_equal(world_place_of("c.example:443").verdict, "pending");
    while (watcher_next(world.watcher, &cursor, &place))
        assert_string_not_equal(place.target, "a.example:443");
    world_check("c.example:443");
    world_end();
}

/* A target is forgotten with the last section that names it, and told of once. */
static void test_twins(void **state)
{
    const struct conf_watch *conf;
    (void)state;

    world_begin("watch w { targets = {\"a.example\", \"b.example\"} }\n"
                "watch v { targets = {\"a.example\"} }\n"
                "watch u { targets = {\"a.example\", \"b.example\"} }\n");
    world_reload("watch v { targets = {\"a.example\"} }\nwatch u { targets = {\"a.example\"} }\n");
    assert_string_equal(world.forgotten, "b.example:443 ");
    assert_null(watcher_find(world.watcher, "b.example:443"));
    world_reload("watch u { targets = {\"a.example\"} }\n");
    assert_string_equal(world.forgotten, "");
    conf = watcher_find(world.watcher, "a.example:443");
    assert_non_null(conf);
    assert_string_equal(conf->name, "u");
    world_check("");
    assert_int_equal(world.done, 1);
    world_reload("watch v { targets = {\"a.example\"} }\n"); /* moved */
    assert_string_equal(world.forgotten, "");
    world_check("");
    assert_string_equal(world_place_of("a.example:443").watch, "v");
    world_reload("watch v { targets = {\"c.example\"} }\n");
    assert_string_equal(world.forgotten, "a.example:443 ");
    assert_null(watcher_find(world.watcher, "a.example:443"));
    world_end();
}

/* `context`: how many are to be asked for; 0 from then on. */
static void stop_when_asked(void *context)
{
    size_t *count = context;
    struct watcher_state facts;

    watcher_state(world.watcher, &facts);
    if (*count == 0 || facts.prober.pending != *count)
        return;
    *count = 0;
    loop_stop(world.loop, 0);
}

/* Whoever waits is told, and no answer comes to what is gone. */
static void test_removed_under_way(void **state)
{
    size_t asked = 3;
    (void)state;

    world_begin(W("", "\"a.example\", \"b.example\", \"c.example\""));
    world.done = 0;
    world.wanted = 0; /* nobody ends the loop */
    assert_int_equal(watcher_check(world.watcher, "", world_on_done, &world), 3);
    loop_after_batch(world.loop, stop_when_asked, &asked);
    loop_run(world.loop);
    assert_int_equal(world.done, 0);
    world_reload(W("", "\"c.example\""));
    assert_int_equal(world.done, 2);
    assert_string_equal(world.last_error, "it is no longer watched");
    world_check("c.example:443");
    assert_string_equal(world_place_of("c.example:443").verdict, "ok");
    world_end();
}

/* Looking through a whole network holds up no check. */
static void test_discovery_is_patient(void **state)
{
    struct watcher_state facts;
    (void)state;

    world_begin("watch-connections = 1\n" W("discover = \"198.51.100.0/24:443\"", "a.example"));
    assert_int_equal(watcher_discover(world.watcher, "w"), 256);
    world_check("a.example:443");
    watcher_state(world.watcher, &facts);
    assert_true(facts.prober.pending > 200);
    assert_string_equal(world_place_of("a.example:443").verdict, "ok");
    /* a reload leaves it, whatever is under way */
    struct conf *next = world_parse(W("", "\"b.example\""));
    assert_true(watcher_reload(world.watcher, next));
    conf_free(world.conf);
    world.conf = next;
    world_check("b.example:443");
    world_end();
}

/* `context`: how many are to be found; 0 from then on. */
static void stop_when_found(void *context)
{
    size_t *count = context;
    struct watcher_state facts;

    watcher_state(world.watcher, &facts);
    if (*count == 0 || facts.discovered != *count || facts.prober.pending != 0)
        return;
    *count = 0;
    loop_stop(world.loop, 0);
}

static size_t discovered(void)
{
    struct watcher_state facts;

    watcher_state(world.watcher, &facts);
    return facts.discovered;
}

/* What is found is listed until its address is that of a watched target (all answer from one here),
 * and again when it is no more. */
static void test_discovered(void **state)
{
    static const char alone[] = "watch w { discover = \"198.51.100.0/30:443\" }\n";
    size_t found = 4;
    (void)state;

    world_begin(alone);
    loop_after_batch(world.loop, stop_when_found, &found);
    for (int round = 0; round < 2; round++) { /* found again they are the same */
        found = 4;
        assert_int_equal(watcher_discover(world.watcher, "w"), 4);
        timer_set(world.loop, &world.limit, clock_monotonic_ns() + PATIENCE_NS);
        loop_run(world.loop);
        timer_cancel(world.loop, &world.limit);
        assert_int_equal(world_times("nobody watches it"), 4);
    }
    world_reload(W("discover = \"198.51.100.0/30:443\"", "\"a.example\""));
    assert_int_equal(discovered(), 4);
    world_check("a.example:443");
    world_reload(alone);
    assert_int_equal(discovered(), 4);
    world_reload(W("discover = \"198.51.100.0/30:443\"", "\"a.example\", \"198.51.100.1:443\""));
    assert_int_equal(discovered(), 3);
    world_check("198.51.100.1:443");
    world_reload(W("discover = \"198.51.100.0/30:443\"", "\"a.example\", \"198.51.100.1:443\""));
    assert_int_equal(discovered(), 0);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reload, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_twins, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_removed_under_way, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_discovery_is_patient, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(test_discovered, world_set_up, world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
