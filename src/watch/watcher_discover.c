/* Endpoints that nobody watches: address ranges × ports, the names of a zone file, of a list. What
 * speaks TLS there and is no place of a watched target is told of once, and listed. */
#include "watch/watcher_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/string.h"
#include "watch/prober_process.h"

#define ADDRESSES_MAX  4096 /* of one range */
#define PORTS_MAX      16
#define NAMES_MAX      10000
#define DISCOVERED_MAX 10000
#define TIMEOUT_MS     3000
#define FIRST_MS       5000 /* after the start: what is watched is to be known first */

/* ---- ranges: "192.0.2.0/28:443,8443", "192.0.2.7:443", "[2001:db8::/120]:443" ---- */

struct range {
    struct network network;
    uint32_t count;
    uint16_t ports[PORTS_MAX];
    size_t port_count;
};

#define EXPECTED                                                                                   \
    "expected a range with ports such as 192.0.2.0/28:443,8443 or [2001:db8::/120]:443, "          \
    "zone:/path or list:/path"

static bool read_ports(struct range *range, const char *text)
{
    while (range->port_count < PORTS_MAX) {
        char *end;
        unsigned long port = strtoul(text, &end, 10);
        if (end == text || port == 0 || port > 65535)
            return false;
        range->ports[range->port_count++] = (uint16_t)port;
        if (*end == '\0')
            return true;
        if (*end != ',')
            return false;
        text = end + 1;
    }
    return false;
}

static const char *read_range(struct range *range, const char *spec)
{
    char text[160];
    char *colon, *host = text;

    *range = (struct range){.count = 0};
    if (!string_copy(text, sizeof text, spec) || (colon = strrchr(text, ':')) == NULL)
        return EXPECTED;
    *colon = '\0';
    if (host[0] == '[') {
        if (colon[-1] != ']')
            return EXPECTED;
        colon[-1] = '\0';
        host++;
    }
    if (!read_ports(range, colon + 1) || network_parse(&range->network, host, NULL) != 0)
        return EXPECTED;
    if (range->network.prefix < 116)
        return "found more than 4,096 addresses; expected smaller ranges";
    range->count = 1u << (128 - range->network.prefix);
    return NULL;
}

const char *discover_refuses(const char *spec)
{
    const char *path = conf_discover_path(spec);
    struct range range;

    if (path != NULL)
        return path[0] == '/' ? NULL : "found a path that is not absolute; " EXPECTED;
    return read_range(&range, spec);
}

/* ---- what was found ---- */

static void discovered_fini(struct discovered *found)
{
    free(found->watch);
    free(found->target);
    free(found->address);
    free(found->name);
}

static bool is_watched(const struct watcher *watcher, const char *target, const char *address)
{
    for (size_t i = 0; i < watcher->watched_count; i++) {
        const struct watched *watched = watcher->watched[i];
        if (strcmp(watched->text, target) == 0)
            return true;
        for (size_t j = 0; j < watched->place_count; j++) {
            if (address[0] != '\0' && strcmp(watched->places[j].address, address) == 0)
                return true;
        }
    }
    return false;
}

static struct discovered *find_discovered(struct watcher *watcher, const char *target)
{
    for (size_t i = 0; i < watcher->discovered_count; i++) {
        if (strcmp(watcher->discovered[i].target, target) == 0)
            return &watcher->discovered[i];
    }
    return NULL;
}

static struct discovered *make_discovered(struct watcher *watcher, const char *watch,
                                          const json_t *endpoint, int64_t at)
{
    struct discovered *larger;

    if (watcher->discovered_count == DISCOVERED_MAX ||
        (larger = reallocarray(watcher->discovered, watcher->discovered_count + 1,
                               sizeof *larger)) == NULL)
        return NULL;
    watcher->discovered = larger;
    struct discovered *found = &larger[watcher->discovered_count];
    const json_t *names = json_object_get(endpoint_leaf(endpoint), "subject_an");
    const char *name = json_string_value(json_array_get(names, 0));
    *found = (struct discovered){
        .watch = strdup(watch),
        .target = strdup(endpoint_text(endpoint, "target")),
        .address = strdup(endpoint_text(endpoint, "address")),
        .name = strdup(name != NULL ? name : endpoint_text(endpoint_leaf(endpoint), "common_name")),
        .first_seen = at};
    if (found->watch == NULL || found->target == NULL || found->address == NULL ||
        found->name == NULL) {
        discovered_fini(found);
        return NULL;
    }
    watcher->discovered_count++;
    return found;
}

