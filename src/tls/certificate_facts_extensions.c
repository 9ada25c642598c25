/* Key and extensions of a certificate. What cannot be read is told, not guessed: an extension that
 * is malformed or stands twice names itself in `malformed_extension`. */
#include "tls/certificate_facts_internal.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>

#include "base/buffer.h"
#include "tls/openssl_auto.h"

#define OID_TEXT_MAX    128
#define LIST_TEXT_MAX   1024
#define KEY_ID_SIZE_MAX 64

/* Of RSA keys that verify (crypto/tls and crypto/rsa of Go). */
#define KEY_BITS_MAX 8192
#define EXPONENT_MAX ((UINT64_C(1) << 31) - 1)

const char *facts_oid(struct facts_memory *memory, const ASN1_OBJECT *object, bool short_name)
{
    char text[OID_TEXT_MAX];
    int nid = OBJ_obj2nid(object);

    if (short_name && nid != NID_undef)
        return OBJ_nid2sn(nid);
    if (OBJ_obj2txt(text, sizeof text, object, 1) <= 0)
        return "unknown";
    return facts_text(memory, text, strlen(text), sizeof text);
}

/* ---- the key ---- */

const char *public_key_kind_name(enum public_key_kind kind)
{
    static const char *const names[] = {
        [PUBLIC_KEY_RSA] = "RSA",         [PUBLIC_KEY_RSA_PSS] = "RSA-PSS",
        [PUBLIC_KEY_EC] = "EC",           [PUBLIC_KEY_ED25519] = "Ed25519",
        [PUBLIC_KEY_ED448] = "Ed448",     [PUBLIC_KEY_DSA] = "DSA",
        [PUBLIC_KEY_OTHER] = "other kind"};

    return names[kind];
}

static enum public_key_kind kind_of(const EVP_PKEY *key)
{
    static const struct {
        int nid;
        enum public_key_kind kind;
    } kinds[] = {{EVP_PKEY_RSA, PUBLIC_KEY_RSA},     {EVP_PKEY_RSA_PSS, PUBLIC_KEY_RSA_PSS},
                 {EVP_PKEY_EC, PUBLIC_KEY_EC},       {EVP_PKEY_ED25519, PUBLIC_KEY_ED25519},
                 {EVP_PKEY_ED448, PUBLIC_KEY_ED448}, {EVP_PKEY_DSA, PUBLIC_KEY_DSA}};

    for (size_t i = 0; key != NULL && i < ARRAY_SIZE(kinds); i++) {
        if (EVP_PKEY_get_base_id(key) == kinds[i].nid)
            return kinds[i].kind;
    }
    return PUBLIC_KEY_OTHER;
}

/* NULL for explicit parameters: nobody but OpenSSL accepts those. */
static const char *curve_of(struct facts_memory *memory, EVP_PKEY *key)
{
    static const char *const names[][2] = {{"prime192v1", "P-192"},
                                           {"secp224r1", "P-224"},
                                           {"prime256v1", "P-256"},
                                           {"secp384r1", "P-384"},
                                           {"secp521r1", "P-521"}};
    char name[64], encoding[32];

    if (EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_EC_ENCODING, encoding, sizeof encoding,
                                       NULL) == 1 &&
        strcmp(encoding, OSSL_PKEY_EC_ENCODING_EXPLICIT) == 0)
        return NULL;
    if (EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, name, sizeof name, NULL) !=
        1)
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(name, names[i][0]) == 0)
            return names[i][1];
    }
    return facts_text(memory, name, strlen(name), sizeof name);
}

static uint64_t exponent_of(const EVP_PKEY *key)
{
    BIGNUM *exponent = NULL;
    uint64_t value = UINT64_MAX;
    uint8_t bytes[8] = {0};

    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1 &&
        BN_bn2lebinpad(exponent, bytes, sizeof bytes) >= 0)
        memcpy(&value, bytes, sizeof value);
    BN_free(exponent);
    return value;
}

