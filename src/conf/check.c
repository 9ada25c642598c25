#include "conf/check.h"

#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/string.h"

#define TICKET_KEYS 62    /* that only decrypt: what a ring has room for (tls/ticket_ring.h) */
#define PATIENCE_MS 60000 /* what most clients grant a connection before they give up */

/* Puts the reader into section number `index` of a kind, for the lines of its options. */
static void stand_in(struct schema_reader *reader, cfg_t *root, const struct schema_section *schema,
                     size_t index)
{
    reader->schema = schema;
    reader->tree = cfg_getnsec(root, schema->kind, (unsigned)index);
    reader->line = (unsigned)reader->tree->line;
}

/* ---- addresses ---- */

struct bound {
    const struct address *address;
    unsigned line;
};

static bool is_wildcard(const struct address *address)
{
    static const uint8_t none[16];

    return address->any.sa_family == AF_INET ? address->in.sin_addr.s_addr == 0
           : address->any.sa_family == AF_INET6
               ? memcmp(&address->in6.sin6_addr, none, sizeof none) == 0
               : false;
}

/* The kernel refuses to bind both. Listening IPv6 sockets take IPv6 only, so families do not meet.
 */
static bool overlap(const struct address *a, const struct address *b)
{
    if (address_equal(a, b))
        return true;
    return a->any.sa_family == b->any.sa_family && a->any.sa_family != AF_UNIX &&
           address_port(a) == address_port(b) && (is_wildcard(a) || is_wildcard(b));
}

static int note_addresses(struct schema_reader *reader, const struct conf_addresses *addresses,
                          struct bound bound[CONF_ADDRESSES_MAX], size_t *count)
{
    char text[ADDRESS_TEXT_MAX], other[ADDRESS_TEXT_MAX], place[SCHEMA_SHOWN_MAX + 32];

    for (size_t i = 0; i < addresses->count; i++) {
        const struct address *address = &addresses->items[i];
        unsigned line = schema_line(reader, "bind", i);
        for (size_t j = 0; j < *count; j++) {
            if (overlap(address, bound[j].address))
                return schema_fail(
                    reader, line,
                    "bind in %s: found '%s', which line %u takes already with '%s'; expected "
                    "each address and port once",
                    schema_place(place, sizeof place, reader->tree),
                    address_format(text, sizeof text, address), bound[j].line,
                    address_format(other, sizeof other, bound[j].address));
        }
        if (*count == CONF_ADDRESSES_MAX)
            return schema_fail(reader, line,
                               "found more than %d addresses to listen on; expected fewer",
                               CONF_ADDRESSES_MAX);
        bound[(*count)++] = (struct bound){address, line};
    }
    return 0;
}

static int check_addresses(struct schema_reader *reader, cfg_t *root)
{
    const struct conf *conf = reader->conf;
    struct bound bound[CONF_ADDRESSES_MAX];
    size_t count = 0;
    int code = 0;

    for (size_t i = 0; code == 0 && i < conf->listener_count; i++) {
        stand_in(reader, root, &schema_listener, i);
        code = note_addresses(reader, &conf->listeners[i].bind, bound, &count);
    }
    if (code == 0 && conf->admin.present) {
        stand_in(reader, root, &schema_admin, 0);
        code = note_addresses(reader, &conf->admin.bind, bound, &count);
    }
    if (code == 0 && conf->exporter.present) {
        stand_in(reader, root, &schema_exporter, 0);
        code = note_addresses(reader, &conf->exporter.bind, bound, &count);
    }
    return code;
}

/* ---- amounts ---- */

static int check_amounts(struct schema_reader *reader, cfg_t *root)
{
    const struct conf *conf = reader->conf;
    size_t servers = 0;

    if (conf->listener_count == 0 && conf->watch_count == 0 && !conf->exporter.present)
        return schema_fail(reader, 0,
                           "found no listener and nothing to watch; expected at least one section: "
                           "listener NAME { ... } or watch NAME { ... }");
    if (conf->listener_count != 0 && conf->workers == 0) {
        reader->schema = &schema_global;
        reader->tree = root;
        reader->line = 0;
        return schema_fail(reader, schema_line(reader, "workers", 0),
                           "workers: found none with a listener; expected at least 1, or no "
                           "listener");
    }
    if (conf->listener_count > CONF_LISTENERS_MAX) {
        stand_in(reader, root, &schema_listener, CONF_LISTENERS_MAX);
        return schema_fail(reader, reader->line, "found %zu listeners; expected at most %d",
                           conf->listener_count, CONF_LISTENERS_MAX);
    }
    for (size_t i = 0; i < conf->upstream_count; i++) {
        servers += conf->upstreams[i].server_count;
        if (servers > CONF_SERVERS_MAX) {
            stand_in(reader, root, &schema_upstream, i);
            return schema_fail(
                reader, reader->line,
                "found more than %d servers in all upstreams; expected at most that many",
                CONF_SERVERS_MAX);
        }
    }
    return 0;
}

