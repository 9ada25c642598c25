/* Revocation lists. They can hold a million entries, of which one is asked for: the entries stay as
 * they came, behind an index of places sorted by serial number, instead of becoming objects. */
#include "tls/revocation.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/asn1t.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/string.h"
#include "tls/certificate_internal.h"
#include "tls/openssl_auto.h"

#define SKEW_S 300 /* of clocks */

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

ASN1_SEQUENCE_enc(CRL_BODY, enc, 0) =
    {
        ASN1_OPT(CRL_BODY, version, ASN1_INTEGER),
        ASN1_SIMPLE(CRL_BODY, algorithm, X509_ALGOR),
        ASN1_SIMPLE(CRL_BODY, issuer, X509_NAME),
        ASN1_SIMPLE(CRL_BODY, this_update, ASN1_TIME),
        ASN1_OPT(CRL_BODY, next_update, ASN1_TIME),
        ASN1_OPT(CRL_BODY, entries, ASN1_SEQUENCE),
        ASN1_EXP_SEQUENCE_OF_OPT(CRL_BODY, extensions, X509_EXTENSION, 0),
} static_ASN1_SEQUENCE_END_ref(CRL_BODY, CRL_BODY)

        ASN1_SEQUENCE(CRL_WHOLE) =
            {
                ASN1_SIMPLE(CRL_WHOLE, body, CRL_BODY),
                ASN1_SIMPLE(CRL_WHOLE, algorithm, X509_ALGOR),
                ASN1_SIMPLE(CRL_WHOLE, signature, ASN1_BIT_STRING),
} static_ASN1_SEQUENCE_END(CRL_WHOLE)

                struct crl_entry { /* places in the entries' bytes */
    uint32_t at, serial_at;
    uint32_t size, serial_size;
};

struct crl {
    unsigned references;
    CRL_WHOLE *whole;
    ISSUING_DIST_POINT *scope; /* NULL: all certificates of its issuer */
    const char *unsupported;   /* why it must not be used; static; NULL: it may */
    struct crl_entry *entries; /* sorted by serial number */
    size_t count;
    char issuer[256];
    bool judged, is_signed; /* by the certificate with this digest */
    uint8_t signer[32];
};

static void ASN1_ENUMERATED_auto(ASN1_ENUMERATED **value)
{
    ASN1_ENUMERATED_free(*value);
}

static void X509_REVOKED_auto(X509_REVOKED **entry)
{
    X509_REVOKED_free(*entry);
}

/* ---- the index ---- */

/* Where an element's content is; false when there is none of this tag, or it is cut. */
static bool take_element(const uint8_t **place, const uint8_t *end, int wanted,
                         const uint8_t **ret_content, size_t *ret_size)
{
    const unsigned char *content = *place;
    long size = 0;
    int tag, class;

    if (content >= end)
        return false;
    int result = ASN1_get_object(&content, &size, &tag, &class, end - content);
    if ((result & 0x80) != 0 || (result & 1) != 0 || class != V_ASN1_UNIVERSAL || tag != wanted)
        return false;
    *ret_content = content;
    *ret_size = (size_t)size;
    *place = content + size;
    return true;
}

static bool index_entry(struct crl *crl, const uint8_t *bytes, const uint8_t **place,
                        const uint8_t *end)
{
    const uint8_t *begin = *place, *content, *serial;
    size_t size, serial_size;

    if (!take_element(place, end, V_ASN1_SEQUENCE, &content, &size) ||
        !take_element(&content, content + size, V_ASN1_INTEGER, &serial, &serial_size))
        return false;
    crl->entries[crl->count++] = (struct crl_entry){.at = (uint32_t)(begin - bytes),
                                                    .size = (uint32_t)(*place - begin),
                                                    .serial_at = (uint32_t)(serial - bytes),
                                                    .serial_size = (uint32_t)serial_size};
    return true;
}

struct serial {
    const uint8_t *bytes;
    size_t size;
};

static int compare_serials(struct serial a, struct serial b)
{
    if (a.size != b.size)
        return a.size < b.size ? -1 : 1;
    return memcmp(a.bytes, b.bytes, a.size);
}

static struct serial serial_of(const struct crl *crl, const struct crl_entry *entry)
{
    return (struct serial){ASN1_STRING_get0_data(crl->whole->body->entries) + entry->serial_at,
                           entry->serial_size};
}

