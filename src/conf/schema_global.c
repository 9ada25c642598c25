/* Global options and the section `admin`. */
#include "conf/schema.h"

#include <ctype.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/string.h"

#define OPTION(option, kind, member)                                                               \
    .name = (option), .type = &(kind), .offset = offsetof(struct conf, member)
#define SECOND   1000ull
#define HOUR     (3600 * SECOND)
#define MEBIBYTE (1ull << 20)
#define GIBIBYTE (1ull << 30)

/* ---- user ---- */

static int user_read(struct schema_reader *reader, const struct schema_option *option,
                     const struct schema_value *value, void *field)
{
    for (const char *c = value->text; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && strchr("_-.$", *c) == NULL)
            return schema_fail_value(reader, option, value, "the name of a user");
    }
    return schema_text.read(reader, option, value, field);
}

static const struct schema_type user_type = {
    .read = user_read, .show = schema_text_show, .free = schema_text_free};

/* ---- key-encryption-key = PATH | "credential:NAME" ---- */

static int key_encryption_key_read(struct schema_reader *reader, const struct schema_option *option,
                                   const struct schema_value *value, void *field)
{
    const char *name = value->text + strlen(CONF_CREDENTIAL);

    if (!string_starts_with(value->text, CONF_CREDENTIAL))
        return schema_path.read(reader, option, value, field);
    if (name[0] == '\0' || strchr(name, '/') != NULL || name[0] == '.')
        return schema_fail_value(reader, option, value,
                                 "\"credential:NAME\" with a name that systemd takes");
    return schema_text.read(reader, option, value, field);
}

static const struct schema_type key_encryption_key_type = {
    .read = key_encryption_key_read, .show = schema_text_show, .free = schema_text_free};

/* ---- log-handshakes = failures | "sample N" | all: two members of struct conf ---- */

static int log_handshakes_read(struct schema_reader *reader, const struct schema_option *option,
                               const struct schema_value *value, void *field)
{
    struct conf *conf = field;
    uint64_t sample = 0;

    if (strcmp(value->text, "failures") == 0)
        conf->log_handshakes = CONF_LOG_FAILURES;
    else if (strcmp(value->text, "all") == 0)
        conf->log_handshakes = CONF_LOG_ALL;
    else if (string_starts_with(value->text, "sample ") &&
             schema_read_number(&sample, value->text + strlen("sample ")) == 0 && sample >= 1 &&
             sample <= UINT32_MAX)
        conf->log_handshakes = CONF_LOG_SAMPLE;
    else
        return schema_fail_value(reader, option, value, "failures, all or \"sample N\" (one in N)");
    conf->log_sample = (uint32_t)sample;
    return 0;
}

static void log_handshakes_show(struct buffer *buffer, const struct conf *conf,
                                const struct schema_option *option, const void *field)
{
    (void)field;
    (void)option;
    switch (conf->log_handshakes) {
    case CONF_LOG_FAILURES:
        ignore(buffer_append_text(buffer, "failures"));
        break;
    case CONF_LOG_SAMPLE:
        ignore(buffer_printf(buffer, "\"sample %u\"", conf->log_sample));
        break;
    case CONF_LOG_ALL:
        ignore(buffer_append_text(buffer, "all"));
        break;
    }
}

static const struct schema_type log_handshakes_type = {.read = log_handshakes_read,
                                                       .show = log_handshakes_show};

/* ---- the table ---- */

