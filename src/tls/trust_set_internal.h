/* The inside of a trust set, shared by trust_set.c (life, judgement), trust_set_read.c (files),
 * trust_set_document.c (for handshakers) and client_verify.c (handshakes). */
#pragma once

#include <openssl/x509.h>

#include "tls/trust_set.h"

struct trust_authority {
    uint8_t digest[CLIENT_DIGEST_SIZE]; /* struct client_link.authority */
    int64_t not_after;
};

struct trust_list {
    uint8_t scope[CLIENT_DIGEST_SIZE];  /* issuer and distribution point */
    uint8_t issuer[CLIENT_DIGEST_SIZE]; /* its name */
    int64_t this_update, next_update;   /* 0: it does not say */
    uint8_t number[CLIENT_SERIAL_MAX];  /* right-aligned */
    uint8_t numbered;
    uint8_t reserved[3];
};

struct trust_set {
    unsigned references;
    uint32_t generation;
    X509_STORE *store;
    STACK_OF(X509) * certificates;
    struct trust_authority *authorities;
    size_t authority_count;
    struct trust_list *lists;
    size_t list_count;
    uint8_t (*revoked)[CLIENT_DIGEST_SIZE]; /* sorted */
    size_t revoked_count, revoked_capacity;
    uint8_t digest[32], authorities_digest[32];
};

/* An empty set; NULL: out of memory. */
struct trust_set *trust_set_empty(void);
MUST_CHECK int trust_set_add_authority(struct trust_set *set, X509 *certificate,
                                       struct error *error);
/* Sorts and sums up: to be called when all is in it. */
void trust_set_finish(struct trust_set *set);
/* Is the time of this issuer's list over? */
bool trust_set_issuer_stale(const struct trust_set *set, const X509_NAME *issuer, int64_t now);

/* Of a name, in the form in which names are compared. */
void trust_name_digest(const X509_NAME *name, uint8_t ret_digest[CLIENT_DIGEST_SIZE]);
/* struct client_link.certificate; `serial` as its bytes. */
void trust_certificate_digest(const uint8_t issuer[CLIENT_DIGEST_SIZE], const ASN1_INTEGER *serial,
                              uint8_t ret_digest[CLIENT_DIGEST_SIZE]);
void trust_link(const X509 *certificate, struct client_link *ret_link);
