/* Names that OCSP and revocation lists share. */
#include "tls/revocation.h"

const char *revocation_reason_name(int reason)
{
    static const char *const names[] = {
        "unspecified",        "keyCompromise",      "cACompromise",
        "affiliationChanged", "superseded",         "cessationOfOperation",
        "certificateHold",    "unspecified", /* 7 is not used */
        "removeFromCRL",      "privilegeWithdrawn", "aACompromise"};

    return reason >= 0 && reason < (int)ARRAY_SIZE(names) ? names[reason] : names[0];
}

const char *ocsp_outcome_name(enum ocsp_outcome outcome)
{
    static const char *const names[] = {
        [OCSP_ABSENT] = "absent",
        [OCSP_GOOD] = "good",
        [OCSP_REVOKED] = "revoked",
        [OCSP_UNKNOWN] = "unknown",
        [OCSP_MALFORMED] = "malformed",
        [OCSP_NOT_SUCCESSFUL] = "not-successful",
        [OCSP_OTHER] = "other-certificate",
        [OCSP_UNTRUSTED] = "untrusted",
        [OCSP_NOT_YET_VALID] = "not-yet-valid",
        [OCSP_STALE] = "stale",
        [OCSP_ISSUER_UNKNOWN] = "issuer-unknown",
    };

    return names[outcome];
}

const char *crl_outcome_name(enum crl_outcome outcome)
{
    static const char *const names[] = {
        [CRL_GOOD] = "good",
        [CRL_REVOKED] = "revoked",
        [CRL_OTHER_ISSUER] = "other-issuer",
        [CRL_OTHER_SCOPE] = "other-scope",
        [CRL_UNTRUSTED] = "untrusted",
        [CRL_UNSUPPORTED] = "unsupported",
        [CRL_NOT_YET_VALID] = "not-yet-valid",
        [CRL_STALE] = "stale",
        [CRL_MALFORMED] = "malformed",
        [CRL_UNREACHABLE] = "unreachable",
        [CRL_ISSUER_UNKNOWN] = "issuer-unknown",
        [CRL_NOT_ASKED] = "not-asked",
    };

    return names[outcome];
}
