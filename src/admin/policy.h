/* The policy document: what each listener of a configuration allows, and what a client gets that
 * does not keep to it.
 *
 * A rule is one row of a table: an id, a title, and a function that states it from the
 * configuration, or says nothing when it does not apply. Each id has a client in
 * tests/e2e/test_policy.py that breaks the rule. */
#pragma once

#include <jansson.h>

#include "base/buffer.h"
#include "conf/conf.h"

struct policy_text {
    struct buffer statement; /* what holds */
    struct buffer otherwise; /* what becomes of a client that cannot or does not keep to it */
};

struct policy_rule {
    const char *id, *title;
    void (*state)(struct policy_text *text, const struct conf *conf,
                  const struct conf_listener *listener);
};

extern const struct policy_rule policy_rules[];
extern const size_t policy_rule_count;

/* {"config", "listeners": [{"listener", "addresses", "mode", "rules": [{"id", "title", "statement",
 * "otherwise"}]}], "clients": [facts of admin/client_facts.h], "clients_as_of"} */
json_t *policy_to_json(const struct conf *conf);

/* The same document as Markdown. */
void policy_to_markdown(const json_t *policy, struct buffer *output);
