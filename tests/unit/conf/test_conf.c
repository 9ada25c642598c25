/* What conf_parse makes of a good configuration, and that conf_show says the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "conf/conf.h"

static struct conf *parse(const char *text)
{
    struct conf *conf = NULL;
    struct error error = {0};

    if (conf_parse(&conf, "t.conf", text, NULL, NULL, &error) != 0)
        fail_msg("%s", error.message);
    return conf;
}

/* Showing what was shown changes nothing. */
static void check_round_trip(const char *text)
{
    struct conf *first = parse(text);
    char *shown = conf_show(first);
    assert_non_null(shown);
    struct conf *second = parse(shown);
    char *again = conf_show(second);

    assert_string_equal(shown, again);
    free(shown);
    free(again);
    conf_free(first);
    conf_free(second);
}

static const char smallest[] = "listener l { bind = \"*:443\" certificates = c upstream = app }\n"
                               "upstream app { servers = \"127.0.0.1:80\" }\n"
                               "certificate c { from = internal names = localhost }\n";

static const char everything[] =
    "# all that there is\r\n"
    "state-folder = '/srv/hold \"fast\"'\n"
    "user = www-data   workers = 3   // trailing\n"
    "buffer-memory = 1g max-sessions = 5000 session-cache = 1000 /* and\n behind */ drain-timeout "
    "= 90s\n"
    "drain-notice = 5s handshaker-nice = 0 log-handshakes = \"sample 10\" log-sessions = no\n"
    "admin { bind = {\"127.0.0.1:8444\", \"[::1]:8444\", \"unix:/run/admin.sock\"} }\n"
    "listener Shop {\n"
    "    bind = {\"0.0.0.0:443\", \"[::]:443\", \"unix:/run/shop.sock\"}\n"
    "    certificates = {shop.example, \"Other\"}\n"
    "    upstream = APP\n"
    "    routes = {\"a.shop.example=api\", \"*.B.example=app\"}\n"
    "    strict-sni = on alpn = {\"h2\", \"http/1.1\", 'odd\"\\\\one'} tls-min = 1.3 tls-max = 1.3 "
    "groups = \"P-256:X448\"\n"
    "    tickets = 2 ticket-lifetime = 7d max-lineage = 90m tolerate-truncation = yes detach = "
    "never\n"
    "    proxy-from = {\"10.0.0.0/8\", \"::1\", \"2001:db8::/32\", \"::/0\", \"0.0.0.0/0\"} allow "
    "= \"192.0.2.1\" deny = \"192.0.2.0/24\"\n"
    "    proxy-timeout = 1s handshake-timeout = 1500ms idle-timeout = 1h max-session-age = 30d\n"
    "    half-close-timeout = 10s keep-alive = 45s user-timeout = 2m client-hello-max = 64k\n"
    "    max-connections = 1000 max-connections-per-source = 10 backlog = 128\n"
    "    queue-timeout = 1s overload-action = alert\n"
    "    traffic-key-records = none traffic-key-probability = 57 traffic-key-bytes = 2t "
    "traffic-key-age = 1d\n"
    "}\n"
    "listener through { mode = pass-through bind = \"*:8443\" upstream = api idle-timeout = off "
    "keep-alive = 0 }\n"
    "upstream app {\n"
    "    servers = {\"10.0.0.5:8080 weight=3\", \"[2001:db8::5]:8080 max-connections=100\", "
    "\"App.internal:80\",\n"
    "               \"unix:/run/app.sock weight=2 max-connections=7\"}\n"
    "    balance = source-hash source-addresses = {10.0.0.9, \"2001:db8::9\"}\n"
    "    connect-timeout = 250ms connect-tries = 5 check-interval = 10s check-timeout = 1s "
    "check-rise = 1 check-fall = 9\n"
    "    proxy = v2 keep-alive = none user-timeout = 5s\n"
    "    tls = yes tls-verify = yes tls-trust = \"/etc/ca.pem\" tls-name = App.Internal "
    "tls-certificate = \"/etc/c.pem\"\n"
    "    tls-key = \"/etc/c.key\" tls-alpn = {\"http/1.1\"}\n"
    "}\n"
    "upstream api { servers = \"10.0.0.7:80\" }\n"
    "certificate shop.example {\n"
    "    names = {\"Shop.example\", \"*.shop.example\", \"192.0.2.7\", \"2001:DB8:0::1\"}\n"
    "    from = files chain = {\"/etc/e.pem\", \"/etc/r.pem\"} key = {\"/etc/e.key\", \"\"}\n"
    "}\n"
    "certificate other { from = internal key-types = {rsa, ecdsa}\n"
    "    names = {localhost, db, \"*.x.internal\", a.test, b.home.arpa, c.lan, d.local, e.example, "
    "f.invalid, g.localhost,\n"
    "             127.1.2.3, 10.1.1.1, 172.16.0.1, 172.31.255.1, 192.168.1.1, 169.254.0.1, "
    "\"::1\", \"fd00::1\", \"fe80::1\"} }\n"
    "certificate many { from = files folder = \"/etc/many\" }\n";

