/* Making and keeping the facts of certificates. The cache is what makes ten thousand checks cheap:
 * for bytes seen before, only their SHA-256 is worked out. */
#include "tls/certificate_facts_internal.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "base/string.h"
#include "tls/certificate_internal.h"

/* ---- memory and text ---- */

#define CHUNK_SIZE 4096

void *facts_allocate(struct facts_memory *memory, size_t size)
{
    struct facts_chunk *chunk = memory->chunks;

    size = (size + 7) & ~(size_t)7;
    if (chunk == NULL || chunk->size - chunk->used < size) {
        size_t room = size > CHUNK_SIZE ? size : CHUNK_SIZE;
        chunk = calloc(1, sizeof *chunk + room);
        if (chunk == NULL) {
            memory->failed = true;
            return NULL;
        }
        chunk->size = room;
        chunk->next = memory->chunks;
        memory->chunks = chunk;
    }
    uint8_t *place = (uint8_t *)(chunk + 1) + chunk->used;
    chunk->used += size;
    return place;
}

static void memory_fini(struct facts_memory *memory)
{
    while (memory->chunks != NULL) {
        struct facts_chunk *chunk = memory->chunks;
        memory->chunks = chunk->next;
        free(chunk);
    }
}

const char *facts_text(struct facts_memory *memory, const void *data, size_t size, size_t maximum)
{
    size_t room = (size < maximum / 4 ? size * 4 : maximum) + sizeof "…"; /* "\x00" each */
    char *text = facts_allocate(memory, room);

    return text != NULL ? string_printable(text, room, data, size) : "";
}

const char *facts_hex(struct facts_memory *memory, const uint8_t *data, size_t size, size_t maximum)
{
    size_t shown = size < maximum ? size : maximum;
    char *text = facts_allocate(memory, 2 * shown + sizeof "…");

    if (text == NULL)
        return "";
    string_hex(text, data, shown);
    if (shown < size)
        memcpy(text + 2 * shown, "…", sizeof "…");
    return text;
}

/* ---- the plain fields ---- */

static void read_serial(struct certificate_object *object, const X509 *certificate)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
    struct certificate_facts *facts = &object->facts;
    const uint8_t *data = ASN1_STRING_get0_data(serial);
    size_t size = (size_t)ASN1_STRING_length(serial);
    const char *hex = facts_hex(&object->memory, data, size, 40);
    int whole = i2d_ASN1_INTEGER(serial, NULL);

    /* Tag and length take two bytes up to 127. */
    facts->serial_size = whole > 129 ? (unsigned)size : (unsigned)(whole - 2);
    facts->serial_negative = (ASN1_STRING_type(serial) & V_ASN1_NEG) != 0;
    facts->serial_zero = true;
    for (size_t i = 0; i < size; i++)
        facts->serial_zero = facts->serial_zero && data[i] == 0;
    facts->serial = hex;
    if (facts->serial_negative) {
        char *text = facts_allocate(&object->memory, strlen(hex) + 2);
        if (text == NULL)
            return;
        text[0] = '-';
        memcpy(text + 1, hex, strlen(hex) + 1);
        facts->serial = text;
    }
}

/* Two digits; -1: not digits. */
static int two_digits(const uint8_t *text)
{
    if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9')
        return -1;
    return (text[0] - '0') * 10 + text[1] - '0';
}

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_in_month(int year, int month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && is_leap(year) ? 1 : 0);
}

/* Days since 1970-01-01 in the Gregorian calendar. */
static int64_t days_of(int year, int month, int day)
{
    static const short before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t past = year - 1;

    return past * 365 + past / 4 - past / 100 + past / 400 - 719162 + before[month - 1] +
           (is_leap(year) && month > 2 ? 1 : 0) + day - 1;
}

/* As RFC 5280 §4.1.2.5 wants it: with seconds, in UTC, no fractions; anything else is malformed,
 * because clients disagree about what it means. */
