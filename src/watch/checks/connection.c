/* How far a connection came: whatever kept it from a finished handshake is one finding, with the
 * likely cause. */
#include "watch/checks/check.h"

#include <stdio.h>

#include "base/string.h"
#include "tls/leg.h"

/* What an alert of the server's usually comes from, and what to do (RFC 8446 §6.2 and practice). */
static const struct advice {
    uint8_t first, last; /* descriptions */
    const char *next;
} advices[] = {
    {10, 10,
     "look for something between here and the server that changes what is sent; try another way "
     "to it"},
    {20, 22,
     "look for something between here and the server that changes what is sent; if there is "
     "nothing, update the server's TLS library"},
    {40, 40,
     "compare what the server accepts (versions, suites, groups, key types) with what clients "
     "offer: holdfast check --deep shows it; without a server name, or with one it does not know, "
     "some servers say the same"},
    {41, 46,
     "the server judged a client's certificate: give it one that it accepts, or let it ask for "
     "none here"},
    {47, 47,
     "the server takes something of the hello for wrong: update its TLS library, or what stands "
     "in front of it"},
    {48, 49,
     "the server judged a client's certificate: give it one of a CA that it trusts, or let it ask "
     "for none here"},
    {50, 50,
     "the server cannot read the hello: update its TLS library, or what stands in front of it"},
    {51, 51, "the server's key does not belong to its certificate, or its TLS library is broken"},
    {70, 70, "let the server speak TLS 1.2 or TLS 1.3"},
    {71, 71, "let the server accept stronger suites, or replace its weak key"},
    {80, 80,
     "look into the server's log: often it cannot read its certificate or key, or has none for "
     "this name"},
    {86, 86, "let the server speak the versions that clients offer"},
    {109, 109, "the server wants an extension: update what stands in front of it"},
    {112, 112,
     "the server has no certificate for this name: add the name to its configuration, or ask for "
     "a name that it has"},
    {116, 116, "the server wants a certificate of the client: check a name or port without"},
    {120, 120,
     "the server speaks none of the application protocols that were offered (ALPN): compare its "
     "list"},
};

static const char *alert_next(uint8_t alert)
{
    for (size_t i = 0; i < ARRAY_SIZE(advices); i++) {
        if (alert >= advices[i].first && alert <= advices[i].last)
            return advices[i].next;
    }
    return "look into the server's log at this time";
}

static void handshake_failed(const struct endpoint *endpoint, struct findings *findings)
{
    const struct probe_seen *seen = &endpoint->seen;

    if (seen->alert_received != ALERT_NONE)
        findings_add(findings, "handshake-alert", SEVERITY_CRITICAL,
                     alert_next(seen->alert_received),
                     "the server ended the handshake with alert %u (%s)", seen->alert_received,
                     probe_alert_text(seen->alert_received));
    else if (seen->alert_sent != ALERT_NONE)
        findings_add(findings, "handshake-refused", SEVERITY_CRITICAL,
                     "what the server sent breaks the protocol or is too weak: update its TLS "
                     "library, or allow stronger versions and suites",
                     "what the server sent cannot be accepted by a client (alert %u: %s)",
                     seen->alert_sent, probe_alert_text(seen->alert_sent));
    else
        findings_add(findings, "handshake-failed", SEVERITY_CRITICAL,
                     "look into the server's log at this time; a server, or what stands in front "
                     "of it, that closes without a word often has no certificate for the name, or "
                     "limits connections",
                     "the handshake did not come to its end");
}

static void add_timeout(const struct endpoint *endpoint, struct findings *findings)
{
    const char *stage = endpoint->stage != NULL ? endpoint->stage : "handshake";

    findings_add(findings, "timeout", SEVERITY_CRITICAL,
                 "look whether the server is overloaded or stopped, and whether something in "
                 "between swallows what is sent (large hellos, an MTU that is too small)",
                 "the server accepted the connection and then said nothing more (stage: %s)",
                 stage);
}