static int compare_entries(const void *a, const void *b, void *crl)
{
    return compare_serials(serial_of(crl, a), serial_of(crl, b));
}

#define ENTRY_SIZE_MIN 18 /* of the shortest: a serial number of one byte and a UTCTime */

static bool index_entries(struct crl *crl)
{
    const ASN1_STRING *entries = crl->whole->body->entries;
    const uint8_t *bytes, *place, *content;
    size_t size;

    if (entries == NULL)
        return true;
    place = bytes = ASN1_STRING_get0_data(entries);
    if (!take_element(&place, bytes + ASN1_STRING_length(entries), V_ASN1_SEQUENCE, &content,
                      &size))
        return false;
    crl->entries = calloc(size / ENTRY_SIZE_MIN + 1, sizeof *crl->entries);
    if (crl->entries == NULL)
        return false;
    for (const uint8_t *end = content + size; content < end;) {
        if (crl->count > size / ENTRY_SIZE_MIN || !index_entry(crl, bytes, &content, end))
            return false;
    }
    qsort_r(crl->entries, crl->count, sizeof *crl->entries, compare_entries, crl);
    return true;
}

static const struct crl_entry *find_entry(const struct crl *crl, struct serial serial)
{
    size_t from = 0, to = crl->count;

    while (from < to) {
        size_t middle = from + (to - from) / 2;
        int order = compare_serials(serial_of(crl, &crl->entries[middle]), serial);
        if (order == 0)
            return &crl->entries[middle];
        if (order < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

/* ---- reading ---- */

static const char *check_extensions(const struct crl_body *body)
{
    for (int i = 0; i < sk_X509_EXTENSION_num(body->extensions); i++) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(body->extensions, i);
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
        if (nid == NID_delta_crl)
            return "it holds changes only (a delta list)";
        if (X509_EXTENSION_get_critical(extension) && nid != NID_issuing_distribution_point)
            return "it has a critical extension that is not known";
    }
    return NULL;
}

static const char *read_scope(struct crl *crl)
{
    int found = -1;

    crl->scope =
        X509V3_get_d2i(crl->whole->body->extensions, NID_issuing_distribution_point, &found, NULL);
    if (crl->scope == NULL)
        return found == -1 ? NULL : "what it says of the certificates that it is for is unreadable";
    if (crl->scope->indirectCRL > 0)
        return "it is for certificates of other CAs, too (an indirect list)";
    return NULL;
}

static int refuse(struct error *error, const char *reason)
{
    return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                     "it is no revocation list: %s; expected DER or PEM", reason);
}

static int read_der(struct crl **ret_crl, const uint8_t *der, size_t size, struct error *error)
{
    const unsigned char *place = der;
    struct crl *crl = calloc(1, sizeof *crl);

    if (crl == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    crl->references = 1;
    ERR_clear_error();
    crl->whole = (CRL_WHOLE *)ASN1_item_d2i(NULL, &place, (long)size, ASN1_ITEM_rptr(CRL_WHOLE));
    const char *reason = crl->whole == NULL    ? openssl_reason()
                         : place != der + size ? "there are bytes behind it"
                         : !index_entries(crl) ? "its entries cannot be read"
                                               : NULL;
    if (reason != NULL) {
        crl_unref(crl);
        return refuse(error, reason);
    }
    crl->unsupported = check_extensions(crl->whole->body);
    const char *unsupported = read_scope(crl);
    if (crl->unsupported == NULL)
        crl->unsupported = unsupported;
    certificate_name_text(crl->issuer, sizeof crl->issuer, crl->whole->body->issuer);
    ERR_clear_error();
    *ret_crl = crl;
    return 0;
}

static int read_pem(struct crl **ret_list, size_t maximum, size_t *ret_count, const uint8_t *data,
                    size_t size, struct error *error)
{
    AUTO(BIO) *input = BIO_new_mem_buf(data, (int)size);
    unsigned char *der;
    long der_size;

    if (input == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    ERR_clear_error();
    for (*ret_count = 0;
         PEM_bytes_read_bio(&der, &der_size, NULL, PEM_STRING_X509_CRL, input, NULL, NULL) == 1;) {
        int result = *ret_count == maximum
                         ? refuse(error, "there are too many lists in it")
                         : read_der(&ret_list[*ret_count], der, (size_t)der_size, error);
        OPENSSL_free(der);
        if (result != 0)
            return result;
        ++*ret_count;
    }
    bool complete = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    const char *reason = openssl_reason();
    return complete && *ret_count > 0 ? 0 : refuse(error, complete ? "there is none" : reason);
}

int crl_new_all(struct crl **ret_list, size_t maximum, size_t *ret_count, const uint8_t *data,
                size_t size, struct error *error)
{
    static const char mark[] = "-----BEGIN";
    size_t count = 0;

    if (size > CRL_SIZE_MAX)
        return refuse(error, "it is larger than 32 MiB");
    bool is_pem = size >= 1 && data[0] != (V_ASN1_CONSTRUCTED | V_ASN1_SEQUENCE) &&
                  memmem(data, size, mark, sizeof mark - 1) != NULL;
    int result = is_pem ? read_pem(ret_list, maximum, &count, data, size, error)
                        : read_der(ret_list, data, size, error);
    if (result == 0) {
        *ret_count = is_pem ? count : 1;
        return 0;
    }
    while (count > 0)
        crl_unref(ret_list[--count]);
    return result;
}

int crl_new(struct crl **ret_crl, const uint8_t *data, size_t size, struct error *error)
{
    size_t count;

    return crl_new_all(ret_crl, 1, &count, data, size, error);
}

struct crl *crl_ref(struct crl *crl)
{
    crl->references++;
    return crl;
}

void crl_unref(struct crl *crl)
{
    if (crl == NULL || --crl->references > 0)
        return;
    ASN1_item_free((ASN1_VALUE *)crl->whole, ASN1_ITEM_rptr(CRL_WHOLE));
    ISSUING_DIST_POINT_free(crl->scope);
    free(crl->entries);
    free(crl);
}

int64_t crl_this_update(const struct crl *crl)
{
    return certificate_time(crl->whole->body->this_update);
}

int64_t crl_next_update(const struct crl *crl)
{
    const ASN1_TIME *next = crl->whole->body->next_update;

    return next != NULL ? certificate_time(next) : 0;
}

size_t crl_count(const struct crl *crl)
{
    return crl->count;
}

size_t crl_size(const struct crl *crl)
{
    const ASN1_STRING *entries = crl->whole->body->entries;
    size_t raw = entries != NULL ? (size_t)ASN1_STRING_length(entries) : 0;

    /* The entries stand a second time in what was signed. */
    return sizeof *crl + 2 * raw + (raw / ENTRY_SIZE_MIN + 1) * sizeof *crl->entries;
}

const char *crl_issuer(const struct crl *crl)
{
    return crl->issuer;
}

/* ---- judging ---- */

static void say(struct crl_verdict *verdict, enum crl_outcome outcome, const char *reason)
{
    verdict->outcome = outcome;
    string_copy(verdict->reason, sizeof verdict->reason, reason);
}

static bool verify(const struct crl *crl, X509 *issuer)
{
    const CRL_WHOLE *whole = crl->whole;
    EVP_PKEY *key = X509_get0_pubkey(issuer);

    return key != NULL && X509_ALGOR_cmp(whole->algorithm, whole->body->algorithm) == 0 &&
           (X509_get_key_usage(issuer) & KU_CRL_SIGN) != 0 &&
           ASN1_item_verify(ASN1_ITEM_rptr(CRL_BODY), whole->algorithm, whole->signature,
                            whole->body, key) == 1;
}

static bool is_signed_by(struct crl *crl, const struct certificate_facts *issuer)
{
    if (!crl->judged || memcmp(crl->signer, issuer->sha256, sizeof crl->signer) != 0) {
        crl->is_signed = verify(crl, issuer->x509);
        memcpy(crl->signer, issuer->sha256, sizeof crl->signer);
        crl->judged = true;
        ERR_clear_error();
    }
    return crl->is_signed;
}

/* One of the list's addresses must be one of the certificate's (RFC 5280 §6.3.3 (b)(2)): a CA's
 * other shard does not list the certificate, and says nothing by that. */
static bool is_distribution_point(const GENERAL_NAMES *names,
                                  const struct certificate_facts *certificate)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI)
            continue;
        size_t size = (size_t)ASN1_STRING_length(name->d.ia5);
        for (size_t at = 0; at < certificate->crl_url_count; at++) {
            if (strlen(certificate->crl_urls[at]) == size &&
                memcmp(ASN1_STRING_get0_data(name->d.ia5), certificate->crl_urls[at], size) == 0)
                return true;
        }
    }
    return false;
}

