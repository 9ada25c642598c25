/* What the trust stores say of the chain, and how well it was put together. The leaf's own dates
 * and names are not told here but in dates.c and names.c, which need no store. */
#include "watch/checks/words.h"

#include <stdio.h>
#include <string.h>

#define DAY_S       86400
#define CHAIN_LARGE 16384 /* bytes; beyond it, a QUIC or TCP start needs more round trips */
#define SERIES_MAX  160

/* ---- what each store says ---- */

struct words {
    const char *id, *text, *next;
};

static const struct words *words_of(enum chain_outcome outcome)
{
    static const struct words all[] = {
        [CHAIN_INCOMPLETE] = {"chain-incomplete", "the issuer is neither sent nor in the store",
                              "install the full chain: the leaf first, then every intermediate up "
                              "to the root; or add the missing root to the store"},
        [CHAIN_UNTRUSTED] = {"chain-untrusted", "it ends in a root that the store does not have",
                             "use a certificate of a CA that the clients trust, or add its root to "
                             "their store"},
        [CHAIN_SELF_SIGNED] = {"chain-self-signed", "it is signed by itself alone",
                               "use a certificate of a CA that the clients trust, or add this one "
                               "to their store"},
        [CHAIN_EXPIRED] = {"chain-expired", "it has expired",
                           "renew, and install the chain that the CA sends with it; clients with "
                           "an old store need an update"},
        [CHAIN_NOT_YET_VALID] = {"chain-not-yet-valid", "it is not valid yet",
                                 "look at the clock; install a chain that is valid now"},
        [CHAIN_SIGNATURE] = {"chain-signature",
                             "its signature does not verify or its algorithm is too weak",
                             "install the chain that was issued together with the leaf"},
        [CHAIN_CONSTRAINTS] = {"chain-constraints", "it may not issue what is below it",
                               "have the leaf issued by a CA that may; no setting helps"},
        [CHAIN_NAME_CONSTRAINTS] = {"chain-name-constraints",
                                    "an issuer may not issue for a name that is in it",
                                    "have the leaf issued for the permitted names alone"},
        [CHAIN_PURPOSE] = {"chain-purpose", "it is not meant for TLS servers",
                           "have the certificate issued with serverAuth in its extended key "
                           "usage"},
        [CHAIN_POLICY] = {"chain-policy", "no certificate policy holds along the chain",
                          "ask the CA: the policies of its certificates contradict each other"},
        [CHAIN_MALFORMED] = {"chain-malformed", "strict clients cannot read it",
                             "have the certificate issued anew"},
    };

    return &all[outcome];
}

/* Told elsewhere: the leaf's dates and names. */
static bool told_here(const struct chain_verdict *verdict)
{
    if (verdict->outcome == CHAIN_TRUSTED || verdict->outcome == CHAIN_NAME)
        return false;
    return verdict->at != 0 ||
           (verdict->outcome != CHAIN_EXPIRED && verdict->outcome != CHAIN_NOT_YET_VALID);
}

/* Names of the stores that agree with the first of them, "system and mozilla". */
static void list_stores(char *text, size_t size, const struct endpoint *endpoint, size_t first)
{
    const struct chain_verdict *verdict = &endpoint->trust[first].verdict;
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = first; i < endpoint->trust_count && used < size; i++) {
        if (endpoint->trust[i].verdict.outcome == verdict->outcome &&
            endpoint->trust[i].verdict.at == verdict->at)
            used += (size_t)snprintf(text + used, size - used, "%s%.40s", used > 0 ? ", " : "",
                                     chain_store_name(endpoint->trust[i].store));
    }
}

static bool told_before(const struct endpoint *endpoint, size_t store)
{
    for (size_t i = 0; i < store; i++) {
        if (endpoint->trust[i].verdict.outcome == endpoint->trust[store].verdict.outcome &&
            endpoint->trust[i].verdict.at == endpoint->trust[store].verdict.at)
            return true;
    }
    return false;
}

