/* Section `listener`: addresses that clients connect to, and what is done with them. */
#include "conf/schema.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/string.h"
#include "conf/list.h"
#include "conf/schema_client.h"

#define OPTION(option, kind, member)                                                               \
    .name = (option), .type = &(kind), .offset = offsetof(struct conf_listener, member)
#define SECOND   1000ull
#define MINUTE   (60 * SECOND)
#define HOUR     (60 * MINUTE)
#define DAY      (24 * HOUR)
#define KIBIBYTE 1024ull

#define CONNECTIONS_MAX (100 * 1000 * 1000)
#define ROUTES_MAX      1000

/* ---- references by name ---- */

static int fail_unknown_upstream(struct schema_reader *reader, const struct schema_option *option,
                                 const struct schema_value *value, const char *name)
{
    struct schema_nearest nearest = {.word = name};
    char hint[SCHEMA_SHOWN_MAX];

    for (size_t i = 0; i < reader->conf->upstream_count; i++)
        schema_nearest_try(&nearest, reader->conf->upstreams[i].name);
    return schema_fail_value(reader, option, value, "the name of an upstream section%s",
                             schema_nearest_text(&nearest, hint));
}

/* Copies a name in lower case; false when it is too long to be one. */
static bool name_lower(char lower[CONF_NAME_MAX], const char *text)
{
    bool fits = string_copy(lower, CONF_NAME_MAX, text);
    string_lower(lower);
    return fits;
}

static int upstream_read(struct schema_reader *reader, const struct schema_option *option,
                         const struct schema_value *value, void *field)
{
    char name[CONF_NAME_MAX];
    uint32_t upstream =
        name_lower(name, value->text) ? conf_find_upstream(reader->conf, name) : CONF_NONE;

    if (upstream == CONF_NONE)
        return fail_unknown_upstream(reader, option, value, value->text);
    *(uint32_t *)field = upstream;
    return 0;
}

static void upstream_show(struct buffer *buffer, const struct conf *conf,
                          const struct schema_option *option, const void *field)
{
    uint32_t upstream = *(const uint32_t *)field;

    (void)option;
    if (upstream != CONF_NONE)
        schema_show_quoted(buffer, conf->upstreams[upstream].name);
}

static int certificates_read(struct schema_reader *reader, const struct schema_option *option,
                             const struct schema_value *value, void *field)
{
    struct conf_listener *listener = field;
    char name[CONF_NAME_MAX], hint[SCHEMA_SHOWN_MAX];
    uint32_t certificate =
        name_lower(name, value->text) ? conf_find_certificate(reader->conf, name) : CONF_NONE;

    if (certificate == CONF_NONE) {
        struct schema_nearest nearest = {.word = value->text};
        for (size_t i = 0; i < reader->conf->certificate_count; i++)
            schema_nearest_try(&nearest, reader->conf->certificates[i].name);
        return schema_fail_value(reader, option, value, "the name of a certificate section%s",
                                 schema_nearest_text(&nearest, hint));
    }
    for (size_t i = 0; i < listener->certificate_count; i++) {
        if (listener->certificates[i] == certificate)
            return schema_fail_value(reader, option, value, "each certificate once");
    }
    uint32_t *item = list_append(&listener->certificates, &listener->certificate_count,
                                 sizeof *listener->certificates);
    if (item == NULL)
        return schema_fail_memory(reader);
    *item = certificate;
    return 0;
}

static void certificates_show(struct buffer *buffer, const struct conf *conf,
                              const struct schema_option *option, const void *field)
{
    const struct conf_listener *listener = field;

    (void)option;
    for (size_t i = 0; i < listener->certificate_count; i++) {
        ignore(buffer_append_text(buffer, i == 0 ? "{" : ", "));
        schema_show_quoted(buffer, conf->certificates[listener->certificates[i]].name);
    }
    if (listener->certificate_count > 0)
        ignore(buffer_append_text(buffer, "}"));
}

static void certificates_free(void *field)
{
    struct conf_listener *listener = field;

    free(listener->certificates);
    listener->certificates = NULL;
    listener->certificate_count = 0;
}

static const struct schema_type upstream_type = {.read = upstream_read, .show = upstream_show};
static const struct schema_type certificates_type = {
    .list = true, .read = certificates_read, .show = certificates_show, .free = certificates_free};

