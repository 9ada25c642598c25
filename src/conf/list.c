#include "conf/list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attributes.h"

void *list_append(void *items_pointer, size_t *count, size_t size)
{
    unsigned char *items;

    memcpy(&items, items_pointer, sizeof items);
    if ((*count & (*count - 1)) == 0) { /* full: 0, 1, 2, 4, 8, … */
        size_t capacity = *count == 0 ? 1 : *count * 2;
        unsigned char *grown = reallocarray(items, capacity, size);
        if (grown == NULL)
            return NULL;
        items = grown;
        memcpy(items_pointer, &grown, sizeof grown);
    }
    unsigned char *item = items + *count * size;
    memset(item, 0, size);
    (*count)++;
    return item;
}

char *list_key(const char *a, const char *b)
{
    char *key;
    return asprintf(&key, "%s %s", a, b) < 0 ? NULL : key;
}