static const struct schema_option global_options[] = {
    {OPTION("state-folder", schema_path, state_folder), .fallback = "/var/lib/holdfast"},
    {OPTION("user", user_type, user)},
    {OPTION("workers", schema_count, workers), .minimum = 1, .maximum = CONF_WORKERS_MAX,
     .none = true},
    {OPTION("buffer-memory", schema_size, buffer_memory), .fallback = "256m",
     .minimum = 4 * MEBIBYTE, .maximum = MEBIBYTE << 20},
    {OPTION("max-sessions", schema_count, max_sessions), .fallback = "none", .minimum = 1,
     .maximum = 100 * 1000 * 1000, .none = true},
    {OPTION("session-cache", schema_count, session_cache), .fallback = "20000", .minimum = 100,
     .maximum = 1000 * 1000, .none = true},
    {OPTION("drain-timeout", schema_duration, drain_timeout), .fallback = "30s", .minimum = 1,
     .maximum = 7 * 24 * HOUR, .none = true},
    {OPTION("drain-notice", schema_duration, drain_notice), .fallback = "none", .minimum = 1,
     .maximum = HOUR, .none = true},
    {OPTION("protect-after", schema_duration, protect_after), .fallback = "1s", .minimum = 50,
     .maximum = HOUR, .none = true},
    {OPTION("renegotiation-budget", schema_count, renegotiation_budget), .fallback = "20",
     .minimum = 1, .maximum = 1000 * 1000},
    {OPTION("handshaker-nice", schema_integer, handshaker_nice), .fallback = "10", .maximum = 19},
    {OPTION("ticket-key-lifetime", schema_duration, ticket_key_lifetime), .fallback = "12h",
     .minimum = SECOND, .maximum = 7 * 24 * HOUR},
    {OPTION("key-encryption-key", key_encryption_key_type, key_encryption_key)},
    {OPTION("ticket-keys-file", schema_path, ticket_keys_file)},
    {.name = "log-handshakes", .type = &log_handshakes_type, .fallback = "failures"},
    {OPTION("log-sessions", schema_boolean, log_sessions), .fallback = "yes"},
    {OPTION("traffic-key-fleet-volume", schema_size, traffic_key_fleet_volume), .fallback = "none",
     .minimum = GIBIBYTE, .maximum = 1ull << 62, .none = true},
    {OPTION("traffic-key-fleet-probability", schema_count, traffic_key_fleet_probability),
     .fallback = "40", .minimum = 16, .maximum = 100},
    {OPTION("key-update-unable", schema_path, key_update_unable)},
    {OPTION("watch-connections", schema_count, watch_connections), .fallback = "100", .minimum = 1,
     .maximum = 5000},
    {OPTION("watch-per-host", schema_count, watch_per_host), .fallback = "4", .minimum = 1,
     .maximum = 1000},
    {OPTION("watch-keep-checks", schema_duration, watch_keep_checks), .fallback = "14d",
     .minimum = HOUR, .maximum = 3650 * 24 * HOUR},
    {OPTION("watch-keep-history", schema_duration, watch_keep_history), .fallback = "800d",
     .minimum = 24 * HOUR, .maximum = 3650 * 24 * HOUR},
    {OPTION("alert-channels", schema_channels, alerts.channels)},
    {OPTION("alert-open-after", schema_count, alerts.open_after), .fallback = "3", .minimum = 1,
     .maximum = 100},
    {OPTION("alert-close-after", schema_count, alerts.close_after), .fallback = "2", .minimum = 1,
     .maximum = 100},
    {OPTION("alert-reminder", schema_duration, alerts.reminder), .fallback = "1d",
     .minimum = 60 * SECOND, .maximum = 365 * 24 * HOUR, .none = true},
    {OPTION("alert-quiet", schema_duration, alerts.quiet), .fallback = "6h", .minimum = SECOND,
     .maximum = 30 * 24 * HOUR},
    {OPTION("heartbeat-url", schema_url, alerts.heartbeat_url)},
    {OPTION("heartbeat-every", schema_duration, alerts.heartbeat_every), .fallback = "1m",
     .minimum = SECOND, .maximum = 24 * HOUR},
    {OPTION("listener-places", schema_count, listener_places), .maximum = CONF_LISTENERS_MAX,
     .internal = true},
    {OPTION("upstream-places", schema_count, upstream_places), .maximum = CONF_PLACES_MAX,
     .internal = true},
    {OPTION("certificate-places", schema_count, certificate_places), .maximum = CONF_PLACES_MAX,
     .internal = true},
    {OPTION("server-numbers", schema_count, server_numbers), .maximum = CONF_SERVERS_MAX,
     .internal = true},
    {.name = NULL},
};

