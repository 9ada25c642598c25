/* What clients' certificates are judged by: the CA certificates and revocation lists of a listener.
 *
 * Immutable and reference-counted: handshakes under way keep the set that they began with. One
 * function judges new clients and, from what their slots remember, live sessions. Every certificate
 * of the CA file is an anchor, self-signed or not; a revocation list must be signed by one of them.
 *
 * Only control parses files. Handshakers are sent what came of it (trust_set_export), in which a
 * revoked certificate takes 16 bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tls/client_identity.h"

#define TRUST_FILE_MAX     (16u << 20)
#define TRUST_DOCUMENT_MAX (64u << 20)
/* Twice as many take OpenSSL four times as long, and while a handshaker takes them in it does
 * nothing else. */
#define TRUST_AUTHORITIES_MAX 1000

struct trust_set;

/* A file's content. CA certificates are PEM, revocation lists PEM (any number) or DER (one). */
struct trust_file {
    const char *name; /* for messages */
    const char *data;
    size_t size;
};

/* The first file holds the CA certificates, all others revocation lists. The error names the file
 * and says what is wrong with it. Revocation lists whose time is over are taken: see
 * trust_set_stale(). */
MUST_CHECK int trust_set_new(struct trust_set **ret_set, const struct trust_file *files,
                             size_t count, struct error *error);
struct trust_set *trust_set_ref(struct trust_set *set);
void trust_set_unref(struct trust_set *set); /* accepts NULL */

/* Malloc'ed bytes; NULL when out of memory. */
uint8_t *trust_set_export(const struct trust_set *set, size_t *ret_size);
MUST_CHECK int trust_set_import(struct trust_set **ret_set, const uint8_t *data, size_t size,
                                struct error *error);

/* May `next` follow `set`? Not with a revocation list that is older (by its number, else by its
 * time) than the one in force of the same issuer and scope, or over while that one is not. */
MUST_CHECK int trust_set_follows(const struct trust_set *set, const struct trust_set *next,
                                 int64_t now, struct error *error);

enum trust_verdict {
    TRUST_ACCEPTED,
    TRUST_REVOKED, /* one certificate of the chain is */
    TRUST_UNKNOWN, /* no certificate of the chain is an anchor any more */
    TRUST_EXPIRED  /* the chain, or its anchor */
};
/* Pure. `now`: Unix seconds. */
enum trust_verdict trust_set_judge(const struct trust_set *set,
                                   const struct client_identity *identity, int64_t now);
const char *trust_verdict_name(enum trust_verdict verdict); /* "revoked", … */

/* ---- what it is ---- */

/* Over what it says, not over the bytes of its files: a revocation list that comes anew and says
 * the same changes nothing. Everything that was let in by a set of another digest is to be judged
 * again. */
const uint8_t *trust_set_digest(const struct trust_set *set); /* 32 bytes */
/* Over the anchors alone. */
const uint8_t *trust_set_authorities_digest(const struct trust_set *set); /* 32 bytes */
/* A number that whoever puts it in service gives it; 0 at first. */
uint32_t trust_set_generation(const struct trust_set *set);
void trust_set_number(struct trust_set *set, uint32_t generation);

struct trust_facts {
    size_t authorities, lists, revoked;
    int64_t next_update;      /* of the list whose time is over first; 0: none says */
    int64_t authority_expiry; /* of the anchor that ends first */
};
void trust_set_facts(const struct trust_set *set, struct trust_facts *ret_facts);
/* Is the time of a list over? */
bool trust_set_stale(const struct trust_set *set, int64_t now);
