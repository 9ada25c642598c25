/* The embedded CA: for development, tests and private names. */
#include "tls/certificate_internal.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/secret.h"
#include "base/string.h"
#include "tls/openssl_auto.h"

#define ROOT_LIFETIME_S (3650l * 24 * 3600)
#define BACKDATED_S     300l /* clocks of clients that run a little late */
#define SERIAL_SIZE     16
#define RSA_BITS        2048

struct internal_ca {
    X509 *certificate;
    EVP_PKEY *key;
};

/* ---- building blocks ---- */

/* A random positive number (RFC 5280 §4.1.2.2: at most 20 bytes). */
static bool set_serial(X509 *certificate)
{
    uint8_t bytes[SERIAL_SIZE];

    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40);
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool good =
        number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return good;
}

static bool set_validity(X509 *certificate, time_t from, int64_t lifetime_s)
{
    return ASN1_TIME_set(X509_getm_notBefore(certificate), from - BACKDATED_S) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(certificate), from + (time_t)lifetime_s) != NULL;
}

static bool add_common_name(X509_NAME *name, const char *text)
{
    return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                      (const unsigned char *)text, -1, -1, 0) == 1;
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&context);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool good = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return good;
}

static bool sign(X509 *certificate, EVP_PKEY *key)
{
    return X509_sign(certificate, key, EVP_sha256()) > 0;
}

/* The content of a memory BIO as malloc'ed text; NULL: out of memory. */
static char *text_of(BIO *content)
{
    char *data;
    long size = BIO_get_mem_data(content, &data);
    char *text = size > 0 ? malloc((size_t)size + 1) : NULL;

    if (text != NULL) {
        memcpy(text, data, (size_t)size);
        text[size] = '\0';
    }
    return text;
}

/* ---- the CA itself ---- */

