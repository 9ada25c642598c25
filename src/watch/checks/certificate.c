/* What each certificate says of itself: key, signature, usage, form, lifetime. Rules for everybody
 * come from what clients refuse; those of the CA/Browser Forum count only below public roots. */
#include "watch/checks/words.h"

#include <stdio.h>
#include <string.h>

#define DAY_S 86400

/* One certificate under judgement. */
struct judged {
    const struct endpoint *endpoint;
    const struct certificate_facts *facts;
    bool leaf, public;
    struct findings *findings;
    char subject[WORDS_MAX];
};

static const char *const reissue = "have the certificate issued anew, by the rules";
static const char *const new_key =
    "make a new key (ECDSA P-256 or RSA with 2048 bits) and have the certificate issued for it";

static struct finding *tell(const struct judged *judged, const char *id, enum severity severity,
                            const char *next, const char *text)
{
    struct finding *finding =
        findings_add(judged->findings, id, severity, next, "%s %s", judged->subject, text);

    words_blame(finding, judged->facts);
    return finding;
}

/* Forbidden to public CAs, unwise for others. */
static enum severity by_rules(const struct judged *judged)
{
    return judged->public ? SEVERITY_CRITICAL : SEVERITY_WARNING;
}

/* ---- key (Baseline Requirements §6.1.5, §6.1.6) ---- */

static void judge_rsa(const struct judged *judged)
{
    const struct certificate_facts *facts = judged->facts;
    struct finding *finding = NULL;

    if (facts->key_bits < 2048)
        finding = tell(judged, "key-small", SEVERITY_CRITICAL, new_key,
                       "has an RSA key of less than 2048 bits");
    else if (facts->key_bits % 8 != 0)
        finding = tell(judged, "key-odd-size", by_rules(judged), new_key,
                       "has an RSA key whose size is no multiple of 8 bits");
    if (finding != NULL)
        ignore(snprintf(finding->evidence, sizeof finding->evidence, "%u bits", facts->key_bits));
    if (facts->rsa_exponent < 3 || facts->rsa_exponent % 2 == 0)
        tell(judged, "key-exponent", SEVERITY_CRITICAL, new_key,
             "has an RSA key with an even exponent or one below 3");
    else if (facts->rsa_exponent < 65537)
        tell(judged, "key-exponent", SEVERITY_WARNING, new_key,
             "has an RSA key with an exponent below 65537");
    if (facts->key_kind == PUBLIC_KEY_RSA_PSS)
        tell(judged, "key-kind", by_rules(judged), new_key,
             "has a key for RSA-PSS alone, which browsers do not take");
}

static void judge_curve(const struct judged *judged)
{
    static const char *const accepted[] = {"P-256", "P-384", "P-521"};
    const struct certificate_facts *facts = judged->facts;

    for (size_t i = 0; facts->curve != NULL && i < ARRAY_SIZE(accepted); i++) {
        if (strcmp(facts->curve, accepted[i]) == 0)
            return;
    }
    struct finding *finding = facts->key_bits < 256
                                  ? tell(judged, "key-small", SEVERITY_CRITICAL, new_key,
                                         "has an EC key of less than 256 bits")
                                  : tell(judged, "key-curve", by_rules(judged), new_key,
                                         "has an EC key that is not on P-256, P-384 or P-521");
    ignore(snprintf(finding->evidence, sizeof finding->evidence, "%s",
                    facts->curve != NULL ? facts->curve
                                         : "the parameters are written out instead of named"));
}

static void judge_key(const struct judged *judged)
{
    switch (judged->facts->key_kind) {
    case PUBLIC_KEY_RSA:
    case PUBLIC_KEY_RSA_PSS:
        judge_rsa(judged);
        break;
    case PUBLIC_KEY_EC:
        judge_curve(judged);
        break;
    case PUBLIC_KEY_ED25519:
    case PUBLIC_KEY_ED448:
        tell(judged, "key-kind", by_rules(judged), new_key,
             "has an Edwards curve key, which browsers do not take");
        break;
    case PUBLIC_KEY_DSA:
        tell(judged, "key-kind", SEVERITY_CRITICAL, new_key,
             "has a DSA key, which no client takes any more");
        break;
    case PUBLIC_KEY_OTHER:
        tell(judged, "key-kind", SEVERITY_CRITICAL, new_key,
             "has a key that cannot be read, or of an unknown kind");
        break;
    }
}

/* ---- signature (§7.1.3.2) ---- */

