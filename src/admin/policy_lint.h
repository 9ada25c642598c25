/* Looks for what is unwise in a configuration. Each function appends its findings to a JSON array:
 * {"id", "severity", "listener" (or "upstream"), "what", "why", "do", "source"}.
 *
 * Severities: error (breaks what the baseline demands), warning, note (worth to know). */
#pragma once

#include <jansson.h>

#include "admin/baselines.h"
#include "conf/conf.h"

/* Against published advice. */
void policy_lint_baseline(json_t *findings, const struct conf *conf,
                          const struct baseline *baseline);

/* What a change takes away from clients. One thing is a note; more than one at a time a warning,
 * since nobody can tell afterwards which of them broke whom. */
void policy_lint_change(json_t *findings, const struct conf *before, const struct conf *after);

/* Time-outs that are shorter than what 99.9 % of all cases took. `histograms` as the verb
 * `policy-facts` gives them; those of fewer than POLICY_HISTORY_MIN cases tell nothing. */
#define POLICY_HISTORY_MIN 20
void policy_lint_history(json_t *findings, const struct conf *conf, const json_t *histograms);

/* True when an error or a warning is among them. */
bool policy_lint_objects(const json_t *findings);
