/* What MTA-STS and DANE say about one host, and whether what it shows agrees. */
#include <stdio.h>
#include <string.h>

#include "base/string.h"
#include "tls/dane.h"
#include "watch/mail_exchange.h"

/* ---- MTA-STS ---- */

static void judge_coverage(const struct mail_exchange *exchange, const char *host,
                           struct findings *findings)
{
    const struct mail_policy *policy = &exchange->policy;
    bool enforce = policy->mode == MAIL_POLICY_ENFORCE;
    struct finding *finding;

    if (policy->mode == MAIL_POLICY_NONE || mail_policy_covers(policy, host)) {
        finding = findings_add(findings, "mta-sts", SEVERITY_INFO,
                               "nothing; with mode testing, go on to enforce when reports are good",
                               "MTA-STS of %s: mode %s, and it names this host", exchange->domain,
                               mail_policy_mode_name(policy->mode));
        if (policy->mode == MAIL_POLICY_NONE)
            ignore(snprintf(finding->text, sizeof finding->text,
                            "MTA-STS of %s is switched off (mode none)", exchange->domain));
    } else {
        finding = findings_add(
            findings, "mta-sts-mismatch", enforce ? SEVERITY_CRITICAL : SEVERITY_WARNING,
            "add the host to the policy's mx lines and give the record a new id, or take the "
            "host out of the MX records",
            "MTA-STS of %s (mode %s) does not name this MX: senders %s", exchange->domain,
            mail_policy_mode_name(policy->mode),
            enforce ? "refuse to deliver to it" : "report it, and will refuse once it is enforced");
    }
    ignore(snprintf(finding->evidence, sizeof finding->evidence, "max_age %llu, mx %s%s",
                    (unsigned long long)policy->max_age_s, policy->patterns[0],
                    policy->pattern_count > 1 ? ", …" : ""));
}

static void judge_policy(const struct mail_exchange *exchange, const char *host,
                         struct findings *findings)
{
    static const char mend[] = "mend the record _mta-sts or the document mta-sts.txt as RFC 8461 "
                               "§3 says: until then senders that do not know the policy yet "
                               "deliver without it";
    struct finding *finding = NULL;

    switch (exchange->policy_state) {
    case MAIL_POLICY_ABSENT:
        findings_add(
            findings, "mta-sts-absent", SEVERITY_INFO,
            "think of one: without MTA-STS or DANE whoever is in between can take TLS away",
            "%s has no MTA-STS policy", exchange->domain);
        return;
    case MAIL_POLICY_UNKNOWN:
        finding = findings_add(findings, "mta-sts-unknown", SEVERITY_UNKNOWN,
                               "try again; look at this machine's resolver",
                               "the MTA-STS policy of %s is not known", exchange->domain);
        break;
    case MAIL_POLICY_BAD_RECORD:
        finding = findings_add(findings, "mta-sts-record", SEVERITY_WARNING, mend,
                               "the MTA-STS record of %s is wrong", exchange->domain);
        break;
    case MAIL_POLICY_UNREACHABLE:
        finding = findings_add(findings, "mta-sts-unreachable", SEVERITY_WARNING, mend,
                               "the MTA-STS policy of %s cannot be fetched", exchange->domain);
        break;
    case MAIL_POLICY_MALFORMED:
        finding = findings_add(findings, "mta-sts-policy", SEVERITY_WARNING, mend,
                               "the MTA-STS policy of %s is wrong", exchange->domain);
        break;
    case MAIL_POLICY_VALID:
        judge_coverage(exchange, host, findings);
        return;
    }
    ignore(string_copy(finding->evidence, sizeof finding->evidence, exchange->policy_reason));
}

/* ---- DANE ---- */

/* Usages 0 and 1 count for nothing in SMTP (RFC 7672 §3.1.3); whole certificates are not kept. */
static bool is_usable(const struct names_tlsa *tlsa)
{
    bool sized = (tlsa->matching == DANE_MATCHING_SHA256 && tlsa->size == 32) ||
                 (tlsa->matching == DANE_MATCHING_SHA512 && tlsa->size == 64);

    return (tlsa->usage == DANE_USAGE_ANCHOR || tlsa->usage == DANE_USAGE_LEAF) &&
           tlsa->selector <= DANE_SELECTOR_KEY && sized;
}

struct tally {
    size_t usable, matching, leaf_matching; /* the last: DANE-EE(3) alone */
    const struct names_tlsa *first;         /* usable */
};

static struct tally tally_associations(const struct mail_exchange_host *host,
                                       const struct probe_seen *seen)
{
    struct tally tally = {.usable = 0};

    for (size_t i = 0; i < host->association_count; i++) {
        const struct names_tlsa *tlsa = &host->associations[i];
        if (!is_usable(tlsa))
            continue;
        if (tally.first == NULL)
            tally.first = tlsa;
        tally.usable++;
        if (!dane_chain_matches(seen->chain, seen->chain_count, tlsa->usage, tlsa->selector,
                                tlsa->matching, tlsa->data, tlsa->size))
            continue;
        tally.matching++;
        tally.leaf_matching += tlsa->usage == DANE_USAGE_LEAF;
    }
    return tally;
}

