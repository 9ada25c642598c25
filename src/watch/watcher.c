#include "watch/watcher_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/string.h"
#include "watch/prober_process.h"
#include "watch/schedule.h"
#include "watch/target.h"

#define RETENTION_NS (3600 * NS_PER_S)

/* ---- small things ---- */

uint64_t watcher_chance(struct watcher *watcher)
{
    return watcher->random = hash_mix(watcher->random + 1);
}

void watcher_event(struct watcher *watcher, enum event_type type, const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    ignore(vsnprintf(text, sizeof text, format, arguments));
    va_end(arguments);
    watcher->host.event(watcher->host.context, type, text);
}

/* ---- a check ---- */

void watched_set_next(struct watched *watched, uint64_t delay_ms)
{
    watched->next_check = time(NULL) + (int64_t)(delay_ms / 1000);
    timer_set(watched->watcher->loop, &watched->timer,
              loop_now(watched->watcher->loop) + delay_ms * NS_PER_MS);
}

static void tell_waiters(struct watched *watched)
{
    struct waiter *waiter;

    while ((waiter = watched->waiters) != NULL) {
        watched->waiters = waiter->next;
        if (waiter->done != NULL)
            waiter->done(waiter->context, watched->text, watched->answers,
                         watched->trouble[0] == '\0' ? NULL : watched->trouble);
        free(waiter);
    }
}

void watched_done(struct watched *watched)
{
    struct watcher *watcher = watched->watcher;
    struct schedule_result result;

    watched->checks++;
    watcher->checks++;
    watched->failures = watched->trouble[0] == '\0' ? 0 : watched->failures + 1;
    if (json_array_size(watched->answers) == 0)
        ignore(json_array_append_new(watched->answers, endpoint_of_trouble(watched, time(NULL))));
    result.changed = watched_take(watched);
    result.failures = watched->failures;
    tell_waiters(watched);
    json_decref(watched->answers);
    watched->answers = NULL;
    watched_set_next(watched,
                     schedule_next(watched->conf->interval, &result, watcher_chance(watcher)));
}

static void on_answer(void *context, const json_t *endpoints, const char *error)
{
    struct watched *watched = context;

    if (error != NULL)
        ignore(string_copy(watched->trouble, sizeof watched->trouble, error));
    ignore(json_array_extend(watched->answers, (json_t *)(uintptr_t)endpoints));
    if (--watched->open == 0)
        watched_done(watched);
}

void watched_ask(struct watched *watched)
{
    struct watcher *watcher = watched->watcher;
    const struct conf_watch *conf = watched->conf;

    for (unsigned origin = 0; origin < (conf->origin.count != 0 ? 2u : 1u); origin++) {
        if (prober_client_ask(watcher->prober, prober_request(conf, watched->text, origin != 0),
                              on_answer, watched))
            watched->open++;
    }
    if (watched->open == 0) {
        ignore(string_copy(watched->trouble, sizeof watched->trouble, "out of memory"));
        watched_done(watched);
    }
}

static void begin(struct watched *watched)
{
    timer_cancel(watched->watcher->loop, &watched->timer);
    watched->answers = json_array();
    watched->trouble[0] = '\0';
    if (watched->refused != NULL) {
        ignore(string_copy(watched->trouble, sizeof watched->trouble, watched->refused));
        watched_done(watched);
    } else {
        watched_open_files(watched);
    }
}

static bool under_way(const struct watched *watched)
{
    return watched->answers != NULL;
}

static void on_due(void *context)
{
    struct watched *watched = context;

    if (!under_way(watched))
        begin(watched);
    else if (watched->file_request != 0)
        watched_unanswered(watched);
}

/* ---- the store's turn ---- */

static void tell_of_store(struct watcher *watcher)
{
    struct store_health health;

    store_health(watcher->store, &health);
    if (health.set_aside != watcher->set_aside)
        watcher_event(watcher, EVENT_WATCH_STORE_FAILED,
                      "the database was damaged: it is set aside as %s, a new one is begun",
                      health.aside);
    else if (health.troubled && !watcher->store_troubled)
        watcher_event(watcher, EVENT_WATCH_STORE_FAILED, "%s; results wait in memory",
                      health.trouble);
    else if (!health.troubled && watcher->store_troubled)
        watcher_event(watcher, EVENT_WATCH_STORE_HEALED, "results are remembered again");
    watcher->set_aside = health.set_aside;
    watcher->store_troubled = health.troubled;
}

static void on_store_turn(void *context)
{
    struct watcher *watcher = context;

    if (store_flush(watcher->store, loop_now(watcher->loop)))
        timer_set(watcher->loop, &watcher->store_turn, loop_now(watcher->loop));
    tell_of_store(watcher);
    uint64_t again = store_next_try_ns(watcher->store);
    if (again != 0)
        timer_set(watcher->loop, &watcher->store_turn, again);
}

