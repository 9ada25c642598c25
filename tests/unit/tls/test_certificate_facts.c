#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509v3.h>

#include "issued.h"
#include "tls/certificate_facts.h"

static EVP_PKEY *key;

/* Signs again what was changed, and frees it. */
static const struct certificate_facts *changed(X509 *certificate)
{
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    const struct certificate_facts *facts = facts_of(certificate);
    X509_free(certificate);
    return facts;
}

static X509 *ordinary(void)
{
    return crafted_new(&(struct crafted){.key = key});
}

static void add_raw(X509 *certificate, const char *oid, bool critical, const void *data,
                    size_t size)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();

    assert_int_equal(ASN1_OCTET_STRING_set(value, data, (int)size), 1);
    X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, object, critical, value);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(object);
}

static void add_dns_name(GENERAL_NAMES *list, const void *data, int size)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();

    assert_int_equal(ASN1_STRING_set(text, data, size), 1);
    GENERAL_NAME_set0_value(name, GEN_DNS, text);
    assert_true(sk_GENERAL_NAME_push(list, name) > 0);
}

static X509 *without_names(void)
{
    return crafted_new(&(struct crafted){.key = key, .alternative_names = ""});
}

static void add_names(X509 *certificate, GENERAL_NAMES *list)
{
    assert_int_equal(X509_add1_ext_i2d(certificate, NID_subject_alt_name, list, 0, 0), 1);
    GENERAL_NAMES_free(list);
}

/* ---- what is no certificate ---- */

static void test_refused(void **state)
{
    const struct certificate_facts *facts = NULL;
    static uint8_t large[CERTIFICATE_FACTS_SIZE_MAX + 1];
    struct error error;
    unsigned char *der = NULL;
    X509 *certificate = ordinary();
    int size = i2d_X509(certificate, &der);

    (void)state;
    assert_true(certificate_facts_new(&facts, large, 0, &error) < 0);
    assert_int_equal(error.code, ERROR_CERTIFICATE_UNPARSABLE);
    assert_true(certificate_facts_new(&facts, large, sizeof large, &error) < 0);
    assert_true(certificate_facts_new(&facts, large, 1000, &error) < 0);
    for (int cut = 0; cut < size; cut += 7)
        assert_true(certificate_facts_new(&facts, der, (size_t)cut, &error) < 0);
    memcpy(large, der, (size_t)size);
    assert_true(certificate_facts_new(&facts, large, (size_t)size + 1, &error) < 0);
    assert_non_null(strstr(error.message, "more bytes behind its end"));
    OPENSSL_free(der);
    X509_free(certificate);
}

/* ---- hostile contents ---- */

static void test_zero_in_name(void **state)
{
    X509 *certificate = without_names();
    GENERAL_NAMES *list = GENERAL_NAMES_new();

    (void)state;
    add_dns_name(list, "bank.example\0.evil.example", 26);
    add_dns_name(list, "with space.example", 18);
    add_dns_name(list, "", 0);
    add_names(certificate, list);
    const struct certificate_facts *facts = changed(certificate);
    assert_int_equal(facts->name_count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_true(facts->names[i].malformed);
    assert_string_equal(facts->names[0].text, "bank.example\\x00.evil.example");
    assert_false(certificate_facts_cover(facts, "bank.example"));
    assert_false(certificate_facts_cover(facts, "with space.example"));
    certificate_facts_unref(facts);
}

static void test_control_characters_in_subject(void **state)
{
    X509 *certificate = ordinary();
    X509_NAME *subject = X509_get_subject_name(certificate);

    (void)state;
    assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                                (const unsigned char *)"\x1b[31mred\n", -1, -1, 0),
                     1);
    const struct certificate_facts *facts = changed(certificate);
    assert_string_equal(facts->common_name, "\\x1b[31mred\\x0a");
    for (const char *place = facts->subject; *place != '\0'; place++)
        assert_true(*place >= 0x20 && *place < 0x7f);
    certificate_facts_unref(facts);
}

