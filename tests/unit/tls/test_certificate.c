#include "tls/certificate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/pem.h>

#include "issued.h"

static int parse(struct keypair **ret_pair, const char *chain, const char *key, struct error *error)
{
    return keypair_parse(ret_pair, chain, strlen(chain), key, key != NULL ? strlen(key) : 0, error);
}

static void expect_refused(const char *chain, const char *key, enum error_code code,
                           const char *text)
{
    struct keypair *pair = NULL;
    struct error error = {0};

    assert_int_equal(parse(&pair, chain, key, &error), -(int)code);
    assert_int_equal(error.code, code);
    assert_non_null(strstr(error.message, text));
    assert_null(pair);
}

static char *joined(const char *a, const char *b)
{
    char *text = malloc(strlen(a) + strlen(b) + 1);

    assert_non_null(text);
    strcpy(text, a);
    return strcat(text, b);
}

/* ---- what is refused ---- */

static void refuses_what_is_no_certificate(void **state)
{
    (void)state;
    expect_refused("", NULL, ERROR_CERTIFICATE_UNPARSABLE, "no certificate");
    expect_refused("hello", NULL, ERROR_CERTIFICATE_UNPARSABLE, "no certificate");
    expect_refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", NULL,
                   ERROR_CERTIFICATE_UNPARSABLE, "certificate 1");
    expect_refused("-----BEGIN CERTIFICATE-----\n****\n-----END CERTIFICATE-----\n", NULL,
                   ERROR_CERTIFICATE_UNPARSABLE, "damaged");
    expect_refused("-----BEGIN CERTIFICATE-----\nAAAA", NULL, ERROR_CERTIFICATE_UNPARSABLE,
                   "damaged");
}

static void refuses_missing_damaged_and_second_keys(void **state)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *leaf = crafted_new(&(struct crafted){.key = key});
    char *leaf_pem = pem_of_certificate(leaf), *key_pem = pem_of_key(key);
    char *twice = joined(key_pem, key_pem);

    (void)state;
    expect_refused(leaf_pem, NULL, ERROR_CERTIFICATE_KEY_UNPARSABLE, "no private key");
    expect_refused(leaf_pem, "", ERROR_CERTIFICATE_KEY_UNPARSABLE, "no private key");
    expect_refused(leaf_pem, twice, ERROR_CERTIFICATE_KEY_UNPARSABLE, "more than one");
    expect_refused(leaf_pem, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                   ERROR_CERTIFICATE_KEY_UNPARSABLE, "cannot be parsed");
    expect_refused(leaf_pem, "-----BEGIN PRIVATE KEY-----\nAAAA", ERROR_CERTIFICATE_KEY_UNPARSABLE,
                   "damaged");
    expect_refused(
        leaf_pem,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        ERROR_CERTIFICATE_KEY_UNPARSABLE, "encrypted");
    free(twice);
    free(leaf_pem);
    free(key_pem);
    X509_free(leaf);
    EVP_PKEY_free(key);
}

static void refuses_key_types_that_it_cannot_serve(void **state)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), *ordinary = EVP_EC_gen("P-256");
    X509 *certificate = X509_new(), *leaf = crafted_new(&(struct crafted){.key = ordinary});

    (void)state;
    X509_set_pubkey(certificate, key);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 60);
    assert_true(X509_sign(certificate, key, NULL) > 0);
    char *edwards_pem = pem_of_certificate(certificate), *edwards_key = pem_of_key(key);
    char *leaf_pem = pem_of_certificate(leaf), *leaf_key = pem_of_key(ordinary);
    expect_refused(edwards_pem, leaf_key, ERROR_CERTIFICATE_UNPARSABLE, "ED25519");
    expect_refused(leaf_pem, edwards_key, ERROR_CERTIFICATE_KEY_UNPARSABLE, "ED25519");
    free(edwards_pem);
    free(edwards_key);
    free(leaf_pem);
    free(leaf_key);
    X509_free(leaf);
    X509_free(certificate);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ordinary);
}

static void refuses_endless_chains(void **state)
{
    const char *one = issued_ca_pem();
    char *chain = malloc(strlen(one) * 40 + 1);

    (void)state;
    assert_non_null(chain);
    chain[0] = '\0';
    for (int i = 0; i < 40; i++)
        strcat(chain, one);
    expect_refused(chain, issued_ca_key_pem(), ERROR_CERTIFICATE_UNPARSABLE, "more than");
    free(chain);
}

/* A key that was refused must not spoil the next one: the decoder is kept. */
static void survives_garbage_between_good_keys(void **state)
{
    struct keypair *pair;
    struct error error;

    (void)state;
    for (int i = 0; i < 3; i++) {
        expect_refused(issued_ca_pem(),
                       "-----BEGIN PRIVATE KEY-----\nMAAw\n-----END PRIVATE KEY-----\n",
                       ERROR_CERTIFICATE_KEY_UNPARSABLE, "cannot be parsed");
        assert_int_equal(parse(&pair, issued_ca_pem(), issued_ca_key_pem(), &error), 0);
        keypair_unref(pair);
    }
}

/* ---- facts ---- */