static int64_t read_date(const ASN1_TIME *date, bool *ret_malformed)
{
    const uint8_t *text = ASN1_STRING_get0_data(date);
    bool general = ASN1_STRING_type(date) == V_ASN1_GENERALIZEDTIME;
    int year, parts[5];

    if (ASN1_STRING_length(date) != (general ? 15 : 13) || text[general ? 14 : 12] != 'Z')
        goto malformed;
    year = two_digits(text);
    if (general)
        year = year < 0 || two_digits(text + 2) < 0 ? -1 : year * 100 + two_digits(text + 2);
    else if (year >= 0)
        year += year < 50 ? 2000 : 1900;
    for (int i = 0; i < 5; i++)
        parts[i] = two_digits(text + (general ? 4 : 2) + 2 * i);
    if (year < 1 || parts[0] < 1 || parts[0] > 12 || parts[1] < 1 ||
        parts[1] > days_in_month(year, parts[0]) || parts[2] < 0 || parts[2] > 23 || parts[3] < 0 ||
        parts[3] > 59 || parts[4] < 0 || parts[4] > 59)
        goto malformed;
    return ((days_of(year, parts[0], parts[1]) * 24 + parts[2]) * 60 + parts[3]) * 60 + parts[4];

malformed:
    *ret_malformed = true;
    return certificate_time(date); /* 0 when OpenSSL cannot read it either */
}

static void read_signature(struct certificate_object *object, X509 *certificate)
{
    struct certificate_facts *facts = &object->facts;
    const X509_ALGOR *outside;
    const ASN1_OBJECT *algorithm;
    int digest = NID_undef, key = NID_undef;

    X509_get0_signature(NULL, &outside, certificate);
    facts->signature_algorithms_differ =
        X509_ALGOR_cmp(outside, X509_get0_tbs_sigalg(certificate)) != 0;
    X509_ALGOR_get0(&algorithm, NULL, NULL, outside);
    facts->signature_algorithm = OBJ_obj2nid(algorithm) == NID_undef
                                     ? facts_oid(&object->memory, algorithm, false)
                                     : OBJ_nid2ln(OBJ_obj2nid(algorithm));
    facts->signature_digest = "";
    if (X509_get_signature_info(certificate, &digest, &key, NULL, NULL) != 1 || digest == NID_undef)
        ignore(OBJ_find_sigid_algs(OBJ_obj2nid(algorithm), &digest, &key));
    if (digest == NID_undef)
        return;
    const char *name = OBJ_nid2sn(digest);
    char *text = facts_allocate(&object->memory, strlen(name) + 1);
    if (text == NULL)
        return;
    memcpy(text, name, strlen(name) + 1);
    string_lower(text);
    facts->signature_digest = text;
}

static void read_subjects(struct certificate_object *object, X509 *certificate)
{
    struct certificate_facts *facts = &object->facts;
    const X509_NAME *subject = X509_get_subject_name(certificate),
                    *issuer = X509_get_issuer_name(certificate);

    facts->subject = facts_name(&object->memory, subject);
    facts->issuer = facts_name(&object->memory, issuer);
    facts->common_name = facts_name_part(&object->memory, subject, NID_commonName);
    facts->issuer_name = facts_name_part(&object->memory, issuer, NID_commonName);
    if (facts->issuer_name == NULL)
        facts->issuer_name = facts_name_part(&object->memory, issuer, NID_organizationName);
    if (facts->issuer_name == NULL)
        facts->issuer_name = facts->issuer;
    facts->self_issued = X509_NAME_cmp(subject, issuer) == 0;
    facts->self_signed =
        facts->self_issued && facts_verify(certificate, X509_get0_pubkey(certificate));
}

static void read_all(struct certificate_object *object, X509 *certificate)
{
    struct certificate_facts *facts = &object->facts;
    long version = X509_get_version(certificate) + 1;

    facts->version = version > 0 && version < 1000 ? (unsigned)version : 0;
    facts->not_before = read_date(X509_get0_notBefore(certificate), &facts->dates_malformed);
    facts->not_after = read_date(X509_get0_notAfter(certificate), &facts->dates_malformed);
    read_serial(object, certificate);
    read_subjects(object, certificate);
    read_signature(object, certificate);
    facts_read_key(object, certificate);
    facts_read_extensions(object, certificate);
    facts_read_names(object, certificate);
    facts_read_urls(object, certificate);
    ERR_clear_error(); /* of what was found malformed, which is told in the facts */
}

/* ---- the cache ---- */

#define CACHE_SETS     512
#define CACHE_WAYS     4
#define CACHE_SIZE_MAX 8192 /* of one certificate: a stranger's large ones are read each time */

