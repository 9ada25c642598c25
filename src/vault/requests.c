#include "vault/requests.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static struct request *find(struct requests *requests, uint32_t number)
{
    for (size_t i = 0; i < requests->count; i++) {
        if (requests->items[i].number == number)
            return &requests->items[i];
    }
    return NULL;
}

uint32_t requests_add(struct requests *requests, request_fn *fn, void *context, const void *owner)
{
    if (requests->count == requests->capacity) {
        size_t capacity = requests->capacity == 0 ? 16 : requests->capacity * 2;
        struct request *items = realloc(requests->items, capacity * sizeof *items);
        if (items == NULL)
            return 0;
        requests->items = items;
        requests->capacity = capacity;
    }
    if (++requests->serial == 0)
        requests->serial = 1;
    requests->items[requests->count++] = (struct request){fn, context, owner, requests->serial};
    return requests->serial;
}

void requests_drop(struct requests *requests, uint32_t number)
{
    struct request *request = find(requests, number);

    if (request != NULL)
        *request = requests->items[--requests->count];
}

void requests_answer(struct requests *requests, uint32_t number, int fd, int result)
{
    struct request *request = find(requests, number);

    if (request == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    struct request taken = *request;
    *request = requests->items[--requests->count];
    taken.fn(taken.context, fd, result);
}

void requests_cancel(struct requests *requests, const void *owner)
{
    for (size_t i = 0; i < requests->count;) {
        struct request taken = requests->items[i];
        if (taken.owner != owner) {
            i++;
            continue;
        }
        requests->items[i] = requests->items[--requests->count];
        taken.fn(taken.context, -1, -ECANCELED);
        i = 0; /* it may have asked again */
    }
}

void requests_fini(struct requests *requests)
{
    while (requests->count > 0) {
        struct request last = requests->items[--requests->count];
        last.fn(last.context, -1, -ECANCELED);
    }
    free(requests->items);
    *requests = (struct requests){0};
}
