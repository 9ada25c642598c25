/* A revocation list in memory: between who reads it (revocation_crl.c), who tells by whom it is
 * signed (revocation_crl_signers.c) and who judges by it (revocation_crl_judge.c). */
#pragma once

#include <openssl/x509v3.h>

#include "tls/revocation.h"

/* TBSCertList and CertificateList (RFC 5280 §5.1), entries unparsed. */
struct crl_body {
    ASN1_INTEGER *version;
    X509_ALGOR *algorithm;
    X509_NAME *issuer;
    ASN1_TIME *this_update, *next_update;
    ASN1_STRING *entries; /* the whole SEQUENCE OF; NULL: none */
    STACK_OF(X509_EXTENSION) * extensions;
    ASN1_ENCODING enc; /* what was signed */
};
typedef struct crl_body CRL_BODY;

struct crl_whole {
    CRL_BODY *body;
    X509_ALGOR *algorithm;
    ASN1_BIT_STRING *signature;
};
typedef struct crl_whole CRL_WHOLE;

struct crl_entry { /* places in the entries' bytes */
    uint32_t at, serial_at;
    uint32_t size, serial_size;
};

#define CRL_SIGNERS_MAX 4 /* of one issuer's lists */

struct crl_judged {
    bool used, is_signed; /* by the certificate with this digest */
    uint8_t signer[32];
};

struct crl {
    unsigned references;
    CRL_WHOLE *whole;
    ISSUING_DIST_POINT *scope; /* NULL: all certificates of its issuer */
    ASN1_INTEGER *number;      /* NULL: it has none */
    ASN1_INTEGER *base_number; /* of the list that it changes; NULL: it is a complete one */
    char *delta_urls[CRL_DELTA_URLS_MAX];
    size_t delta_url_count;
    AUTHORITY_KEYID *authority; /* by whose key it says it is signed; NULL: does not say */
    const char *unsupported;    /* why it must not be used; static; NULL: it may */
    struct crl_entry *entries;  /* sorted by serial number */
    size_t count;
    char issuer[256];
    struct crl_judged judged[CRL_SIGNERS_MAX];
    unsigned judged_next;
};

/* With its key, and may it sign lists? Remembered: a list can be large. */
bool crl_is_signed_by(struct crl *crl, const struct certificate_facts *signer);

struct crl_signers {
    const struct certificate_facts *list[CRL_SIGNERS_MAX]; /* the issuer first; borrowed */
    size_t count;
};
/* Whose signature counts on the lists of the certificate's issuer; `lists` tell who is revoked. */
void crl_signers_find(struct crl_signers *ret_signers, const struct crl_question *question,
                      struct crl *const *lists, size_t count);
/* Who of them has signed it; NULL: none. */
const struct certificate_facts *crl_signer(struct crl *crl, const struct crl_signers *signers);

/* What it says of one certificate. */
struct crl_mark {
    bool listed;
    int reason; /* CRL_REASON_*; unspecified when nothing is said */
    int64_t revoked_at;
};
struct crl_mark crl_find(const struct crl *crl, const struct certificate_facts *certificate);

/* Do both have this extension with the same value, or neither? */
bool crl_extension_same(const struct crl *a, const struct crl *b, int nid);
