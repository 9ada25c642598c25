/* Documents wait in memory under their names, so that of many changes only the last is written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/map.h"
#include "store/store_internal.h"

struct pending {
    char *kind, *key;
    json_t *document; /* NULL: to be removed */
};

static void pending_free(struct pending *pending)
{
    if (pending == NULL)
        return;
    free(pending->kind);
    free(pending->key);
    json_decref(pending->document);
    free(pending);
}

static char *name_of(const char *kind, const char *key)
{
    size_t size = strlen(kind) + strlen(key) + 2;
    char *name = malloc(size);

    if (name != NULL)
        snprintf(name, size, "%s/%s", kind, key);
    return name;
}

void store_put(struct store *store, const char *kind, const char *key, json_t *document)
{
    struct pending *pending = calloc(1, sizeof *pending);
    char *name = name_of(kind, key);

    if (pending != NULL) {
        pending->kind = strdup(kind);
        pending->key = strdup(key);
        pending->document = json_deep_copy(document);
    }
    if (name == NULL || pending == NULL || pending->kind == NULL || pending->key == NULL ||
        (document != NULL && pending->document == NULL)) {
        store->health.dropped++;
        pending_free(pending);
    } else {
        struct pending *before = map_remove(&store->documents, name);
        pending_free(before);
        if (!map_put(&store->documents, name, pending)) {
            store->health.dropped++;
            pending_free(pending);
        }
    }
    free(name);
}

/* ---- writing ---- */

static bool write_one(struct store *store, const struct pending *pending)
{
    static const char put[] = "INSERT INTO document(kind, key, changed_at, json)"
                              " VALUES(?1, ?2, ?3, ?4) ON CONFLICT(kind, key)"
                              " DO UPDATE SET changed_at = ?3, json = ?4";
    static const char drop[] = "DELETE FROM document WHERE kind = ?1 AND key = ?2";
    sqlite3_stmt *statement = store_statement(store, pending->document != NULL ? put : drop);
    char *text = pending->document != NULL ? json_dumps(pending->document, JSON_COMPACT) : NULL;
    bool written = false;

    if (statement != NULL && (text != NULL || pending->document == NULL)) {
        store_bind_text(statement, 1, pending->kind);
        store_bind_text(statement, 2, pending->key);
        if (text != NULL) {
            ignore(sqlite3_bind_int64(statement, 3, time(NULL)));
            store_bind_text(statement, 4, text);
        }
        written = store_run(store, statement);
    }
    free(text);
    return written;
}

static bool write_all(struct store *store, void *context)
{
    const struct map_entry *entry;

    (void)context;
    for (size_t at = 0; (entry = map_next(&store->documents, &at)) != NULL;) {
        if (!write_one(store, entry->value))
            return false;
    }
    return true;
}

void store_drop_documents(struct store *store)
{
    const struct map_entry *entry;

    for (size_t at = 0; (entry = map_next(&store->documents, &at)) != NULL;)
        pending_free(entry->value);
    map_fini(&store->documents);
    map_init(&store->documents);
}

bool store_write_documents(struct store *store)
{
    if (store->documents.count == 0)
        return true;
    if (!store_transaction(store, write_all, NULL))
        return false;
    store_drop_documents(store);
    return true;
}

/* ---- reading ---- */

int store_each_document(struct store *store, const char *kind, store_document_fn *fn, void *context,
                        struct error *error)
{
    static const char list[] = "SELECT key, json FROM document WHERE kind = ?1 ORDER BY key";
    sqlite3_stmt *statement = store_write_documents(store) ? store_statement(store, list) : NULL;
    int result = SQLITE_ROW, stopped = 0;

    if (statement == NULL)
        return error_set(error, ERROR_IO, "%s", store->health.trouble);
    store_bind_text(statement, 1, kind);
    while (stopped == 0 && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        json_t *document = json_loads((const char *)sqlite3_column_text(statement, 1), 0, NULL);
        if (document != NULL)
            stopped = fn(context, (const char *)sqlite3_column_text(statement, 0), document);
        json_decref(document);
    }
    if (stopped == 0 && result != SQLITE_DONE) {
        store_failed(store);
        return error_set(error, ERROR_IO, "%s", store->health.trouble);
    }
    ignore(sqlite3_reset(statement));
    return stopped;
}
