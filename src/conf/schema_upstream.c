/* Section `upstream`: servers that sessions are carried to. */
#include "conf/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/string.h"
#include "conf/list.h"

#define OPTION(option, kind, member)                                                               \
    .name = (option), .type = &(kind), .offset = offsetof(struct conf_upstream, member)
#define SECOND 1000ull
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)

#define CHECK_INTERVAL_DEFAULT (5 * SECOND) /* when there is another server to go to */

/* ---- servers = {"10.0.0.5:8080 weight=3 max-connections=100"} ---- */

#define SERVER_EXPECTED                                                                            \
    "a server such as 10.0.0.5:8080, [2001:db8::5]:8080, app.internal:8080 or "                    \
    "unix:/run/app.sock, and behind it, if "                                                       \
    "wanted, weight=N and max-connections=N"

/* "place=2", "number=17", "retired=1", in the supervisor's text only. True when it was one. */
static bool internal_setting(const char *word, uint64_t number, struct conf_server *server)
{
    if (strcmp(word, "place") == 0 && number < CONF_SERVERS_MAX)
        server->place = (uint32_t)number;
    else if (strcmp(word, "number") == 0 && number < CONF_SERVERS_MAX)
        server->number = (uint32_t)number;
    else if (strcmp(word, "retired") == 0)
        server->retired = number != 0;
    else
        return false;
    return true;
}

/* "weight=3"; `word` is cut in two. */
static int server_setting(struct schema_reader *reader, const struct schema_option *option,
                          const struct schema_value *value, char *word, struct conf_server *server)
{
    char *number_text = strchr(word, '='), hint[SCHEMA_SHOWN_MAX];
    struct schema_nearest nearest = {.word = word};
    uint64_t number;

    if (number_text == NULL)
        return schema_fail_value(reader, option, value, SERVER_EXPECTED);
    *number_text++ = '\0';
    bool is_number = schema_read_number(&number, number_text) == 0;
    if (reader->internal && is_number && internal_setting(word, number, server))
        return 0;
    if (strcmp(word, "weight") == 0) {
        if (!is_number || number < 1 || number > CONF_WEIGHT_MAX)
            return schema_fail_value(reader, option, value, "a weight from 1 to %d",
                                     CONF_WEIGHT_MAX);
        server->weight = (uint32_t)number;
        return 0;
    }
    if (strcmp(word, "max-connections") == 0) {
        if (!is_number || number < 1 || number > INT32_MAX)
            return schema_fail_value(reader, option, value, "max-connections from 1 to %d",
                                     INT32_MAX);
        server->max_connections = (uint32_t)number;
        return 0;
    }
    schema_nearest_try(&nearest, "weight");
    schema_nearest_try(&nearest, "max-connections");
    return schema_fail_value(reader, option, value, SERVER_EXPECTED "%s",
                             schema_nearest_text(&nearest, hint));
}

/* The address, or the name that is resolved later. */
static int server_place(struct schema_reader *reader, const struct schema_option *option,
                        const struct schema_value *value, const char *place,
                        struct conf_server *server)
{
    char host[SCHEMA_NAME_SIZE], name[SCHEMA_NAME_SIZE];
    struct error error = {0};
    uint16_t port;

    if (string_starts_with(place, "unix:")) {
        if (address_parse(&server->address, place, &error) != 0 ||
            !string_starts_with(place, "unix:/"))
            return schema_fail_value(reader, option, value, "an absolute path behind 'unix:'%s%s",
                                     error.message[0] == '\0' ? "" : ": ", error.message);
        return 0;
    }
    if (address_split(place, host, sizeof host, &port, &error) != 0)
        return schema_fail_value(reader, option, value, SERVER_EXPECTED ": %s", error.message);
    if (port == 0)
        return schema_fail_value(reader, option, value, "a port from 1 to 65535");
    if (host[0] != '*' && address_parse(&server->address, place, &error) == 0)
        return 0;
    const char *wrong = schema_read_name(name, host, false, false);
    if (wrong != NULL)
        return schema_fail_value(reader, option, value, SERVER_EXPECTED ": %s", wrong);
    server->host = strdup(name);
    if (server->host == NULL)
        return schema_fail_memory(reader);
    server->address =
        (struct address){.in = {.sin_family = AF_INET}, .size = sizeof(struct sockaddr_in)};
    address_set_port(&server->address, port);
    return 0;
}

