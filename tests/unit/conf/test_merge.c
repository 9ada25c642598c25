/* A reloaded configuration: places, holes, retired objects, what differs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "conf/merge.h"

#define CERTIFICATE "certificate c { from = internal names = localhost }\n"

/* What lives where, as the board would say. */
struct life {
    uint32_t listener, server; /* CONF_NONE: nothing */
};

static bool listener_lives(void *context, uint32_t listener)
{
    return ((const struct life *)context)->listener == listener;
}

static bool server_lives(void *context, uint32_t number)
{
    return ((const struct life *)context)->server == number;
}

static struct conf *parse(const char *text)
{
    struct error error = {0};
    struct conf *conf = NULL;

    if (conf_parse(&conf, "t.conf", text, NULL, NULL, &error) != 0)
        fail_msg("refused: %s\n%s", error.message, text);
    return conf;
}

/* Replaces *conf by its merger with the text. */
static void reload(struct conf **conf, const char *text, uint32_t listener, uint32_t server)
{
    struct life life = {listener, server};
    const struct conf_usage usage = {&life, listener_lives, server_lives};
    struct conf *next = parse(text), *merged = NULL;
    struct error error = {0};

    if (conf_merge(&merged, next, *conf, &usage, &error) != 0)
        fail_msg("not merged: %s\n%s", error.message, text);
    conf_free(next);
    conf_free(*conf);
    *conf = merged;
}

static const char two[] =
    "listener a { bind = 127.0.0.1:1001 certificates = c upstream = x }\n"
    "listener b { bind = 127.0.0.1:1002 certificates = c routes = {\"m.test=y\"} upstream = x }\n"
    "upstream x { servers = {\"10.0.0.1:80\", \"10.0.0.2:80 weight=3\"} }\n"
    "upstream y { servers = {\"app.test:80\"} }\n" CERTIFICATE;

static const char only_b[] =
    "upstream y { servers = {\"app.test:80\"} }\n"
    "listener b { bind = 127.0.0.1:1002 certificates = c upstream = y }\n" CERTIFICATE;

static void test_internal_words_are_unknown_in_files(void **state)
{
    static const char *const options[] = {"place = 3", "retired = yes"};
    struct conf *conf = NULL;
    char text[512];
    (void)state;

    for (size_t i = 0; i < 2; i++) {
        struct error error = {0};
        ignore(snprintf(text, sizeof text,
                        "listener a { bind = 127.0.0.1:1 certificates = c upstream = x\n%s\n}\n"
                        "upstream x { servers = 10.0.0.1:80 }\n" CERTIFICATE,
                        options[i]));
        assert_int_not_equal(conf_parse(&conf, "t.conf", text, NULL, NULL, &error), 0);
        assert_non_null(strstr(error.message, "unknown option"));
    }
    struct error error = {0};
    assert_int_not_equal(
        conf_parse(&conf, "t.conf",
                   "listener a { bind = 127.0.0.1:1 certificates = c upstream = x }\n"
                   "upstream x { servers = \"10.0.0.1:80 number=7\" }\n" CERTIFICATE,
                   NULL, NULL, &error),
        0);
}

static void test_internal_text_is_stable(void **state)
{
    struct conf *conf = parse(two), *again = NULL;
    struct error error = {0};
    (void)state;

    char *first = conf_show_internal(conf);
    assert_int_equal(conf_parse_internal(&again, "t.conf", first, &error), 0);
    char *second = conf_show_internal(again);
    assert_string_equal(first, second);
    free(first);
    free(second);
    conf_free(conf);
    conf_free(again);
}

static void test_places_are_kept_by_name(void **state)
{
    struct conf *conf = parse(two);
    (void)state;

    reload(&conf, only_b, CONF_NONE, CONF_NONE);
    assert_int_equal(conf->listener_count, 2);
    assert_string_equal(conf->listeners[1].name, "b");
    assert_true(conf_listener_in_force(&conf->listeners[1]));
    assert_int_equal(conf->listeners[1].upstream, 1);
    assert_string_equal(conf->upstreams[1].name, "y");
    assert_string_equal(conf->upstreams[1].servers[0].host, "app.test");
    assert_int_equal(conf->upstreams[1].servers[0].number, 2);
    /* What went is retired, whole, through the reload that removed it. */
    assert_string_equal(conf->listeners[0].name, "a");
    assert_true(conf->listeners[0].retired);
    assert_true(conf->upstreams[0].retired);
    assert_int_equal(conf->upstreams[0].servers[1].weight, 3);
    conf_free(conf);
}