bool facts_verify(X509 *certificate, EVP_PKEY *key)
{
    enum public_key_kind kind = kind_of(key);

    if (key == NULL || EVP_PKEY_get_bits(key) > KEY_BITS_MAX)
        return false;
    if ((kind == PUBLIC_KEY_RSA || kind == PUBLIC_KEY_RSA_PSS) && exponent_of(key) > EXPONENT_MAX)
        return false;
    bool good = X509_verify(certificate, key) == 1;
    ERR_clear_error();
    return good;
}

void facts_read_key(struct certificate_object *object, X509 *certificate)
{
    struct certificate_facts *facts = &object->facts;
    const X509_PUBKEY *public_key = X509_get_X509_PUBKEY(certificate);
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    unsigned char *encoded = NULL;
    int size = i2d_X509_PUBKEY(public_key, &encoded);

    if (size > 0)
        ignore(
            EVP_Digest(encoded, (size_t)size, facts->public_key_sha256, NULL, EVP_sha256(), NULL));
    OPENSSL_free(encoded);
    facts->key_kind = kind_of(key);
    if (key == NULL)
        return;
    facts->key_bits = (unsigned)EVP_PKEY_get_bits(key);
    if (facts->key_kind == PUBLIC_KEY_EC)
        facts->curve = curve_of(&object->memory, key);
    if (facts->key_kind == PUBLIC_KEY_RSA || facts->key_kind == PUBLIC_KEY_RSA_PSS)
        facts->rsa_exponent = exponent_of(key);
}

/* ---- is every extension well-formed? ---- */

/* Decodes to the last byte; an extension that OpenSSL has no form for is not judged. */
static bool extension_is_readable(X509_EXTENSION *extension)
{
    const X509V3_EXT_METHOD *method = X509V3_EXT_get(extension);
    const ASN1_OCTET_STRING *data = X509_EXTENSION_get_data(extension);
    const unsigned char *start = ASN1_STRING_get0_data(data), *place = start;
    int size = ASN1_STRING_length(data);

    if (method == NULL || method->it == NULL)
        return true;
    ASN1_VALUE *value = ASN1_item_d2i(NULL, &place, size, ASN1_ITEM_ptr(method->it));
    if (value == NULL)
        return false;
    ASN1_item_free(value, ASN1_ITEM_ptr(method->it));
    return place == start + size;
}

static bool stands_before(const X509 *certificate, int place)
{
    const ASN1_OBJECT *object = X509_EXTENSION_get_object(X509_get_ext(certificate, place));
    int first = X509_get_ext_by_OBJ(certificate, object, -1);

    return first >= 0 && first < place;
}

#define EXTENSIONS_MAX 256 /* comparing each with each must stay cheap */

static void judge_extensions(struct certificate_object *object, const X509 *certificate)
{
    struct certificate_facts *facts = &object->facts;
    int count = X509_get_ext_count(certificate);

    for (int i = 0; i < count; i++) {
        X509_EXTENSION *extension = X509_get_ext(certificate, i);
        const ASN1_OBJECT *kind = X509_EXTENSION_get_object(extension);
        if (facts->unknown_critical == NULL && X509_EXTENSION_get_critical(extension) == 1 &&
            X509_supported_extension(extension) == 0)
            facts->unknown_critical = facts_oid(&object->memory, kind, false);
        if (facts->malformed_extension == NULL &&
            (i >= EXTENSIONS_MAX || stands_before(certificate, i) ||
             !extension_is_readable(extension)))
            facts->malformed_extension = facts_oid(&object->memory, kind, true);
    }
}

static void set_malformed(struct certificate_facts *facts, int nid)
{
    if (facts->malformed_extension == NULL)
        facts->malformed_extension = OBJ_nid2sn(nid);
}

/* ---- their contents ---- */