static uint32_t default_workers(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    return cores < 1 ? 1 : cores > CONF_WORKERS_MAX ? CONF_WORKERS_MAX : (uint32_t)cores;
}

static int global_complete(struct schema_reader *reader, void *object)
{
    struct conf *conf = object;

    /* A daemon that only watches needs none; those given make it ready for listeners to come. */
    if (schema_given(reader, "workers") == 0)
        conf->workers = conf->listener_count == 0 ? 0 : default_workers();
    if (conf->user == NULL) {
        conf->user = strdup(getpwnam("holdfast") != NULL ? "holdfast" : "nobody");
        if (conf->user == NULL)
            return schema_fail_memory(reader);
    }
    return 0;
}

static int global_check(struct schema_reader *reader, void *object)
{
    const struct conf *conf = object;

    if (conf->ticket_keys_file != NULL && conf->key_encryption_key == NULL)
        return schema_fail(reader, schema_line(reader, "ticket-keys-file", 0),
                           "found ticket-keys-file without key-encryption-key; expected both: "
                           "ticket keys are never stored in clear");
    if (conf->drain_notice != 0 && conf->drain_notice >= conf->drain_timeout)
        schema_warn(reader, schema_line(reader, "drain-notice", 0),
                    "drain-notice is not shorter than drain-timeout: sessions get less time to "
                    "finish than load "
                    "balancers get to notice");
    return 0;
}

static const char *global_refuses(const void *object, const struct schema_option *option)
{
    const struct conf *conf = object;

    if (strcmp(option->name, "traffic-key-fleet-probability") == 0 &&
        conf->traffic_key_fleet_volume == 0)
        return "found it without traffic-key-fleet-volume; expected what all edges send together, "
               "such as 10t";
    return NULL;
}

const struct schema_section schema_global = {.kind = "",
                                             .options = global_options,
                                             .complete = global_complete,
                                             .refuses = global_refuses,
                                             .check = global_check};

/* ---- admin ---- */

static int admin_bind_read(struct schema_reader *reader, const struct schema_option *option,
                           const struct schema_value *value, void *field)
{
    struct conf_addresses *list = field;
    uint8_t bytes[16];
    static const uint8_t loopback[16] = {[15] = 1},
                         mapped[13] = {[10] = 0xff, [11] = 0xff, [12] = 127};

    int code = schema_addresses.read(reader, option, value, field);
    if (code != 0)
        return code;
    const struct address *address = &list->items[list->count - 1];
    address_bytes(bytes, address);
    if (address->any.sa_family != AF_UNIX && memcmp(bytes, loopback, sizeof bytes) != 0 &&
        memcmp(bytes, mapped, sizeof mapped) != 0)
        return schema_fail_value(
            reader, option, value,
            "a loopback address (127.0.0.1:8444, [::1]:8444) or a Unix socket, because admin has "
            "no authentication");
    return 0;
}

static const struct schema_type admin_bind_type = {.list = true,
                                                   .read = admin_bind_read,
                                                   .show = schema_addresses_show,
                                                   .free = schema_addresses_free};

static const struct schema_option admin_options[] = {
    {.name = "bind", .type = &admin_bind_type, .offset = offsetof(struct conf_admin, bind)},
    {.name = NULL},
};

static int admin_check(struct schema_reader *reader, void *object)
{
    struct conf_admin *admin = object;

    if (admin->bind.count == 0)
        return schema_fail(reader, reader->line,
                           "admin has no address; expected bind = \"127.0.0.1:8444\" in it");
    admin->present = true;
    return 0;
}

const struct schema_section schema_admin = {
    .kind = "admin", .options = admin_options, .check = admin_check};