/* ---- routes = {"a.example=app1", "*.b.example=app2"} ---- */

#define ROUTE_EXPECTED "a route such as \"shop.example=app\" or \"*.shop.example=app\""

static int routes_read(struct schema_reader *reader, const struct schema_option *option,
                       const struct schema_value *value, void *field)
{
    struct conf_listener *listener = field;
    const char *equals = strchr(value->text, '=');
    char text[SCHEMA_VALUE_MAX + 1], name[SCHEMA_NAME_SIZE], upstream_name[CONF_NAME_MAX];

    if (equals == NULL)
        return schema_fail_value(reader, option, value, ROUTE_EXPECTED);
    ignore(string_copy(text, sizeof text, value->text));
    text[equals - value->text] = '\0';
    const char *wrong = schema_read_name(name, text, true, false);
    if (wrong != NULL)
        return schema_fail_value(reader, option, value, ROUTE_EXPECTED ": %s", wrong);
    uint32_t upstream = name_lower(upstream_name, equals + 1)
                            ? conf_find_upstream(reader->conf, upstream_name)
                            : CONF_NONE;
    if (upstream == CONF_NONE)
        return fail_unknown_upstream(reader, option, value, equals + 1);
    for (size_t i = 0; i < listener->route_count; i++) {
        if (strcmp(listener->routes[i].name, name) == 0)
            return schema_fail_value(reader, option, value, "each name once");
    }
    if (listener->route_count == ROUTES_MAX)
        return schema_fail_value(reader, option, value, "at most %d routes", ROUTES_MAX);
    struct conf_route *route =
        list_append(&listener->routes, &listener->route_count, sizeof *listener->routes);
    if (route == NULL)
        return schema_fail_memory(reader);
    route->upstream = upstream;
    route->name = strdup(name);
    return route->name == NULL ? schema_fail_memory(reader) : 0;
}

static void routes_show(struct buffer *buffer, const struct conf *conf,
                        const struct schema_option *option, const void *field)
{
    const struct conf_listener *listener = field;

    (void)option;
    for (size_t i = 0; i < listener->route_count; i++)
        ignore(buffer_printf(buffer, "%s\"%s=%s\"", i == 0 ? "{" : ", ", listener->routes[i].name,
                             conf->upstreams[listener->routes[i].upstream].name));
    if (listener->route_count > 0)
        ignore(buffer_append_text(buffer, "}"));
}

static void routes_free(void *field)
{
    struct conf_listener *listener = field;

    for (size_t i = 0; i < listener->route_count; i++)
        free(listener->routes[i].name);
    free(listener->routes);
    listener->routes = NULL;
    listener->route_count = 0;
}

static const struct schema_type routes_type = {
    .list = true, .read = routes_read, .show = routes_show, .free = routes_free};

/* ---- groups = "X25519:P-256": whether OpenSSL knows them shows when the listener starts ---- */

static int groups_read(struct schema_reader *reader, const struct schema_option *option,
                       const struct schema_value *value, void *field)
{
    const char *c = value->text;

    while (isalnum((unsigned char)*c) || (*c != '\0' && strchr("_-:", *c) != NULL))
        c++;
    if (*c != '\0' || value->text[0] == ':' || string_ends_with(value->text, ":") ||
        strstr(value->text, "::") != NULL)
        return schema_fail_value(reader, option, value,
                                 "names of groups joined by colons, such as " CONF_GROUPS_DEFAULT);
    return schema_text.read(reader, option, value, field);
}

static const struct schema_type groups_type = {
    .read = groups_read, .show = schema_text_show, .free = schema_text_free};

/* ---- the table ---- */

static const struct schema_word mode_words[] = {
    {"tcp", CONF_MODE_TCP}, {"pass-through", CONF_MODE_PASS_THROUGH}, {NULL, 0}};
static const struct schema_word strict_words[] = {{"no", CONF_UNKNOWN_NAME_DEFAULT},
                                                  {"yes", CONF_UNKNOWN_NAME_REFUSE},
                                                  {"off", CONF_UNKNOWN_NAME_DEFAULT},
                                                  {"on", CONF_UNKNOWN_NAME_REFUSE},
                                                  {"false", CONF_UNKNOWN_NAME_DEFAULT},
                                                  {"true", CONF_UNKNOWN_NAME_REFUSE},
                                                  {NULL, 0}};
