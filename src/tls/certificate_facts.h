/* What one certificate says, read once: all that the checks judge by, as plain values.
 *
 * Certificates of strangers: every text is printable, every list has an end, and what cannot be
 * represented says so in a flag instead of being guessed. Immutable and reference-counted; the same
 * bytes give the same object again (a small cache), because ten thousand hosts share few
 * intermediates. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define CERTIFICATE_FACTS_SIZE_MAX  (1u << 20) /* bytes of one certificate */
#define CERTIFICATE_FACTS_NAMES_MAX 20000      /* more are counted, not kept */
#define CERTIFICATE_FACTS_URLS_MAX  8
#define CERTIFICATE_FILE_SIZE_MAX   (16u << 20) /* the system's store has a quarter of a megabyte */

enum public_key_kind {
    PUBLIC_KEY_RSA,
    PUBLIC_KEY_RSA_PSS,
    PUBLIC_KEY_EC,
    PUBLIC_KEY_ED25519,
    PUBLIC_KEY_ED448,
    PUBLIC_KEY_DSA,
    PUBLIC_KEY_OTHER /* or unreadable */
};
const char *public_key_kind_name(enum public_key_kind kind); /* "RSA", "EC", … */

enum alternative_name_kind {
    ALTERNATIVE_NAME_DNS,
    ALTERNATIVE_NAME_IP,
    ALTERNATIVE_NAME_EMAIL,
    ALTERNATIVE_NAME_URI,
    ALTERNATIVE_NAME_DIRECTORY,
    ALTERNATIVE_NAME_OTHER
};
struct alternative_name {
    enum alternative_name_kind kind;
    bool malformed; /* a DNS name with bytes that none has (a NUL, a space, …), an IP address of odd
                       size */
    const char *text; /* printable; DNS names in lower case */
};

/* KeyUsage bits (RFC 5280 §4.2.1.3), as numbered there. */
enum {
    KEY_USAGE_DIGITAL_SIGNATURE = 1 << 0,
    KEY_USAGE_KEY_ENCIPHERMENT = 1 << 2,
    KEY_USAGE_KEY_AGREEMENT = 1 << 4,
    KEY_USAGE_CERTIFICATE_SIGN = 1 << 5,
    KEY_USAGE_CRL_SIGN = 1 << 6
};
enum { /* ExtendedKeyUsage */
       EXTENDED_USAGE_SERVER = 1 << 0,
       EXTENDED_USAGE_CLIENT = 1 << 1,
       EXTENDED_USAGE_ANY = 1 << 2,
       EXTENDED_USAGE_OCSP_SIGNING = 1 << 3,
       EXTENDED_USAGE_OTHER = 1 << 4
};

struct certificate_facts {
    unsigned references;
    void *x509; /* OpenSSL's object; for tls/ alone */
    const uint8_t *der;
    size_t der_size;
    uint8_t sha256[32];
    uint8_t public_key_sha256[32]; /* of the SubjectPublicKeyInfo, as pins use it */
    const char *subject, *issuer;  /* RFC 2253 order, printable, "" when empty */
    const char *common_name;       /* NULL: none; the last one when there are several */
    const char *issuer_name;       /* short: the issuer's CN, else O, else all of it */
    const char *serial;            /* hex, "-" in front when negative */
    unsigned serial_size;          /* bytes of its encoding */
    bool serial_negative, serial_zero;
    unsigned version;              /* 1, 2, 3 */
    int64_t not_before, not_after; /* Unix seconds; saturated */
    bool dates_malformed; /* a date could not be read, or is beyond what can be represented */
    enum public_key_kind key_kind;
    unsigned key_bits;
    uint64_t rsa_exponent;           /* 0: not RSA; UINT64_MAX: that or more */
    const char *curve;               /* "P-256", …; NULL: not EC, or explicit parameters */
    const char *signature_algorithm; /* "ecdsa-with-SHA256", … ; "unknown" */
    const char *signature_digest; /* "sha256", "sha1", "md5", …; "" when the algorithm has its own
                                     (Ed25519) */
    bool signature_algorithms_differ; /* inside and outside the signed part */
    bool self_issued;                 /* subject = issuer */
    bool self_signed;                 /* and its own key verifies it */
    bool has_basic_constraints, basic_constraints_critical, is_ca;
    int path_length; /* -1: none */
    bool has_key_usage, key_usage_critical;
    unsigned key_usage;
    bool has_extended_usage;
    unsigned extended_usage;
    const char *extended_usage_text; /* all of them, "serverAuth, clientAuth, 1.2.3" */
    bool has_name_constraints;
    bool must_staple;       /* RFC 7633 */
    const char *policies;   /* OIDs, comma separated; "" */
    const char *validation; /* "DV", "OV", "IV", "EV" by the CA/Browser Forum's policy OIDs; NULL */
    const char
        *unknown_critical; /* OID of the first critical extension that nobody here knows; NULL */
    const char *malformed_extension; /* name of the first extension that cannot be read or stands
                                        twice; NULL */
    const char *subject_key_id, *authority_key_id; /* hex; NULL: none */
    struct alternative_name *names;
    size_t name_count;
    size_t names_dropped;
    bool has_alternative_names, alternative_names_critical;
    const char *ocsp_urls[CERTIFICATE_FACTS_URLS_MAX], *issuer_urls[CERTIFICATE_FACTS_URLS_MAX],
        *crl_urls[CERTIFICATE_FACTS_URLS_MAX], *delta_urls[CERTIFICATE_FACTS_URLS_MAX];
    size_t ocsp_url_count, issuer_url_count, crl_url_count,
        delta_url_count;       /* delta: freshest CRL,
                                  RFC 5280 §4.2.1.15 */
    const uint8_t *timestamps; /* SignedCertificateTimestampList (RFC 6962 §3.3), or NULL */
    size_t timestamps_size;
};

/* Copies `der`. ERROR_CERTIFICATE_UNPARSABLE with what is wrong in words. */
MUST_CHECK int certificate_facts_new(const struct certificate_facts **ret_facts, const uint8_t *der,
                                     size_t size, struct error *error);
const struct certificate_facts *certificate_facts_ref(const struct certificate_facts *facts);
void certificate_facts_unref(const struct certificate_facts *facts); /* accepts NULL */

static inline bool certificate_facts_same(const struct certificate_facts *a,
                                          const struct certificate_facts *b)
{
    return a == b || __builtin_memcmp(a->sha256, b->sha256, 32) == 0;
}

/* Is this DNS name or IP address covered by the alternative names alone (RFC 9525: never the common
 * name; a wildcard is the whole left-most label; IDNA names as A-labels)? */
bool certificate_facts_cover(const struct certificate_facts *facts, const char *name);

/* Certificates in a file, in its order: PEM (any number), DER, or PKCS#12 with this password (NULL:
 * none). `ret_list` has room for `maximum`, each a reference of the caller's; at least one is
 * found, else it is an error. Private keys in the file are passed over. */
MUST_CHECK int certificate_facts_read(const struct certificate_facts **ret_list, size_t maximum,
                                      size_t *ret_count, const char *path, const char *password,
                                      struct error *error);
/* The same of a file's content. */
MUST_CHECK int certificate_facts_parse(const struct certificate_facts **ret_list, size_t maximum,
                                       size_t *ret_count, const void *data, size_t size,
                                       struct error *error);
/* Malloc'ed PEM of nothing but these; NULL: out of memory. */
char *certificate_facts_to_pem(const struct certificate_facts *const *list, size_t count,
                               size_t *ret_size);