static void test_unused_leaves_a_hole_used_stays(void **state)
{
    struct conf *conf = parse(two);
    (void)state;

    reload(&conf, only_b, CONF_NONE, CONF_NONE);
    reload(&conf, only_b, 0, CONF_NONE);
    assert_true(conf->listeners[0].retired);
    assert_true(conf->upstreams[0].retired); /* the listener's last handshakes lead there */
    reload(&conf, only_b, CONF_NONE, 1);
    assert_null(conf->listeners[0].name);
    assert_true(conf->upstreams[0].retired); /* a session is there */
    reload(&conf, only_b, CONF_NONE, CONF_NONE);
    assert_null(conf->upstreams[0].name);
    assert_int_equal(conf->listener_count, 2);
    char *text = conf_show(conf);
    assert_null(strstr(text, "listener a"));
    free(text);
    conf_free(conf);
}

static void test_return_takes_the_old_place(void **state)
{
    struct conf *conf = parse(two);
    (void)state;

    reload(&conf, only_b, CONF_NONE, CONF_NONE);
    reload(&conf, two, CONF_NONE, CONF_NONE);
    assert_string_equal(conf->listeners[0].name, "a");
    assert_false(conf->listeners[0].retired);
    assert_int_equal(conf->upstreams[0].servers[1].number, 1);
    assert_int_equal(conf->listener_count, 2);
    conf_free(conf);
}

static void test_new_objects_get_new_places(void **state)
{
    struct conf *conf = parse(two);
    char text[1024];
    (void)state;

    reload(&conf, only_b, CONF_NONE, CONF_NONE);
    reload(&conf, only_b, CONF_NONE, CONF_NONE);
    ignore(snprintf(text, sizeof text, "%s%s", only_b,
                    "listener n { bind = 127.0.0.1:1003 certificates = c upstream = z }\n"
                    "upstream z { servers = 10.0.0.9:80 }\n"));
    reload(&conf, text, CONF_NONE, CONF_NONE);
    assert_null(conf->listeners[0].name);
    assert_string_equal(conf->listeners[2].name, "n");
    assert_int_equal(conf->listeners[2].upstream, 2);
    assert_int_equal(conf->upstreams[2].servers[0].number, 3);
    conf_free(conf);
}

static void test_servers_come_and_go(void **state)
{
    static const char head[] = "listener a { bind = 127.0.0.1:1 certificates = c upstream = x }\n";
    struct conf *conf = parse(two);
    char text[1024];
    (void)state;

    ignore(snprintf(text, sizeof text, "%s%s" CERTIFICATE, head,
                    "upstream x { servers = {\"10.0.0.7:80\", \"10.0.0.2:80 weight=3\"} }\n"));
    reload(&conf, text, CONF_NONE, CONF_NONE);
    const struct conf_upstream *upstream = &conf->upstreams[0];
    assert_int_equal(upstream->server_count, 3);
    assert_true(upstream->servers[0].retired);
    assert_int_equal(upstream->servers[1].number, 1);
    assert_string_equal(upstream->servers[2].name, "10.0.0.7:80");
    assert_int_equal(upstream->servers[2].number, 3);
    reload(&conf, text, CONF_NONE, 0);
    assert_true(conf->upstreams[0].servers[0].retired);
    reload(&conf, text, CONF_NONE, CONF_NONE);
    assert_null(conf->upstreams[0].servers[0].name);
    conf_free(conf);
}

static void test_places_are_used_again_when_full(void **state)
{
    struct conf *conf = parse(only_b);
    char text[1024];
    (void)state;

    for (unsigned i = 0; i < CONF_LISTENERS_MAX + 20; i++) {
        ignore(snprintf(text, sizeof text,
                        "%slistener l%u { bind = 127.0.0.1:1003 certificates = c upstream = y }\n",
                        only_b, i));
        reload(&conf, text, CONF_NONE, CONF_NONE);
        assert_string_equal(conf->listeners[0].name, "b");
        assert_int_not_equal(conf_find_listener(conf, "b"), CONF_NONE);
    }
    assert_int_equal(conf->listener_count, CONF_LISTENERS_MAX);
    conf_free(conf);
}

/* ---- differences ---- */

