/* The life of a trust set, and its judgement. */
#include "tls/trust_set_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "tls/certificate_internal.h"
#include "tls/openssl_auto.h"

/* ---- digests ---- */

/* Out of memory for a hundred bytes ends the process: nothing may be let in by a digest of zeros.
 */
static EVP_MD_CTX *digest_begin(void)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    if (context == NULL || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1)
        abort();
    return context;
}

static void digest_add(EVP_MD_CTX *context, const void *data, size_t size)
{
    if (EVP_DigestUpdate(context, data, size) != 1)
        abort();
}

static void digest_cut(EVP_MD_CTX *context, uint8_t ret_digest[CLIENT_DIGEST_SIZE])
{
    uint8_t whole[32] = {0};

    if (EVP_DigestFinal_ex(context, whole, NULL) != 1)
        abort();
    EVP_MD_CTX_free(context);
    memcpy(ret_digest, whole, CLIENT_DIGEST_SIZE);
}

/* RFC 5280 §7.1: case, spaces at the ends and repeated ones do not count. */
static size_t fold(unsigned char *text, size_t size)
{
    size_t kept = 0;

    for (size_t i = 0; i < size; i++) {
        bool space = isspace(text[i]) != 0;
        if (!space)
            text[kept++] = (unsigned char)tolower(text[i]);
        else if (kept > 0 && text[kept - 1] != ' ')
            text[kept++] = ' ';
    }
    return kept - (kept > 0 && text[kept - 1] == ' ');
}

/* Neither does the kind of string. What is no string counts as it is. */
static void add_entry(EVP_MD_CTX *context, const X509_NAME_ENTRY *entry)
{
    const ASN1_OBJECT *kind = X509_NAME_ENTRY_get_object(entry);
    const ASN1_STRING *value = X509_NAME_ENTRY_get_data(entry);
    unsigned char *text = NULL;

    int size = ASN1_STRING_to_UTF8(&text, value);
    size_t length = size >= 0 ? fold(text, (size_t)size) : (size_t)ASN1_STRING_length(value);
    const uint64_t head[] = {(uint64_t)X509_NAME_ENTRY_set(entry), OBJ_length(kind), length};
    digest_add(context, head, sizeof head); /* so that no two names read the same */
    digest_add(context, OBJ_get0_data(kind), OBJ_length(kind));
    digest_add(context, size >= 0 ? text : ASN1_STRING_get0_data(value), length);
    OPENSSL_free(text);
}

void trust_name_digest(const X509_NAME *name, uint8_t ret_digest[CLIENT_DIGEST_SIZE])
{
    EVP_MD_CTX *context = digest_begin();

    for (int i = 0; i < X509_NAME_entry_count(name); i++)
        add_entry(context, X509_NAME_get_entry(name, i));
    ERR_clear_error();
    digest_cut(context, ret_digest);
}

void trust_certificate_digest(const uint8_t issuer[CLIENT_DIGEST_SIZE], const ASN1_INTEGER *serial,
                              uint8_t ret_digest[CLIENT_DIGEST_SIZE])
{
    EVP_MD_CTX *context = digest_begin();

    digest_add(context, issuer, CLIENT_DIGEST_SIZE);
    digest_add(context, ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial));
    digest_cut(context, ret_digest);
}

void trust_link(const X509 *certificate, struct client_link *ret_link)
{
    uint8_t name[CLIENT_DIGEST_SIZE];
    unsigned char *key = NULL;

    trust_name_digest(X509_get_issuer_name(certificate), name);
    trust_certificate_digest(name, X509_get0_serialNumber(certificate), ret_link->certificate);
    trust_name_digest(X509_get_subject_name(certificate), name);
    int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key);
    EVP_MD_CTX *context = digest_begin();
    digest_add(context, name, sizeof name);
    digest_add(context, key, size > 0 ? (size_t)size : 0);
    digest_cut(context, ret_link->authority);
    OPENSSL_free(key);
}

/* ---- life ---- */

struct trust_set *trust_set_empty(void)
{
    struct trust_set *set = calloc(1, sizeof *set);

