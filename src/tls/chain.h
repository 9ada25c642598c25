/* Judging a chain of certificates as the strictest client does: only what the server sent, and the
 * client's own store; no fetching, nothing remembered of other connections.
 *
 * All paths from the leaf to an anchor are found, not only one, and each is judged: so it is known
 * from which moment on no path is left (an expired cross-sign that nobody needs alarms nobody), and
 * which certificates are needed at all. */
#pragma once

#include "tls/certificate_facts.h"

#define CHAIN_SERVED_MAX                                                                           \
    64                     /* certificates that a server may send; more is a finding of its own    \
                            */
#define CHAIN_PATHS_MAX 16 /* the best are kept */
#define CHAIN_DEPTH_MAX 12

struct chain_store; /* trust anchors with a name; immutable, reference-counted */
/* `path`: PEM file, or NULL for the system's, as it is now. `name` is what people see ("system",
 * "mozilla"). */
MUST_CHECK int chain_store_new(struct chain_store **ret_store, const char *name, const char *path,
                               struct error *error);
/* Of the content of a file. */
MUST_CHECK int chain_store_parse(struct chain_store **ret_store, const char *name, const void *data,
                                 size_t size, struct error *error);
struct chain_store *chain_store_ref(struct chain_store *store);
void chain_store_unref(struct chain_store *store); /* accepts NULL */
const char *chain_store_name(const struct chain_store *store);
/* Old devices: an anchor serves beyond its own end. Others (OpenSSL, GnuTLS, Go) look at it. */
void chain_store_ignore_ends(struct chain_store *store);
/* Roots of a public programme: rules of the CA/Browser Forum apply to what ends in them. True for
 * the system's store's packaged anchors; of a file's, those that the system's store has, too. */
bool chain_store_public(const struct chain_store *store, const struct certificate_facts *anchor);

enum chain_outcome {
    CHAIN_TRUSTED,
    CHAIN_INCOMPLETE, /* an issuer is missing */
    CHAIN_UNTRUSTED,  /* ends in a root that the store does not have */
    CHAIN_SELF_SIGNED,
    CHAIN_EXPIRED,
    CHAIN_NOT_YET_VALID,
    CHAIN_NAME,        /* the leaf does not cover the name */
    CHAIN_SIGNATURE,   /* a signature does not verify, or its algorithm is not accepted */
    CHAIN_CONSTRAINTS, /* basic constraints, path length, key usage */
    CHAIN_NAME_CONSTRAINTS,
    CHAIN_PURPOSE, /* extended key usage */
    CHAIN_POLICY,
    CHAIN_MALFORMED /* unreadable or an unknown critical extension */
};
const char *chain_outcome_name(enum chain_outcome outcome); /* "trusted", "incomplete", … stable */

struct chain_path {
    const struct certificate_facts
        *certificates[CHAIN_DEPTH_MAX]; /* leaf first; the last is the
                                           anchor; owned by the verdict */
    size_t count;
    int64_t not_before, not_after; /* when all of it is valid: from the latest begin to the second
                                      before the earliest end; the anchor's own dates count unless
                                      its store ignores them */
};

struct chain_verdict {
    enum chain_outcome outcome;
    int code;                               /* X509_V_ERR_* */
    const char *reason;                     /* in words; static */
    const struct certificate_facts *blamed; /* NULL: none; may be an anchor; the verdict's */
    int at;                    /* its index among the served certificates; -1: not sent */
    int strict_code;           /* of the best path: what those say who verify to the letter
                                  (X509_V_FLAG_X509_STRICT, the default of Python 3.13); 0: nothing */
    const char *strict_reason; /* in words; static; NULL with 0 */
    int strict_at;             /* as `at` */
    struct chain_path paths[CHAIN_PATHS_MAX]; /* those that hold at the time asked for, the
                                                 longest-living first; also with CHAIN_NAME */
    size_t path_count;
    int64_t breaks_at; /* Unix seconds from which on no path is left; 0: none holds now */
};

/* Certificate policies that are asked for (RFC 5280 §6.1.1 (c) to (g)); zeroed: none. */
#define CHAIN_POLICIES_MAX 8
struct chain_policies {
    const char *accepted[CHAIN_POLICIES_MAX]; /* oid_valid() each */
    size_t count;                             /* 0: any is accepted */
    bool required;                            /* an accepted one must hold along the chain */
    bool mapping_inhibited, any_inhibited;    /* policy mappings, anyPolicy count for nothing */
};

struct chain_question {
    const struct certificate_facts *const *served; /* leaf first, as sent */
    size_t count;
    const struct certificate_facts *const *fetched; /* by AIA, for browsers; else none */
    size_t fetched_count;
    const char *name;                      /* to be covered; NULL: names are not judged */
    const struct chain_policies *policies; /* NULL: none are asked for */
    int64_t at;                            /* Unix seconds */
};
/* Out of memory: CHAIN_MALFORMED with a reason. The verdict is to be freed by chain_verdict_fini().
 */
void chain_judge(const struct chain_store *store, const struct chain_question *question,
                 struct chain_verdict *ret_verdict);
void chain_verdict_fini(struct chain_verdict *verdict); /* accepts zeroed */

/* The certificate among `pool` that has issued this one, its signature verified; NULL: none.
 * Borrowed from the pool. */
const struct certificate_facts *chain_issuer(const struct certificate_facts *certificate,
                                             const struct certificate_facts *const *pool,
                                             size_t count);
