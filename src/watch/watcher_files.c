/* Files that a check needs are opened by the supervisor, one after the other, each time: so what is
 * judged by is what lies there when the check begins. What the process that probes has been told is
 * told again only when the file is another one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/string.h"
#include "watch/supply.h"
#include "watch/watcher_internal.h"

#define PUT_OFF_MS  100
#define PUT_OFF_MAX 20
#define PATIENCE_NS (10 * NS_PER_S) /* for the answer of the supervisor, which may be lost */
/* Of `discover`: a zone of this size keeps control busy for a second, and its hosts are many. */
#define DISCOVER_FILE_MAX (8u << 20)

/* What the process that probes was told of a file. */
struct supplied_file {
    struct file_identity identity;
    bool readable;
    bool wanted; /* while a reload is under way: by the new configuration */
    char trouble[160];
};

static uint32_t new_request(struct watcher *watcher)
{
    watcher->last_request = (watcher->last_request + 1) % WATCHER_REQUEST_BIT;
    return watcher->last_request | WATCHER_REQUEST_BIT;
}

bool watcher_open(struct watcher *watcher, uint32_t *ret_request, const char *path)
{
    *ret_request = new_request(watcher);
    return watcher->host.open(watcher->host.context, *ret_request, path);
}

static void forget_request(struct watched *watched)
{
    timer_cancel(watched->watcher->loop, &watched->timer);
    ignore(index_take_request(watched->watcher, watched->file_request) != NULL);
    watched->file_request = 0;
}

/* The answer may come before this has returned. */
static bool open_file(struct watched *watched, const char *path)
{
    struct watcher *watcher = watched->watcher;
    uint64_t patience = watcher->host.patience_ns != 0 ? watcher->host.patience_ns : PATIENCE_NS;
    uint32_t request = new_request(watcher);

    watched->file_request = request;
    if (!index_add_request(watched))
        return false;
    timer_set(watcher->loop, &watched->timer, loop_now(watcher->loop) + patience);
    if (watcher->host.open(watcher->host.context, request, path))
        return true;
    forget_request(watched);
    return false;
}

/* ---- one after the other ---- */

enum { STEP_FILE, STEP_TARGET, STEP_SUPPLIES };

static bool supply_of(const struct watched *watched, size_t step, enum supply_kind *ret_kind,
                      const char **ret_path)
{
    if (step != STEP_TARGET)
        return supply_at(watched->conf, step - STEP_SUPPLIES, ret_kind, ret_path);
    *ret_kind = SUPPLY_TARGET;
    *ret_path = conf_target_path(watched->text);
    return *ret_path != NULL;
}

static const char *path_of(const struct watched *watched, size_t step)
{
    enum supply_kind kind;
    const char *path = NULL;

    if (step == STEP_FILE)
        return watched->conf->file;
    return supply_of(watched, step, &kind, &path) ? path : NULL;
}

/* The supervisor has too many questions before it just now; that says nothing about the file. */
static void put_off(struct watched *watched)
{
    watched->put_off++;
    watched->file_request = 0;
    json_decref(watched->answers);
    watched->answers = NULL;
    watched_set_next(watched, PUT_OFF_MS + watcher_chance(watched->watcher) % PUT_OFF_MS);
}

/* Nobody can be asked: what was told last has to do. */
static void ask_without(struct watched *watched)
{
    if (watched->file_step == STEP_FILE)
        ignore(string_copy(watched->disk_trouble, sizeof watched->disk_trouble,
                           "the supervisor could not be asked to open it"));
    watched->put_off = 0;
    watched_ask(watched);
}

static void go_on(struct watched *watched)
{
    const char *path = path_of(watched, watched->file_step);

    while (path == NULL && watched->file_step < STEP_SUPPLIES)
        path = path_of(watched, ++watched->file_step);
    if (path == NULL) {
        watched->put_off = 0;
        watched_ask(watched);
    } else if (watched->put_off == PUT_OFF_MAX) {
        ask_without(watched);
    } else if (!open_file(watched, path)) {
        put_off(watched);
    }
}