static void read_constraints(struct certificate_facts *facts, const X509 *certificate)
{
    int critical = -1;
    BASIC_CONSTRAINTS *constraints =
        X509_get_ext_d2i(certificate, NID_basic_constraints, &critical, NULL);

    facts->path_length = -1;
    facts->has_basic_constraints = critical != -1;
    if (constraints == NULL)
        return;
    facts->basic_constraints_critical = critical == 1;
    facts->is_ca = constraints->ca != 0;
    if (constraints->pathlen != NULL) {
        long length = ASN1_INTEGER_get(constraints->pathlen);
        if (length < 0)
            set_malformed(facts, NID_basic_constraints);
        facts->path_length = length < 0 || length > 255 ? 255 : (int)length;
    }
    BASIC_CONSTRAINTS_free(constraints);
}

static void read_usage(struct certificate_facts *facts, const X509 *certificate)
{
    int critical = -1;
    ASN1_BIT_STRING *usage = X509_get_ext_d2i(certificate, NID_key_usage, &critical, NULL);

    facts->has_key_usage = critical != -1;
    facts->key_usage_critical = critical == 1;
    for (int bit = 0; usage != NULL && bit < 9; bit++)
        facts->key_usage |= ASN1_BIT_STRING_get_bit(usage, bit) != 0 ? 1u << bit : 0;
    if (facts->has_key_usage && facts->key_usage == 0)
        set_malformed(facts, NID_key_usage); /* RFC 5280 §4.2.1.3: at least one bit */
    ASN1_BIT_STRING_free(usage);
}

static unsigned extended_usage_bit(const ASN1_OBJECT *object)
{
    switch (OBJ_obj2nid(object)) {
    case NID_server_auth:
        return EXTENDED_USAGE_SERVER;
    case NID_client_auth:
        return EXTENDED_USAGE_CLIENT;
    case NID_anyExtendedKeyUsage:
        return EXTENDED_USAGE_ANY;
    case NID_OCSP_sign:
        return EXTENDED_USAGE_OCSP_SIGNING;
    default:
        return EXTENDED_USAGE_OTHER;
    }
}

static void read_extended_usage(struct certificate_object *object, const X509 *certificate)
{
    struct certificate_facts *facts = &object->facts;
    int critical = -1;
    EXTENDED_KEY_USAGE *usage = X509_get_ext_d2i(certificate, NID_ext_key_usage, &critical, NULL);
    struct buffer text;

    buffer_init(&text, LIST_TEXT_MAX);
    facts->has_extended_usage = critical != -1;
    for (int i = 0; i < sk_ASN1_OBJECT_num(usage); i++) {
        const ASN1_OBJECT *purpose = sk_ASN1_OBJECT_value(usage, i);
        facts->extended_usage |= extended_usage_bit(purpose);
        ignore(buffer_printf(&text, "%s%s", i > 0 ? ", " : "",
                             facts_oid(&object->memory, purpose, true)));
    }
    facts->extended_usage_text =
        facts_text(&object->memory, buffer_text(&text), text.size, LIST_TEXT_MAX);
    buffer_fini(&text);
    sk_ASN1_OBJECT_pop_free(usage, ASN1_OBJECT_free);
}

/* The CA/Browser Forum's (Baseline Requirements §7.1.6.1, EV Guidelines §7.1.6.1). */
static const char *validation_of(const char *policy)
{
    static const char *const known[][2] = {{"2.23.140.1.2.1", "DV"},
                                           {"2.23.140.1.2.2", "OV"},
                                           {"2.23.140.1.2.3", "IV"},
                                           {"2.23.140.1.1", "EV"}};

    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (strcmp(policy, known[i][0]) == 0)
            return known[i][1];
    }
    return NULL;
}

/* RFC 5280 §4.2.1.4: who cannot make sense of a qualifier of a critical extension must refuse it.
 */
static bool has_unknown_qualifier(const POLICYINFO *policy)
{
    for (int i = 0; i < sk_POLICYQUALINFO_num(policy->qualifiers); i++) {
        int kind = OBJ_obj2nid(sk_POLICYQUALINFO_value(policy->qualifiers, i)->pqualid);
        if (kind != NID_id_qt_cps && kind != NID_id_qt_unotice)
            return true;
    }
    return false;
}

