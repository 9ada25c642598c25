/* Certificate chains with their keys: parsing, facts, and the pre-flight that everything must pass
 * before it goes live.
 *
 * `struct keypair` = one leaf with its chain and private key. A certificate lineage may have one of
 * each key type. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define KEYPAIR_PEM_MAX   (1u << 20)
#define KEYPAIR_NAMES_MAX 1000

enum key_type { KEY_TYPE_ECDSA, KEY_TYPE_RSA, KEY_TYPE_COUNT };
const char *key_type_name(enum key_type type); /* "ecdsa", "rsa" */

struct keypair; /* reference-counted, immutable */

/* Parses PEM: `chain` holds the certificates in any order of blocks but leaf first; `key` may be
 * NULL when the key stands in `chain` (combined file). Does not judge. Error codes:
 * certificate-unparsable, key-unparsable. */
MUST_CHECK int keypair_parse(struct keypair **ret_pair, const char *chain, size_t chain_size,
                             const char *key, size_t key_size, struct error *error);
struct keypair *keypair_ref(struct keypair *pair);
void keypair_unref(struct keypair *pair); /* accepts NULL; wipes the key with the last reference */

enum key_type keypair_type(const struct keypair *pair);
int64_t keypair_not_before(const struct keypair *pair); /* Unix seconds */
int64_t keypair_not_after(const struct keypair *pair);
const uint8_t *keypair_fingerprint(const struct keypair *pair); /* SHA-256 of the leaf, 32 bytes */
const char *keypair_subject(const struct keypair *pair);        /* one line, printable */
const char *keypair_issuer(const struct keypair *pair);
const char *keypair_serial(const struct keypair *pair); /* hex */
size_t keypair_chain_length(const struct keypair *pair);
unsigned keypair_key_bits(const struct keypair *pair);
/* SAN entries (DNS names lower-case, IP addresses as text); the CN only when there is no SAN. */
const char *const *keypair_names(const struct keypair *pair, size_t *ret_count);
/* Does the leaf cover this DNS name or IP address (RFC 6125 wildcards)? */
bool keypair_covers(const struct keypair *pair, const char *name);

/* Serialises chain and key to one combined PEM text (malloc'ed) for storage or for passing in a
 * sealed memfd to a process that may hold keys; the caller wipes it. */
char *keypair_to_pem(const struct keypair *pair, size_t *ret_size);

/* The pre-flight. Every defect found is reported (not only the first). */
struct preflight_policy {
    const char *const *names; /* must all be covered */
    size_t name_count;
    const struct keypair *live; /* the one in service of the same key type, or NULL: a new one may
                                   not end before it */
    bool require_chain; /* a leaf alone is refused unless its issuer is in the trust store or it is
                           self-signed */
    const char *trust_file; /* NULL: the system's store */
    int64_t now;            /* Unix seconds */
    uint64_t forced; /* bit (code - ERROR_CERTIFICATE_UNPARSABLE): this finding is accepted */
};
struct preflight_finding {
    enum error_code code;
    bool forced;
    char text[256];
};
#define PREFLIGHT_FINDINGS_MAX 16
struct preflight_report {
    struct preflight_finding findings[PREFLIGHT_FINDINGS_MAX];
    size_t count;
};
/* 0 when no finding remains unforced; else the first unforced finding as error. */
MUST_CHECK int keypair_preflight(const struct keypair *pair, const struct preflight_policy *policy,
                                 struct preflight_report *ret_report, struct error *error);

/* The embedded CA for development, tests and private names: an ECDSA P-256 root of ten years,
 * leaves of 90 days. */
struct internal_ca;
/* Makes a new CA ("Holdfast internal CA <random>"); PEM texts are malloc'ed, the key one to be
 * wiped by the caller. */
MUST_CHECK int internal_ca_create(char **ret_certificate_pem, char **ret_key_pem,
                                  struct error *error);
MUST_CHECK int internal_ca_load(struct internal_ca **ret_ca, const char *certificate_pem,
                                const char *key_pem, struct error *error);
void internal_ca_free(struct internal_ca *ca);
/* A fresh key and a leaf for these names, chain = leaf + CA certificate. `lifetime_s` from now. */
MUST_CHECK int internal_ca_issue(struct internal_ca *ca, const char *const *names,
                                 size_t name_count, enum key_type type, int64_t lifetime_s,
                                 struct keypair **ret_pair, struct error *error);