static void tell_store(const struct endpoint *endpoint, size_t store, struct findings *findings)
{
    const struct chain_verdict *verdict = &endpoint->trust[store].verdict;
    const struct words *words = words_of(verdict->outcome);
    const struct certificate_facts *blamed =
        verdict->blamed != NULL ? verdict->blamed : endpoint->seen.chain[0];
    char subject[WORDS_MAX], stores[WORDS_MAX];

    list_stores(stores, sizeof stores, endpoint, store);
    words_certificate(subject, endpoint, blamed);
    struct finding *finding =
        findings_add(findings, words->id, SEVERITY_CRITICAL, words->next,
                     "not trusted by %.80s: %s: %s", stores, subject, words->text);
    words_blame(finding, blamed);
    if (verdict->outcome == CHAIN_INCOMPLETE)
        ignore(snprintf(finding->evidence, sizeof finding->evidence, "its issuer is %.200s",
                        blamed->issuer));
    else
        ignore(snprintf(finding->evidence, sizeof finding->evidence, "%s", verdict->reason));
}

/* One line for those who ask why it works here and not there. */
static void tell_difference(const struct endpoint *endpoint, struct findings *findings)
{
    const struct endpoint_trust *good = NULL, *bad = NULL;

    for (size_t i = 0; i < endpoint->trust_count; i++) {
        if (endpoint->trust[i].verdict.path_count > 0 && good == NULL)
            good = &endpoint->trust[i];
        if (endpoint->trust[i].verdict.path_count == 0 && bad == NULL)
            bad = &endpoint->trust[i];
    }
    if (good == NULL || bad == NULL)
        return;
    findings_add(findings, "chain-stores-differ", SEVERITY_INFO,
                 "update the store of the clients that fail, or use a chain that ends in a root "
                 "which all of them have",
                 "clients with the store %.60s accept it, those with %.60s do not (%s)",
                 chain_store_name(good->store), chain_store_name(bad->store),
                 chain_outcome_name(bad->verdict.outcome));
}

/* Browsers fetch a missing intermediate by the leaf's authority information (AIA), or remember it;
 * nothing else does. */
static void tell_browsers(const struct endpoint *endpoint, const struct check_policy *policy,
                          struct findings *findings)
{
    const struct endpoint_revocation *more = &endpoint->revocation;
    const struct chain_question question = {.served = endpoint->seen.chain,
                                            .count = endpoint->seen.chain_count,
                                            .fetched = more->fetched,
                                            .fetched_count = more->fetched_count,
                                            .policies = &policy->policies,
                                            .at = policy->at};
    struct chain_verdict verdict;

    if (endpoint->trust[0].verdict.outcome != CHAIN_INCOMPLETE || more->fetched_count == 0)
        return;
    chain_judge(endpoint->trust[0].store, &question, &verdict);
    if (verdict.outcome == CHAIN_TRUSTED)
        findings_add(findings, "chain-browsers-only", SEVERITY_INFO,
                     "install the full chain: what browsers do for themselves, API clients, "
                     "mail servers and phones do not",
                     "browsers hide that the chain is incomplete: they fetch %zu certificate%s "
                     "from %.120s",
                     more->fetched_count, more->fetched_count == 1 ? "" : "s",
                     endpoint->seen.chain[0]->issuer_url_count > 0
                         ? endpoint->seen.chain[0]->issuer_urls[0]
                         : "the CA");
    chain_verdict_fini(&verdict);
}

static void tell_strict(const struct endpoint *endpoint, struct findings *findings)
{
    const struct chain_verdict *verdict = &endpoint->trust[0].verdict;
    char subject[WORDS_MAX] = "an anchor of the store";

    if (verdict->path_count == 0 || verdict->strict_code == 0)
        return;
    if (verdict->strict_at >= 0)
        words_certificate(subject, endpoint, endpoint->seen.chain[verdict->strict_at]);
    struct finding *finding = findings_add(
        findings, "chain-strict", SEVERITY_WARNING,
        "have the certificate issued by the letter of RFC 5280; until then such clients need "
        "VERIFY_X509_STRICT switched off",
        "clients that verify by the letter (Python 3.13 and later) refuse it: %s", subject);
    ignore(snprintf(finding->evidence, sizeof finding->evidence, "%s", verdict->strict_reason));
    if (verdict->strict_at >= 0)
        words_blame(finding, endpoint->seen.chain[verdict->strict_at]);
}

/* ---- when it breaks ---- */

