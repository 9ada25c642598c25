/* admin/sessions.h: filters, the cursor, and slots that change or lie. */
#include "world.h"

#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "admin/sessions.h"

static int parse(struct session_filter *filter, const char *request, struct error *error)
{
    json_t *object = json_loads(request, 0, NULL);
    assert_non_null(object);
    int result = session_filter_parse(filter, object, world.conf, error);
    json_decref(object);
    return result;
}

static size_t count_matching(const char *request)
{
    struct session_cursor cursor = {.relay = 0};
    struct session_filter filter;
    struct error error;
    bool end = false;
    size_t count = 0;

    if (parse(&filter, request, &error) < 0)
        fail_msg("%s", error.message);
    while (!end) {
        json_t *session = session_next(&world.view, &filter, &cursor, WORLD_NOW, 5, &end);
        count += session != NULL;
        json_decref(session);
    }
    return count;
}

static void wrong_filters_are_refused(void **state)
{
    static const char *const requests[] = {
        "{\"listener\": \"nowhere\"}",
        "{\"listener\": 5}",
        "{\"certificate\": \"none\"}",
        "{\"certificate_version\": -1}",
        "{\"older_ms\": \"1h\"}",
        "{\"older_ms\": 9223372036854775807}",
        "{\"client\": \"not an address\"}",
        "{\"client\": []}",
        "{\"certificate_version\": 4294967296}",
        "{\"superseded\": \"\"}",
        "{\"superseded\": \"certificates\"}",
        "{\"superseded\": 1}",
        "{\"superseded\": [\"config\"]}",
        "{\"sni\": "
        "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
    };
    struct session_filter filter;
    struct error error;
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
        assert_true(parse(&filter, requests[i], &error) < 0);
}

static void filters_choose(void **state)
{
    (void)state;
    assert_int_equal(count_matching("{}"), 0);
    world_session(0, 3, 10);
    struct slot *mail = world_session(1, 60, 11);
    mail->listener = 1;
    mail->certificate = 1;
    mail->generation.certificate_version = 9;
    mail->accepted_ns = WORLD_NOW - 7200 * 1000000000ull;
    strcpy(mail->server_name, "a.b.mail.example");
    world_session(1, 61, 12)->state = SESSION_FREE;
    assert_int_equal(count_matching("{}"), 2);
    assert_int_equal(count_matching("{\"limit\": 1}"), 1);
    assert_int_equal(count_matching("{\"listener\": \"mail\"}"), 1);
    assert_int_equal(count_matching("{\"certificate\": \"d\"}"), 1);
    assert_int_equal(count_matching("{\"certificate\": \"d\", \"certificate_version\": 8}"), 0);
    assert_int_equal(count_matching("{\"certificate_version\": 3}"), 1);
    assert_int_equal(count_matching("{\"older_ms\": 3600000}"), 1);
    assert_int_equal(count_matching("{\"younger_ms\": 3600000}"), 1);
    assert_int_equal(count_matching("{\"client\": \"192.0.2.0/24\"}"), 2);
    assert_int_equal(count_matching("{\"client\": \"192.0.2.8\"}"), 0);
    assert_int_equal(count_matching("{\"sni\": \"WWW.shop.example\"}"), 1);
    assert_int_equal(count_matching("{\"sni\": \"*.shop.example\"}"), 1);
    assert_int_equal(count_matching("{\"sni\": \"*.mail.example\"}"), 0);
}

