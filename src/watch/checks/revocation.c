/* Has a certificate been revoked? What could not be fetched is no defect of the endpoint: only
 * "revoked" is hard, and a staple that clients would refuse. That there is no OCSP is normal. */
#include <stdio.h>

#include "base/string.h"
#include "watch/checks/check.h"
#include "watch/checks/words.h"

#define DAY_S 86400

static void tell_revoked(struct findings *findings, const struct endpoint *endpoint,
                         const struct certificate_facts *certificate, const char *source,
                         const char *reason, int64_t revoked_at)
{
    char name[WORDS_MAX], date[WORDS_MAX];
    struct finding *finding = findings_add(
        findings, "certificate-revoked", SEVERITY_CRITICAL,
        "have a certificate issued for a new key and install it at once; find out who had it "
        "revoked, and why",
        "%s was revoked on %s (%s)", words_certificate(name, endpoint, certificate),
        words_date(date, revoked_at), reason);

    string_copy(finding->evidence, sizeof finding->evidence, source);
    words_blame(finding, certificate);
}

/* ---- the staple ---- */

static const char staple_next[] =
    "look at the server's stapling settings: resolver, access to the responder, chain to verify "
    "by; then have it fetch a fresh response";

static void tell_staple(struct findings *findings, const char *id, enum severity severity,
                        const struct ocsp_verdict *staple, const char *text)
{
    struct finding *finding = findings_add(findings, id, severity, staple_next, "%s", text);

    string_copy(finding->evidence, sizeof finding->evidence, staple->reason);
}

static void judge_good_staple(struct findings *findings, const struct ocsp_verdict *staple,
                              int64_t now)
{
    char date[WORDS_MAX];

    if (staple->next_update == 0 ||
        staple->next_update - now >= (staple->next_update - staple->this_update) / 2)
        return;
    findings_add(findings, "staple-ageing", SEVERITY_WARNING, staple_next,
                 "the OCSP staple ends on %s: less than half of its life is left, and the server "
                 "has not fetched a newer one",
                 words_date(date, staple->next_update));
}

void check_staple(const struct endpoint *endpoint, const struct check_policy *policy,
                  struct findings *findings)
{
    const struct ocsp_verdict *staple = &endpoint->revocation.staple;

    if (!endpoint->revocation.prepared || endpoint->seen.chain_count == 0 ||
        endpoint->target.kind == TARGET_FILE)
        return;
    const struct certificate_facts *leaf = endpoint->seen.chain[0];
    bool is_needed = leaf->must_staple || policy->require_staple;
    enum severity severity = is_needed ? SEVERITY_CRITICAL : SEVERITY_WARNING;
    switch (staple->outcome) {
    case OCSP_ABSENT:
        if (is_needed)
            tell_staple(findings, "staple-missing", SEVERITY_CRITICAL, staple,
                        leaf->must_staple
                            ? "the certificate demands an OCSP staple (must-staple), and the "
                              "server sends none"
                            : "the server sends no OCSP staple, which is required here");
        return;
    case OCSP_GOOD:
        judge_good_staple(findings, staple, endpoint->checked_at);
        return;
    case OCSP_REVOKED:
        tell_revoked(findings, endpoint, leaf, "OCSP staple", staple->revocation_reason,
                     staple->revoked_at);
        return;
    case OCSP_UNKNOWN:
        tell_staple(findings, "staple-unknown", severity, staple,
                    "the OCSP staple says that the CA's responder does not know the certificate");
        return;
    case OCSP_NOT_SUCCESSFUL:
        tell_staple(findings, "staple-empty", severity, staple,
                    "the OCSP staple holds the responder's refusal instead of an answer");
        return;
    case OCSP_STALE:
        tell_staple(findings, "staple-stale", severity, staple, "the OCSP staple has ended");
        return;
    case OCSP_MALFORMED:
    case OCSP_OTHER:
    case OCSP_UNTRUSTED:
    case OCSP_NOT_YET_VALID:
        tell_staple(findings, "staple-invalid", severity, staple,
                    "the OCSP staple proves nothing: clients refuse it, or ignore it");
        return;
    case OCSP_ISSUER_UNKNOWN: /* the chain's findings say so */
        return;
    }
}

/* ---- revocation lists ---- */

static void tell_list(struct findings *findings, const char *id, const struct endpoint *endpoint,
                      const struct endpoint_crl *crl, const char *next, const char *what)
{
    char name[WORDS_MAX];
    struct finding *finding =
        findings_add(findings, id, SEVERITY_INFO, next, "whether %s is revoked is not known: %s",
                     words_certificate(name, endpoint, crl->certificate), what);

    ignore(snprintf(finding->evidence, sizeof finding->evidence, "%.150s: %s", crl->source,
                    crl->verdict.reason));
    string_hex(finding->certificate, crl->certificate->sha256, 32);
}