static void on_batch_end(void *context)
{
    on_store_turn(context);
}

static void on_retention(void *context)
{
    struct watcher *watcher = context;
    int64_t now = time(NULL);
    bool more =
        store_retain(watcher->store, now - (int64_t)(watcher->conf->watch_keep_checks / 1000),
                     now - (int64_t)(watcher->conf->watch_keep_history / 1000));

    timer_set(watcher->loop, &watcher->retention,
              loop_now(watcher->loop) + (more ? NS_PER_S / 4 : RETENTION_NS));
}

/* ---- configuration ---- */

/* In no index, and no request leads to it. */
static void watched_free(struct watched *watched)
{
    struct waiter *waiter;

    timer_cancel(watched->watcher->loop, &watched->timer);
    while ((waiter = watched->waiters) != NULL) {
        watched->waiters = waiter->next;
        if (waiter->done != NULL)
            waiter->done(waiter->context, watched->text, NULL, "it is no longer watched");
        free(waiter);
    }
    watched_drop_places(watched);
    json_decref(watched->answers);
    free(watched->text);
    free(watched->refused);
    free(watched);
}

/* The canonical text; what is no target is kept as it was written, with why. */
static bool name_watched(struct watched *watched, const char *text)
{
    struct target *target = malloc(sizeof *target);
    struct error error = {0};

    if (target == NULL)
        return false;
    if (target_parse(target, text, &error) == 0) {
        watched->text = strdup(target->text);
    } else {
        watched->text = strdup(text);
        watched->refused = strdup(error.message);
        if (watched->refused == NULL) {
            free(watched->text);
            watched->text = NULL;
        }
    }
    free(target);
    return watched->text != NULL;
}

static struct watched *watched_new(struct watcher *watcher, const char *text)
{
    struct watched *watched = calloc(1, sizeof *watched);

    if (watched == NULL || !name_watched(watched, text)) {
        free(watched);
        return NULL;
    }
    watched->watcher = watcher;
    timer_init(&watched->timer, on_due, watched);
    return watched;
}

static bool keep(struct watcher *watcher, struct watched *watched)
{
    if (watcher->watched_count % 256 == 0) {
        struct watched **larger =
            reallocarray(watcher->watched, watcher->watched_count + 256, sizeof *watcher->watched);
        if (larger == NULL)
            return false;
        watcher->watched = larger;
    }
    if (!index_add(watched))
        return false;
    watcher->watched[watcher->watched_count++] = watched;
    return true;
}

static int add_target(void *context, const struct conf_watch *conf, const char *text, unsigned line,
                      bool discover)
{
    struct watcher *watcher = context;
    (void)line;

    if (discover)
        return 0;
    struct watched *watched = watched_new(watcher, text);
    if (watched == NULL)
        return -1;
    struct watched *known = watcher_lookup(watcher, conf->name, watched->text);
    if (known != NULL) { /* of before, or written twice */
        known->conf = conf;
        known->gone = false;
        watched_free(watched);
        return 0;
    }
    watched->conf = conf;
    if (keep(watcher, watched))
        return 0;
    watched_free(watched);
    return -1;
}

static bool is_gone(const void *context)
{
    const struct watched *watched = context;

    return watched->gone;
}

/* A target may have moved to another section. */
static void drop_gone(struct watcher *watcher)
{
    size_t kept = 0;

    prober_client_forget_gone(watcher->prober, on_answer, is_gone);
    for (size_t i = 0; i < watcher->watched_count; i++) {
        struct watched *watched = watcher->watched[i];
        if (!watched->gone) {
            watcher->watched[kept++] = watched;
            continue;
        }
        index_remove(watched);
        if (watcher->host.forgotten != NULL && watcher_find(watcher, watched->text) == NULL)
            watcher->host.forgotten(watcher->host.context, watched->text);
        watched_free(watched);
    }
    watcher->watched_count = kept;
}

static struct prober_limits limits_of(const struct conf *conf)
{
    return (struct prober_limits){.connections = conf->watch_connections,
                                  .per_host = conf->watch_per_host};
}

/* Who has no time yet gets its first. */
static void schedule_all(struct watcher *watcher)
{
    int64_t now = time(NULL);

    for (size_t i = 0; i < watcher->watched_count; i++) {
        struct watched *watched = watcher->watched[i];
        uint64_t since = watched->checked_at == 0 || watched->checked_at > now
                             ? UINT64_MAX
                             : (uint64_t)(now - watched->checked_at) * 1000;
        uint64_t left =
            watched->next_check <= now ? 0 : (uint64_t)(watched->next_check - now) * 1000;
        if (under_way(watched))
            continue;
        /* Also where a reload made the interval shorter. */
        if (watched->next_check == 0 || left > watched->conf->interval)
            watched_set_next(
                watched, schedule_first(watched->conf->interval, since, i, watcher->watched_count));
    }
}