static bool is_in_scope(const struct crl *crl, const struct certificate_facts *certificate)
{
    const ISSUING_DIST_POINT *scope = crl->scope;

    if (scope == NULL)
        return true;
    if (scope->onlyattr > 0 || (scope->onlyuser > 0 && certificate->is_ca) ||
        (scope->onlyCA > 0 && !certificate->is_ca))
        return false;
    return scope->distpoint == NULL ||
           (scope->distpoint->type == 0 &&
            is_distribution_point(scope->distpoint->name.fullname, certificate));
}

static void read_entry(struct crl_verdict *verdict, const struct crl *crl,
                       const struct crl_entry *entry)
{
    const unsigned char *place = ASN1_STRING_get0_data(crl->whole->body->entries) + entry->at;
    AUTO(X509_REVOKED) *revoked = d2i_X509_REVOKED(NULL, &place, entry->size);

    verdict->outcome = CRL_REVOKED;
    verdict->revocation_reason = revocation_reason_name(0);
    if (revoked == NULL)
        return;
    AUTO(ASN1_ENUMERATED) *reason = X509_REVOKED_get_ext_d2i(revoked, NID_crl_reason, NULL, NULL);
    verdict->revoked_at = certificate_time(X509_REVOKED_get0_revocationDate(revoked));
    if (reason != NULL)
        verdict->revocation_reason = revocation_reason_name((int)ASN1_ENUMERATED_get(reason));
}

