/* Section `watch`: targets that are checked on a schedule, as the strictest client would. What a
 * target's text means is known to watch/target.h only, which lies above: conf_each_target() lets it
 * be asked. */
#include "conf/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/oid.h"
#include "base/pin.h"
#include "base/string.h"
#include "conf/list.h"

#define OPTION(option, kind, member)                                                               \
    .name = (option), .type = &(kind), .offset = offsetof(struct conf_watch, member)
#define SECOND 1000ull
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

#define TARGETS_MAX   100000 /* of one section */
#define ADDRESSES_MAX 16     /* that one target is dialled at */

/* ---- targets, and what is to be discovered: texts with their lines ---- */

static int targets_read(struct schema_reader *reader, const struct schema_option *option,
                        const struct schema_value *value, void *field)
{
    struct conf_watch_targets *list = field;

    if (value->text[0] == '\0')
        return schema_fail_value(reader, option, value, "something to look at");
    if (list->count == TARGETS_MAX)
        return schema_fail_value(reader, option, value, "at most %d of them in one section",
                                 TARGETS_MAX);
    struct conf_watch_target *item = list_append(&list->items, &list->count, sizeof *item);
    if (item == NULL)
        return schema_fail_memory(reader);
    item->line = value->line;
    item->text = strdup(value->text);
    return item->text == NULL ? schema_fail_memory(reader) : 0;
}

static void targets_show(struct buffer *buffer, const struct conf *conf,
                         const struct schema_option *option, const void *field)
{
    const struct conf_watch_targets *list = field;

    (void)conf, (void)option;
    for (size_t i = 0; i < list->count; i++) {
        ignore(buffer_append_text(buffer, i == 0 ? "{" : ", "));
        schema_show_quoted(buffer, list->items[i].text);
    }
    if (list->count > 0)
        ignore(buffer_append_text(buffer, "}"));
}

static void targets_free(void *field)
{
    struct conf_watch_targets *list = field;

    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].text);
    free(list->items);
    *list = (struct conf_watch_targets){0};
}

static const struct schema_type targets_type = {
    .list = true, .read = targets_read, .show = targets_show, .free = targets_free};

/* ---- lists of texts ---- */

static int keep_text(struct schema_reader *reader, const struct schema_option *option,
                     const struct schema_value *value, struct conf_text_list *list, size_t maximum,
                     const char *what)
{
    if (list->count == maximum)
        return schema_fail_value(reader, option, value, "at most %zu %s", maximum, what);
    char **item = list_append(&list->items, &list->count, sizeof *item);
    if (item == NULL)
        return schema_fail_memory(reader);
    *item = strdup(value->text);
    return *item == NULL ? schema_fail_memory(reader) : 0;
}

/* ---- connect, origin = {"192.0.2.1", "192.0.2.1:8443", "2001:db8::1", "[2001:db8::1]:443"} ----
 */

static int dial_read(struct schema_reader *reader, const struct schema_option *option,
                     const struct schema_value *value, void *field)
{
    struct conf_text_list *list = field;
    struct address address;
    struct network host;
    struct error error = {0};

    bool alone = strchr(value->text, '/') == NULL && network_parse(&host, value->text, &error) == 0;
    if (!alone &&
        (address_parse(&address, value->text, &error) != 0 || address.any.sa_family == AF_UNIX ||
         address_port(&address) == 0 || value->text[0] == '*'))
        return schema_fail_value(reader, option, value,
                                 "an IP address such as 192.0.2.1 or 2001:db8::1, or one with a "
                                 "port: 192.0.2.1:8443, [2001:db8::1]:8443");
    return keep_text(reader, option, value, list, ADDRESSES_MAX, "addresses");
}

static const struct schema_type dial_type = {
    .list = true, .read = dial_read, .show = schema_list_show, .free = schema_list_free};

/* ---- pins = {"sha256/…", "64 hex digits"}; require-policy = {"2.23.140.1.2.2"} ---- */

static int pins_read(struct schema_reader *reader, const struct schema_option *option,
                     const struct schema_value *value, void *field)
{
    uint8_t pin[32];

    if (pin_parse(pin, value->text, NULL) != 0)
        return schema_fail_value(reader, option, value,
                                 "the SHA-256 of a public key, as 64 hex digits or in base64");
    return keep_text(reader, option, value, field, CONF_PINS_MAX, "pins");
}

static const struct schema_type pins_type = {
    .list = true, .read = pins_read, .show = schema_list_show, .free = schema_list_free};

static int policies_read(struct schema_reader *reader, const struct schema_option *option,
                         const struct schema_value *value, void *field)
{
    if (!oid_valid(value->text))
        return schema_fail_value(reader, option, value,
                                 "an object identifier such as 2.23.140.1.2.2");
    return keep_text(reader, option, value, field, CONF_POLICIES_MAX, "policies");
}

