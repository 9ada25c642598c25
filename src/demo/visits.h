/* The application sessions of the demo's web application: what a visitor has answered so far, found
 * by a cookie. In memory, with a fixed number of places; the one not used for longest makes room.
 */
#pragma once

#include <stdint.h>

#include "demo/scoreboard.h"

#define VISIT_COOKIE_SIZE 33 /* 32 hex digits and the zero */
#define VISIT_ANSWERS     10
#define VISIT_ANSWER_MAX  240

struct visit {
    char cookie[VISIT_COOKIE_SIZE]; /* "": free place */
    uint64_t used;                  /* count of uses of all visits when it was used last */
    struct changes_count before;    /* what had been changed when it began */
    char answers[VISIT_ANSWERS][VISIT_ANSWER_MAX];
};

struct visits;
struct visits *visits_new(void); /* NULL: out of memory */
void visits_free(struct visits *visits);

/* The visit with this cookie; NULL when there is none (`cookie` may be NULL). */
struct visit *visits_find(struct visits *visits, const char *cookie);
/* A new one under an unguessable cookie; NULL when the system gives no random bytes. */
struct visit *visits_begin(struct visits *visits);
