/* One finding after the other, each on a certificate that has exactly this defect. */
#include "tls/certificate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "issued.h"

#define LEAF_USAGE          "critical,digitalSignature"
#define LEAF_EXTENDED_USAGE "serverAuth"

static const char *const edge_name[] = {"edge.test"};

/* A small hierarchy: root, intermediate, and keys for leaves. */
static EVP_PKEY *root_key, *intermediate_key, *leaf_key, *rsa_key;
static X509 *root, *intermediate;
static char trust_file[] = "/tmp/holdfast-trust-XXXXXX";

static X509 *leaf_with(struct crafted crafted)
{
    if (crafted.key == NULL)
        crafted.key = leaf_key;
    if (crafted.issuer == NULL) {
        crafted.issuer = intermediate;
        crafted.issuer_key = intermediate_key;
    }
    if (crafted.usage == NULL)
        crafted.usage = LEAF_USAGE;
    if (crafted.extended_usage == NULL)
        crafted.extended_usage = LEAF_EXTENDED_USAGE;
    return crafted_new(&crafted);
}

static struct preflight_policy policy(void)
{
    return (struct preflight_policy){.names = edge_name,
                                     .name_count = 1,
                                     .require_chain = true,
                                     .trust_file = trust_file,
                                     .now = time(NULL)};
}

/* Exactly this finding, refused without force and accepted with it. Takes the pair. */
static void expect_policy(struct keypair *pair, struct preflight_policy policy,
                          enum error_code code, const char *text)
{
    struct preflight_report report;
    struct error error = {0};
    int result = keypair_preflight(pair, &policy, &report, &error);

    for (size_t i = 0; i < report.count &&
                       (report.count != (code != ERROR_NONE) || report.findings[i].code != code);
         i++)
        print_message("%s: %s\n", error_name(report.findings[i].code), report.findings[i].text);
    assert_int_equal(result, -(int)code);
    if (code == ERROR_NONE) {
        assert_int_equal(report.count, 0);
        keypair_unref(pair);
        return;
    }
    assert_int_equal(report.count, 1);
    assert_int_equal(report.findings[0].code, code);
    assert_false(report.findings[0].forced);
    assert_non_null(strstr(report.findings[0].text, text));
    assert_string_equal(error.message, report.findings[0].text);
    policy.forced = UINT64_C(1) << (code - ERROR_CERTIFICATE_UNPARSABLE);
    assert_int_equal(keypair_preflight(pair, &policy, &report, &error), 0);
    assert_int_equal(report.count, 1);
    assert_true(report.findings[0].forced);
    policy.forced = ~policy.forced;
    assert_int_equal(keypair_preflight(pair, &policy, &report, &error), -(int)code);
    keypair_unref(pair);
}

/* Takes the leaf. */
static void expect(X509 *leaf, X509 *second, X509 *third, EVP_PKEY *key, enum error_code code,
                   const char *text)
{
    expect_policy(pair_of(leaf, second, third, key), policy(), code, text);
    X509_free(leaf);
}

static void finds_leaf_not_first(void **state)
{
    X509 *leaf = leaf_with((struct crafted){0});

    (void)state;
    expect_policy(pair_of(intermediate, leaf, NULL, leaf_key), policy(),
                  ERROR_CERTIFICATE_LEAF_NOT_FIRST, "place 2");
    expect_policy(pair_of(root, intermediate, leaf, leaf_key), policy(),
                  ERROR_CERTIFICATE_LEAF_NOT_FIRST, "place 3");
    expect_policy(pair_of(intermediate, leaf, NULL, rsa_key), policy(),
                  ERROR_CERTIFICATE_LEAF_NOT_FIRST, "place 2");
    X509_free(leaf);
}

static void finds_key_mismatch(void **state)
{
    (void)state;
    expect(leaf_with((struct crafted){0}), intermediate, NULL, rsa_key,
           ERROR_CERTIFICATE_KEY_MISMATCH, "does not belong");
    EVP_PKEY *other = EVP_EC_gen("P-256");
    expect(leaf_with((struct crafted){0}), intermediate, NULL, other,
           ERROR_CERTIFICATE_KEY_MISMATCH, "does not belong");
    EVP_PKEY_free(other);
}

static void finds_missing_names(void **state)
{
    static const char *const names[] = {"edge.test", "www.edge.test", "10.1.1.1"};
    struct preflight_policy wide = policy();
    X509 *leaf = leaf_with((struct crafted){0});

    (void)state;
    wide.names = names;
    wide.name_count = 2;
    expect_policy(pair_of(leaf, intermediate, NULL, leaf_key), wide, ERROR_CERTIFICATE_NAME_MISSING,
                  "www.edge.test");
    wide.name_count = 3;
    expect_policy(pair_of(leaf, intermediate, NULL, leaf_key), wide, ERROR_CERTIFICATE_NAME_MISSING,
                  "and 1 more");
    X509_free(leaf);
}