static void note(void *context, const struct conf_difference *difference)
{
    char *text = context;
    size_t used = strlen(text);

    ignore(snprintf(text + used, 1024 - used, "%s %s %s(%s) ", conf_kind_name(difference->kind),
                    difference->name, conf_change_name(difference->change), difference->options));
}

static void test_differences(void **state)
{
    struct conf *before = parse(two), *after = parse(two);
    char text[1024] = "";
    (void)state;

    assert_true(conf_compare(before, after, note, text));
    assert_string_equal(text, "");
    reload(&after, only_b, CONF_NONE, CONF_NONE);
    assert_true(conf_compare(before, after, note, text));
    assert_string_equal(text, "listener a removed() listener b changed(upstream, routes) upstream "
                              "x removed() server x/10.0.0.1:80 removed() server x/10.0.0.2:80 "
                              "removed() ");
    text[0] = '\0';
    reload(&before,
           "log-sessions = no\nadmin { bind = 127.0.0.1:9 }\n"
           "upstream y { servers = {\"app.test:80 weight=2\"} }\n"
           "listener b { bind = 127.0.0.1:1002 certificates = c upstream = y\n"
           "on-removal = drain }\n" CERTIFICATE,
           CONF_NONE, CONF_NONE);
    assert_true(conf_compare(after, before, note, text));
    assert_string_equal(text, "global  changed(log-sessions) listener b changed(on-removal) "
                              "upstream y changed(servers) server y/app.test:80 changed(weight) "
                              "admin  added() ");
    assert_true(conf_same_certificate(before, after, "c"));
    assert_false(conf_same_certificate(before, after, "d"));
    conf_free(before);
    conf_free(after);
}

static void test_fixed_settings_stay(void **state)
{
    struct conf *current = parse(two), *next;
    struct error error = {0};
    unsigned changed;
    char text[2048], shown[128];
    (void)state;

    ignore(snprintf(text, sizeof text, "workers = 7\nstate-folder = /elsewhere\n%s", two));
    next = parse(text);
    assert_int_equal(conf_keep_fixed(next, current, &changed, &error), 0);
    assert_int_equal(changed, CONF_FIXED_WORKERS | CONF_FIXED_STATE_FOLDER);
    assert_string_equal(conf_fixed_text(changed, shown, sizeof shown), "state-folder, workers");
    assert_int_equal(next->workers, current->workers);
    assert_string_equal(next->state_folder, current->state_folder);
    conf_free(current);
    conf_free(next);
}

struct told {
    char text[256];
};

static void tell(void *context, const struct conf_difference *difference)
{
    struct told *told = context;
    size_t used = strlen(told->text);

    snprintf(told->text + used, sizeof told->text - used, "%s %s %s %s\n",
             conf_kind_name(difference->kind), difference->name,
             conf_change_name(difference->change), difference->options);
}

/* Watches have no places: they are compared by name. */
static void watches(void **state)
{
    struct conf *before = parse("watch a { targets = x }\nwatch b { targets = x interval = 1h }\n");
    struct conf *after = parse("watch c { targets = x }\nwatch b { targets = x interval = 2h }\n");
    struct told told = {""};
    (void)state;

    assert_true(conf_compare(before, after, tell, &told));
    assert_string_equal(told.text, "watch a removed \nwatch b changed interval\nwatch c added \n");
    conf_free(before);
    conf_free(after);
}

/* Shared memory has no room for workers that were not there at the start. */
static void listener_without_workers(void **state)
{
    struct conf *before = parse("watch a { targets = x }\n"), *after = parse(two);
    struct error error = {0};
    unsigned changed;
    (void)state;

    assert_true(conf_keep_fixed(after, before, &changed, &error) < 0);
    assert_non_null(strstr(error.message, "started without listeners"));
    conf_free(before);
    conf_free(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(watches),
        cmocka_unit_test(listener_without_workers),
        cmocka_unit_test(test_internal_words_are_unknown_in_files),
        cmocka_unit_test(test_internal_text_is_stable),
        cmocka_unit_test(test_places_are_kept_by_name),
        cmocka_unit_test(test_unused_leaves_a_hole_used_stays),
        cmocka_unit_test(test_return_takes_the_old_place),
        cmocka_unit_test(test_new_objects_get_new_places),
        cmocka_unit_test(test_servers_come_and_go),
        cmocka_unit_test(test_places_are_used_again_when_full),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_fixed_settings_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
