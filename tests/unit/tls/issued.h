/* Certificates for tests, issued by an internal CA made when the program starts. */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "tls/certificate.h"
#include "tls/certificate_facts.h"

/* All of these fail the running test when something does not work. */

/* Once, before anything else; prepares the process too. */
void issued_init(void);
void issued_fini(void);

const char *issued_ca_pem(void);
const char *issued_ca_key_pem(void);

/* A leaf for "edge.test", "*.wild.test" and 127.0.0.1; kept until the end. */
struct keypair *issued_pair(enum key_type type);

/* A certificate in which everything can be wrong. Zero means the ordinary: an ECDSA leaf for
 * edge.test, signed by itself when there is no issuer. */
struct crafted {
    EVP_PKEY *key;
    X509 *issuer;
    EVP_PKEY *issuer_key;
    const char *common_name;       /* "": none */
    const char *alternative_names; /* OpenSSL's syntax; "": no such extension */
    const char *constraints, *usage, *extended_usage;
    const char *name_constraints, *policy_constraints, *policies;
    bool key_ids;         /* of subject and issuer */
    int version;          /* 0: 3 */
    const char *serial;   /* as OpenSSL reads it; NULL: one of its own */
    long from_s, until_s; /* from now; 0 and 0: an hour each way */
    const EVP_MD *digest; /* NULL: SHA-256 */
};
X509 *crafted_new(const struct crafted *crafted);
/* The caller's, to be given back with certificate_facts_unref(). */
const struct certificate_facts *facts_of(X509 *certificate);

/* Malloc'ed PEM texts. */
char *pem_of_certificate(X509 *certificate);
char *pem_of_key(EVP_PKEY *key);
/* Parses leaf, up to two more certificates (NULL: none) and the key as one file. */
struct keypair *pair_of(X509 *leaf, X509 *second, X509 *third, EVP_PKEY *key);
