/* What is found by its name, so that ten thousand targets are not gone through for each. */
#include "watch/watcher_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "watch/target.h"

#define KEY_MAX (TARGET_TEXT_MAX + CONF_NAME_MAX + 2)

void index_init(struct watcher *watcher)
{
    map_init(&watcher->by_key);
    map_init(&watcher->by_text);
    map_init(&watcher->by_address);
    map_init(&watcher->by_request);
    map_init(&watcher->by_discovery);
}

void index_fini(struct watcher *watcher)
{
    map_fini(&watcher->by_key);
    map_fini(&watcher->by_text);
    map_fini(&watcher->by_address);
    map_fini(&watcher->by_request);
    map_fini(&watcher->by_discovery);
}

/* ---- targets ---- */

static char *key_of(char key[KEY_MAX], const char *watch, const char *target)
{
    ignore(snprintf(key, KEY_MAX, "%s %s", watch, target));
    return key;
}

struct watched *watcher_lookup(const struct watcher *watcher, const char *watch, const char *target)
{
    char key[KEY_MAX];

    return map_get(&watcher->by_key, key_of(key, watch, target));
}

const struct conf_watch *watcher_find(const struct watcher *watcher, const char *target)
{
    const struct watched *watched = map_get(&watcher->by_text, target);

    return watched == NULL ? NULL : watched->conf;
}

bool index_add(struct watched *watched)
{
    struct watcher *watcher = watched->watcher;
    struct watched *first = map_get(&watcher->by_text, watched->text);
    char key[KEY_MAX];

    key_of(key, watched->conf->name, watched->text);
    if (!map_put(&watcher->by_key, key, watched))
        return false;
    if (first != NULL) {
        watched->twin = first->twin;
        first->twin = watched;
    } else if (!map_put(&watcher->by_text, watched->text, watched)) {
        ignore(map_remove(&watcher->by_key, key) != NULL);
        return false;
    }
    return true;
}

static void leave_twins(struct watched *watched)
{
    struct watcher *watcher = watched->watcher;
    struct watched *before = map_get(&watcher->by_text, watched->text);

    if (before != watched) {
        while (before->twin != watched)
            before = before->twin;
        before->twin = watched->twin;
    } else if (watched->twin == NULL) {
        ignore(map_remove(&watcher->by_text, watched->text) != NULL);
    } else { /* never out of memory: the key is there */
        ignore(map_put(&watcher->by_text, watched->text, watched->twin));
    }
    watched->twin = NULL;
}

void index_remove(struct watched *watched)
{
    char key[KEY_MAX];

    key_of(key, watched->conf->name, watched->text);
    ignore(map_remove(&watched->watcher->by_key, key) != NULL);
    leave_twins(watched);
    if (watched->file_request != 0)
        ignore(index_take_request(watched->watcher, watched->file_request) != NULL);
}

/* ---- addresses ---- */

bool index_is_watched(const struct watcher *watcher, const char *target, const char *address)
{
    return map_get(&watcher->by_text, target) != NULL ||
           map_get(&watcher->by_address, address) != NULL;
}

static void count_address(struct watcher *watcher, const char *address, uintptr_t count)
{
    if (count == 0)
        ignore(map_remove(&watcher->by_address, address) != NULL);
    else /* out of memory: it may be told of as one that nobody watches */
        ignore(map_put(&watcher->by_address, address, (void *)count));
}

void index_add_address(struct watcher *watcher, const char *address)
{
    if (address[0] != '\0')
        count_address(watcher, address, (uintptr_t)map_get(&watcher->by_address, address) + 1);
}

void index_remove_address(struct watcher *watcher, const char *address)
{
    uintptr_t count = (uintptr_t)map_get(&watcher->by_address, address);

    if (count != 0)
        count_address(watcher, address, count - 1);
}

/* ---- files to be opened ---- */

static char *number_of(char text[12], uint32_t request)
{
    ignore(snprintf(text, 12, "%u", request));
    return text;
}

bool index_add_request(struct watched *watched)
{
    char number[12];

    return map_put(&watched->watcher->by_request, number_of(number, watched->file_request),
                   watched);
}

struct watched *index_take_request(struct watcher *watcher, uint32_t request)
{
    char number[12];

    return map_remove(&watcher->by_request, number_of(number, request));
}
