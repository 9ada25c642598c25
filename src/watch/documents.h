/* Small documents that certificates name and CAs publish, fetched once for all targets: revocation
 * lists, issuers, directories and renewal windows. What is known is kept until it has to be
 * renewed, and used a little longer when renewing fails; failures are remembered with growing
 * pauses.
 *
 * Nothing here is trusted: whoever uses a document verifies it. */
#pragma once

#include "net/http_client.h"
#include "tls/revocation.h"

enum document_kind {
    DOCUMENT_CRL,
    DOCUMENT_ISSUERS,   /* tls/issuer_bundle.h */
    DOCUMENT_DIRECTORY, /* of ACME: where renewal information is */
    DOCUMENT_RENEWAL    /* RFC 9773 */
};

#define DOCUMENT_ISSUERS_MAX 4

struct document {
    enum document_kind kind;
    bool known;       /* else `reason` says why not, and the rest is empty */
    bool malformed;   /* it came, and was not what it should be */
    char reason[160]; /* printable */
    struct crl *crl;
    const struct certificate_facts *issuers[DOCUMENT_ISSUERS_MAX];
    size_t issuer_count;
    char renewal_url[512];
    int64_t start, end;    /* Unix seconds */
    char explanation[160]; /* URL, printable; "" */
};

struct documents; /* of a process */
struct document_request;
/* `document` holds during the call. */
typedef void document_done_fn(void *context, const struct document *document);

#define DOCUMENT_KEY_MAX  1040       /* bytes of a key, without the zero */
#define DOCUMENT_KEPT_MAX (8u << 20) /* a larger one is not given to the keeper */

/* A document as it came. */
struct document_copy {
    const uint8_t *body;
    size_t size;
    int64_t fetched_at, retry_after_s; /* Unix seconds; of Retry-After, -1: none */
};

/* Whoever keeps documents beyond the process. A key tells kind, who may be asked and address. */
struct documents_keeper {
    void *context;
    /* documents_recalled() follows, not before this has returned. False: nobody can be asked. */
    bool (*recall)(void *context, const char *key);
    /* `until`: when it will be of no use any more, Unix seconds. */
    void (*keep)(void *context, const char *key, const struct document_copy *copy, int64_t until);
    void (*drop)(void *context, const char *key);
};

struct documents_options {
    const struct documents_keeper *keeper; /* NULL: in memory alone */
    uint32_t timeout_ms;
    size_t memory_max;
};

/* `client` stays with the caller. NULL: out of memory. */
struct documents *documents_new(struct loop *loop, struct http_client *client,
                                const struct documents_options *options);
void documents_free(struct documents *documents); /* accepts NULL; nobody is called back */

/* Called back once, never before this has returned. `public_only` as in http_client.h. NULL: out of
 * memory. */
struct document_request *documents_get(struct documents *documents, enum document_kind kind,
                                       const char *url, bool public_only, document_done_fn *done,
                                       void *context);
void documents_cancel(struct document_request *request); /* accepts NULL */
/* The keeper's answer; NULL: it has none. Read as if it came now, by the time of its fetch. */
void documents_recalled(struct documents *documents, const char *key,
                        const struct document_copy *copy);
/* What came from there has proved to be somebody else's: forgotten, and not asked again too soon.
 */
void documents_reject(struct documents *documents, enum document_kind kind, const char *url,
                      bool public_only);
