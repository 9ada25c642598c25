/* Files that the checks of a section `watch` need: trust stores, revocation lists, the list of
 * transparency logs, and what is checked itself, by file: targets. The supervisor opens them,
 * control reads them, the process that probes gets what is in them (watch/prober_client.h) under a
 * key of option and path. */
#pragma once

#include <stdbool.h>

#include "conf/conf.h"
#include "tls/chain.h"
#include "tls/timestamps.h"
#include "watch/crl_file.h"

enum supply_kind {
    SUPPLY_STORE,
    SUPPLY_STORE_IGNORING_ENDS,
    SUPPLY_CRL,
    SUPPLY_LOG_LIST,
    SUPPLY_TARGET, /* certificates; one that cannot be read is a finding */
    SUPPLY_KIND_COUNT
};

#define SUPPLY_KEY_MAX   4200
#define SUPPLY_BYTES_MAX CRL_SIZE_MAX /* of the largest kind */

const char *supply_option(enum supply_kind kind); /* "stores", "crl", … */
size_t supply_size_max(enum supply_kind kind);

/* Number `index` of those that all checks of a section need; false: it has no more. The path is the
 * configuration's. That of a target: conf_target_path(). */
bool supply_at(const struct conf_watch *watch, size_t index, enum supply_kind *ret_kind,
               const char **ret_path);

/* "stores /etc/ssl/ca.pem" */
char *supply_key(char key[SUPPLY_KEY_MAX], enum supply_kind kind, const char *path);

/* What a file holds; reference-counted. One of the four is there. */
struct supply {
    unsigned references;
    struct chain_store *store;
    struct crl_file *lists;
    struct certificate_logs *logs;
    const struct certificate_facts **certificates;
    size_t certificate_count;
};
MUST_CHECK int supply_new(struct supply **ret_supply, enum supply_kind kind, const char *path,
                          const void *data, size_t size, struct error *error);
/* The same by key. */
MUST_CHECK int supply_new_by_key(struct supply **ret_supply, const char *key, const void *data,
                                 size_t size, struct error *error);
struct supply *supply_ref(struct supply *supply);
void supply_unref(struct supply *supply); /* accepts NULL */