    if (set == NULL)
        return NULL;
    set->references = 1;
    set->store = X509_STORE_new();
    set->certificates = sk_X509_new_null();
    if (set->store == NULL || set->certificates == NULL ||
        X509_STORE_set_flags(set->store, X509_V_FLAG_PARTIAL_CHAIN) != 1) {
        trust_set_unref(set);
        return NULL;
    }
    return set;
}

struct trust_set *trust_set_ref(struct trust_set *set)
{
    set->references++;
    return set;
}

void trust_set_unref(struct trust_set *set)
{
    if (set == NULL || --set->references > 0)
        return;
    X509_STORE_free(set->store);
    sk_X509_pop_free(set->certificates, X509_free);
    free(set->authorities);
    free(set->lists);
    free(set->revoked);
    free(set);
}

int trust_set_add_authority(struct trust_set *set, X509 *certificate, struct error *error)
{
    struct trust_authority *grown =
        reallocarray(set->authorities, set->authority_count + 1, sizeof *grown);
    struct client_link link;

    if (grown == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    set->authorities = grown;
    if (X509_STORE_add_cert(set->store, certificate) != 1 ||
        X509_add_cert(set->certificates, certificate, X509_ADD_FLAG_UP_REF) != 1)
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE, "OpenSSL refuses a certificate: %s",
                         openssl_reason());
    trust_link(certificate, &link);
    struct trust_authority *authority = &grown[set->authority_count++];
    memcpy(authority->digest, link.authority, sizeof authority->digest);
    authority->not_after = certificate_time(X509_get0_notAfter(certificate));
    return 0;
}

static int compare_digests(const void *a, const void *b)
{
    return memcmp(a, b, CLIENT_DIGEST_SIZE);
}

static int compare_authorities(const void *a, const void *b)
{
    const struct trust_authority *one = a, *other = b;
    int order = memcmp(one->digest, other->digest, sizeof one->digest);

    return order != 0 ? order
                      : (one->not_after < other->not_after) - (one->not_after > other->not_after);
}

/* Of two certificates of one authority the one that lives longer counts. */
static void merge_authorities(struct trust_set *set)
{
    size_t kept = 0;

    if (set->authority_count > 0)
        qsort(set->authorities, set->authority_count, sizeof *set->authorities,
              compare_authorities);
    for (size_t i = 0; i < set->authority_count; i++) {
        if (kept == 0 || memcmp(set->authorities[kept - 1].digest, set->authorities[i].digest,
                                CLIENT_DIGEST_SIZE) != 0)
            set->authorities[kept++] = set->authorities[i];
    }
    set->authority_count = kept;
}

void trust_set_finish(struct trust_set *set)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    merge_authorities(set);
    if (set->revoked_count > 0)
        qsort(set->revoked, set->revoked_count, sizeof *set->revoked, compare_digests);
    if (context == NULL || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1)
        abort();
    for (size_t i = 0; i < set->authority_count; i++)
        ignore(EVP_DigestUpdate(context, set->authorities[i].digest, CLIENT_DIGEST_SIZE));
    EVP_MD_CTX *both = EVP_MD_CTX_new();
    if (both == NULL || EVP_MD_CTX_copy_ex(both, context) != 1)
        abort();
    for (size_t i = 0; i < set->revoked_count; i++)
        ignore(EVP_DigestUpdate(both, set->revoked[i], CLIENT_DIGEST_SIZE));
    if (EVP_DigestFinal_ex(context, set->authorities_digest, NULL) != 1 ||
        EVP_DigestFinal_ex(both, set->digest, NULL) != 1)
        abort();
    EVP_MD_CTX_free(both);
    EVP_MD_CTX_free(context);
}

/* ---- judgement ---- */