static void show_association(struct finding *finding, const struct tally *tally)
{
    char digest[2 * 64 + 1];
    const struct names_tlsa *tlsa = tally->first;

    string_hex(digest, tlsa->data, tlsa->size <= 64 ? tlsa->size : 64);
    ignore(snprintf(finding->evidence, sizeof finding->evidence,
                    "%zu of %zu TLSA records match; the first is %u %u %u %.64s", tally->matching,
                    tally->usable, tlsa->usage, tlsa->selector, tlsa->matching, digest));
}

static void judge_associations(const struct mail_exchange_host *host, const struct probe_seen *seen,
                               struct findings *findings)
{
    const struct tally tally = tally_associations(host, seen);
    struct finding *finding;

    if (tally.usable == 0) {
        findings_add(findings, "dane-unusable", SEVERITY_WARNING,
                     "publish records of usage 3 or 2 with a digest, \"3 1 1 …\" best",
                     "none of the %zu TLSA records can be used for SMTP", host->association_count);
        return;
    }
    if (seen->chain_count == 0)
        return; /* nothing was shown that could differ */
    if (tally.matching > 0)
        finding = findings_add(findings, "dane", SEVERITY_INFO, "nothing",
                               "DANE: what is served matches the TLSA records%s",
                               host->authenticated ? "" : ", which no DNSSEC protects");
    else if (!host->authenticated)
        finding =
            findings_add(findings, "dane-mismatch-unsigned", SEVERITY_WARNING,
                         "mend the TLSA records, and sign the zone or ask a resolver that "
                         "validates",
                         "what is served matches none of the TLSA records; the resolver does "
                         "not vouch for them, so it is not certain that senders look at them");
    else
        finding = findings_add(findings, "dane-mismatch", SEVERITY_CRITICAL,
                               "publish a TLSA record for the key that is served, next to the one "
                               "of the next key, before certificates are replaced",
                               "what is served matches none of the TLSA records: senders with DANE "
                               "refuse to deliver");
    finding->hard = finding->severity == SEVERITY_CRITICAL;
    show_association(finding, &tally);
}

/* ---- what a matching record makes of other findings ---- */

/* DANE-EE(3): the record alone binds the key to the host. Neither issuer nor name, dates or purpose
 * of the certificate count (RFC 7671 §5.1, RFC 7672 §3.1.1). */
static bool is_about_the_certificate(const char *id)
{
    static const char *const ids[] = {"chain-incomplete",
                                      "chain-untrusted",
                                      "chain-self-signed",
                                      "chain-expired",
                                      "chain-not-yet-valid",
                                      "chain-signature",
                                      "chain-constraints",
                                      "chain-name-constraints",
                                      "chain-purpose",
                                      "chain-policy",
                                      "chain-breaks",
                                      "name-mismatch",
                                      "names-missing",
                                      "certificate-expired",
                                      "certificate-not-yet-valid",
                                      "certificate-expires-soon",
                                      "renewal-overdue",
                                      "usage-extended-missing",
                                      "usage-extended-wrong"};

    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        if (strcmp(id, ids[i]) == 0)
            return true;
    }
    return false;
}

/* Senders that know no DANE do not verify, unless the domain's MTA-STS tells them to. */
static bool is_left_to_dane(const struct mail_exchange *exchange,
                            const struct mail_exchange_host *host, const struct probe_seen *seen)
{
    bool is_enforced =
        exchange->policy_state == MAIL_POLICY_VALID && exchange->policy.mode == MAIL_POLICY_ENFORCE;

    return host->associations_outcome == NAMES_FOUND && host->authenticated &&
           exchange->authenticated && !is_enforced &&
           tally_associations(host, seen).leaf_matching > 0;
}

static void relieve(struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        struct finding *finding = &findings->items[i];
        if (finding->severity == SEVERITY_INFO || !is_about_the_certificate(finding->id))
            continue;
        finding->severity = SEVERITY_INFO;
        finding->hard = false;
        finding->next = "nothing: senders with DANE look at the TLSA record alone (RFC 7672 "
                        "§3.1.1), others do not verify; MTA-STS would make it count";
    }
}

void mail_exchange_judge(const struct mail_exchange *exchange, struct endpoint *endpoint)
{
    const struct mail_exchange_host *host = NULL;

    for (size_t i = 0; i < exchange->host_count; i++) {
        if (strcmp(exchange->hosts[i].target.host, endpoint->target.host) == 0)
            host = &exchange->hosts[i];
    }
    if (host == NULL)
        return;
    if (is_left_to_dane(exchange, host, &endpoint->seen))
        relieve(&endpoint->findings);
    judge_policy(exchange, host->target.host, &endpoint->findings);
    if (host->associations_outcome == NAMES_FOUND)
        judge_associations(host, &endpoint->seen, &endpoint->findings);
    else if (host->associations_outcome == NAMES_FAILED)
        findings_add(&endpoint->findings, "dane-unknown", SEVERITY_UNKNOWN,
                     "try again; if it stays so, look at the zone's DNSSEC: senders with DANE hold "
                     "mail back as long as the question fails",
                     "whether there are TLSA records for the host is not known");
}
