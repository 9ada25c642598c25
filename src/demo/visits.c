#include "demo/visits.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/attributes.h"
#include "base/string.h"

#define VISITS_MAX 256

struct visits {
    uint64_t uses;
    struct visit places[VISITS_MAX];
};

struct visits *visits_new(void)
{
    return calloc(1, sizeof(struct visits));
}

void visits_free(struct visits *visits)
{
    free(visits);
}

struct visit *visits_find(struct visits *visits, const char *cookie)
{
    if (cookie == NULL || strlen(cookie) != VISIT_COOKIE_SIZE - 1)
        return NULL;
    for (size_t i = 0; i < VISITS_MAX; i++) {
        if (strcmp(visits->places[i].cookie, cookie) == 0) {
            visits->places[i].used = ++visits->uses;
            return &visits->places[i];
        }
    }
    return NULL;
}

struct visit *visits_begin(struct visits *visits)
{
    uint8_t random[(VISIT_COOKIE_SIZE - 1) / 2];
    struct visit *oldest = &visits->places[0];

    if (getrandom(random, sizeof random, 0) != sizeof random)
        return NULL;
    for (size_t i = 1; i < VISITS_MAX; i++) {
        if (visits->places[i].used < oldest->used)
            oldest = &visits->places[i];
    }
    memset(oldest, 0, sizeof *oldest);
    string_hex(oldest->cookie, random, sizeof random);
    oldest->used = ++visits->uses;
    return oldest;
}