static void finds_times(void **state)
{
    X509 *old_intermediate = crafted_new(&(struct crafted){.key = intermediate_key,
                                                           .issuer = root,
                                                           .issuer_key = root_key,
                                                           .common_name = "Old intermediate",
                                                           .alternative_names = "",
                                                           .constraints = "critical,CA:TRUE",
                                                           .from_s = -7200,
                                                           .until_s = -60});

    (void)state;
    expect(leaf_with((struct crafted){.from_s = 600, .until_s = 7200}), intermediate, NULL,
           leaf_key, ERROR_CERTIFICATE_NOT_YET_VALID, "not valid before");
    expect(leaf_with((struct crafted){.from_s = -7200, .until_s = -60}), intermediate, NULL,
           leaf_key, ERROR_CERTIFICATE_EXPIRED, "CN=edge.test has expired");
    expect(leaf_with((struct crafted){.issuer = old_intermediate, .issuer_key = intermediate_key}),
           old_intermediate, NULL, leaf_key, ERROR_CERTIFICATE_EXPIRED,
           "CN=Old intermediate has expired");
    X509_free(old_intermediate);
}

static void finds_older_than_live(void **state)
{
    X509 *live_leaf = leaf_with((struct crafted){.until_s = 7200});
    X509 *older = leaf_with((struct crafted){.until_s = 7100});
    X509 *of_rsa = leaf_with((struct crafted){.key = rsa_key, .until_s = 7100});
    struct keypair *live = pair_of(live_leaf, intermediate, NULL, leaf_key);
    struct preflight_policy with_live = policy();

    (void)state;
    with_live.live = live;
    expect_policy(pair_of(older, intermediate, NULL, leaf_key), with_live,
                  ERROR_CERTIFICATE_OLDER_THAN_LIVE, "before the one");
    expect_policy(pair_of(of_rsa, intermediate, NULL, rsa_key), with_live, ERROR_NONE, "");
    expect_policy(keypair_ref(live), with_live, ERROR_NONE, "");
    keypair_unref(live);
    X509_free(live_leaf);
    X509_free(older);
    X509_free(of_rsa);
}

static void finds_broken_chains(void **state)
{
    /* The same name, another key: only the signature tells. */
    X509 *impostor = crafted_new(&(struct crafted){.key = leaf_key,
                                                   .issuer = root,
                                                   .issuer_key = root_key,
                                                   .common_name = "Test intermediate",
                                                   .alternative_names = "",
                                                   .constraints = "critical,CA:TRUE"});

    (void)state;
    expect(leaf_with((struct crafted){0}), root, NULL, leaf_key, ERROR_CERTIFICATE_CHAIN_BROKEN,
           "certificate 1");
    expect(leaf_with((struct crafted){0}), intermediate, intermediate, leaf_key,
           ERROR_CERTIFICATE_CHAIN_BROKEN, "certificate 2");
    expect(leaf_with((struct crafted){.key = rsa_key}), impostor, NULL, rsa_key,
           ERROR_CERTIFICATE_CHAIN_BROKEN, "not signed");
    X509_free(impostor);
}

static void finds_leaf_only(void **state)
{
    struct preflight_policy lenient = policy(), lost = policy();
    X509 *leaf = leaf_with((struct crafted){0});
    struct preflight_report report;
    struct error error;

    (void)state;
    expect(leaf_with((struct crafted){0}), NULL, NULL, leaf_key, ERROR_CERTIFICATE_LEAF_ONLY,
           "Test intermediate");
    lenient.require_chain = false;
    expect_policy(pair_of(leaf, NULL, NULL, leaf_key), lenient, ERROR_NONE, "");
    /* Its issuer is a trust anchor, or it is its own. */
    expect(leaf_with((struct crafted){.issuer = root, .issuer_key = root_key}), NULL, NULL,
           leaf_key, ERROR_NONE, "");
    expect(crafted_new(&(struct crafted){.key = leaf_key}), NULL, NULL, leaf_key, ERROR_NONE, "");
    /* A trust file that cannot be read is no finding about the certificate. */
    lost.trust_file = "/nonexistent/trust.pem";
    struct keypair *pair = pair_of(leaf, NULL, NULL, leaf_key);
    assert_int_equal(keypair_preflight(pair, &lost, &report, &error), -(int)ERROR_IO);
    keypair_unref(pair);
    X509_free(leaf);
}

static void finds_weak_keys(void **state)
{
    EVP_PKEY *short_rsa = EVP_RSA_gen(1024), *short_ec = EVP_EC_gen("P-224");

    (void)state;
    expect(leaf_with((struct crafted){.key = short_rsa}), intermediate, NULL, short_rsa,
           ERROR_CERTIFICATE_WEAK_KEY, "1024 bits (RSA)");
    expect(leaf_with((struct crafted){.key = short_ec}), intermediate, NULL, short_ec,
           ERROR_CERTIFICATE_WEAK_KEY, "224 bits (EC)");
    EVP_PKEY_free(short_rsa);
    EVP_PKEY_free(short_ec);
}

