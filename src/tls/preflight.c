/* The pre-flight: everything that would make clients refuse a certificate, found before it goes
 * live. One function per finding; each adds at most one, with the first defect of its kind. */
#include "tls/certificate_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "tls/openssl_auto.h"
#include "tls/trust_store.h"

#define RSA_BITS_MIN 2048
#define EC_BITS_MIN  256

struct preflight {
    const struct keypair *pair;
    const struct preflight_policy *policy;
    struct preflight_report *report;
    size_t length; /* of the chain, leaf included */
};

static void PRINTF_LIKE(3, 4)
    found(struct preflight *preflight, enum error_code code, const char *format, ...)
{
    struct preflight_report *report = preflight->report;
    va_list arguments;

    if (report->count == PREFLIGHT_FINDINGS_MAX)
        return;
    struct preflight_finding *finding = &report->findings[report->count++];
    finding->code = code;
    finding->forced = (preflight->policy->forced >> (code - ERROR_CERTIFICATE_UNPARSABLE) & 1) != 0;
    va_start(arguments, format);
    ignore(vsnprintf(finding->text, sizeof finding->text, format, arguments));
    va_end(arguments);
}

/* Place 0 is the leaf. */
static X509 *chain_at(const struct preflight *preflight, size_t place)
{
    return place == 0 ? keypair_leaf(preflight->pair)
                      : sk_X509_value(keypair_chain(preflight->pair), (int)place - 1);
}

struct short_name {
    char text[96];
};

/* Short enough to stand twice in a finding. */
static struct short_name subject_of(const X509 *certificate)
{
    struct short_name name = {""};

    certificate_name_text(name.text, sizeof name.text, X509_get_subject_name(certificate));
    return name;
}

struct date {
    char text[32];
};

static struct date date_of(int64_t seconds)
{
    struct date date = {""};

    clock_rfc3339(date.text, sizeof date.text, seconds > 0 ? (uint64_t)seconds * NS_PER_S : 0);
    return date;
}

static bool is_self_signed(X509 *certificate)
{
    return X509_self_signed(certificate, 0) == 1;
}

static bool is_ca(X509 *certificate)
{
    return (X509_get_extension_flags(certificate) & EXFLAG_CA) != 0;
}

/* ---- findings ---- */

/* The leaf is not first when the key belongs to a later certificate, or when a CA stands before a
 * certificate that is none. Everything else would then judge the wrong one. */
static bool leaf_is_first(struct preflight *preflight)
{
    EVP_PKEY *key = keypair_private_key(preflight->pair);
    bool matches = X509_check_private_key(chain_at(preflight, 0), key) == 1;

    for (size_t i = 1; i < preflight->length; i++) {
        X509 *other = chain_at(preflight, i);
        bool better = !matches && X509_check_private_key(other, key) == 1;
        if (better || (is_ca(chain_at(preflight, 0)) && !is_ca(other))) {
            found(preflight, ERROR_CERTIFICATE_LEAF_NOT_FIRST,
                  "the leaf (%s) stands at place %zu of the chain, behind %s: put it first",
                  subject_of(other).text, i + 1, subject_of(chain_at(preflight, 0)).text);
            return false;
        }
    }
    return true;
}

static void check_key(struct preflight *preflight)
{
    if (X509_check_private_key(keypair_leaf(preflight->pair),
                               keypair_private_key(preflight->pair)) != 1)
        found(preflight, ERROR_CERTIFICATE_KEY_MISMATCH,
              "the private key does not belong to the certificate of %s",
              keypair_subject(preflight->pair));
}