static const struct crl_entry *entry_of(const struct crl *crl, X509 *certificate)
{
    unsigned char *der = NULL;
    const uint8_t *content;
    size_t size;
    int whole = i2d_ASN1_INTEGER(X509_get0_serialNumber(certificate), &der);
    const struct crl_entry *entry = NULL;

    const uint8_t *place = der;
    if (whole > 0 && take_element(&place, der + whole, V_ASN1_INTEGER, &content, &size))
        entry = find_entry(crl, (struct serial){content, size});
    OPENSSL_free(der);
    return entry;
}

static void judge_freshness(struct crl_verdict *verdict, const struct crl *crl, int64_t at)
{
    if (verdict->this_update > at + SKEW_S)
        say(verdict, CRL_NOT_YET_VALID, "its time is still to come");
    else if (verdict->next_update != 0 && verdict->next_update < at)
        say(verdict, CRL_STALE, "a newer one should have taken its place");
    else if (crl->scope != NULL && crl->scope->onlysomereasons != NULL)
        say(verdict, CRL_UNSUPPORTED, "it tells of some reasons only");
    else
        verdict->outcome = CRL_GOOD;
}

void crl_judge(struct crl_verdict *ret_verdict, struct crl *crl,
               const struct certificate_facts *certificate, const struct certificate_facts *issuer,
               int64_t at)
{
    *ret_verdict = (struct crl_verdict){.this_update = crl_this_update(crl),
                                        .next_update = crl_next_update(crl)};
    if (issuer == NULL) {
        say(ret_verdict, CRL_ISSUER_UNKNOWN, "the certificate's issuer is not known");
    } else if (X509_NAME_cmp(crl->whole->body->issuer, X509_get_subject_name(issuer->x509)) != 0) {
        say(ret_verdict, CRL_OTHER_ISSUER, "it is of another CA: ");
        size_t used = strlen(ret_verdict->reason);
        string_copy(ret_verdict->reason + used, sizeof ret_verdict->reason - used, crl->issuer);
    } else if (crl->unsupported != NULL) {
        say(ret_verdict, CRL_UNSUPPORTED, crl->unsupported);
    } else if (!is_signed_by(crl, issuer)) {
        say(ret_verdict, CRL_UNTRUSTED, "the issuer has not signed it, or may not sign lists");
    } else if (!is_in_scope(crl, certificate)) {
        say(ret_verdict, CRL_OTHER_SCOPE, "it is for other certificates of this CA");
    } else {
        const struct crl_entry *entry = entry_of(crl, certificate->x509);
        if (entry != NULL)
            read_entry(ret_verdict, crl, entry);
        else
            judge_freshness(ret_verdict, crl, at);
    }
    ERR_clear_error();
}
