/* Documents that the watch fetched, as they came: whoever uses one verifies it again. */
#include <time.h>

#include "store/store_internal.h"

struct keeping {
    const char *key;
    const struct store_fetched *fetched;
};

static bool write_one(struct store *store, const struct keeping *keeping)
{
    static const char put[] =
        "INSERT OR REPLACE INTO fetched(key, size, fetched_at, retry_after, until, body)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
    const struct store_fetched *fetched = keeping->fetched;
    sqlite3_stmt *statement = store_statement(store, put);

    if (statement == NULL)
        return false;
    store_bind_text(statement, 1, keeping->key);
    ignore(sqlite3_bind_int64(statement, 2, (sqlite3_int64)fetched->size));
    ignore(sqlite3_bind_int64(statement, 3, fetched->fetched_at));
    ignore(sqlite3_bind_int64(statement, 4, fetched->retry_after_s));
    ignore(sqlite3_bind_int64(statement, 5, fetched->until));
    ignore(sqlite3_bind_blob64(statement, 6, fetched->body, fetched->size, SQLITE_STATIC));
    return store_run(store, statement);
}

static bool too_much(struct store *store, bool *ret_too_much)
{
    static const char count_all[] = "SELECT count(*) FROM fetched",
                      sum_all[] = "SELECT coalesce(sum(size), 0) FROM fetched";
    int64_t count, sum;

    if (!store_number(store, store_statement(store, count_all), &count) ||
        !store_number(store, store_statement(store, sum_all), &sum))
        return false;
    *ret_too_much = count > STORE_FETCHED_COUNT_MAX || sum > STORE_FETCHED_BYTES_MAX;
    return true;
}

/* What has ended, or ends first, goes; never what has just come. */
static bool make_room(struct store *store, const char *key)
{
    static const char drop_first[] = "DELETE FROM fetched WHERE id = (SELECT id FROM fetched"
                                     " WHERE key <> ?1 ORDER BY until, fetched_at LIMIT 1)";
    bool is_too_much = false;

    while (too_much(store, &is_too_much)) {
        if (!is_too_much)
            return true;
        sqlite3_stmt *statement = store_statement(store, drop_first);
        if (statement != NULL)
            store_bind_text(statement, 1, key);
        if (!store_run(store, statement))
            return false;
    }
    return false;
}

static bool keep(struct store *store, void *context)
{
    const struct keeping *keeping = context;

    return write_one(store, keeping) && make_room(store, keeping->key);
}

void store_fetched_keep(struct store *store, const char *key, const struct store_fetched *fetched)
{
    struct keeping keeping = {key, fetched};

    if (fetched->size > STORE_FETCHED_ONE_MAX)
        store_fetched_drop(store, key); /* the one before is older */
    else if (!store->health.troubled)
        ignore(store_transaction(store, keep, &keeping));
}

void store_fetched_drop(struct store *store, const char *key)
{
    static const char drop[] = "DELETE FROM fetched WHERE key = ?1";
    sqlite3_stmt *statement = store->health.troubled ? NULL : store_statement(store, drop);

    if (statement == NULL)
        return;
    store_bind_text(statement, 1, key);
    ignore(store_run(store, statement));
}

bool store_fetched_recall(struct store *store, const char *key, store_fetched_fn *fn, void *context)
{
    static const char find[] =
        "SELECT fetched_at, retry_after, until, body FROM fetched WHERE key = ?1 AND until > ?2";
    sqlite3_stmt *statement = store->health.troubled ? NULL : store_statement(store, find);

    if (statement == NULL)
        return false;
    store_bind_text(statement, 1, key);
    ignore(sqlite3_bind_int64(statement, 2, time(NULL)));
    int result = sqlite3_step(statement);
    if (result == SQLITE_ROW) {
        const struct store_fetched fetched = {.fetched_at = sqlite3_column_int64(statement, 0),
                                              .retry_after_s = sqlite3_column_int64(statement, 1),
                                              .until = sqlite3_column_int64(statement, 2),
                                              .body = sqlite3_column_blob(statement, 3),
                                              .size = (size_t)sqlite3_column_bytes(statement, 3)};
        fn(context, &fetched);
    } else if (result != SQLITE_DONE) {
        store_failed(store);
    }
    if (store->db != NULL)
        ignore(sqlite3_reset(statement));
    return result == SQLITE_ROW;
}
