/* What was agreed on, and what else the server would agree on (as far as it was asked). */
#include "watch/checks/check.h"

#include <stdio.h>
#include <string.h>

#define TLS_1_2        0x0303
#define TLS_1_3        0x0304
#define DH_STRONG_BITS 2048
#define DH_BROKEN_BITS 1024

static bool accepts(const struct endpoint *endpoint, unsigned version)
{
    return endpoint->inventory.versions[version] == ANSWER_YES;
}

/* Was a TLS handshake seen at all? */
static bool seen(const struct endpoint *endpoint)
{
    return endpoint->outcome == ENDPOINT_SEEN && endpoint->seen.version != 0;
}

/* ---- versions ---- */

static const char *const next_versions =
    "Allow TLS 1.2 and 1.3 alone; if old devices need more, give them an address of their own.";

static void check_accepted_versions(const struct endpoint *endpoint, struct findings *findings)
{
    bool tls10 = accepts(endpoint, 1), tls11 = accepts(endpoint, 2);

    if (accepts(endpoint, 0))
        findings_add(findings, "version-ssl3", SEVERITY_CRITICAL, next_versions,
                     "SSL 3 is accepted, which anybody on the way can break (POODLE).");
    if (tls10 || tls11)
        findings_add(findings, "version-old", SEVERITY_WARNING, next_versions,
                     "%s accepted, deprecated by RFC 8996.",
                     tls10 && tls11 ? "TLS 1.0 and TLS 1.1 are"
                     : tls10        ? "TLS 1.0 is"
                                    : "TLS 1.1 is");
}

void check_versions(const struct endpoint *endpoint, const struct check_policy *policy,
                    struct findings *findings)
{
    (void)policy;
    check_accepted_versions(endpoint, findings);
    if (!seen(endpoint))
        return;
    if (endpoint->seen.version < TLS_1_2)
        findings_add(findings, "version-obsolete", SEVERITY_CRITICAL, next_versions,
                     "The best that the server speaks is %s, which today's clients refuse.",
                     endpoint->seen.version_name);
    else if (endpoint->seen.version < TLS_1_3)
        findings_add(findings, "version-no-tls13", SEVERITY_INFO,
                     "Enable TLS 1.3: one round trip less, and no weak choices left.",
                     "The server does not speak TLS 1.3.");
}

/* ---- suites ---- */

enum weakness { STRONG, NO_FORWARD_SECRECY, WEAK, BROKEN };

/* IANA's names tell. */
static enum weakness weakness_of(const char *suite, const char **ret_why)
{
    static const struct {
        const char *part;
        enum weakness weakness;
        const char *why;
    } parts[] = {
        {"_NULL_", BROKEN, "no encryption"},
        {"_anon_", BROKEN, "no certificate: anybody can be the server"},
        {"_EXPORT", BROKEN, "keys that are broken in minutes"},
        {"_RC2_", BROKEN, "RC2"},
        {"WITH_DES", BROKEN, "DES, 56 bits"},
        {"_RC4_", WEAK, "RC4 (forbidden by RFC 7465)"},
        {"_3DES_", WEAK, "3DES (SWEET32)"},
        {"_IDEA_", WEAK, "IDEA, blocks of 64 bits"},
        {"TLS_RSA_", NO_FORWARD_SECRECY, "no forward secrecy"},
    };

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strstr(suite, parts[i].part) == NULL)
            continue;
        *ret_why = parts[i].why;
        return parts[i].weakness;
    }
    return STRONG;
}

/* One finding for all suites of a weakness, with the first reason and as many names as fit. */
static void check_weakness(const struct endpoint *endpoint, enum weakness weakness, const char *id,
                           enum severity severity, struct findings *findings)
{
    const struct endpoint_inventory *inventory = &endpoint->inventory;
    char names[sizeof findings->items[0].evidence] = "";
    const char *why = NULL, *first = NULL;
    unsigned count = 0;

    for (size_t i = 0; i < inventory->suite_count; i++) {
        if (weakness_of(inventory->suites[i], &why) != weakness ||
            strstr(names, inventory->suites[i]) != NULL)
            continue;
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? ", " : "",
                 inventory->suites[i]);
        first = count++ == 0 ? why : first;
    }
    if (count == 0)
        return;
    struct finding *finding =
        findings_add(findings, id, severity, "Take these cipher suites out of the server's list.",
                     "%u cipher suite%s %s accepted: %s%s.", count, count > 1 ? "s" : "",
                     weakness == BROKEN ? "that protect nothing" : "that should be gone", first,
                     count > 1 ? ", and others" : "");
    snprintf(finding->evidence, sizeof finding->evidence, "%s", names);
}

void check_suites(const struct endpoint *endpoint, const struct check_policy *policy,
                  struct findings *findings)
{
    const char *why = NULL;