static int servers_read(struct schema_reader *reader, const struct schema_option *option,
                        const struct schema_value *value, void *field)
{
    struct conf_upstream *upstream = field;
    char text[SCHEMA_VALUE_MAX + 1], *rest = NULL;

    ignore(string_copy(text, sizeof text, value->text));
    char *word = strtok_r(text, " \t", &rest);
    if (word == NULL)
        return schema_fail_value(reader, option, value, SERVER_EXPECTED);
    for (size_t i = 0; i < upstream->server_count; i++) {
        if (strcmp(upstream->servers[i].name, word) == 0)
            return schema_fail_value(reader, option, value, "each server once");
    }
    if (upstream->server_count == CONF_SERVERS_MAX)
        return schema_fail_value(reader, option, value, "at most %d servers", CONF_SERVERS_MAX);
    struct conf_server *server =
        list_append(&upstream->servers, &upstream->server_count, sizeof *upstream->servers);
    if (server == NULL)
        return schema_fail_memory(reader);
    server->weight = 1;
    server->place = (uint32_t)upstream->server_count - 1;
    server->name = strdup(word);
    if (server->name == NULL)
        return schema_fail_memory(reader);
    int code = server_place(reader, option, value, word, server);
    while (code == 0 && (word = strtok_r(NULL, " \t", &rest)) != NULL)
        code = server_setting(reader, option, value, word, server);
    return code;
}

/* As `servers` those of the file, as `server-list` all, with their places. */
static void servers_show(struct buffer *buffer, const struct conf *conf,
                         const struct schema_option *option, const void *field)
{
    const struct conf_upstream *upstream = field;
    size_t shown = 0;

    (void)conf;
    for (size_t i = 0; i < upstream->server_count; i++) {
        const struct conf_server *server = &upstream->servers[i];
        char weight[24] = "", limit[40] = "", internal[64] = "";
        char text[SCHEMA_VALUE_MAX + sizeof weight + sizeof limit + sizeof internal];
        if (option->internal ? server->name == NULL : !conf_server_in_force(server))
            continue;
        if (server->weight != 1)
            ignore(snprintf(weight, sizeof weight, " weight=%u", server->weight));
        if (server->max_connections != 0)
            ignore(snprintf(limit, sizeof limit, " max-connections=%u", server->max_connections));
        if (option->internal)
            ignore(snprintf(internal, sizeof internal, " place=%u number=%u%s", server->place,
                            server->number, server->retired ? " retired=1" : ""));
        ignore(snprintf(text, sizeof text, "%s%s%s%s", server->name, weight, limit, internal));
        ignore(buffer_append_text(buffer, shown++ == 0 ? "{" : ", "));
        schema_show_quoted(buffer, text);
    }
    if (shown > 0)
        ignore(buffer_append_text(buffer, "}"));
}

static void servers_free(void *field)
{
    struct conf_upstream *upstream = field;

    for (size_t i = 0; i < upstream->server_count; i++) {
        free(upstream->servers[i].name);
        free(upstream->servers[i].host);
    }
    free(upstream->servers);
    upstream->servers = NULL;
    upstream->server_count = 0;
}

static const struct schema_type servers_type = {
    .list = true, .read = servers_read, .show = servers_show, .free = servers_free};

/* ---- the table ---- */

static const struct schema_word balance_words[] = {{"round-robin", CONF_BALANCE_ROUND_ROBIN},
                                                   {"least-sessions", CONF_BALANCE_LEAST_SESSIONS},
                                                   {"source-hash", CONF_BALANCE_SOURCE_HASH},
                                                   {NULL, 0}};
static const struct schema_word proxy_words[] = {
    {"none", CONF_PROXY_OUT_NONE}, {"v1", CONF_PROXY_OUT_V1}, {"v2", CONF_PROXY_OUT_V2}, {NULL, 0}};

static const struct schema_option upstream_options[] = {
    {.name = "servers", .type = &servers_type, .external = true},
    {OPTION("balance", schema_choice, balance), .fallback = "round-robin", .words = balance_words},
    {OPTION("source-addresses", schema_sources, source_addresses)},
    {OPTION("connect-timeout", schema_duration, connect_timeout), .fallback = "5s", .minimum = 10,
     .maximum = 10 * MINUTE},
    {OPTION("connect-tries", schema_count, connect_tries), .fallback = "3", .minimum = 1,
     .maximum = 16},
    {OPTION("check-interval", schema_duration, check_interval), .minimum = 100, .maximum = HOUR,
     .none = true},
    {OPTION("check-timeout", schema_duration, check_timeout), .fallback = "2s", .minimum = 10,
     .maximum = 10 * MINUTE},
    {OPTION("check-rise", schema_count, check_rise), .fallback = "2", .minimum = 1, .maximum = 100},
    {OPTION("check-fall", schema_count, check_fall), .fallback = "3", .minimum = 1, .maximum = 100},
    {OPTION("proxy", schema_choice, proxy_out), .fallback = "none", .words = proxy_words},
    {OPTION("proxy-client-certificate", schema_boolean, proxy_client_certificate),
     .fallback = "no"},
    {OPTION("keep-alive", schema_seconds, keepalive), .fallback = "60s", .minimum = SECOND,
     .maximum = 32767 * SECOND, .none = true},
    {OPTION("user-timeout", schema_duration_32, user_timeout), .fallback = "none", .minimum = 100,
     .maximum = 24 * HOUR, .none = true},
    {OPTION("tls", schema_boolean, tls), .fallback = "no"},
    {OPTION("tls-verify", schema_boolean, tls_verify), .fallback = "yes"},
    {OPTION("tls-trust", schema_path, tls_trust)},
    {OPTION("tls-name", schema_host, tls_name)},
    {OPTION("tls-certificate", schema_path, tls_certificate)},
    {OPTION("tls-key", schema_path, tls_key)},
    {OPTION("tls-alpn", schema_alpn, tls_alpn)},
    {.name = "server-list", .type = &servers_type, .internal = true},
    {OPTION("place", schema_count, place), .maximum = CONF_NONE - 1, .internal = true},
    {OPTION("retired", schema_boolean, retired), .fallback = "no", .internal = true},
    {OPTION("server-places", schema_count, server_places), .maximum = CONF_SERVERS_MAX,
     .internal = true},
    {.name = NULL},
};

