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

struct documents_options {
    const char *folder; /* lists are kept there, too; NULL: in memory alone */
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
/* What came from there has proved to be somebody else's: forgotten, and not asked again too soon.
 */
void documents_reject(struct documents *documents, enum document_kind kind, const char *url,
                      bool public_only);
