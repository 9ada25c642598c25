/* The parts of chain judgement: stores, who has issued whom, one path, all paths. For chain*.c
 * alone. */
#pragma once

#include <openssl/x509.h>

#include "tls/chain.h"

/* The anchors with this subject (as names are compared, RFC 5280 §7.1): `*ret_count` of them from
 * place `*ret_first` on. `hash` is X509_issuer_name_hash() of what they would have issued. */
void chain_store_find(const struct chain_store *store, unsigned long hash, size_t *ret_first,
                      size_t *ret_count);
/* NULL: what stands there cannot be read. */
const struct certificate_facts *chain_store_anchor(const struct chain_store *store, size_t place);
bool chain_store_has(const struct chain_store *store, const struct certificate_facts *facts);
bool chain_store_ends_ignored(const struct chain_store *store);

enum issued {
    ISSUED_NO,            /* by name, key id or usage: somebody else */
    ISSUED_BAD_SIGNATURE, /* by name, but the signature is of another key */
    ISSUED_YES
};
/* Verified signatures are remembered. */
enum issued chain_issued(const struct certificate_facts *certificate,
                         const struct certificate_facts *issuer);

/* What is true of a path at all times. */
struct path_result {
    int code;        /* X509_V_OK, or what forbids it */
    int at;          /* index in the path */
    int strict_code; /* the same by X509_V_FLAG_X509_STRICT, where code is OK */
    int strict_at;
};
/* Leaf first, anchor last; each is known to have been issued by the next. Remembered. `policies`
 * may be NULL. */
struct path_result chain_path_verify(const struct certificate_facts *const *path, size_t count,
                                     const struct chain_policies *policies);
/* The same where the first one is no server's, but signs revocation lists. */
bool chain_path_signs_lists(const struct certificate_facts *const *path, size_t count);

enum chain_outcome chain_outcome_of(int code); /* X509_V_ERR_* */