static void defaults(void **state)
{
    struct conf *conf = parse(smallest);
    const struct conf_listener *listener = &conf->listeners[0];
    const struct conf_upstream *upstream = &conf->upstreams[0];

    (void)state;
    assert_string_equal(conf->path, "t.conf");
    assert_string_equal(conf->state_folder, "/var/lib/holdfast");
    assert_true(conf->workers >= 1 && conf->workers <= CONF_WORKERS_MAX);
    assert_true(strcmp(conf->user, "holdfast") == 0 || strcmp(conf->user, "nobody") == 0);
    assert_int_equal(conf->buffer_memory, 256u << 20);
    assert_int_equal(conf->max_sessions, 0);
    assert_int_equal(conf->session_cache, 20000);
    assert_int_equal(conf->drain_timeout, 30000);
    assert_int_equal(conf->drain_notice, 0);
    assert_int_equal(conf->handshaker_nice, 10);
    assert_int_equal(conf->log_handshakes, CONF_LOG_FAILURES);
    assert_true(conf->log_sessions);
    assert_false(conf->admin.present);

    assert_int_equal(listener->mode, CONF_MODE_TCP);
    assert_int_equal(listener->unknown_name, CONF_UNKNOWN_NAME_DEFAULT);
    assert_int_equal(listener->min_version, CONF_TLS_1_2);
    assert_int_equal(listener->max_version, CONF_TLS_1_3);
    assert_string_equal(listener->groups, CONF_GROUPS_DEFAULT);
    assert_int_equal(listener->tickets, 1);
    assert_int_equal(listener->ticket_lifetime, 12 * 3600 * 1000);
    assert_int_equal(listener->max_lineage, 7 * 24 * 3600);
    assert_int_equal(listener->handshake_timeout, 10000);
    assert_int_equal(listener->proxy_timeout, 5000);
    assert_int_equal(listener->idle_timeout, 0);
    assert_int_equal(listener->max_session_age, 0);
    assert_int_equal(listener->half_close_timeout, 300000);
    assert_int_equal(listener->keepalive, 60);
    assert_int_equal(listener->user_timeout, 0);
    assert_int_equal(listener->client_hello_max, 16384);
    assert_int_equal(listener->max_connections, 0);
    assert_int_equal(listener->backlog, 4096);
    assert_int_equal(listener->queue_timeout, 2000);
    assert_int_equal(listener->overload_action, CONF_OVERLOAD_RESET);
    assert_int_equal(listener->traffic_key_records, 1u << 24);
    assert_int_equal(listener->traffic_key_probability, 60);
    assert_int_equal(listener->traffic_key_bytes, 0);
    assert_int_equal(listener->traffic_key_age, 0);
    assert_int_equal(listener->alpn.count, 0);

    assert_int_equal(upstream->balance, CONF_BALANCE_ROUND_ROBIN);
    assert_int_equal(upstream->connect_timeout, 5000);
    assert_int_equal(upstream->connect_tries, 3);
    assert_int_equal(upstream->check_interval, 0); /* one server: nowhere else to go */
    assert_int_equal(upstream->keepalive, 60);
    assert_int_equal(upstream->servers[0].weight, 1);
    assert_false(upstream->tls);
    assert_true(upstream->tls_verify);
    assert_int_equal(conf->certificates[0].key_types.count, 1);
    assert_string_equal(conf->certificates[0].key_types.items[0], "ecdsa");
    conf_free(conf);
}

