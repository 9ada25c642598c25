/* What our servers offer, as OpenSSL's lists (names joined by colons, in our order), for those who
 * tell of it. */
#pragma once

#include <stdint.h>

const char *tls_offered_suites(uint16_t version); /* TLS_VERSION_1_2, TLS_VERSION_1_3 */
/* Besides, in TLS 1.2, where a listener has cbc-suites. */
const char *tls_offered_cbc_suites(void);
const char *tls_offered_signatures(void);
