/* What the process that probes has fetched outlives it, and us: it is kept in the store. */
#include <time.h>

#include "watch/watcher_internal.h"

void fetched_keep(void *context, const char *key, const struct document_copy *copy, int64_t until)
{
    const struct watcher *watcher = context;
    const struct store_fetched fetched = {.body = copy->body,
                                          .size = copy->size,
                                          .fetched_at = copy->fetched_at,
                                          .retry_after_s = copy->retry_after_s,
                                          .until = until};

    store_fetched_keep(watcher->store, key, &fetched);
}

void fetched_drop(void *context, const char *key)
{
    const struct watcher *watcher = context;

    store_fetched_drop(watcher->store, key);
}

struct recalling {
    struct watcher *watcher;
    const char *key;
};

static void answer(void *context, const struct store_fetched *fetched)
{
    const struct recalling *recalling = context;
    const struct document_copy copy = {.body = fetched->body,
                                       .size = fetched->size,
                                       .fetched_at = fetched->fetched_at,
                                       .retry_after_s = fetched->retry_after_s};

    prober_client_recalled(recalling->watcher->prober, recalling->key, &copy);
}

void fetched_recall(void *context, const char *key)
{
    struct recalling recalling = {context, key};

    if (!store_fetched_recall(recalling.watcher->store, key, answer, &recalling))
        prober_client_recalled(recalling.watcher->prober, key, NULL);
}
