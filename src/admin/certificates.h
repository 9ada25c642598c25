/* The vault's certificates as the admin verbs show them. */
#pragma once

#include <jansson.h>

#include "admin/view.h"
#include "vault/vault.h"

#define CERTIFICATES_SUMMARY_MAX 100 /* `status` shows so many; `certs` all */

/* Everything about one entry. */
json_t *certificate_to_json(const struct conf *conf, const struct vault_entry *entry,
                            int64_t now_s);

/* The first entries in short. */
json_t *certificates_summary(const struct admin_view *view, int64_t now_s);

/* What became of a command, without its error. */
json_t *certificate_outcome_to_json(const struct vault_outcome *outcome);
