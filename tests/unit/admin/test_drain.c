/* admin/drain.h: who is left, and what is told of a drain. */
#include "world.h"

#include <string.h>

#include "admin/control_client.h"
#include "admin/drain.h"
#include "base/clock.h"

static const struct drain with_notice = {.begin_ns = WORLD_NOW,
                                         .accept_until_ns = WORLD_NOW + 10 * NS_PER_S,
                                         .end_ns = WORLD_NOW + 70 * NS_PER_S};

static void expect(uint32_t listener, uint64_t now, const char *drain, const char *state,
                   bool accepting)
{
    json_t *object = drain_to_json(&world.view, listener, now, 1700000000);

    assert_string_equal(client_text(object, "drain"), drain);
    assert_string_equal(client_text(object, "state"), state);
    assert_int_equal(client_flag(object, "accepting"), accepting);
    json_decref(object);
}

static void nothing_is_drained(void **state)
{
    (void)state;
    assert_false(drain_of_house(&world.view));
    assert_false(drain_of_listener(&world.view, 0));
    assert_false(drain_of_listener(&world.view, 5000));
    assert_ptr_equal(drain_place(&world.view, CONF_NONE), &world.board->drain);
    expect(CONF_NONE, WORLD_NOW, "house", "none", true);
    expect(1, WORLD_NOW, "listener", "none", true);
    expect(5000, WORLD_NOW, "listener", "none", true); /* a number of nothing */
}

static void the_rest_is_counted(void **state)
{
    (void)state;
    world.board->listeners[0].connections[0] = 2;
    world.board->listeners[0].connections[1] = 3;
    world.board->listeners[1].connections[1] = 7;
    world.board->listeners[1].handshakes[0] = 1;
    world.board->listeners[200].connections[0] = 1; /* its section has gone, its session not */
    assert_int_equal(drain_rest(&world.view, 0).sessions, 5);
    assert_int_equal(drain_rest(&world.view, 1).handshakes, 1);
    assert_int_equal(drain_rest(&world.view, CONF_NONE).sessions, 13);
    assert_int_equal(drain_rest(&world.view, CONF_NONE).handshakes, 1);
}

static void states_follow_the_time_and_the_rest(void **state)
{
    (void)state;
    world.board->listeners[1].connections[1] = 1;
    board_drain_write(&world.board->drain, &with_notice);
    assert_true(drain_of_house(&world.view));
    assert_true(drain_of_listener(&world.view, 1));
    expect(CONF_NONE, WORLD_NOW, "house", "notice", true);
    expect(1, WORLD_NOW, "listener", "none", true);
    expect(CONF_NONE, WORLD_NOW + 10 * NS_PER_S, "house", "draining", false);
    expect(1, WORLD_NOW + 10 * NS_PER_S, "listener", "none", false); /* drained with the house */
    world.board->listeners[1].connections[1] = 0;
    expect(CONF_NONE, WORLD_NOW + 10 * NS_PER_S, "house", "drained", false);
    world.board->listeners[1].handshakes[1] = 1;
    expect(CONF_NONE, WORLD_NOW + 10 * NS_PER_S, "house", "draining", false);
}

static void the_deadline_is_told(void **state)
{
    (void)state;
    board_drain_write(&world.board->listeners[1].drain, &with_notice);
    json_t *object = drain_to_json(&world.view, 1, WORLD_NOW + 60 * NS_PER_S, 1700000000);
    assert_string_equal(client_text(object, "listener"), "mail");
    assert_int_equal(client_number(object, "left_ms"), 10000);
    assert_non_null(strstr(client_text(object, "deadline"), "2023-11-14T22:13:30"));
    json_decref(object);
    object = drain_to_json(&world.view, 1, WORLD_NOW + 600 * NS_PER_S, 1700000000);
    assert_int_equal(client_number(object, "left_ms"), 0);
    json_decref(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_drained, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(the_rest_is_counted, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(states_follow_the_time_and_the_rest, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(the_deadline_is_told, world_set_up, world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
