/* The table of cipher suites (RFC 9846 §B.4, RFC 5289, RFC 7905). */
#include "tls/suite.h"

static const struct suite suites[] = {
    {0x1301, TLS_VERSION_1_3, "TLS_AES_128_GCM_SHA256", AEAD_AES_128_GCM, 16, 32, false, false},
    {0x1302, TLS_VERSION_1_3, "TLS_AES_256_GCM_SHA384", AEAD_AES_256_GCM, 32, 48, true, false},
    {0x1303, TLS_VERSION_1_3, "TLS_CHACHA20_POLY1305_SHA256", AEAD_CHACHA20_POLY1305, 32, 32, false,
     false},
    {0xc02b, TLS_VERSION_1_2, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", AEAD_AES_128_GCM, 16, 48,
     false, true},
    {0xc02c, TLS_VERSION_1_2, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", AEAD_AES_256_GCM, 32, 48,
     true, true},
    {0xc02f, TLS_VERSION_1_2, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", AEAD_AES_128_GCM, 16, 48,
     false, true},
    {0xc030, TLS_VERSION_1_2, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", AEAD_AES_256_GCM, 32, 48,
     true, true},
    {0xcca8, TLS_VERSION_1_2, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", AEAD_CHACHA20_POLY1305,
     32, 48, false, false},
    {0xcca9, TLS_VERSION_1_2, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
     AEAD_CHACHA20_POLY1305, 32, 48, false, false},
};

const struct suite *suite_find(uint16_t version, uint16_t id)
{
    for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
        if (suites[i].id == id && suites[i].version == version) {
            return &suites[i];
        }
    }
    return NULL;
}