bool watcher_reload(struct watcher *watcher, const struct conf *conf)
{
    struct prober_limits limits = limits_of(conf);

    for (size_t i = 0; i < watcher->watched_count; i++)
        watcher->watched[i]->gone = true;
    watcher->conf = conf;
    bool whole = conf_each_target(conf, add_target, watcher) == 0;
    drop_gone(watcher);
    prober_client_limit(watcher->prober, &limits);
    watcher_files_reload(watcher);
    schedule_all(watcher);
    return discover_reload(watcher) && whole;
}

static int restore(void *context, const struct store_latest *latest)
{
    struct watcher *watcher = context;
    struct watched *watched = watcher_lookup(watcher, latest->watch, latest->target);

    if (watched != NULL)
        watched_restore(watched, latest);
    else
        discover_restore(watcher, latest);
    return 0;
}

static int restore_leaf(void *context, const struct store_sighting *sighting)
{
    struct watched *watched = watcher_lookup(context, sighting->watch, sighting->target);

    if (watched != NULL)
        watched_restore_leaf(watched, sighting);
    return 0;
}

static void on_prober_event(void *context, const char *text)
{
    watcher_event(context, EVENT_WARNING, "watch: %s", text);
}

static pid_t start_prober(void *context, int fd)
{
    struct watcher *watcher = context;

    return watcher->host.start(watcher->host.context, fd);
}

static int watcher_init(struct watcher *watcher, const struct conf *conf, struct error *error)
{
    const struct prober_client_host prober = {.context = watcher,
                                              .start = start_prober,
                                              .event = on_prober_event,
                                              .keep = fetched_keep,
                                              .drop = fetched_drop,
                                              .recall = fetched_recall};
    struct prober_limits limits = limits_of(conf);
    struct error ignored = {0};

    index_init(watcher);
    map_init(&watcher->supplied);
    timer_init(&watcher->store_turn, on_store_turn, watcher);
    timer_init(&watcher->retention, on_retention, watcher);
    ignore(getrandom(&watcher->random, sizeof watcher->random, 0));
    int result = prober_client_new(&watcher->prober, watcher->loop, &prober, &limits, error);
    if (result < 0)
        return result;
    watcher->conf = conf;
    if (conf_each_target(conf, add_target, watcher) != 0 || !discover_reload(watcher))
        return error_set(error, ERROR_MEMORY, "out of memory");
    /* What cannot be read is told of by the store's health. */
    if (store_each_latest(watcher->store, NULL, restore, watcher, &ignored) == 0)
        ignore(store_each_recent(watcher->store, (int64_t)time(NULL) - RECENT_S, restore_leaf,
                                 watcher, &ignored));
    schedule_all(watcher);
    loop_after_batch(watcher->loop, on_batch_end, watcher);
    timer_set(watcher->loop, &watcher->retention, loop_now(watcher->loop) + 60 * NS_PER_S);
    return 0;
}

int watcher_new(struct watcher **ret_watcher, struct loop *loop, const struct conf *conf,
                struct store *store, const struct watcher_host *host, struct error *error)
{
    struct watcher *watcher = calloc(1, sizeof *watcher);

