/* What the HTTP inside says about TLS: Strict-Transport-Security (RFC 6797). */
#include "watch/checks/check.h"

#include <inttypes.h>
#include <stdio.h>

#define AGE_ENOUGH_S (180ull * 24 * 3600) /* what most graders ask for */

static const char *const next_header =
    "Send \"Strict-Transport-Security: max-age=31536000\" with every response over HTTPS.";

static void check_header(const struct endpoint_http *http, enum severity severity,
                         struct findings *findings)
{
    struct finding *finding;

    if (http->hsts_malformed)
        finding = findings_add(findings, "hsts-malformed", severity, next_header,
                               "Browsers ignore the Strict-Transport-Security header: it is not "
                               "well-formed.");
    else if (http->hsts_max_age_s == 0)
        finding = findings_add(findings, "hsts-off", severity, next_header,
                               "Strict-Transport-Security is switched off by max-age=0.");
    else if (http->hsts_max_age_s < AGE_ENOUGH_S)
        finding = findings_add(findings, "hsts-short", severity, next_header,
                               "Strict-Transport-Security holds for %" PRIu64
                               " days only; 180 are expected.",
                               http->hsts_max_age_s / (24 * 3600));
    else
        return;
    snprintf(finding->evidence, sizeof finding->evidence, "%s", http->strict_transport_security);
}

void check_strict_transport(const struct endpoint *endpoint, const struct check_policy *policy,
                            struct findings *findings)
{
    const struct endpoint_http *http = &endpoint->http;
    enum severity severity = policy->require_hsts ? SEVERITY_WARNING : SEVERITY_INFO;

    if (!http->asked)
        return;
    if (http->status == 0)
        findings_add(findings, "http-silent", severity,
                     "Look whether HTTP is served here at all; \"host:port\" asks for TLS alone.",
                     "There was no HTTP answer to a request inside TLS.");
    else if (http->strict_transport_security[0] == '\0' && !http->hsts_malformed)
        findings_add(findings, "hsts-missing", severity, next_header,
                     "No Strict-Transport-Security: browsers may be kept on plain HTTP.");
    else
        check_header(http, severity, findings);
}
