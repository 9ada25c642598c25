/* What is remembered: one interface, behind which an embedded SQLite database stands in the state
 * folder. All SQL is in this folder.
 *
 * Writing never fails for the caller: what cannot be written now (the database is locked, the disk
 * is full) waits in memory, bounded, and is tried again; store_health() says so until it is
 * healed. A damaged database is set aside under a name with the date, and a new one begun.
 *
 * One transaction per flush, in WAL mode: what was flushed outlives the end of the process. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* What waits while the database is in trouble; the oldest are dropped, and counted. */
#define STORE_WAITING_MAX   20000 /* results */
#define STORE_WAITING_BYTES (128u << 20)

struct store;

/* `path`: of the database file; made when missing. Fails only when out of memory: a file that
 * cannot be used is a matter of store_health(). */
MUST_CHECK int store_open(struct store **ret_store, const char *path, struct error *error);
void store_free(struct store *store); /* writes what waits, if it can; accepts NULL */

/* Writes some of what waits, in one short transaction; true: there is more, call again. Call it
 * after each batch of the loop; while there is trouble it does nothing until the next try is due.
 * `now_ns` of CLOCK_MONOTONIC. */
bool store_flush(struct store *store, uint64_t now_ns);
/* When store_flush() is to be called though nothing new came; 0: never. */
uint64_t store_next_try_ns(const struct store *store);

struct store_health {
    bool troubled;      /* writing fails */
    char trouble[256];  /* why */
    int64_t since;      /* Unix seconds */
    uint64_t waiting;   /* results in memory only */
    uint64_t dropped;   /* results lost since the start */
    char aside[300];    /* a damaged database that still lies beside the new one, "" */
    uint64_t set_aside; /* how often that happened since the start */
};
void store_health(const struct store *store, struct store_health *ret_health);

/* ---- results (store_results.c) ---- */

/* Remembers the check of one endpoint, an object as report_json() makes it (doc/check-json.md);
 * `watch` names the section, `target` what is watched (the endpoint's own target may be one of many
 * that it leads to: mx://). The reference stays the caller's. */
void store_result(struct store *store, const char *watch, const char *target, json_t *endpoint);
/* What makes two results the same for the history: all but times, texts and what changes by
 * itself. */
uint64_t store_digest(const json_t *endpoint);
/* Drops checks, and details and sightings, last seen before these times (Unix seconds), some at a
 * time: true when there may be more. */
MUST_CHECK bool store_retain(struct store *store, int64_t checks_before, int64_t history_before);

/* ---- history (store_history.c) ---- */

/* The last that is known of an endpoint. */
struct store_latest {
    const char *watch, *target;
    int64_t first_seen, checked_at, changed_at; /* Unix seconds; changed: to this digest */
    uint64_t checks;
    const json_t *endpoint; /* as of `changed_at`, or later */
};
/* A certificate (leaf) at an endpoint, from first to last sight. */
struct store_sighting {
    const char *watch, *target, *address, *name, *key_type, *vantage;
    bool sni;
    const char *sha256; /* hex */
    int64_t first_seen, last_seen;
    uint64_t checks;        /* that saw it */
    uint64_t arrivals;      /* how often it came after another one; >1: it came back */
    const json_t *endpoint; /* as it was when this certificate was first seen there */
};
/* Stop at the first non-zero result of the call-back, which is returned; what is given lives until
 * it returns. `target` NULL: all. Negative when the database cannot be read. */
typedef int store_latest_fn(void *context, const struct store_latest *latest);
MUST_CHECK int store_each_latest(struct store *store, const char *target, store_latest_fn *fn,
                                 void *context, struct error *error);
typedef int store_sighting_fn(void *context, const struct store_sighting *sighting);
/* By endpoint, and in the order of the first sight there. */
MUST_CHECK int store_each_sighting(struct store *store, const char *target, store_sighting_fn *fn,
                                   void *context, struct error *error);

/* Certificates last seen since then (Unix seconds), each without its `endpoint`: reading that is
 * most of the work. */
MUST_CHECK int store_each_recent(struct store *store, int64_t since, store_sighting_fn *fn,
                                 void *context, struct error *error);

struct store_check {
    int64_t at;
    const char *address, *key_type, *verdict, *outcome;
    double handshake_s; /* 0: unknown */
};
typedef int store_check_fn(void *context, const struct store_check *check);
/* The newest first, at most `limit`. */
MUST_CHECK int store_each_check(struct store *store, const char *target, unsigned limit,
                                store_check_fn *fn, void *context, struct error *error);

/* ---- documents (store_documents.c): what is known by a name and replaced as a whole ---- */

/* Remembers a copy under kind and key; NULL: forgets it. */
void store_put(struct store *store, const char *kind, const char *key, json_t *document);
typedef int store_document_fn(void *context, const char *key, const json_t *document);
/* All of a kind, by key; for the start. Stops at the first non-zero result. */
MUST_CHECK int store_each_document(struct store *store, const char *kind, store_document_fn *fn,
                                   void *context, struct error *error);

/* ---- what was fetched (store_fetched.c): bounded, and nothing is lost with it but a fetch ---- */

#define STORE_FETCHED_ONE_MAX   (8u << 20)
#define STORE_FETCHED_BYTES_MAX (64u << 20) /* of all; what ends first goes first */
#define STORE_FETCHED_COUNT_MAX 4096

struct store_fetched {
    const uint8_t *body;
    size_t size;
    int64_t fetched_at, retry_after_s, until; /* Unix seconds; of no use after `until` */
};
/* Written at once, or, while there is trouble, not at all. One that is too large is left out. */
void store_fetched_keep(struct store *store, const char *key, const struct store_fetched *fetched);
void store_fetched_drop(struct store *store, const char *key);
/* Calls back if it is there, with what lives until the call-back returns. False: it is not. */
typedef void store_fetched_fn(void *context, const struct store_fetched *fetched);
bool store_fetched_recall(struct store *store, const char *key, store_fetched_fn *fn,
                          void *context);
