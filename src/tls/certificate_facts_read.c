/* Certificates in files: PEM, DER, PKCS#12. */
#include "base/file.h"
#include "tls/certificate_facts_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>

#include "tls/certificate_internal.h"
#include "tls/openssl_auto.h"

/* Where what is found goes. */
struct reading {
    certificate_take_fn *take;
    void *context;
    size_t count;
};

static int reading_add(struct reading *reading, const uint8_t *der, size_t size,
                       struct error *error)
{
    int result = reading->take(reading->context, der, size, error);

    if (result != 0)
        return error_prepend(error, "certificate %zu", reading->count + 1);
    reading->count++;
    return 0;
}

static int reading_add_object(struct reading *reading, X509 *certificate, struct error *error)
{
    unsigned char *der = NULL;
    int size = i2d_X509(certificate, &der);

    if (size <= 0)
        return error_set(error, ERROR_MEMORY, "out of memory");
    int result = reading_add(reading, der, (size_t)size, error);
    OPENSSL_free(der);
    return result;
}

/* ---- the three forms ---- */

static bool is_certificate_block(const char *name)
{
    return strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0;
}

/* Other blocks (keys, parameters) may stand between. */
static int read_pem(struct reading *reading, BIO *input, struct error *error)
{
    int result = 0;

    while (result == 0) {
        char *name = NULL, *header = NULL;
        unsigned char *data = NULL;
        long size = 0;
        if (PEM_read_bio(input, &name, &header, &data, &size) != 1)
            break;
        if (is_certificate_block(name))
            result = reading_add(reading, data, (size_t)size, error);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(data, (size_t)size);
    }
    bool complete = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    const char *reason = openssl_reason();
    if (result == 0 && !complete)
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE, "a PEM block cannot be read: %s",
                         reason);
    return result;
}

/* NULL: it is none. `library` NULL: OpenSSL's default. */
static PKCS12 *decode_pkcs12(const uint8_t *data, size_t size, OSSL_LIB_CTX *library)
{
    const unsigned char *place = data;
    PKCS12 *store = PKCS12_init_ex(NID_pkcs7_data, library, NULL);

    if (store != NULL)
        store = d2i_PKCS12(&store, &place, (long)size); /* frees it when it fails */
    ERR_clear_error();
    return store;
}

/* `ret_unsupported`: there is a cipher in it that the library does not have. */
static int read_pkcs12(struct reading *reading, PKCS12 *store, const char *password,
                       bool *ret_unsupported, struct error *error)
{
    EVP_PKEY *key = NULL;
    X509 *leaf = NULL;
    STACK_OF(X509) *others = NULL;
    int result = 0;

    if (PKCS12_parse(store, password != NULL ? password : "", &key, &leaf, &others) != 1) {
        *ret_unsupported = ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_UNSUPPORTED;
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                         "the PKCS#12 file cannot be opened (%s); %s", openssl_reason(),
                         *ret_unsupported ? "write it anew with a cipher of today"
                                          : "give its password");
    }
    if (leaf != NULL)
        result = reading_add_object(reading, leaf, error);
    for (int i = 0; result == 0 && i < sk_X509_num(others); i++)
        result = reading_add_object(reading, sk_X509_value(others, i), error);
    EVP_PKEY_free(key);
    X509_free(leaf);
    sk_X509_pop_free(others, X509_free);
    return result;
}

/* By RC2 and the like, with which Windows and others encrypted for long: OpenSSL keeps them in a
 * module of its own. */
