/* When nobody is to be told: silences that people set, with an end. An alert goes on being
 * followed; what is still true when the silence ends is told then. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "watch/alerts/alert.h"

/* What it holds for: each field that is not empty must match. `target` matches a place's target, or
 * the beginning of one up to '*'; an alert is silenced when all its open places are, or, when it
 * has recovered, those that were the last. */
struct silence {
    char id[20];
    char target[256], finding[64], certificate[65], watch[64], owner[64], service[64];
    uint64_t alert; /* number; 0: any */
    int64_t from, until;
    char by[64], comment[200];
};

bool silence_matches(const struct silence *silence, const struct watch_alert *alert, int64_t now);

json_t *silence_to_json(const struct silence *silence);
/* Checks a request: an end in the future and at most a year away, at least one thing that it holds
 * for. Other keys do not count. */
MUST_CHECK int silence_from_json(struct silence *ret_silence, const json_t *object, int64_t now,
                                 struct error *error);
