#include "revocation_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

#include <openssl/conf.h>
#include <openssl/ec.h>
#include <openssl/x509v3.h>

EVP_PKEY *ca_key, *other_key, *leaf_key, *responder_key;
X509 *ca, *other_ca, *leaf, *other_leaf, *responder, *impostor;
const struct certificate_facts *ca_facts, *other_ca_facts, *leaf_facts;
struct crl_question of_ca; /* about the leaf */
int64_t now;

X509 *authority(EVP_PKEY *key, const char *name, const char *usage)
{
    return crafted_new(&(struct crafted){
        .key = key, .common_name = name, .constraints = "critical,CA:TRUE", .usage = usage});
}

X509 *issued(EVP_PKEY *key, const char *name, const char *extended_usage)
{
    return crafted_new(&(struct crafted){.key = key,
                                         .issuer = ca,
                                         .issuer_key = ca_key,
                                         .common_name = name,
                                         .extended_usage = extended_usage});
}

X509 *with_list_address(X509 *certificate, const char *address)
{
    X509_EXTENSION *extension =
        X509V3_EXT_conf_nid(NULL, NULL, NID_crl_distribution_points, address);

    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
    assert_true(X509_sign(certificate, ca_key, EVP_sha256()) > 0);
    return certificate;
}

int revocation_world_set_up(void **state)
{
    (void)state;
    issued_init();
    now = time(NULL);
    ca_key = EVP_EC_gen("P-256");
    other_key = EVP_EC_gen("P-256");
    leaf_key = EVP_EC_gen("P-256");
    responder_key = EVP_EC_gen("P-256");
    ca = authority(ca_key, "CA", "critical,keyCertSign,cRLSign");
    other_ca = authority(other_key, "Other CA", "critical,keyCertSign,cRLSign");
    leaf = with_list_address(issued(leaf_key, "leaf", "serverAuth"), "URI:" URL);
    other_leaf = issued(leaf_key, "other", "serverAuth");
    responder = issued(responder_key, "responder", "OCSPSigning");
    impostor = issued(responder_key, "impostor", "serverAuth");
    ca_facts = facts_of(ca);
    other_ca_facts = facts_of(other_ca);
    leaf_facts = facts_of(leaf);
    of_ca = (struct crl_question){
        .certificate = leaf_facts, .issuers = &ca_facts, .issuer_count = 1, .at = now};
    return 0;
}

int revocation_world_tear_down(void **state)
{
    EVP_PKEY *keys[] = {ca_key, other_key, leaf_key, responder_key};
    X509 *certificates[] = {ca, other_ca, leaf, other_leaf, responder, impostor};

    (void)state;
    certificate_facts_unref(ca_facts);
    certificate_facts_unref(other_ca_facts);
    certificate_facts_unref(leaf_facts);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        EVP_PKEY_free(keys[i]);
    for (size_t i = 0; i < ARRAY_SIZE(certificates); i++)
        X509_free(certificates[i]);
    issued_fini();
    return 0;
}

static void add_entry(X509_CRL *crl, const ASN1_INTEGER *serial, int reason)
{
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_TIME *moment = X509_gmtime_adj(NULL, -HOUR);

    assert_int_equal(X509_REVOKED_set_serialNumber(entry, (ASN1_INTEGER *)(uintptr_t)serial), 1);
    assert_int_equal(X509_REVOKED_set_revocationDate(entry, moment), 1);
    if (reason != 0) {
        ASN1_ENUMERATED *value = ASN1_ENUMERATED_new();
        ASN1_ENUMERATED_set(value, reason);
        assert_int_equal(X509_REVOKED_add1_ext_i2d(entry, NID_crl_reason, value, 0, 0), 1);
        ASN1_ENUMERATED_free(value);
    }
    assert_int_equal(X509_CRL_add0_revoked(crl, entry), 1);
    ASN1_TIME_free(moment);
}

static void set_times(X509_CRL *crl, const struct list *list)
{
    bool any = list->this_s != 0 || list->next_s != 0;
    ASN1_TIME *this_update = X509_gmtime_adj(NULL, any ? list->this_s : -HOUR),
              *next_update = X509_gmtime_adj(NULL, any ? list->next_s : HOUR);

    X509_CRL_set1_lastUpdate(crl, this_update);
    X509_CRL_set1_nextUpdate(crl, next_update);
    ASN1_TIME_free(this_update);
    ASN1_TIME_free(next_update);
}

