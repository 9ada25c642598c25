/* Revocation lists. They can hold a million entries, of which one is asked for: the entries stay as
 * they came, behind an index of places sorted by serial number, instead of becoming objects. */
#include "tls/revocation_crl_internal.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/asn1t.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "tls/certificate_facts_internal.h"
#include "tls/certificate_internal.h"
#include "tls/openssl_auto.h"

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

                static void ASN1_ENUMERATED_auto(ASN1_ENUMERATED * *value)
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

struct crl_mark crl_find(const struct crl *crl, const struct certificate_facts *certificate)
{
    const struct crl_entry *entry = entry_of(crl, facts_x509(certificate));
    struct crl_mark mark = {.listed = entry != NULL};

    if (entry == NULL)
        return mark;
    const unsigned char *place = ASN1_STRING_get0_data(crl->whole->body->entries) + entry->at;
    AUTO(X509_REVOKED) *revoked = d2i_X509_REVOKED(NULL, &place, entry->size);
    if (revoked == NULL)
        return mark;
    AUTO(ASN1_ENUMERATED) *reason = X509_REVOKED_get_ext_d2i(revoked, NID_crl_reason, NULL, NULL);
    mark.revoked_at = certificate_time(X509_REVOKED_get0_revocationDate(revoked));
    if (reason != NULL)
        mark.reason = (int)ASN1_ENUMERATED_get(reason);
    return mark;
}

/* ---- extensions ---- */

bool crl_extension_same(const struct crl *a, const struct crl *b, int nid)
{
    const STACK_OF(X509_EXTENSION) *left = a->whole->body->extensions,
                                   *right = b->whole->body->extensions;
    int at = X509v3_get_ext_by_NID(left, nid, -1), other = X509v3_get_ext_by_NID(right, nid, -1);

    if (at < 0 || other < 0)
        return at < 0 && other < 0;
    return ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(X509v3_get_ext(left, at)),
                                 X509_EXTENSION_get_data(X509v3_get_ext(right, other))) == 0;
}

static const char *check_critical(const struct crl_body *body)
{
    for (int i = 0; i < sk_X509_EXTENSION_num(body->extensions); i++) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(body->extensions, i);
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
        if (X509_EXTENSION_get_critical(extension) && nid != NID_issuing_distribution_point &&
            nid != NID_delta_crl)
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
    return crl->scope->distpoint == NULL ||
                   DIST_POINT_set_dpname(crl->scope->distpoint, crl->whole->body->issuer) == 1
               ? NULL
               : "its distribution point cannot be read";
}

static const char *read_numbers(struct crl *crl)
{
    int number_found = -1, base_found = -1;

    crl->number = X509V3_get_d2i(crl->whole->body->extensions, NID_crl_number, &number_found, NULL);
    crl->base_number =
        X509V3_get_d2i(crl->whole->body->extensions, NID_delta_crl, &base_found, NULL);
    bool unreadable = (crl->number == NULL && number_found != -1) ||
                      (crl->base_number == NULL && base_found != -1);
    return unreadable ? "its number, or that of the list that it changes, is unreadable" : NULL;
}

static void take_delta_url(void *context, const char *text, size_t size)
{
    struct crl *crl = context;

    if (crl->delta_url_count == CRL_DELTA_URLS_MAX)
        return;
    char *url = strndup(text, size);
    if (url != NULL)
        crl->delta_urls[crl->delta_url_count++] = url;
}

static const char *read_extensions(struct crl *crl)
{
    CRL_DIST_POINTS *points =
        X509V3_get_d2i(crl->whole->body->extensions, NID_freshest_crl, NULL, NULL);
    const char *const problems[] = {check_critical(crl->whole->body), read_scope(crl),
                                    read_numbers(crl)};

    crl->authority =
        X509V3_get_d2i(crl->whole->body->extensions, NID_authority_key_identifier, NULL, NULL);
    facts_each_url(points, take_delta_url, crl);
    CRL_DIST_POINTS_free(points);
    for (size_t i = 0; i < ARRAY_SIZE(problems); i++) {
        if (problems[i] != NULL)
            return problems[i];
    }
    return NULL;
}

/* ---- reading ---- */

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
    crl->unsupported = read_extensions(crl);
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
    ASN1_INTEGER_free(crl->number);
    ASN1_INTEGER_free(crl->base_number);
    AUTHORITY_KEYID_free(crl->authority);
    for (size_t i = 0; i < crl->delta_url_count; i++)
        free(crl->delta_urls[i]);
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

bool crl_is_delta(const struct crl *crl)
{
    return crl->base_number != NULL;
}

const char *crl_delta_url(const struct crl *crl, size_t at)
{
    return at < crl->delta_url_count ? crl->delta_urls[at] : NULL;
}

/* ---- its signature ---- */

static bool verify(const struct crl *crl, X509 *signer)
{
    const CRL_WHOLE *whole = crl->whole;
    EVP_PKEY *key = X509_get0_pubkey(signer);

    return key != NULL && X509_ALGOR_cmp(whole->algorithm, whole->body->algorithm) == 0 &&
           (X509_get_key_usage(signer) & KU_CRL_SIGN) != 0 &&
           ASN1_item_verify(ASN1_ITEM_rptr(CRL_BODY), whole->algorithm, whole->signature,
                            whole->body, key) == 1;
}

bool crl_is_signed_by(struct crl *crl, const struct certificate_facts *signer)
{
    for (size_t i = 0; i < CRL_SIGNERS_MAX; i++) {
        const struct crl_judged *judged = &crl->judged[i];
        if (judged->used && memcmp(judged->signer, signer->sha256, sizeof judged->signer) == 0)
            return judged->is_signed;
    }
    struct crl_judged *judged = &crl->judged[crl->judged_next++ % CRL_SIGNERS_MAX];
    judged->is_signed = verify(crl, facts_x509(signer));
    memcpy(judged->signer, signer->sha256, sizeof judged->signer);
    judged->used = true;
    ERR_clear_error();
    return judged->is_signed;
}