static const struct schema_word version_words[] = {
    {"1.2", CONF_TLS_1_2}, {"1.3", CONF_TLS_1_3}, {NULL, 0}};

static const struct schema_word removal_words[] = {
    {"keep", CONF_ON_REMOVAL_KEEP}, {"drain", CONF_ON_REMOVAL_DRAIN}, {NULL, 0}};
static const struct schema_word overload_words[] = {
    {"reset", CONF_OVERLOAD_RESET}, {"alert", CONF_OVERLOAD_ALERT}, {NULL, 0}};

static const struct schema_word detach_words[] = {{"prefer", CONF_DETACH_PREFER},
                                                  {"require", CONF_DETACH_REQUIRE},
                                                  {"never", CONF_DETACH_NEVER},
                                                  {NULL, 0}};
static const struct schema_word renegotiation_words[] = {
    {"refuse", CONF_RENEGOTIATION_REFUSE},
    {"allow", CONF_RENEGOTIATION_ALLOW},
    {"authenticated", CONF_RENEGOTIATION_AUTHENTICATED},
    {NULL, 0}};
static const struct schema_word on_timeout_words[] = {
    {"keep", CONF_ON_TIMEOUT_KEEP}, {"close", CONF_ON_TIMEOUT_CLOSE}, {NULL, 0}};
static const struct schema_word ended_words[] = {
    {"close", CONF_CLIENT_ENDED_CLOSE}, {"keep", CONF_CLIENT_ENDED_KEEP}, {NULL, 0}};
static const struct schema_word unauthenticated_words[] = {
    {"close", CONF_UNAUTHENTICATED_CLOSE}, {"keep", CONF_UNAUTHENTICATED_KEEP}, {NULL, 0}};
static const struct schema_word crl_words[] = {
    {"warn", CONF_CRL_EXPIRED_WARN}, {"refuse", CONF_CRL_EXPIRED_REFUSE}, {NULL, 0}};

