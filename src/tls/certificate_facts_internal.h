/* How the facts of a certificate are put together; for certificate_facts*.c alone. */
#pragma once

#include <openssl/x509v3.h>

#include "tls/certificate_facts.h"

/* Everything that belongs to one certificate, freed together. */
struct facts_chunk {
    struct facts_chunk *next;
    size_t size, used;
};
struct facts_memory {
    struct facts_chunk *chunks;
    bool failed; /* sticky; checked once at the end */
};

struct certificate_object {
    struct certificate_facts facts; /* first: what others hold is a pointer to it */
    struct facts_memory memory;
};

/* Zeroed; NULL when out of memory. */
void *facts_allocate(struct facts_memory *memory, size_t size);
/* Printable copy of what a stranger wrote, at most `maximum` characters of it; "" when out of
 * memory. */
const char *facts_text(struct facts_memory *memory, const void *data, size_t size, size_t maximum);
const char *facts_hex(struct facts_memory *memory, const uint8_t *data, size_t size,
                      size_t maximum);
/* Subject or issuer in RFC 2253 order. */
const char *facts_name(struct facts_memory *memory, const X509_NAME *name);
/* The last value of this kind in the name; NULL: none. */
const char *facts_name_part(struct facts_memory *memory, const X509_NAME *name, int nid);
/* Dotted numbers, or OpenSSL's short name. */
const char *facts_oid(struct facts_memory *memory, const ASN1_OBJECT *object, bool short_name);

void facts_read_key(struct certificate_object *object, X509 *certificate);
void facts_read_extensions(struct certificate_object *object, X509 *certificate);
/* The alternative names and the URLs. */
void facts_read_names(struct certificate_object *object, X509 *certificate);
void facts_read_urls(struct certificate_object *object, X509 *certificate);

/* The addresses in distribution points that could be used: printable, of sane length. */
typedef void facts_url_fn(void *context, const char *text, size_t size);
void facts_each_url(const CRL_DIST_POINTS *points, facts_url_fn *take, void *context);

/* The certificates in a file, DER each, in its order; `take` returns 0 or ends the reading with its
 * error. */
typedef int certificate_take_fn(void *context, const uint8_t *der, size_t size,
                                struct error *error);
MUST_CHECK int certificate_data_read(const uint8_t *data, size_t size, const char *password,
                                     certificate_take_fn *take, void *context, struct error *error);
MUST_CHECK int certificate_file_read(const char *path, const char *password,
                                     certificate_take_fn *take, void *context, struct error *error);

/* Is this signature of this key (NULL: no)? RSA keys that Go's clients refuse are refused: with
 * 16384 bits and the largest exponent one look takes milliseconds, and a stranger's chain has
 * thousands of pairs to look at. */
bool facts_verify(X509 *certificate, EVP_PKEY *key);

static inline X509 *facts_x509(const struct certificate_facts *facts)
{
    return facts->x509;
}