static void test_many_names(void **state)
{
    X509 *certificate = without_names();
    GENERAL_NAMES *list = GENERAL_NAMES_new();
    char name[32];

    (void)state;
    for (int i = 0; i < CERTIFICATE_FACTS_NAMES_MAX + 5; i++)
        add_dns_name(list, name, snprintf(name, sizeof name, "H%d.example", i));
    add_names(certificate, list);
    const struct certificate_facts *facts = changed(certificate);
    assert_int_equal(facts->name_count, CERTIFICATE_FACTS_NAMES_MAX);
    assert_int_equal(facts->names_dropped, 5);
    assert_true(certificate_facts_cover(facts, "h19999.example"));
    assert_false(certificate_facts_cover(facts, "h20000.example"));
    certificate_facts_unref(facts);
}

static void test_serials(void **state)
{
    static const struct {
        const char *number; /* decimal or 0x… as s2i_ASN1_INTEGER takes it */
        const char *serial;
        bool negative, zero;
        unsigned size;
    } cases[] = {
        {"0", "00", false, true, 1},
        {"-5", "-05", true, false, 1},
        {"128", "80", false, false, 2},
        {"0x7fffffffffffffffffffffffffffffffffffffff", "7fffffffffffffffffffffffffffffffffffffff",
         false, false, 20},
        {"0xffffffffffffffffffffffffffffffffffffffff", "ffffffffffffffffffffffffffffffffffffffff",
         false, false, 21},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        X509 *certificate = ordinary();
        ASN1_INTEGER *serial = s2i_ASN1_INTEGER(NULL, cases[i].number);
        assert_int_equal(X509_set_serialNumber(certificate, serial), 1);
        ASN1_INTEGER_free(serial);
        const struct certificate_facts *facts = changed(certificate);
        assert_string_equal(facts->serial, cases[i].serial);
        assert_int_equal(facts->serial_negative, cases[i].negative);
        assert_int_equal(facts->serial_zero, cases[i].zero);
        assert_int_equal(facts->serial_size, cases[i].size);
        certificate_facts_unref(facts);
    }
}

static const struct certificate_facts *with_end(int type, const char *text)
{
    X509 *certificate = ordinary();
    ASN1_STRING *date = ASN1_STRING_type_new(type);

    assert_int_equal(ASN1_STRING_set(date, text, -1), 1);
    assert_int_equal(X509_set1_notAfter(certificate, date), 1);
    ASN1_STRING_free(date);
    return changed(certificate);
}

static void test_dates(void **state)
{
    static const struct {
        int type;
        const char *text;
        int64_t seconds;
    } good[] = {
        {V_ASN1_UTCTIME, "700101000000Z", 0},
        {V_ASN1_UTCTIME, "491231235959Z", 2524607999},
        {V_ASN1_UTCTIME, "500101000000Z", -631152000},
        {V_ASN1_UTCTIME, "000229120000Z", 951825600},
        {V_ASN1_GENERALIZEDTIME, "20380119031408Z", 2147483648},
        {V_ASN1_GENERALIZEDTIME, "99991231235959Z", 253402300799},
        {V_ASN1_GENERALIZEDTIME, "00010101000000Z", -62135596800},
    };
    static const struct {
        int type;
        const char *text;
    } bad[] = {{V_ASN1_UTCTIME, "7001010000Z"},
               {V_ASN1_UTCTIME, "700101000000+0100"},
               {V_ASN1_UTCTIME, "701301000000Z"},
               {V_ASN1_UTCTIME, "70010100000\0"},
               {V_ASN1_UTCTIME, "310229000000Z"}, /* no leap year */
               {V_ASN1_UTCTIME, "310431000000Z"},
               {V_ASN1_GENERALIZEDTIME, "21000229000000Z"},
               {V_ASN1_GENERALIZEDTIME, "20380119031408"},
               {V_ASN1_GENERALIZEDTIME, "20380119031408.5Z"},
               {V_ASN1_GENERALIZEDTIME, "203801190314xxZ"}};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        const struct certificate_facts *facts = with_end(good[i].type, good[i].text);
        assert_int_equal(facts->not_after, good[i].seconds);
        assert_false(facts->dates_malformed);
        certificate_facts_unref(facts);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct certificate_facts *facts = with_end(bad[i].type, bad[i].text);
        assert_true(facts->dates_malformed);
        certificate_facts_unref(facts);
    }
}

