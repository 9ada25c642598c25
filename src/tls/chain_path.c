/* One path: OpenSSL's verification of exactly these certificates, and on top of it what OpenSSL
 * accepts although RFC 5280 or every browser forbids it. Both must agree before anything is
 * trusted. Nothing here depends on the time, so that each path is verified once. */
#include "tls/chain_internal.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/oid.h"
#include "base/string.h"
#include "tls/certificate_facts_internal.h"
#include "tls/openssl_auto.h"

#define MEMORY_PLACES 8192 /* of each kind; a new result takes the place of an old one */
#define SECURITY_BITS 2    /* OpenSSL's level 2: 112 bits, so RSA from 2048 on and no SHA-1 */

/* ---- who has issued whom ---- */

static struct {
    uint8_t certificate[32], key[32];
    bool used, good;
} signatures[MEMORY_PLACES];

static size_t place_of(const uint8_t digest[32])
{
    return (digest[0] | (size_t)digest[1] << 8) % MEMORY_PLACES;
}

static bool signature_is_good(const struct certificate_facts *certificate,
                              const struct certificate_facts *issuer)
{
    /* By both: else issuers of one name would take each other's place. */
    size_t place =
        (place_of(certificate->sha256) + place_of(issuer->public_key_sha256)) % MEMORY_PLACES;

    if (signatures[place].used &&
        memcmp(signatures[place].certificate, certificate->sha256, 32) == 0 &&
        memcmp(signatures[place].key, issuer->public_key_sha256, 32) == 0)
        return signatures[place].good;
    bool good = facts_verify(facts_x509(certificate), X509_get0_pubkey(facts_x509(issuer)));
    memcpy(signatures[place].certificate, certificate->sha256, 32);
    memcpy(signatures[place].key, issuer->public_key_sha256, 32);
    signatures[place].used = true;
    signatures[place].good = good;
    return good;
}

enum issued chain_issued(const struct certificate_facts *certificate,
                         const struct certificate_facts *issuer)
{
    X509 *subject = facts_x509(certificate), *authority = facts_x509(issuer);

    if (X509_NAME_cmp(X509_get_issuer_name(subject), X509_get_subject_name(authority)) != 0)
        return ISSUED_NO;
    switch (X509_check_issued(authority, subject)) {
    case X509_V_ERR_AKID_SKID_MISMATCH:
    case X509_V_ERR_AKID_ISSUER_SERIAL_MISMATCH:
        return ISSUED_NO;
    default: /* what else is wrong with it is for the verification of the path to tell */
        return signature_is_good(certificate, issuer) ? ISSUED_YES : ISSUED_BAD_SIGNATURE;
    }
}

const struct certificate_facts *chain_issuer(const struct certificate_facts *certificate,
                                             const struct certificate_facts *const *pool,
                                             size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (chain_issued(certificate, pool[i]) == ISSUED_YES)
            return pool[i];
    }
    return NULL;
}

/* ---- rules of ours ---- */

static int judge_certificate(const struct certificate_facts *facts)
{
    if (facts->malformed_extension != NULL)
        return X509_V_ERR_INVALID_EXTENSION;
    if (facts->dates_malformed)
        return X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD;
    if (facts->unknown_critical != NULL)
        return X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION;
    if (facts->signature_algorithms_differ)
        return X509_V_ERR_SIGNATURE_ALGORITHM_MISMATCH;
    if (facts->has_extended_usage && (facts->extended_usage & EXTENDED_USAGE_SERVER) == 0)
        return X509_V_ERR_INVALID_PURPOSE;
    return X509_V_OK;
}

/* RFC 5280 §6.1.4 (k), (n): OpenSSL also takes version 1 and what only KeyUsage calls a CA. */
static int judge_authority(const struct certificate_facts *facts)
{
    if (facts->version != 3 || !facts->has_basic_constraints || !facts->is_ca)
        return X509_V_ERR_INVALID_CA;
    if (facts->has_key_usage && (facts->key_usage & KEY_USAGE_CERTIFICATE_SIGN) == 0)
        return X509_V_ERR_KEYUSAGE_NO_CERTSIGN;
    return X509_V_OK;
}