static void finds_weak_signatures(void **state)
{
    (void)state;
    expect(leaf_with((struct crafted){.digest = EVP_sha1()}), intermediate, NULL, leaf_key,
           ERROR_CERTIFICATE_WEAK_SIGNATURE, "SHA1");
    /* Upon itself it says nothing. */
    expect(crafted_new(&(struct crafted){.key = leaf_key, .digest = EVP_sha1()}), NULL, NULL,
           leaf_key, ERROR_NONE, "");
}

static void finds_wrong_usage(void **state)
{
    (void)state;
    expect(leaf_with((struct crafted){.extended_usage = "clientAuth"}), intermediate, NULL,
           leaf_key, ERROR_CERTIFICATE_WRONG_USAGE, "serverAuth");
    expect(leaf_with((struct crafted){.usage = "keyEncipherment"}), intermediate, NULL, leaf_key,
           ERROR_CERTIFICATE_WRONG_USAGE, "digitalSignature");
    expect(leaf_with((struct crafted){.constraints = "critical,CA:TRUE"}), intermediate, NULL,
           leaf_key, ERROR_CERTIFICATE_WRONG_USAGE, "CA:TRUE");
    expect(leaf_with((struct crafted){.usage = "", .extended_usage = ""}), intermediate, NULL,
           leaf_key, ERROR_NONE, "");
}

static void finds_everything_at_once(void **state)
{
    static const char *const names[] = {"elsewhere.test"};
    X509 *leaf = leaf_with((struct crafted){.from_s = -7200,
                                            .until_s = -60,
                                            .extended_usage = "clientAuth",
                                            .digest = EVP_sha1(),
                                            .key = leaf_key});
    struct keypair *pair = pair_of(leaf, root, NULL, rsa_key);
    struct preflight_policy strict = policy();
    struct preflight_report report;
    struct error error;
    static const enum error_code expected[] = {
        ERROR_CERTIFICATE_KEY_MISMATCH,   ERROR_CERTIFICATE_NAME_MISSING,
        ERROR_CERTIFICATE_EXPIRED,        ERROR_CERTIFICATE_CHAIN_BROKEN,
        ERROR_CERTIFICATE_WEAK_SIGNATURE, ERROR_CERTIFICATE_WRONG_USAGE,
    };

    (void)state;
    strict.names = names;
    strict.forced = UINT64_C(1) << (ERROR_CERTIFICATE_KEY_MISMATCH - ERROR_CERTIFICATE_UNPARSABLE);
    assert_int_equal(keypair_preflight(pair, &strict, &report, &error),
                     -(int)ERROR_CERTIFICATE_NAME_MISSING);
    assert_int_equal(report.count, ARRAY_SIZE(expected));
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
        assert_int_equal(report.findings[i].code, expected[i]);
    keypair_unref(pair);
    X509_free(leaf);
}

static void accepts_what_is_right(void **state)
{
    (void)state;
    expect(leaf_with((struct crafted){0}), intermediate, NULL, leaf_key, ERROR_NONE, "");
    expect(leaf_with((struct crafted){0}), intermediate, root, leaf_key, ERROR_NONE, "");
    expect_policy(keypair_ref(issued_pair(KEY_TYPE_ECDSA)), policy(), ERROR_NONE, "");
    expect_policy(keypair_ref(issued_pair(KEY_TYPE_RSA)), policy(), ERROR_NONE, "");
}

static int setup(void **state)
{
    (void)state;
    issued_init();
    root_key = EVP_EC_gen("P-256");
    intermediate_key = EVP_EC_gen("P-256");
    leaf_key = EVP_EC_gen("P-256");
    rsa_key = EVP_RSA_gen(2048);
    root = crafted_new(&(struct crafted){.key = root_key,
                                         .common_name = "Test root",
                                         .alternative_names = "",
                                         .constraints = "critical,CA:TRUE"});
    intermediate = crafted_new(&(struct crafted){.key = intermediate_key,
                                                 .issuer = root,
                                                 .issuer_key = root_key,
                                                 .common_name = "Test intermediate",
                                                 .alternative_names = "",
                                                 .constraints = "critical,CA:TRUE"});
    char *pem = pem_of_certificate(root);
    int descriptor = mkstemp(trust_file);
    bool written = descriptor >= 0 && write(descriptor, pem, strlen(pem)) == (ssize_t)strlen(pem);
    close(descriptor);
    free(pem);
    return !written;
}

static int teardown(void **state)
{
    (void)state;
    unlink(trust_file);
    X509_free(root);
    X509_free(intermediate);
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(intermediate_key);
    EVP_PKEY_free(leaf_key);
    EVP_PKEY_free(rsa_key);
    issued_fini();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_leaf_not_first),     cmocka_unit_test(finds_key_mismatch),
        cmocka_unit_test(finds_missing_names),      cmocka_unit_test(finds_times),
        cmocka_unit_test(finds_older_than_live),    cmocka_unit_test(finds_broken_chains),
        cmocka_unit_test(finds_leaf_only),          cmocka_unit_test(finds_weak_keys),
        cmocka_unit_test(finds_weak_signatures),    cmocka_unit_test(finds_wrong_usage),
        cmocka_unit_test(finds_everything_at_once), cmocka_unit_test(accepts_what_is_right),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