void watched_open_files(struct watched *watched)
{
    watched->disk_known = false;
    watched->file_step = STEP_FILE;
    go_on(watched);
}

void watched_unanswered(struct watched *watched)
{
    forget_request(watched);
    put_off(watched);
}

/* ---- `file` ---- */

static void take_disk(struct watched *watched, const char *text, size_t size, const char *error)
{
    struct error reason = {0};

    watched->disk_known =
        text != NULL && certificate_on_disk(&watched->disk, text, size, &reason) == 0;
    if (!watched->disk_known)
        ignore(string_copy(watched->disk_trouble, sizeof watched->disk_trouble,
                           text != NULL ? "it holds no certificate in PEM" : error));
}

/* ---- what the process that probes is told ---- */

static struct supplied_file *supplied_of(struct watcher *watcher, const char *key)
{
    struct supplied_file *file = map_get(&watcher->supplied, key);

    if (file != NULL)
        return file;
    file = calloc(1, sizeof *file);
    if (file != NULL && !map_put(&watcher->supplied, key, file)) {
        free(file);
        file = NULL;
    }
    return file;
}

static void supply_trouble(struct watcher *watcher, struct supplied_file *file, const char *key,
                           const char *trouble)
{
    if (!file->readable && strcmp(file->trouble, trouble) == 0)
        return;
    file->readable = false;
    ignore(string_copy(file->trouble, sizeof file->trouble, trouble));
    if (!prober_client_supply(watcher->prober, key, NULL, 0, trouble))
        file->trouble[0] = '\0'; /* tried again at the next check */
}

/* Nothing but the certificates: a key may stand beside them, and whoever talks to strangers holds
 * none. */
static char *certificates_alone(const char *text, size_t size, size_t *ret_size,
                                struct error *error)
{
    const struct certificate_facts *list[CHAIN_SERVED_MAX];
    size_t count = 0;
    char *pem = NULL;

    if (certificate_facts_parse(list, ARRAY_SIZE(list), &count, text, size, error) == 0 &&
        (pem = certificate_facts_to_pem(list, count, ret_size)) == NULL)
        ignore(error_set(error, ERROR_MEMORY, "out of memory"));
    while (count > 0)
        certificate_facts_unref(list[--count]);
    return pem;
}

static char *read_supply(int fd, enum supply_kind kind, size_t *ret_size, struct error *error)
{
    __attribute__((cleanup(buffer_auto))) struct buffer content;
    bool target = kind == SUPPLY_TARGET;

    if (target)
        buffer_init_secret(&content, supply_size_max(kind));
    else
        buffer_init(&content, supply_size_max(kind));
    if (file_read(&content, fd, "it", error) != 0)
        return NULL;
    if (target)
        return certificates_alone(buffer_text(&content), content.size, ret_size, error);
    char *text = buffer_steal(&content, ret_size);
    if (text == NULL)
        ignore(error_set(error, ERROR_MEMORY, "out of memory"));
    return text;
}

static void take_content(struct watcher *watcher, struct supplied_file *file, const char *key,
                         enum supply_kind kind, int fd)
{
    struct error error = {0};
    size_t size = 0;
    char *text = read_supply(fd, kind, &size, &error);

    if (text == NULL)
        supply_trouble(watcher, file, key, error.message);
    else
        file->readable = prober_client_supply(watcher->prober, key, (uint8_t *)text, size, NULL);
}

static void take_supply(struct watched *watched, int fd, const char *error)
{
    struct watcher *watcher = watched->watcher;
    char key[SUPPLY_KEY_MAX];
    enum supply_kind kind;
    const char *path;
    struct stat facts;

    if (!supply_of(watched, watched->file_step, &kind, &path))
        return;
    struct supplied_file *file = supplied_of(watcher, supply_key(key, kind, path));
    if (file == NULL)
        return;
    if (fd < 0 || fstat(fd, &facts) != 0) {
        supply_trouble(watcher, file, key, error);
        return;
    }
    struct file_identity identity = file_identity(&facts);
    if (!file->readable || !file_identity_same(&identity, &file->identity))
        take_content(watcher, file, key, kind, fd);
    file->identity = identity;
}

