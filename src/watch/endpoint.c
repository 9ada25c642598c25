#include "watch/endpoint.h"

#include <stdlib.h>
#include <time.h>

#include "tls/leg.h"

const char *endpoint_outcome_name(enum endpoint_outcome outcome)
{
    static const char *const names[] = {
        [ENDPOINT_SEEN] = "seen",
        [ENDPOINT_NOT_RESOLVED] = "not-resolved",
        [ENDPOINT_RESOLVER_FAILED] = "resolver-failed",
        [ENDPOINT_REFUSED] = "refused",
        [ENDPOINT_CONNECT_TIMEOUT] = "connect-timeout",
        [ENDPOINT_STARTTLS_REFUSED] = "starttls-refused",
        [ENDPOINT_STARTTLS_INJECTED] = "starttls-injected",
        [ENDPOINT_STARTTLS_FAILED] = "starttls-failed",
        [ENDPOINT_NOT_TLS] = "not-tls",
        [ENDPOINT_HANDSHAKE_FAILED] = "handshake-failed",
        [ENDPOINT_TIMEOUT] = "timeout",
        [ENDPOINT_NO_CERTIFICATE] = "no-certificate",
        [ENDPOINT_UNREADABLE] = "unreadable",
        [ENDPOINT_LOCAL_FAILURE] = "local-failure",
    };

    return names[outcome];
}

const char *answer_name(enum answer answer)
{
    static const char *const names[] = {
        [ANSWER_UNKNOWN] = "unknown", [ANSWER_NO] = "no", [ANSWER_YES] = "yes"};

    return names[answer];
}

struct endpoint *endpoint_new(const struct target *target)
{
    struct endpoint *endpoint = calloc(1, sizeof *endpoint);

    if (endpoint == NULL)
        return NULL;
    endpoint->target = *target;
    endpoint->key_type = -1;
    endpoint->seen.alert_received = endpoint->seen.alert_sent = ALERT_NONE;
    endpoint->vantage = "public";
    endpoint->checked_at = time(NULL);
    return endpoint;
}

void endpoint_free(struct endpoint *endpoint)
{
    if (endpoint == NULL)
        return;
    for (size_t i = 0; i < endpoint->trust_count; i++)
        chain_verdict_fini(&endpoint->trust[i].verdict);
    for (size_t i = 0; i < endpoint->revocation.fetched_count; i++)
        certificate_facts_unref(endpoint->revocation.fetched[i]);
    probe_seen_fini(&endpoint->seen);
    free(endpoint);
}

enum severity endpoint_severity(const struct endpoint *endpoint)
{
    enum severity worst = findings_worst(&endpoint->findings);
    bool known = endpoint->outcome == ENDPOINT_SEEN || endpoint->outcome == ENDPOINT_NO_CERTIFICATE;

    return worst == SEVERITY_INFO && !known ? SEVERITY_UNKNOWN : worst;
}

int endpoint_exit_code(const struct endpoint *endpoint)
{
    static const int codes[SEVERITY_COUNT] = {[SEVERITY_INFO] = 0,
                                              [SEVERITY_WARNING] = 1,
                                              [SEVERITY_CRITICAL] = 2,
                                              [SEVERITY_UNKNOWN] = 3};

    return codes[endpoint_severity(endpoint)];
}
