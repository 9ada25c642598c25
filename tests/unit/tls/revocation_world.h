/* What the tests of revocation share: two CAs, certificates of the first one, and revocation lists
 * in which everything can be wrong. */
#pragma once

#include <openssl/x509.h>

#include "issued.h"
#include "tls/revocation.h"

#define HOUR 3600
#define URL  "http://crl.example/1.crl"

extern EVP_PKEY *ca_key, *other_key, *leaf_key, *responder_key;
extern X509 *ca, *other_ca, *leaf, *other_leaf, *responder, *impostor;
extern const struct certificate_facts *ca_facts, *other_ca_facts, *leaf_facts;
extern struct crl_question of_ca; /* about the leaf */
extern int64_t now;

/* Of the group of tests. */
int revocation_world_set_up(void **state);
int revocation_world_tear_down(void **state);

X509 *authority(EVP_PKEY *key, const char *name, const char *usage); /* signed by itself */
/* A leaf of the CA. */
X509 *issued(EVP_PKEY *key, const char *name, const char *extended_usage);
/* The same certificate, signed again with this distribution point (OpenSSL's syntax). */
X509 *with_list_address(X509 *certificate, const char *address);

/* An extension about distribution points; the sections it names stand in revocation_world.c. */
X509_EXTENSION *naming(int nid, const char *text);

struct bytes {
    uint8_t *data;
    size_t size;
};

struct list { /* zero: fresh, of the CA, for nobody */
    X509 *revoked;
    int reason; /* 0: not said */
    X509 *issuer;
    EVP_PKEY *key;
    long this_s, next_s;
    int extension;
    const char *extension_text;
    unsigned others;       /* so many other entries */
    long number;           /* 0: none */
    long changes;          /* a delta list of the one with this number; 0: a complete list */
    X509_EXTENSION *scope; /* NULL: none; stays the caller's */
};
/* Signed, in DER; the caller frees the bytes with OPENSSL_free(). */
struct bytes list_der(const struct list *list);
struct crl *crl_of(const struct list *list);