static const struct schema_type policies_type = {
    .list = true, .read = policies_read, .show = schema_list_show, .free = schema_list_free};

/* ---- warn-at, critical-at = 14d | "33%" | none ---- */

static int threshold_read(struct schema_reader *reader, const struct schema_option *option,
                          const struct schema_value *value, void *field)
{
    struct conf_threshold *threshold = field;
    char digits[8];
    uint64_t number;
    size_t size = strlen(value->text);

    *threshold = (struct conf_threshold){0};
    if (strcmp(value->text, "none") == 0)
        return 0;
    if (size > 1 && size < sizeof digits && value->text[size - 1] == '%') {
        memcpy(digits, value->text, size - 1);
        digits[size - 1] = '\0';
        if (schema_read_number(&number, digits) == 0 && number >= 1 && number <= 99) {
            threshold->percent = (uint32_t)number;
            return 0;
        }
    } else if (schema_read_duration(&threshold->time, value->text) == 0 && threshold->time != 0) {
        return 0;
    }
    return schema_fail_value(reader, option, value,
                             "what must be left of a certificate: a duration such as 14d or 36h, a "
                             "share of its life such as 33%%, or none");
}

static void threshold_show(struct buffer *buffer, const struct conf *conf,
                           const struct schema_option *option, const void *field)
{
    const struct conf_threshold *threshold = field;

    if (threshold->percent != 0)
        ignore(buffer_printf(buffer, "\"%u%%\"", threshold->percent));
    else if (threshold->time != 0)
        schema_duration.show(buffer, conf, option, &threshold->time);
}

static const struct schema_type threshold_type = {.read = threshold_read, .show = threshold_show};

/* ---- renewal-grace; unset: by the life of the certificate ---- */

static int grace_read(struct schema_reader *reader, const struct schema_option *option,
                      const struct schema_value *value, void *field)
{
    return schema_duration.read(reader, option, value, field);
}

static void grace_show(struct buffer *buffer, const struct conf *conf,
                       const struct schema_option *option, const void *field)
{
    if (*(const uint64_t *)field != 0)
        schema_duration.show(buffer, conf, option, field);
}

static const struct schema_type grace_type = {.read = grace_read, .show = grace_show};

/* ---- the table ---- */

static const struct schema_word renewal_words[] = {
    {"auto", CONF_RENEWAL_AUTO}, {"manual", CONF_RENEWAL_MANUAL}, {NULL, 0}};

static const struct schema_option watch_options[] = {
    {OPTION("targets", targets_type, targets)},
    {OPTION("interval", schema_duration, interval), .fallback = "15m", .minimum = SECOND,
     .maximum = 30 * DAY},
    {OPTION("timeout", schema_duration_32, timeout), .fallback = "10s", .minimum = 100,
     .maximum = 5 * MINUTE},
    {OPTION("name", schema_host, expected_name)},
    {OPTION("connect", dial_type, connect)},
    {OPTION("origin", dial_type, origin)},
    {OPTION("file", schema_path, file)},
    {OPTION("stores", schema_path_list, stores)},
    {OPTION("stores-ignoring-ends", schema_path_list, stores_ignoring_ends)},
    {OPTION("crl", schema_path_list, crl)},
    {OPTION("log-list", schema_path, log_list)},
    {OPTION("pins", pins_type, pins)},
    {OPTION("require-policy", policies_type, require_policy)},
    {OPTION("require-staple", schema_boolean, require_staple), .fallback = "no"},
    {OPTION("require-hsts", schema_boolean, require_hsts), .fallback = "no"},
    {OPTION("name-servers", dial_type, name_servers)},
    {OPTION("acme-directory", schema_url, acme_directory)},
    {OPTION("without-sni", schema_boolean, without_sni), .fallback = "no"},
    {OPTION("deep", schema_boolean, deep), .fallback = "no"},
    {OPTION("ciphers", schema_boolean, ciphers), .fallback = "no"},
    {OPTION("resumption", schema_boolean, resumption), .fallback = "no"},
    {OPTION("renegotiation", schema_boolean, renegotiation), .fallback = "no"},
    {OPTION("browser", schema_boolean, browser), .fallback = "no"},
    {OPTION("no-fetch", schema_boolean, no_fetch), .fallback = "no"},
    {OPTION("renewal", schema_choice, renewal), .fallback = "auto", .words = renewal_words},
    {OPTION("renewal-grace", grace_type, renewal_grace), .minimum = MINUTE, .maximum = 365 * DAY},
    {OPTION("warn-at", threshold_type, warn_at)},
    {OPTION("critical-at", threshold_type, critical_at)},
    {OPTION("owner", schema_text, owner)},
    {OPTION("service", schema_text, service)},
    {OPTION("critical", schema_boolean, critical), .fallback = "no"},
    {OPTION("discover", targets_type, discover)},
    {OPTION("discover-interval", schema_duration, discover_interval), .fallback = "1d",
     .minimum = MINUTE, .maximum = 90 * DAY},
    {.name = NULL},
};

