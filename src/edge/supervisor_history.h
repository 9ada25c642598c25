/* The configurations that were accepted, the last ten different ones: what `config rollback` and
 * the automatic return go back to.
 *
 * They stand in the folder `history` of the state folder, whose owner is the unprivileged user that
 * everybody but the supervisor runs as. The supervisor opens the files that a configuration names,
 * so whoever could plant one could have any file opened: the folder and every file in it count only
 * when they belong to the supervisor's own user and nobody else may write to them. Where that
 * cannot be had the history is kept in memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define HISTORY_MAX 10

struct history_entry {
    uint32_t number; /* 1, 2, … */
    int64_t at;      /* Unix seconds: first accepted */
    char *text;      /* as the user wrote it */
    size_t size;
};

struct history {
    int folder;                                    /* -1: in memory only; borrowed */
    struct history_entry entries[HISTORY_MAX + 1]; /* oldest first */
    size_t count;
    uint32_t last;     /* highest number ever given */
    uint32_t current;  /* in force; 0: none yet */
    uint32_t previous; /* in force before; 0: none */
};

/* The folder, made when it is missing; to be called while we still may write into the state folder.
 * -1 with a reason when it cannot be used or trusted. */
int history_open(int state_folder, struct error *error);

/* Reads what is in the folder; files that cannot be trusted or read are passed over. */
void history_init(struct history *history, int folder);
void history_fini(struct history *history); /* accepts zeroed */

/* This configuration is in force from now on. One that is known keeps its number. False with a
 * warning in `error` when it could not be written; it is kept in memory then, as all are. */
MUST_CHECK bool history_note(struct history *history, const char *text, int64_t now,
                             struct error *error);

/* NULL: there is none of that number (any more). */
const struct history_entry *history_find(const struct history *history, uint32_t number);
