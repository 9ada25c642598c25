#include "watch/alerts/alert_index.h"

#include <stdlib.h>

static void list_free(struct alert_list *list)
{
    free(list->items);
    free(list);
}

void alert_index_init(struct alert_index *index)
{
    map_init(&index->by_target);
}

void alert_index_fini(struct alert_index *index)
{
    const struct map_entry *entry;

    for (size_t at = 0; (entry = map_next(&index->by_target, &at)) != NULL;)
        list_free(entry->value);
    map_fini(&index->by_target);
}

static struct alert_list *make_list(struct alert_index *index, const char *target)
{
    struct alert_list *list = map_get(&index->by_target, target);

    if (list != NULL || (list = calloc(1, sizeof *list)) == NULL)
        return list;
    if (!map_put(&index->by_target, target, list)) {
        free(list);
        return NULL;
    }
    return list;
}

static void drop_empty(struct alert_index *index, const char *target, struct alert_list *list)
{
    if (list->count != 0)
        return;
    ignore(map_remove(&index->by_target, target) != NULL);
    list_free(list);
}

static size_t position_of(const struct alert_list *list, const struct watch_alert *alert)
{
    size_t at = 0;

    while (at < list->count && list->items[at] != alert)
        at++;
    return at;
}

static bool append(struct alert_list *list, struct watch_alert *alert)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 1 : 2 * list->capacity;
        struct watch_alert **larger =
            reallocarray(list->items, capacity, sizeof(struct watch_alert *));
        if (larger == NULL)
            return false;
        list->items = larger;
        list->capacity = capacity;
    }
    list->items[list->count++] = alert;
    return true;
}

bool alert_index_add(struct alert_index *index, const char *target, struct watch_alert *alert)
{
    struct alert_list *list = make_list(index, target);

    if (list == NULL)
        return false;
    if (position_of(list, alert) != list->count || append(list, alert))
        return true;
    drop_empty(index, target, list);
    return false;
}

void alert_index_remove(struct alert_index *index, const char *target,
                        const struct watch_alert *alert)
{
    struct alert_list *list = map_get(&index->by_target, target);
    size_t at = list == NULL ? 0 : position_of(list, alert);

    if (list == NULL || at == list->count)
        return;
    list->items[at] = list->items[--list->count];
    drop_empty(index, target, list);
}

const struct alert_list *alert_index_get(const struct alert_index *index, const char *target)
{
    return map_get(&index->by_target, target);
}
