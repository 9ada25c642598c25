/* Checks targets, many at once, on the caller's loop: resolves, fans out over addresses × key types
 * × server names, probes, judges, and hands over each target with all its endpoints. */
#pragma once

#include "loop/loop.h"
#include "net/http_client.h"
#include "net/names.h"
#include "watch/checks/check.h"
#include "watch/revocation.h"

#define CHECKER_CRL_FILES_MAX 16

/* What the file of a file: target holds, where somebody else reads it. */
struct checker_file {
    const struct certificate_facts *const *certificates; /* at most CHAIN_SERVED_MAX */
    size_t count;
    const char *trouble; /* why it cannot be read; NULL: it can */
};

struct checker_options {
    struct chain_store *stores[ENDPOINT_STORES_MAX]; /* all must trust; the first is "the" store */
    size_t store_count;
    const char *name;           /* expected instead of the target's host; NULL */
    struct address connect[16]; /* pinned, instead of resolving; port 0: the target's */
    size_t connect_count;
    const char *name_servers; /* NULL: the system's */
    int family;               /* AF_UNSPEC, AF_INET, AF_INET6 */
    bool without_sni;         /* also without a server name */
    bool deep, ciphers, resumption, renegotiation, trace;
    bool browser; /* also as a browser would: with intermediates fetched by AIA */
    bool fetch_crls, fetch_renewal_information;
    struct crl_file *crl_files[CHECKER_CRL_FILES_MAX]; /* of the operator */
    size_t crl_file_count;
    const char *renewal_directory; /* of ACME, for every certificate; NULL: those of known CAs */
    /* Of the checker's own options alone, as all checks share what is fetched: */
    struct revocation_options revocation;
    const char *file_password;       /* of PKCS#12 */
    const struct checker_file *file; /* NULL: files are opened here */
    uint32_t timeout_ms;             /* of one connection, each of connect, starttls, handshake */
    unsigned connections_max, per_host_max;
    const char *vantage;        /* static; NULL: "public" */
    struct check_policy policy; /* `at` 0: now, at each check */
};

/* Raises the limit of descriptors as far as it may be, and returns how many connections fit below
 * it beside what else needs one: names, documents, files. Before a sandbox forbids it. */
unsigned checker_connections_possible(void);

struct checker;

/* `endpoints` belong to the receiver: endpoint_free() each. Called once per target, never before
 * checker_add() has returned. */
typedef void checker_done_fn(void *context, const struct target *target,
                             struct endpoint **endpoints, size_t count);

MUST_CHECK int checker_new(struct checker **ret_checker, struct loop *loop,
                           const struct checker_options *options, struct error *error);
void checker_free(struct checker *checker); /* accepts NULL; nobody is called back */
/* The resolver that asks these name servers, NULL the system's; made when it is first asked for,
 * and kept. NULL, and why: it cannot be made. */
struct names *checker_names(struct checker *checker, const char *servers, struct error *error);
/* `options` NULL: those of the checker; else they and what they point to stay until the call-back.
 * False when out of memory. */
MUST_CHECK bool checker_add(struct checker *checker, const struct target *target,
                            const struct checker_options *options, checker_done_fn *done,
                            void *context);
/* As documents_recalled(). */
void checker_recalled(struct checker *checker, const char *key, const struct document_copy *copy);
/* Targets under way or waiting, and hosts of mx:// targets. */
size_t checker_pending(const struct checker *checker);
