/* What alerting remembers of alerts from one run to the next. */
#include "watch/alerts/alerting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/string.h"

#define DAY INT64_C(86400)

static struct {
    char folder[64];
    struct loop *loop;
    struct http_client *http;
    struct store *store;
    struct conf *conf;
    struct alerting *alerting;
} world;

static void on_event(void *context, enum event_type type, const char *text)
{
    (void)context, (void)type, (void)text;
}

static void begin(void)
{
    const struct alerting_host host = {.event = on_event};
    struct error error = {0};
    char path[96];

    snprintf(path, sizeof path, "%s/watch.db", world.folder);
    world.loop = loop_new();
    assert_int_equal(conf_parse(&world.conf, "t.conf", "watch web { targets = {\"a:443\"} }\n",
                                NULL, NULL, &error),
                     0);
    assert_int_equal(http_client_new(&world.http, world.loop, &error), 0);
    assert_int_equal(store_open(&world.store, path, &error), 0);
    world.alerting = alerting_new(world.loop, world.http, world.store, world.conf, &host);
    assert_non_null(world.alerting);
}

static void end(void)
{
    alerting_free(world.alerting);
    http_client_free(world.http);
    store_free(world.store);
    conf_free(world.conf);
    loop_free(world.loop);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(world.folder, "/tmp/holdfast-alerting-XXXXXX");
    return mkdtemp(world.folder) == NULL ? -1 : 0;
}

static int remove_one(const char *name, const struct stat *status, int kind, struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(name);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(world.folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Its result at the target "a:443". */
static void revoked(bool still)
{
    AUTO(json_t_pointer)
    endpoints =
        json_pack("[{s:s, s:s, s:s, s:[{s:s, s:s, s:s, s:s, s:s, s:b}], s:[]}]", "address",
                  "192.0.2.1:443", "outcome", "seen", "key_type", "ecdsa", "findings", "id",
                  "revoked", "severity", still ? "critical" : "info", "text", "it is revoked",
                  "next", "renew it", "certificate", "aa", "hard", 1, "certificates");

    assert_non_null(endpoints);
    alerting_result(world.alerting, &world.conf->watches[0], "a:443", endpoints);
}

static int count(void *context, const char *key, const json_t *document)
{
    (void)key, (void)document;
    ++*(unsigned *)context;
    return 0;
}

static unsigned remembered(void)
{
    struct error error = {0};
    unsigned alerts = 0;

    assert_int_equal(store_each_document(world.store, "alert", count, &alerts, &error), 0);
    return alerts;
}

static void take(void *context, json_t *object)
{
    json_t **alert = context;

    json_decref(*alert);
    *alert = json_incref(object);
}

/* As if it had been closed so long ago. */
static void age(int64_t seconds)
{
    AUTO(json_t_pointer) alert = NULL;

    alerting_each(world.alerting, true, take, &alert);
    assert_string_equal(json_text(alert, "state"), "closed");
    ignore(json_object_set_new(alert, "closed_at", json_integer(time(NULL) - seconds)));
    store_put(world.store, "alert", "00000000000000000001", alert);
}

static void test_closed_are_forgotten(void **state)
{
    AUTO(json_t_pointer) alert = NULL;
    (void)state;

    begin();
    revoked(true);
    revoked(false);
    revoked(false);
    assert_int_equal(remembered(), 1);
    age(DAY - 600);
    end();
    begin();
    assert_int_equal(remembered(), 1);
    age(DAY + 1);
    end();
    begin();
    assert_int_equal(remembered(), 0);
    end();
    /* Nothing is left of it but its number. */
    begin();
    revoked(true);
    alerting_each(world.alerting, false, take, &alert);
    assert_int_equal(json_integer_value(json_object_get(alert, "number")), 2);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_closed_are_forgotten, set_up, tear_down)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
