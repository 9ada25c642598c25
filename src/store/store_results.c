/* Writing what checks have found, and dropping what is old. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/string.h"
#include "store/store_internal.h"

#define RETAIN_BATCH 500
#define REFRESH_S    (24 * 3600) /* texts of an unchanged detail ("41 days left") grow stale */

/* When it was checked; now when it does not say. */
static int64_t time_of(const json_t *endpoint)
{
    int64_t at = json_get_time(endpoint, "checked_at");

    return at != 0 ? at : time(NULL);
}

/* ---- what makes two results the same ---- */

static uint64_t add_text(uint64_t digest, const char *text)
{
    return hash_mix(digest ^ string_hash(text)) + 1;
}

static uint64_t add_keys(uint64_t digest, const json_t *object, const char *const *keys)
{
    for (; *keys != NULL; keys++) {
        const json_t *value = json_object_get(object, *keys);
        if (json_is_integer(value))
            digest = hash_mix(digest ^ (uint64_t)json_integer_value(value)) + 1;
        else if (json_is_boolean(value))
            digest = hash_mix(digest ^ (json_is_true(value) ? 3 : 5)) + 1;
        else
            digest = add_text(digest, json_is_string(value) ? json_string_value(value) : "");
    }
    return digest;
}

static uint64_t add_list(uint64_t digest, const json_t *list, const char *const *keys)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        digest = add_keys(digest, json_array_get(list, i), keys);
    return hash_mix(digest) + 1;
}

uint64_t store_digest(const json_t *endpoint)
{
    static const char *const top[] = {"outcome", "verdict", "stage", NULL};
    static const char *const tls[] = {
        "version",        "suite", "group", "alpn", "forward_secrecy", "secure_renegotiation",
        "alert_received", NULL};
    static const char *const certificates[] = {"sha256", "role", NULL};
    static const char *const trust[] = {"store", "outcome", NULL};
    static const char *const staple[] = {"present", "status", NULL};
    static const char *const findings[] = {"id", "severity", "certificate", NULL};

    uint64_t digest = add_keys(1, endpoint, top);
    digest = add_keys(digest, json_object_get(endpoint, "tls"), tls);
    digest = add_list(digest, json_object_get(endpoint, "certificates"), certificates);
    digest = add_list(digest, json_object_get(endpoint, "trust"), trust);
    digest = add_keys(digest, json_object_get(endpoint, "staple"), staple);
    return add_list(digest, json_object_get(endpoint, "findings"), findings);
}

/* ---- one result ---- */

struct row {
    struct store *store;
    const char *watch, *text; /* of the target */
    json_t *endpoint;
    int64_t at;          /* checked_at */
    int64_t target, id;  /* of the tables */
    int64_t detail;      /* row of this result */
    const char *sha256;  /* of the leaf; "" : none was seen */
    const char *earlier; /* leaf of the check before, "" */
    char earlier_text[80];
};

static bool put_target(struct row *row)
{
    sqlite3_stmt *insert =
        store_statement(row->store, "INSERT INTO target(text, watch, first_seen) VALUES(?1, ?2, ?3)"
                                    " ON CONFLICT DO UPDATE SET watch = watch RETURNING id");
    if (insert == NULL)
        return false;
    store_bind_text(insert, 1, row->text);
    store_bind_text(insert, 2, row->watch);
    ignore(sqlite3_bind_int64(insert, 3, row->at));
    return store_number(row->store, insert, &row->target);
}

/* Finds or makes the endpoint, and its leaf of before. */
static bool put_endpoint(struct row *row)
{
    static const char *const keys[] = {"address", "name", "key_type", "vantage"};
    sqlite3_stmt *insert = store_statement(
        row->store,
        "INSERT INTO endpoint(target, address, name, key_type, vantage, sni, first_seen,"
        " checked_at, changed_at, checks) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?7, 0)"
        " ON CONFLICT DO UPDATE SET checks = checks RETURNING id, leaf");
    if (insert == NULL)
        return false;
    ignore(sqlite3_bind_int64(insert, 1, row->target));
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        store_bind_text(insert, (int)i + 2, json_text(row->endpoint, keys[i]));
    ignore(sqlite3_bind_int(insert, 6, json_is_true(json_object_get(row->endpoint, "sni"))));
    ignore(sqlite3_bind_int64(insert, 7, row->at));
    if (sqlite3_step(insert) != SQLITE_ROW) {
        store_failed(row->store);
        return false;
    }
    row->id = sqlite3_column_int64(insert, 0);
    const char *leaf = (const char *)sqlite3_column_text(insert, 1);
    ignore(string_copy(row->earlier_text, sizeof row->earlier_text, leaf == NULL ? "" : leaf));
    row->earlier = row->earlier_text;
    ignore(sqlite3_reset(insert));
    return true;
}

