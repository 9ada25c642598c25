/* The watch from inside:
 *
 *   watcher.c           targets and their timers, asking, reload, what is listed
 *   watcher_index.c     what is found by its name: targets, addresses, what is to be opened
 *   watcher_files.c     files that a check needs, opened and passed on before it begins
 *   watcher_fetched.c   documents that the prober fetched, in the store
 *   watcher_results.c   an answer: what is new, what flaps, what differs; store and events
 *   watcher_compare.c   findings that take more than one look: file on disk, origin, in turn
 *   watcher_discover.c  endpoints that nobody watches */
#pragma once

#include "base/map.h"
#include "tls/certificate_on_disk.h"
#include "watch/finding.h"
#include "watch/watcher.h"

#define RECENT_LEAVES 4
#define RECENT_S      (24 * 3600) /* a leaf that comes back within this time is served in turn */
#define ABSENT_MAX    2           /* answers that lack a place before it is forgotten */

/* A certificate that was served at a place lately. */
struct leaf {
    char sha256[65];
    int64_t seen;
    enum severity severity; /* of the results with it */
};

struct place {
    char *key; /* what tells it from the other places of its target */
    char *address, *name, *key_type, *vantage;
    enum severity severity;
    char *text, *next;
    char sha256[65];
    struct leaf leaves[RECENT_LEAVES];
    size_t leaf_count;
    bool in_turn;
    int64_t not_after, breaks_at, checked_at, changed_at;
    unsigned absent; /* answers in a row without it */
    bool seen;       /* by the answer in hand */
};

struct waiter {
    struct waiter *next;
    watcher_done_fn *done;
    void *context;
};

struct watched {
    struct watcher *watcher;
    const struct conf_watch *conf;
    struct watched *twin; /* the same target in another section */
    char *text;           /* canonical */
    char *refused;        /* why it is no target; NULL: it is one */
    struct timer timer;
    struct place *places;
    size_t place_count;
    json_t *answers;       /* of the check under way */
    unsigned open;         /* requests under way */
    uint32_t file_request; /* waiting for a file to be opened; 0: not */
    size_t file_step;      /* which one: 0 `file`, 1 the target, then those of watch/supply.h */
    unsigned put_off;      /* so often in a row, because nobody could be asked to open it */
    bool disk_known;
    struct certificate_on_disk disk;
    char disk_trouble[80]; /* why it is not known */
    char trouble[200];     /* of this check: no answer, for a reason of ours */
    unsigned failures;
    int64_t checked_at, next_check;
    uint64_t checks;
    struct waiter *waiters;
    bool gone; /* while a reload is under way: not in the new configuration */
};

/* An endpoint that nobody watches. */
struct discovered {
    char *watch, *target, *address, *name;
    char sha256[65];
    enum severity severity;
    int64_t not_after, first_seen, checked_at;
};

/* One `discover` under way or waiting for its time. */
struct discovery {
    struct watcher *watcher;
    const struct conf_watch *conf;
    struct timer timer;
    size_t open;
    uint32_t file_request; /* for the spec `file_spec` */
    size_t file_spec;
};

struct watcher {
    struct loop *loop;
    const struct conf *conf;
    struct store *store;
    struct watcher_host host;
    struct prober_client *prober;
    struct watched **watched;
    size_t watched_count;
    struct map by_key;       /* "WATCH TARGET" → struct watched */
    struct map by_text;      /* TARGET → the first of its twins */
    struct map by_address;   /* → how many places are there */
    struct map by_request;   /* number → struct watched that waits for its file */
    struct map by_discovery; /* TARGET → its index in `discovered`, plus one */
    struct map supplied;     /* key of watch/supply.h → struct supplied_file */
    struct discovered *discovered;
    size_t discovered_count;
    struct discovery **discoveries;
    size_t discovery_count;
    uint32_t last_request;
    uint64_t random, checks;
    struct timer store_turn, retention;
    bool store_troubled;
    uint64_t set_aside;
};

/* ---- watcher.c ---- */
void watched_ask(struct watched *watched); /* all that it needs is at hand */
void watched_set_next(struct watched *watched, uint64_t delay_ms);
void watched_done(struct watched *watched); /* all is answered: results, then the next time */
uint64_t watcher_chance(struct watcher *watcher);
void watcher_event(struct watcher *watcher, enum event_type type, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* ---- watcher_files.c ---- */
bool watcher_open(struct watcher *watcher, uint32_t *ret_request, const char *path);
/* Opens all files of a check, then asks. */
void watched_open_files(struct watched *watched);
/* The supervisor has not answered in time: its answer is lost, control's queue was full. */
void watched_unanswered(struct watched *watched);
void watcher_files_reload(struct watcher *watcher); /* the configuration is another */
void watcher_files_fini(struct watcher *watcher);

/* ---- watcher_index.c ---- */
void index_init(struct watcher *watcher);
void index_fini(struct watcher *watcher);
/* False: out of memory, and it is in no index. */
MUST_CHECK bool index_add(struct watched *watched);
void index_remove(struct watched *watched);
struct watched *watcher_lookup(const struct watcher *watcher, const char *watch,
                               const char *target);
/* Is it a target, or the address of a place of one? */
bool index_is_watched(const struct watcher *watcher, const char *target, const char *address);
void index_add_address(struct watcher *watcher, const char *address);
void index_remove_address(struct watcher *watcher, const char *address);
/* Who waits for this file to be opened; false: out of memory. */
MUST_CHECK bool index_add_request(struct watched *watched);
/* NULL: nobody any more. */
struct watched *index_take_request(struct watcher *watcher, uint32_t request);

/* ---- watcher_fetched.c: as in struct prober_client_host ---- */
void fetched_keep(void *context, const char *key, const struct document_copy *copy, int64_t until);
void fetched_drop(void *context, const char *key);
void fetched_recall(void *context, const char *key);

/* ---- watcher_results.c ---- */
/* Takes the answers in; true: another verdict or certificate than before somewhere. */
MUST_CHECK bool watched_take(struct watched *watched);
void watched_restore(struct watched *watched, const struct store_latest *latest);
void watched_restore_leaf(struct watched *watched, const struct store_sighting *sighting);
void watched_drop_places(struct watched *watched);
const json_t *endpoint_leaf(const json_t *endpoint); /* NULL: none */

/* ---- watcher_compare.c ---- */
void compare_with_file(const struct watched *watched, json_t *endpoint);
void compare_with_origin(json_t *endpoints);
void compare_in_turn(const struct place *place, json_t *endpoint);
/* A synthetic endpoint for what could not be checked at all. */
json_t *endpoint_of_trouble(const struct watched *watched, int64_t now);
/* Adds a finding and raises the verdict. Returns the finding, borrowed. */
json_t *endpoint_add(json_t *endpoint, const char *id, enum severity severity, const char *next,
                     const char *format, ...) PRINTF_LIKE(5, 6);

/* ---- watcher_discover.c ---- */
MUST_CHECK bool discover_reload(struct watcher *watcher);
void discover_fini(struct watcher *watcher);
void discover_restore(struct watcher *watcher, const struct store_latest *latest);
/* The file of a specification was opened; false: it was another's request. */
void discover_opened(struct watcher *watcher, uint32_t request, const char *text, size_t size,
                     const char *error);
/* Is the text a specification? */
MUST_CHECK int discover_check(const char *spec, struct error *error);
