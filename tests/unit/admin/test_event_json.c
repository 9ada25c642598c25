/* admin/event_json.h: what an event becomes, with text that wants to break the log. */
#include "world.h"

#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "admin/event_feed.h"
#include "admin/event_json.h"
#include "base/json.h"
#include "tls/leg.h"

static struct event blank(enum event_type type)
{
    return (struct event){.wall_ns = 1700000000123456789ull,
                          .type = (uint16_t)type,
                          .worker = (uint16_t)board_worker_number(PROCESS_RELAY, 1),
                          .listener = EVENT_NO_INDEX,
                          .upstream = EVENT_NO_INDEX,
                          .server = EVENT_NO_INDEX,
                          .alert_sent = ALERT_NONE,
                          .alert_received = ALERT_NONE,
                          .config = 1,
                          .certificate = CONF_NONE};
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "(none)";
}

static void hostile_text_stays_one_printable_line(void **state)
{
    struct event event = blank(EVENT_HANDSHAKE_FAILED);
    struct buffer line;
    (void)state;

    /* Every byte there is, and no end in any field. */
    for (size_t i = 0; i < sizeof event.server_name; i++)
        event.server_name[i] = (char)(i * 3 + 1);
    memset(event.detail, 0xff, sizeof event.detail);
    memset(event.stage, '\n', sizeof event.stage);
    memset(event.alpn, '"', sizeof event.alpn);
    memset(event.group, '\\', sizeof event.group);
    memset(event.fingerprint, 0x1b, sizeof event.fingerprint);
    event.type = EVENT_HANDSHAKE_FAILED;
    json_t *object = event_to_json(&event, world.conf);
    buffer_init(&line, 65536);
    assert_true(json_line(object, &line));
    assert_int_equal(line.data[line.size - 1], '\n');
    for (size_t i = 0; i < line.size - 1; i++)
        assert_in_range(line.data[i], 0x20, 0x7e);
    json_t *again = json_loadb((const char *)line.data, line.size, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(again);
    assert_string_equal(text_of(again, "stage"), "????????????????????????");
    assert_int_equal(strlen(text_of(again, "detail")), sizeof event.detail);
    json_decref(again);
    buffer_fini(&line);
}

static void wild_numbers_are_left_out(void **state)
{
    struct event event = blank(EVENT_SESSION_CLOSED);
    (void)state;

    event.type = 60000;
    event.worker = 60000;
    event.listener = 77;
    event.upstream = 78;
    event.server = 79;
    event.certificate = 80;
    event.reason = 250;
    event.version = 0x9999;
    event.suite = 0x8888;
    json_t *object = event_to_json(&event, world.conf);
    assert_string_equal(text_of(object, "event"), "unknown");
    assert_null(json_object_get(object, "process"));
    assert_null(json_object_get(object, "listener"));
    assert_null(json_object_get(object, "server"));
    assert_null(json_object_get(object, "certificate"));
    assert_string_equal(text_of(object, "version"), "0x9999");
    assert_string_equal(text_of(object, "suite"), "0x8888");
    json_decref(object);
}

static void an_object_that_was_removed_has_no_name(void **state)
{
    struct event event = blank(EVENT_SESSION_CLOSED);
    char *name = world.conf->listeners[0].name;
    (void)state;

    event.listener = 0;
    world.conf->listeners[0].name = NULL;
    json_t *object = event_to_json(&event, world.conf);
    world.conf->listeners[0].name = name;
    assert_null(json_object_get(object, "listener"));
    json_decref(object);
}

static void a_closed_session_says_everything(void **state)
{
    struct event event = blank(EVENT_SESSION_CLOSED);
    (void)state;

    event.session = SESSION_ID(1, 17);
    event.listener = 0;
    event.upstream = 0;
    event.server = 1;
    event.certificate = 0;
    event.certificate_version = 4;
    event.version = 0x0304;
    event.suite = 0x1302;
    event.reason = SESSION_END_IDLE;
    event.bytes_in = 5;
    event.bytes_out = 6;
    event.duration_us = 7;
    memcpy(event.client,
           (const uint8_t[16]){[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 7},
           16);
    event.client_port = 4242;
    strcpy(event.server_name, "www.shop.example");
    json_t *object = event_to_json(&event, world.conf);
    assert_string_equal(text_of(object, "time"), "2023-11-14T22:13:20.123Z");
    assert_string_equal(text_of(object, "event"), "session-closed");
    assert_string_equal(text_of(object, "process"), "relay/1");
    assert_string_equal(text_of(object, "session"), "1-17");
    assert_string_equal(text_of(object, "client"), "192.0.2.7:4242");
    assert_string_equal(text_of(object, "listener"), "shop");
    assert_string_equal(text_of(object, "upstream"), "app");
    assert_string_equal(text_of(object, "server"), "10.0.0.6:8080");
    assert_string_equal(text_of(object, "certificate"), "c");
    assert_string_equal(text_of(object, "version"), "TLSv1.3");
    assert_string_equal(text_of(object, "suite"), "TLS_AES_256_GCM_SHA384");
    assert_string_equal(text_of(object, "reason"), "idle-timeout");
    assert_int_equal(json_integer_value(json_object_get(object, "certificate_version")), 4);
    assert_int_equal(json_integer_value(json_object_get(object, "bytes_out")), 6);
    json_decref(object);
}

static unsigned logged(struct event_feed *feed, enum event_type type, unsigned times)
{
    unsigned count = 0;

    for (unsigned i = 0; i < times; i++) {
        struct event event = blank(type);
        count += event_feed_logs(feed, &event);
    }
    return count;
}

static void the_policy_chooses_what_is_logged(void **state)
{
    struct event_feed feed = {.view = &world.view};
    (void)state;

    world.conf->log_handshakes = CONF_LOG_FAILURES;
    assert_int_equal(logged(&feed, EVENT_HANDSHAKE_DONE, 10), 0);
    assert_int_equal(logged(&feed, EVENT_HANDSHAKE_FAILED, 10), 10);
    world.conf->log_handshakes = CONF_LOG_SAMPLE;
    world.conf->log_sample = 5;
    assert_int_equal(logged(&feed, EVENT_HANDSHAKE_DONE, 10), 2);
    assert_int_equal(logged(&feed, EVENT_HANDSHAKE_FAILED, 10), 10);
    world.conf->log_handshakes = CONF_LOG_ALL;
    assert_int_equal(logged(&feed, EVENT_HANDSHAKE_DONE, 10), 10);
    world.conf->log_sessions = false;
    assert_int_equal(logged(&feed, EVENT_SESSION_CLOSED, 1), 0);
    world.conf->log_sessions = true;
    assert_int_equal(logged(&feed, EVENT_SESSION_CLOSED, 1), 1);
    assert_int_equal(logged(&feed, EVENT_TRACE, 1), 0);
    assert_int_equal(logged(&feed, EVENT_TYPE_COUNT, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hostile_text_stays_one_printable_line, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(wild_numbers_are_left_out, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(an_object_that_was_removed_has_no_name, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(a_closed_session_says_everything, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(the_policy_chooses_what_is_logged, world_set_up,
                                        world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