static const char *watch_refuses(const void *object, const struct schema_option *option)
{
    const struct conf_watch *watch = object;

    if (strcmp(option->name, "discover-interval") == 0 && watch->discover.count == 0)
        return "found it without discover; expected where to look, such as \"192.0.2.0/28:443\"";
    if (strcmp(option->name, "origin") == 0 && watch->targets.count == 0)
        return "found it without targets; expected the targets whose origin this is";
    if (strcmp(option->name, "renewal-grace") == 0 && watch->renewal == CONF_RENEWAL_MANUAL)
        return "found it with renewal = manual; expected it only where renewal is automatic";
    if (strcmp(option->name, "acme-directory") == 0 && watch->no_fetch)
        return "found it with no-fetch = yes, by which no CA is asked; expected one of the two";
    if (strcmp(option->name, "file") == 0 && watch->targets.count == 0)
        return "found it without targets; expected the targets that serve this file";
    return NULL;
}

static int check_files(struct schema_reader *reader, const struct conf_watch *watch,
                       const char *option, const struct conf_text_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i][0] == '\0')
            return schema_fail(reader, schema_line(reader, option, i),
                               "%s in watch '%s': found ''; expected an absolute path", option,
                               watch->name);
        if (i == CONF_WATCH_FILES_MAX)
            return schema_fail(reader, schema_line(reader, option, i),
                               "%s in watch '%s': found %zu; expected at most %d files", option,
                               watch->name, list->count, CONF_WATCH_FILES_MAX);
    }
    return 0;
}

static int check_all_files(struct schema_reader *reader, const struct conf_watch *watch)
{
    size_t stores = watch->stores.count + watch->stores_ignoring_ends.count;
    int result = check_files(reader, watch, "stores", &watch->stores);

    if (result == 0)
        result = check_files(reader, watch, "stores-ignoring-ends", &watch->stores_ignoring_ends);
    if (result == 0 && stores > CONF_WATCH_FILES_MAX)
        result = schema_fail(reader, schema_line(reader, "stores-ignoring-ends", 0),
                             "stores and stores-ignoring-ends in watch '%s': found %zu; expected "
                             "at most %d files together",
                             watch->name, stores, CONF_WATCH_FILES_MAX);
    return result == 0 ? check_files(reader, watch, "crl", &watch->crl) : result;
}

static int watch_check(struct schema_reader *reader, void *object)
{
    const struct conf_watch *watch = object;

    if (watch->targets.count == 0 && watch->discover.count == 0)
        return schema_fail(reader, reader->line,
                           "watch '%s' looks at nothing; expected targets = {\"shop.example:443\"} "
                           "or discover = {\"192.0.2.0/28:443\"} in it",
                           watch->name);
    int result = check_all_files(reader, watch);
    if (result != 0)
        return result;
    if (watch->acme_directory != NULL && !string_starts_with(watch->acme_directory, "http"))
        return schema_fail(reader, schema_line(reader, "acme-directory", 0),
                           "acme-directory in watch '%s': found '%s'; expected the https:// "
                           "address of a CA's directory",
                           watch->name, watch->acme_directory);
    if (watch->warn_at.time != 0 && watch->critical_at.time != 0 &&
        watch->warn_at.time < watch->critical_at.time)
        schema_warn(reader, schema_line(reader, "warn-at", 0),
                    "warn-at is later than critical-at: there will be no warning");
    return 0;
}

const struct schema_section schema_watch = {.kind = "watch",
                                            .titled = true,
                                            .options = watch_options,
                                            .refuses = watch_refuses,
                                            .check = watch_check};

int conf_each_target(const struct conf *conf, conf_target_fn *fn, void *context)
{
    int result = 0;

    for (size_t i = 0; i < conf->watch_count; i++) {
        const struct conf_watch *watch = &conf->watches[i];
        for (size_t j = 0; result == 0 && j < watch->targets.count; j++)
            result = fn(context, watch, watch->targets.items[j].text, watch->targets.items[j].line,
                        false);
        for (size_t j = 0; result == 0 && j < watch->discover.count; j++)
            result = fn(context, watch, watch->discover.items[j].text,
                        watch->discover.items[j].line, true);
    }
    return result;
}