static bool put_detail(struct row *row)
{
    char *text = json_dumps(row->endpoint, JSON_COMPACT | JSON_SORT_KEYS);
    sqlite3_stmt *insert = store_statement(
        row->store,
        "INSERT INTO detail(endpoint, digest, at, last_seen, json) VALUES(?1, ?2, ?3, ?3, ?4)"
        " ON CONFLICT DO UPDATE SET last_seen = max(last_seen, ?3),"
        " json = CASE WHEN at < ?3 - ?5 THEN ?4 ELSE json END,"
        " at = CASE WHEN at < ?3 - ?5 THEN ?3 ELSE at END RETURNING id");
    bool done = false;

    if (insert != NULL && text != NULL) {
        ignore(sqlite3_bind_int64(insert, 1, row->id));
        ignore(sqlite3_bind_int64(insert, 2, (int64_t)store_digest(row->endpoint)));
        ignore(sqlite3_bind_int64(insert, 3, row->at));
        store_bind_text(insert, 4, text);
        ignore(sqlite3_bind_int64(insert, 5, REFRESH_S));
        done = store_number(row->store, insert, &row->detail);
    }
    free(text);
    return done;
}

static bool put_check(struct row *row)
{
    const json_t *took = json_object_get(json_object_get(row->endpoint, "times"), "handshake_s");
    sqlite3_stmt *insert = store_statement(
        row->store,
        "INSERT INTO checked(endpoint, at, detail, handshake_us) VALUES(?1, ?2, ?3, ?4)");
    sqlite3_stmt *update = store_statement(
        row->store, "UPDATE endpoint SET checks = checks + 1, checked_at = ?2,"
                    " changed_at = CASE WHEN detail IS ?3 THEN changed_at ELSE ?2 END, detail = ?3,"
                    " leaf = coalesce(?4, leaf) WHERE id = ?1");
    if (insert == NULL || update == NULL)
        return false;
    for (int i = 0; i < 2; i++) {
        sqlite3_stmt *statement = i == 0 ? insert : update;
        ignore(sqlite3_bind_int64(statement, 1, row->id));
        ignore(sqlite3_bind_int64(statement, 2, row->at));
        ignore(sqlite3_bind_int64(statement, 3, row->detail));
    }
    if (json_is_number(took))
        ignore(sqlite3_bind_int64(insert, 4, (int64_t)(json_number_value(took) * 1e6)));
    store_bind_text(update, 4, row->sha256[0] == '\0' ? NULL : row->sha256);
    return store_run(row->store, insert) && store_run(row->store, update);
}

/* What a certificate says does not change: its days left do. */
static bool put_certificate(struct row *row, const json_t *certificate)
{
    static const char *const passing[] = {"days_left", "life_left", "position", "role", "needed"};
    const char *sha256 = json_text(certificate, "sha256");
    json_t *copy = json_deep_copy(certificate);
    sqlite3_stmt *insert = store_statement(
        row->store,
        "INSERT INTO certificate(sha256, json, first_seen, last_seen) VALUES(?1, ?2, ?3, ?3)"
        " ON CONFLICT DO UPDATE SET last_seen = max(last_seen, ?3)");
    bool done = false;

    for (size_t i = 0; i < ARRAY_SIZE(passing); i++)
        ignore(json_object_del(copy, passing[i]));
    char *text = copy == NULL ? NULL : json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
    if (insert != NULL && text != NULL) {
        store_bind_text(insert, 1, sha256);
        store_bind_text(insert, 2, text);
        ignore(sqlite3_bind_int64(insert, 3, row->at));
        done = store_run(row->store, insert);
    }
    free(text);
    json_decref(copy);
    return done;
}

static bool put_sighting(struct row *row)
{
    sqlite3_stmt *insert = store_statement(
        row->store,
        "INSERT INTO sighting(endpoint, sha256, first_seen, last_seen, checks, arrivals, detail)"
        " VALUES(?1, ?2, ?3, ?3, 1, 1, ?4) ON CONFLICT DO UPDATE SET"
        " last_seen = max(last_seen, ?3), checks = checks + 1, arrivals = arrivals + ?5");
    if (insert == NULL)
        return false;
    ignore(sqlite3_bind_int64(insert, 1, row->id));
    store_bind_text(insert, 2, row->sha256);
    ignore(sqlite3_bind_int64(insert, 3, row->at));
    ignore(sqlite3_bind_int64(insert, 4, row->detail));
    ignore(sqlite3_bind_int(insert, 5, strcmp(row->earlier, row->sha256) != 0));
    return store_run(row->store, insert);
}

