/* DER to OpenSSL objects, without paying twice: OpenSSL 3.0 collects all its decoders for each key
 * that it reads (0.1 to 0.3 ms), and thousands of certificates come with the same few
 * intermediates. */
#include "tls/certificate_internal.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/decoder.h>
#include <openssl/err.h>

EVP_PKEY *private_key_decode(const uint8_t *der, size_t size)
{
    static OSSL_DECODER_CTX *decoder; /* PKCS #8, SEC 1 and PKCS #1 alike */
    static EVP_PKEY *decoded;         /* where it puts its result */

    if (decoder == NULL)
        decoder = OSSL_DECODER_CTX_new_for_pkey(&decoded, "DER", NULL, NULL, EVP_PKEY_KEYPAIR, NULL,
                                                NULL);
    if (decoder == NULL || OSSL_DECODER_from_data(decoder, &der, &size) != 1) {
        EVP_PKEY_free(decoded);
        decoded = NULL;
    }
    EVP_PKEY *key = decoded;
    decoded = NULL;
    return key;
}

#define SHARED_COUNT 16

X509 *certificate_decode_shared(const uint8_t *der, size_t size)
{
    static struct {
        X509 *certificate;
        uint8_t *der;
        size_t size;
    } shared[SHARED_COUNT];
    static unsigned oldest;

    for (size_t i = 0; i < SHARED_COUNT; i++) {
        if (shared[i].size == size && memcmp(shared[i].der, der, size) == 0) {
            X509_up_ref(shared[i].certificate);
            return shared[i].certificate;
        }
    }
    const unsigned char *place = der;
    X509 *certificate = d2i_X509(NULL, &place, (long)size);
    uint8_t *copy = certificate != NULL ? malloc(size) : NULL;
    if (copy == NULL)
        return certificate;
    memcpy(copy, der, size);
    X509_free(shared[oldest].certificate);
    free(shared[oldest].der);
    X509_up_ref(certificate);
    shared[oldest].certificate = certificate;
    shared[oldest].der = copy;
    shared[oldest].size = size;
    oldest = (oldest + 1) % SHARED_COUNT;
    return certificate;
}