/* ---- opened ---- */

static void take_text(struct watcher *watcher, struct watched *watched, uint32_t request, int fd,
                      const char *trouble)
{
    struct error error = {0};
    struct buffer text;

    if (watched != NULL)
        buffer_init_secret(&text, KEYPAIR_PEM_MAX); /* it may hold the key, too */
    else
        buffer_init(&text, DISCOVER_FILE_MAX);
    bool read = fd >= 0 && file_read(&text, fd, "it", &error) == 0;
    const char *content = read ? buffer_text(&text) : NULL;
    const char *reason = fd >= 0 ? error.message : trouble;
    if (watched != NULL)
        take_disk(watched, content, text.size, reason);
    else
        discover_opened(watcher, request, content, text.size, reason);
    buffer_fini(&text);
}

void watcher_opened(struct watcher *watcher, uint32_t request, int fd, int result)
{
    struct watched *watched = index_take_request(watcher, request);
    const char *error = strerror(result < 0 ? -result : EIO);

    if (watched != NULL)
        forget_request(watched);
    if (watched != NULL && watched->file_step != STEP_FILE)
        take_supply(watched, fd, error);
    else
        take_text(watcher, watched, request, fd, error);
    if (fd >= 0)
        ignore(close(fd));
    if (watched == NULL)
        return;
    watched->file_step++;
    go_on(watched);
}

/* ---- reload, end ---- */

static void mark_one(const struct watcher *watcher, enum supply_kind kind, const char *path)
{
    char key[SUPPLY_KEY_MAX];
    struct supplied_file *file = map_get(&watcher->supplied, supply_key(key, kind, path));

    if (file != NULL)
        file->wanted = true;
}

static void mark_wanted(const struct watcher *watcher)
{
    enum supply_kind kind;
    const char *path;

    for (size_t i = 0; i < watcher->conf->watch_count; i++) {
        for (size_t j = 0; supply_at(&watcher->conf->watches[i], j, &kind, &path); j++)
            mark_one(watcher, kind, path);
    }
    for (size_t i = 0; i < watcher->watched_count; i++) {
        path = conf_target_path(watcher->watched[i]->text);
        if (path != NULL)
            mark_one(watcher, SUPPLY_TARGET, path);
    }
}

static bool forget_unwanted(struct watcher *watcher)
{
    const struct map_entry *entry;
    char key[SUPPLY_KEY_MAX];

    for (size_t at = 0; (entry = map_next(&watcher->supplied, &at)) != NULL;) {
        if (((struct supplied_file *)entry->value)->wanted)
            continue;
        ignore(string_copy(key, sizeof key, entry->key));
        prober_client_withdraw(watcher->prober, key);
        free(map_remove(&watcher->supplied, key));
        return true;
    }
    return false;
}

void watcher_files_reload(struct watcher *watcher)
{
    const struct map_entry *entry;

    for (size_t at = 0; (entry = map_next(&watcher->supplied, &at)) != NULL;)
        ((struct supplied_file *)entry->value)->wanted = false;
    mark_wanted(watcher);
    while (forget_unwanted(watcher))
        ;
    /* An answer under way would be taken for that of another file. */
    for (size_t i = 0; i < watcher->watched_count; i++) {
        struct watched *watched = watcher->watched[i];
        if (watched->file_request == 0)
            continue;
        forget_request(watched);
        watched_open_files(watched);
    }
}

void watcher_files_fini(struct watcher *watcher)
{
    const struct map_entry *entry;

    for (size_t at = 0; (entry = map_next(&watcher->supplied, &at)) != NULL;)
        free(entry->value);
    map_fini(&watcher->supplied);
}
