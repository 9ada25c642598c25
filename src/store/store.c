#include "store/store_internal.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/string.h"

#define BUSY_MS        20 /* short: it stands on the loop */
#define BATCH          500
#define TRY_FIRST_NS   (NS_PER_S)
#define TRY_LONGEST_NS (60 * NS_PER_S)
#define CACHE_KIB      4096
#define VALUE_BYTES    64 /* that a JSON value takes, about */
#define PATH_SIZE      1024

/* ---- trouble ---- */

static bool damaged(int code)
{
    return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

static const char *explain(int code, const char *said)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "it is locked by another process; end that one";
    case SQLITE_FULL:
        return "the disk is full; free some space";
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
        return "it cannot be opened for writing; check the owner and the mode of file and folder";
    default:
        return said;
    }
}

static void note(struct store *store, int code, const char *said)
{
    struct store_health *health = &store->health;

    if (!health->troubled)
        health->since = time(NULL);
    health->troubled = true;
    ignore(snprintf(health->trouble, sizeof health->trouble, "%s: %s", store->path,
                    explain(code, said)));
}

static void close_database(struct store *store)
{
    for (size_t i = 0; i < store->statement_count; i++)
        ignore(sqlite3_finalize(store->statements[i].statement));
    store->statement_count = 0;
    ignore(sqlite3_close(store->db));
    store->db = NULL;
}

/* With what belongs to it; the journal of a damaged file must not be applied to a new one. */
static void set_aside(struct store *store)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char stamp[24], from[PATH_SIZE], to[PATH_SIZE];
    time_t now = time(NULL);
    struct tm parts;

    close_database(store);
    ignore((long)strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &parts)));
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        ignore(snprintf(from, sizeof from, "%s%s", store->path, suffixes[i]));
        ignore(snprintf(to, sizeof to, "%s.damaged-%s%s", store->path, stamp, suffixes[i]));
        if (rename(from, to) == 0 && i == 0)
            ignore(string_copy(store->health.aside, sizeof store->health.aside, to));
    }
    store->health.set_aside++;
}

void store_failed(struct store *store)
{
    int code = store->db == NULL ? SQLITE_NOMEM : sqlite3_extended_errcode(store->db);

    note(store, code, store->db == NULL ? "out of memory" : sqlite3_errmsg(store->db));
    if (damaged(code))
        set_aside(store);
}

/* A file that an earlier process set aside is told of until somebody takes it away. */
static void find_aside(struct store *store)
{
    const char *slash = strrchr(store->path, '/'), *base = slash == NULL ? store->path : slash + 1;
    char folder[PATH_SIZE] = ".", prefix[PATH_SIZE];
    const struct dirent *entry;

    if (slash != NULL)
        ignore(snprintf(folder, sizeof folder, "%.*s", (int)(slash - store->path), store->path));
    ignore(snprintf(prefix, sizeof prefix, "%s.damaged-", base));
    DIR *directory = opendir(folder);
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        if (string_starts_with(entry->d_name, prefix) && !string_ends_with(entry->d_name, "-wal") &&
            !string_ends_with(entry->d_name, "-shm"))
            ignore(snprintf(store->health.aside, sizeof store->health.aside, "%s/%s", folder,
                            entry->d_name));
    }
    if (directory != NULL)
        ignore(closedir(directory));
}

void store_health(const struct store *store, struct store_health *ret_health)
{
    *ret_health = store->health;
    ret_health->waiting = store->waiting_count + store->documents.count;
    if (ret_health->aside[0] != '\0' && access(ret_health->aside, F_OK) != 0)
        ret_health->aside[0] = '\0';
}

/* ---- opening ---- */