static void fill(struct discovered *found, const json_t *endpoint, int64_t at)
{
    const json_t *leaf = endpoint_leaf(endpoint);

    found->severity = severity_read(endpoint_text(endpoint, "verdict"));
    found->not_after = json_get_time(leaf, "not_after");
    found->checked_at = at;
    ignore(string_copy(found->sha256, sizeof found->sha256, endpoint_text(leaf, "sha256")));
}

/* TLS is spoken there, whatever came of it. */
static bool speaks_tls(const json_t *endpoint)
{
    const char *outcome = endpoint_text(endpoint, "outcome");

    return strcmp(outcome, "seen") == 0 || endpoint_leaf(endpoint) != NULL ||
           (strcmp(outcome, "handshake-failed") == 0 &&
            endpoint_text(json_object_get(endpoint, "tls"), "alert_received")[0] != '\0');
}

static void take_found(struct discovery *discovery, json_t *endpoint)
{
    struct watcher *watcher = discovery->watcher;
    const char *target = endpoint_text(endpoint, "target");
    int64_t now = time(NULL);

    if (!speaks_tls(endpoint) || is_watched(watcher, target, endpoint_text(endpoint, "address")))
        return;
    struct discovered *found = find_discovered(watcher, target);
    if (found == NULL) {
        found = make_discovered(watcher, discovery->conf->name, endpoint, now);
        if (found == NULL)
            return;
        watcher_event(watcher, EVENT_WATCH_DISCOVERED, "%s (%s): nobody watches it", target,
                      found->name[0] == '\0' ? "no name" : found->name);
    }
    fill(found, endpoint, now);
    store_result(watcher->store, discovery->conf->name, target, endpoint);
}

/* What is watched by now, or was not seen at the last two looks. */
static void prune(struct watcher *watcher)
{
    size_t kept = 0;

    for (size_t i = 0; i < watcher->discovered_count; i++) {
        struct discovered *found = &watcher->discovered[i];
        uint32_t conf = conf_find_watch(watcher->conf, found->watch);
        int64_t patience =
            conf == CONF_NONE
                ? 0
                : (int64_t)(watcher->conf->watches[conf].discover_interval / 1000) * 2 + 600;
        if (is_watched(watcher, found->target, found->address) ||
            found->checked_at + patience < (int64_t)time(NULL)) {
            discovered_fini(found);
            continue;
        }
        watcher->discovered[kept++] = *found;
    }
    watcher->discovered_count = kept;
}

void discover_restore(struct watcher *watcher, const struct store_latest *latest)
{
    uint32_t at = conf_find_watch(watcher->conf, latest->watch);

    if (at == CONF_NONE || watcher->conf->watches[at].discover.count == 0 ||
        is_watched(watcher, latest->target, endpoint_text(latest->endpoint, "address")) ||
        find_discovered(watcher, latest->target) != NULL)
        return;
    struct discovered *found =
        make_discovered(watcher, latest->watch, latest->endpoint, latest->first_seen);
    if (found != NULL)
        fill(found, latest->endpoint, latest->checked_at);
}

/* ---- looking ---- */

static void ended(struct discovery *discovery)
{
    prune(discovery->watcher);
    timer_set(discovery->watcher->loop, &discovery->timer,
              loop_now(discovery->watcher->loop) + discovery->conf->discover_interval * NS_PER_MS);
}