static void judge_signature(const struct judged *judged)
{
    static const char *const weak[] = {"md2",  "md4",      "md5",      "mdc2",
                                       "sha1", "md5-sha1", "ripemd160"};
    const struct certificate_facts *facts = judged->facts;

    if (facts->signature_algorithms_differ)
        tell(judged, "signature-differs", SEVERITY_CRITICAL, reissue,
             "names one signature algorithm inside and another outside");
    for (size_t i = 0; i < ARRAY_SIZE(weak); i++) {
        if (strcmp(facts->signature_digest, weak[i]) != 0)
            continue;
        struct finding *finding = tell(judged, "signature-weak", SEVERITY_CRITICAL, reissue,
                                       "is signed with a digest that can be forged");
        ignore(snprintf(finding->evidence, sizeof finding->evidence, "%s",
                        facts->signature_algorithm));
    }
    if (strcmp(facts->signature_digest, "sha224") == 0)
        tell(judged, "signature-weak", by_rules(judged), reissue,
             "is signed with SHA-224, which browsers do not take");
}

/* ---- usage (RFC 5280 §4.2.1, Baseline Requirements §7.1.2.7) ---- */

static void judge_leaf_usage(const struct judged *judged)
{
    const struct certificate_facts *facts = judged->facts;

    if (facts->is_ca && !facts->self_signed)
        tell(judged, "usage-leaf-is-authority", SEVERITY_CRITICAL, reissue,
             "is a CA's certificate and used by a server; Firefox and strict clients refuse it");
    else if (facts->is_ca)
        tell(judged, "usage-leaf-is-authority", SEVERITY_WARNING, reissue,
             "may sign others and is used by a server; keep the two apart");
    if (!facts->is_ca && facts->path_length >= 0)
        tell(judged, "constraints-path-length", SEVERITY_WARNING, reissue,
             "has a path length though it is no CA");
    if (!facts->has_key_usage)
        return;
    if ((facts->key_usage & KEY_USAGE_DIGITAL_SIGNATURE) == 0)
        tell(judged, "usage-key", SEVERITY_CRITICAL, reissue,
             "does not allow digitalSignature, without which there is no TLS 1.3 and no forward "
             "secrecy");
    if (!facts->is_ca && (facts->key_usage & KEY_USAGE_CERTIFICATE_SIGN) != 0)
        tell(judged, "usage-key", SEVERITY_WARNING, reissue,
             "allows keyCertSign though it is no CA");
    if (facts->key_kind == PUBLIC_KEY_EC && (facts->key_usage & KEY_USAGE_KEY_ENCIPHERMENT) != 0)
        tell(judged, "usage-key", judged->public ? SEVERITY_WARNING : SEVERITY_INFO, reissue,
             "allows keyEncipherment, which an EC key cannot do");
}

/* Purposes that no server's certificate may have beside its own (§7.1.2.7.10); Chrome refuses
 * them. */
static const char *odd_purpose(const struct certificate_facts *facts)
{
    static const char *const odd[] = {"codeSigning", "emailProtection", "timeStamping",
                                      "OCSPSigning", "anyExtendedKeyUsage"};

    for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
        if (strstr(facts->extended_usage_text, odd[i]) != NULL)
            return odd[i];
    }
    return NULL;
}

#define CLIENT_USAGE_END 1805068800 /* 2027-03-15, Chrome Root Program Policy 1.8 */

static void judge_client_usage(const struct judged *judged)
{
    const struct certificate_facts *facts = judged->facts;

    if ((facts->extended_usage & EXTENDED_USAGE_CLIENT) == 0 || !judged->public)
        return;
    if (facts->not_before >= CLIENT_USAGE_END)
        tell(judged, "usage-client", SEVERITY_WARNING,
             "have it issued without clientAuth; use a certificate of a CA of your own to "
             "authenticate as a client",
             "has clientAuth, which public CAs may not issue from 2027-03-15 on");
    else
        tell(judged, "usage-client", SEVERITY_INFO,
             "who uses it as a client, too (mTLS, mail relays), needs another one by then",
             "has clientAuth; public CAs may not issue that from 2027-03-15 on");
}

static void judge_extended_usage(const struct judged *judged)
{
    const struct certificate_facts *facts = judged->facts;
    const char *odd = judged->leaf ? odd_purpose(facts) : NULL;

    if (judged->leaf && !facts->has_extended_usage)
        tell(judged, "usage-extended-missing", SEVERITY_CRITICAL,
             "have the certificate issued with serverAuth in its extended key usage",
             "has no extended key usage; Apple's clients demand serverAuth");
    else if (facts->has_extended_usage && (facts->extended_usage & EXTENDED_USAGE_SERVER) == 0)
        tell(judged, "usage-extended-wrong", SEVERITY_CRITICAL,
             "have the certificate issued with serverAuth in its extended key usage",
             "does not have serverAuth in its extended key usage");
    if (odd != NULL) {
        struct finding *finding = tell(
            judged, "usage-extended-odd", SEVERITY_CRITICAL, "have it issued with serverAuth alone",
            "has extended key usages that a server's certificate must not have");
        ignore(snprintf(finding->evidence, sizeof finding->evidence, "%.200s",
                        facts->extended_usage_text));
    }
    if (judged->leaf)
        judge_client_usage(judged);
}

