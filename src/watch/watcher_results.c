/* An answer, endpoint by endpoint: what is new there, what comes and goes. */
#include "watch/watcher_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/string.h"
#include "watch/difference.h"
#include "watch/report_words.h"

#define KEY_MAX 1024

const json_t *endpoint_leaf(const json_t *endpoint)
{
    return json_array_get(json_object_get(endpoint, "certificates"), 0);
}

/* ---- places ---- */

static char *place_key(char key[KEY_MAX], const char *address, const char *name, bool sni,
                       const char *key_type, const char *vantage)
{
    ignore(snprintf(key, KEY_MAX, "%s|%s|%d|%s|%s", address, name, sni, key_type, vantage));
    return key;
}

static char *endpoint_key(char key[KEY_MAX], const json_t *endpoint)
{
    return place_key(key, json_text(endpoint, "address"), json_text(endpoint, "name"),
                     json_is_true(json_object_get(endpoint, "sni")),
                     json_text(endpoint, "key_type"), json_text(endpoint, "vantage"));
}

static void place_fini(struct place *place)
{
    free(place->key);
    free(place->address);
    free(place->name);
    free(place->key_type);
    free(place->vantage);
    free(place->text);
    free(place->next);
}

static struct place *find_place(struct watched *watched, const char *key)
{
    for (size_t i = 0; i < watched->place_count; i++) {
        if (strcmp(watched->places[i].key, key) == 0)
            return &watched->places[i];
    }
    return NULL;
}

/* NULL: out of memory. */
static struct place *make_place(struct watched *watched, const char *key, const json_t *endpoint)
{
    struct place *larger =
        reallocarray(watched->places, watched->place_count + 1, sizeof *watched->places);

    if (larger == NULL)
        return NULL;
    watched->places = larger;
    struct place *place = &larger[watched->place_count];
    *place = (struct place){.key = strdup(key),
                            .address = strdup(json_text(endpoint, "address")),
                            .name = strdup(json_text(endpoint, "name")),
                            .key_type = strdup(json_text(endpoint, "key_type")),
                            .vantage = strdup(json_text(endpoint, "vantage")),
                            .text = strdup(""),
                            .next = strdup("")};
    if (place->key == NULL || place->address == NULL || place->name == NULL ||
        place->key_type == NULL || place->vantage == NULL || place->text == NULL ||
        place->next == NULL) {
        place_fini(place);
        return NULL;
    }
    watched->place_count++;
    index_add_address(watched->watcher, place->address);
    return place;
}

/* ---- leaves ---- */

static struct leaf *find_leaf(struct place *place, const char *sha256)
{
    for (size_t i = 0; i < place->leaf_count; i++) {
        if (strcmp(place->leaves[i].sha256, sha256) == 0)
            return &place->leaves[i];
    }
    return NULL;
}

/* In the place of the one not seen for longest. */
static struct leaf *make_leaf(struct place *place, const char *sha256)
{
    struct leaf *leaf = &place->leaves[0];

    if (place->leaf_count < RECENT_LEAVES) {
        leaf = &place->leaves[place->leaf_count++];
    } else {
        for (size_t i = 1; i < RECENT_LEAVES; i++) {
            if (place->leaves[i].seen < leaf->seen)
                leaf = &place->leaves[i];
        }
    }
    *leaf = (struct leaf){.seen = 0};
    ignore(string_copy(leaf->sha256, sizeof leaf->sha256, sha256));
    return leaf;
}

static void forget_old_leaves(struct place *place, int64_t before)
{
    size_t kept = 0;

    for (size_t i = 0; i < place->leaf_count; i++) {
        if (place->leaves[i].seen >= before)
            place->leaves[kept++] = place->leaves[i];
    }
    place->leaf_count = kept;
    if (kept < 2)
        place->in_turn = false;
}

enum leaf_news { LEAF_SAME, LEAF_OTHER, LEAF_TURNS, LEAF_IN_TURN };

/* A certificate that comes back after another one is served in turn with it: that is one finding,
 * told once, however often they change. */