static const struct trust_authority *find_authority(const struct trust_set *set,
                                                    const uint8_t digest[CLIENT_DIGEST_SIZE])
{
    size_t low = 0, high = set->authority_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(set->authorities[middle].digest, digest, CLIENT_DIGEST_SIZE);
        if (order == 0)
            return &set->authorities[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool revoked(const struct trust_set *set, const uint8_t certificate[CLIENT_DIGEST_SIZE])
{
    return set->revoked_count > 0 && bsearch(certificate, set->revoked, set->revoked_count,
                                             sizeof *set->revoked, compare_digests) != NULL;
}

/* What lies above the first anchor does not count: a revoked root does not matter to who trusts
 * the intermediate by itself. */
enum trust_verdict trust_set_judge(const struct trust_set *set,
                                   const struct client_identity *identity, int64_t now)
{
    const struct trust_authority *anchor = NULL;

    for (size_t i = 0; anchor == NULL && i < identity->chain_count && i < CLIENT_CHAIN_MAX; i++) {
        if (revoked(set, identity->chain[i].certificate))
            return TRUST_REVOKED;
        anchor = find_authority(set, identity->chain[i].authority);
    }
    if (anchor == NULL)
        return TRUST_UNKNOWN;
    return now > identity->not_after || now > anchor->not_after ? TRUST_EXPIRED : TRUST_ACCEPTED;
}

const char *trust_verdict_name(enum trust_verdict verdict)
{
    static const char *const names[] = {[TRUST_ACCEPTED] = "accepted",
                                        [TRUST_REVOKED] = "revoked",
                                        [TRUST_UNKNOWN] = "untrusted",
                                        [TRUST_EXPIRED] = "expired"};
    return names[verdict];
}

/* ---- what it is ---- */

const uint8_t *trust_set_digest(const struct trust_set *set)
{
    return set->digest;
}

const uint8_t *trust_set_authorities_digest(const struct trust_set *set)
{
    return set->authorities_digest;
}

uint32_t trust_set_generation(const struct trust_set *set)
{
    return set->generation;
}

void trust_set_number(struct trust_set *set, uint32_t generation)
{
    set->generation = generation;
}

void trust_set_facts(const struct trust_set *set, struct trust_facts *ret_facts)
{
    struct trust_facts facts = {.authorities = set->authority_count,
                                .lists = set->list_count,
                                .revoked = set->revoked_count,
                                .authority_expiry = INT64_MAX};

    for (size_t i = 0; i < set->list_count; i++) {
        int64_t next = set->lists[i].next_update;
        if (next != 0 && (facts.next_update == 0 || next < facts.next_update))
            facts.next_update = next;
    }
    for (size_t i = 0; i < set->authority_count; i++) {
        if (set->authorities[i].not_after < facts.authority_expiry)
            facts.authority_expiry = set->authorities[i].not_after;
    }
    *ret_facts = facts;
}

static bool over(const struct trust_list *list, int64_t now)
{
    return list->next_update != 0 && list->next_update < now;
}

bool trust_set_stale(const struct trust_set *set, int64_t now)
{
    for (size_t i = 0; i < set->list_count; i++) {
        if (over(&set->lists[i], now))
            return true;
    }
    return false;
}

bool trust_set_issuer_stale(const struct trust_set *set, const X509_NAME *issuer, int64_t now)
{
    uint8_t digest[CLIENT_DIGEST_SIZE];

    if (!trust_set_stale(set, now)) /* the common case is cheap */
        return false;
    trust_name_digest(issuer, digest);
    for (size_t i = 0; i < set->list_count; i++) {
        if (over(&set->lists[i], now) && memcmp(set->lists[i].issuer, digest, sizeof digest) == 0)
            return true;
    }
    return false;
}

static bool older(const struct trust_list *next, const struct trust_list *list)
{
    int order = memcmp(next->number, list->number, sizeof next->number);

    return next->numbered && list->numbered ? order < 0 : next->this_update < list->this_update;
}

int trust_set_follows(const struct trust_set *set, const struct trust_set *next, int64_t now,
                      struct error *error)
{
    for (size_t i = 0; i < set->list_count; i++) {
        const struct trust_list *list = &set->lists[i];
        for (size_t j = 0; j < next->list_count; j++) {
            const struct trust_list *later = &next->lists[j];
            if (memcmp(list->scope, later->scope, sizeof list->scope) != 0)
                continue;
            if (older(later, list))
                return error_set(error, ERROR_CERTIFICATE_OLDER_THAN_LIVE,
                                 "revocation list number %zu is older than the one in force",
                                 j + 1);
            if (over(later, now) && !over(list, now))
                return error_set(error, ERROR_CERTIFICATE_EXPIRED,
                                 "the time of revocation list number %zu is over, that of the one "
                                 "in force is not",
                                 j + 1);
        }
    }
    return 0;
}