static void checks_begin_with_the_second_server(void **state)
{
    struct conf *conf = parse(
        "listener l { bind = \"*:443\" mode = pass-through upstream = a }\n"
        "upstream a { servers = {\"10.0.0.1:80\", \"10.0.0.2:80\"} }\n"
        "upstream b { servers = {\"10.0.0.1:80\", \"10.0.0.2:80\"} check-interval = none }\n");

    (void)state;
    assert_int_equal(conf->upstreams[0].check_interval, 5000);
    assert_int_equal(conf->upstreams[0].check_timeout, 2000);
    assert_int_equal(conf->upstreams[1].check_interval, 0);
    conf_free(conf);
}

static void listener_values(void **state)
{
    struct conf *conf = parse(everything);
    const struct conf_listener *listener = &conf->listeners[0];
    uint8_t inside[16] = {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 3};

    (void)state;
    assert_int_equal(conf->listener_count, 2);
    assert_string_equal(listener->name, "shop");
    assert_int_equal(listener->bind.count, 3);
    assert_int_equal(address_port(&listener->bind.items[1]), 443);
    assert_int_equal(listener->bind.items[2].any.sa_family, AF_UNIX);
    assert_int_equal(listener->certificate_count, 2);
    assert_int_equal(listener->certificates[0], conf_find_certificate(conf, "shop.example"));
    assert_int_equal(listener->certificates[1], conf_find_certificate(conf, "other"));
    assert_int_equal(listener->upstream, conf_find_upstream(conf, "app"));
    assert_int_equal(listener->route_count, 2);
    assert_string_equal(listener->routes[1].name, "*.b.example");
    assert_int_equal(listener->routes[0].upstream, conf_find_upstream(conf, "api"));
    assert_int_equal(listener->unknown_name, CONF_UNKNOWN_NAME_REFUSE);
    assert_int_equal(listener->alpn.count, 3);
    assert_string_equal(listener->alpn.items[2], "odd\"\\one");
    assert_int_equal(listener->min_version, CONF_TLS_1_3);
    assert_true(listener->tolerate_truncation);
    assert_int_equal(listener->detach, CONF_DETACH_NEVER);
    assert_int_equal(listener->proxy_from.count, 5);
    assert_true(network_contains(&listener->proxy_from.items[0], inside));
    assert_int_equal(listener->handshake_timeout, 1500);
    assert_int_equal(listener->max_session_age, 30ull * 24 * 3600 * 1000);
    assert_int_equal(listener->keepalive, 45);
    assert_int_equal(listener->user_timeout, 120000);
    assert_int_equal(listener->client_hello_max, 65536);
    assert_int_equal(listener->max_connections_per_source, 10);
    assert_int_equal(listener->queue_timeout, 1000);
    assert_int_equal(listener->overload_action, CONF_OVERLOAD_ALERT);
    assert_int_equal(listener->traffic_key_records, 0);
    assert_int_equal(listener->traffic_key_probability, 57);
    assert_int_equal(listener->traffic_key_bytes, 2ull << 40);
    assert_int_equal(listener->traffic_key_age, 24ull * 3600 * 1000);
    assert_int_equal(conf->listeners[1].mode, CONF_MODE_PASS_THROUGH);
    assert_int_equal(conf->listeners[1].keepalive, 0);
    assert_int_equal(conf_find_listener(conf, "through"), 1);
    assert_int_equal(conf_find_listener(conf, "Shop"), CONF_NONE);
    conf_free(conf);
}

