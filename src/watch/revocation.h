/* What an endpoint's certificates need from elsewhere: revocation lists, missing intermediates
 * (AIA, as browsers fetch them), the CA's suggested renewal window (ARI, RFC 9773).
 *
 * Fetched once for all targets and kept: lists until they have to be renewed, failures with growing
 * pauses. Addresses come from certificates of strangers: an endpoint at a public address makes
 * nobody ask a private one. A network that fails costs knowledge, never a verdict. */
#pragma once

#include "net/http_client.h"
#include "watch/crl_file.h"
#include "watch/documents.h"
#include "watch/endpoint.h"

struct revocation_options {
    const struct documents_keeper *keeper; /* of what was fetched; NULL: nobody */
    uint32_t timeout_ms;                   /* of one fetch; 0: 15 s */
    size_t memory_max;                     /* bytes of lists kept; 0: 256 MiB */
};

struct revocation; /* of a process */
struct revocation_job;
/* `client` stays with the caller and is freed after this. */
MUST_CHECK int revocation_new(struct revocation **ret_revocation, struct loop *loop,
                              struct http_client *client, const struct revocation_options *options,
                              struct error *error);
void revocation_free(struct revocation *revocation); /* accepts NULL; nobody is called back */

/* As documents_recalled(). */
void revocation_recalled(struct revocation *revocation, const char *key,
                         const struct document_copy *copy);

/* What to find out, and by what the operator has given. Staple, timestamps and the operator's lists
 * are always looked at. All of it stays the caller's until the call-back. */
struct revocation_order {
    bool crls, intermediates, renewal;
    int64_t at; /* the moment that is judged, Unix seconds; what is to come is judged by now */
    const struct crl_file *const *crl_files; /* asked before any other */
    size_t crl_file_count;
    const char *renewal_directory; /* ACME directory for every certificate; NULL: those of known
                                      CAs */
    const struct certificate_logs *logs; /* NULL: timestamps are not verified */
};
typedef void revocation_done_fn(void *context, struct endpoint *endpoint);

/* Fills endpoint->revocation, after the stores have been asked. The endpoint stays with the caller.
 * Called back once, never before this has returned. NULL: out of memory. */
struct revocation_job *revocation_prepare(struct revocation *revocation, struct endpoint *endpoint,
                                          const struct revocation_order *order,
                                          revocation_done_fn *done, void *context);
void revocation_cancel(struct revocation_job *job); /* accepts NULL */