static void tells_the_facts(void **state)
{
    const struct keypair *pair = issued_pair(KEY_TYPE_ECDSA);
    size_t count;
    const char *const *names = keypair_names(pair, &count);

    (void)state;
    assert_int_equal(count, 3);
    assert_string_equal(names[0], "edge.test");
    assert_string_equal(names[1], "*.wild.test");
    assert_string_equal(names[2], "127.0.0.1");
    assert_string_equal(keypair_subject(pair), "CN=edge.test");
    assert_non_null(strstr(keypair_issuer(pair), "CN=Holdfast internal CA "));
    assert_int_equal(strlen(keypair_serial(pair)), 32);
    assert_int_equal(keypair_type(pair), KEY_TYPE_ECDSA);
    assert_int_equal(keypair_key_bits(pair), 256);
    assert_int_equal(keypair_chain_length(pair), 2);
    assert_int_equal(keypair_not_after(pair) - keypair_not_before(pair), 90 * 24 * 3600 + 300);
    assert_int_equal(keypair_type(issued_pair(KEY_TYPE_RSA)), KEY_TYPE_RSA);
    assert_int_equal(keypair_key_bits(issued_pair(KEY_TYPE_RSA)), 2048);
    assert_string_equal(key_type_name(KEY_TYPE_RSA), "rsa");
}

static void reads_every_key_format(void **state)
{
    EVP_PKEY *keys[] = {EVP_EC_gen("P-256"), EVP_EC_gen("P-384"), EVP_RSA_gen(2048)};
    struct error error;

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct keypair *pair = NULL;
        X509 *leaf = crafted_new(&(struct crafted){.key = keys[i]});
        char *leaf_pem = pem_of_certificate(leaf);
        BIO *output = BIO_new(BIO_s_mem());
        char *data;
        assert_int_equal(
            PEM_write_bio_PrivateKey_traditional(output, keys[i], NULL, NULL, 0, NULL, NULL), 1);
        long size = BIO_get_mem_data(output, &data);
        assert_int_equal(
            keypair_parse(&pair, leaf_pem, strlen(leaf_pem), data, (size_t)size, &error), 0);
        keypair_unref(pair);
        BIO_free(output);
        free(leaf_pem);
        X509_free(leaf);
        EVP_PKEY_free(keys[i]);
    }
}

static void uses_the_common_name_only_without_alternative_names(void **state)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *with = crafted_new(&(struct crafted){.key = key, .common_name = "other.test"});
    X509 *without = crafted_new(
        &(struct crafted){.key = key, .common_name = "Other.Test", .alternative_names = ""});
    struct keypair *pair_with = pair_of(with, NULL, NULL, key),
                   *pair_without = pair_of(without, NULL, NULL, key);

    (void)state;
    assert_false(keypair_covers(pair_with, "other.test"));
    assert_true(keypair_covers(pair_without, "other.test"));
    keypair_unref(pair_with);
    keypair_unref(pair_without);
    X509_free(with);
    X509_free(without);
    EVP_PKEY_free(key);
}

static void covers_by_rfc_6125(void **state)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *leaf = crafted_new(&(struct crafted){
        .key = key,
        .alternative_names =
            "DNS:Exact.Test,DNS:*.star.test,DNS:*.top,DNS:f*.partial.test,IP:::1,IP:10.0.0.1"});
    struct keypair *pair = pair_of(leaf, NULL, NULL, key);
    static const struct {
        const char *name;
        bool covered;
    } cases[] = {
        {"a.b.star.test", false},
        {"star.test", false},
        {".star.test", false},
        {"a.top", false},
        {"foo.partial.test", false},
        {"10.0.0.2", false},
        {"", false},
        {".", false},
        {"exact.test.evil", false},
        {"exact", false},
        {"a.star.testx", false},
        {"10.0.0.01", false},
        {"exact.test", true},
        {"EXACT.test", true},
        {"exact.test.", true},
        {"a.star.test", true},
        {"A.Star.Test", true},
        {"*.star.test", true},
        {"10.0.0.1", true},
        {"::1", true},
        {"0:0:0:0:0:0:0:1", true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (keypair_covers(pair, cases[i].name) != cases[i].covered)
            fail_msg("%s", cases[i].name);
    }
    keypair_unref(pair);
    X509_free(leaf);
    EVP_PKEY_free(key);
}

static void survives_serialising(void **state)
{
    struct error error;

    (void)state;
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        struct keypair *copy = NULL, *pair = keypair_ref(issued_pair((enum key_type)type));
        size_t size;
        char *pem = keypair_to_pem(pair, &size);
        assert_non_null(pem);
        assert_int_equal(size, strlen(pem));
        assert_int_equal(keypair_parse(&copy, pem, size, NULL, 0, &error), 0);
        assert_memory_equal(keypair_fingerprint(copy), keypair_fingerprint(pair), 32);
        assert_int_equal(keypair_chain_length(copy), 2);
        keypair_unref(copy);
        keypair_unref(pair);
        free(pem);
    }
    keypair_unref(NULL);
}

static int setup(void **state)
{
    (void)state;
    issued_init();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    issued_fini();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_no_certificate),
        cmocka_unit_test(refuses_missing_damaged_and_second_keys),
        cmocka_unit_test(refuses_key_types_that_it_cannot_serve),
        cmocka_unit_test(refuses_endless_chains),
        cmocka_unit_test(survives_garbage_between_good_keys),
        cmocka_unit_test(tells_the_facts),
        cmocka_unit_test(reads_every_key_format),
        cmocka_unit_test(uses_the_common_name_only_without_alternative_names),
        cmocka_unit_test(covers_by_rfc_6125),
        cmocka_unit_test(survives_serialising),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
