/* A key pair: leaf, chain and private key as OpenSSL objects, with the facts that others ask for
 * taken out once. */
#include "tls/certificate_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tls/openssl_auto.h"

#define CHAIN_LENGTH_MAX 32

struct keypair {
    unsigned references;
    enum key_type type;
    unsigned bits;
    int64_t not_before, not_after;
    X509 *leaf;
    STACK_OF(X509) * chain; /* without the leaf */
    EVP_PKEY *key;
    char **names; /* one block */
    size_t name_count;
    char *subject, *issuer, *serial; /* one block, owned by `subject` */
    uint8_t fingerprint[32];
};

/* ---- small facts ---- */

const char *key_type_name(enum key_type type)
{
    static const char *const names[KEY_TYPE_COUNT] = {
        [KEY_TYPE_ECDSA] = "ecdsa", [KEY_TYPE_RSA] = "rsa"};
    return type < KEY_TYPE_COUNT ? names[type] : "unknown";
}

const char *openssl_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    return text != NULL ? text : "no further reason";
}

int64_t certificate_time(const ASN1_TIME *time)
{
    struct tm parts;

    return ASN1_TIME_to_tm(time, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

char *certificate_name_text(char *destination, size_t size, const X509_NAME *name)
{
    AUTO(BIO) *text = BIO_new(BIO_s_mem());
    int length = 0;

    /* RFC 2253 form escapes control and non-ASCII characters, so the result may be shown as it is.
     */
    if (text != NULL && X509_NAME_print_ex(text, name, 0, XN_FLAG_RFC2253) >= 0)
        length = BIO_read(text, destination, (int)size - 1);
    destination[length > 0 ? length : 0] = '\0';
    return destination;
}

/* Also refuses what Holdfast cannot serve. */
static bool key_type_of(EVP_PKEY *key, enum key_type *ret_type)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_EC:
        *ret_type = KEY_TYPE_ECDSA;
        return true;
    case EVP_PKEY_RSA:
        *ret_type = KEY_TYPE_RSA;
        return true;
    default:
        return false;
    }
}

static int texts_collect(struct keypair *pair, struct error *error)
{
    char subject[512], issuer[512];
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(pair->leaf), NULL);
    char *serial = number != NULL ? BN_bn2hex(number) : NULL;

    BN_free(number);
    certificate_name_text(subject, sizeof subject, X509_get_subject_name(pair->leaf));
    certificate_name_text(issuer, sizeof issuer, X509_get_issuer_name(pair->leaf));
    size_t subject_size = strlen(subject) + 1, issuer_size = strlen(issuer) + 1;
    size_t serial_size = serial != NULL ? strlen(serial) + 1 : 1;
    pair->subject = malloc(subject_size + issuer_size + serial_size);
    if (pair->subject != NULL) {
        memcpy(pair->subject, subject, subject_size);
        pair->issuer = memcpy(pair->subject + subject_size, issuer, issuer_size);
        pair->serial =
            memcpy(pair->issuer + issuer_size, serial != NULL ? serial : "", serial_size);
    }
    OPENSSL_free(serial);
    return pair->subject != NULL ? 0 : error_set(error, ERROR_MEMORY, "out of memory");
}

static int facts_collect(struct keypair *pair, struct error *error)
{
    EVP_PKEY *public_key = X509_get0_pubkey(pair->leaf);

    if (public_key == NULL)
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                         "the certificate's public key cannot be read: %s", openssl_reason());
    if (!key_type_of(public_key, &pair->type))
        return error_set(
            error, ERROR_CERTIFICATE_UNPARSABLE,
            "the certificate has a key of type %s, which is not supported: use ECDSA or RSA",
            OBJ_nid2sn(EVP_PKEY_get_base_id(public_key)));
    pair->bits = (unsigned)EVP_PKEY_get_bits(public_key);
    pair->not_before = certificate_time(X509_get0_notBefore(pair->leaf));
    pair->not_after = certificate_time(X509_get0_notAfter(pair->leaf));
    if (X509_digest(pair->leaf, EVP_sha256(), pair->fingerprint, NULL) != 1)
        return error_set(error, ERROR_INTERNAL, "SHA-256 failed: %s", openssl_reason());
    int result = texts_collect(pair, error);
    return result != 0 ? result
                       : certificate_names(pair->leaf, &pair->names, &pair->name_count, error);
}

/* ---- parsing ---- */

/* One PEM block as OpenSSL hands it out. */
struct pem_block {
    char *name, *header;
    unsigned char *data;
    long size;
};

static void pem_block_fini(struct pem_block *block)
{
    OPENSSL_free(block->name);
    OPENSSL_free(block->header);
    OPENSSL_clear_free(block->data, block->data != NULL ? (size_t)block->size : 0);
}