static void renegotiation(void **state)
{
    struct conf *conf = parse(
        "renegotiation-budget = 7\n"
        "listener l { bind = \"*:443\" certificates = c upstream = app cbc-suites = yes\n"
        "    renegotiation = authenticated renegotiation-rate = \"3/1h\" renegotiate-every = 12h\n"
        "    renegotiation-timeout = 5s renegotiation-on-timeout = close }\n"
        "listener m { bind = \"*:444\" certificates = c upstream = app }\n"
        "upstream app { servers = \"127.0.0.1:80\" }\n"
        "certificate c { from = internal names = localhost }\n");
    const struct conf_listener *listener = &conf->listeners[0];
    char *shown = conf_show(conf);

    (void)state;
    assert_int_equal(conf->renegotiation_budget, 7);
    assert_int_equal(listener->detach, CONF_DETACH_PREFER);
    assert_true(listener->cbc_suites);
    assert_int_equal(listener->renegotiation, CONF_RENEGOTIATION_AUTHENTICATED);
    assert_int_equal(listener->renegotiation_rate.count, 3);
    assert_int_equal(listener->renegotiation_rate.period, 3600 * 1000);
    assert_int_equal(listener->renegotiate_every, 12 * 3600 * 1000);
    assert_int_equal(listener->renegotiation_timeout, 5000);
    assert_int_equal(listener->renegotiation_on_timeout, CONF_ON_TIMEOUT_CLOSE);
    assert_non_null(strstr(shown, "    renegotiation-rate = \"3/1h\"\n"));
    free(shown);
    listener = &conf->listeners[1];
    assert_false(listener->cbc_suites);
    assert_int_equal(listener->renegotiation, CONF_RENEGOTIATION_REFUSE);
    assert_int_equal(listener->renegotiate_every, 0);
    conf_free(conf);
}

static void other_values(void **state)
{
    struct conf *conf = parse(everything);
    const struct conf_upstream *upstream = &conf->upstreams[0];
    const struct conf_certificate *certificate = &conf->certificates[0];

    (void)state;
    assert_string_equal(conf->state_folder, "/srv/hold \"fast\"");
    assert_string_equal(conf->user, "www-data");
    assert_int_equal(conf->workers, 3);
    assert_int_equal(conf->log_handshakes, CONF_LOG_SAMPLE);
    assert_int_equal(conf->log_sample, 10);
    assert_int_equal(conf->admin.bind.count, 3);
    assert_int_equal(upstream->server_count, 4);
    assert_null(upstream->servers[0].host);
    assert_int_equal(upstream->servers[0].weight, 3);
    assert_int_equal(upstream->servers[1].max_connections, 100);
    assert_string_equal(upstream->servers[2].name, "App.internal:80");
    assert_string_equal(upstream->servers[2].host, "app.internal");
    assert_int_equal(address_port(&upstream->servers[2].address), 80);
    assert_int_equal(upstream->servers[3].address.any.sa_family, AF_UNIX);
    assert_int_equal(upstream->balance, CONF_BALANCE_SOURCE_HASH);
    assert_int_equal(upstream->source_addresses.count, 2);
    assert_int_equal(upstream->proxy_out, CONF_PROXY_OUT_V2);
    assert_string_equal(upstream->tls_name, "app.internal");
    assert_int_equal(certificate->names.count, 4);
    assert_string_equal(certificate->names.items[0], "shop.example");
    assert_string_equal(certificate->names.items[3], "2001:db8::1");
    assert_int_equal(certificate->key.count, 2);
    assert_string_equal(certificate->key.items[1], "");
    assert_string_equal(conf->certificates[2].folder, "/etc/many");
    assert_int_equal(conf->certificates[2].names.count, 0);
    conf_free(conf);
}

static void round_trip(void **state)
{
    (void)state;
    check_round_trip(smallest);
    check_round_trip(everything);
}

static void shown_text(void **state)
{
    struct conf *conf = parse(smallest);
    char *shown = conf_show(conf);

    (void)state;
    assert_non_null(
        strstr(shown, "\nlistener l {\n    bind = {\"0.0.0.0:443\"}\n    mode = tcp\n"));
    assert_non_null(strstr(shown, "    idle-timeout = none\n"));
    assert_non_null(strstr(shown, "    ticket-lifetime = 12h\n"));
    assert_non_null(strstr(shown, "buffer-memory = 256m\n"));
    assert_null(strstr(shown, "tls-trust"));
    assert_null(strstr(shown, "admin"));
    free(shown);
    conf_free(conf);
}

struct seen {
    unsigned count, stop_at;
    char last[128];
};

static int see(void *context, const char *path, const char *role, bool folder)
{
    struct seen *seen = context;

    seen->count++;
    ignore(snprintf(seen->last, sizeof seen->last, "%s|%s|%d", path, role, folder));
    return seen->count == seen->stop_at ? -7 : 0;
}