static void judge_list(struct findings *findings, const struct endpoint *endpoint,
                       const struct endpoint_crl *crl)
{
    switch (crl->verdict.outcome) {
    case CRL_GOOD:
    case CRL_ISSUER_UNKNOWN: /* the chain's findings say so */
    case CRL_NOT_ASKED:
        return;
    case CRL_REVOKED:
        tell_revoked(findings, endpoint, crl->certificate, crl->source,
                     crl->verdict.revocation_reason, crl->verdict.revoked_at);
        return;
    case CRL_UNREACHABLE:
        tell_list(findings, "crl-unreachable", endpoint, crl,
                  "nothing, when the next check succeeds; else see whether this machine may reach "
                  "the address",
                  "the revocation list cannot be fetched");
        return;
    case CRL_NOT_YET_VALID:
    case CRL_STALE:
        tell_list(findings, "crl-stale", endpoint, crl,
                  "tell the CA when it lasts; for a list of your own, publish a new one",
                  "the revocation list is out of date");
        return;
    case CRL_OTHER_ISSUER:
    case CRL_OTHER_SCOPE:
    case CRL_UNTRUSTED:
    case CRL_UNSUPPORTED:
    case CRL_MALFORMED:
        tell_list(findings, "crl-invalid", endpoint, crl,
                  "tell the CA; for a list of your own, see that the right one is published",
                  "the revocation list is not about it, or cannot be believed");
        return;
    }
}

static void tell_left_out(struct findings *findings, const struct endpoint *endpoint,
                          const struct endpoint_crl *crl)
{
    char name[WORDS_MAX];

    if (crl->left_out[0] == '\0')
        return;
    struct finding *finding = findings_add(
        findings, "crl-changes-unused", SEVERITY_INFO,
        "nothing, when the next check succeeds; for lists of your own, give the complete list "
        "and the newest changes of it together",
        "a list of changes (delta CRL) for %s could not be counted",
        words_certificate(name, endpoint, crl->certificate));
    ignore(snprintf(finding->evidence, sizeof finding->evidence, "%.150s: %s", crl->left_out,
                    crl->left_out_reason));
    string_hex(finding->certificate, crl->certificate->sha256, 32);
}

void check_revocation_lists(const struct endpoint *endpoint, const struct check_policy *policy,
                            struct findings *findings)
{
    (void)policy;
    for (size_t i = 0; i < endpoint->revocation.crl_count; i++) {
        judge_list(findings, endpoint, &endpoint->revocation.crls[i]);
        tell_left_out(findings, endpoint, &endpoint->revocation.crls[i]);
    }
}

/* Public CAs must say where revocation can be looked up, but for lives so short that it does not
 * matter: 7 days, 10 before 2026-03-15 (Baseline Requirements §1.6.1, §7.1.2.11.2). */
static bool may_be_silent(const struct certificate_facts *certificate)
{
    const int64_t since = 1773532800; /* 2026-03-15 */
    int64_t limit = (certificate->not_before < since ? 10 : 7) * DAY_S;

    return certificate->not_after - certificate->not_before < limit;
}

void check_revocation_source(const struct endpoint *endpoint, const struct check_policy *policy,
                             struct findings *findings)
{
    char name[WORDS_MAX];

    (void)policy;
    for (size_t i = 0; words_public(endpoint) && i + 1 < endpoint->needed_count; i++) {
        const struct certificate_facts *certificate = endpoint->needed[i];
        if (certificate->crl_url_count > 0 || certificate->ocsp_url_count > 0 ||
            may_be_silent(certificate))
            continue;
        struct finding *finding = findings_add(
            findings, "revocation-source-missing", SEVERITY_WARNING, "have it issued anew",
            "%s names neither a revocation list nor an OCSP responder, which public CAs must",
            words_certificate(name, endpoint, certificate));
        words_blame(finding, certificate);
    }
}

/* ---- renewal ---- */

void check_renewal_information(const struct endpoint *endpoint, const struct check_policy *policy,
                               struct findings *findings)
{
    const struct endpoint_renewal *renewal = &endpoint->revocation.renewal;

    (void)policy;
    if (!renewal->known && renewal->reason[0] != '\0')
        findings_add(findings, "renewal-information-unreachable", SEVERITY_INFO,
                     "nothing, when the next check succeeds",
                     "the CA's renewal window cannot be asked for: %s", renewal->reason);
}
