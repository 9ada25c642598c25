/* admin/trace.h: which events a filter lets through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "admin/trace.h"

static int parse(struct trace_filter *filter, const char *request)
{
    struct error error;
    json_t *object = json_loads(request, 0, NULL);
    int result = trace_filter_parse(filter, object, &error);
    json_decref(object);
    return result;
}

static struct event event_of(uint8_t last, const char *server_name)
{
    struct event event = {
        .type = EVENT_HANDSHAKE_DONE,
        .client = {[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = last}};
    memcpy(event.server_name, server_name, strlen(server_name));
    return event;
}

static bool matches(const char *request, uint8_t last, const char *server_name)
{
    struct trace_filter filter;
    struct event event = event_of(last, server_name);

    assert_int_equal(parse(&filter, request), 0);
    return trace_matches(&filter, &event);
}

static void wrong_filters_are_refused(void **state)
{
    struct trace_filter filter;
    (void)state;

    assert_true(parse(&filter, "{\"client\": \"somebody\"}") < 0);
    assert_true(parse(&filter, "{\"client\": 5}") < 0);
    assert_true(parse(&filter, "{\"sni\": {}}") < 0);
    assert_true(parse(&filter,
                      "{\"sni\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}") < 0);
}

static void filters_choose(void **state)
{
    (void)state;
    assert_true(matches("{}", 7, "a.example"));
    assert_true(matches("{\"client\": \"192.0.2.7\"}", 7, "a.example"));
    assert_false(matches("{\"client\": \"192.0.2.8\"}", 7, "a.example"));
    assert_true(matches("{\"client\": \"192.0.2.0/28\"}", 15, ""));
    assert_false(matches("{\"client\": \"192.0.2.0/28\"}", 16, ""));
    assert_true(matches("{\"sni\": \"A.example\"}", 7, "a.example"));
    assert_false(matches("{\"sni\": \"b.example\"}", 7, "a.example"));
}

static void an_event_without_name_is_left_to_the_worker(void **state)
{
    struct trace_filter filter;
    struct event event = event_of(7, "");
    (void)state;

    assert_int_equal(parse(&filter, "{\"sni\": \"a.example\"}"), 0);
    assert_false(trace_matches(&filter, &event));
    event.flags = EVENT_TRACED;
    assert_true(trace_matches(&filter, &event));
    memset(event.client, 0, sizeof event.client); /* about no client at all */
    assert_false(trace_matches(&filter, &event));
}

static void workers_are_asked_for_what_covers_all_tracers(void **state)
{
    struct board *board = calloc(1, sizeof *board);
    struct event_feed feed = {.view = NULL};
    struct control_request requests[TRACERS_MAX + 1];
    struct trace_filter filter;
    struct error error;
    struct trace trace;
    (void)state;

    board->trace.generation = 9; /* left by a control process that died */
    trace_init(&trace, board, &feed);
    assert_int_equal(board->trace.generation, 0);
    assert_int_equal(parse(&filter, "{\"client\": \"192.0.2.7\", \"sni\": \"a.example\"}"), 0);
    assert_int_equal(trace_add(&trace, &requests[0], &filter, &error), 0);
    assert_int_equal(board->trace.generation, 10);
    assert_int_equal(board->trace.by_client, 1);
    assert_string_equal(board->trace.server_name, "a.example");
    assert_non_null(feed.listener);

    assert_int_equal(parse(&filter, "{\"client\": \"192.0.2.8\", \"sni\": \"a.example\"}"), 0);
    assert_int_equal(trace_add(&trace, &requests[1], &filter, &error), 0);
    assert_int_equal(board->trace.by_client, 0);
    assert_string_equal(board->trace.server_name, "a.example");

    assert_int_equal(parse(&filter, "{\"client\": \"192.0.2.0/24\"}"), 0);
    for (int i = 2; i < TRACERS_MAX; i++)
        assert_int_equal(trace_add(&trace, &requests[i], &filter, &error), 0);
    assert_string_equal(board->trace.server_name, "");
    assert_true(trace_add(&trace, &requests[TRACERS_MAX], &filter, &error) < 0);
    assert_int_equal(error.code, ERROR_BUSY);

    for (int i = 0; i < TRACERS_MAX; i++)
        trace_remove(&trace, &requests[i]);
    assert_int_equal(board->trace.generation, 0);
    assert_null(feed.listener);
    free(board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_filters_are_refused),
        cmocka_unit_test(filters_choose),
        cmocka_unit_test(an_event_without_name_is_left_to_the_worker),
        cmocka_unit_test(workers_are_asked_for_what_covers_all_tracers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