/* "now trusted, +1 d trusted, +7 d expired, …" */
static void series(char text[SERIES_MAX], const struct endpoint *endpoint,
                   const struct endpoint_trust *trust, const struct check_policy *policy)
{
    static const int days[] = {0, 1, 7, 14, 30};
    size_t used = 0;

    for (size_t i = 0; i < ARRAY_SIZE(days) && used < SERIES_MAX; i++) {
        const struct chain_question question = {.served = endpoint->seen.chain,
                                                .count = endpoint->seen.chain_count,
                                                .policies = &policy->policies,
                                                .at = policy->at + days[i] * DAY_S};
        struct chain_verdict verdict;
        char when[16] = "now";
        chain_judge(trust->store, &question, &verdict);
        if (days[i] > 0)
            ignore(snprintf(when, sizeof when, "+%d d", days[i]));
        used += (size_t)snprintf(text + used, SERIES_MAX - used, "%s%s %s", i > 0 ? ", " : "", when,
                                 chain_outcome_name(verdict.outcome));
        chain_verdict_fini(&verdict);
    }
}

/* Whose end it is: of the path that lives longest. An anchor whose store ignores its end may have
 * ended before. */
static const struct certificate_facts *first_to_end(const struct chain_path *path)
{
    size_t first = 0;

    while (first + 1 < path->count && path->certificates[first]->not_after != path->not_after)
        first++;
    return path->certificates[first];
}

/* A chain that ends before its leaf does surprises whoever looks at the leaf alone. */
static void tell_end(const struct endpoint *endpoint, size_t store,
                     const struct check_policy *policy, struct findings *findings)
{
    const struct endpoint_trust *trust = &endpoint->trust[store];
    const struct certificate_facts *leaf = endpoint->seen.chain[0];
    int64_t left = trust->verdict.breaks_at - policy->at;
    char subject[WORDS_MAX], date[WORDS_MAX], time_left[WORDS_MAX];

    if (trust->verdict.path_count == 0 || trust->verdict.breaks_at >= leaf->not_after)
        return;
    const struct certificate_facts *ending = first_to_end(&trust->verdict.paths[0]);
    enum severity severity = check_left(policy, ending, left);
    struct finding *finding = findings_add(
        findings, "chain-breaks", severity,
        "renew the leaf before that, and install the chain that comes with it; where the root "
        "ends, clients need a newer store",
        "with the store %.40s it breaks at %s (in %s), before the leaf ends: %s ends",
        chain_store_name(trust->store), words_date(date, trust->verdict.breaks_at),
        words_left(time_left, left), words_certificate(subject, endpoint, ending));
    series(finding->evidence, endpoint, trust, policy);
    words_blame(finding, ending);
}

void check_chain_trust(const struct endpoint *endpoint, const struct check_policy *policy,
                       struct findings *findings)
{
    if (endpoint->seen.chain_count == 0 || endpoint->trust_count == 0)
        return;
    for (size_t i = 0; i < endpoint->trust_count; i++) {
        if (told_here(&endpoint->trust[i].verdict) && !told_before(endpoint, i))
            tell_store(endpoint, i, findings);
        tell_end(endpoint, i, policy, findings);
    }
    tell_difference(endpoint, findings);
    tell_browsers(endpoint, policy, findings);
    tell_strict(endpoint, findings);
}

/* ---- how it was put together ---- */

/* The first certificate is the leaf for every client, whatever comes later. */
static bool leaf_is_first(const struct endpoint *endpoint, struct findings *findings)
{
    const struct probe_seen *seen = &endpoint->seen;
    char first[WORDS_MAX], leaf[WORDS_MAX];

    if (!seen->chain[0]->is_ca)
        return true;
    for (size_t i = 1; i < seen->chain_count; i++) {
        if (seen->chain[i]->is_ca || !seen->chain[i]->has_alternative_names)
            continue;
        struct finding *finding =
            findings_add(findings, "chain-leaf-not-first", SEVERITY_CRITICAL,
                         "put the server's own certificate first in the chain file",
                         "the server sends %s first and its own certificate, %s, behind it",
                         words_certificate(first, endpoint, seen->chain[0]),
                         words_certificate(leaf, endpoint, seen->chain[i]));
        words_blame(finding, seen->chain[i]);
        return false;
    }
    return true;
}