static void not_tls(const struct endpoint *endpoint, struct findings *findings)
{
    const char *plain = endpoint->seen.plain;

    findings_add(findings, "not-tls", SEVERITY_CRITICAL,
                 string_starts_with(plain, "HTTP/")
                     ? "the port speaks plain HTTP: let it speak TLS, or check the port that does"
                     : "check the port; when the service begins in clear, write its scheme: "
                       "smtp+starttls://, imap+starttls://, postgres://, …",
                 "what answers there does not speak TLS");
}

/* What needs no more than a line. */
struct plain_finding {
    const char *id;
    enum severity severity;
    const char *text, *next;
};

static const struct plain_finding *plain_finding(enum endpoint_outcome outcome)
{
    static const struct plain_finding plain[] = {
        [ENDPOINT_NOT_RESOLVED] =
            {"not-resolved", SEVERITY_CRITICAL, "the name has no address",
             "look for a typing error, then at the zone: has the name an A or AAAA record, has the "
             "domain lapsed?"},
        [ENDPOINT_RESOLVER_FAILED] =
            {"resolver-failed", SEVERITY_UNKNOWN, "the DNS gave no answer",
             "try again; if it stays so, look at this machine's resolver, then at the zone's name "
             "servers and DNSSEC signatures"},
        [ENDPOINT_REFUSED] =
            {"connection-refused", SEVERITY_CRITICAL, "the connection was refused",
             "look whether the service runs and listens on this address and port, and whether a "
             "firewall lets it through"},
        [ENDPOINT_CONNECT_TIMEOUT] =
            {"connect-timeout", SEVERITY_CRITICAL, "nothing answers at this address",
             "look whether the host is up and whether a firewall drops the connection; an AAAA "
             "record that leads nowhere looks the same"},
        [ENDPOINT_STARTTLS_REFUSED] =
            {"starttls-refused", SEVERITY_CRITICAL, "the server does not begin TLS",
             "set a certificate and switch TLS on in the service, and look whether something in "
             "front of it takes the offer away"},
        [ENDPOINT_STARTTLS_INJECTED] =
            {"starttls-injected", SEVERITY_CRITICAL,
             "the server sent data in clear behind its consent to TLS: whoever is in between can "
             "smuggle in answers that a client takes for protected",
             "update the service (CVE-2011-0411 and its kin); if it is up to date, look for "
             "something in between that writes into the connection"},
        [ENDPOINT_STARTTLS_FAILED] =
            {"starttls-failed", SEVERITY_CRITICAL,
             "the conversation before TLS did not come to its end",
             "check port and scheme: another protocol may be spoken there"},
        [ENDPOINT_UNREADABLE] = {"file-unreadable", SEVERITY_CRITICAL,
                                 "the file cannot be read, or holds no certificate",
                                 "look at path, permissions, format (PEM, DER, PKCS#12) and "
                                 "password of the file"},
        [ENDPOINT_LOCAL_FAILURE] = {"local-failure", SEVERITY_UNKNOWN,
                                    "this machine could not make the connection",
                                    "look at limits of descriptors and memory, and at the network "
                                    "of this machine"},
    };

    return outcome < ARRAY_SIZE(plain) && plain[outcome].id != NULL ? &plain[outcome] : NULL;
}

void check_connection(const struct endpoint *endpoint, const struct check_policy *policy,
                      struct findings *findings)
{
    const struct plain_finding *plain = plain_finding(endpoint->outcome);
    size_t before = findings->count;
    (void)policy;

    if (plain != NULL)
        findings_add(findings, plain->id, plain->severity, plain->next, "%s", plain->text);
    else if (endpoint->outcome == ENDPOINT_NOT_TLS)
        not_tls(endpoint, findings);
    else if (endpoint->outcome == ENDPOINT_HANDSHAKE_FAILED)
        handshake_failed(endpoint, findings);
    else if (endpoint->outcome == ENDPOINT_TIMEOUT)
        add_timeout(endpoint, findings);
    if (findings->count == before)
        return; /* seen, or a key type that the server does not have */
    struct finding *finding = &findings->items[findings->count - 1];
    if (endpoint->outcome == ENDPOINT_NOT_TLS && endpoint->seen.plain[0] != '\0')
        ignore(snprintf(finding->evidence, sizeof finding->evidence, "it says: %s",
                        endpoint->seen.plain));
    else
        ignore(string_copy(finding->evidence, sizeof finding->evidence, endpoint->reason));
}