static void on_answer(void *context, const json_t *endpoints, const char *error)
{
    struct discovery *discovery = context;
    (void)error; /* a word of a list that is no target, say */

    for (size_t i = 0; i < json_array_size(endpoints); i++)
        take_found(discovery, json_array_get(endpoints, i));
    if (--discovery->open == 0)
        ended(discovery);
}

static size_t ask(struct discovery *discovery, const char *target)
{
    json_t *request = json_object(), *options = json_object();

    json_set_text(request, "target", target);
    json_set_number(options, "timeout_ms", TIMEOUT_MS);
    ignore(json_object_set_new(request, "options", options));
    if (!prober_client_ask(discovery->watcher->prober, request, on_answer, discovery))
        return 0;
    discovery->open++;
    return 1;
}

static size_t ask_range(struct discovery *discovery, const struct range *range)
{
    char text[ADDRESS_TEXT_MAX];
    size_t asked = 0;

    for (uint32_t i = 0; i < range->count; i++) {
        uint8_t bytes[16];
        struct address address;
        uint32_t low = ((uint32_t)range->network.bytes[14] << 8 | range->network.bytes[15]) &
                       ~(range->count - 1);
        memcpy(bytes, range->network.bytes, sizeof bytes);
        bytes[14] = (uint8_t)((low + i) >> 8);
        bytes[15] = (uint8_t)(low + i);
        for (size_t j = 0; j < range->port_count; j++) {
            address_from_bytes(&address, bytes, range->ports[j]);
            asked += ask(discovery, address_format(text, sizeof text, &address));
        }
    }
    return asked;
}

/* The owner name of a line of a zone file, if the line gives it an address or an alias; NULL. */
static const char *zone_name(char *line, const char *origin, char name[300])
{
    char *save = NULL,
         *owner = line[0] == ' ' || line[0] == '\t' ? NULL : strtok_r(line, " \t", &save);
    bool address = false;

    if (owner == NULL || owner[0] == '$' || owner[0] == ';')
        return NULL;
    for (char *word; !address && (word = strtok_r(NULL, " \t", &save)) != NULL;)
        address = strcasecmp(word, "A") == 0 || strcasecmp(word, "AAAA") == 0 ||
                  strcasecmp(word, "CNAME") == 0;
    size_t size = strlen(owner);
    if (!address || owner[0] == '*')
        return NULL;
    if (owner[size - 1] == '.')
        ignore(snprintf(name, 300, "%.*s", (int)size - 1, owner));
    else
        ignore(snprintf(name, 300, "%s%s%s", strcmp(owner, "@") == 0 ? "" : owner,
                        strcmp(owner, "@") == 0 ? "" : ".", origin));
    return name;
}

static void read_origin(const char *line, char origin[256])
{
    ignore(sscanf(line, "$ORIGIN %255s", origin) == 1);
    size_t size = strlen(origin);
    if (size > 0 && origin[size - 1] == '.')
        origin[size - 1] = '\0';
}

static void ask_lines(struct discovery *discovery, const char *text, size_t size, bool zone)
{
    char line[400], name[300], last[300] = "", origin[256] = "";
    size_t asked = 0;

    for (size_t at = 0; at < size && asked < NAMES_MAX;) {
        const char *begin = text + at;
        size_t length = strcspn(begin, "\r\n");
        ignore(snprintf(line, sizeof line, "%.*s", length < 399 ? (int)length : 399, begin));
        at += length + 1;
        if (zone && string_starts_with(line, "$ORIGIN"))
            read_origin(line, origin);
        const char *target = line[strspn(line, " \t")] == '\0' || line[0] == '#' ? NULL
                             : zone ? zone_name(line, origin, name)
                                    : line;
        if (target == NULL || strcmp(target, last) == 0)
            continue;
        ignore(string_copy(last, sizeof last, target));
        asked += ask(discovery, target);
    }
}

static size_t go_on(struct discovery *discovery);