static void test_malformed_extensions(void **state)
{
    static const struct {
        const char *oid;
        const char *name;
    } kinds[] = {{"2.5.29.19", "basicConstraints"},
                 {"2.5.29.15", "keyUsage"},
                 {"2.5.29.37", "extendedKeyUsage"},
                 {"2.5.29.30", "nameConstraints"},
                 {"1.3.6.1.5.5.7.1.1", "authorityInfoAccess"},
                 {"2.5.29.32", "certificatePolicies"},
                 {"2.5.29.35", "authorityKeyIdentifier"}};

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        X509 *certificate = ordinary();
        add_raw(certificate, kinds[i].oid, false, "\x30\x80\x01", 3);
        const struct certificate_facts *facts = changed(certificate);
        assert_string_equal(facts->malformed_extension, kinds[i].name);
        certificate_facts_unref(facts);
    }
}

static void test_extension_with_more_behind(void **state)
{
    X509 *certificate = ordinary();

    (void)state;
    add_raw(certificate, "2.5.29.19", true, "\x30\x00\x05\x00", 4);
    const struct certificate_facts *facts = changed(certificate);
    assert_string_equal(facts->malformed_extension, "basicConstraints");
    certificate_facts_unref(facts);
}

static void test_extension_twice(void **state)
{
    X509 *certificate = ordinary();

    (void)state;
    add_raw(certificate, "1.2.3.4.5", false, "\x05\x00", 2);
    add_raw(certificate, "1.2.3.4.5", false, "\x05\x00", 2);
    const struct certificate_facts *facts = changed(certificate);
    assert_string_equal(facts->malformed_extension, "1.2.3.4.5");
    assert_null(facts->unknown_critical);
    certificate_facts_unref(facts);
}

static void test_unknown_critical(void **state)
{
    X509 *certificate = ordinary();

    (void)state;
    add_raw(certificate, "1.2.3.4.5", true, "\x05\x00", 2);
    const struct certificate_facts *facts = changed(certificate);
    assert_string_equal(facts->unknown_critical, "1.2.3.4.5");
    assert_null(facts->malformed_extension);
    certificate_facts_unref(facts);
}

/* RFC 5280 §4.2.1.4: { 1.2.3.4 with a qualifier 1.2.3.5 }, critical or not. */
static void test_unknown_policy_qualifier(void **state)
{
    static const char policies[] =
        "\x30\x12\x30\x10\x06\x03\x2a\x03\x04\x30\x09\x30\x07\x06\x03\x2a\x03\x05\x05";

    (void)state;
    for (int critical = 0; critical < 2; critical++) {
        X509 *certificate = ordinary();
        add_raw(certificate, "2.5.29.32", critical == 1, policies, sizeof policies);
        const struct certificate_facts *facts = changed(certificate);
        assert_null(facts->malformed_extension);
        assert_string_equal(facts->policies, "1.2.3.4");
        if (critical == 1)
            assert_string_equal(facts->unknown_critical, "certificatePolicies");
        else
            assert_null(facts->unknown_critical);
        certificate_facts_unref(facts);
    }
}

static void test_large(void **state)
{
    X509 *certificate = ordinary();
    size_t size = 1000000;
    char *filling = malloc(size);

    (void)state;
    memset(filling, 'x', size);
    add_raw(certificate, "1.2.3.4.5", false, filling, size);
    const struct certificate_facts *facts = changed(certificate);
    assert_true(facts->der_size > size);
    certificate_facts_unref(facts);
    free(filling);
}