static struct path_result judge_rules(const struct certificate_facts *const *path, size_t count)
{
    struct path_result result = {.code = X509_V_OK};

    /* The anchor is trusted for what the store's owner knows of it. */
    for (size_t i = 0; i < count && (i == 0 || i + 1 < count); i++) {
        result.code = judge_certificate(path[i]);
        if (result.code == X509_V_OK && i > 0)
            result.code = judge_authority(path[i]);
        result.at = (int)i;
        if (result.code != X509_V_OK)
            break;
    }
    return result;
}

/* ---- policies that are asked for ---- */

static void sk_ASN1_OBJECT_auto(STACK_OF(ASN1_OBJECT) * *stack)
{
    sk_ASN1_OBJECT_pop_free(*stack, ASN1_OBJECT_free);
}

/* NULL: out of memory, or what is no policy. */
static STACK_OF(ASN1_OBJECT) * accepted_policies(const struct chain_policies *policies)
{
    STACK_OF(ASN1_OBJECT) *accepted = sk_ASN1_OBJECT_new_null();
    bool any = policies == NULL || policies->count == 0;

    for (size_t i = 0; accepted != NULL && i < (any ? 1 : policies->count); i++) {
        ASN1_OBJECT *object =
            any ? OBJ_nid2obj(NID_any_policy) : OBJ_txt2obj(policies->accepted[i], 1);
        if (object != NULL && sk_ASN1_OBJECT_push(accepted, object) > 0)
            continue;
        ASN1_OBJECT_free(object);
        sk_ASN1_OBJECT_auto(&accepted);
        return NULL;
    }
    return accepted;
}

static unsigned policy_flags(const struct chain_policies *policies)
{
    unsigned flags = X509_V_FLAG_POLICY_CHECK;

    if (policies != NULL && policies->required)
        flags |= X509_V_FLAG_EXPLICIT_POLICY;
    if (policies != NULL && policies->mapping_inhibited)
        flags |= X509_V_FLAG_INHIBIT_MAP;
    if (policies != NULL && policies->any_inhibited)
        flags |= X509_V_FLAG_INHIBIT_ANY;
    return flags;
}

/* ---- OpenSSL's judgement ---- */

struct walk {
    const struct certificate_facts *const *path;
    size_t count;
    STACK_OF(ASN1_OBJECT) * accepted;
    unsigned policy_flags;
    int purpose; /* X509_PURPOSE_* */
};

/* Lets OpenSSL see the path and no other way: everybody is issued by the next one. */
static int walks_on(X509_STORE_CTX *context, X509 *subject, X509 *issuer)
{
    const struct walk *walk = X509_STORE_CTX_get_app_data(context);

    if (subject == issuer || X509_cmp(subject, issuer) == 0)
        return X509_check_issued(issuer, subject) == X509_V_OK;
    for (size_t i = 0; i + 1 < walk->count; i++) {
        if (X509_cmp(facts_x509(walk->path[i]), subject) == 0)
            return X509_cmp(facts_x509(walk->path[i + 1]), issuer) == 0;
    }
    return 0;
}

/* The judgement to the letter comes after the usual one, which has verified every signature. */
static int signatures_are_known(X509_STORE_CTX *context)
{
    (void)context;
    return 1;
}

static X509_STORE *empty_store(void)
{
    static X509_STORE *store;

    if (store == NULL && (store = X509_STORE_new()) != NULL)
        X509_STORE_set_check_issued(store, walks_on);
    return store;
}

static void sk_X509_auto(STACK_OF(X509) * *stack)
{
    sk_X509_free(*stack);
}

