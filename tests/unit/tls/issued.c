#include "issued.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tls/handshake.h"

#define DAY_S (24 * 3600)

static char *ca_pem, *ca_key_pem;
static struct keypair *pairs[KEY_TYPE_COUNT];

void issued_init(void)
{
    static const char *const names[] = {"edge.test", "*.wild.test", "127.0.0.1"};
    struct internal_ca *ca;
    struct error error;

    tls_process_init();
    assert_int_equal(internal_ca_create(&ca_pem, &ca_key_pem, &error), 0);
    assert_int_equal(internal_ca_load(&ca, ca_pem, ca_key_pem, &error), 0);
    for (int type = 0; type < KEY_TYPE_COUNT; type++)
        assert_int_equal(
            internal_ca_issue(ca, names, 3, (enum key_type)type, 90 * DAY_S, &pairs[type], &error),
            0);
    internal_ca_free(ca);
}

void issued_fini(void)
{
    for (int type = 0; type < KEY_TYPE_COUNT; type++)
        keypair_unref(pairs[type]);
    free(ca_pem);
    free(ca_key_pem);
}

const char *issued_ca_pem(void)
{
    return ca_pem;
}

const char *issued_ca_key_pem(void)
{
    return ca_key_pem;
}

struct keypair *issued_pair(enum key_type type)
{
    return pairs[type];
}

static void extension_add(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;

    if (value == NULL || value[0] == '\0' || X509_get_version(certificate) < 2)
        return;
    CONF *configuration = NCONF_new(NULL); /* empty; some extensions want one */
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509V3_set_nconf(&context, configuration);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
    NCONF_free(configuration);
}

X509 *crafted_new(const struct crafted *crafted)
{
    static long serial = 1;
    X509 *certificate = X509_new();
    const char *name = crafted->common_name != NULL ? crafted->common_name : "edge.test";
    long from = crafted->from_s != 0 ? crafted->from_s : -3600,
         until = crafted->until_s != 0 ? crafted->until_s : 3600;

    assert_non_null(certificate);
    X509_NAME *subject = X509_get_subject_name(certificate);
    X509 *issuer = crafted->issuer != NULL ? crafted->issuer : certificate;
    assert_int_equal(X509_set_version(certificate, crafted->version > 0 ? crafted->version - 1 : 2),
                     1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), from));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), until));
    if (name[0] != '\0')
        assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                                    (const unsigned char *)name, -1, -1, 0),
                         1);
    if (crafted->serial != NULL) {
        ASN1_INTEGER *chosen = s2i_ASN1_INTEGER(NULL, crafted->serial);
        assert_int_equal(X509_set_serialNumber(certificate, chosen), 1);
        ASN1_INTEGER_free(chosen);
    }
    assert_int_equal(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)), 1);
    assert_int_equal(X509_set_pubkey(certificate, crafted->key), 1);
    extension_add(certificate, issuer, NID_subject_alt_name,
                  crafted->alternative_names != NULL ? crafted->alternative_names
                                                     : "DNS:edge.test");
    extension_add(certificate, issuer, NID_basic_constraints, crafted->constraints);
    extension_add(certificate, issuer, NID_key_usage, crafted->usage);
    extension_add(certificate, issuer, NID_ext_key_usage, crafted->extended_usage);
    extension_add(certificate, issuer, NID_name_constraints, crafted->name_constraints);
    extension_add(certificate, issuer, NID_policy_constraints, crafted->policy_constraints);
    extension_add(certificate, issuer, NID_certificate_policies, crafted->policies);
    extension_add(certificate, issuer, NID_subject_key_identifier,
                  crafted->key_ids ? "hash" : NULL);
    if (X509_get_ext_by_NID(issuer, NID_subject_key_identifier, -1) >= 0)
        extension_add(certificate, issuer, NID_authority_key_identifier,
                      crafted->key_ids ? "keyid" : NULL);
    assert_true(X509_sign(certificate,
                          crafted->issuer_key != NULL ? crafted->issuer_key : crafted->key,
                          crafted->digest != NULL ? crafted->digest : EVP_sha256()) > 0);
    return certificate;
}

static char *text_of(BIO *content)
{
    char *data;
    long size = BIO_get_mem_data(content, &data);
    char *text = malloc((size_t)size + 1);

    assert_non_null(text);
    memcpy(text, data, (size_t)size);
    text[size] = '\0';
    BIO_free(content);
    return text;
}

char *pem_of_certificate(X509 *certificate)
{
    BIO *content = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(content, certificate), 1);
    return text_of(content);
}

char *pem_of_key(EVP_PKEY *key)
{
    BIO *content = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(content, key, NULL, NULL, 0, NULL, NULL), 1);
    return text_of(content);
}

struct keypair *pair_of(X509 *leaf, X509 *second, X509 *third, EVP_PKEY *key)
{
    X509 *const certificates[] = {leaf, second, third};
    BIO *content = BIO_new(BIO_s_mem());
    struct keypair *pair = NULL;
    struct error error;

    for (int i = 0; i < 3; i++) {
        if (certificates[i] != NULL)
            assert_int_equal(PEM_write_bio_X509(content, certificates[i]), 1);
    }
    assert_int_equal(PEM_write_bio_PrivateKey(content, key, NULL, NULL, 0, NULL, NULL), 1);
    char *text = text_of(content);
    assert_int_equal(keypair_parse(&pair, text, strlen(text), NULL, 0, &error), 0);
    free(text);
    return pair;
}

const struct certificate_facts *facts_of(X509 *certificate)
{
    const struct certificate_facts *facts = NULL;
    struct error error;
    unsigned char *der = NULL;
    int size = i2d_X509(certificate, &der);

    assert_true(size > 0);
    if (certificate_facts_new(&facts, der, (size_t)size, &error) != 0)
        fail_msg("%s", error.message);
    OPENSSL_free(der);
    return facts;
}
