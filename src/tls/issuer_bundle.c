#include "tls/issuer_bundle.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>

#include "tls/certificate_internal.h"
#include "tls/openssl_auto.h"

static void PKCS7_auto(PKCS7 **bundle)
{
    PKCS7_free(*bundle);
}

static bool keep(const struct certificate_facts **list, size_t *count, X509 *certificate)
{
    unsigned char *der = NULL;
    int size = i2d_X509(certificate, &der);
    bool kept = size > 0 && certificate_facts_new(&list[*count], der, (size_t)size, NULL) == 0;

    *count += kept;
    OPENSSL_free(der);
    return kept;
}

static size_t read_pkcs7(const struct certificate_facts **list, size_t maximum, PKCS7 *bundle)
{
    STACK_OF(X509) *certificates =
        PKCS7_type_is_signed(bundle) && bundle->d.sign != NULL ? bundle->d.sign->cert : NULL;
    size_t count = 0;

    for (int i = 0; i < sk_X509_num(certificates) && count < maximum; i++)
        ignore(keep(list, &count, sk_X509_value(certificates, i)));
    return count;
}

static size_t read_pem(const struct certificate_facts **list, size_t maximum, BIO *input)
{
    size_t count = 0;

    while (count < maximum) {
        AUTO(X509) *certificate = PEM_read_bio_X509(input, NULL, NULL, NULL);
        if (certificate == NULL)
            break;
        ignore(keep(list, &count, certificate));
    }
    return count;
}

static size_t read_any(const struct certificate_facts **list, size_t maximum, const uint8_t *data,
                       size_t size)
{
    static const char mark[] = "-----BEGIN";
    const unsigned char *place = data;

    if (memmem(data, size, mark, sizeof mark - 1) != NULL) {
        AUTO(BIO) *input = BIO_new_mem_buf(data, (int)size);
        return input != NULL ? read_pem(list, maximum, input) : 0;
    }
    AUTO(PKCS7) *bundle = d2i_PKCS7(NULL, &place, (long)size);
    if (bundle != NULL)
        return read_pkcs7(list, maximum, bundle);
    return certificate_facts_new(&list[0], data, size, NULL) == 0 ? 1 : 0;
}

int issuer_bundle_read(const struct certificate_facts **ret_list, size_t maximum, size_t *ret_count,
                       const uint8_t *data, size_t size, struct error *error)
{
    size_t count = size > 0 && size <= CERTIFICATE_FACTS_SIZE_MAX
                       ? read_any(ret_list, maximum, data, size)
                       : 0;

    ERR_clear_error();
    if (count == 0)
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                         "there is no certificate in it; expected DER, PKCS #7 or PEM");
    *ret_count = count;
    return 0;
}
