/* What differs between two configurations: the text of each section is compared option by option.
 */
#include "conf/merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/string.h"
#include "conf/kind.h"
#include "conf/schema.h"

#define TEXT_MAX    (16u << 20)
#define OPTIONS_MAX 400

const char *conf_kind_name(enum conf_kind kind)
{
    static const char *const names[] = {
        [CONF_KIND_GLOBAL] = "global",           [CONF_KIND_LISTENER] = "listener",
        [CONF_KIND_UPSTREAM] = "upstream",       [CONF_KIND_SERVER] = "server",
        [CONF_KIND_CERTIFICATE] = "certificate", [CONF_KIND_WATCH] = "watch",
        [CONF_KIND_CHANNEL] = "channel",         [CONF_KIND_ALERT_ROUTE] = "alert-route",
        [CONF_KIND_MAINTENANCE] = "maintenance", [CONF_KIND_ADMIN] = "admin",
        [CONF_KIND_EXPORTER] = "exporter",
    };
    return names[kind];
}

const char *conf_change_name(enum conf_change change)
{
    static const char *const names[] = {
        [CONF_ADDED] = "added", [CONF_REMOVED] = "removed", [CONF_CHANGED] = "changed"};
    return names[change];
}

struct comparison {
    const struct conf *before, *after;
    conf_difference_fn *fn;
    void *context;
    bool failed; /* out of memory */
};

/* ---- one section ---- */

static char *section_text(const struct conf *conf, const struct schema_section *schema,
                          const void *object)
{
    struct buffer buffer;

    buffer_init(&buffer, TEXT_MAX);
    schema_show(&buffer, conf, schema, object, "", false);
    char *text = buffer.failed ? NULL : strdup(buffer_text(&buffer));
    buffer_fini(&buffer);
    return text;
}

/* Is this line of one text in the other, too? */
static bool has_line(const char *text, const char *line, size_t size)
{
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        if (length == size && memcmp(text, line, size) == 0)
            return true;
        text += length + (text[length] == '\n');
    }
    return false;
}

static void add_option(char options[OPTIONS_MAX], const char *line)
{
    size_t used = strlen(options), size = strcspn(line, " ");
    char name[64];

    if (size >= sizeof name)
        return;
    memcpy(name, line, size);
    name[size] = '\0';
    for (const char *at = options; (at = strstr(at, name)) != NULL; at += size) {
        if ((at == options || at[-1] == ' ') && (at[size] == ',' || at[size] == '\0'))
            return;
    }
    ignore(snprintf(options + used, OPTIONS_MAX - used, "%s%s", used == 0 ? "" : ", ", name));
}

/* Names the options that stand in `text` but not so in `other`. */
static void note_options(char options[OPTIONS_MAX], const char *text, const char *other)
{
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        if (!has_line(other, text, length))
            add_option(options, text);
        text += length + (text[length] == '\n');
    }
}

/* NULL on one side: the object is not there. */
static void compare_object(struct comparison *comparison, const struct schema_section *schema,
                           struct conf_difference *difference, const void *before,
                           const void *after)
{
    char options[OPTIONS_MAX] = "";

    if (before == NULL && after == NULL)
        return;
    difference->options = "";
    difference->change = before == NULL ? CONF_ADDED : after == NULL ? CONF_REMOVED : CONF_CHANGED;
    if (difference->change == CONF_CHANGED) {
        char *old = section_text(comparison->before, schema, before);
        char *new = section_text(comparison->after, schema, after);
        bool known = old != NULL && new != NULL;
        if (known) {
            note_options(options, old, new);
            note_options(options, new, old);
        }
        free(old);
        free(new);
        comparison->failed |= !known;
        if (options[0] == '\0')
            return;
        difference->options = options;
    }
    comparison->fn(comparison->context, difference);
}

/* ---- servers ---- */

static bool same_server(const struct conf_server *a, const struct conf_server *b)
{
    return a->weight == b->weight && a->max_connections == b->max_connections;
}

static void compare_server(struct comparison *comparison, const char *upstream,
                           const struct conf_server *before, const struct conf_server *after)
{
    const struct conf_server *any = after != NULL ? after : before;
    char name[CONF_NAME_MAX + SCHEMA_VALUE_MAX + 2];
    struct conf_difference difference = {.kind = CONF_KIND_SERVER,
                                         .change = before == NULL  ? CONF_ADDED
                                                   : after == NULL ? CONF_REMOVED
                                                                   : CONF_CHANGED,
                                         .name = name,
                                         .options = ""};

    if (any == NULL || (before != NULL && after != NULL && same_server(before, after)))
        return;
    if (difference.change == CONF_CHANGED)
        difference.options = before->weight == after->weight ? "max-connections" : "weight";
    difference.index = any->number;
    ignore(snprintf(name, sizeof name, "%s/%s", upstream, any->name));
    comparison->fn(comparison->context, &difference);
}

static const struct conf_server *server_at(const struct conf_upstream *upstream, size_t index)
{
    return upstream != NULL && index < upstream->server_count &&
                   conf_server_in_force(&upstream->servers[index])
               ? &upstream->servers[index]
               : NULL;
}

static void compare_upstream(struct comparison *comparison, uint32_t index,
                             const struct conf_upstream *before, const struct conf_upstream *after)
{
    const struct conf_upstream *any = after != NULL ? after : before;
    struct conf_difference difference = {.kind = CONF_KIND_UPSTREAM, .index = index};

    if (any == NULL)
        return;
    difference.name = any->name;
    compare_object(comparison, &schema_upstream, &difference, before, after);
    size_t count = before == NULL ? 0 : before->server_count;
    if (after != NULL && after->server_count > count)
        count = after->server_count;
    for (size_t i = 0; i < count; i++)
        compare_server(comparison, any->name, server_at(before, i), server_at(after, i));
}

