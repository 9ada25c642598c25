/* Reading what was seen. */
#include <string.h>

#include "store/store_internal.h"

static int fail(struct store *store, struct error *error)
{
    return error_set(error, ERROR_IO, "cannot read what was remembered: %s",
                     store->health.trouble[0] != '\0' ? store->health.trouble : "out of memory");
}

/* The next row: 1, 0 at the end, negative. */
static int next_row(struct store *store, sqlite3_stmt *statement, struct error *error)
{
    int result = sqlite3_step(statement);

    if (result == SQLITE_ROW)
        return 1;
    if (result == SQLITE_DONE) {
        ignore(sqlite3_reset(statement));
        return 0;
    }
    store_failed(store);
    return fail(store, error);
}

static const char *column_text(sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);

    return text == NULL ? "" : text;
}

int store_each_latest(struct store *store, const char *target, store_latest_fn *fn, void *context,
                      struct error *error)
{
    sqlite3_stmt *select = store_statement(
        store, "SELECT watch, text, e.first_seen, checked_at, changed_at, checks, json"
               " FROM endpoint AS e JOIN target AS t ON t.id = target JOIN detail AS d"
               " ON d.id = detail WHERE ?1 IS NULL OR text = ?1 ORDER BY target, e.id");
    int result = 0, row = 0;

    if (select == NULL)
        return fail(store, error);
    store_bind_text(select, 1, target);
    while (result == 0 && (row = next_row(store, select, error)) == 1) {
        json_t *endpoint = json_loads(column_text(select, 6), 0, NULL);
        struct store_latest latest = {.watch = column_text(select, 0),
                                      .target = column_text(select, 1),
                                      .first_seen = sqlite3_column_int64(select, 2),
                                      .checked_at = sqlite3_column_int64(select, 3),
                                      .changed_at = sqlite3_column_int64(select, 4),
                                      .checks = (uint64_t)sqlite3_column_int64(select, 5),
                                      .endpoint = endpoint};
        result = fn(context, &latest);
        json_decref(endpoint);
    }
    if (row == 1)
        ignore(sqlite3_reset(select));
    return row < 0 ? row : result;
}

static void read_sighting(sqlite3_stmt *select, struct store_sighting *ret_sighting)
{
    *ret_sighting = (struct store_sighting){
        .watch = column_text(select, 0),
        .target = column_text(select, 1),
        .address = column_text(select, 2),
        .name = column_text(select, 3),
        .key_type = column_text(select, 4),
        .vantage = column_text(select, 5),
        .sni = sqlite3_column_int(select, 6) != 0,
        .sha256 = column_text(select, 7),
        .first_seen = sqlite3_column_int64(select, 8),
        .last_seen = sqlite3_column_int64(select, 9),
        .checks = (uint64_t)sqlite3_column_int64(select, 10),
        .arrivals = (uint64_t)sqlite3_column_int64(select, 11),
    };
}

int store_each_sighting(struct store *store, const char *target, store_sighting_fn *fn,
                        void *context, struct error *error)
{
    sqlite3_stmt *select = store_statement(
        store, "SELECT watch, text, address, name, key_type, vantage, sni, sha256, s.first_seen,"
               " s.last_seen, s.checks, arrivals, json FROM sighting AS s JOIN endpoint AS e"
               " ON e.id = s.endpoint JOIN target AS t ON t.id = e.target LEFT JOIN detail AS d"
               " ON d.id = s.detail WHERE ?1 IS NULL OR text = ?1"
               " ORDER BY e.target, e.id, s.first_seen, s.id");
    int result = 0, row = 0;

    if (select == NULL)
        return fail(store, error);
    store_bind_text(select, 1, target);
    while (result == 0 && (row = next_row(store, select, error)) == 1) {
        struct store_sighting sighting;
        json_t *endpoint = json_loads(column_text(select, 12), 0, NULL);
        read_sighting(select, &sighting);
        sighting.endpoint = endpoint;
        result = fn(context, &sighting);
        json_decref(endpoint);
    }
    if (row == 1)
        ignore(sqlite3_reset(select));
    return row < 0 ? row : result;
}

int store_each_recent(struct store *store, int64_t since, store_sighting_fn *fn, void *context,
                      struct error *error)
{
    sqlite3_stmt *select = store_statement(
        store, "SELECT watch, text, address, name, key_type, vantage, sni, sha256, s.first_seen,"
               " s.last_seen, s.checks, arrivals FROM sighting AS s JOIN endpoint AS e"
               " ON e.id = s.endpoint JOIN target AS t ON t.id = e.target"
               " WHERE s.last_seen >= ?1 ORDER BY e.target, e.id, s.first_seen, s.id");
    int result = 0, row = 0;

    if (select == NULL)
        return fail(store, error);
    ignore(sqlite3_bind_int64(select, 1, since));
    while (result == 0 && (row = next_row(store, select, error)) == 1) {
        struct store_sighting sighting;
        read_sighting(select, &sighting);
        result = fn(context, &sighting);
    }
    if (row == 1)
        ignore(sqlite3_reset(select));
    return row < 0 ? row : result;
}

int store_each_check(struct store *store, const char *target, unsigned limit, store_check_fn *fn,
                     void *context, struct error *error)
{
    sqlite3_stmt *select = store_statement(
        store, "SELECT c.at, address, key_type, json_extract(json, '$.verdict'),"
               " json_extract(json, '$.outcome'), handshake_us FROM checked AS c JOIN endpoint AS e"
               " ON e.id = c.endpoint JOIN target AS t ON t.id = e.target JOIN detail AS d"
               " ON d.id = c.detail WHERE text = ?1 ORDER BY c.id DESC LIMIT ?2");
    int result = 0, row = 0;

    if (select == NULL)
        return fail(store, error);
    store_bind_text(select, 1, target);
    ignore(sqlite3_bind_int64(select, 2, limit));
    while (result == 0 && (row = next_row(store, select, error)) == 1) {
        struct store_check check = {.at = sqlite3_column_int64(select, 0),
                                    .address = column_text(select, 1),
                                    .key_type = column_text(select, 2),
                                    .verdict = column_text(select, 3),
                                    .outcome = column_text(select, 4),
                                    .handshake_s = sqlite3_column_double(select, 5) / 1e6};
        result = fn(context, &check);
    }
    if (row == 1)
        ignore(sqlite3_reset(select));
    return row < 0 ? row : result;
}