static void paths(void **state)
{
    struct conf *conf = parse(everything);
    struct seen seen = {0}, stopped = {.stop_at = 4};

    (void)state;
    assert_int_equal(conf_each_path(conf, see, &seen), 0);
    assert_int_equal(seen.count, 7);
    assert_string_equal(seen.last, "/etc/c.key|tls-key of upstream app|0");
    assert_int_equal(conf_each_path(conf, see, &stopped), -7);
    assert_string_equal(stopped.last, "/etc/many|folder of certificate many|1");
    conf_free(conf);
}

/* Whatever of a watch is a file, and nothing else. */
static void paths_of_watches(void **state)
{
    static const char text[] =
        "workers = none\nwatch w { targets = {a.example, \"file:/etc/a.pem\", "
        "\"file:///etc/b.pem\"} "
        "file = \"/etc/c.pem\" discover = {\"192.0.2.0/28:443\", \"list:/etc/names\"} }\n";
    struct conf *conf = NULL;
    struct error error = {0};
    struct seen seen = {.stop_at = 2};

    (void)state;
    assert_int_equal(conf_parse(&conf, "t.conf", text, NULL, NULL, &error), 0);
    assert_int_equal(conf_each_path(conf, see, &seen), -7);
    assert_string_equal(seen.last, "/etc/b.pem|targets of watch w|0");
    seen = (struct seen){0};
    assert_int_equal(conf_each_watch_path(conf, see, &seen), 0);
    assert_int_equal(seen.count, 4);
    assert_string_equal(seen.last, "/etc/names|discover of watch w|0");
    assert_null(conf_target_path("https://a.example/file:/etc/a.pem"));
    assert_string_equal(conf_target_path("file:////etc/a.pem"), "/etc/a.pem");
    assert_string_equal(conf_target_path("file:a.pem"), "a.pem");
    conf_free(conf);
}

static void key_encryption_key(void **state)
{
    static const char text[] =
        "key-encryption-key = \"credential:kek\"\nlistener l { bind = \"*:1\" certificates = c "
        "upstream = app ticket-lifetime = 2h }\n"
        "listener m { bind = \"*:2\" certificates = c upstream = app ticket-lifetime = 3h tickets "
        "= "
        "none }\n"
        "upstream app { servers = \"10.0.0.1:1\" }\ncertificate c { from = internal names = "
        "localhost }\n";
    char path[64];
    struct conf *conf = NULL;
    struct error error = {0};
    struct seen seen = {.count = 0};

    (void)state;
    assert_int_equal(conf_parse(&conf, "t.conf", text, NULL, NULL, &error), 0);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    assert_int_equal(conf_key_encryption_path(path, sizeof path, conf, &error), -ERROR_IO);
    assert_int_equal(conf_each_path(conf, see, &seen), 0);
    assert_int_equal(seen.count, 0);
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/run/cred", 1), 0);
    assert_int_equal(conf_key_encryption_path(path, sizeof path, conf, &error), 0);
    assert_string_equal(path, "/run/cred/kek");
    assert_int_equal(conf_each_path(conf, see, &seen), 0);
    assert_string_equal(seen.last, "/run/cred/kek|key-encryption-key|0");
    assert_int_equal(conf_longest_ticket(conf), 2 * 3600 * 1000);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    conf_free(conf);
}

