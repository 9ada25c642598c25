/* A trust set from files. Everything that its judgement will rest on is checked here: who signed a
 * revocation list, and that it means no more than the judgement understands. */
#include "tls/trust_set_internal.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tls/certificate_internal.h"
#include "tls/openssl_auto.h"

static void X509_CRL_auto(X509_CRL **list)
{
    X509_CRL_free(*list);
}

static void ISSUING_DIST_POINT_auto(ISSUING_DIST_POINT **point)
{
    ISSUING_DIST_POINT_free(*point);
}

/* ---- CA certificates ---- */

static int check_authority(X509 *certificate, struct error *error)
{
    char subject[256];

    if (X509_check_ca(certificate) != 0)
        return 0;
    certificate_name_text(subject, sizeof subject, X509_get_subject_name(certificate));
    return error_set(error, ERROR_CERTIFICATE_WRONG_USAGE,
                     "found a certificate that is no CA (%s); expected the certificates of the CAs "
                     "that issue to clients",
                     subject);
}

static int read_authorities(struct trust_set *set, const struct trust_file *file,
                            struct error *error)
{
    AUTO(BIO) *input = BIO_new_mem_buf(file->data, (int)file->size);

    if (input == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    ERR_clear_error();
    for (;;) {
        AUTO(X509) *certificate = PEM_read_bio_X509(input, NULL, NULL, NULL);
        if (certificate == NULL)
            break;
        int result = check_authority(certificate, error);
        if (result == 0 && sk_X509_num(set->certificates) == TRUST_AUTHORITIES_MAX)
            result =
                error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                          "found more than %d certificates; expected fewer", TRUST_AUTHORITIES_MAX);
        if (result == 0)
            result = trust_set_add_authority(set, certificate, error);
        if (result != 0)
            return result;
    }
    bool complete = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    const char *reason = openssl_reason();
    if (!complete)
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                         "a certificate cannot be parsed: %s; expected PEM", reason);
    return set->authority_count > 0
               ? 0
               : error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                           "there is no certificate in it; expected those of the CAs in PEM");
}

/* ---- one revocation list ---- */

/* The CA of the set that signed it; NULL: none did. */
static X509 *signer_of(const struct trust_set *set, X509_CRL *list)
{
    for (int i = 0; i < sk_X509_num(set->certificates); i++) {
        X509 *authority = sk_X509_value(set->certificates, i);
        if (X509_NAME_cmp(X509_get_subject_name(authority), X509_CRL_get_issuer(list)) == 0 &&
            (X509_get_key_usage(authority) & KU_CRL_SIGN) != 0 &&
            X509_CRL_verify(list, X509_get0_pubkey(authority)) == 1)
            return authority;
    }
    ERR_clear_error();
    return NULL;
}

/* Lists for others' certificates, and lists of changes, would be read wrongly. */
static int check_extensions(const X509_CRL *list, struct error *error)
{
    AUTO(ISSUING_DIST_POINT) *point =
        X509_CRL_get_ext_d2i(list, NID_issuing_distribution_point, NULL, NULL);

    for (int i = 0; i < X509_CRL_get_ext_count(list); i++) {
        X509_EXTENSION *extension = X509_CRL_get_ext(list, i);
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
        if (nid == NID_delta_crl)
            return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                             "found a delta list; expected a complete one");
        if (X509_EXTENSION_get_critical(extension) && nid != NID_issuing_distribution_point)
            return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                             "it has a critical extension that is not known (%s)",
                             nid == NID_undef ? "without a name" : OBJ_nid2sn(nid));
    }
    if (point == NULL && X509_CRL_get_ext_by_NID(list, NID_issuing_distribution_point, -1) >= 0)
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                         "what it says of the certificates that it is for cannot be parsed");
    return point != NULL && point->indirectCRL > 0
               ? error_set(
                     error, ERROR_CERTIFICATE_UNPARSABLE,
                     "found a list for certificates of other CAs; expected one of the CA that "
                     "issued them")
               : 0;
}

static int add_revoked(struct trust_set *set, const uint8_t digest[CLIENT_DIGEST_SIZE],
                       struct error *error)
{
    if (set->revoked_count == set->revoked_capacity) {
        size_t capacity = set->revoked_capacity == 0 ? 64 : set->revoked_capacity * 2;
        void *grown = reallocarray(set->revoked, capacity, sizeof *set->revoked);
        if (grown == NULL)
            return error_set(error, ERROR_MEMORY, "out of memory");
        set->revoked = grown;
        set->revoked_capacity = capacity;
    }
    memcpy(set->revoked[set->revoked_count++], digest, CLIENT_DIGEST_SIZE);
    return 0;
}

static int check_entry(const X509_REVOKED *entry, struct error *error)
{
    for (int i = 0; i < X509_REVOKED_get_ext_count(entry); i++) {
        if (X509_EXTENSION_get_critical(X509_REVOKED_get_ext(entry, i)))
            return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                             "an entry has a critical extension that is not known");
    }
    return 0;
}