static int verify(struct walk *walk, unsigned long flags, int *ret_at)
{
    const struct certificate_facts *const *path = walk->path;
    size_t count = walk->count;
    AUTO(X509_STORE_CTX) *context = X509_STORE_CTX_new();
    __attribute__((cleanup(sk_X509_auto))) STACK_OF(X509) *between = sk_X509_new_null(),
                                                          *anchor = sk_X509_new_null();
    bool ready = context != NULL && between != NULL && anchor != NULL && empty_store() != NULL &&
                 sk_X509_push(anchor, facts_x509(path[count - 1])) > 0;

    for (size_t i = 1; ready && i + 1 < count; i++)
        ready = sk_X509_push(between, facts_x509(path[i])) > 0;
    if (!ready || X509_STORE_CTX_init(context, empty_store(), facts_x509(path[0]), between) != 1)
        return X509_V_ERR_OUT_OF_MEM;
    X509_STORE_CTX_set_app_data(context, walk);
    if ((flags & X509_V_FLAG_X509_STRICT) != 0)
        X509_STORE_CTX_set_verify(context, signatures_are_known);
    X509_STORE_CTX_set0_trusted_stack(context, anchor);
    X509_VERIFY_PARAM *parameters = X509_STORE_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_auth_level(parameters, SECURITY_BITS);
    ignore(X509_VERIFY_PARAM_set_purpose(parameters, walk->purpose));
    ignore(X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN |
                                                       X509_V_FLAG_NO_CHECK_TIME |
                                                       walk->policy_flags | flags));
    if (X509_VERIFY_PARAM_set1_policies(parameters, walk->accepted) != 1)
        return X509_V_ERR_OUT_OF_MEM;
    int verified = X509_verify_cert(context), code = X509_STORE_CTX_get_error(context);
    *ret_at = X509_STORE_CTX_get_error_depth(context);
    ERR_clear_error();
    if (verified == 1)
        return X509_V_OK;
    return code == X509_V_OK ? X509_V_ERR_UNSPECIFIED : code;
}

/* What an anchor demands of the policies below it (RFC 5280 §4.2.1.11, §4.2.1.14), as inputs. */
static unsigned anchor_demands(const X509 *anchor, size_t below)
{
    POLICY_CONSTRAINTS *constraints = X509_get_ext_d2i(anchor, NID_policy_constraints, NULL, NULL);
    ASN1_INTEGER *inhibit = X509_get_ext_d2i(anchor, NID_inhibit_any_policy, NULL, NULL);
    unsigned demands = 0;

    if (constraints != NULL && constraints->requireExplicitPolicy != NULL &&
        ASN1_INTEGER_get(constraints->requireExplicitPolicy) <= (long)below)
        demands |= X509_V_FLAG_EXPLICIT_POLICY;
    if (constraints != NULL && constraints->inhibitPolicyMapping != NULL &&
        ASN1_INTEGER_get(constraints->inhibitPolicyMapping) == 0)
        demands |= X509_V_FLAG_INHIBIT_MAP;
    if (inhibit != NULL && ASN1_INTEGER_get(inhibit) == 0)
        demands |= X509_V_FLAG_INHIBIT_ANY;
    POLICY_CONSTRAINTS_free(constraints);
    ASN1_INTEGER_free(inhibit);
    return demands;
}

/* RFC 5937: what an anchor states about policies counts. OpenSSL leaves the last certificate out of
 * its judgement, so an anchor with policies is put in twice; so is a leaf that is the anchor. */
static int judge_anchor_policies(const struct walk *walk)
{
    __attribute__((cleanup(sk_X509_auto))) STACK_OF(X509) *all = sk_X509_new_null();
    const struct certificate_facts *anchor = walk->path[walk->count - 1];
    bool twice = anchor->policies[0] != '\0' || walk->count == 1;
    unsigned demands = twice ? 0 : anchor_demands(facts_x509(anchor), walk->count - 1);
    X509_POLICY_TREE *tree = NULL;
    int explicit_policy, result = 1;
    bool ready = all != NULL;

    for (size_t i = 0; ready && i < walk->count + (twice ? 1 : 0); i++)
        ready = sk_X509_push(all, facts_x509(i < walk->count ? walk->path[i] : anchor)) > 0;
    if (ready && (twice || demands != 0))
        result = X509_policy_check(&tree, &explicit_policy, all, walk->accepted,
                                   demands | walk->policy_flags);
    X509_policy_tree_free(tree);
    ERR_clear_error();
    if (ready && result == 1)
        return X509_V_OK;
    return !ready || result == 0 ? X509_V_ERR_OUT_OF_MEM : X509_V_ERR_NO_EXPLICIT_POLICY;
}

