#include "tls/dane.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

#include "tls/chain.h"

/* `what` digested as the matching type says; compared. */
static bool compare(const uint8_t *what, size_t what_size, unsigned matching, const uint8_t *data,
                    size_t size)
{
    const EVP_MD *digest = matching == DANE_MATCHING_SHA256   ? EVP_sha256()
                           : matching == DANE_MATCHING_SHA512 ? EVP_sha512()
                                                              : NULL;
    uint8_t value[EVP_MAX_MD_SIZE];
    unsigned value_size = 0;

    if (matching == DANE_MATCHING_WHOLE)
        return what_size == size && memcmp(what, data, size) == 0;
    return digest != NULL && EVP_Digest(what, what_size, value, &value_size, digest, NULL) == 1 &&
           value_size == size && memcmp(value, data, size) == 0;
}

bool dane_matches(const struct certificate_facts *facts, unsigned selector, unsigned matching,
                  const uint8_t *data, size_t size)
{
    if (selector == DANE_SELECTOR_CERTIFICATE)
        return compare(facts->der, facts->der_size, matching, data, size);
    if (selector != DANE_SELECTOR_KEY)
        return false;
    uint8_t *key = NULL;
    int key_size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY((X509 *)facts->x509), &key);
    bool same = key_size > 0 && compare(key, (size_t)key_size, matching, data, size);
    OPENSSL_free(key);
    return same;
}

bool dane_chain_matches(const struct certificate_facts *const *chain, size_t count, unsigned usage,
                        unsigned selector, unsigned matching, const uint8_t *data, size_t size)
{
    if (count == 0)
        return false;
    if (usage == DANE_USAGE_LEAF)
        return dane_matches(chain[0], selector, matching, data, size);
    if (usage != DANE_USAGE_ANCHOR)
        return false;
    const struct certificate_facts *at = chain[0];
    for (unsigned depth = 0; depth < CHAIN_DEPTH_MAX; depth++) {
        const struct certificate_facts *issuer = chain_issuer(at, chain, count);
        if (issuer == NULL)
            return false;
        if (dane_matches(issuer, selector, matching, data, size))
            return true;
        if (issuer == at)
            return false; /* its own issuer */
        at = issuer;
    }
    return false;
}
