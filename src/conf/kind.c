#include "conf/kind.h"

#include <string.h>

#include "conf/list.h"

#define KIND(enumerator, section, member, is_placed)                                               \
    {                                                                                              \
        .number = (enumerator), .schema = &(section), .items = offsetof(struct conf, member##s),   \
        .count = offsetof(struct conf, member##_count),                                            \
        .size = sizeof *((struct conf *)NULL)->member##s, .placed = (is_placed)                    \
    }

const struct kind conf_kinds[KIND_COUNT] = {
    KIND(CONF_KIND_LISTENER, schema_listener, listener, true),
    KIND(CONF_KIND_UPSTREAM, schema_upstream, upstream, true),
    KIND(CONF_KIND_CERTIFICATE, schema_certificate, certificate, true),
    {.number = CONF_KIND_WATCH,
     .schema = &schema_watch,
     .items = offsetof(struct conf, watches),
     .count = offsetof(struct conf, watch_count),
     .size = sizeof(struct conf_watch)},
    KIND(CONF_KIND_CHANNEL, schema_channel, channel, false),
    KIND(CONF_KIND_ALERT_ROUTE, schema_alert_route, alert_route, false),
    KIND(CONF_KIND_MAINTENANCE, schema_maintenance, maintenance, false),
};

#define SINGLE(enumerator, section, member)                                                        \
    {                                                                                              \
        (enumerator), &(section), offsetof(struct conf, member),                                   \
            offsetof(struct conf, member.present)                                                  \
    }

const struct kind_single conf_singles[KIND_SINGLE_COUNT] = {
    SINGLE(CONF_KIND_ADMIN, schema_admin, admin),
    SINGLE(CONF_KIND_EXPORTER, schema_exporter, exporter),
};

const struct kind *kind_find(const char *name)
{
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (strcmp(conf_kinds[i].schema->kind, name) == 0)
            return &conf_kinds[i];
    }
    return NULL;
}

static void **items_of(const struct conf *conf, const struct kind *kind)
{
    return (void **)((uintptr_t)conf + kind->items);
}

void *kind_object(const struct conf *conf, const struct kind *kind, size_t index)
{
    return (char *)*items_of(conf, kind) + index * kind->size;
}

char *kind_name(const struct conf *conf, const struct kind *kind, size_t index)
{
    return *(char **)kind_object(conf, kind, index);
}

void *kind_append(struct conf *conf, const struct kind *kind)
{
    size_t *count = (size_t *)((char *)conf + kind->count);

    return list_append(items_of(conf, kind), count, kind->size);
}

uint32_t kind_find_object(const struct conf *conf, const struct kind *kind, const char *name)
{
    for (size_t i = 0; i < kind_count(conf, kind); i++) {
        const char *known = kind_name(conf, kind, i);
        if (known != NULL && strcmp(known, name) == 0)
            return (uint32_t)i;
    }
    return CONF_NONE;
}