bool discover_opened(struct watcher *watcher, uint32_t request, const char *text, size_t size,
                     const char *error)
{
    for (size_t i = 0; i < watcher->discovery_count; i++) {
        struct discovery *discovery = watcher->discoveries[i];
        if (discovery->file_request != request)
            continue;
        const char *spec = discovery->conf->discover.items[discovery->file_spec].text;
        discovery->file_request = 0;
        if (text == NULL)
            watcher_event(watcher, EVENT_WARNING, "watch %s: discover: cannot open %s: %s",
                          discovery->conf->name, conf_discover_path(spec), error);
        else
            ask_lines(discovery, text, size, string_starts_with(spec, "zone:"));
        discovery->file_spec++;
        ignore((long)go_on(discovery));
        return true;
    }
    return false;
}

/* From the specification in hand on; files one after the other. */
static size_t go_on(struct discovery *discovery)
{
    const struct conf_watch_targets *specs = &discovery->conf->discover;
    size_t asked = 0;

    for (; discovery->file_spec < specs->count; discovery->file_spec++) {
        const char *spec = specs->items[discovery->file_spec].text;
        const char *path = conf_discover_path(spec);
        struct range range;
        if (path != NULL && watcher_open(discovery->watcher, &discovery->file_request, path))
            return asked + 1;
        if (path == NULL && read_range(&range, spec) == NULL)
            asked += ask_range(discovery, &range);
    }
    if (discovery->open == 0)
        ended(discovery);
    return asked;
}

static size_t begin(struct discovery *discovery)
{
    if (discovery->open != 0 || discovery->file_request != 0)
        return 0; /* under way */
    discovery->file_spec = 0;
    return go_on(discovery);
}

static void on_due(void *context)
{
    ignore((long)begin(context));
}

size_t watcher_discover(struct watcher *watcher, const char *watch)
{
    size_t asked = 0;

    for (size_t i = 0; i < watcher->discovery_count; i++) {
        if (watch[0] == '\0' || strcmp(watcher->discoveries[i]->conf->name, watch) == 0)
            asked += begin(watcher->discoveries[i]);
    }
    return asked;
}

/* ---- configuration ---- */

static void discovery_free(struct discovery *discovery)
{
    timer_cancel(discovery->watcher->loop, &discovery->timer);
    prober_client_forget(discovery->watcher->prober, discovery);
    free(discovery);
}

static bool discovery_add(struct watcher *watcher, const struct conf_watch *conf)
{
    struct discovery *discovery = calloc(1, sizeof *discovery);
    struct discovery **larger = reallocarray(watcher->discoveries, watcher->discovery_count + 1,
                                             sizeof *watcher->discoveries);

    if (larger != NULL)
        watcher->discoveries = larger;
    if (larger == NULL || discovery == NULL) {
        free(discovery);
        return false;
    }
    discovery->watcher = watcher;
    discovery->conf = conf;
    timer_init(&discovery->timer, on_due, discovery);
    timer_set(watcher->loop, &discovery->timer, loop_now(watcher->loop) + FIRST_MS * NS_PER_MS);
    larger[watcher->discovery_count++] = discovery;
    return true;
}

/* What is under way is left: a reload looks again. */
bool discover_reload(struct watcher *watcher)
{
    for (size_t i = 0; i < watcher->discovery_count; i++)
        discovery_free(watcher->discoveries[i]);
    watcher->discovery_count = 0;
    prune(watcher);
    for (size_t i = 0; i < watcher->conf->watch_count; i++) {
        if (watcher->conf->watches[i].discover.count != 0 &&
            !discovery_add(watcher, &watcher->conf->watches[i]))
            return false;
    }
    return true;
}

void discover_fini(struct watcher *watcher)
{
    for (size_t i = 0; i < watcher->discovery_count; i++)
        discovery_free(watcher->discoveries[i]);
    free(watcher->discoveries);
    for (size_t i = 0; i < watcher->discovered_count; i++)
        discovered_fini(&watcher->discovered[i]);
    free(watcher->discovered);
}
