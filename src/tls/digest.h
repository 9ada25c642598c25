/* Digests for those who do not speak TLS. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"

#define DIGEST_SHA256_SIZE 32

/* False when OpenSSL refuses. */
MUST_CHECK bool digest_hmac_sha256(uint8_t ret_digest[DIGEST_SHA256_SIZE], const void *key,
                                   size_t key_size, const void *data, size_t size);