static struct path_result judge(const struct certificate_facts *const *path, size_t count,
                                const struct chain_policies *policies, int purpose)
{
    __attribute__((cleanup(sk_ASN1_OBJECT_auto))) STACK_OF(ASN1_OBJECT) *accepted =
        accepted_policies(policies);
    struct walk walk = {path, count, accepted, policy_flags(policies), purpose};
    struct path_result result = judge_rules(path, count);

    if (accepted == NULL)
        result.code = X509_V_ERR_OUT_OF_MEM;
    if (result.code == X509_V_OK)
        result.code = verify(&walk, 0, &result.at);
    if (result.code == X509_V_OK && (count > 1 || (policies != NULL && policies->required))) {
        result.code = judge_anchor_policies(&walk);
        result.at = 0;
    }
    if (result.code == X509_V_OK)
        result.strict_code = verify(&walk, X509_V_FLAG_X509_STRICT, &result.strict_at);
    return result;
}

/* ---- remembered ---- */

static struct {
    uint8_t path[32];
    bool used;
    struct path_result result;
} verified[MEMORY_PLACES];

/* By the certificates and by what is asked of them. */
static bool digest_path(uint8_t digest[32], const struct certificate_facts *const *path,
                        size_t count, const struct chain_policies *policies, int purpose)
{
    uint8_t all[CHAIN_DEPTH_MAX * 32 + CHAIN_POLICIES_MAX * OID_SIZE_MAX + 4] = {0};
    size_t used = 32 * count;

    for (size_t i = 0; i < count; i++)
        memcpy(all + 32 * i, path[i]->sha256, 32);
    if (policies != NULL) {
        all[used++] = policies->required;
        all[used++] = policies->mapping_inhibited;
        all[used++] = policies->any_inhibited;
        for (size_t i = 0; i < policies->count; i++, used += OID_SIZE_MAX)
            string_copy((char *)all + used, OID_SIZE_MAX, policies->accepted[i]);
    }
    all[used++] = (uint8_t)purpose;
    return EVP_Digest(all, used, digest, NULL, EVP_sha256(), NULL) == 1;
}

static struct path_result verify_once(const struct certificate_facts *const *path, size_t count,
                                      const struct chain_policies *policies, int purpose)
{
    uint8_t digest[32];

    if (!digest_path(digest, path, count, policies, purpose))
        return (struct path_result){.code = X509_V_ERR_OUT_OF_MEM};
    size_t place = place_of(digest);
    if (!verified[place].used || memcmp(verified[place].path, digest, 32) != 0) {
        struct path_result result = judge(path, count, policies, purpose);
        if (result.code == X509_V_ERR_OUT_OF_MEM)
            return result;
        memcpy(verified[place].path, digest, 32);
        verified[place].used = true;
        verified[place].result = result;
    }
    return verified[place].result;
}

struct path_result chain_path_verify(const struct certificate_facts *const *path, size_t count,
                                     const struct chain_policies *policies)
{
    return verify_once(path, count, policies, X509_PURPOSE_SSL_SERVER);
}

bool chain_path_signs_lists(const struct certificate_facts *const *path, size_t count)
{
    return verify_once(path, count, NULL, X509_PURPOSE_CRL_SIGN).code == X509_V_OK;
}

/* ---- codes ---- */