static int read_old_pkcs12(struct reading *reading, const uint8_t *data, size_t size,
                           const char *password, struct error *error)
{
    OSSL_LIB_CTX *library = OSSL_LIB_CTX_new();
    int result = -(int)error->code;
    bool unsupported = false;

    if (library == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    OSSL_PROVIDER *usual = OSSL_PROVIDER_load(library, "default");
    OSSL_PROVIDER *legacy = OSSL_PROVIDER_load(library, "legacy");
    PKCS12 *store = usual != NULL && legacy != NULL ? decode_pkcs12(data, size, library) : NULL;
    if (store != NULL)
        result = read_pkcs12(reading, store, password, &unsupported, error);
    PKCS12_free(store);
    if (legacy != NULL)
        ignore(OSSL_PROVIDER_unload(legacy));
    if (usual != NULL)
        ignore(OSSL_PROVIDER_unload(usual));
    OSSL_LIB_CTX_free(library);
    ERR_clear_error();
    return result;
}

static int read_content(struct reading *reading, const uint8_t *data, size_t size,
                        const char *password, struct error *error)
{
    static const char mark[] = "-----BEGIN ";

    if (memmem(data, size, mark, sizeof mark - 1) != NULL) {
        AUTO(BIO) *input = BIO_new_mem_buf(data, (int)size);
        if (input == NULL)
            return error_set(error, ERROR_MEMORY, "out of memory");
        ERR_clear_error();
        return read_pem(reading, input, error);
    }
    PKCS12 *store = decode_pkcs12(data, size, NULL);
    if (store == NULL)
        return reading_add(reading, data, size, error);
    bool unsupported = false;
    int result = read_pkcs12(reading, store, password, &unsupported, error);
    PKCS12_free(store);
    return unsupported ? read_old_pkcs12(reading, data, size, password, error) : result;
}

/* ---- the file ---- */

static int read_file(struct buffer *content, const char *path, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* never hang on a FIFO */

    if (fd < 0)
        return error_set(error, ERROR_IO, "cannot open it: %s", strerror(errno));
    int result = file_read(content, fd, "it", error);
    close(fd);
    return result;
}

int certificate_data_read(const uint8_t *data, size_t size, const char *password,
                          certificate_take_fn *take, void *context, struct error *error)
{
    struct reading reading = {.take = take, .context = context};
    int result = size <= CERTIFICATE_FILE_SIZE_MAX
                     ? read_content(&reading, data, size, password, error)
                     : error_set(error, ERROR_LIMIT, "it has %zu bytes; expected at most %u MiB",
                                 size, CERTIFICATE_FILE_SIZE_MAX >> 20);

    return result == 0 && reading.count == 0
               ? error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                           "there is no certificate in it; expected PEM, DER or PKCS#12")
               : result;
}

int certificate_file_read(const char *path, const char *password, certificate_take_fn *take,
                          void *context, struct error *error)
{
    __attribute__((cleanup(buffer_auto))) struct buffer content;

    buffer_init_secret(&content, CERTIFICATE_FILE_SIZE_MAX); /* there may be a private key in it */
    int result = read_file(&content, path, error);
    if (result == 0)
        result = certificate_data_read(content.data, content.size, password, take, context, error);
    return result == 0 ? 0 : error_prepend(error, "%s", path);
}

/* ---- as facts ---- */

struct facts_list {
    const struct certificate_facts **list;
    size_t maximum, count;
};

static int take_facts(void *context, const uint8_t *der, size_t size, struct error *error)
{
    struct facts_list *into = context;

    if (into->count == into->maximum)
        return error_set(error, ERROR_LIMIT, "found more than %zu certificates; expected fewer",
                         into->maximum);
    int result = certificate_facts_new(&into->list[into->count], der, size, error);
    if (result == 0)
        into->count++;
    return result;
}

/* Hands over what was read, or lets go of it; returns `result`. */
static int finish(struct facts_list *into, int result, size_t *ret_count)
{
    while (result != 0 && into->count > 0)
        certificate_facts_unref(into->list[--into->count]);
    if (result == 0)
        *ret_count = into->count;
    return result;
}

int certificate_facts_read(const struct certificate_facts **ret_list, size_t maximum,
                           size_t *ret_count, const char *path, const char *password,
                           struct error *error)
{
    struct facts_list into = {.list = ret_list, .maximum = maximum};

    return finish(&into, certificate_file_read(path, password, take_facts, &into, error),
                  ret_count);
}

int certificate_facts_parse(const struct certificate_facts **ret_list, size_t maximum,
                            size_t *ret_count, const void *data, size_t size, struct error *error)
{
    struct facts_list into = {.list = ret_list, .maximum = maximum};

    return finish(&into, certificate_data_read(data, size, NULL, take_facts, &into, error),
                  ret_count);
}

char *certificate_facts_to_pem(const struct certificate_facts *const *list, size_t count,
                               size_t *ret_size)
{
    AUTO(BIO) *output = BIO_new(BIO_s_mem());
    bool good = output != NULL;
    char *data, *text = NULL;

    for (size_t i = 0; good && i < count; i++)
        good =
            PEM_write_bio(output, PEM_STRING_X509, "", list[i]->der, (long)list[i]->der_size) > 0;
    long size = good ? BIO_get_mem_data(output, &data) : 0;
    if (size > 0 && (text = malloc((size_t)size)) != NULL) {
        memcpy(text, data, (size_t)size);
        *ret_size = (size_t)size;
    }
    return text;
}
