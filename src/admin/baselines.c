#include "admin/baselines.h"

#include <string.h>

#include "base/attributes.h"

#define DAY_MS (24 * 3600 * 1000ull)

#define SUITES_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define SUITES_GCM_12                                                                              \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"     \
    "ECDHE-RSA-AES256-GCM-SHA384"
#define MOZILLA_GROUPS "x25519:secp256r1:secp384r1"

const struct baseline baselines[] = {
    {.name = "mozilla-modern",
     .title = "Mozilla Server Side TLS, modern",
     .version = "5.7",
     .date = "2023",
     .source = "https://ssl-config.mozilla.org/guidelines/5.7.json",
     .tls13_wanted = true,
     .suites = SUITES_13,
     .groups = MOZILLA_GROUPS,
     .client_order_wanted = true},
    {.name = "mozilla-intermediate",
     .title = "Mozilla Server Side TLS, intermediate",
     .version = "5.7",
     .date = "2023",
     .source = "https://ssl-config.mozilla.org/guidelines/5.7.json",
     .tls12_allowed = true,
     .tls12_wanted = true,
     .tls13_wanted = true,
     .suites =
         SUITES_13 ":" SUITES_GCM_12 ":ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305",
     .groups = MOZILLA_GROUPS,
     .rsa_allowed = true,
     .client_order_wanted = true},
    {.name = "rfc9325",
     .title = "Recommendations for Secure Use of TLS and DTLS",
     .version = "RFC 9325, BCP 195",
     .date = "2022-11",
     .source = "https://www.rfc-editor.org/rfc/rfc9325",
     .tls12_allowed = true,
     .tls12_wanted = true,
     .tls13_wanted = true,
     .suites = SUITES_13 ":" SUITES_GCM_12,
     .groups_wanted = "x25519:secp256r1",
     .rsa_allowed = true,
     .alpn_wanted = true,
     /* Half of a week, for which a ticket key may serve. */
     .ticket_lifetime_max = 7 * DAY_MS / 2},
};
const size_t baseline_count = ARRAY_SIZE(baselines);

const struct baseline *baseline_find(const char *name)
{
    for (size_t i = 0; i < baseline_count; i++) {
        if (strcmp(baselines[i].name, name) == 0)
            return &baselines[i];
    }
    return NULL;
}