static const struct schema_option listener_options[] = {
    {OPTION("bind", schema_addresses, bind)},
    {OPTION("mode", schema_choice, mode), .fallback = "tcp", .words = mode_words},
    {.name = "certificates", .type = &certificates_type},
    {OPTION("upstream", upstream_type, upstream)},
    {.name = "routes", .type = &routes_type},
    {OPTION("strict-sni", schema_choice, unknown_name), .fallback = "no", .words = strict_words},
    {OPTION("alpn", schema_alpn, alpn)},
    {OPTION("tls-min", schema_choice, min_version), .fallback = "1.2", .words = version_words},
    {OPTION("tls-max", schema_choice, max_version), .fallback = "1.3", .words = version_words},
    {OPTION("groups", groups_type, groups), .fallback = CONF_GROUPS_DEFAULT},
    {OPTION("tickets", schema_count, tickets), .fallback = "1", .maximum = 16, .none = true},
    {OPTION("ticket-lifetime", schema_duration, ticket_lifetime), .fallback = "12h",
     .minimum = MINUTE, .maximum = 7 * DAY},
    {OPTION("max-lineage", schema_seconds, max_lineage), .fallback = "7d", .minimum = SECOND,
     .maximum = 7 * DAY},
    {OPTION("detach", schema_choice, detach), .fallback = "prefer", .words = detach_words},
    {OPTION("cbc-suites", schema_boolean, cbc_suites), .fallback = "no"},
    {OPTION("renegotiation", schema_choice, renegotiation), .fallback = "refuse",
     .words = renegotiation_words},
    {OPTION("renegotiate-every", schema_duration, renegotiate_every), .fallback = "none",
     .minimum = SECOND, .maximum = 365 * DAY, .none = true},
    {OPTION("renegotiation-rate", schema_rate, renegotiation_rate), .fallback = "1/10m",
     .minimum = SECOND, .maximum = DAY},
    {OPTION("renegotiation-timeout", schema_duration, renegotiation_timeout), .fallback = "10s",
     .minimum = 100, .maximum = 10 * MINUTE},
    {OPTION("renegotiation-on-timeout", schema_choice, renegotiation_on_timeout),
     .fallback = "keep", .words = on_timeout_words},
    {OPTION("tolerate-truncation", schema_boolean, tolerate_truncation), .fallback = "no"},
    {OPTION("proxy-from", schema_networks, proxy_from)},
    {OPTION("allow", schema_networks, allow)},
    {OPTION("deny", schema_networks, deny)},
    {OPTION("proxy-timeout", schema_duration, proxy_timeout), .fallback = "5s", .minimum = 100,
     .maximum = 10 * MINUTE},
    {OPTION("handshake-timeout", schema_duration, handshake_timeout), .fallback = "10s",
     .minimum = 100, .maximum = 10 * MINUTE},
    {OPTION("idle-timeout", schema_duration, idle_timeout), .fallback = "none", .minimum = SECOND,
     .maximum = 3650 * DAY, .none = true},
    {OPTION("max-session-age", schema_duration, max_session_age), .fallback = "none",
     .minimum = SECOND, .maximum = 3650 * DAY, .none = true},
    {OPTION("half-close-timeout", schema_duration, half_close_timeout), .fallback = "5m",
     .minimum = 100, .maximum = 365 * DAY},
    {OPTION("keep-alive", schema_seconds, keepalive), .fallback = "60s", .minimum = SECOND,
     .maximum = 32767 * SECOND, .none = true},
    {OPTION("user-timeout", schema_duration_32, user_timeout), .fallback = "none", .minimum = 100,
     .maximum = DAY, .none = true},
    {OPTION("client-hello-max", schema_size_32, client_hello_max), .fallback = "16k",
     .minimum = 512, .maximum = 128 * KIBIBYTE},
    {OPTION("max-connections", schema_count, max_connections), .fallback = "none", .minimum = 1,
     .maximum = CONNECTIONS_MAX, .none = true},
    {OPTION("max-connections-per-source", schema_count, max_connections_per_source),
     .fallback = "none", .minimum = 1, .maximum = CONNECTIONS_MAX, .none = true},
    {OPTION("backlog", schema_integer, backlog), .fallback = "4096", .minimum = 1,
     .maximum = 65535},
    {OPTION("queue-timeout", schema_duration, queue_timeout), .fallback = "2s", .minimum = 100,
     .maximum = 10 * MINUTE, .none = true},
    {OPTION("overload-action", schema_choice, overload_action), .fallback = "reset",
     .words = overload_words},
    {OPTION("on-removal", schema_choice, on_removal), .fallback = "keep", .words = removal_words},
    {OPTION("traffic-key-records", schema_count, traffic_key_records), .fallback = "16777216",
     .minimum = 16, .maximum = UINT32_MAX, .none = true},
    {OPTION("traffic-key-probability", schema_count, traffic_key_probability), .fallback = "60",
     .minimum = 32, .maximum = 100},
    {OPTION("traffic-key-bytes", schema_size, traffic_key_bytes), .fallback = "none",
     .minimum = 64 * KIBIBYTE, .maximum = 1ull << 60, .none = true},
    {OPTION("traffic-key-age", schema_duration, traffic_key_age), .fallback = "none",
     .minimum = 3 * SECOND, .maximum = 3650 * DAY, .none = true},
    {OPTION("client-certificate", schema_choice, client_certificate), .fallback = "none",
     .words = schema_client_modes},
    {.name = "client-certificate-names", .type = &schema_client_names},
    {OPTION("client-ca", schema_path, client_ca)},
    {OPTION("client-crl", schema_path_list, client_crl)},
    {OPTION("client-verify-depth", schema_count, client_verify_depth), .fallback = "3",
     .maximum = 3},
    {OPTION("client-crl-expired", schema_choice, crl_expired), .fallback = "warn",
     .words = crl_words},
    {OPTION("client-certificate-ended", schema_choice, client_ended), .fallback = "close",
     .words = ended_words},
    {OPTION("client-end-spread", schema_duration, client_end_spread), .fallback = "10s",
     .minimum = 100, .maximum = DAY, .none = true},
    {OPTION("client-authenticate-names", schema_names, authenticate_names)},
    {OPTION("client-authenticate-failure", schema_choice, unauthenticated), .fallback = "close",
     .words = unauthenticated_words},
    {OPTION("client-authenticate-timeout", schema_duration, authenticate_timeout),
     .fallback = "30s", .minimum = 100, .maximum = 10 * MINUTE},
    {OPTION("place", schema_count, place), .maximum = CONF_NONE - 1, .internal = true},
    {OPTION("retired", schema_boolean, retired), .fallback = "no", .internal = true},
    {.name = NULL},
};