    (void)policy;
    if (seen(endpoint) && endpoint->seen.suite != NULL &&
        weakness_of(endpoint->seen.suite, &why) >= WEAK) {
        struct finding *finding =
            findings_add(findings, "suite-weak", SEVERITY_CRITICAL,
                         "Put suites with ECDHE and an AEAD first, and take this one out.",
                         "The server has nothing better than a weak cipher suite: %s.", why);
        snprintf(finding->evidence, sizeof finding->evidence, "%s", endpoint->seen.suite);
    }
    check_weakness(endpoint, BROKEN, "suites-broken", SEVERITY_CRITICAL, findings);
    check_weakness(endpoint, WEAK, "suites-weak", SEVERITY_WARNING, findings);
    check_weakness(endpoint, NO_FORWARD_SECRECY, "suites-no-forward-secrecy", SEVERITY_INFO,
                   findings);
    if (endpoint->inventory.compression == ANSWER_YES)
        findings_add(findings, "compression", SEVERITY_WARNING, "Switch TLS compression off.",
                     "The server compresses inside TLS, which leaks secrets by size (CRIME).");
}

/* ---- key exchange ---- */

void check_key_exchange(const struct endpoint *endpoint, const struct check_policy *policy,
                        struct findings *findings)
{
    unsigned bits = endpoint->seen.dh_bits;

    (void)policy;
    if (endpoint->inventory.post_quantum == ANSWER_NO)
        findings_add(findings, "post-quantum-missing", SEVERITY_INFO,
                     "Enable X25519MLKEM768 when the server's TLS library has it (OpenSSL 3.5).",
                     "No key exchange that withstands quantum computers: what is recorded today "
                     "may be read later.");
    if (!seen(endpoint) || endpoint->seen.resumed)
        return;
    if (!endpoint->seen.forward_secrecy)
        findings_add(findings, "forward-secrecy-missing", SEVERITY_WARNING,
                     "Enable ECDHE cipher suites and put them first.",
                     "No forward secrecy: who gets the key one day can read what was recorded.");
    if (bits > 0 && bits < DH_STRONG_BITS)
        findings_add(findings, "dh-weak",
                     bits <= DH_BROKEN_BITS ? SEVERITY_CRITICAL : SEVERITY_WARNING,
                     "Use ECDHE instead, or a Diffie-Hellman group of 2048 bits or more.",
                     "The Diffie-Hellman group has %u bits only (Logjam).", bits);
}

/* ---- renegotiation ---- */

void check_renegotiation(const struct endpoint *endpoint, const struct check_policy *policy,
                         struct findings *findings)
{
    (void)policy;
    if (endpoint->inventory.client_renegotiation == ANSWER_YES)
        findings_add(findings, "renegotiation-by-client", SEVERITY_WARNING,
                     "Forbid renegotiation that clients begin.",
                     "A client may renegotiate as often as it likes: one connection can keep the "
                     "server computing.");
    if (seen(endpoint) && !endpoint->seen.secure_renegotiation)
        findings_add(findings, "renegotiation-insecure", SEVERITY_CRITICAL,
                     "Update the server's TLS library; renegotiation_info is from 2010.",
                     "The server does not know secure renegotiation (RFC 5746); clients of "
                     "OpenSSL 3 refuse it.");
}

/* ---- downgrading ---- */

void check_downgrade(const struct endpoint *endpoint, const struct check_policy *policy,
                     struct findings *findings)
{
    const struct endpoint_inventory *inventory = &endpoint->inventory;
    bool old = accepts(endpoint, 0) || accepts(endpoint, 1) || accepts(endpoint, 2);

    (void)policy;
    if (inventory->fallback_protected == ANSWER_NO)
        findings_add(findings, "fallback-unprotected", old ? SEVERITY_WARNING : SEVERITY_INFO,
                     "Update the server's TLS library, or allow no old versions.",
                     "TLS_FALLBACK_SCSV is not heeded (RFC 7507): a client that falls back to an "
                     "older version is not warned.");
    if (inventory->downgrade_sentinel == ANSWER_NO)
        findings_add(findings, "downgrade-unmarked", SEVERITY_WARNING,
                     "Update the server's TLS library, and look for a middlebox that answers in "
                     "its stead.",
                     "The server speaks TLS 1.3, but does not mark its answers in TLS 1.2 as it "
                     "must (RFC 8446 §4.1.3).");
}

/* ---- the rest ---- */

static void check_resumption(const struct endpoint *endpoint, struct findings *findings)
{
    const struct endpoint_inventory *inventory = &endpoint->inventory;

    if (inventory->resumes_ticket == ANSWER_NO && inventory->resumes_id != ANSWER_YES)
        findings_add(findings, "resumption-missing", SEVERITY_INFO,
                     "Enable session tickets, with keys that all servers of this name share.",
                     "Sessions are not resumed: each connection pays for a full handshake.");
}

void check_protocol_facts(const struct endpoint *endpoint, const struct check_policy *policy,
                          struct findings *findings)
{
    (void)policy;
    check_resumption(endpoint, findings);
    if (endpoint->inventory.cut)
        findings_add(findings, "inventory-incomplete", SEVERITY_INFO,
                     "Ask again later, or from an address that the server does not limit.",
                     "Not everything could be asked: the server fell silent, or there was too "
                     "much of it.");
    if (!seen(endpoint))
        return;
    if (endpoint->seen.client_certificate_required)
        findings_add(findings, "client-certificate-required", SEVERITY_INFO,
                     "Nothing, if only clients with a certificate shall get in.",
                     "The server accepts clients with a certificate only; all else was seen.");
    if (!endpoint->seen.extended_master_secret)
        findings_add(findings, "extended-master-secret-missing", SEVERITY_INFO,
                     "Update the server's TLS library.",
                     "The extended master secret (RFC 7627) is not used.");
}