static void tell_order(const struct endpoint *endpoint, struct findings *findings)
{
    int before = 0;
    char subject[WORDS_MAX];

    for (size_t i = 1; i < endpoint->needed_count; i++) {
        int position = words_position(endpoint, endpoint->needed[i]);
        if (position >= 0 && position < before) {
            findings_add(findings, "chain-order", SEVERITY_WARNING,
                         "order the chain file: each certificate directly behind the one that it "
                         "has issued (RFC 5246 section 7.4.2)",
                         "the chain is not in order: %s comes too early; simple clients fail",
                         words_certificate(subject, endpoint, endpoint->needed[i]));
            return;
        }
        before = position >= 0 ? position : before;
    }
}

/* Does any store's path go through it? */
static bool is_needed(const struct endpoint *endpoint, const struct certificate_facts *facts)
{
    for (size_t i = 0; i < endpoint->trust_count; i++) {
        const struct chain_verdict *verdict = &endpoint->trust[i].verdict;
        for (size_t j = 0; j < verdict->path_count; j++) {
            for (size_t k = 0; k < verdict->paths[j].count; k++) {
                if (certificate_facts_same(verdict->paths[j].certificates[k], facts))
                    return true;
            }
        }
    }
    return false;
}

/* Where one store is at a loss, nothing that was sent for its sake is superfluous. */
static bool all_trust(const struct endpoint *endpoint)
{
    for (size_t i = 0; i < endpoint->trust_count; i++) {
        if (endpoint->trust[i].verdict.path_count == 0)
            return false;
    }
    return true;
}

static bool sent_before(const struct probe_seen *seen, size_t place)
{
    for (size_t i = 0; i < place; i++) {
        if (certificate_facts_same(seen->chain[i], seen->chain[place]))
            return true;
    }
    return false;
}

static void tell_superfluous(const struct endpoint *endpoint, size_t place, int64_t at,
                             struct findings *findings)
{
    const struct certificate_facts *facts = endpoint->seen.chain[place];
    bool expired = at >= facts->not_after;
    char subject[WORDS_MAX];
    struct finding *finding;

    words_certificate(subject, endpoint, facts);
    if (sent_before(&endpoint->seen, place))
        finding =
            findings_add(findings, "chain-duplicate", SEVERITY_INFO,
                         "take the second copy out of the chain file", "%s is sent twice", subject);
    else if (expired && !is_needed(endpoint, facts))
        finding = findings_add(findings, "chain-superfluous-expired", SEVERITY_WARNING,
                               "take it out of the chain file: some older clients stop at it",
                               "%s has expired and is not needed", subject);
    else if (facts->self_signed)
        finding = findings_add(findings, "chain-root-sent", SEVERITY_INFO,
                               "take the root out of the chain file: clients have it or do not "
                               "trust it",
                               "%s is a root and need not be sent", subject);
    else if (all_trust(endpoint) && !is_needed(endpoint, facts))
        finding =
            findings_add(findings, "chain-superfluous", SEVERITY_INFO,
                         "take it out of the chain file", "%s is not needed by any path", subject);
    else
        return;
    words_blame(finding, facts);
}

void check_chain_shape(const struct endpoint *endpoint, const struct check_policy *policy,
                       struct findings *findings)
{
    const struct probe_seen *seen = &endpoint->seen;

    if (seen->chain_malformed[0] != '\0')
        findings_add(findings, "chain-unreadable", SEVERITY_CRITICAL,
                     "install a chain of certificates in DER or PEM as the CA gave it",
                     "a certificate that was sent cannot be read: %.200s", seen->chain_malformed);
    if (seen->chain_count == 0)
        return;
    if (seen->chain_dropped > 0 || seen->chain_size > CHAIN_LARGE)
        findings_add(findings, "chain-large", SEVERITY_WARNING,
                     "send the leaf and its intermediates only",
                     "%zu certificates with %zu bytes are sent; each new connection waits for them",
                     seen->chain_count + seen->chain_dropped, seen->chain_size);
    if (!leaf_is_first(endpoint, findings))
        return;
    tell_order(endpoint, findings);
    /* Without a path nobody can tell what is needed. */
    for (size_t i = 1; endpoint->needed_count > 0 && i < seen->chain_count; i++)
        tell_superfluous(endpoint, i, policy->at, findings);
}