static int read_entries(struct trust_set *set, X509_CRL *list,
                        const uint8_t issuer[CLIENT_DIGEST_SIZE], struct error *error)
{
    STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(list);
    uint8_t digest[CLIENT_DIGEST_SIZE];
    int result = 0;

    for (int i = 0; result == 0 && i < sk_X509_REVOKED_num(entries); i++) {
        const X509_REVOKED *entry = sk_X509_REVOKED_value(entries, i);
        result = check_entry(entry, error);
        trust_certificate_digest(issuer, X509_REVOKED_get0_serialNumber(entry), digest);
        if (result == 0)
            result = add_revoked(set, digest, error);
    }
    return result;
}

static void read_number(const X509_CRL *list, struct trust_list *facts)
{
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(list, NID_crl_number, NULL, NULL);
    int size = number != NULL ? ASN1_STRING_length(number) : 0;

    if (size > 0 && size <= CLIENT_SERIAL_MAX) {
        memcpy(facts->number + CLIENT_SERIAL_MAX - size, ASN1_STRING_get0_data(number),
               (size_t)size);
        facts->numbered = 1;
    }
    ASN1_INTEGER_free(number);
}

/* Lists of one issuer for different distribution points stand side by side. */
static void read_scope(const X509_CRL *list, struct trust_list *facts)
{
    int place = X509_CRL_get_ext_by_NID(list, NID_issuing_distribution_point, -1);
    uint8_t whole[32] = {0};

    memcpy(facts->scope, facts->issuer, sizeof facts->scope);
    if (place < 0)
        return;
    const ASN1_OCTET_STRING *point = X509_EXTENSION_get_data(X509_CRL_get_ext(list, place));
    ignore(EVP_Digest(ASN1_STRING_get0_data(point), (size_t)ASN1_STRING_length(point), whole, NULL,
                      EVP_sha256(), NULL));
    for (size_t i = 0; i < sizeof facts->scope; i++)
        facts->scope[i] ^= whole[i];
}

static int add_list(struct trust_set *set, X509_CRL *list, struct error *error)
{
    const ASN1_TIME *next = X509_CRL_get0_nextUpdate(list);
    struct trust_list facts = {.this_update = certificate_time(X509_CRL_get0_lastUpdate(list)),
                               .next_update = next != NULL ? certificate_time(next) : 0};
    char issuer[256];

    certificate_name_text(issuer, sizeof issuer, X509_CRL_get_issuer(list));
    if (signer_of(set, list) == NULL)
        return error_set(error, ERROR_CERTIFICATE_CHAIN_BROKEN,
                         "the list of %s is not signed by a CA of client-ca that may sign lists; "
                         "expected its certificate there",
                         issuer);
    int result = check_extensions(list, error);
    if (result != 0)
        return error_prepend(error, "the list of %s", issuer);
    trust_name_digest(X509_CRL_get_issuer(list), facts.issuer);
    read_number(list, &facts);
    read_scope(list, &facts);
    struct trust_list *grown = reallocarray(set->lists, set->list_count + 1, sizeof *grown);
    if (grown == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    set->lists = grown;
    grown[set->list_count++] = facts;
    result = read_entries(set, list, facts.issuer, error);
    return result == 0 ? 0 : error_prepend(error, "the list of %s", issuer);
}

/* ---- a file of them ---- */

static int read_der(struct trust_set *set, const struct trust_file *file, struct error *error)
{
    const unsigned char *place = (const unsigned char *)file->data;
    AUTO(X509_CRL) *list = d2i_X509_CRL(NULL, &place, (long)file->size);

    if (list == NULL)
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                         "it is no revocation list: %s; expected PEM or DER", openssl_reason());
    return add_list(set, list, error);
}

static int read_pem(struct trust_set *set, const struct trust_file *file, struct error *error)
{
    AUTO(BIO) *input = BIO_new_mem_buf(file->data, (int)file->size);
    size_t before = set->list_count;

    if (input == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    ERR_clear_error();
    for (;;) {
        AUTO(X509_CRL) *list = PEM_read_bio_X509_CRL(input, NULL, NULL, NULL);
        if (list == NULL)
            break;
        int result = add_list(set, list, error);
        if (result != 0)
            return result;
    }
    bool complete = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    const char *reason = openssl_reason();
    return complete && set->list_count > before
               ? 0
               : error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                           "a revocation list cannot be parsed: %s",
                           complete ? "there is none" : reason);
}

static int read_lists(struct trust_set *set, const struct trust_file *file, struct error *error)
{
    static const char mark[] = "-----BEGIN";

    return memmem(file->data, file->size, mark, sizeof mark - 1) != NULL
               ? read_pem(set, file, error)
               : read_der(set, file, error);
}

int trust_set_new(struct trust_set **ret_set, const struct trust_file *files, size_t count,
                  struct error *error)
{
    struct trust_set *set = trust_set_empty();
    int result = 0;

    if (set == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    for (size_t i = 0; result == 0 && i < count; i++) {
        result =
            i == 0 ? read_authorities(set, &files[i], error) : read_lists(set, &files[i], error);
        if (result != 0)
            result = error_prepend(error, "%s", files[i].name);
    }
    if (result != 0) {
        trust_set_unref(set);
        return result;
    }
    trust_set_finish(set);
    *ret_set = set;
    return 0;
}