static const char *upstream_refuses(const void *object, const struct schema_option *option)
{
    const struct conf_upstream *upstream = object;

    if (string_starts_with(option->name, "tls-") && !upstream->tls)
        return "found it without tls = yes; expected both or neither";
    if (strcmp(option->name, "proxy-client-certificate") == 0 &&
        upstream->proxy_out != CONF_PROXY_OUT_V2)
        return "found it without proxy = v2; expected both or neither";
    if (string_starts_with(option->name, "check-") && strcmp(option->name, "check-interval") != 0 &&
        upstream->check_interval == 0)
        return "found it without health checks; expected a check-interval with it";
    return NULL;
}

static int check_tls(struct schema_reader *reader, const struct conf_upstream *upstream)
{
    if ((upstream->tls_certificate == NULL) != (upstream->tls_key == NULL)) {
        const char *given = upstream->tls_key == NULL ? "tls-certificate" : "tls-key";
        const char *missing = upstream->tls_key == NULL ? "tls-key" : "tls-certificate";
        return schema_fail(reader, schema_line(reader, given, 0),
                           "%s in upstream '%s': found it without %s; expected both or neither",
                           given, upstream->name, missing);
    }
    if (upstream->tls && !upstream->tls_verify) {
        schema_warn(
            reader, schema_line(reader, "tls-verify", 0),
            "upstream '%s' does not verify its servers: whoever answers gets the clients' data",
            upstream->name);
        if (upstream->tls_trust != NULL)
            schema_warn(reader, schema_line(reader, "tls-trust", 0),
                        "tls-trust of upstream '%s' has no effect: tls-verify is no",
                        upstream->name);
    }
    for (size_t i = 0; i < upstream->server_count && upstream->tls && upstream->tls_verify; i++) {
        if (upstream->tls_name == NULL && upstream->servers[i].address.any.sa_family == AF_UNIX)
            return schema_fail(reader, schema_line(reader, "servers", i),
                               "servers in upstream '%s': found TLS over the Unix socket '%s', "
                               "which has no name to "
                               "verify; expected a tls-name",
                               upstream->name, upstream->servers[i].name);
    }
    return 0;
}

static int upstream_complete(struct schema_reader *reader, void *object)
{
    struct conf_upstream *upstream = object;

    if (schema_given(reader, "check-interval") == 0 && upstream->server_count > 1)
        upstream->check_interval = CHECK_INTERVAL_DEFAULT;
    if (!reader->internal)
        upstream->server_places = (uint32_t)upstream->server_count;
    return 0;
}

static int upstream_check(struct schema_reader *reader, void *object)
{
    struct conf_upstream *upstream = object;

    if (upstream->server_count == 0)
        return schema_fail(reader, reader->line,
                           "upstream '%s' has no servers; expected servers = {\"host:port\"} in it",
                           upstream->name);
    if (upstream->check_interval != 0 && upstream->check_timeout > upstream->check_interval)
        schema_warn(
            reader,
            schema_line(reader,
                        schema_given(reader, "check-timeout") ? "check-timeout" : "check-interval",
                        0),
            "check-timeout of upstream '%s' is longer than check-interval: checks of a slow server "
            "overlap",
            upstream->name);
    return check_tls(reader, upstream);
}

const struct schema_section schema_upstream = {.kind = "upstream",
                                               .titled = true,
                                               .options = upstream_options,
                                               .refuses = upstream_refuses,
                                               .complete = upstream_complete,
                                               .check = upstream_check};
