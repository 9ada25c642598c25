#include "tls/certificate_on_disk.h"

#include <openssl/pem.h>

#include "base/string.h"
#include "tls/certificate_internal.h"

static enum key_type key_type_of(const X509 *certificate)
{
    const EVP_PKEY *key = X509_get0_pubkey(certificate);
    int id = key == NULL ? 0 : EVP_PKEY_get_base_id(key);

    return id == EVP_PKEY_EC                              ? KEY_TYPE_ECDSA
           : id == EVP_PKEY_RSA || id == EVP_PKEY_RSA_PSS ? KEY_TYPE_RSA
                                                          : KEY_TYPE_COUNT;
}

int certificate_on_disk(struct certificate_on_disk *ret_facts, const char *pem, size_t size,
                        struct error *error)
{
    BIO *bio = size > KEYPAIR_PEM_MAX ? NULL : BIO_new_mem_buf(pem, (int)size);
    X509 *certificate = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_size = 0;

    BIO_free(bio);
    if (certificate == NULL || X509_digest(certificate, EVP_sha256(), digest, &digest_size) != 1) {
        X509_free(certificate);
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                         "found no certificate that can be read (%s); expected PEM",
                         openssl_reason());
    }
    string_hex(ret_facts->sha256, digest, 32);
    ret_facts->not_before = certificate_time(X509_get0_notBefore(certificate));
    ret_facts->not_after = certificate_time(X509_get0_notAfter(certificate));
    ret_facts->key_type = key_type_of(certificate);
    X509_free(certificate);
    return 0;
}