static int certificate_take(struct keypair *pair, const struct pem_block *block,
                            struct error *error)
{
    const unsigned char *place = block->data;
    /* Intermediates are shared, leaves are not. */
    AUTO(X509) *certificate = pair->leaf == NULL
                                  ? d2i_X509(NULL, &place, block->size)
                                  : certificate_decode_shared(block->data, (size_t)block->size);

    if (certificate == NULL)
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE, "certificate %d cannot be parsed: %s",
                         sk_X509_num(pair->chain) + (pair->leaf != NULL ? 2 : 1), openssl_reason());
    if (pair->leaf == NULL) {
        pair->leaf = certificate;
    } else {
        if (sk_X509_num(pair->chain) >= CHAIN_LENGTH_MAX)
            return error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                             "the chain has more than %d certificates", CHAIN_LENGTH_MAX);
        if (sk_X509_push(pair->chain, certificate) <= 0)
            return error_set(error, ERROR_MEMORY, "out of memory");
    }
    certificate = NULL;
    return 0;
}

static int key_take(struct keypair *pair, const struct pem_block *block, struct error *error)
{
    enum key_type type;

    if (pair->key != NULL)
        return error_set(error, ERROR_CERTIFICATE_KEY_UNPARSABLE,
                         "there is more than one private key");
    if (strstr(block->name, "ENCRYPTED") != NULL || block->header[0] != '\0')
        return error_set(error, ERROR_CERTIFICATE_KEY_UNPARSABLE,
                         "the private key is encrypted; store it without a passphrase");
    pair->key = private_key_decode(block->data, (size_t)block->size);
    if (pair->key == NULL)
        return error_set(error, ERROR_CERTIFICATE_KEY_UNPARSABLE,
                         "the private key cannot be parsed: %s", openssl_reason());
    if (!key_type_of(pair->key, &type))
        return error_set(error, ERROR_CERTIFICATE_KEY_UNPARSABLE,
                         "the private key is of type %s, which is not supported: use ECDSA or RSA",
                         OBJ_nid2sn(EVP_PKEY_get_base_id(pair->key)));
    return 0;
}

static bool is_certificate(const char *name)
{
    return strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0;
}

static bool is_private_key(const char *name)
{
    size_t size = strlen(name), suffix = strlen("PRIVATE KEY");

    return size >= suffix && strcmp(name + size - suffix, "PRIVATE KEY") == 0;
}

enum pem_wanted { PEM_CERTIFICATES = 1, PEM_KEYS = 2 };

/* Takes the wanted blocks of one text; others (EC PARAMETERS, DH PARAMETERS, comments) are passed
 * over. */
static int pem_walk(struct keypair *pair, const char *text, size_t size, unsigned wanted,
                    struct error *error)
{
    int result = 0;