/* The options about renegotiation, each as far as others give it a meaning. */
static const char *renegotiation_refuses(const struct conf_listener *listener, const char *option)
{
    bool policy = strcmp(option, "renegotiation") == 0 || strcmp(option, "renegotiate-every") == 0;
    bool by_client = listener->renegotiation != CONF_RENEGOTIATION_REFUSE;
    bool by_us = listener->renegotiate_every != 0;

    if (!policy && strncmp(option, "renegotiation-", strlen("renegotiation-")) != 0)
        return NULL;
    if (listener->mode == CONF_MODE_PASS_THROUGH)
        return "found it with mode = pass-through, which does not take part in the handshake; "
               "expected mode = tcp";
    if (policy)
        return NULL;
    if (strcmp(option, "renegotiation-rate") == 0)
        return by_client ? NULL
                         : "found it with renegotiation = refuse; expected renegotiation = allow "
                           "or authenticated";
    if (strcmp(option, "renegotiation-on-timeout") == 0)
        return by_us ? NULL
                     : "found it without renegotiate-every; expected the schedule by which "
                       "clients are asked";
    return by_client || by_us ? NULL
                              : "found it without any renegotiation; expected renegotiation = "
                                "allow or authenticated, or renegotiate-every";
}

static const char *listener_refuses(const void *object, const struct schema_option *option)
{
    static const char *const terminating[] = {"certificates",
                                              "alpn",
                                              "tls-min",
                                              "tls-max",
                                              "groups",
                                              "tickets",
                                              "ticket-lifetime",
                                              "max-lineage",
                                              "detach",
                                              "cbc-suites",
                                              "tolerate-truncation",
                                              "traffic-key-records",
                                              "traffic-key-probability",
                                              "traffic-key-bytes",
                                              "traffic-key-age"};
    const struct conf_listener *listener = object;
    const char *renegotiation = renegotiation_refuses(listener, option->name);

    if (renegotiation != NULL)
        return renegotiation;

    bool terminates = schema_client_owns(option);

    for (size_t i = 0; i < ARRAY_SIZE(terminating); i++)
        terminates |= strcmp(option->name, terminating[i]) == 0;
    if (terminates && listener->mode == CONF_MODE_PASS_THROUGH)
        return "found it with mode = pass-through, which does not take part in the handshake; "
               "expected mode = tcp";
    if (strcmp(option->name, "proxy-timeout") == 0 && listener->proxy_from.count == 0)
        return "found it without proxy-from; expected the networks that send PROXY headers";
    if (strcmp(option->name, "overload-action") == 0 && listener->queue_timeout == 0)
        return "found it with queue-timeout = none, which refuses nobody; expected a duration";
    return schema_client_refuses(listener, option);
}

/* ---- checks of more than one option ---- */

static int check_upstream(struct schema_reader *reader, const struct conf_listener *listener)
{
    if (listener->upstream != CONF_NONE)
        return 0;
    if (listener->route_count == 0)
        return schema_fail(
            reader, reader->line,
            "listener '%s' has no upstream; expected upstream = \"NAME\" or routes in it",
            listener->name);
    if (listener->unknown_name != CONF_UNKNOWN_NAME_REFUSE)
        return schema_fail(reader, schema_line(reader, "routes", 0),
                           "listener '%s' has routes but no upstream for all other names; expected "
                           "upstream = \"NAME\" "
                           "or strict-sni = yes",
                           listener->name);
    return 0;
}

/* Renegotiation and CBC suites need OpenSSL to carry the session, and TLS 1.2. */
static int check_attached(struct schema_reader *reader, const struct conf_listener *listener)
{
    const char *option = listener->renegotiation != CONF_RENEGOTIATION_REFUSE ? "renegotiation"
                         : listener->renegotiate_every != 0                   ? "renegotiate-every"
                         : listener->cbc_suites                               ? "cbc-suites"
                                                                              : NULL;

    if (option == NULL)
        return 0;
    if (listener->detach == CONF_DETACH_REQUIRE)
        return schema_fail(reader, schema_line(reader, option, 0),
                           "listener '%s': found %s with detach = require, which only takes "
                           "sessions that leave OpenSSL; expected detach = prefer or never",
                           listener->name, option);
    if (listener->min_version == CONF_TLS_1_3)
        return schema_fail(reader, schema_line(reader, option, 0),
                           "listener '%s': found %s with tls-min = 1.3; expected tls-min = 1.2, "
                           "because there is no such thing in TLS 1.3",
                           listener->name, option);
    return 0;
}

