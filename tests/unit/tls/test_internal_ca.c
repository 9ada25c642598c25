#include "tls/certificate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "issued.h"

#define DAY_S (24 * 3600)

static X509 *certificate_of(const char *pem)
{
    BIO *input = BIO_new_mem_buf(pem, -1);
    X509 *certificate = PEM_read_bio_X509(input, NULL, NULL, NULL);

    BIO_free(input);
    assert_non_null(certificate);
    return certificate;
}

static void refuses_what_is_no_ca(void **state)
{
    struct internal_ca *ca = NULL;
    struct error error;
    char *other_pem, *other_key;

    (void)state;
    assert_int_equal(internal_ca_load(&ca, "", issued_ca_key_pem(), &error),
                     -(int)ERROR_CERTIFICATE_UNPARSABLE);
    assert_int_equal(internal_ca_load(&ca, issued_ca_pem(), "", &error),
                     -(int)ERROR_CERTIFICATE_KEY_UNPARSABLE);
    assert_int_equal(internal_ca_create(&other_pem, &other_key, &error), 0);
    assert_int_equal(internal_ca_load(&ca, issued_ca_pem(), other_key, &error),
                     -(int)ERROR_CERTIFICATE_KEY_MISMATCH);
    assert_null(ca);
    free(other_pem);
    free(other_key);
    internal_ca_free(NULL);
}

static void refuses_no_names_and_bad_names(void **state)
{
    static const char *const injected[] = {"a.test,DNS:b.test"};
    struct internal_ca *ca;
    struct keypair *pair = NULL;
    struct error error;
    size_t count;

    (void)state;
    assert_int_equal(internal_ca_load(&ca, issued_ca_pem(), issued_ca_key_pem(), &error), 0);
    assert_int_equal(internal_ca_issue(ca, injected, 0, KEY_TYPE_ECDSA, DAY_S, &pair, &error),
                     -(int)ERROR_USAGE);
    /* A name is taken as it is, never as syntax: it ends up as one entry that can match no host. */
    assert_int_equal(internal_ca_issue(ca, injected, 1, KEY_TYPE_ECDSA, DAY_S, &pair, &error), 0);
    assert_false(keypair_covers(pair, "a.test"));
    assert_false(keypair_covers(pair, "b.test"));
    ignore(keypair_names(pair, &count) == NULL);
    assert_int_equal(count, 0);
    keypair_unref(pair);
    internal_ca_free(ca);
}

static void root_is_a_ten_year_ca_that_issues_leaves_only(void **state)
{
    X509 *root = certificate_of(issued_ca_pem());
    int days, seconds;

    (void)state;
    assert_int_equal(X509_self_signed(root, 1), 1);
    assert_int_equal(X509_check_ca(root), 1);
    assert_int_equal(X509_get_pathlen(root), 0);
    assert_int_equal(X509_get_key_usage(root), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
    assert_int_equal(
        ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(root), X509_get0_notAfter(root)), 1);
    assert_int_equal(days, 3650);
    X509_free(root);
}

/* As the strictest client would: chain, purpose, name, time. */
static void leaves_verify(void **state)
{
    X509 *root = certificate_of(issued_ca_pem());
    X509_STORE *store = X509_STORE_new();

    (void)state;
    X509_STORE_add_cert(store, root);
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        size_t size;
        char *pem = keypair_to_pem(issued_pair((enum key_type)type), &size);
        X509 *leaf = certificate_of(pem);
        X509_STORE_CTX *verification = X509_STORE_CTX_new();
        assert_int_equal(X509_STORE_CTX_init(verification, store, leaf, NULL), 1);
        X509_STORE_CTX_set_flags(verification, X509_V_FLAG_X509_STRICT);
        assert_int_equal(X509_STORE_CTX_set_purpose(verification, X509_PURPOSE_SSL_SERVER), 1);
        assert_int_equal(X509_verify_cert(verification), 1);
        assert_int_equal(X509_check_host(leaf, "a.wild.test", 0, 0, NULL), 1);
        assert_int_equal(X509_check_ip_asc(leaf, "127.0.0.1", 0), 1);
        X509_STORE_CTX_free(verification);
        X509_free(leaf);
        free(pem);
    }
    X509_STORE_free(store);
    X509_free(root);
}

static void each_leaf_is_new(void **state)
{
    static const char *const names[] = {"a.test", "::1"};
    struct internal_ca *ca;
    struct keypair *first, *second;
    struct error error;
    int64_t now = time(NULL);

    (void)state;
    assert_int_equal(internal_ca_load(&ca, issued_ca_pem(), issued_ca_key_pem(), &error), 0);
    assert_int_equal(internal_ca_issue(ca, names, 2, KEY_TYPE_ECDSA, 7 * DAY_S, &first, &error), 0);
    assert_int_equal(internal_ca_issue(ca, names, 2, KEY_TYPE_ECDSA, 7 * DAY_S, &second, &error),
                     0);
    assert_string_not_equal(keypair_serial(first), keypair_serial(second));
    assert_memory_not_equal(keypair_fingerprint(first), keypair_fingerprint(second), 32);
    assert_true(keypair_covers(first, "::1"));
    assert_in_range(keypair_not_before(first), (uint64_t)now - 305, (uint64_t)now - 295);
    assert_in_range(keypair_not_after(first), (uint64_t)now + 7 * DAY_S - 5,
                    (uint64_t)now + 7 * DAY_S + 5);
    keypair_unref(first);
    keypair_unref(second);
    internal_ca_free(ca);
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
        cmocka_unit_test(refuses_what_is_no_ca),
        cmocka_unit_test(refuses_no_names_and_bad_names),
        cmocka_unit_test(root_is_a_ten_year_ca_that_issues_leaves_only),
        cmocka_unit_test(leaves_verify),
        cmocka_unit_test(each_leaf_is_new),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