static int open_database(struct store *store)
{
    char cache[48];
    int result =
        sqlite3_open_v2(store->path, &store->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

    if (result != SQLITE_OK)
        return result;
    ignore(snprintf(cache, sizeof cache, "PRAGMA cache_size = -%d", CACHE_KIB));
    ignore(sqlite3_extended_result_codes(store->db, 1));
    ignore(sqlite3_busy_timeout(store->db, BUSY_MS));
    /* auto_vacuum counts before the first table only. */
    if ((result = sqlite3_exec(store->db, "PRAGMA auto_vacuum = INCREMENTAL", NULL, NULL, NULL)) !=
            SQLITE_OK ||
        (result = sqlite3_exec(store->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL)) !=
            SQLITE_OK ||
        (result = sqlite3_exec(store->db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL)) !=
            SQLITE_OK ||
        (result = sqlite3_exec(store->db, cache, NULL, NULL, NULL)) != SQLITE_OK)
        return result;
    return store_migrate(store->db);
}

bool store_ready(struct store *store)
{
    /* A damaged file is set aside once; what is wrong with the new one will not go away so. */
    for (unsigned tries = 0; store->db == NULL && tries < 2; tries++) {
        int result = open_database(store);
        if (result == SQLITE_OK)
            break;
        note(store, result, store->db == NULL ? sqlite3_errstr(result) : sqlite3_errmsg(store->db));
        if (damaged(result))
            set_aside(store);
        else
            close_database(store);
        if (!damaged(result))
            break;
    }
    return store->db != NULL;
}

int store_open(struct store **ret_store, const char *path, struct error *error)
{
    struct store *store = calloc(1, sizeof *store);

    if (store != NULL)
        store->path = strdup(path);
    if (store == NULL || store->path == NULL) {
        free(store);
        return error_set(error, ERROR_MEMORY, "out of memory");
    }
    map_init(&store->documents);
    find_aside(store);
    if (store_ready(store))
        store->health.troubled = false;
    *ret_store = store;
    return 0;
}

/* ---- statements ---- */

void store_bind_text(sqlite3_stmt *statement, int at, const char *text)
{
    ignore(text == NULL ? sqlite3_bind_null(statement, at)
                        : sqlite3_bind_text(statement, at, text, -1, SQLITE_TRANSIENT));
}

sqlite3_stmt *store_statement(struct store *store, const char *sql)
{
    sqlite3_stmt *statement = NULL;

    if (!store_ready(store))
        return NULL;
    for (size_t i = 0; i < store->statement_count; i++) {
        if (store->statements[i].sql == sql) {
            statement = store->statements[i].statement;
            ignore(sqlite3_reset(statement));
            ignore(sqlite3_clear_bindings(statement));
            return statement;
        }
    }
    if (store->statement_count == STORE_STATEMENTS_MAX ||
        sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) !=
            SQLITE_OK) {
        store_failed(store);
        return NULL;
    }
    store->statements[store->statement_count].sql = sql;
    store->statements[store->statement_count++].statement = statement;
    return statement;
}

/* A statement that failed holds nothing back. */
static bool give_up(struct store *store, sqlite3_stmt *statement)
{
    store_failed(store);
    if (store->db != NULL)
        ignore(sqlite3_reset(statement));
    return false;
}

bool store_run(struct store *store, sqlite3_stmt *statement)
{
    if (statement == NULL)
        return false;
    int result = sqlite3_step(statement);
    if (result != SQLITE_DONE && result != SQLITE_ROW)
        return give_up(store, statement);
    ignore(sqlite3_reset(statement));
    return true;
}

bool store_number(struct store *store, sqlite3_stmt *statement, int64_t *ret_number)
{
    if (statement == NULL)
        return false;
    int result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        *ret_number = sqlite3_column_int64(statement, 0);
    else if (result != SQLITE_DONE)
        return give_up(store, statement);
    ignore(sqlite3_reset(statement));
    return result == SQLITE_ROW;
}

bool store_transaction(struct store *store, store_work_fn *fn, void *context)
{
    static const char begin[] = "BEGIN IMMEDIATE", commit[] = "COMMIT";

    if (!store_run(store, store_statement(store, begin)))
        return false;
    if (fn(store, context) && store_run(store, store_statement(store, commit)))
        return true;
    if (store->db != NULL && sqlite3_get_autocommit(store->db) == 0)
        ignore(sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL));
    return false;
}

/* ---- what waits ---- */