static void add_number(X509_CRL *crl, int nid, long value)
{
    ASN1_INTEGER *number = ASN1_INTEGER_new();

    ASN1_INTEGER_set(number, value);
    assert_int_equal(X509_CRL_add1_ext_i2d(crl, nid, number, nid == NID_delta_crl, 0), 1);
    ASN1_INTEGER_free(number);
}

struct bytes list_der(const struct list *list)
{
    X509_CRL *crl = X509_CRL_new();
    struct bytes bytes = {0};

    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(list->issuer != NULL ? list->issuer : ca));
    set_times(crl, list);
    for (unsigned i = 0; i < list->others; i++) {
        ASN1_INTEGER *serial = ASN1_INTEGER_new();
        ASN1_INTEGER_set(serial, 1000000 + (i * 7919) % 1000003);
        add_entry(crl, serial, 0);
        ASN1_INTEGER_free(serial);
    }
    if (list->revoked != NULL)
        add_entry(crl, X509_get0_serialNumber(list->revoked), list->reason);
    if (list->extension != 0) {
        X509_EXTENSION *extension =
            X509V3_EXT_conf_nid(NULL, NULL, list->extension, list->extension_text);
        assert_non_null(extension);
        X509_CRL_add_ext(crl, extension, -1);
        X509_EXTENSION_free(extension);
    }
    if (list->scope != NULL)
        assert_int_equal(X509_CRL_add_ext(crl, list->scope, -1), 1);
    if (list->number != 0)
        add_number(crl, NID_crl_number, list->number);
    if (list->changes != 0)
        add_number(crl, NID_delta_crl, list->changes);
    assert_true(X509_CRL_sign(crl, list->key != NULL ? list->key : ca_key, EVP_sha256()) > 0);
    bytes.size = (size_t)i2d_X509_CRL(crl, &bytes.data);
    X509_CRL_free(crl);
    return bytes;
}

struct crl *crl_of(const struct list *list)
{
    struct bytes bytes = list_der(list);
    struct crl *crl;
    struct error error = {0};

    if (crl_new(&crl, bytes.data, bytes.size, &error) != 0)
        fail_msg("%s", error.message);
    OPENSSL_free(bytes.data);
    return crl;
}

#define COMPROMISE "keyCompromise,CACompromise"
#define OTHERS                                                                                     \
    "affiliationChanged,superseded,cessationOfOperation,certificateHold,privilegeWithdrawn,"       \
    "AACompromise"

static const char names_text[] = "[one]\nCN=CA\nOU=One\n[two]\nCN=CA\nOU=Two\n"
                                 "[rest]\nOU=One\n[other_rest]\nOU=Two\n"
                                 "[full]\nfullname=dirName:one\n[other]\nfullname=dirName:two\n"
                                 "[relative]\nrelativename=rest\n"
                                 "[other_relative]\nrelativename=other_rest\n"
                                 "[compromise]\nonlysomereasons=" COMPROMISE "\n"
                                 "[others]\nonlysomereasons=" OTHERS "\n"
                                 "[compromise_at]\nfullname=dirName:one\n"
                                 "onlysomereasons=" COMPROMISE "\n"
                                 "[others_at]\nfullname=dirName:one\n"
                                 "onlysomereasons=" OTHERS "\n"
                                 "[some]\nfullname=dirName:one\nreasons=keyCompromise\n";

X509_EXTENSION *naming(int nid, const char *text)
{
    CONF *names = NCONF_new(NULL);
    BIO *input = BIO_new_mem_buf(names_text, -1);
    X509V3_CTX context;
    long line;

    assert_int_equal(NCONF_load_bio(names, input, &line), 1);
    X509V3_set_ctx(&context, NULL, NULL, NULL, NULL, 0);
    X509V3_set_nconf(&context, names);
    X509_EXTENSION *extension = X509V3_EXT_nconf_nid(names, &context, nid, text);
    assert_non_null(extension);
    NCONF_free(names);
    BIO_free(input);
    return extension;
}