static void read_policies(struct certificate_object *object, const X509 *certificate)
{
    struct certificate_facts *facts = &object->facts;
    int critical = -1;
    CERTIFICATEPOLICIES *policies =
        X509_get_ext_d2i(certificate, NID_certificate_policies, &critical, NULL);
    struct buffer text;

    buffer_init(&text, LIST_TEXT_MAX);
    for (int i = 0; i < sk_POLICYINFO_num(policies); i++) {
        const POLICYINFO *entry = sk_POLICYINFO_value(policies, i);
        const char *policy = facts_oid(&object->memory, entry->policyid, false);
        if (critical == 1 && facts->unknown_critical == NULL && has_unknown_qualifier(entry))
            facts->unknown_critical = OBJ_nid2sn(NID_certificate_policies);
        if (facts->validation == NULL)
            facts->validation = validation_of(policy);
        ignore(buffer_printf(&text, "%s%s", i > 0 ? ", " : "", policy));
    }
    facts->policies = facts_text(&object->memory, buffer_text(&text), text.size, LIST_TEXT_MAX);
    buffer_fini(&text);
    CERTIFICATEPOLICIES_free(policies);
}

static void read_features(struct certificate_facts *facts, const X509 *certificate)
{
    TLS_FEATURE *features = X509_get_ext_d2i(certificate, NID_tlsfeature, NULL, NULL);

    for (int i = 0; i < sk_ASN1_INTEGER_num(features); i++)
        facts->must_staple =
            facts->must_staple || ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == 5;
    sk_ASN1_INTEGER_pop_free(features, ASN1_INTEGER_free);
}

static void read_key_ids(struct certificate_object *object, X509 *certificate)
{
    const ASN1_OCTET_STRING *subject = X509_get0_subject_key_id(certificate),
                            *authority = X509_get0_authority_key_id(certificate);

    if (subject != NULL)
        object->facts.subject_key_id =
            facts_hex(&object->memory, ASN1_STRING_get0_data(subject),
                      (size_t)ASN1_STRING_length(subject), KEY_ID_SIZE_MAX);
    if (authority != NULL)
        object->facts.authority_key_id =
            facts_hex(&object->memory, ASN1_STRING_get0_data(authority),
                      (size_t)ASN1_STRING_length(authority), KEY_ID_SIZE_MAX);
}

/* The extension holds an OCTET STRING that holds the list (RFC 6962 §3.3). */
static void read_timestamps(struct certificate_object *object, const X509 *certificate)
{
    int place = X509_get_ext_by_NID(certificate, NID_ct_precert_scts, -1);

    if (place < 0)
        return;
    const ASN1_OCTET_STRING *data = X509_EXTENSION_get_data(X509_get_ext(certificate, place));
    const unsigned char *start = ASN1_STRING_get0_data(data);
    ASN1_OCTET_STRING *list = d2i_ASN1_OCTET_STRING(NULL, &start, ASN1_STRING_length(data));
    size_t size = list != NULL ? (size_t)ASN1_STRING_length(list) : 0;
    uint8_t *copy = size > 0 ? facts_allocate(&object->memory, size) : NULL;
    if (copy != NULL) {
        memcpy(copy, ASN1_STRING_get0_data(list), size);
        object->facts.timestamps = copy;
        object->facts.timestamps_size = size;
    } else if (list == NULL) {
        set_malformed(&object->facts, NID_ct_precert_scts);
    }
    ASN1_OCTET_STRING_free(list);
}

void facts_read_extensions(struct certificate_object *object, X509 *certificate)
{
    struct certificate_facts *facts = &object->facts;

    judge_extensions(object, certificate);
    read_constraints(facts, certificate);
    read_usage(facts, certificate);
    read_extended_usage(object, certificate);
    read_policies(object, certificate);
    read_features(facts, certificate);
    read_key_ids(object, certificate);
    read_timestamps(object, certificate);
    facts->has_name_constraints = X509_get_ext_by_NID(certificate, NID_name_constraints, -1) >= 0;
}