static void test_urls(void **state)
{
    X509 *certificate = ordinary();
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(
        NULL, NULL, NID_info_access,
        "OCSP;URI:http://ocsp.example,caIssuers;URI:http://ca.example/a.der,OCSP;URI:http://bad "
        "space,caIssuers;DNS:no.url");

    (void)state;
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
    const struct certificate_facts *facts = changed(certificate);
    assert_int_equal(facts->ocsp_url_count, 1);
    assert_string_equal(facts->ocsp_urls[0], "http://ocsp.example");
    assert_int_equal(facts->issuer_url_count, 1);
    assert_string_equal(facts->issuer_urls[0], "http://ca.example/a.der");
    certificate_facts_unref(facts);
}

/* ---- keys ---- */

static const struct certificate_facts *of_key(EVP_PKEY *own)
{
    X509 *certificate = crafted_new(&(struct crafted){.key = own});
    const struct certificate_facts *facts = facts_of(certificate);

    X509_free(certificate);
    return facts;
}

static void test_keys(void **state)
{
    EVP_PKEY *rsa = EVP_RSA_gen(1032), *small = EVP_EC_gen("P-192"), *curve = EVP_EC_gen("P-384");

    (void)state;
    const struct certificate_facts *facts = of_key(rsa);
    assert_int_equal(facts->key_kind, PUBLIC_KEY_RSA);
    assert_int_equal(facts->key_bits, 1032);
    assert_int_equal(facts->rsa_exponent, 65537);
    assert_null(facts->curve);
    assert_string_equal(facts->signature_digest, "sha256");
    assert_string_equal(facts->signature_algorithm, "sha256WithRSAEncryption");
    certificate_facts_unref(facts);
    facts = of_key(small);
    assert_string_equal(facts->curve, "P-192");
    certificate_facts_unref(facts);
    facts = of_key(curve);
    assert_string_equal(facts->curve, "P-384");
    assert_int_equal(facts->key_bits, 384);
    assert_int_equal(facts->rsa_exponent, 0);
    certificate_facts_unref(facts);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(small);
    EVP_PKEY_free(curve);
}

static void test_signature_by_old_digest(void **state)
{
    X509 *certificate = ordinary();

    (void)state;
    assert_true(X509_sign(certificate, key, EVP_sha1()) > 0);
    const struct certificate_facts *facts = facts_of(certificate);
    X509_free(certificate);
    assert_string_equal(facts->signature_digest, "sha1");
    assert_true(facts->self_signed);
    certificate_facts_unref(facts);
}

/* ---- names ---- */

static void test_cover(void **state)
{
    static const struct {
        const char *name;
        bool covered;
    } cases[] = {
        {"shop.example", true},
        {"SHOP.example.", true},
        {"shop.exampl", false},
        {"a.wild.example", true},
        {"a.b.wild.example", false},
        {"wild.example", false},
        {".wild.example", false},
        {"*.wild.example", false},
        {"xn--bcher-kva.wild.example", true},
        {"fabc.part.example", false},
        {"a.com", false},
        {"a.b.example", false},
        {"192.0.2.1", true},
        {"192.0.2.2", false},
        {"2001:db8::1", true},
        {"2001:0db8:0:0::1", true},
        {"2001:db8::2", false},
        {"192.0.2.9", false},
        {"", false},
        {".", false},
        {"common.example", false},
    };
    X509 *certificate = crafted_new(&(struct crafted){
        .key = key,
        .common_name = "common.example",
        .alternative_names = "DNS:Shop.Example,DNS:*.wild.example,DNS:f*c.part.example,DNS:*.com,"
                             "DNS:*.*.example,IP:192.0.2.1,IP:2001:db8::1,DNS:192.0.2.9"});
    const struct certificate_facts *facts = facts_of(certificate);

    (void)state;
    X509_free(certificate);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(certificate_facts_cover(facts, cases[i].name), cases[i].covered);
    certificate_facts_unref(facts);
}

/* ---- the same again ---- */

