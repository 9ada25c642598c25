/* Beginnings and ends. Limits follow the life of a certificate, for a certificate of six days is
 * always "about to expire" by those made for a year. */
#include "watch/checks/words.h"

#include <stdio.h>

#include "watch/renewal.h"

#define DAY_S 86400

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t life_of(const struct certificate_facts *facts)
{
    return facts->not_after > facts->not_before ? facts->not_after - facts->not_before : 0;
}

/* How long before its end it should have been renewed; 30 days at most, because a check does not
 * know whether somebody renews by hand. */
static int64_t renewal_point(const struct certificate_facts *facts)
{
    return smaller(30 * DAY_S,
                   facts->not_after - renewal_due(facts->not_before, facts->not_after, 0));
}

static int64_t limit_of(const struct threshold *threshold, const struct certificate_facts *facts)
{
    return threshold->share > 0 ? (int64_t)(threshold->share * (double)life_of(facts))
                                : threshold->seconds;
}

/* Ours, where the user has none: late is who has missed the point of renewal by more than a grace;
 * it gets serious with a tenth of the life left (at most a week). */
static int64_t warning_limit(const struct check_policy *policy,
                             const struct certificate_facts *facts)
{
    int64_t given = limit_of(&policy->warning, facts);

    return given > 0 ? given
                     : renewal_point(facts) - renewal_grace(facts->not_before, facts->not_after);
}

static int64_t critical_limit(const struct check_policy *policy,
                              const struct certificate_facts *facts)
{
    int64_t given = limit_of(&policy->critical, facts);

    return given > 0 ? given : smaller(7 * DAY_S, life_of(facts) / 10);
}

enum severity check_left(const struct check_policy *policy, const struct certificate_facts *facts,
                         int64_t left)
{
    if (left < critical_limit(policy, facts))
        return SEVERITY_CRITICAL;
    return left < warning_limit(policy, facts) ? SEVERITY_WARNING : SEVERITY_INFO;
}

/* ---- the leaf ---- */

static void tell_outside(const struct endpoint *endpoint, const struct check_policy *policy,
                         struct findings *findings)
{
    const struct certificate_facts *leaf = endpoint->seen.chain[0];
    char subject[WORDS_MAX], date[WORDS_MAX], since[WORDS_MAX];
    struct finding *finding;

    words_certificate(subject, endpoint, leaf);
    if (policy->at >= leaf->not_after)
        finding =
            findings_add(findings, "certificate-expired", SEVERITY_CRITICAL,
                         "renew the certificate, install it and make the server load it",
                         "%s has expired at %s, %s ago", subject, words_date(date, leaf->not_after),
                         words_left(since, policy->at - leaf->not_after));
    else
        finding = findings_add(findings, "certificate-not-yet-valid", SEVERITY_CRITICAL,
                               "look at the clocks of CA and server; serve the old certificate "
                               "until then",
                               "%s is not valid before %s, in %s", subject,
                               words_date(date, leaf->not_before),
                               words_left(since, leaf->not_before - policy->at));
    words_blame(finding, leaf);
}

/* The CA's own window says better than any rule when it should have happened. */
static bool tell_window(const struct endpoint *endpoint, const struct check_policy *policy,
                        struct findings *findings)
{
    const struct endpoint_renewal *renewal = &endpoint->revocation.renewal;
    char end[WORDS_MAX], since[WORDS_MAX];

    if (!renewal->known || policy->at < renewal->end)
        return false;
    struct finding *finding = findings_add(
        findings, "renewal-overdue", SEVERITY_WARNING,
        "find out why the renewal did not happen, or why the server still serves the old "
        "certificate",
        "the CA's window for the renewal closed at %s, %s ago, and the old certificate is still "
        "served",
        words_date(end, renewal->end), words_left(since, policy->at - renewal->end));
    words_blame(finding, endpoint->seen.chain[0]);
    return true;
}

static void tell_left(const struct endpoint *endpoint, const struct certificate_facts *facts,
                      const struct check_policy *policy, struct findings *findings)
{
    int64_t left = facts->not_after - policy->at;
    enum severity severity = check_left(policy, facts, left);
    bool ours = limit_of(&policy->warning, facts) <= 0, leaf = facts == endpoint->seen.chain[0];
    char subject[WORDS_MAX], date[WORDS_MAX], time_left[WORDS_MAX];

    if (severity == SEVERITY_INFO)
        return;
    bool overdue = leaf && ours && severity == SEVERITY_WARNING;
    struct finding *finding = findings_add(
        findings, overdue ? "renewal-overdue" : "certificate-expires-soon", severity,
        leaf ? "renew the certificate; where that is automatic, find out why it did not happen"
             : "get a chain with a newer intermediate from the CA: renew the leaf",
        "%s ends at %s, in %s%s", words_certificate(subject, endpoint, facts),
        words_date(date, facts->not_after), words_left(time_left, left),
        overdue ? "; its renewal is overdue" : "");
    ignore(snprintf(finding->evidence, sizeof finding->evidence, "%.0f %% of its life are left",
                    life_of(facts) > 0 ? 100.0 * (double)left / (double)life_of(facts) : 0.0));
    words_blame(finding, facts);
}

void check_dates(const struct endpoint *endpoint, const struct check_policy *policy,
                 struct findings *findings)
{
    const struct probe_seen *seen = &endpoint->seen;

    if (seen->chain_count == 0)
        return;
    if (policy->at >= seen->chain[0]->not_after || policy->at < seen->chain[0]->not_before)
        tell_outside(endpoint, policy, findings);
    else if (!tell_window(endpoint, policy, findings) ||
             check_left(policy, seen->chain[0], seen->chain[0]->not_after - policy->at) ==
                 SEVERITY_CRITICAL)
        tell_left(endpoint, seen->chain[0], policy, findings);
    /* An intermediate that outlives the leaf is not what ends first; others are told by the moment
     * at which the chain breaks, which counts other paths, too. */
}
