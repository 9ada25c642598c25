#include "tls/digest.h"

#include <openssl/evp.h>

bool digest_hmac_sha256(uint8_t ret_digest[DIGEST_SHA256_SIZE], const void *key, size_t key_size,
                        const void *data, size_t size)
{
    size_t written = 0;

    return EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, key_size, data, size, ret_digest,
                     DIGEST_SHA256_SIZE, &written) != NULL &&
           written == DIGEST_SHA256_SIZE;
}