static enum leaf_news note_leaf(struct watched *watched, struct place *place,
                                const json_t *endpoint, int64_t now)
{
    const char *sha256 = json_text(endpoint_leaf(endpoint), "sha256");
    int64_t patience = (int64_t)(watched->conf->interval / 1000) * 20;
    enum leaf_news news = LEAF_SAME;

    if (sha256[0] == '\0')
        return LEAF_SAME;
    struct leaf *leaf = find_leaf(place, sha256);
    bool known = leaf != NULL;
    bool other = place->sha256[0] != '\0' && strcmp(place->sha256, sha256) != 0;
    if (leaf == NULL)
        leaf = make_leaf(place, sha256);
    if (other)
        news = place->in_turn ? LEAF_IN_TURN : known ? LEAF_TURNS : LEAF_OTHER;
    place->in_turn |= news == LEAF_TURNS;
    leaf->seen = now;
    leaf->severity = severity_read(json_text(endpoint, "verdict"));
    ignore(string_copy(place->sha256, sizeof place->sha256, sha256));
    /* One of a pair is seen at every second check or so: absent for long it is gone. */
    forget_old_leaves(place, now - (place->in_turn && patience < RECENT_S ? patience : RECENT_S));
    return news;
}

/* ---- telling ---- */

static const char *where(const struct watched *watched, const struct place *place, char text[300])
{
    if (place->address[0] == '\0')
        ignore(snprintf(text, 300, "%s", watched->text));
    else
        ignore(snprintf(text, 300, "%s at %s (%s%s%s)", watched->text, place->address,
                        place->key_type, place->vantage[0] == '\0' ? "" : ", ", place->vantage));
    return text;
}

struct search {
    const char *key;
    json_t *endpoint;
};

static int find_before(void *context, const struct store_latest *latest)
{
    struct search *search = context;
    char key[KEY_MAX];

    if (strcmp(endpoint_key(key, latest->endpoint), search->key) != 0)
        return 0;
    search->endpoint = json_deep_copy(latest->endpoint);
    return 1;
}

/* "; names-lost: 2 names lost: …" of the gravest difference, from what is remembered. */
static void describe_difference(struct watched *watched, const struct place *place,
                                const json_t *endpoint, char text[256])
{
    struct search search = {.key = place->key};
    struct error ignored = {0};

    text[0] = '\0';
    if (store_each_latest(watched->watcher->store, watched->text, find_before, &search, &ignored) !=
        1)
        return;
    json_t *list = difference_of(search.endpoint, endpoint);
    size_t used = 0;
    for (size_t i = 0; i < json_array_size(list) && used < 200; i++)
        used += (size_t)snprintf(text + used, 256 - used, "; %s",
                                 json_text(json_array_get(list, i), "text"));
    json_decref(list);
    json_decref(search.endpoint);
}

static void tell_of_leaf(struct watched *watched, const struct place *place, enum leaf_news news,
                         const json_t *endpoint)
{
    char at[300], difference[256];

    switch (news) {
    case LEAF_SAME:
    case LEAF_IN_TURN:
        break;
    case LEAF_OTHER:
        describe_difference(watched, place, endpoint, difference);
        watcher_event(watched->watcher, EVENT_WATCH_CERTIFICATE,
                      "%s: another certificate, until %.10s%s", where(watched, place, at),
                      json_text(endpoint_leaf(endpoint), "not_after"), difference);
        break;
    case LEAF_TURNS:
        watcher_event(watched->watcher, EVENT_WATCH_IN_TURN,
                      "%s: %zu certificates are served in turn", where(watched, place, at),
                      place->leaf_count);
        break;
    }
}

static void replace_text(char **text, const char *by)
{
    char *copy = strdup(by);

    if (copy == NULL)
        return;
    free(*text);
    *text = copy;
}

/* What is known of a place from one result. */
static void fill_place(struct place *place, const json_t *endpoint)
{
    const json_t *finding = report_worst_finding(endpoint);

    place->severity = severity_read(json_text(endpoint, "verdict"));
    place->not_after = json_get_time(endpoint_leaf(endpoint), "not_after");
    place->breaks_at = json_get_time(endpoint, "breaks_at");
    replace_text(&place->text,
                 finding != NULL ? json_text(finding, "text") : json_text(endpoint, "reason"));
    replace_text(&place->next, finding != NULL ? json_text(finding, "next") : "");
}