static bool put_result(struct store *store, const struct store_waiting *waiting)
{
    const json_t *certificates = json_object_get(waiting->endpoint, "certificates");
    struct row row = {.store = store,
                      .watch = waiting->watch,
                      .text = waiting->target,
                      .endpoint = waiting->endpoint,
                      .at = time_of(waiting->endpoint),
                      .sha256 = json_text(json_array_get(certificates, 0), "sha256")};

    if (!put_target(&row) || !put_endpoint(&row) || !put_detail(&row) || !put_check(&row))
        return false;
    for (size_t i = 0; i < json_array_size(certificates); i++) {
        const json_t *certificate = json_array_get(certificates, i);
        if (json_text(certificate, "sha256")[0] != '\0' && !put_certificate(&row, certificate))
            return false;
    }
    return row.sha256[0] == '\0' || put_sighting(&row);
}

static bool put_results(struct store *store, void *context)
{
    const size_t *count = context;

    for (size_t i = 0; i < *count; i++) {
        if (!put_result(store,
                        &store->waiting[(store->waiting_first + i) % store->waiting_capacity]))
            return false;
    }
    return true;
}

bool store_write_results(struct store *store, size_t count)
{
    return store_transaction(store, put_results, &count);
}

/* ---- retention ---- */

struct retention {
    int64_t checks_before, history_before;
    bool more;
};

static bool drop(struct store *store, const char *sql, int64_t before, bool *more)
{
    sqlite3_stmt *statement = store_statement(store, sql);

    if (statement == NULL)
        return false;
    ignore(sqlite3_bind_int64(statement, 1, before));
    ignore(sqlite3_bind_int(statement, 2, RETAIN_BATCH));
    if (!store_run(store, statement))
        return false;
    *more |= sqlite3_changes(store->db) == RETAIN_BATCH;
    return true;
}

static bool retain(struct store *store, void *context)
{
    /* Ids grow with time, so the oldest checks are found without an index. What a check or an
     * endpoint points to stays; an endpoint that was not looked at for so long points to none. */
    static const char checks[] = "DELETE FROM checked WHERE id IN"
                                 " (SELECT id FROM checked ORDER BY id LIMIT ?2) AND at < ?1";
    static const char sightings[] = "DELETE FROM sighting WHERE id IN"
                                    " (SELECT id FROM sighting WHERE last_seen < ?1 LIMIT ?2)";
    static const char latest[] =
        "UPDATE endpoint SET detail = NULL WHERE id IN (SELECT id FROM endpoint"
        " WHERE checked_at < ?1 AND detail IS NOT NULL LIMIT ?2)";
    static const char details[] =
        "DELETE FROM detail WHERE id IN (SELECT id FROM detail AS d WHERE last_seen < ?1"
        " AND NOT EXISTS (SELECT 1 FROM checked WHERE endpoint = d.endpoint AND detail = d.id)"
        " AND NOT EXISTS (SELECT 1 FROM sighting WHERE endpoint = d.endpoint AND detail = d.id)"
        " AND NOT EXISTS (SELECT 1 FROM endpoint WHERE id = d.endpoint AND detail = d.id)"
        " LIMIT ?2)";
    static const char certificates[] =
        "DELETE FROM certificate WHERE sha256 IN"
        " (SELECT sha256 FROM certificate WHERE last_seen < ?1 LIMIT ?2)";
    static const char endpoints[] =
        "DELETE FROM endpoint WHERE id IN (SELECT id FROM endpoint AS e WHERE checked_at < ?1"
        " AND NOT EXISTS (SELECT 1 FROM checked WHERE endpoint = e.id)"
        " AND NOT EXISTS (SELECT 1 FROM sighting WHERE endpoint = e.id)"
        " AND NOT EXISTS (SELECT 1 FROM detail WHERE endpoint = e.id) LIMIT ?2)";
    static const char targets[] =
        "DELETE FROM target WHERE id IN (SELECT id FROM target AS t WHERE first_seen < ?1"
        " AND NOT EXISTS (SELECT 1 FROM endpoint WHERE target = t.id) LIMIT ?2)";
    struct retention *work = context;

    return drop(store, checks, work->checks_before, &work->more) &&
           drop(store, sightings, work->history_before, &work->more) &&
           drop(store, latest, work->history_before, &work->more) &&
           drop(store, details, work->history_before, &work->more) &&
           drop(store, endpoints, work->history_before, &work->more) &&
           drop(store, targets, work->history_before, &work->more) &&
           drop(store, certificates, work->history_before, &work->more) &&
           store_run(store, store_statement(store, "PRAGMA incremental_vacuum(64)"));
}

bool store_retain(struct store *store, int64_t checks_before, int64_t history_before)
{
    struct retention work = {.checks_before = checks_before, .history_before = history_before};

    return store_transaction(store, retain, &work) && work.more;
}
