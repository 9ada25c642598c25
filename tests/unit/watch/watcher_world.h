/* What the tests of the watch share: a watch over a process that answers from a script
 * (scripted_prober.h), in a folder of its own. */
#pragma once

#include "base/clock.h"
#include "watch/watcher.h"

#define PATIENCE_NS (60 * NS_PER_S)

#define W(options, targets) "watch w { interval = 1h " options " targets = {" targets "} }\n"

extern struct watcher_world {
    char folder[64]; /* of this test */
    struct loop *loop;
    struct store *store;
    struct watcher *watcher;
    struct conf *conf;
    struct timer limit;
    char events[65536];
    char forgotten[400]; /* targets, a blank behind each */
    const char *file;    /* what the supervisor finds there */
    unsigned busy;       /* so often it cannot be asked */
    unsigned lost;       /* … and so often its answer is lost */
    unsigned wanted, done;
    char last_error[200];
    json_t *last;
} world;

/* Of each test. */
int world_set_up(void **state);
int world_tear_down(void **state);

struct conf *world_parse(const char *text);

/* Between them a watch runs; the next one finds what this one has stored. */
void world_begin(const char *text);
void world_end(void);
/* Another configuration. */
void world_reload(const char *text);

/* Checks as watcher_check() does, and waits. */
void world_check(const char *what);
/* For watcher_check(); the loop ends with the last answer that is wanted (`world.wanted`). */
void world_on_done(void *context, const char *target, const json_t *endpoints, const char *error);

/* Of a target that is listed. */
struct watcher_place world_place_of(const char *target);
/* How often the text is in the events. */
unsigned world_times(const char *text);
/* Whether the last answer has this finding. */
bool world_found(const char *id);