static void check_names(struct preflight *preflight)
{
    const struct preflight_policy *policy = preflight->policy;
    const char *first = NULL;
    size_t missing = 0;

    for (size_t i = 0; i < policy->name_count; i++) {
        if (!keypair_covers(preflight->pair, policy->names[i]) && missing++ == 0)
            first = policy->names[i];
    }
    if (missing == 1)
        found(preflight, ERROR_CERTIFICATE_NAME_MISSING,
              "the certificate does not cover the name %.128s", first);
    else if (missing > 1)
        found(preflight, ERROR_CERTIFICATE_NAME_MISSING,
              "the certificate does not cover the name %.128s and %zu more", first, missing - 1);
}

/* Every certificate of the chain must be in its time window; a self-signed one at the end is only
 * for show. */
static void check_time(struct preflight *preflight)
{
    bool early = false, late = false;

    for (size_t i = 0; i < preflight->length; i++) {
        X509 *certificate = chain_at(preflight, i);
        int64_t from = certificate_time(X509_get0_notBefore(certificate));
        int64_t until = certificate_time(X509_get0_notAfter(certificate));
        if (i > 0 && is_self_signed(certificate))
            continue;
        if (!early && preflight->policy->now < from) {
            early = true;
            found(preflight, ERROR_CERTIFICATE_NOT_YET_VALID, "%s is not valid before %s",
                  subject_of(certificate).text, date_of(from).text);
        }
        if (!late && preflight->policy->now > until) {
            late = true;
            found(preflight, ERROR_CERTIFICATE_EXPIRED, "%s has expired at %s",
                  subject_of(certificate).text, date_of(until).text);
        }
    }
}

static void check_live(struct preflight *preflight)
{
    const struct keypair *live = preflight->policy->live;

    if (live != NULL && keypair_type(live) == keypair_type(preflight->pair) &&
        keypair_not_after(preflight->pair) < keypair_not_after(live) &&
        memcmp(keypair_fingerprint(live), keypair_fingerprint(preflight->pair), 32) != 0)
        found(preflight, ERROR_CERTIFICATE_OLDER_THAN_LIVE,
              "it ends at %s, before the one in service (%s)",
              date_of(keypair_not_after(preflight->pair)).text,
              date_of(keypair_not_after(live)).text);
}

static void check_chain(struct preflight *preflight)
{
    for (size_t i = 0; i + 1 < preflight->length; i++) {
        X509 *subject = chain_at(preflight, i), *issuer = chain_at(preflight, i + 1);
        EVP_PKEY *issuer_key = X509_get0_pubkey(issuer);
        if (X509_check_issued(issuer, subject) != X509_V_OK || issuer_key == NULL ||
            X509_verify(subject, issuer_key) != 1) {
            found(preflight, ERROR_CERTIFICATE_CHAIN_BROKEN,
                  "certificate %zu (%s) is not signed by the next one in the chain (%s)", i + 1,
                  subject_of(subject).text, subject_of(issuer).text);
            return;
        }
    }
}

static bool issuer_is_trusted(X509_STORE *store, X509 *leaf)
{
    AUTO(X509_STORE_CTX) *search = X509_STORE_CTX_new();
    X509 *issuer = NULL;

    if (search == NULL || X509_STORE_CTX_init(search, store, leaf, NULL) != 1 ||
        X509_STORE_CTX_get1_issuer(&issuer, search, leaf) != 1)
        return false;
    bool trusted = X509_verify(leaf, X509_get0_pubkey(issuer)) == 1;
    X509_free(issuer);
    return trusted;
}

static int check_leaf_only(struct preflight *preflight, struct error *error)
{
    X509 *leaf = keypair_leaf(preflight->pair);
    X509_STORE *store;

    if (!preflight->policy->require_chain || preflight->length > 1 || is_self_signed(leaf))
        return 0;
    int result = trust_store_file(&store, preflight->policy->trust_file, error);
    if (result != 0)
        return result;
    if (!issuer_is_trusted(store, leaf))
        found(preflight, ERROR_CERTIFICATE_LEAF_ONLY,
              "the chain has only the leaf, and its issuer (%.128s) is no trust anchor: append the "
              "intermediate certificate",
              keypair_issuer(preflight->pair));
    X509_STORE_free(store);
    return 0;
}

