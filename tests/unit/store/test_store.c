/* What is remembered, above all when the database is locked, full or damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "store/store_internal.h"

static char folder[64], path[96];

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/holdfast-watch-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/watch.db", folder);
    return 0;
}

static int remove_one(const char *name, const struct stat *status, int kind, struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(name);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct store *open_store(void)
{
    struct store *store = NULL;
    struct error error = {0};

    if (store_open(&store, path, &error) != 0)
        fail_msg("%s", error.message);
    return store;
}

static json_t *result(const char *target, const char *sha256, int64_t at, double days)
{
    json_t *endpoint = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:s, s:[{s:s, s:f}], s:[{s:s, s:s, s:s}], s:{s:f}}",
        "target", target, "address", "192.0.2.1:443", "key_type", "ecdsa", "vantage", "public",
        "name", "shop.example", "sni", 1, "outcome", "seen", "verdict", "ok", "certificates",
        "sha256", sha256, "days_left", days, "findings", "id", "soon", "severity", "info", "text",
        "some days", "times", "handshake_s", 0.25);

    json_set_time(endpoint, "checked_at", at);
    return endpoint;
}

static void put(struct store *store, const char *target, const char *sha256, int64_t at)
{
    json_t *endpoint = result(target, sha256, at, (double)at / 1000);

    store_result(store, "shop", target, endpoint);
    json_decref(endpoint);
}

/* As the loop does it. */
static void flush(struct store *store)
{
    while (store_flush(store, clock_monotonic_ns()))
        continue;
}