/* True: another verdict or certificate. */
static bool take_endpoint(struct watched *watched, struct place *place, json_t *endpoint,
                          int64_t now)
{
    bool first = place->checked_at == 0;
    enum severity before = place->severity;
    enum leaf_news news = note_leaf(watched, place, endpoint, now);
    char at[300];

    if (place->in_turn)
        compare_in_turn(place, endpoint);
    fill_place(place, endpoint);
    place->checked_at = now;
    place->absent = 0;
    place->seen = true;
    tell_of_leaf(watched, place, news, endpoint);
    bool verdict = first ? place->severity != SEVERITY_INFO : place->severity != before;
    if (verdict)
        watcher_event(watched->watcher, EVENT_WATCH_VERDICT, "%s: %s%s%s%s%s",
                      where(watched, place, at),
                      first                     ? ""
                      : before == SEVERITY_INFO ? "ok"
                                                : severity_name(before),
                      first ? "" : " -> ",
                      place->severity == SEVERITY_INFO ? "ok" : severity_name(place->severity),
                      place->text[0] == '\0' ? "" : ": ", place->text);
    if (first || verdict || news == LEAF_OTHER)
        place->changed_at = now;
    return !first && (verdict || news == LEAF_OTHER);
}

static void drop_place(struct watched *watched, struct place *place)
{
    index_remove_address(watched->watcher, place->address);
    place_fini(place);
}

void watched_drop_places(struct watched *watched)
{
    for (size_t i = 0; i < watched->place_count; i++)
        drop_place(watched, &watched->places[i]);
    free(watched->places);
    watched->places = NULL;
    watched->place_count = 0;
}

static void drop_absent(struct watched *watched)
{
    size_t kept = 0;

    for (size_t i = 0; i < watched->place_count; i++) {
        struct place *place = &watched->places[i];
        place->absent += !place->seen;
        place->seen = false;
        /* One without an address stood for what could not be found out. */
        if (place->absent >= (place->address[0] == '\0' ? 1 : ABSENT_MAX)) {
            drop_place(watched, place);
            continue;
        }
        if (kept != i)
            watched->places[kept] = *place;
        kept++;
    }
    watched->place_count = kept;
}

bool watched_take(struct watched *watched)
{
    struct watcher *watcher = watched->watcher;
    int64_t now = time(NULL);
    bool changed = false, answered = false;

    if (watched->conf->origin.count != 0)
        compare_with_origin(watched->answers);
    for (size_t i = 0; i < json_array_size(watched->answers); i++) {
        json_t *endpoint = json_array_get(watched->answers, i);
        char key[KEY_MAX];
        if (watched->conf->file != NULL)
            compare_with_file(watched, endpoint);
        endpoint_key(key, endpoint);
        struct place *place = find_place(watched, key);
        if (place == NULL)
            place = make_place(watched, key, endpoint);
        if (place == NULL)
            continue;
        answered |= place->address[0] != '\0';
        changed |= take_endpoint(watched, place, endpoint, now);
        store_result(watcher->store, watched->conf->name, watched->text, endpoint);
    }
    watched->checked_at = now;
    if (answered)
        drop_absent(watched);
    if (watcher->host.checked != NULL)
        watcher->host.checked(watcher->host.context, watched->conf, watched->text,
                              watched->answers);
    return changed;
}

/* ---- what an earlier process saw ---- */

void watched_restore(struct watched *watched, const struct store_latest *latest)
{
    char key[KEY_MAX];
    struct place *place;

    endpoint_key(key, latest->endpoint);
    if (latest->checked_at + RECENT_S < (int64_t)time(NULL) || find_place(watched, key) != NULL ||
        (place = make_place(watched, key, latest->endpoint)) == NULL)
        return;
    fill_place(place, latest->endpoint);
    place->checked_at = latest->checked_at;
    place->changed_at = latest->changed_at;
    ignore(string_copy(place->sha256, sizeof place->sha256,
                       json_text(endpoint_leaf(latest->endpoint), "sha256")));
    if (latest->checked_at > watched->checked_at)
        watched->checked_at = latest->checked_at;
}

void watched_restore_leaf(struct watched *watched, const struct store_sighting *sighting)
{
    char key[KEY_MAX];
    struct place *place =
        find_place(watched, place_key(key, sighting->address, sighting->name, sighting->sni,
                                      sighting->key_type, sighting->vantage));

    if (place == NULL || sighting->last_seen + RECENT_S < (int64_t)time(NULL))
        return;
    struct leaf *leaf = make_leaf(place, sighting->sha256);
    leaf->seen = sighting->last_seen;
    leaf->severity = place->severity;
    place->in_turn |= place->leaf_count > 1 && sighting->arrivals > 1;
}