static void judge_authority(const struct judged *judged)
{
    const struct certificate_facts *facts = judged->facts;

    if (!facts->has_basic_constraints || !facts->is_ca)
        tell(judged, "constraints-missing", SEVERITY_CRITICAL, reissue,
             "has issued another certificate and is no CA by its basic constraints");
    else if (!facts->basic_constraints_critical)
        tell(judged, "constraints-not-critical", by_rules(judged), reissue,
             "is a CA's, but its basic constraints are not critical");
    if (!facts->has_key_usage)
        tell(judged, "usage-key", by_rules(judged), reissue, "is a CA's and has no key usage");
    else if ((facts->key_usage & KEY_USAGE_CERTIFICATE_SIGN) == 0)
        tell(judged, "usage-key", SEVERITY_CRITICAL, reissue,
             "has issued another certificate without keyCertSign");
}

/* ---- form ---- */

static void judge_serial(const struct judged *judged)
{
    const struct certificate_facts *facts = judged->facts;
    struct finding *finding = NULL;

    if (facts->serial_zero)
        finding = tell(judged, "serial-zero", by_rules(judged), reissue, "has the serial number 0");
    else if (facts->serial_negative)
        finding = tell(judged, "serial-negative", SEVERITY_CRITICAL, reissue,
                       "has a negative serial number; clients in Go refuse it");
    else if (facts->serial_size > 20)
        finding = tell(judged, "serial-long", SEVERITY_CRITICAL, reissue,
                       "has a serial number of more than 20 bytes; browsers refuse it");
    if (finding != NULL)
        ignore(snprintf(finding->evidence, sizeof finding->evidence, "%.100s", facts->serial));
}

static void judge_form(const struct judged *judged)
{
    const struct certificate_facts *facts = judged->facts;
    struct finding *finding = NULL;

    if (facts->version != 3)
        tell(judged, "certificate-version", SEVERITY_CRITICAL, reissue,
             "is not of version 3 and cannot say what it is for");
    if (facts->dates_malformed)
        tell(judged, "dates-malformed", SEVERITY_CRITICAL, reissue,
             "has a date that clients read differently or not at all");
    if (facts->malformed_extension != NULL) {
        finding = tell(judged, "extension-malformed", SEVERITY_CRITICAL, reissue,
                       "has an extension that cannot be read, or that stands twice");
        ignore(snprintf(finding->evidence, sizeof finding->evidence, "%.100s",
                        facts->malformed_extension));
    }
    if (facts->unknown_critical != NULL) {
        finding = tell(judged, "extension-unknown", SEVERITY_CRITICAL, reissue,
                       "has a critical extension that clients do not know; they must refuse it");
        ignore(snprintf(finding->evidence, sizeof finding->evidence, "%.100s",
                        facts->unknown_critical));
    }
    if (judged->leaf && facts->has_name_constraints)
        tell(judged, "extension-misplaced", SEVERITY_WARNING, reissue,
             "has name constraints though it is no CA");
    judge_serial(judged);
}

/* ---- lifetime (§6.3.2, ballot SC-081) ---- */

#define PRIVATE_LIFE_MAX 825 /* days; Apple's limit for any CA */

/* By the day of issue; a day is 86,400 seconds, and the last second counts. */
static int64_t life_limit(int64_t not_before)
{
    static const struct {
        int64_t from;
        int64_t days;
    } limits[] = {{1868227200, 47},  /* 2029-03-15 */
                  {1805068800, 100}, /* 2027-03-15 */
                  {1773532800, 200}, /* 2026-03-15 */
                  {1598918400, 398}, /* 2020-09-01 */
                  {1519862400, 825}, /* 2018-03-01 */
                  {INT64_MIN, 1187}};
    size_t i = 0;

    while (not_before < limits[i].from)
        i++;
    return limits[i].days;
}

