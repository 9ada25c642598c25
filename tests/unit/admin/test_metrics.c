/* admin/metrics.h: the text obeys the Prometheus exposition format, whatever names and numbers
 * there are; and /healthz's answers. */
#include "world.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/http.h"
#include "admin/metrics.h"

/* metric_name [ { label="value", … } ] value */
static void check_sample(const char *line, const char *family)
{
    const char *at = line;
    char *end;

    assert_int_equal(strncmp(line, family, strlen(family)), 0);
    while (isalnum((unsigned char)*at) || *at == '_' || *at == ':')
        at++;
    if (*at == '{') {
        do {
            at++;
            while (isalnum((unsigned char)*at) || *at == '_')
                at++;
            assert_int_equal(*at++, '=');
            assert_int_equal(*at++, '"');
            for (; *at != '"'; at++) {
                assert_int_not_equal(*at, '\0');
                if (*at == '\\') {
                    at++;
                    assert_non_null(strchr("\\\"n", *at));
                }
            }
            at++;
        } while (*at == ',');
        assert_int_equal(*at++, '}');
    }
    assert_int_equal(*at++, ' ');
    strtod(at, &end);
    assert_true(end != at && *end == '\0');
}

static char *text_of_metrics(void)
{
    struct buffer text;

    buffer_init(&text, METRICS_MAX);
    metrics_write(&world.view, WORLD_NOW, &text);
    assert_false(text.failed);
    char *copy = strdup(buffer_text(&text));
    buffer_fini(&text);
    return copy;
}

static void check_format(const char *metrics)
{
    char *text = strdup(metrics), *rest = text, *line, family[128] = "";
    char seen[128][128];
    size_t families = 0;

    assert_int_equal(metrics[strlen(metrics) - 1], '\n');
    while ((line = strsep(&rest, "\n")) != NULL && rest != NULL) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            sscanf(line + 7, "%127s", family);
            for (size_t i = 0; i < families; i++)
                assert_string_not_equal(seen[i], family); /* a family may appear only once */
            strcpy(seen[families++], family);
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            assert_int_equal(strncmp(line + 7, family, strlen(family)), 0);
        } else {
            check_sample(line, family);
        }
    }
    assert_true(families > COUNTER_COUNT + HISTOGRAM_COUNT);
    free(text);
}