static void test_cached(void **state)
{
    X509 *certificate = ordinary();
    const struct certificate_facts *first = facts_of(certificate), *second = facts_of(certificate);

    (void)state;
    assert_ptr_equal(first, second);
    X509_free(certificate);
    certificate_facts_unref(first);
    certificate_facts_unref(second);
}

/* Strangers' certificates push others out, and nothing that is still held goes with them. */
static void test_cache_overflows(void **state)
{
    X509 *first = ordinary();
    const struct certificate_facts *held = facts_of(first);

    (void)state;
    X509_free(first);
    for (int i = 0; i < 3000; i++) {
        X509 *certificate = ordinary();
        certificate_facts_unref(facts_of(certificate));
        X509_free(certificate);
    }
    assert_string_equal(held->common_name, "edge.test");
    certificate_facts_unref(held);
}

/* ---- files ---- */

static size_t read_written(const struct certificate_facts **list, const void *content, size_t size,
                           const char *password, struct error *error)
{
    char path[] = "/tmp/facts-XXXXXX";
    int file = mkstemp(path);
    size_t count = 0;

    assert_true(file >= 0);
    assert_int_equal(write(file, content, size), (ssize_t)size);
    close(file);
    if (certificate_facts_read(list, 4, &count, path, password, error) != 0)
        count = 0;
    unlink(path);
    return count;
}

static void test_files(void **state)
{
    const struct certificate_facts *list[4];
    struct error error;
    X509 *certificate = ordinary();
    char *pem = pem_of_certificate(certificate), *key_pem = pem_of_key(key), *all = NULL;
    unsigned char *der = NULL, *store = NULL;
    int size = i2d_X509(certificate, &der);
    PKCS12 *pkcs12 = PKCS12_create("secret", "name", key, certificate, NULL, 0, 0, 0, 0, 0);

    (void)state;
    assert_true(asprintf(&all, "%s%s%s", pem, key_pem, pem) > 0);
    assert_int_equal(read_written(list, all, strlen(all), NULL, &error), 2);
    assert_ptr_equal(list[0], list[1]);
    certificate_facts_unref(list[0]);
    certificate_facts_unref(list[1]);
    assert_int_equal(read_written(list, der, (size_t)size, NULL, &error), 1);
    certificate_facts_unref(list[0]);
    int store_size = i2d_PKCS12(pkcs12, &store);
    assert_int_equal(read_written(list, store, (size_t)store_size, "secret", &error), 1);
    certificate_facts_unref(list[0]);
    assert_int_equal(read_written(list, store, (size_t)store_size, "wrong", &error), 0);
    assert_non_null(strstr(error.message, "give its password"));
    assert_int_equal(read_written(list, key_pem, strlen(key_pem), NULL, &error), 0);
    assert_non_null(strstr(error.message, "no certificate in it"));
    assert_int_equal(read_written(list, "", 0, NULL, &error), 0);
    assert_int_equal(read_written(list, pem, strlen(pem) - 30, NULL, &error), 0);
    PKCS12_free(pkcs12);
    OPENSSL_free(der);
    OPENSSL_free(store);
    free(all);
    free(pem);
    free(key_pem);
    X509_free(certificate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_zero_in_name),
        cmocka_unit_test(test_control_characters_in_subject),
        cmocka_unit_test(test_many_names),
        cmocka_unit_test(test_serials),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_malformed_extensions),
        cmocka_unit_test(test_extension_with_more_behind),
        cmocka_unit_test(test_extension_twice),
        cmocka_unit_test(test_unknown_critical),
        cmocka_unit_test(test_unknown_policy_qualifier),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_signature_by_old_digest),
        cmocka_unit_test(test_cover),
        cmocka_unit_test(test_cached),
        cmocka_unit_test(test_cache_overflows),
        cmocka_unit_test(test_files),
    };

    issued_init();
    key = EVP_EC_gen("P-256");
    int failures = cmocka_run_group_tests_name("certificate_facts", tests, NULL, NULL);
    EVP_PKEY_free(key);
    issued_fini();
    return failures;
}