static bool grow(struct store *store)
{
    size_t capacity = store->waiting_capacity == 0 ? 64 : 2 * store->waiting_capacity;
    struct store_waiting *larger;

    if (capacity > STORE_WAITING_MAX)
        capacity = STORE_WAITING_MAX;
    larger = calloc(capacity, sizeof *larger);
    if (larger == NULL)
        return false;
    for (size_t i = 0; i < store->waiting_count; i++)
        larger[i] = store->waiting[(store->waiting_first + i) % store->waiting_capacity];
    free(store->waiting);
    store->waiting = larger;
    store->waiting_capacity = capacity;
    store->waiting_first = 0;
    return true;
}

static void drop_first(struct store *store)
{
    struct store_waiting *first = &store->waiting[store->waiting_first];

    free(first->watch);
    free(first->target);
    json_decref(first->endpoint);
    store->waiting_weight -= first->weight;
    store->waiting_first = (store->waiting_first + 1) % store->waiting_capacity;
    store->waiting_count--;
}

static void drop_new(struct store *store, struct store_waiting *waiting)
{
    free(waiting->watch);
    free(waiting->target);
    store->health.dropped++;
}

/* A certificate may bring a thousand names with it. */
static size_t weight_of(json_t *value)
{
    size_t weight = VALUE_BYTES + json_string_length(value);

    for (size_t i = 0; i < json_array_size(value); i++)
        weight += weight_of(json_array_get(value, i));
    for (void *at = json_object_iter(value); at != NULL; at = json_object_iter_next(value, at))
        weight +=
            VALUE_BYTES + strlen(json_object_iter_key(at)) + weight_of(json_object_iter_value(at));
    return weight;
}

void store_result(struct store *store, const char *watch, const char *target, json_t *endpoint)
{
    struct store_waiting waiting = {.watch = strdup(watch),
                                    .target = strdup(target),
                                    .endpoint = endpoint,
                                    .weight = weight_of(endpoint)};

    if (waiting.watch == NULL || waiting.target == NULL) {
        drop_new(store, &waiting);
        return;
    }
    while (store->waiting_count == STORE_WAITING_MAX ||
           (store->waiting_count != 0 &&
            store->waiting_weight + waiting.weight > STORE_WAITING_BYTES)) {
        drop_first(store);
        store->health.dropped++;
    }
    if (store->waiting_count == store->waiting_capacity && !grow(store)) {
        drop_new(store, &waiting);
        return;
    }
    size_t at = (store->waiting_first + store->waiting_count++) % store->waiting_capacity;
    ignore(json_incref(endpoint) != NULL);
    store->waiting[at] = waiting;
    store->waiting_weight += waiting.weight;
}

static void put_off(struct store *store, uint64_t now_ns)
{
    uint64_t delay = TRY_FIRST_NS << (store->failures < 6 ? store->failures : 6);

    store->failures++;
    store->next_try_ns = now_ns + (delay < TRY_LONGEST_NS ? delay : TRY_LONGEST_NS);
}

bool store_flush(struct store *store, uint64_t now_ns)
{
    size_t count = store->waiting_count < BATCH ? store->waiting_count : BATCH;

    if ((count == 0 && store->documents.count == 0 && !store->health.troubled) ||
        now_ns < store->next_try_ns)
        return false;
    if (!store_write_documents(store) || !store_write_results(store, count)) {
        put_off(store, now_ns);
        return false;
    }
    while (count-- > 0)
        drop_first(store);
    store->health.troubled = false;
    store->failures = 0;
    store->next_try_ns = 0;
    return store->waiting_count != 0;
}

uint64_t store_next_try_ns(const struct store *store)
{
    return store->health.troubled ? store->next_try_ns : 0;
}

void store_free(struct store *store)
{
    if (store == NULL)
        return;
    ignore(store_write_documents(store));
    store_drop_documents(store);
    map_fini(&store->documents);
    while (store->waiting_count != 0) {
        size_t count = store->waiting_count < BATCH ? store->waiting_count : BATCH;
        if (!store_write_results(store, count))
            break;
        while (count-- > 0)
            drop_first(store);
    }
    while (store->waiting_count != 0)
        drop_first(store);
    free(store->waiting);
    close_database(store);
    free(store->path);
    free(store);
}
