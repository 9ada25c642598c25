/* Section `exporter`: what Prometheus collects from the watch. It has an address of its own,
 * because others than the administrators ask it; what it may be asked to probe is listed, because
 * it would be an open proxy into the network otherwise. */
#include "conf/schema.h"

#include <string.h>

#include "base/string.h"

#define OPTION(option, kind, member)                                                               \
    .name = (option), .type = &(kind), .offset = offsetof(struct conf_exporter, member)
#define SECOND 1000ull
#define MINUTE (60 * SECOND)

#define ADDRESSES_MAX 4

/* ---- targets = {"shop.example", "*.shop.example:443", "192.0.2.1:443"} ---- */

static int allowed_read(struct schema_reader *reader, const struct schema_option *option,
                        const struct schema_value *value, void *field)
{
    const char *star = strchr(value->text, '*');

    if (value->text[0] == '\0' || strpbrk(value->text, " \t/?#@") != NULL ||
        (star != NULL && (star != value->text || star[1] != '.' || strchr(star + 1, '*') != NULL)))
        return schema_fail_value(
            reader, option, value,
            "a host such as shop.example, *.shop.example or 192.0.2.1, with or "
            "without port: shop.example:443");
    return schema_text_list.read(reader, option, value, field);
}

static const struct schema_type allowed_type = {
    .list = true, .read = allowed_read, .show = schema_list_show, .free = schema_list_free};

static const struct schema_option exporter_options[] = {
    {OPTION("bind", schema_addresses, bind)},
    {OPTION("targets", allowed_type, targets)},
    {OPTION("timeout", schema_duration_32, timeout), .fallback = "5s", .minimum = 100,
     .maximum = MINUTE},
    {OPTION("probes", schema_count, probes), .fallback = "50", .minimum = 1, .maximum = 1000},
    {.name = NULL},
};

static int exporter_check(struct schema_reader *reader, void *object)
{
    struct conf_exporter *exporter = object;

    if (exporter->bind.count == 0)
        return schema_fail(reader, reader->line,
                           "exporter has no address; expected bind = \"127.0.0.1:9115\" in it");
    if (exporter->bind.count > ADDRESSES_MAX)
        return schema_fail(reader, schema_line(reader, "bind", 0),
                           "bind in exporter: found %zu addresses; expected at most %d",
                           exporter->bind.count, ADDRESSES_MAX);
    for (size_t i = 0; i < exporter->targets.count; i++)
        string_lower(exporter->targets.items[i]);
    exporter->present = true;
    return 0;
}

const struct schema_section schema_exporter = {
    .kind = "exporter", .options = exporter_options, .check = exporter_check};

size_t conf_http_count(const struct conf *conf)
{
    return conf->admin.bind.count + conf->exporter.bind.count;
}

const struct address *conf_http_address(const struct conf *conf, size_t index)
{
    return index < conf->admin.bind.count
               ? &conf->admin.bind.items[index]
               : &conf->exporter.bind.items[index - conf->admin.bind.count];
}