static void superseded_ones_are_chosen_and_named(void **state)
{
    struct session_filter filter = {
        .listener = CONF_NONE, .certificate = CONF_NONE, .superseded = ~0u};
    struct session_cursor cursor = {.relay = 0};
    bool end;
    (void)state;

    world.board->config_generation = 2;
    world.board->ticket_key_generation = 2;
    world_session(0, 3, 10)->generation.ticket_key = 1;
    struct slot *mail = world_session(1, 4, 11);
    mail->listener = 1;
    mail->generation.config = 2;
    mail->generation.ticket_key = 2;
    assert_int_equal(count_matching("{}"), 2);
    assert_int_equal(count_matching("{\"superseded\": false}"), 2);
    assert_int_equal(count_matching("{\"superseded\": true}"), 1);
    assert_int_equal(count_matching("{\"superseded\": \"ticket-key\"}"), 1);
    assert_int_equal(count_matching("{\"superseded\": \"binary\"}"), 0);
    assert_int_equal(count_matching("{\"superseded\": true, \"listener\": \"mail\"}"), 0);
    assert_int_equal(count_matching("{\"superseded\": true, \"older_ms\": 3600000}"), 0);
    json_t *session = session_next(&world.view, &filter, &cursor, WORLD_NOW, 100, &end);
    char *kinds = json_dumps(json_object_get(session, "superseded"), JSON_COMPACT);
    assert_string_equal(kinds, "[\"config\",\"ticket-key\"]");
    free(kinds);
    json_decref(session);
}

static void a_session_shows_the_committed_copy(void **state)
{
    struct session_filter filter = {.listener = CONF_NONE, .certificate = CONF_NONE};
    struct session_cursor cursor = {.relay = 0};
    struct slot *slot = world_session(0, 0, 10);
    bool end;
    (void)state;

    slot->hot[1] = slot->hot[0];
    slot->hot[1].flows[FLOW_UP].read_position = 4711;
    slot->current = 1;
    memset(slot->server_name, 0xfe, sizeof slot->server_name);
    json_t *session = session_next(&world.view, &filter, &cursor, WORLD_NOW, 100, &end);
    assert_non_null(session);
    assert_int_equal(json_integer_value(json_object_get(session, "bytes_in")), 4711);
    assert_int_equal(json_integer_value(json_object_get(session, "age_ms")), 60000);
    assert_int_equal(json_integer_value(json_object_get(session, "idle_s")), 5);
    assert_string_equal(json_string_value(json_object_get(session, "id")), "0-10");
    assert_string_equal(json_string_value(json_object_get(session, "group")), "X25519");
    assert_int_equal(strspn(json_string_value(json_object_get(session, "sni")), "?"),
                     SLOT_NAME_MAX);
    json_decref(session);
}

/* The relay writes the header and the slots; nothing in them may lead outside the mapping. */
static void a_lying_header_leads_nowhere(void **state)
{
    struct arena *arena = &world.view.arenas[0];
    (void)state;

    arena->header->high_water = UINT32_MAX;
    arena->header->capacity = UINT32_MAX;
    struct slot *slot = world_session(0, 0, 10);
    slot->state = 200;
    assert_int_equal(count_matching("{}"), 0);
    slot->state = SESSION_OPEN;
    slot->listener = slot->upstream = slot->server = 5000;
    slot->certificate = 5000;
    slot->key_type = 99;
    slot->current = 0xff;
    assert_int_equal(count_matching("{}"), 1);
    arena->header->version = 0;
    assert_int_equal(count_matching("{}"), 0);
}

static void sessions_are_found_by_name(void **state)
{
    static const char *const wrong[] = {"",      "0",      "0-",    "x-1",      "0-0",
                                        "0-10 ", "00-10",  "64-10", "99999-10", "-1-10",
                                        "0--10", "0-1000", "1-10",  "0-+10"};
    struct error error;
    uint64_t serial;
    unsigned relay;
    uint32_t slot;
    (void)state;

    world_session(0, 5, 10);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_true(session_find(&world.view, wrong[i], &relay, &slot, &serial, &error) < 0);
    assert_int_equal(session_find(&world.view, "0-10", &relay, &slot, &serial, &error), 0);
    assert_int_equal(relay, 0);
    assert_int_equal(slot, 5);
    assert_int_equal(serial, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(wrong_filters_are_refused, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(filters_choose, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(superseded_ones_are_chosen_and_named, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(a_session_shows_the_committed_copy, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(a_lying_header_leads_nowhere, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(sessions_are_found_by_name, world_set_up, world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
