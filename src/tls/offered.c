#include "tls/offered.h"

#include "tls/context.h"

const char *tls_offered_suites(uint16_t version)
{
    return version == TLS_VERSION_1_3 ? CONTEXT_SUITES_TLS13
                                      : CONTEXT_SUITES_ECDSA ":" CONTEXT_SUITES_RSA;
}

const char *tls_offered_cbc_suites(void)
{
    return CONTEXT_SUITES_CBC;
}

const char *tls_offered_signatures(void)
{
    return CONTEXT_SIGNATURES_ECDSA ":" CONTEXT_SIGNATURES_RSA;
}
