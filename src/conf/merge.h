/* A reloaded configuration takes the place of the one in force.
 *
 * Every object that both have (same kind, same name) keeps its index; new ones get an index that
 * was never used before or, where the arrays may not grow, one that is free; what was removed stays
 * as a *retired* object while it is in use, and through the reload that removes it, because
 * handshakes under way may still lead to it. So whatever holds an index (slots, events, messages,
 * the board) needs no second look, and every process has one configuration at any time. */
#pragma once

#include "conf/conf.h"

/* Does anything live on it? Both are asked about objects of the configuration in force. */
struct conf_usage {
    void *context;
    bool (*listener)(void *context, uint32_t listener);
    bool (*server)(void *context, uint32_t number); /* of the board */
};

/* `next` comes from conf_parse() and is given places; the merged configuration is a new one, made
 * as conf_parse_internal() makes it, and `next` may be freed afterwards. */
MUST_CHECK int conf_merge(struct conf **ret_merged, struct conf *next, const struct conf *current,
                          const struct conf_usage *usage, struct error *error);

/* Settings that fix the shared memory or who we are: where they differ, `next` gets those of
 * `current` and the bit is set in the result. */
enum {
    CONF_FIXED_STATE_FOLDER = 1,
    CONF_FIXED_USER = 2,
    CONF_FIXED_WORKERS = 4,
    CONF_FIXED_BUFFER_MEMORY = 8,
    CONF_FIXED_MAX_SESSIONS = 16,
    CONF_FIXED_SESSION_CACHE = 32
};
MUST_CHECK int conf_keep_fixed(struct conf *next, const struct conf *current, unsigned *ret_changed,
                               struct error *error);
/* "workers, max-sessions". Returns `text`. */
const char *conf_fixed_text(unsigned changed, char *text, size_t size);

/* ---- what differs ---- */

enum conf_kind {
    CONF_KIND_GLOBAL,
    CONF_KIND_LISTENER,
    CONF_KIND_UPSTREAM,
    CONF_KIND_SERVER,
    CONF_KIND_CERTIFICATE,
    CONF_KIND_WATCH,
    CONF_KIND_CHANNEL,
    CONF_KIND_ALERT_ROUTE,
    CONF_KIND_MAINTENANCE,
    CONF_KIND_ADMIN,
    CONF_KIND_EXPORTER
};
enum conf_change { CONF_ADDED, CONF_REMOVED, CONF_CHANGED };
const char *conf_kind_name(enum conf_kind kind);
const char *conf_change_name(enum conf_change change);

struct conf_difference {
    enum conf_kind kind;
    enum conf_change change;
    const char *name;    /* "" for global and admin; of a server: "UPSTREAM/SERVER" */
    uint32_t index;      /* in both; of a server: its number */
    const char *options; /* changed: "idle-timeout, alpn" */
};
typedef void conf_difference_fn(void *context, const struct conf_difference *difference);
/* Tells every object that is in force in one of them only or has other options; `after` was merged
 * with `before`. False when out of memory. */
MUST_CHECK bool conf_compare(const struct conf *before, const struct conf *after,
                             conf_difference_fn *fn, void *context);
/* Does a section say the same in both? Of unmerged configurations, too: by name. */
bool conf_same_certificate(const struct conf *a, const struct conf *b, const char *name);
bool conf_same_listener(const struct conf *a, const struct conf *b, const char *name);
bool conf_same_channel(const struct conf *a, const struct conf *b, const char *name);
