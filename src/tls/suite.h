/* The cipher suites whose records Holdfast carries itself. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_VERSION_1_2 0x0303
#define TLS_VERSION_1_3 0x0304

#define SUITE_SECRET_MAX 48
#define SUITE_KEY_MAX    32
#define SUITE_IV_SIZE    12

enum suite_aead { AEAD_AES_128_GCM, AEAD_AES_256_GCM, AEAD_CHACHA20_POLY1305, AEAD_COUNT };

struct suite {
    uint16_t id; /* IANA */
    uint16_t version;
    const char *name; /* IANA name */
    enum suite_aead aead;
    uint8_t key_size,
        secret_size; /* secret_size = hash size (TLS 1.3), 48 = master secret (TLS 1.2) */
    bool sha384;
    bool explicit_nonce; /* TLS 1.2 AES-GCM: 8 bytes in each record (RFC 5288) */
};

/* NULL when the suite is not one of ours. */
const struct suite *suite_find(uint16_t version, uint16_t id);