enum chain_outcome chain_outcome_of(int code)
{
    static const struct {
        int code;
        enum chain_outcome outcome;
    } outcomes[] = {
        {X509_V_OK, CHAIN_TRUSTED},
        {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, CHAIN_INCOMPLETE},
        {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, CHAIN_UNTRUSTED},
        {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, CHAIN_SELF_SIGNED},
        {X509_V_ERR_CERT_HAS_EXPIRED, CHAIN_EXPIRED},
        {X509_V_ERR_CERT_NOT_YET_VALID, CHAIN_NOT_YET_VALID},
        {X509_V_ERR_HOSTNAME_MISMATCH, CHAIN_NAME},
        {X509_V_ERR_IP_ADDRESS_MISMATCH, CHAIN_NAME},
        {X509_V_ERR_CERT_SIGNATURE_FAILURE, CHAIN_SIGNATURE},
        {X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE, CHAIN_SIGNATURE},
        {X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY, CHAIN_SIGNATURE},
        {X509_V_ERR_UNSUPPORTED_SIGNATURE_ALGORITHM, CHAIN_SIGNATURE},
        {X509_V_ERR_SIGNATURE_ALGORITHM_MISMATCH, CHAIN_SIGNATURE},
        {X509_V_ERR_EE_KEY_TOO_SMALL, CHAIN_SIGNATURE},
        {X509_V_ERR_CA_KEY_TOO_SMALL, CHAIN_SIGNATURE},
        {X509_V_ERR_CA_MD_TOO_WEAK, CHAIN_SIGNATURE},
        {X509_V_ERR_EC_KEY_EXPLICIT_PARAMS, CHAIN_SIGNATURE},
        {X509_V_ERR_INVALID_CA, CHAIN_CONSTRAINTS},
        {X509_V_ERR_INVALID_NON_CA, CHAIN_CONSTRAINTS},
        {X509_V_ERR_PATH_LENGTH_EXCEEDED, CHAIN_CONSTRAINTS},
        {X509_V_ERR_KEYUSAGE_NO_CERTSIGN, CHAIN_CONSTRAINTS},
        {X509_V_ERR_CERT_CHAIN_TOO_LONG, CHAIN_CONSTRAINTS},
        {X509_V_ERR_PERMITTED_VIOLATION, CHAIN_NAME_CONSTRAINTS},
        {X509_V_ERR_EXCLUDED_VIOLATION, CHAIN_NAME_CONSTRAINTS},
        {X509_V_ERR_SUBTREE_MINMAX, CHAIN_NAME_CONSTRAINTS},
        {X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE, CHAIN_NAME_CONSTRAINTS},
        {X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX, CHAIN_NAME_CONSTRAINTS},
        {X509_V_ERR_UNSUPPORTED_NAME_SYNTAX, CHAIN_NAME_CONSTRAINTS},
        {X509_V_ERR_INVALID_PURPOSE, CHAIN_PURPOSE},
        {X509_V_ERR_CERT_UNTRUSTED, CHAIN_PURPOSE},
        {X509_V_ERR_CERT_REJECTED, CHAIN_PURPOSE},
        {X509_V_ERR_INVALID_POLICY_EXTENSION, CHAIN_POLICY},
        {X509_V_ERR_NO_EXPLICIT_POLICY, CHAIN_POLICY},
    };

    for (size_t i = 0; i < ARRAY_SIZE(outcomes); i++) {
        if (outcomes[i].code == code)
            return outcomes[i].outcome;
    }
    return CHAIN_MALFORMED;
}

const char *chain_outcome_name(enum chain_outcome outcome)
{
    static const char *const names[] = {
        [CHAIN_TRUSTED] = "trusted",
        [CHAIN_INCOMPLETE] = "incomplete",
        [CHAIN_UNTRUSTED] = "untrusted",
        [CHAIN_SELF_SIGNED] = "self-signed",
        [CHAIN_EXPIRED] = "expired",
        [CHAIN_NOT_YET_VALID] = "not-yet-valid",
        [CHAIN_NAME] = "name",
        [CHAIN_SIGNATURE] = "signature",
        [CHAIN_CONSTRAINTS] = "constraints",
        [CHAIN_NAME_CONSTRAINTS] = "name-constraints",
        [CHAIN_PURPOSE] = "purpose",
        [CHAIN_POLICY] = "policy",
        [CHAIN_MALFORMED] = "malformed",
    };

    return names[outcome];
}
