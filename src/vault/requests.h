/* Questions to the supervisor that are still unanswered: each number leads back to the one who
 * asked. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

/* Takes the descriptor (-1: none); `result` is 0, a watch descriptor, or -errno. */
typedef void request_fn(void *context, int fd, int result);

struct request {
    request_fn *fn; /* NULL: free */
    void *context;
    const void *owner;
    uint32_t number;
};

struct requests {
    struct request *items;
    size_t count, capacity;
    uint32_t serial;
};

/* A number for a new question, never 0; 0 when out of memory. `owner`: see requests_cancel(). */
MUST_CHECK uint32_t requests_add(struct requests *requests, request_fn *fn, void *context,
                                 const void *owner);
/* Forgets a question that could not be asked. */
void requests_drop(struct requests *requests, uint32_t number);
/* Calls back; an unknown number only has its descriptor closed. */
void requests_answer(struct requests *requests, uint32_t number, int fd, int result);
/* Answers all of one owner with -ECANCELED. */
void requests_cancel(struct requests *requests, const void *owner);
/* Answers all that is left with -ECANCELED. Accepts zeroed. */
void requests_fini(struct requests *requests);
