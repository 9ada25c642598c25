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
#include "watch/discovery.h"
#include "watch/prober_process.h"

#define DISCOVERED_MAX 10000
#define TIMEOUT_MS     3000
#define FIRST_MS       5000 /* after the start: what is watched is to be known first */

int discover_check(const char *spec, struct error *error)
{
    const char *path = conf_discover_path(spec);
    struct discovery_range range;

    if (path == NULL)
        return discovery_range_parse(&range, spec, error);
    if (path[0] == '/')
        return 0;
    return error_set(error, ERROR_CONFIG,
                     "found \"%s\"; expected an absolute path behind zone: or list:",
                     string_printable((char[160]){0}, 160, spec, strlen(spec)));
}

/* ---- what was found ---- */

static void discovered_fini(struct discovered *found)
{
    free(found->watch);
    free(found->target);
    free(found->address);
    free(found->name);
}

static struct discovered *find_discovered(struct watcher *watcher, const char *target)
{
    uintptr_t at = (uintptr_t)map_get(&watcher->by_discovery, target);

    return at == 0 ? NULL : &watcher->discovered[at - 1];
}

/* As it stands at `at` from now on. */
static bool note_index(struct watcher *watcher, const char *target, size_t at)
{
    return map_put(&watcher->by_discovery, target, (void *)(uintptr_t)(at + 1));
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
        .target = strdup(json_text(endpoint, "target")),
        .address = strdup(json_text(endpoint, "address")),
        .name = strdup(name != NULL ? name : json_text(endpoint_leaf(endpoint), "common_name")),
        .first_seen = at};
    if (found->watch == NULL || found->target == NULL || found->address == NULL ||
        found->name == NULL || !note_index(watcher, found->target, watcher->discovered_count)) {
        discovered_fini(found);
        return NULL;
    }
    watcher->discovered_count++;
    return found;
}

static void fill(struct discovered *found, const json_t *endpoint, int64_t at)
{
    const json_t *leaf = endpoint_leaf(endpoint);

    found->severity = severity_read(json_text(endpoint, "verdict"));
    found->not_after = json_get_time(leaf, "not_after");
    found->checked_at = at;
    ignore(string_copy(found->sha256, sizeof found->sha256, json_text(leaf, "sha256")));
}

/* TLS is spoken there, whatever came of it. */
static bool speaks_tls(const json_t *endpoint)
{
    const char *outcome = json_text(endpoint, "outcome");

    return strcmp(outcome, "seen") == 0 || endpoint_leaf(endpoint) != NULL ||
           (strcmp(outcome, "handshake-failed") == 0 &&
            json_text(json_object_get(endpoint, "tls"), "alert_received")[0] != '\0');
}

static void take_found(struct discovery *discovery, json_t *endpoint)
{
    struct watcher *watcher = discovery->watcher;
    const char *target = json_text(endpoint, "target");
    int64_t now = time(NULL);

    if (!speaks_tls(endpoint) || index_is_watched(watcher, target, json_text(endpoint, "address")))
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
        if (index_is_watched(watcher, found->target, found->address) ||
            found->checked_at + patience < (int64_t)time(NULL)) {
            ignore(map_remove(&watcher->by_discovery, found->target) != NULL);
            discovered_fini(found);
            continue;
        }
        /* Never out of memory: the key is there. */
        ignore(note_index(watcher, found->target, kept));
        watcher->discovered[kept++] = *found;
    }
    watcher->discovered_count = kept;
}

void discover_restore(struct watcher *watcher, const struct store_latest *latest)
{
    uint32_t at = conf_find_watch(watcher->conf, latest->watch);

    if (at == CONF_NONE || watcher->conf->watches[at].discover.count == 0 ||
        index_is_watched(watcher, latest->target, json_text(latest->endpoint, "address")) ||
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
    if (!prober_client_ask_patiently(discovery->watcher->prober, request, on_answer, discovery))
        return 0;
    discovery->open++;
    return 1;
}

static size_t ask_range(struct discovery *discovery, const struct discovery_range *range)
{
    char text[ADDRESS_TEXT_MAX];
    size_t asked = 0;

    for (size_t i = 0; i < discovery_range_size(range); i++)
        asked += ask(discovery, discovery_range_at(range, i, text));
    return asked;
}

static bool ask_name(void *context, const char *target)
{
    ignore((long)ask(context, target));
    return true;
}

static size_t go_on(struct discovery *discovery);

static void take_file(struct discovery *discovery, const char *spec, const char *text, size_t size)
{
    struct error error = {0};
    int found = string_starts_with(spec, "zone:")
                    ? discovery_zone(text, size, ask_name, discovery, &error)
                    : discovery_list(text, size, ask_name, discovery, &error);

    if (found < 0)
        watcher_event(discovery->watcher, EVENT_WARNING, "watch %s: discover: %s: %s",
                      discovery->conf->name, conf_discover_path(spec), error.message);
}

void discover_opened(struct watcher *watcher, uint32_t request, const char *text, size_t size,
                     const char *error)
{
    for (size_t i = 0; i < watcher->discovery_count; i++) {
        struct discovery *discovery = watcher->discoveries[i];
        if (discovery->file_request != request)
            continue;
        const char *spec = discovery->conf->discover.items[discovery->file_spec].text;
        discovery->file_request = 0;
        if (text == NULL)
            watcher_event(watcher, EVENT_WARNING, "watch %s: discover: cannot read %s: %s",
                          discovery->conf->name, conf_discover_path(spec), error);
        else
            take_file(discovery, spec, text, size);
        discovery->file_spec++;
        ignore((long)go_on(discovery));
        return;
    }
}

static void not_opened(const struct discovery *discovery)
{
    const char *spec = discovery->conf->discover.items[discovery->file_spec].text;

    watcher_event(
        discovery->watcher, EVENT_WARNING,
        "watch %s: discover: %s is left out: the supervisor could not be asked to open it",
        discovery->conf->name, conf_discover_path(spec));
}

/* From the specification in hand on; files one after the other. */
static size_t go_on(struct discovery *discovery)
{
    const struct conf_watch_targets *specs = &discovery->conf->discover;
    size_t asked = 0;

    for (; discovery->file_spec < specs->count; discovery->file_spec++) {
        const char *spec = specs->items[discovery->file_spec].text;
        const char *path = conf_discover_path(spec);
        struct discovery_range range;
        if (path != NULL && watcher_open(discovery->watcher, &discovery->file_request, path))
            return asked + 1;
        if (path != NULL)
            not_opened(discovery);
        if (path == NULL && discovery_range_parse(&range, spec, NULL) == 0)
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
    struct discovery *discovery = context;

    if (discovery->file_request != 0)
        not_opened(discovery);
    discovery->file_request = 0; /* the answer is lost: the time before this was long */
    ignore((long)begin(discovery));
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