static void check_key_strength(struct preflight *preflight)
{
    for (size_t i = 0; i < preflight->length; i++) {
        EVP_PKEY *key = X509_get0_pubkey(chain_at(preflight, i));
        int kind = key != NULL ? EVP_PKEY_get_base_id(key) : NID_undef;
        int bits = key != NULL ? EVP_PKEY_get_bits(key) : 0;
        if ((kind == EVP_PKEY_RSA && bits < RSA_BITS_MIN) ||
            (kind == EVP_PKEY_EC && bits < EC_BITS_MIN)) {
            found(preflight, ERROR_CERTIFICATE_WEAK_KEY, "%s has a key of only %d bits (%s)",
                  subject_of(chain_at(preflight, i)).text, bits,
                  kind == EVP_PKEY_RSA ? "RSA" : "EC");
            return;
        }
    }
}

/* Nobody verifies the signature of a trust anchor upon itself. */
static void check_signatures(struct preflight *preflight)
{
    for (size_t i = 0; i < preflight->length; i++) {
        X509 *certificate = chain_at(preflight, i);
        int digest = NID_undef;
        if (is_self_signed(certificate) ||
            X509_get_signature_info(certificate, &digest, NULL, NULL, NULL) != 1)
            continue;
        if (digest == NID_md2 || digest == NID_md4 || digest == NID_md5 || digest == NID_md5_sha1 ||
            digest == NID_sha1) {
            found(preflight, ERROR_CERTIFICATE_WEAK_SIGNATURE, "%s is signed with %s",
                  subject_of(certificate).text, OBJ_nid2sn(digest));
            return;
        }
    }
}

static void check_usage(struct preflight *preflight)
{
    X509 *leaf = keypair_leaf(preflight->pair);
    uint32_t usage = X509_get_key_usage(leaf);             /* all bits when absent */
    uint32_t extended = X509_get_extended_key_usage(leaf); /* the same */

    if (is_ca(leaf) && !is_self_signed(leaf)) /* self-made ones often are both */
        found(preflight, ERROR_CERTIFICATE_WRONG_USAGE,
              "it is a CA certificate (basicConstraints CA:TRUE), not a server's");
    else if ((extended & (XKU_SSL_SERVER | XKU_ANYEKU)) == 0)
        found(preflight, ERROR_CERTIFICATE_WRONG_USAGE,
              "its extended key usage does not allow serverAuth");
    else if ((usage & KU_DIGITAL_SIGNATURE) == 0)
        found(preflight, ERROR_CERTIFICATE_WRONG_USAGE,
              "its key usage does not allow digitalSignature");
}

/* ---- the whole ---- */

/* The order is that of ERROR_LIST. */
static int check_all(struct preflight *preflight, struct error *error)
{
    if (!leaf_is_first(preflight))
        return 0;
    check_key(preflight);
    check_names(preflight);
    check_time(preflight);
    check_live(preflight);
    check_chain(preflight);
    int result = check_leaf_only(preflight, error);
    if (result != 0)
        return result;
    check_key_strength(preflight);
    check_signatures(preflight);
    check_usage(preflight);
    return 0;
}

int keypair_preflight(const struct keypair *pair, const struct preflight_policy *policy,
                      struct preflight_report *ret_report, struct error *error)
{
    struct preflight preflight = {
        .pair = pair, .policy = policy, .report = ret_report, .length = keypair_chain_length(pair)};

    memset(ret_report, 0, sizeof *ret_report);
    int result = check_all(&preflight, error);
    ERR_clear_error();
    if (result != 0)
        return result;
    for (size_t i = 0; i < ret_report->count; i++) {
        if (!ret_report->findings[i].forced)
            return error_set(error, ret_report->findings[i].code, "%s",
                             ret_report->findings[i].text);
    }
    return 0;
}