/* ---- names of certificates and routes ---- */

/* Warns of a name that two certificates of the listener have: only the first would be used. */
static int check_listener_names(struct schema_reader *reader, const struct conf_listener *listener,
                                struct map *owners)
{
    for (size_t i = 0; i < listener->certificate_count; i++) {
        const struct conf_certificate *certificate =
            &reader->conf->certificates[listener->certificates[i]];
        for (size_t j = 0; j < certificate->names.count; j++) {
            const char *name = certificate->names.items[j];
            const char *owner = map_get(owners, name);
            if (owner != NULL)
                schema_warn(reader, schema_line(reader, "certificates", i),
                            "listener '%s': both certificates '%s' and '%s' have the name '%s'; "
                            "the first is used",
                            listener->name, owner, certificate->name, name);
            else if (!map_put(owners, name, certificate->name))
                return schema_fail_memory(reader);
        }
    }
    return 0;
}

static bool routed(const struct conf_listener *listener, const char *name)
{
    const char *dot = strchr(name, '.');

    for (size_t i = 0; i < listener->route_count; i++) {
        const char *route = listener->routes[i].name;
        if (strcmp(route, name) == 0 ||
            (dot != NULL && string_starts_with(route, "*.") && strcmp(route + 1, dot) == 0))
            return true;
    }
    return false;
}

/* Without an upstream for the rest, a certified name without route leads nowhere. */
static void warn_unrouted(struct schema_reader *reader, const struct conf_listener *listener)
{
    for (size_t i = 0; i < listener->certificate_count && listener->upstream == CONF_NONE; i++) {
        const struct conf_certificate *certificate =
            &reader->conf->certificates[listener->certificates[i]];
        for (size_t j = 0; j < certificate->names.count; j++) {
            if (!routed(listener, certificate->names.items[j]))
                schema_warn(reader, schema_line(reader, "certificates", i),
                            "listener '%s': name '%s' of certificate '%s' has no route, and there "
                            "is no upstream for the "
                            "rest: its clients are refused",
                            listener->name, certificate->names.items[j], certificate->name);
        }
    }
}

static int check_names(struct schema_reader *reader, cfg_t *root)
{
    const struct conf *conf = reader->conf;
    int code = 0;

    for (size_t i = 0; code == 0 && i < conf->listener_count; i++) {
        struct map owners;
        map_init(&owners);
        stand_in(reader, root, &schema_listener, i);
        code = check_listener_names(reader, &conf->listeners[i], &owners);
        map_fini(&owners);
        if (code == 0)
            warn_unrouted(reader, &conf->listeners[i]);
    }
    return code;
}

/* ---- time-outs of listener and upstream together ---- */

static void warn_connect_time(struct schema_reader *reader, const struct conf_listener *listener,
                              const struct conf_upstream *upstream)
{
    uint64_t longest = upstream->connect_timeout * upstream->connect_tries;

    if (listener->idle_timeout != 0 && longest > listener->idle_timeout)
        schema_warn(reader, schema_line(reader, "idle-timeout", 0),
                    "idle-timeout of listener '%s' is shorter than connect-timeout times "
                    "connect-tries of upstream '%s' "
                    "(%llu s): clients are cut off before the last try",
                    listener->name, upstream->name, (unsigned long long)(longest / 1000));
}

static void warn_times(struct schema_reader *reader, cfg_t *root)
{
    const struct conf *conf = reader->conf;

    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        stand_in(reader, root, &schema_listener, i);
        if (listener->upstream != CONF_NONE)
            warn_connect_time(reader, listener, &conf->upstreams[listener->upstream]);
        for (size_t j = 0; j < listener->route_count; j++) {
            if (listener->routes[j].upstream != listener->upstream)
                warn_connect_time(reader, listener, &conf->upstreams[listener->routes[j].upstream]);
        }
    }
    for (size_t i = 0; i < conf->upstream_count; i++) {
        const struct conf_upstream *upstream = &conf->upstreams[i];
        uint64_t longest = upstream->connect_timeout * upstream->connect_tries;
        stand_in(reader, root, &schema_upstream, i);
        if (longest > PATIENCE_MS)
            schema_warn(reader,
                        schema_line(reader,
                                    schema_given(reader, "connect-timeout") ? "connect-timeout"
                                                                            : "connect-tries",
                                    0),
                        "connect-timeout times connect-tries of upstream '%s' is %llu s: most "
                        "clients give up earlier",
                        upstream->name, (unsigned long long)(longest / 1000));
    }
}

