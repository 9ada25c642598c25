/* The watch: configured targets, looked at again and again by the process that probes, their
 * results compared, remembered and told of. Runs in control.
 *
 * In memory there is for each endpoint only what it takes to compare and to list it; the whole of
 * what was seen is in the store. Nothing here waits for anything: a store in trouble, a prober that
 * dies, a file that cannot be read are findings, not ends. */
#pragma once

#include <jansson.h>

#include "conf/conf.h"
#include "loop/loop.h"
#include "session/event.h"
#include "store/store.h"
#include "watch/prober_client.h"

struct watcher;

struct watcher_host {
    void *context;
    void (*event)(void *context, enum event_type type, const char *text);
    /* Has the supervisor open a configured path; the answer goes to watcher_opened(). */
    bool (*open)(void *context, uint32_t request, const char *path);
    uint64_t patience_ns; /* after which that answer is taken for lost; 0: ten seconds */
    /* One target was checked: its endpoints as report_json() gives them, with what the watch adds.
     * NULL: nobody wants to know. */
    void (*checked)(void *context, const struct conf_watch *watch, const char *target,
                    const json_t *endpoints);
    void (*forgotten)(void *context, const char *target); /* no longer watched; may be NULL */
    pid_t (*start)(void *context, int fd);                /* as in struct prober_client_host */
};

/* Requests to the supervisor have this bit. */
#define WATCHER_REQUEST_BIT 0x40000000u

/* `conf` (until a reload), `store` and what `host` points to outlive the watcher. */
MUST_CHECK int watcher_new(struct watcher **ret_watcher, struct loop *loop, const struct conf *conf,
                           struct store *store, const struct watcher_host *host,
                           struct error *error);
void watcher_free(struct watcher *watcher); /* accepts NULL */
/* Another configuration: targets of both go on undisturbed. False when out of memory; nothing of
 * the one before is used afterwards in any case. */
MUST_CHECK bool watcher_reload(struct watcher *watcher, const struct conf *conf);
/* MESSAGE_OPENED of one of our requests. Takes the descriptor (-1: none). */
void watcher_opened(struct watcher *watcher, uint32_t request, int fd, int result);

/* ---- looking ---- */

/* An endpoint as it is known; texts belong to the watcher. */
struct watcher_place {
    const char *watch, *target;
    const char *address, *name, *key_type, *vantage; /* "" before the first check */
    const char *verdict;                             /* "ok", …; "pending": not checked yet */
    const char *text, *next;                         /* of the gravest finding, "" */
    const char *owner, *service;                     /* "" */
    char sha256[65];                                 /* of the leaf, "" */
    int64_t not_after, breaks_at;                    /* 0: unknown */
    int64_t checked_at, changed_at, next_check;      /* Unix seconds; 0: not yet */
    bool critical, in_turn, discovered; /* in_turn: several certificates are served in turn */
};
/* Goes through all, targets without results once. False at the end. `cursor` zeroed at first; what
 * is added or removed meanwhile may be missed. */
struct watcher_cursor {
    size_t target, place;
};
bool watcher_next(const struct watcher *watcher, struct watcher_cursor *cursor,
                  struct watcher_place *ret_place);

struct watcher_state {
    uint64_t targets, pending, endpoints, ok, warning, critical, unknown, discovered, checks;
    struct prober_client_state prober;
    struct store_health store;
};
void watcher_state(const struct watcher *watcher, struct watcher_state *ret_state);
struct store *watcher_store(const struct watcher *watcher);

/* ---- commands ---- */

/* Checks now: a watch by name, or a target in its canonical form, or all ("" ). Returns how many
 * begin; `done` is called for each, never before this has returned. */
typedef void watcher_done_fn(void *context, const char *target, const json_t *endpoints,
                             const char *error);
size_t watcher_check(struct watcher *watcher, const char *what, watcher_done_fn *done,
                     void *context);
/* Looks for endpoints that nobody watches, now. Returns how many addresses and names are looked
 * at. */
size_t watcher_discover(struct watcher *watcher, const char *watch);
/* A probe of anything, now, past the schedule: `request` as in prober_client_ask(), taken over. */
MUST_CHECK bool watcher_probe(struct watcher *watcher, json_t *request, prober_answer_fn *answer,
                              void *context);
/* Nobody waits with this context any more. */
void watcher_forget(struct watcher *watcher, const void *context);

/* What is known of a target from the configuration; NULL: not watched. */
const struct conf_watch *watcher_find(const struct watcher *watcher, const char *target);