static void judge_life(const struct judged *judged)
{
    const struct certificate_facts *facts = judged->facts;
    int64_t limit = judged->public ? life_limit(facts->not_before) : PRIVATE_LIFE_MAX;
    int64_t life = facts->not_after - facts->not_before + 1;

    if (!judged->leaf || life <= limit * DAY_S)
        return;
    struct finding *finding =
        findings_add(judged->findings, "lifetime-long", by_rules(judged),
                     "have it issued for a shorter time and renew it by a machine",
                     "%s is valid for %lld days; %s allow %lld to one issued at that time",
                     judged->subject, (long long)(life / DAY_S),
                     judged->public ? "browsers" : "Apple's clients", (long long)limit);
    words_blame(finding, facts);
}

/* ---- all of them ---- */

static void judge(const struct judged *judged)
{
    judge_key(judged);
    judge_signature(judged);
    judge_form(judged);
    judge_extended_usage(judged);
    judge_life(judged);
    if (judged->leaf)
        judge_leaf_usage(judged);
    else
        judge_authority(judged);
}

/* Roots that are sent along are the clients' business: theirs count, not the one sent. */
void check_certificates(const struct endpoint *endpoint, const struct check_policy *policy,
                        struct findings *findings)
{
    bool public = words_public(endpoint);

    (void)policy;
    for (size_t i = 0; i < endpoint->seen.chain_count; i++) {
        struct judged judged = {.endpoint = endpoint,
                                .facts = endpoint->seen.chain[i],
                                .leaf = i == 0,
                                .public = public,
                                .findings = findings};
        if (!words_judged(endpoint, judged.facts) || (i > 0 && judged.facts->self_signed) ||
            words_position(endpoint, judged.facts) != (int)i)
            continue;
        words_certificate(judged.subject, endpoint, judged.facts);
        judge(&judged);
    }
}

/* The same key under two names; cross-signs have one name. */
static void check_pair(const struct endpoint *endpoint, size_t first, size_t second,
                       struct findings *findings)
{
    const struct certificate_facts *a = endpoint->seen.chain[first],
                                   *b = endpoint->seen.chain[second];
    char one[WORDS_MAX], other[WORDS_MAX];

    if (memcmp(a->public_key_sha256, b->public_key_sha256, 32) != 0 ||
        strcmp(a->subject, b->subject) == 0)
        return;
    struct finding *finding =
        findings_add(findings, "key-shared", SEVERITY_WARNING, new_key, "%s and %s share one key",
                     words_certificate(one, endpoint, a), words_certificate(other, endpoint, b));
    words_blame(finding, a);
}

void check_shared_keys(const struct endpoint *endpoint, const struct check_policy *policy,
                       struct findings *findings)
{
    (void)policy;
    for (size_t i = 0; i < endpoint->seen.chain_count; i++) {
        for (size_t j = i + 1; j < endpoint->seen.chain_count; j++)
            check_pair(endpoint, i, j, findings);
    }
}

static bool has_pin(const struct check_policy *policy, const struct certificate_facts *facts)
{
    for (size_t i = 0; i < policy->pin_count; i++) {
        if (memcmp(policy->pins[i], facts->public_key_sha256, 32) == 0)
            return true;
    }
    return false;
}

/* In one of the paths that a store has found, or, without any, among those who have signed upwards
 * from the leaf: what else is sent along proves nothing (RFC 7469 §2.6). */
static bool pin_holds(const struct check_policy *policy, const struct endpoint *endpoint)
{
    const struct probe_seen *seen = &endpoint->seen;
    const struct certificate_facts *at = seen->chain[0];
    size_t paths = 0;

    for (size_t i = 0; i < endpoint->trust_count; i++) {
        const struct chain_verdict *verdict = &endpoint->trust[i].verdict;
        for (size_t j = 0; j < verdict->path_count; j++, paths++) {
            for (size_t k = 0; k < verdict->paths[j].count; k++) {
                if (has_pin(policy, verdict->paths[j].certificates[k]))
                    return true;
            }
        }
    }
    for (unsigned depth = 0; paths == 0 && at != NULL && depth < CHAIN_DEPTH_MAX; depth++) {
        if (has_pin(policy, at))
            return true;
        at = chain_issuer(at, seen->chain, seen->chain_count);
    }
    return false;
}

void check_pins(const struct endpoint *endpoint, const struct check_policy *policy,
                struct findings *findings)
{
    if (policy->pin_count == 0 || endpoint->seen.chain_count == 0 || pin_holds(policy, endpoint))
        return;
    struct finding *finding =
        findings_add(findings, "pin-mismatch", SEVERITY_CRITICAL,
                     "serve a certificate with a pinned key, or give the clients the new pin first",
                     "none of the pinned keys is in the chain");
    words_blame(finding, endpoint->seen.chain[0]);
}
