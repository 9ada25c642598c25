/* The SQLite engine from inside: what the files of this folder share.
 *
 *   store.c          opening, trouble, transactions, what waits
 *   store_schema.c   the tables, version by version
 *   store_results.c  writing results, retention
 *   store_history.c  reading them
 *   store_documents.c  alerts, silences, deliveries
 *   store_fetched.c  documents that the watch fetched
 *
 * A new table: a step at the end of the list in store_schema.c, and a file that uses it with
 * store_statement(), store_run() and store_transaction(). */
#pragma once

#include <sqlite3.h>

#include "base/map.h"
#include "store/store.h"

#define STORE_STATEMENTS_MAX 64

struct store_waiting {
    char *watch, *target;
    json_t *endpoint;
    size_t weight; /* bytes, about */
};

struct store {
    char *path;
    sqlite3 *db; /* NULL: cannot be opened now */
    struct {
        const char *sql; /* static; known by its address */
        sqlite3_stmt *statement;
    } statements[STORE_STATEMENTS_MAX];
    size_t statement_count;
    struct store_waiting *waiting; /* a ring of STORE_WAITING_MAX, allocated as it fills */
    size_t waiting_first, waiting_count, waiting_capacity, waiting_weight;
    struct map documents; /* struct pending of store_documents.c, by name */
    uint64_t next_try_ns;
    unsigned failures; /* in a row */
    struct store_health health;
};

/* Brings the tables to our version; SQLITE_OK or the code that failed. A database of a newer
 * version is used as it is: steps only add. */
int store_migrate(sqlite3 *db);

/* The prepared statement of this text, reset and without bindings; NULL: cannot be (health knows).
 * `sql` is a static string. */
sqlite3_stmt *store_statement(struct store *store, const char *sql);
/* Runs a statement that gives no rows. */
MUST_CHECK bool store_run(struct store *store, sqlite3_stmt *statement);
/* Runs a statement that gives one number; false also when there is no row. */
MUST_CHECK bool store_number(struct store *store, sqlite3_stmt *statement, int64_t *ret_number);
/* `fn` between BEGIN IMMEDIATE and COMMIT; rolled back when it returns false. */
typedef bool store_work_fn(struct store *store, void *context);
MUST_CHECK bool store_transaction(struct store *store, store_work_fn *fn, void *context);
/* Takes note of the database's last error. */
void store_failed(struct store *store);
/* Opens the database if it is not; false: it cannot be. */
MUST_CHECK bool store_ready(struct store *store);

/* store_results.c: one transaction of what waits; false: rolled back. */
MUST_CHECK bool store_write_results(struct store *store, size_t count);

/* store_documents.c: one transaction of all that wait; false: rolled back. */
MUST_CHECK bool store_write_documents(struct store *store);
void store_drop_documents(struct store *store);

void store_bind_text(sqlite3_stmt *statement, int at, const char *text); /* NULL: NULL */