static int check_tls(struct schema_reader *reader, const struct conf_listener *listener)
{
    if (listener->mode == CONF_MODE_PASS_THROUGH)
        return 0;
    if (listener->certificate_count == 0)
        return schema_fail(
            reader, reader->line,
            "listener '%s' has no certificate; expected certificates = {\"NAME\"} in it, or mode = "
            "pass-through",
            listener->name);
    if (listener->min_version > listener->max_version)
        return schema_fail(
            reader, schema_line(reader, schema_given(reader, "tls-min") ? "tls-min" : "tls-max", 0),
            "listener '%s': found tls-min = 1.3 above tls-max = 1.2; expected tls-min up to "
            "tls-max",
            listener->name);
    return check_attached(reader, listener);
}

static void warn_timeouts(struct schema_reader *reader, const struct conf_listener *listener)
{
    const char *name = listener->name;
    uint64_t idle = listener->idle_timeout;
    unsigned idle_line = schema_line(reader, "idle-timeout", 0);

    if (idle != 0 && listener->keepalive != 0 && idle <= listener->keepalive * SECOND)
        schema_warn(reader, idle_line,
                    "idle-timeout of listener '%s' is not longer than keep-alive (%u s): no "
                    "session lives long enough for a "
                    "keep-alive probe",
                    name, listener->keepalive);
    if (idle != 0 && listener->max_session_age != 0 && listener->max_session_age <= idle)
        schema_warn(reader, schema_line(reader, "max-session-age", 0),
                    "max-session-age of listener '%s' is not longer than idle-timeout: "
                    "idle-timeout never acts",
                    name);
    if (idle != 0 && schema_given(reader, "half-close-timeout") != 0 &&
        listener->half_close_timeout > idle)
        schema_warn(reader, schema_line(reader, "half-close-timeout", 0),
                    "half-close-timeout of listener '%s' is longer than idle-timeout: a "
                    "half-closed session without data "
                    "ends by idle-timeout first",
                    name);
    if (listener->user_timeout != 0 && listener->keepalive != 0 &&
        listener->user_timeout < listener->keepalive * SECOND)
        schema_warn(reader, schema_line(reader, "user-timeout", 0),
                    "user-timeout of listener '%s' is shorter than keep-alive: the first "
                    "unanswered keep-alive probe ends "
                    "the session",
                    name);
}

static void warn_limits(struct schema_reader *reader, const struct conf_listener *listener)
{
    uint32_t max_sessions = reader->conf->max_sessions;

    if (listener->max_connections != 0 &&
        listener->max_connections_per_source > listener->max_connections)
        schema_warn(
            reader, schema_line(reader, "max-connections-per-source", 0),
            "max-connections-per-source of listener '%s' is above max-connections: it never acts",
            listener->name);
    if (max_sessions != 0 && listener->max_connections > max_sessions)
        schema_warn(reader, schema_line(reader, "max-connections", 0),
                    "max-connections of listener '%s' is above max-sessions (%u): it never acts",
                    listener->name, max_sessions);
}

static int listener_check(struct schema_reader *reader, void *object)
{
    struct conf_listener *listener = object;

    if (listener->bind.count == 0)
        return schema_fail(reader, reader->line,
                           "listener '%s' has no address; expected bind = {\"ADDRESS:PORT\"} in it",
                           listener->name);
    int code = check_tls(reader, listener);
    if (code == 0)
        code = schema_client_check(reader, listener);
    if (code == 0)
        code = check_upstream(reader, listener);
    if (code == 0) {
        warn_timeouts(reader, listener);
        warn_limits(reader, listener);
    }
    return code;
}

const struct schema_section schema_listener = {.kind = "listener",
                                               .titled = true,
                                               .options = listener_options,
                                               .refuses = listener_refuses,
                                               .check = listener_check};
