/* What the other files of this folder may see of a key pair, and how they report what OpenSSL says.
 */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "tls/certificate.h"

X509 *keypair_leaf(const struct keypair *pair); /* borrowed */
STACK_OF(X509) *
    keypair_chain(
        const struct keypair *pair); /* borrowed; the certificates after the leaf, may be empty */
EVP_PKEY *keypair_private_key(const struct keypair *pair); /* borrowed */

/* Both return NULL when the bytes cannot be parsed. */
EVP_PKEY *private_key_decode(const uint8_t *der, size_t size);
/* The same object again for a certificate that was seen lately. */
X509 *certificate_decode_shared(const uint8_t *der, size_t size);

/* Makes a key pair of parts, taking references of its own; `issuer` is the rest of the chain. */
MUST_CHECK int keypair_assemble(struct keypair **ret_pair, X509 *leaf, X509 *issuer, EVP_PKEY *key,
                                struct error *error);

/* Names of a certificate in one block of memory that the caller frees: `*ret_names` points to
 * `*ret_count` strings behind it. SAN entries, or the common name when there is no SAN. */
MUST_CHECK int certificate_names(const X509 *certificate, char ***ret_names, size_t *ret_count,
                                 struct error *error);

/* "CN=…" on one line, printable ASCII. Returns `destination`. */
char *certificate_name_text(char *destination, size_t size, const X509_NAME *name);

/* Unix seconds. */
int64_t certificate_time(const ASN1_TIME *time);

/* OpenSSL's reason for the last failure ("no further reason" when it left none); empties its error
 * queue. */
const char *openssl_reason(void);