    if (size > KEYPAIR_PEM_MAX)
        return error_set(error, ERROR_CERTIFICATE_UNPARSABLE, "the file is larger than %u bytes",
                         KEYPAIR_PEM_MAX);
    AUTO(BIO) *input = BIO_new_mem_buf(text, (int)size);
    if (input == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    while (result == 0) {
        struct pem_block block = {0};
        if (PEM_read_bio(input, &block.name, &block.header, &block.data, &block.size) != 1)
            break;
        if ((wanted & PEM_CERTIFICATES) != 0 && is_certificate(block.name))
            result = certificate_take(pair, &block, error);
        else if ((wanted & PEM_KEYS) != 0 && is_private_key(block.name))
            result = key_take(pair, &block, error);
        pem_block_fini(&block);
    }
    if (result == 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        result = error_set(error,
                           wanted == PEM_KEYS ? ERROR_CERTIFICATE_KEY_UNPARSABLE
                                              : ERROR_CERTIFICATE_UNPARSABLE,
                           "damaged PEM: %s", openssl_reason());
    ERR_clear_error();
    return result;
}

static int parse_into(struct keypair *pair, const char *chain, size_t chain_size, const char *key,
                      size_t key_size, struct error *error)
{
    int result = pem_walk(pair, chain, chain_size,
                          key != NULL ? PEM_CERTIFICATES : PEM_CERTIFICATES | PEM_KEYS, error);

    if (result == 0 && pair->leaf == NULL)
        result = error_set(error, ERROR_CERTIFICATE_UNPARSABLE, "there is no certificate in it");
    if (result == 0 && key != NULL)
        result = pem_walk(pair, key, key_size, PEM_KEYS, error);
    if (result == 0 && pair->key == NULL)
        result =
            error_set(error, ERROR_CERTIFICATE_KEY_UNPARSABLE, "there is no private key in it");
    return result != 0 ? result : facts_collect(pair, error);
}

static struct keypair *keypair_new(void)
{
    struct keypair *pair = calloc(1, sizeof *pair);

    if (pair == NULL)
        return NULL;
    pair->references = 1;
    pair->chain = sk_X509_new_null();
    if (pair->chain == NULL) {
        free(pair);
        return NULL;
    }
    return pair;
}

int keypair_assemble(struct keypair **ret_pair, X509 *leaf, X509 *issuer, EVP_PKEY *key,
                     struct error *error)
{
    struct keypair *pair = keypair_new();
    /* A copy is parsed from DER and keeps those bytes; one that was just built would be encoded
     * anew in each handshake. */
    X509 *leaf_copy = X509_dup(leaf), *issuer_copy = X509_dup(issuer);

    if (pair == NULL || leaf_copy == NULL || issuer_copy == NULL ||
        sk_X509_push(pair->chain, issuer_copy) <= 0) {
        X509_free(leaf_copy);
        X509_free(issuer_copy);
        keypair_unref(pair);
        return error_set(error, ERROR_MEMORY, "out of memory");
    }
    pair->leaf = leaf_copy;
    EVP_PKEY_up_ref(key);
    pair->key = key;
    int result = facts_collect(pair, error);
    if (result != 0) {
        keypair_unref(pair);
        return result;
    }
    *ret_pair = pair;
    return 0;
}

int keypair_parse(struct keypair **ret_pair, const char *chain, size_t chain_size, const char *key,
                  size_t key_size, struct error *error)
{
    struct keypair *pair = keypair_new();

    if (pair == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    int result = parse_into(pair, chain, chain_size, key, key_size, error);
    if (result != 0) {
        keypair_unref(pair);
        return result;
    }
    *ret_pair = pair;
    return 0;
}

struct keypair *keypair_ref(struct keypair *pair)
{
    pair->references++;
    return pair;
}

void keypair_unref(struct keypair *pair)
{
    if (pair == NULL || --pair->references > 0)
        return;
    X509_free(pair->leaf);
    sk_X509_pop_free(pair->chain, X509_free);
    EVP_PKEY_free(pair->key); /* cleanses its numbers */
    free(pair->names);
    free(pair->subject);
    free(pair);
}

/* ---- access ---- */

X509 *keypair_leaf(const struct keypair *pair)
{
    return pair->leaf;
}

STACK_OF(X509) * keypair_chain(const struct keypair *pair)
{
    return pair->chain;
}

EVP_PKEY *keypair_private_key(const struct keypair *pair)
{
    return pair->key;
}

enum key_type keypair_type(const struct keypair *pair)
{
    return pair->type;
}

int64_t keypair_not_before(const struct keypair *pair)
{
    return pair->not_before;
}

int64_t keypair_not_after(const struct keypair *pair)
{
    return pair->not_after;
}

const uint8_t *keypair_fingerprint(const struct keypair *pair)
{
    return pair->fingerprint;
}

const char *keypair_subject(const struct keypair *pair)
{
    return pair->subject;
}

const char *keypair_issuer(const struct keypair *pair)
{
    return pair->issuer;
}

const char *keypair_serial(const struct keypair *pair)
{
    return pair->serial;
}

size_t keypair_chain_length(const struct keypair *pair)
{
    return 1 + (size_t)sk_X509_num(pair->chain);
}

unsigned keypair_key_bits(const struct keypair *pair)
{
    return pair->bits;
}

const char *const *keypair_names(const struct keypair *pair, size_t *ret_count)
{
    *ret_count = pair->name_count;
    return (const char *const *)pair->names;
}

char *keypair_to_pem(const struct keypair *pair, size_t *ret_size)
{
    AUTO(BIO) *output = BIO_new(BIO_s_secmem());
    char *data, *copy = NULL;

    bool good = output != NULL && PEM_write_bio_X509(output, pair->leaf) == 1;
    for (int i = 0; good && i < sk_X509_num(pair->chain); i++)
        good = PEM_write_bio_X509(output, sk_X509_value(pair->chain, i)) == 1;
    good = good && PEM_write_bio_PKCS8PrivateKey(output, pair->key, NULL, NULL, 0, NULL, NULL) == 1;
    long size = good ? BIO_get_mem_data(output, &data) : 0;
    if (size > 0 && (copy = malloc((size_t)size + 1)) != NULL) {
        memcpy(copy, data, (size_t)size);
        copy[size] = '\0';
        *ret_size = (size_t)size;
    }
    ERR_clear_error();
    return copy;
}
