#include "watcher_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "scripted_prober.h"

struct watcher_world world;

int world_set_up(void **state)
{
    (void)state;
    strcpy(world.folder, "/tmp/holdfast-watch-XXXXXX");
    return mkdtemp(world.folder) == NULL ? -1 : 0;
}

static int remove_one(const char *name, const struct stat *status, int kind, struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(name);
}

int world_tear_down(void **state)
{
    (void)state;
    return nftw(world.folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void on_event(void *context, enum event_type type, const char *text)
{
    size_t used = strlen(world.events);
    (void)context;

    snprintf(world.events + used, sizeof world.events - used, "%s %s\n", event_name(type), text);
}

static bool on_open(void *context, uint32_t request, const char *path)
{
    (void)context;
    if (world.busy > 0) {
        world.busy--;
        return false;
    }
    if (world.lost > 0) {
        world.lost--;
        return true;
    }
    /* The real answer comes through the loop; the watch must bear it at once, too. */
    int fd = world.file == NULL ? -1 : open(world.file, O_RDONLY);
    assert_string_equal(path, "/etc/x.pem");
    watcher_opened(world.watcher, request, fd, fd < 0 ? -2 : 0);
    return true;
}

static void on_forgotten(void *context, const char *target)
{
    size_t used = strlen(world.forgotten);
    (void)context;

    snprintf(world.forgotten + used, sizeof world.forgotten - used, "%s ", target);
}

static void on_limit(void *context)
{
    (void)context;
    fail_msg("nothing more happens; so far:\n%s", world.events);
}

struct conf *world_parse(const char *text)
{
    struct conf *conf = NULL;
    struct error error = {0};

    if (conf_parse(&conf, "t.conf", text, NULL, NULL, &error) != 0)
        fail_msg("%s", error.message);
    return conf;
}

void world_begin(const char *text)
{
    const struct watcher_host host = {.context = world.folder,
                                      .event = on_event,
                                      .open = on_open,
                                      .patience_ns = NS_PER_S / 1000,
                                      .forgotten = on_forgotten,
                                      .start = scripted_prober_start};
    struct error error = {0};
    char path[96];

    memset(world.events, 0, sizeof world.events);
    world.forgotten[0] = '\0';
    snprintf(path, sizeof path, "%s/watch.db", world.folder);
    world.loop = loop_new();
    world.conf = world_parse(text);
    assert_int_equal(store_open(&world.store, path, &error), 0);
    assert_int_equal(
        watcher_new(&world.watcher, world.loop, world.conf, world.store, &host, &error), 0);
    timer_init(&world.limit, on_limit, NULL);
}

void world_end(void)
{
    watcher_free(world.watcher);
    store_free(world.store);
    loop_free(world.loop);
    conf_free(world.conf);
    json_decref(world.last);
    world.last = NULL;
    world.file = NULL;
}

void world_on_done(void *context, const char *target, const json_t *endpoints, const char *error)
{
    (void)context, (void)target;
    json_decref(world.last);
    world.last = json_deep_copy(endpoints);
    snprintf(world.last_error, sizeof world.last_error, "%s", error == NULL ? "" : error);
    if (++world.done == world.wanted)
        loop_stop(world.loop, 0);
}

void world_check(const char *what)
{
    world.done = 0;
    world.wanted = (unsigned)watcher_check(world.watcher, what, world_on_done, &world);
    assert_true(world.wanted > 0);
    timer_set(world.loop, &world.limit, clock_monotonic_ns() + PATIENCE_NS);
    loop_run(world.loop);
    timer_cancel(world.loop, &world.limit);
}

struct watcher_place world_place_of(const char *target)
{
    struct watcher_cursor cursor = {0};
    struct watcher_place place;

    while (watcher_next(world.watcher, &cursor, &place)) {
        if (strcmp(place.target, target) == 0)
            return place;
    }
    fail_msg("%s is not listed", target);
    return place;
}

unsigned world_times(const char *text)
{
    unsigned count = 0;

    for (const char *at = world.events; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

bool world_found(const char *id)
{
    for (size_t i = 0; i < json_array_size(world.last); i++) {
        const json_t *findings = json_object_get(json_array_get(world.last, i), "findings");
        for (size_t j = 0; j < json_array_size(findings); j++) {
            if (strcmp(json_string_value(json_object_get(json_array_get(findings, j), "id")), id) ==
                0)
                return true;
        }
    }
    return false;
}

void world_reload(const char *text)
{
    struct conf *next = world_parse(text);

    world.forgotten[0] = '\0';
    assert_true(watcher_reload(world.watcher, next));
    conf_free(world.conf);
    world.conf = next;
}
