/* Has a certificate been revoked? What an OCSP response or a revocation list (CRL) says about it,
 * and whether that may be believed: nothing counts whose signature does not lead to the issuer.
 *
 * Both come from strangers: what cannot be read, is too old or is not about this certificate is an
 * outcome with words, never a guess. */
#pragma once

#include "tls/certificate_facts.h"

#define OCSP_SIZE_MAX (64u << 10)
#define CRL_SIZE_MAX  (32u << 20)

#define CRL_DELTA_URLS_MAX 3

/* Why (RFC 5280 §5.3.1): "keyCompromise", …; "unspecified". Static. */
const char *revocation_reason_name(int reason);

/* ---- OCSP (RFC 6960) ---- */

enum ocsp_outcome {
    OCSP_ABSENT, /* there is no response */
    OCSP_GOOD,
    OCSP_REVOKED,
    OCSP_UNKNOWN,        /* the responder does not know the certificate */
    OCSP_MALFORMED,      /* no OCSP response, or too large */
    OCSP_NOT_SUCCESSFUL, /* "try later", "unauthorized", … : it says nothing */
    OCSP_OTHER,          /* about other certificates only */
    OCSP_UNTRUSTED,      /* not signed by the issuer, nor by one whom it allowed to */
    OCSP_NOT_YET_VALID,  /* thisUpdate is to come */
    OCSP_STALE,          /* nextUpdate is over */
    OCSP_ISSUER_UNKNOWN  /* nothing to verify it by */
};
const char *ocsp_outcome_name(enum ocsp_outcome outcome); /* "good", "not-successful", … stable */

struct ocsp_verdict {
    enum ocsp_outcome outcome;
    bool delegated; /* signed by a responder whom the issuer certified */
    int64_t produced_at, this_update, next_update, revoked_at; /* Unix seconds; 0: not said */
    const char *revocation_reason;                             /* static; NULL: not revoked */
    const char *digest; /* by which the certificate is named: "sha1", "sha256"; static */
    char reason[160];   /* why it says nothing, printable; "" */
};

/* Judges a response by the clock `at`. `issuer` NULL: not known. */
void ocsp_judge(struct ocsp_verdict *ret_verdict, const uint8_t *der, size_t size,
                const struct certificate_facts *certificate, const struct certificate_facts *issuer,
                int64_t at);

/* The SignedCertificateTimestampList in a response (RFC 6962 §3.3), which the caller frees; false:
 * none. Says nothing about the response's worth. */
bool ocsp_timestamps(uint8_t **ret_list, size_t *ret_size, const uint8_t *der, size_t size);

/* ---- CRL (RFC 5280 §5) ---- */

struct crl; /* one list; immutable, reference-counted */

/* DER or PEM; copies it. ERROR_CERTIFICATE_UNPARSABLE with what is wrong in words. */
MUST_CHECK int crl_new(struct crl **ret_crl, const uint8_t *data, size_t size, struct error *error);
/* All that stand in one PEM file (or the one of a DER file), at most `maximum`; more is an error.
 */
MUST_CHECK int crl_new_all(struct crl **ret_list, size_t maximum, size_t *ret_count,
                           const uint8_t *data, size_t size, struct error *error);
struct crl *crl_ref(struct crl *crl);
void crl_unref(struct crl *crl); /* accepts NULL */
int64_t crl_this_update(const struct crl *crl);
int64_t crl_next_update(const struct crl *crl); /* 0: it does not say */
size_t crl_count(const struct crl *crl);        /* of revoked certificates */
size_t crl_size(const struct crl *crl);         /* bytes in memory */
const char *crl_issuer(const struct crl *crl);  /* printable */
bool crl_is_delta(const struct crl *crl);       /* it holds changes of a complete list */
/* Where its changes are published (freshest CRL, RFC 5280 §5.2.6); NULL: no further address. */
const char *crl_delta_url(const struct crl *crl, size_t at);

enum crl_outcome {
    CRL_GOOD,         /* it is about this certificate, and does not list it */
    CRL_REVOKED,      /* also by a list that is stale: revocation is for ever */
    CRL_OTHER_ISSUER, /* of another CA */
    CRL_OTHER_SCOPE,  /* of this CA, for other certificates (IssuingDistributionPoint) */
    CRL_UNTRUSTED,    /* not signed by the issuer, or by nobody who may sign its lists */
    CRL_UNSUPPORTED,  /* changes without the list that they change, indirect, not all reasons,
                         unknown critical extensions */
    CRL_NOT_YET_VALID,
    CRL_STALE,          /* nextUpdate is over */
    CRL_MALFORMED,      /* what was fetched is no list */
    CRL_UNREACHABLE,    /* could not be fetched */
    CRL_ISSUER_UNKNOWN, /* nothing to verify it by */
    CRL_NOT_ASKED       /* no list at hand */
};
const char *crl_outcome_name(enum crl_outcome outcome); /* "good", "other-issuer", … stable */

struct crl_verdict {
    enum crl_outcome outcome;
    int64_t this_update, next_update, revoked_at; /* Unix seconds; 0: not said */
    const char *revocation_reason;                /* static; NULL: not revoked */
    char reason[160];                             /* why it says nothing, printable; "" */
};

/* Whom a list is asked about, and who may have signed it: the issuer, or another certificate of its
 * name with cRLSign in its key usage - a new key, one for lists alone (RFC 5280 §6.3.3 (f)). The
 * other one stands among `issuers`, too, or one of those has issued it, nothing forbids it, it is
 * valid at that time and revoked by none of the lists. So whoever signs is vouched for by a CA that
 * the certificate's own path stands on; the RFC would take anybody below the same anchor. */
struct crl_question {
    const struct certificate_facts *certificate;
    /* Its issuer, and whoever has issued that, up to the trusted anchor. 0: not known; 1 where no
     * path is trusted. */
    const struct certificate_facts *const *issuers;
    size_t issuer_count;
    const struct certificate_facts *const *others; /* of anybody's word: they are verified */
    size_t other_count;
    int64_t at; /* Unix seconds */
};

/* Judges one list. Signatures are verified once and remembered. */
void crl_judge(struct crl_verdict *ret_verdict, struct crl *crl,
               const struct crl_question *question);

/* What several lists say together. Of complete ones "revoked" wins; each counts with the newest
 * changes (delta lists) that fit it by issuer, scope, key and numbers (RFC 5280 §5.2.4): they
 * revoke, they alone lift a hold, and while they are current it does not matter that the complete
 * list has ended (§6.3.3). Changes that fit none revoke all the same: revocation is for ever. Lists
 * for some reasons only make a certificate good where together they tell of all. */
struct crl_answer {
    struct crl_verdict verdict; /* CRL_NOT_ASKED: there are no lists */
    size_t by;                  /* the list that says so; `count`: none */
    size_t changes;             /* the delta list that was counted with it; `count`: none */
    size_t left_out; /* one of this CA for this certificate that could not be; `count`: none */
    char left_out_reason[160]; /* printable */
};
void crl_judge_all(struct crl_answer *ret_answer, struct crl *const *lists, size_t count,
                   const struct crl_question *question);