static int64_t count(struct store *store, const char *sql)
{
    sqlite3_stmt *statement = NULL;

    assert_int_equal(sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

struct seen {
    unsigned rows;
    uint64_t checks, arrivals;
    int64_t first, last;
    char text[96];
};

/* Certificates, a blank behind each. */
static int see_recent(void *context, const struct store_sighting *sighting)
{
    char *seen = context;
    size_t used = strlen(seen);

    assert_null(sighting->endpoint);
    snprintf(seen + used, 16 - used, "%s ", sighting->sha256);
    return 0;
}

static int see_sighting(void *context, const struct store_sighting *sighting)
{
    struct seen *seen = context;

    if (seen->rows++ == 0) {
        seen->checks = sighting->checks;
        seen->arrivals = sighting->arrivals;
        seen->first = sighting->first_seen;
        seen->last = sighting->last_seen;
        assert_string_equal(sighting->watch, "shop");
        assert_string_equal(sighting->address, "192.0.2.1:443");
        assert_non_null(sighting->endpoint);
    }
    snprintf(seen->text, sizeof seen->text, "%s", sighting->sha256);
    return 0;
}

static int see_latest(void *context, const struct store_latest *latest)
{
    struct seen *seen = context;

    seen->rows++;
    seen->checks = latest->checks;
    seen->first = latest->changed_at;
    seen->last = latest->checked_at;
    snprintf(seen->text, sizeof seen->text, "%s",
             json_string_value(json_object_get(latest->endpoint, "verdict")));
    return 0;
}

/* Two nodes that answer in turn make two sightings and two details, however often they do. */
static void test_flapping(void **state)
{
    struct store *store = open_store();
    struct seen seen = {0};
    struct error error = {0};
    (void)state;

    for (int i = 0; i < 100; i++)
        put(store, "a.example:443", i % 2 == 0 ? "aa" : "bb", 1000000 + 60 * i);
    flush(store);
    assert_int_equal(count(store, "SELECT count(*) FROM checked"), 100);
    assert_int_equal(count(store, "SELECT count(*) FROM detail"), 2);
    assert_int_equal(store_each_sighting(store, "a.example:443", see_sighting, &seen, &error), 0);
    assert_int_equal(seen.rows, 2);
    assert_int_equal(seen.checks, 50);
    assert_int_equal(seen.arrivals, 50);
    assert_int_equal(seen.first, 1000000);
    assert_int_equal(seen.last, 1000000 + 60 * 98);
    store_free(store);
}

/* Only what was seen since then, and without reading what it looked like. */
static void test_recent(void **state)
{
    struct store *store = open_store();
    struct error error = {0};
    char seen[16] = "";
    (void)state;

    put(store, "a.example:443", "aa", 1000000);
    put(store, "a.example:443", "bb", 1000060);
    put(store, "b.example:443", "cc", 1000120);
    flush(store);
    assert_int_equal(store_each_recent(store, 1000060, see_recent, seen, &error), 0);
    assert_string_equal(seen, "bb cc ");
    assert_int_equal(store_each_recent(store, 1000121, see_recent, seen, &error), 0);
    assert_string_equal(seen, "bb cc ");
    store_free(store);
}

/* What a process did not live to see, the next one reads. */
static void test_reopened(void **state)
{
    struct store *store = open_store();
    struct seen seen = {0};
    struct error error = {0};
    (void)state;

    put(store, "a.example:443", "aa", 1000000);
    put(store, "a.example:443", "aa", 1000060);
    put(store, "b.example:443", "cc", 1000060);
    store_free(store);
    store = open_store();
    assert_int_equal(store_each_latest(store, "a.example:443", see_latest, &seen, &error), 0);
    assert_int_equal(seen.rows, 1);
    assert_int_equal(seen.checks, 2);
    assert_int_equal(seen.first, 1000000);
    assert_int_equal(seen.last, 1000060);
    assert_string_equal(seen.text, "ok");
    assert_int_equal(store_each_latest(store, NULL, see_latest, &seen, &error), 0);
    assert_int_equal(seen.rows, 3);
    store_free(store);
}

static void test_digest(void **state)
{
    json_t *a = result("a.example:443", "aa", 1000000, 41),
           *b = result("a.example:443", "aa", 2, 3);
    (void)state;

    assert_true(store_digest(a) == store_digest(b));
    json_object_set_new(b, "verdict", json_string("critical"));
    assert_true(store_digest(a) != store_digest(b));
    json_decref(b);
    b = result("a.example:443", "bb", 1000000, 41);
    assert_true(store_digest(a) != store_digest(b));
    json_decref(a);
    json_decref(b);
}

/* Locked by another: results wait, and come in when the lock is gone. */
static void test_locked(void **state)
{
    struct store *store = open_store();
    struct store_health health;
    sqlite3 *other = NULL;
    (void)state;

    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    put(store, "a.example:443", "aa", 1000000);
    flush(store);
    store_health(store, &health);
    assert_true(health.troubled);
    assert_non_null(strstr(health.trouble, "locked by another process"));
    assert_int_equal(health.waiting, 1);
    uint64_t again = store_next_try_ns(store);
    assert_true(again > clock_monotonic_ns());
    assert_false(store_flush(store, again - 1)); /* not before it is due */
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_false(store_flush(store, again));
    store_health(store, &health);
    assert_false(health.troubled);
    assert_int_equal(health.waiting, 0);
    assert_int_equal(count(store, "SELECT count(*) FROM checked"), 1);
    store_free(store);
}

/* A full disk: what waits is bounded, the oldest go first. */
static void test_full(void **state)
{
    struct store *store = open_store();
    struct store_health health;
    char name[32], pages[64];
    (void)state;

    snprintf(pages, sizeof pages, "PRAGMA max_page_count = %d",
             (int)count(store, "PRAGMA page_count"));
    assert_int_equal(sqlite3_exec(store->db, pages, NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < STORE_WAITING_MAX + 10; i++) {
        snprintf(name, sizeof name, "t%d:443", i % 50);
        put(store, name, "aa", 1000000 + i);
        if (i == 200)
            flush(store);
    }
    store_health(store, &health);
    assert_true(health.troubled);
    assert_non_null(strstr(health.trouble, "full"));
    assert_int_equal(health.waiting, STORE_WAITING_MAX);
    assert_int_equal(health.dropped, 10);
    assert_int_equal(sqlite3_exec(store->db, "PRAGMA max_page_count = 1000000", NULL, NULL, NULL),
                     SQLITE_OK);
    while (store_flush(store, store_next_try_ns(store) + clock_monotonic_ns()))
        continue;
    store_health(store, &health);
    assert_false(health.troubled);
    assert_int_equal(count(store, "SELECT count(*) FROM checked"), STORE_WAITING_MAX);
    store_free(store);
}

static void spoil(off_t from)
{
    int fd = open(path, O_WRONLY);
    char garbage[4096];

    memset(garbage, 0x5a, sizeof garbage);
    for (int i = 0; i < 16; i++)
        assert_int_equal(pwrite(fd, garbage, sizeof garbage, from + i * 4096), sizeof garbage);
    close(fd);
}

/* Damaged before the start, and under the running process. */
static void test_damaged(void **state)
{
    struct store *store = open_store();
    struct store_health health;
    (void)state;

    put(store, "a.example:443", "aa", 1000000);
    store_free(store);
    spoil(0);
    store = open_store();
    store_health(store, &health);
    assert_false(health.troubled);
    assert_int_equal(health.set_aside, 1);
    assert_int_equal(access(health.aside, F_OK), 0);
    put(store, "a.example:443", "bb", 1000060);
    flush(store);
    assert_int_equal(count(store, "SELECT count(*) FROM checked"), 1);

    assert_int_equal(unlink(health.aside), 0);
    assert_int_equal(sqlite3_exec(store->db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_exec(store->db, "PRAGMA cache_size = 1", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_db_release_memory(store->db);
    spoil(4096);
    for (int i = 0; i < 3; i++) {
        put(store, "a.example:443", "bb", 1000120 + i);
        store_flush(store, clock_monotonic_ns() + (uint64_t)i * 100 * NS_PER_S);
    }
    store_health(store, &health);
    assert_int_equal(health.set_aside, 2);
    assert_false(health.troubled);
    assert_int_equal(count(store, "SELECT count(*) FROM checked"), 3);
    store_free(store);
    store = open_store(); /* told of until it is taken away */
    store_health(store, &health);
    assert_int_equal(access(health.aside, F_OK), 0);
    store_free(store);
}

/* Nothing can be written at all: the watch goes on. */
static void test_no_folder(void **state)
{
    struct store *store;
    struct store_health health;
    struct error error = {0};
    struct seen seen = {0};
    (void)state;

    snprintf(path, sizeof path, "%s/missing/watch.db", folder);
    store = open_store();
    put(store, "a.example:443", "aa", 1000000);
    flush(store);
    store_health(store, &health);
    assert_true(health.troubled);
    assert_int_equal(health.waiting, 1);
    assert_true(store_each_latest(store, NULL, see_latest, &seen, &error) < 0);
    assert_non_null(strstr(error.message, "cannot be opened"));
    store_free(store);
}

/* A binary that went back works on with the tables of a newer one. */
static void test_newer(void **state)
{
    struct store *store = open_store();
    struct store_health health;
    (void)state;

    assert_int_equal(sqlite3_exec(store->db,
                                  "CREATE TABLE later(x); ALTER TABLE checked ADD COLUMN y;"
                                  "PRAGMA user_version = 999",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    store_free(store);
    store = open_store();
    put(store, "a.example:443", "aa", 1000000);
    flush(store);
    store_health(store, &health);
    assert_false(health.troubled);
    assert_int_equal(count(store, "SELECT count(*) FROM checked"), 1);
    assert_int_equal(count(store, "PRAGMA user_version"), 999);
    store_free(store);
}

static void test_retention(void **state)
{
    struct store *store = open_store();
    (void)state;

    for (int i = 0; i < 1200; i++)
        put(store, "a.example:443", "aa", 1000000 + i);
    put(store, "a.example:443", "bb", 2000000);
    flush(store);
    while (store_retain(store, 1500000, 1500000))
        continue;
    assert_int_equal(count(store, "SELECT count(*) FROM checked"), 1);
    assert_int_equal(count(store, "SELECT count(*) FROM sighting"), 1);
    assert_int_equal(count(store, "SELECT count(*) FROM detail"), 1);
    assert_int_equal(count(store, "SELECT count(*) FROM certificate"), 1);
    store_free(store);
}

/* Results of a thousand names each do not fill the memory while the disk is full. */
static void test_heavy_results_wait(void **state)
{
    struct store *store = open_store();
    json_t *endpoint = json_pack("{s:s, s:[]}", "target", "a", "names");
    struct store_health health;
    (void)state;

    for (int i = 0; i < 1000; i++)
        ignore(json_array_append_new(json_object_get(endpoint, "names"),
                                     json_string("a-rather-long-name.of-a-host.shop.example")));
    for (int i = 0; i < 5000; i++)
        store_result(store, "w", "a", endpoint);
    store_health(store, &health);
    assert_int_equal(health.waiting + health.dropped, 5000);
    assert_in_range(health.waiting, 800, 2000);
    flush(store);
    assert_int_equal(store->waiting_weight, 0);
    json_decref(endpoint);
    store_free(store);
}

/* Endpoints that come no more go, too: addresses behind a name may change for ever. */
static void test_retention_of_endpoints(void **state)
{
    struct store *store = open_store();
    char target[40];
    (void)state;

    for (int i = 0; i < 1200; i++) {
        snprintf(target, sizeof target, "host-%d.example:443", i);
        put(store, target, "aa", 1000000 + i);
    }
    put(store, "stays.example:443", "aa", 2000000);
    flush(store);
    while (store_retain(store, 1500000, 1500000))
        continue;
    assert_int_equal(count(store, "SELECT count(*) FROM endpoint"), 1);
    assert_int_equal(count(store, "SELECT count(*) FROM target"), 1);
    assert_int_equal(count(store, "SELECT count(*) FROM detail"), 1);
    put(store, "host-7.example:443", "aa", 2000001);
    flush(store);
    assert_int_equal(count(store, "SELECT count(*) FROM endpoint WHERE detail IS NULL"), 0);
    assert_int_equal(count(store, "SELECT count(*) FROM target"), 2);
    store_free(store);
}

/* Members of other types than expected, or none: nothing falls over. */
static void test_odd_results(void **state)
{
    static const char *const texts[] = {
        "{}", "{\"target\":1,\"certificates\":{},\"checked_at\":\"x\"}",
        "{\"target\":\"a\",\"certificates\":[1,{\"sha256\":5}],\"findings\":[[]],\"times\":3}"};
    struct store *store = open_store();
    struct store_health health;
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        json_t *endpoint = json_loads(texts[i], 0, NULL);
        assert_non_null(endpoint);
        store_result(store, "x", "a", endpoint);
        json_decref(endpoint);
    }
    flush(store);
    store_health(store, &health);
    assert_false(health.troubled);
    assert_int_equal(count(store, "SELECT count(*) FROM checked"), ARRAY_SIZE(texts));
    store_free(store);
}

static int count_document(void *context, const char *key, const json_t *document)
{
    assert_string_equal(key, "7");
    assert_int_equal(json_integer_value(json_object_get(document, "n")), 2);
    ++*(unsigned *)context;
    return 0;
}

static unsigned documents_of(struct store *store, const char *kind)
{
    struct error error = {0};
    unsigned count = 0;

    assert_int_equal(store_each_document(store, kind, count_document, &count, &error), 0);
    return count;
}

static void put_number(struct store *store, const char *key, int number)
{
    json_t *document = json_pack("{s:i}", "n", number);

    store_put(store, "alert", key, document);
    json_decref(document);
}

static void test_documents(void **state)
{
    struct store *store = open_store();
    struct store_health health;
    (void)state;

    put_number(store, "7", 1);
    put_number(store, "7", 2);
    put_number(store, "8", 3);
    store_put(store, "alert", "8", NULL);
    store_health(store, &health);
    assert_int_equal(health.waiting, 2);
    store_flush(store, clock_monotonic_ns());
    store_health(store, &health);
    assert_int_equal(health.waiting, 0);
    store_free(store);
    store = open_store();
    assert_int_equal(documents_of(store, "alert"), 1);
    assert_int_equal(documents_of(store, "silence"), 0);
    store_put(store, "alert", "7", NULL);
    assert_int_equal(documents_of(store, "alert"), 0);
    store_free(store);
}

/* ---- what was fetched ---- */

static void fetch(struct store *store, const char *key, size_t size, int64_t until)
{
    uint8_t *body = calloc(1, size);
    const struct store_fetched fetched = {
        .body = body, .size = size, .fetched_at = 1, .retry_after_s = -1, .until = until};

    assert_non_null(body);
    body[size - 1] = 7;
    store_fetched_keep(store, key, &fetched);
    free(body);
}

static void note_fetched(void *context, const struct store_fetched *fetched)
{
    assert_int_equal(fetched->fetched_at, 1);
    assert_int_equal(fetched->retry_after_s, -1);
    assert_int_equal(fetched->body[fetched->size - 1], 7);
    *(size_t *)context = fetched->size;
}

/* 0: it is not there. */
static size_t recalled(struct store *store, const char *key)
{
    size_t size = 0;

    bool found = store_fetched_recall(store, key, note_fetched, &size);
    assert_int_equal(found, size != 0);
    return size;
}

static void test_fetched(void **state)
{
    struct store *store = open_store();
    int64_t now = time(NULL);
    (void)state;

    fetch(store, "0aone", 100, now + 10000);
    fetch(store, "0aended", 100, now - 1);
    assert_int_equal(recalled(store, "0aone"), 100);
    assert_int_equal(recalled(store, "0aended"), 0);
    assert_int_equal(recalled(store, "0atwo"), 0);
    fetch(store, "0aone", 200, now + 10000); /* in its place */
    store_free(store);
    store = open_store();
    assert_int_equal(recalled(store, "0aone"), 200);
    store_fetched_drop(store, "0aone");
    store_fetched_drop(store, "0aone");
    assert_int_equal(recalled(store, "0aone"), 0);
    fetch(store, "0aone", 200, now + 10000);
    fetch(store, "0aone", STORE_FETCHED_ONE_MAX + 1, now + 10000);
    assert_int_equal(recalled(store, "0aone"), 0); /* nor is the older one right */
    store_free(store);
}

/* What has ended goes first, then what ends first, and never what has just come. */
static void test_fetched_is_bounded(void **state)
{
    static const char many[] = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
                               " WHERE i < 4096) INSERT INTO fetched(key, size, fetched_at,"
                               " retry_after, until, body) SELECT i, 1, 1, -1, 100, x'07' FROM n";
    struct store *store = open_store();
    int64_t now = time(NULL), count = 0;
    char key[8];
    (void)state;

    fetch(store, "ended", STORE_FETCHED_ONE_MAX, now - 100);
    for (int i = 0; i < 7; i++) {
        snprintf(key, sizeof key, "%d", i);
        fetch(store, key, STORE_FETCHED_ONE_MAX, now + 100000 - i);
    }
    fetch(store, "soon", STORE_FETCHED_ONE_MAX, now + 50000); /* "ended" goes */
    assert_int_equal(recalled(store, "6"), STORE_FETCHED_ONE_MAX);
    fetch(store, "sooner", STORE_FETCHED_ONE_MAX, now + 40000);
    assert_int_equal(recalled(store, "soon"), 0);
    assert_int_equal(recalled(store, "sooner"), STORE_FETCHED_ONE_MAX);
    assert_int_equal(recalled(store, "0"), STORE_FETCHED_ONE_MAX);
    assert_int_equal(sqlite3_exec(store->db, "DELETE FROM fetched", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(store->db, many, NULL, NULL, NULL), SQLITE_OK);
    fetch(store, "new", 1, now + 40000);
    assert_true(
        store_number(store, store_statement(store, "SELECT count(*) FROM fetched"), &count));
    assert_int_equal(count, STORE_FETCHED_COUNT_MAX);
    assert_int_equal(recalled(store, "new"), 1);
    store_free(store);
}

/* While the database is held by another, nothing is kept, nothing found, and nobody waits. */
static void test_fetched_in_trouble(void **state)
{
    struct store *store = open_store();
    sqlite3 *other = NULL;
    int64_t now = time(NULL);
    (void)state;

    fetch(store, "before", 10, now + 10000);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    fetch(store, "held", 10, now + 10000);
    assert_int_equal(recalled(store, "held"), 0);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    ignore(store_flush(store, clock_monotonic_ns()));
    assert_int_equal(recalled(store, "before"), 10);
    fetch(store, "after", 10, now + 10000);
    assert_int_equal(recalled(store, "after"), 10);
    store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_odd_results, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_locked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_newer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_recent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reopened, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flapping, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_digest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_heavy_results_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_retention_of_endpoints, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_retention, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_documents, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fetched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fetched_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fetched_in_trouble, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