static struct cache_place {
    const struct certificate_facts *facts;
    unsigned uses; /* halved whenever the set is full, so that what was popular once leaves */
} cache[CACHE_SETS][CACHE_WAYS];

static struct cache_place *cache_set(const uint8_t sha256[32])
{
    return cache[(sha256[0] | sha256[1] << 8) % CACHE_SETS];
}

static const struct certificate_facts *cache_get(const uint8_t sha256[32])
{
    struct cache_place *set = cache_set(sha256);

    for (size_t i = 0; i < CACHE_WAYS; i++) {
        if (set[i].facts != NULL && memcmp(set[i].facts->sha256, sha256, 32) == 0) {
            set[i].uses++;
            return certificate_facts_ref(set[i].facts);
        }
    }
    return NULL;
}

/* Leaves come and go, intermediates come again: the least used one makes room. */
static void cache_put(const struct certificate_facts *facts)
{
    struct cache_place *set = cache_set(facts->sha256);
    size_t least = 0;

    if (facts->der_size > CACHE_SIZE_MAX)
        return;
    for (size_t i = 0; i < CACHE_WAYS; i++) {
        if (set[i].facts == NULL) {
            least = i;
            break;
        }
        if (set[i].uses < set[least].uses)
            least = i;
    }
    if (set[least].facts != NULL) {
        for (size_t i = 0; i < CACHE_WAYS; i++)
            set[i].uses /= 2;
        certificate_facts_unref(set[least].facts);
    }
    set[least] = (struct cache_place){.facts = certificate_facts_ref(facts), .uses = 1};
}

/* ---- the object ---- */

static void object_free(struct certificate_object *object)
{
    X509_free(object->facts.x509);
    memory_fini(&object->memory);
    free(object);
}

static int object_new(struct certificate_object **ret_object, const uint8_t *der, size_t size,
                      struct error *error)
{
    struct certificate_object *object = calloc(1, sizeof *object);
    uint8_t *copy = object != NULL ? facts_allocate(&object->memory, size) : NULL;

    if (copy == NULL) {
        free(object);
        return error_set(error, ERROR_MEMORY, "out of memory");
    }
    memcpy(copy, der, size);
    object->facts.der = copy;
    object->facts.der_size = size;
    object->facts.references = 1;
    const unsigned char *place = copy;
    X509 *certificate = d2i_X509(NULL, &place, (long)size);
    object->facts.x509 = certificate;
    if (certificate == NULL || place != copy + size) {
        object_free(object);
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                         "found %zu bytes that are no certificate (%s); expected one in DER", size,
                         certificate == NULL ? openssl_reason() : "more bytes behind its end");
    }
    *ret_object = object;
    return 0;
}

int certificate_facts_new(const struct certificate_facts **ret_facts, const uint8_t *der,
                          size_t size, struct error *error)
{
    struct certificate_object *object = NULL;
    uint8_t sha256[32];

    if (size == 0 || size > CERTIFICATE_FACTS_SIZE_MAX)
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                         "found a certificate of %zu bytes; expected 1 to %u", size,
                         CERTIFICATE_FACTS_SIZE_MAX);
    if (EVP_Digest(der, size, sha256, NULL, EVP_sha256(), NULL) != 1)
        return error_set(error, ERROR_INTERNAL, "SHA-256 failed: %s", openssl_reason());
    if ((*ret_facts = cache_get(sha256)) != NULL)
        return 0;
    int result = object_new(&object, der, size, error);
    if (result != 0)
        return result;
    memcpy(object->facts.sha256, sha256, 32);
    read_all(object, object->facts.x509);
    if (object->memory.failed) {
        object_free(object);
        return error_set(error, ERROR_MEMORY, "out of memory");
    }
    cache_put(&object->facts);
    *ret_facts = &object->facts;
    return 0;
}

const struct certificate_facts *certificate_facts_ref(const struct certificate_facts *facts)
{
    ((struct certificate_object *)(uintptr_t)facts)->facts.references++;
    return facts;
}

void certificate_facts_unref(const struct certificate_facts *facts)
{
    struct certificate_object *object = (struct certificate_object *)(uintptr_t)facts;

    if (object != NULL && --object->facts.references == 0)
        object_free(object);
}