    if (watcher == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    watcher->loop = loop;
    watcher->store = store;
    watcher->host = *host;
    int result = watcher_init(watcher, conf, error);
    if (result < 0)
        watcher_free(watcher);
    else
        *ret_watcher = watcher;
    return result;
}

void watcher_free(struct watcher *watcher)
{
    if (watcher == NULL)
        return;
    for (size_t i = 0; i < watcher->watched_count; i++)
        watched_free(watcher->watched[i]);
    discover_fini(watcher);
    timer_cancel(watcher->loop, &watcher->store_turn);
    timer_cancel(watcher->loop, &watcher->retention);
    prober_client_free(watcher->prober);
    index_fini(watcher);
    watcher_files_fini(watcher);
    free(watcher->watched);
    free(watcher);
}

/* ---- looking ---- */

static void describe_target(const struct watched *watched, struct watcher_place *ret_place)
{
    *ret_place = (struct watcher_place){
        .watch = watched->conf->name,
        .target = watched->text,
        .address = "",
        .name = "",
        .key_type = "",
        .vantage = "",
        .verdict = "pending",
        .text = watched->refused == NULL ? "" : watched->refused,
        .next = "",
        .owner = watched->conf->owner == NULL ? "" : watched->conf->owner,
        .service = watched->conf->service == NULL ? "" : watched->conf->service,
        .critical = watched->conf->critical,
        .next_check = watched->next_check,
    };
}

static void describe_place(const struct watched *watched, const struct place *place,
                           struct watcher_place *ret_place)
{
    describe_target(watched, ret_place);
    ret_place->address = place->address;
    ret_place->name = place->name;
    ret_place->key_type = place->key_type;
    ret_place->vantage = place->vantage;
    ret_place->verdict = place->severity == SEVERITY_INFO ? "ok" : severity_name(place->severity);
    ret_place->text = place->text;
    ret_place->next = place->next;
    ret_place->not_after = place->not_after;
    ret_place->breaks_at = place->breaks_at;
    ret_place->checked_at = place->checked_at;
    ret_place->changed_at = place->changed_at;
    ret_place->in_turn = place->in_turn;
    memcpy(ret_place->sha256, place->sha256, sizeof ret_place->sha256);
}

static void describe_discovered(const struct discovered *found, struct watcher_place *ret_place)
{
    *ret_place = (struct watcher_place){
        .watch = found->watch,
        .target = found->target,
        .address = found->address,
        .name = found->name,
        .key_type = "",
        .vantage = "",
        .verdict = found->severity == SEVERITY_INFO ? "ok" : severity_name(found->severity),
        .text = "nobody watches it",
        .next = "Add it to the targets of a watch, or end the service.",
        .owner = "",
        .service = "",
        .not_after = found->not_after,
        .checked_at = found->checked_at,
        .changed_at = found->first_seen,
        .discovered = true,
    };
    memcpy(ret_place->sha256, found->sha256, sizeof ret_place->sha256);
}

bool watcher_next(const struct watcher *watcher, struct watcher_cursor *cursor,
                  struct watcher_place *ret_place)
{
    while (cursor->target < watcher->watched_count) {
        const struct watched *watched = watcher->watched[cursor->target];
        if (watched->place_count == 0 && cursor->place++ == 0) {
            describe_target(watched, ret_place);
            return true;
        }
        if (cursor->place < watched->place_count) {
            describe_place(watched, &watched->places[cursor->place++], ret_place);
            return true;
        }
        cursor->target++;
        cursor->place = 0;
    }
    size_t at = cursor->target - watcher->watched_count;
    if (at >= watcher->discovered_count)
        return false;
    cursor->target++;
    describe_discovered(&watcher->discovered[at], ret_place);
    return true;
}

void watcher_state(const struct watcher *watcher, struct watcher_state *ret_state)
{
    struct watcher_state state = {.targets = watcher->watched_count,
                                  .discovered = watcher->discovered_count,
                                  .checks = watcher->checks};

    for (size_t i = 0; i < watcher->watched_count; i++) {
        const struct watched *watched = watcher->watched[i];
        state.pending += watched->place_count == 0;
        state.endpoints += watched->place_count;
        for (size_t j = 0; j < watched->place_count; j++) {
            enum severity severity = watched->places[j].severity;
            state.ok += severity == SEVERITY_INFO;
            state.warning += severity == SEVERITY_WARNING;
            state.critical += severity == SEVERITY_CRITICAL;
            state.unknown += severity == SEVERITY_UNKNOWN;
        }
    }
    prober_client_state(watcher->prober, &state.prober);
    store_health(watcher->store, &state.store);
    *ret_state = state;
}

struct store *watcher_store(const struct watcher *watcher)
{
    return watcher->store;
}

/* ---- commands ---- */

size_t watcher_check(struct watcher *watcher, const char *what, watcher_done_fn *done,
                     void *context)
{
    size_t count = 0;

    for (size_t i = 0; i < watcher->watched_count; i++) {
        struct watched *watched = watcher->watched[i];
        if (what[0] != '\0' && strcmp(watched->text, what) != 0 &&
            strcmp(watched->conf->name, what) != 0)
            continue;
        struct waiter *waiter = calloc(1, sizeof *waiter);
        if (waiter == NULL)
            break;
        *waiter = (struct waiter){.next = watched->waiters, .done = done, .context = context};
        watched->waiters = waiter;
        if (!under_way(watched))
            timer_set(watcher->loop, &watched->timer, loop_now(watcher->loop));
        count++;
    }
    return count;
}

bool watcher_probe(struct watcher *watcher, json_t *request, prober_answer_fn *answer,
                   void *context)
{
    return prober_client_ask(watcher->prober, request, answer, context);
}

void watcher_forget(struct watcher *watcher, const void *context)
{
    prober_client_forget(watcher->prober, context);
    for (size_t i = 0; i < watcher->watched_count; i++) {
        for (struct waiter *it = watcher->watched[i]->waiters; it != NULL; it = it->next) {
            if (it->context == context)
                it->done = NULL;
        }
    }
}