/* ---- all ---- */

#define IN_FORCE(conf, list, count, index, test)                                                   \
    ((index) < (conf)->count && test(&(conf)->list[index]) ? &(conf)->list[index] : NULL)

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void compare_listeners(struct comparison *comparison)
{
    const struct conf *before = comparison->before, *after = comparison->after;

    for (uint32_t i = 0; i < larger(before->listener_count, after->listener_count); i++) {
        const struct conf_listener *old =
            IN_FORCE(before, listeners, listener_count, i, conf_listener_in_force);
        const struct conf_listener *new =
            IN_FORCE(after, listeners, listener_count, i, conf_listener_in_force);
        struct conf_difference difference = {.kind = CONF_KIND_LISTENER, .index = i};
        difference.name = new != NULL ? new->name : old != NULL ? old->name : "";
        compare_object(comparison, &schema_listener, &difference, old, new);
    }
}

static void compare_certificates(struct comparison *comparison)
{
    const struct conf *before = comparison->before, *after = comparison->after;

    for (uint32_t i = 0; i < larger(before->certificate_count, after->certificate_count); i++) {
        const struct conf_certificate *old =
            IN_FORCE(before, certificates, certificate_count, i, conf_certificate_in_force);
        const struct conf_certificate *new =
            IN_FORCE(after, certificates, certificate_count, i, conf_certificate_in_force);
        struct conf_difference difference = {.kind = CONF_KIND_CERTIFICATE, .index = i};
        difference.name = new != NULL ? new->name : old != NULL ? old->name : "";
        compare_object(comparison, &schema_certificate, &difference, old, new);
    }
}

/* Objects without places: by name. */
static void compare_named(struct comparison *comparison, const struct kind *kind)
{
    const struct conf *before = comparison->before, *after = comparison->after;

    for (uint32_t i = 0; i < kind_count(before, kind); i++) {
        struct conf_difference difference = {.kind = kind->number, .index = i};
        difference.name = kind_name(before, kind, i);
        uint32_t now = kind_find_object(after, kind, difference.name);
        compare_object(comparison, kind->schema, &difference, kind_object(before, kind, i),
                       now == CONF_NONE ? NULL : kind_object(after, kind, now));
    }
    for (uint32_t i = 0; i < kind_count(after, kind); i++) {
        struct conf_difference difference = {.kind = kind->number, .index = i};
        difference.name = kind_name(after, kind, i);
        if (kind_find_object(before, kind, difference.name) == CONF_NONE)
            compare_object(comparison, kind->schema, &difference, NULL,
                           kind_object(after, kind, i));
    }
}

bool conf_compare(const struct conf *before, const struct conf *after, conf_difference_fn *fn,
                  void *context)
{
    struct comparison comparison = {.before = before, .after = after, .fn = fn, .context = context};
    struct conf_difference global = {.kind = CONF_KIND_GLOBAL, .name = ""};

    compare_object(&comparison, &schema_global, &global, before, after);
    compare_listeners(&comparison);
    for (uint32_t i = 0; i < larger(before->upstream_count, after->upstream_count); i++)
        compare_upstream(&comparison, i,
                         IN_FORCE(before, upstreams, upstream_count, i, conf_upstream_in_force),
                         IN_FORCE(after, upstreams, upstream_count, i, conf_upstream_in_force));
    compare_certificates(&comparison);
    for (const struct kind *kind = conf_kinds; kind < conf_kinds + KIND_COUNT; kind++) {
        if (!kind->placed)
            compare_named(&comparison, kind);
    }
    for (size_t i = 0; i < KIND_SINGLE_COUNT; i++) {
        const struct kind_single *single = &conf_singles[i];
        struct conf_difference difference = {.kind = single->number, .name = ""};
        compare_object(&comparison, single->schema, &difference,
                       single_present(before, single) ? single_object(before, single) : NULL,
                       single_present(after, single) ? single_object(after, single) : NULL);
    }
    return !comparison.failed;
}

/* ---- by name ---- */

static bool same_text(const struct conf *a, const struct conf *b,
                      const struct schema_section *schema, const void *object_a,
                      const void *object_b)
{
    char *text_a = section_text(a, schema, object_a), *text_b = section_text(b, schema, object_b);
    bool same = text_a != NULL && text_b != NULL && strcmp(text_a, text_b) == 0;

    free(text_a);
    free(text_b);
    return same;
}

bool conf_same_certificate(const struct conf *a, const struct conf *b, const char *name)
{
    uint32_t i = conf_find_certificate(a, name), j = conf_find_certificate(b, name);

    return i != CONF_NONE && j != CONF_NONE &&
           same_text(a, b, &schema_certificate, &a->certificates[i], &b->certificates[j]);
}

bool conf_same_listener(const struct conf *a, const struct conf *b, const char *name)
{
    uint32_t i = conf_find_listener(a, name), j = conf_find_listener(b, name);

    return i != CONF_NONE && j != CONF_NONE &&
           same_text(a, b, &schema_listener, &a->listeners[i], &b->listeners[j]);
}

bool conf_same_channel(const struct conf *a, const struct conf *b, const char *name)
{
    uint32_t i = conf_find_channel(a, name), j = conf_find_channel(b, name);

    return i != CONF_NONE && j != CONF_NONE &&
           same_text(a, b, &schema_channel, &a->channels[i], &b->channels[j]);
}