static bool root_fill(X509 *root, EVP_PKEY *key)
{
    char name[64] = "Holdfast internal CA ";
    uint8_t random[4];
    X509_NAME *subject = X509_get_subject_name(root);

    if (RAND_bytes(random, sizeof random) != 1)
        return false;
    string_hex(name + strlen(name), random, sizeof random);
    return X509_set_version(root, X509_VERSION_3) == 1 && set_serial(root) &&
           set_validity(root, time(NULL), ROOT_LIFETIME_S) && add_common_name(subject, name) &&
           X509_set_issuer_name(root, subject) == 1 && X509_set_pubkey(root, key) == 1 &&
           add_extension(root, root, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           add_extension(root, root, NID_key_usage, "critical,keyCertSign,cRLSign") &&
           add_extension(root, root, NID_subject_key_identifier, "hash") && sign(root, key);
}

int internal_ca_create(char **ret_certificate_pem, char **ret_key_pem, struct error *error)
{
    AUTO(EVP_PKEY) *key = EVP_EC_gen("P-256");
    AUTO(X509) *root = X509_new();
    AUTO(BIO) *certificate_text = BIO_new(BIO_s_mem());
    AUTO(BIO) *key_text = BIO_new(BIO_s_secmem());

    if (key == NULL || root == NULL || certificate_text == NULL || key_text == NULL ||
        !root_fill(root, key) || PEM_write_bio_X509(certificate_text, root) != 1 ||
        PEM_write_bio_PKCS8PrivateKey(key_text, key, NULL, NULL, 0, NULL, NULL) != 1)
        return error_set(error, ERROR_TLS, "cannot make the internal CA: %s", openssl_reason());
    char *certificate_pem = text_of(certificate_text);
    char *key_pem = text_of(key_text);
    if (certificate_pem == NULL || key_pem == NULL) {
        if (key_pem != NULL)
            secret_wipe(key_pem, strlen(key_pem));
        free(key_pem);
        free(certificate_pem);
        return error_set(error, ERROR_MEMORY, "out of memory");
    }
    *ret_certificate_pem = certificate_pem;
    *ret_key_pem = key_pem;
    return 0;
}

int internal_ca_load(struct internal_ca **ret_ca, const char *certificate_pem, const char *key_pem,
                     struct error *error)
{
    AUTO(BIO) *certificate_text = BIO_new_mem_buf(certificate_pem, -1);
    AUTO(BIO) *key_text = BIO_new_mem_buf(key_pem, -1);
    struct internal_ca *ca = calloc(1, sizeof *ca);
    int result = 0;

    if (certificate_text == NULL || key_text == NULL || ca == NULL) {
        internal_ca_free(ca);
        return error_set(error, ERROR_MEMORY, "out of memory");
    }
    ca->certificate = PEM_read_bio_X509(certificate_text, NULL, NULL, NULL);
    ca->key = PEM_read_bio_PrivateKey(key_text, NULL, NULL, NULL);
    if (ca->certificate == NULL)
        result = error_set(error, ERROR_CERTIFICATE_UNPARSABLE,
                           "the internal CA's certificate cannot be parsed");
    else if (ca->key == NULL)
        result = error_set(error, ERROR_CERTIFICATE_KEY_UNPARSABLE,
                           "the internal CA's key cannot be parsed");
    else if (X509_check_private_key(ca->certificate, ca->key) != 1)
        result = error_set(error, ERROR_CERTIFICATE_KEY_MISMATCH,
                           "the internal CA's key is not its certificate's");
    ERR_clear_error();
    if (result != 0) {
        internal_ca_free(ca);
        return result;
    }
    *ret_ca = ca;
    return 0;
}

void internal_ca_free(struct internal_ca *ca)
{
    if (ca == NULL)
        return;
    X509_free(ca->certificate);
    EVP_PKEY_free(ca->key);
    free(ca);
}

/* ---- leaves ---- */

static bool is_address(const char *name)
{
    unsigned char address[16];
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

/* Appends one name; takes no text through OpenSSL's configuration syntax, in which a comma would
 * begin another extension. */
static bool name_add(GENERAL_NAMES *list, const char *name)
{
    bool address = is_address(name);
    GENERAL_NAME *entry = GENERAL_NAME_new();
    ASN1_STRING *value = address ? a2i_IPADDRESS(name) : ASN1_IA5STRING_new();

    if (entry == NULL || value == NULL || (!address && ASN1_STRING_set(value, name, -1) != 1)) {
        ASN1_STRING_free(value);
        GENERAL_NAME_free(entry);
        return false;
    }
    GENERAL_NAME_set0_value(entry, address ? GEN_IPADD : GEN_DNS, value);
    if (sk_GENERAL_NAME_push(list, entry) > 0)
        return true;
    GENERAL_NAME_free(entry);
    return false;
}

static bool add_names(X509 *leaf, const char *const *names, size_t count)
{
    AUTO(GENERAL_NAMES) *list = sk_GENERAL_NAME_new_null();

    for (size_t i = 0; list != NULL && i < count; i++) {
        if (!name_add(list, names[i]))
            return false;
    }
    return list != NULL &&
           X509_add1_ext_i2d(leaf, NID_subject_alt_name, list, 0, X509V3_ADD_DEFAULT) == 1;
}

/* The subject is for people only; a name longer than X.520 allows (64) is left out of it. */
static bool add_subject(X509 *leaf, const char *name)
{
    return strlen(name) > 64 || add_common_name(X509_get_subject_name(leaf), name);
}

static bool leaf_fill(const struct internal_ca *ca, X509 *leaf, EVP_PKEY *key,
                      const char *const *names, size_t count, int64_t lifetime_s)
{
    return X509_set_version(leaf, X509_VERSION_3) == 1 && set_serial(leaf) &&
           set_validity(leaf, time(NULL), lifetime_s) && add_subject(leaf, names[0]) &&
           X509_set_issuer_name(leaf, X509_get_subject_name(ca->certificate)) == 1 &&
           X509_set_pubkey(leaf, key) == 1 && add_names(leaf, names, count) &&
           add_extension(leaf, ca->certificate, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(leaf, ca->certificate, NID_key_usage, "critical,digitalSignature") &&
           add_extension(leaf, ca->certificate, NID_ext_key_usage, "serverAuth,clientAuth") &&
           add_extension(leaf, ca->certificate, NID_subject_key_identifier, "hash") &&
           add_extension(leaf, ca->certificate, NID_authority_key_identifier, "keyid") &&
           sign(leaf, ca->key);
}

int internal_ca_issue(struct internal_ca *ca, const char *const *names, size_t name_count,
                      enum key_type type, int64_t lifetime_s, struct keypair **ret_pair,
                      struct error *error)
{
    if (name_count == 0 || name_count > KEYPAIR_NAMES_MAX)
        return error_set(error, ERROR_USAGE, "a certificate needs 1 to %d names",
                         KEYPAIR_NAMES_MAX);
    AUTO(EVP_PKEY) *key = type == KEY_TYPE_RSA ? EVP_RSA_gen(RSA_BITS) : EVP_EC_gen("P-256");
    AUTO(X509) *leaf = X509_new();
    if (key == NULL || leaf == NULL || !leaf_fill(ca, leaf, key, names, name_count, lifetime_s))
        return error_set(error, ERROR_TLS, "cannot issue a certificate for %s: %s", names[0],
                         openssl_reason());
    return keypair_assemble(ret_pair, leaf, ca->certificate, key, error);
}