/* ---- sections that nobody refers to ---- */

static bool upstream_used(const struct conf *conf, uint32_t upstream)
{
    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        if (listener->upstream == upstream)
            return true;
        for (size_t j = 0; j < listener->route_count; j++) {
            if (listener->routes[j].upstream == upstream)
                return true;
        }
    }
    return false;
}

static bool certificate_used(const struct conf *conf, uint32_t certificate)
{
    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        for (size_t j = 0; j < listener->certificate_count; j++) {
            if (listener->certificates[j] == certificate)
                return true;
        }
    }
    return false;
}

/* The keys of tickets that may still come back must fit in the ring. */
static void warn_ticket_keys(struct schema_reader *reader, cfg_t *root)
{
    const struct conf *conf = reader->conf;
    uint64_t longest = conf_longest_ticket(conf);

    reader->schema = &schema_global;
    reader->tree = root;
    reader->line = 0;
    if (longest / TICKET_KEYS >= conf->ticket_key_lifetime)
        schema_warn(reader, schema_line(reader, "ticket-key-lifetime", 0),
                    "ticket-key-lifetime is so short that tickets resume for no longer than %d "
                    "times of it, though a listener's ticket-lifetime is longer: only so many "
                    "keys are kept",
                    TICKET_KEYS);
}

static void warn_unused(struct schema_reader *reader, cfg_t *root)
{
    const struct conf *conf = reader->conf;

    for (uint32_t i = 0; i < conf->upstream_count; i++) {
        stand_in(reader, root, &schema_upstream, i);
        if (!upstream_used(conf, i))
            schema_warn(reader, reader->line, "upstream '%s' is used by no listener",
                        conf->upstreams[i].name);
    }
    for (uint32_t i = 0; i < conf->certificate_count; i++) {
        stand_in(reader, root, &schema_certificate, i);
        if (!certificate_used(conf, i))
            schema_warn(reader, reader->line, "certificate '%s' is used by no listener",
                        conf->certificates[i].name);
    }
}

/* ---- who hears of critical targets ---- */

static bool lists(const struct conf_text_list *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (text != NULL && strcmp(list->items[i], text) == 0)
            return true;
    }
    return list->count == 0;
}

/* Channels that hear of the watch's alerts at once; the same one of two routes counts twice at
 * most. */
static size_t channels_of(const struct conf *conf, const struct conf_watch *watch)
{
    size_t count = 0;
    bool routed = false;

    for (size_t i = 0; i < conf->alert_route_count; i++) {
        const struct conf_alert_route *route = &conf->alert_routes[i];
        if (route->escalation_only || !lists(&route->watches, watch->name) ||
            !lists(&route->owners, watch->owner) || !lists(&route->services, watch->service))
            continue;
        routed = true;
        count += route->channels.count;
    }
    return routed ? count : conf->alerts.channels.count;
}

static void warn_channels(struct schema_reader *reader, cfg_t *root)
{
    const struct conf *conf = reader->conf;

    for (size_t i = 0; i < conf->watch_count; i++) {
        const struct conf_watch *watch = &conf->watches[i];
        size_t count = channels_of(conf, watch);
        stand_in(reader, root, &schema_watch, i);
        if (count == 0 && conf->channel_count > 0)
            schema_warn(reader, reader->line,
                        "alerts of watch '%s' reach nobody: no alert-route "
                        "fits it, and there are no alert-channels",
                        watch->name);
        else if (count == 1 && watch->critical)
            schema_warn(reader, reader->line,
                        "watch '%s' is critical, and its alerts have a single channel: when that "
                        "fails, nobody hears of them",
                        watch->name);
    }
}

int conf_check(struct schema_reader *reader, cfg_t *root)
{
    int code = check_amounts(reader, root);

    if (code == 0)
        code = check_addresses(reader, root);
    if (code == 0)
        code = check_names(reader, root);
    if (code == 0) {
        warn_times(reader, root);
        warn_unused(reader, root);
        warn_ticket_keys(reader, root);
        warn_channels(reader, root);
    }
    return code;
}
