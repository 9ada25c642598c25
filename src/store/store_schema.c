/* The tables, version by version. Steps only add, never change or drop: a daemon that went back to
 * an older binary works on with a newer database. */
#include "store/store_internal.h"

#include <stdio.h>

static const char *const steps[] = {
    /* 1: what the watch sees. A check points to the detail in force: details are stored when they
     * change only. A sighting is one certificate at one endpoint. */
    "CREATE TABLE target(id INTEGER PRIMARY KEY, watch TEXT NOT NULL, text TEXT NOT NULL,"
    " first_seen INTEGER NOT NULL, UNIQUE(text, watch));"
    "CREATE TABLE endpoint(id INTEGER PRIMARY KEY, target INTEGER NOT NULL REFERENCES target,"
    " address TEXT NOT NULL, name TEXT NOT NULL, sni INTEGER NOT NULL, key_type TEXT NOT NULL,"
    " vantage TEXT NOT NULL, first_seen INTEGER NOT NULL, checked_at INTEGER NOT NULL,"
    " changed_at INTEGER NOT NULL, checks INTEGER NOT NULL, detail INTEGER, leaf TEXT,"
    " UNIQUE(target, address, name, sni, key_type, vantage));"
    "CREATE TABLE detail(id INTEGER PRIMARY KEY, endpoint INTEGER NOT NULL REFERENCES endpoint,"
    " digest INTEGER NOT NULL, at INTEGER NOT NULL, last_seen INTEGER NOT NULL,"
    " json TEXT NOT NULL, UNIQUE(endpoint, digest));"
    "CREATE TABLE checked(id INTEGER PRIMARY KEY, endpoint INTEGER NOT NULL REFERENCES endpoint,"
    " at INTEGER NOT NULL, detail INTEGER NOT NULL REFERENCES detail, handshake_us INTEGER);"
    "CREATE INDEX checked_endpoint ON checked(endpoint, id);"
    "CREATE TABLE certificate(sha256 TEXT PRIMARY KEY, json TEXT NOT NULL,"
    " first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL);"
    "CREATE TABLE sighting(id INTEGER PRIMARY KEY, endpoint INTEGER NOT NULL REFERENCES endpoint,"
    " sha256 TEXT NOT NULL, first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL,"
    " checks INTEGER NOT NULL, arrivals INTEGER NOT NULL, detail INTEGER NOT NULL,"
    " UNIQUE(endpoint, sha256));",
    /* 2: alerts, silences, deliveries */
    "CREATE TABLE document(kind TEXT NOT NULL, key TEXT NOT NULL, changed_at INTEGER NOT NULL,"
    " json TEXT NOT NULL, PRIMARY KEY(kind, key)) WITHOUT ROWID;",
    /* 3: what the watch fetched. The body comes last, so that sizes are summed without it. */
    "CREATE TABLE fetched(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, size INTEGER NOT NULL,"
    " fetched_at INTEGER NOT NULL, retry_after INTEGER NOT NULL, until INTEGER NOT NULL,"
    " body BLOB NOT NULL);",
};

static int version_of(sqlite3 *db, int *ret_version)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &statement, NULL);

    if (result == SQLITE_OK) {
        result = sqlite3_step(statement);
        if (result == SQLITE_ROW) {
            *ret_version = sqlite3_column_int(statement, 0);
            result = SQLITE_OK;
        }
    }
    ignore(sqlite3_finalize(statement));
    return result;
}

/* A step and the number of its version stand or fall together. */
static int take_step(sqlite3 *db, int step)
{
    char number[64];

    int result = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (result != SQLITE_OK)
        return result;
    ignore(snprintf(number, sizeof number, "PRAGMA user_version = %d", step + 1));
    result = sqlite3_exec(db, steps[step], NULL, NULL, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_exec(db, number, NULL, NULL, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    if (result != SQLITE_OK)
        ignore(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL));
    return result;
}

int store_migrate(sqlite3 *db)
{
    int version = 0, result = version_of(db, &version);

    for (int step = version; result == SQLITE_OK && step < (int)ARRAY_SIZE(steps); step++)
        result = take_step(db, step);
    return result;
}