static bool contains(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

static void an_idle_daemon_is_well_formed(void **state)
{
    (void)state;
    char *text = text_of_metrics();
    check_format(text);
    assert_true(
        contains(text, "holdfast_server_up{upstream=\"mail\",server=\"unix:/run/mail.sock\"} 0\n"));
    assert_true(
        contains(text, "holdfast_server_weight{upstream=\"app\",server=\"10.0.0.6:8080\"} 3\n"));
    free(text);
}

static void hostile_names_are_escaped(void **state)
{
    (void)state;
    free(world.conf->listeners[0].name);
    world.conf->listeners[0].name = strdup("a\"} 1\nb\\\xc3\xa4");
    char *text = text_of_metrics();
    check_format(text);
    assert_true(contains(text, "{listener=\"a\\\"} 1\\nb\\\\\xc3\xa4\"} 0\n"));
    free(text);
}

static void extreme_numbers_are_well_formed(void **state)
{
    (void)state;
    memset(world.board->processes, 0xff, sizeof world.board->processes);
    memset(world.board->listeners, 0xff, sizeof world.board->listeners);
    memset(world.board->servers, 0xff, sizeof world.board->servers);
    char *text = text_of_metrics();
    check_format(text);
    free(text);
}

static void counters_are_summed_by_kind(void **state)
{
    (void)state;
    world.board->processes[board_worker_number(PROCESS_RELAY, 0)]
        .counters[COUNTER_CLIENT_BYTES_IN] = 5;
    world.board->processes[board_worker_number(PROCESS_RELAY, 1)]
        .counters[COUNTER_CLIENT_BYTES_IN] = 6;
    board_observe(&world.board->processes[board_worker_number(PROCESS_HANDSHAKER, 0)]
                       .histograms[HISTOGRAM_HANDSHAKE],
                  100);
    board_observe(&world.board->processes[board_worker_number(PROCESS_HANDSHAKER, 1)]
                       .histograms[HISTOGRAM_HANDSHAKE],
                  1000000);
    char *text = text_of_metrics();
    check_format(text);
    assert_true(contains(text, "holdfast_client_received_bytes_total{process=\"relay\"} 11\n"));
    assert_true(contains(text, "holdfast_handshake_duration_seconds_bucket{le=\"0.000064\"} 0\n"));
    assert_true(contains(text, "holdfast_handshake_duration_seconds_bucket{le=\"0.000128\"} 1\n"));
    assert_true(contains(text, "holdfast_handshake_duration_seconds_bucket{le=\"+Inf\"} 2\n"));
    assert_true(contains(text, "holdfast_handshake_duration_seconds_sum 1.000100\n"));
    assert_true(contains(text, "holdfast_handshake_duration_seconds_count 2\n"));
    free(text);
}

static void superseded_and_drained_by_listener(void **state)
{
    const struct drain drain = {
        .begin_ns = WORLD_NOW, .accept_until_ns = WORLD_NOW, .end_ns = WORLD_NOW + 1};
    (void)state;

    world.board->config_generation = 2;
    world_session(0, 3, 10);
    world_session(1, 4, 11)->listener = 1;
    world_session(1, 5, 12)->generation.config = 2;
    world.board->listeners[1].connections[1] = 1;
    world.board->listeners[1].sealed[0] = (struct board_sealed){.blocks = 1000, .records = 3};
    world.board->listeners[1].sealed[1] = (struct board_sealed){.blocks = 50, .records = 4};
    board_drain_write(&world.board->listeners[1].drain, &drain);
    char *text = text_of_metrics();
    check_format(text);
    assert_true(
        contains(text, "holdfast_sessions_superseded{kind=\"config\",listener=\"shop\"} 1\n"));
    assert_true(contains(text, "holdfast_sessions_superseded_oldest_seconds{kind=\"config\","
                               "listener=\"mail\"} 60\n"));
    assert_true(
        contains(text, "holdfast_sessions_superseded{kind=\"binary\",listener=\"mail\"} 0\n"));
    assert_false(contains(text, "kind=\"certificate\"")); /* without a vault: not known */
    assert_true(contains(text, "holdfast_listener_draining{listener=\"mail\"} 1\n"));
    assert_true(contains(text, "holdfast_listener_draining{listener=\"shop\"} 0\n"));
    assert_true(contains(text, "holdfast_listener_drain_left{listener=\"mail\"} 1\n"));
    assert_true(contains(text, "holdfast_listener_sealed_records_total{listener=\"mail\"} 7\n"));
    assert_true(contains(text, "holdfast_listener_sealed_blocks_total{listener=\"mail\"} 1050\n"));
    assert_true(contains(text, "holdfast_listener_sealed_blocks_total{listener=\"shop\"} 0\n"));
    assert_true(contains(text, "holdfast_draining 0\n"));
    assert_true(contains(text, "holdfast_crash_survival 0\n"));
    free(text);
}

static void health_needs_a_live_process_of_each_kind(void **state)
{
    struct board_process *handshaker =
        &world.board->processes[board_worker_number(PROCESS_HANDSHAKER, 1)];
    struct board_process *relay = &world.board->processes[board_worker_number(PROCESS_RELAY, 0)];
    const char *text;
    (void)state;

    assert_int_equal(http_health(&world.view, WORLD_NOW, &text), 503);
    *handshaker = (struct board_process){.pid = 5, .heartbeat_ns = WORLD_NOW - 1000000000};
    assert_int_equal(http_health(&world.view, WORLD_NOW, &text), 503);
    *relay = (struct board_process){.pid = 6, .heartbeat_ns = WORLD_NOW - 1000000000};
    assert_int_equal(http_health(&world.view, WORLD_NOW, &text), 200);
    relay->heartbeat_ns = WORLD_NOW - 11 * 1000000000ull;
    assert_int_equal(http_health(&world.view, WORLD_NOW, &text), 503);
    relay->heartbeat_ns = WORLD_NOW;
    relay->pid = 0;
    assert_int_equal(http_health(&world.view, WORLD_NOW, &text), 503);
    relay->pid = 6;
    world.board->draining = 1;
    assert_int_equal(http_health(&world.view, WORLD_NOW, &text), 503);
    assert_string_equal(text, "draining\n");
    world.board->draining = 0;
    const struct drain drain = {.begin_ns = 1, .accept_until_ns = UINT64_MAX, .end_ns = UINT64_MAX};
    board_drain_write(&world.board->listeners[0].drain, &drain); /* one listener is not the house */
    assert_int_equal(http_health(&world.view, WORLD_NOW, &text), 200);
    board_drain_write(&world.board->drain, &drain); /* still accepting: health says so first */
    assert_int_equal(http_health(&world.view, WORLD_NOW, &text), 503);
    assert_string_equal(text, "draining\n");
    board_drain_write(&world.board->drain, NULL);
    assert_int_equal(http_health(&world.view, WORLD_NOW, &text), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_idle_daemon_is_well_formed, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(hostile_names_are_escaped, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(extreme_numbers_are_well_formed, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(counters_are_summed_by_kind, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(superseded_and_drained_by_listener, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(health_needs_a_live_process_of_each_kind, world_set_up,
                                        world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