static void clients_asked_later(void **state)
{
    struct conf *conf = parse(
        "listener l { bind = \"*:443\" certificates = c upstream = a client-ca = \"/ca.pem\"\n"
        "  client-certificate-names = {\"*.a.example later\", \"b.a.example required\", "
        "\"c.example later\"}\n"
        "  client-authenticate-names = {\"*.A.example\"}\n"
        "  client-authenticate-failure = keep client-authenticate-timeout = 90s }\n"
        "upstream a { servers = \"127.0.0.1:80\" }\n"
        "certificate c { from = internal names = localhost }\n");
    const struct conf_listener *listener = &conf->listeners[0];

    (void)state;
    assert_int_equal(conf_client_certificate(listener, "x.a.example"),
                     CONF_CLIENT_CERTIFICATE_LATER);
    assert_true(conf_authenticates_at_once(listener, "x.a.example"));
    assert_false(conf_authenticates_at_once(listener, "b.a.example")); /* asked before */
    assert_false(conf_authenticates_at_once(listener, "c.example"));
    assert_false(conf_authenticates_at_once(listener, ""));
    assert_true(conf_asks_clients(listener));
    assert_true(conf_asks_clients_by(listener, CONF_CLIENT_CERTIFICATE_LATER));
    assert_false(conf_asks_clients_by(listener, CONF_CLIENT_CERTIFICATE_OPTIONAL));
    assert_int_equal(listener->unauthenticated, CONF_UNAUTHENTICATED_KEEP);
    assert_int_equal(listener->authenticate_timeout, 90000);
    char *shown = conf_show(conf);
    assert_non_null(strstr(shown, "client-authenticate-names = {\"*.a.example\"}"));
    assert_non_null(strstr(shown, "client-authenticate-failure = keep"));
    free(shown);
    conf_free(conf);
}

static void reading_files(void **state)
{
    char folder[] = "/tmp/holdfast-test-XXXXXX", path[64], *text = NULL;
    struct error error = {0};

    (void)state;
    assert_non_null(mkdtemp(folder));
    ignore(snprintf(path, sizeof path, "%s/x.conf", folder));
    assert_int_equal(conf_read(&text, path, &error), -(int)ERROR_IO);
    assert_non_null(strstr(error.message, "No such file"));
    assert_int_equal(conf_read(&text, folder, &error), -(int)ERROR_IO);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite("user = a\0b", 1, 10, file), 10);
    fclose(file);
    assert_int_equal(conf_read(&text, path, &error), -(int)ERROR_CONFIG);
    assert_non_null(strstr(error.message, "found a zero byte"));
    assert_null(text);
    assert_int_equal(truncate(path, 8), 0);
    assert_int_equal(conf_read(&text, path, &error), 0);
    assert_string_equal(text, "user = a");
    free(text);
    unlink(path);
    rmdir(folder);
}

/* Nothing but watches: no workers, and the text passed on says the same. */
static void watch_alone(void **state)
{
    static const char text[] = "watch mail { targets = {\"mail.example:25\", \"b.example\"}\n"
                               "warn-at = \"33%\" critical-at = 36h connect = {192.0.2.1, "
                               "\"[2001:db8::1]:443\"} renewal = manual owner = \"team a\" }\n";
    struct conf *conf = NULL, *again = NULL;
    struct error error = {0};
    (void)state;

    assert_int_equal(conf_parse(&conf, "t.conf", text, NULL, NULL, &error), 0);
    assert_int_equal(conf->workers, 0);
    assert_int_equal(conf->watch_count, 1);
    assert_int_equal(conf_find_watch(conf, "mail"), 0);
    char *shown = conf_show_internal(conf);
    assert_int_equal(conf_parse_internal(&again, "t.conf", shown, &error), 0);
    free(shown);
    assert_int_equal(again->workers, 0);
    const struct conf_watch *watch = &again->watches[0];
    assert_int_equal(watch->targets.count, 2);
    assert_string_equal(watch->targets.items[1].text, "b.example");
    assert_int_equal(watch->warn_at.percent, 33);
    assert_int_equal(watch->critical_at.time, 36 * 3600 * 1000);
    assert_int_equal(watch->connect.count, 2);
    assert_int_equal(watch->renewal, CONF_RENEWAL_MANUAL);
    assert_int_equal(watch->interval, 15 * 60 * 1000);
    assert_string_equal(watch->owner, "team a");
    conf_free(conf);
    conf_free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(watch_alone),
        cmocka_unit_test(defaults),
        cmocka_unit_test(checks_begin_with_the_second_server),
        cmocka_unit_test(listener_values),
        cmocka_unit_test(other_values),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(shown_text),
        cmocka_unit_test(paths),
        cmocka_unit_test(paths_of_watches),
        cmocka_unit_test(key_encryption_key),
        cmocka_unit_test(renegotiation),
        cmocka_unit_test(clients_asked_later),
        cmocka_unit_test(reading_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
