/* The checks on chains, certificates, names and dates: each finding once, and none where all is
 * well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/x509v3.h>

#include "../tls/issued.h"
#include "tls/certificate.h"
#include "watch/checks/check.h"

#define DAY 86400L

enum { ROOT, OTHER, MIDDLE, LEAF, KEY_COUNT };
static EVP_PKEY *keys[KEY_COUNT];
static X509 *root, *other_root, *middle;
static struct chain_store *store, *other_store;
static int64_t now;

/* ---- certificates and endpoints ---- */

static X509 *authority(int key, const char *name, X509 *issuer, int issuer_key, long until_s)
{
    return crafted_new(&(struct crafted){.key = keys[key],
                                         .issuer = issuer,
                                         .issuer_key = issuer != NULL ? keys[issuer_key] : NULL,
                                         .common_name = name,
                                         .alternative_names = "",
                                         .constraints = "critical,CA:true",
                                         .usage = "critical,keyCertSign,cRLSign",
                                         .key_ids = true,
                                         .from_s = -100 * DAY,
                                         .until_s = until_s});
}

/* A leaf in which nothing is wrong but what is asked for. */
static X509 *leaf_with(struct crafted crafted)
{
    crafted.key = crafted.key != NULL ? crafted.key : keys[LEAF];
    crafted.issuer = crafted.issuer != NULL ? crafted.issuer : middle;
    crafted.issuer_key = crafted.issuer_key != NULL ? crafted.issuer_key : keys[MIDDLE];
    crafted.common_name = crafted.common_name != NULL ? crafted.common_name : "shop.test";
    if (crafted.alternative_names == NULL)
        crafted.alternative_names = "DNS:shop.test,DNS:*.shop.test";
    crafted.usage = crafted.usage != NULL ? crafted.usage : "critical,digitalSignature";
    crafted.extended_usage = crafted.extended_usage != NULL ? crafted.extended_usage : "serverAuth";
    crafted.key_ids = true;
    crafted.from_s = crafted.from_s != 0 ? crafted.from_s : -10 * DAY;
    crafted.until_s = crafted.until_s != 0 ? crafted.until_s : 80 * DAY;
    return crafted_new(&crafted);
}

static struct chain_store *store_named(const char *name, X509 *anchor)
{
    char path[] = "/tmp/checks-store-XXXXXX", *pem = pem_of_certificate(anchor);
    struct chain_store *made = NULL;
    struct error error;
    int file = mkstemp(path);

    assert_int_equal(write(file, pem, strlen(pem)), (ssize_t)strlen(pem));
    close(file);
    assert_int_equal(chain_store_new(&made, name, path, &error), 0);
    unlink(path);
    free(pem);
    return made;
}

#define STORES(...) ((struct chain_store *const[]){__VA_ARGS__, NULL})
#define SENT(...)   ((X509 *const[]){__VA_ARGS__, NULL})

/* As watch/judge.c does it, at `policy->at`, then the checks. */
static struct endpoint *checked(struct chain_store *const *stores, X509 *const *sent,
                                const struct check_policy *policy)
{
    struct endpoint *endpoint = calloc(1, sizeof *endpoint);

    assert_non_null(endpoint);
    strcpy(endpoint->name, "shop.test");
    for (; sent[endpoint->seen.chain_count] != NULL; endpoint->seen.chain_count++)
        endpoint->seen.chain[endpoint->seen.chain_count] =
            facts_of(sent[endpoint->seen.chain_count]);
    for (; stores[endpoint->trust_count] != NULL; endpoint->trust_count++) {
        struct endpoint_trust *trust = &endpoint->trust[endpoint->trust_count];
        const struct chain_question question = {.served = endpoint->seen.chain,
                                                .count = endpoint->seen.chain_count,
                                                .name = endpoint->name,
                                                .at = policy->at};
        trust->store = stores[endpoint->trust_count];
        chain_judge(trust->store, &question, &trust->verdict);
    }
    endpoint->needed_count = endpoint->trust[0].verdict.paths[0].count;
    memcpy(endpoint->needed, endpoint->trust[0].verdict.paths[0].certificates,
           endpoint->needed_count * sizeof *endpoint->needed);
    check_names(endpoint, policy, &endpoint->findings);
    check_dates(endpoint, policy, &endpoint->findings);
    check_chain_trust(endpoint, policy, &endpoint->findings);
    check_chain_shape(endpoint, policy, &endpoint->findings);
    check_certificates(endpoint, policy, &endpoint->findings);
    check_shared_keys(endpoint, policy, &endpoint->findings);
    check_pins(endpoint, policy, &endpoint->findings);
    return endpoint;
}

static void drop(struct endpoint *endpoint)
{
    for (size_t i = 0; i < endpoint->seen.chain_count; i++)
        certificate_facts_unref(endpoint->seen.chain[i]);
    for (size_t i = 0; i < endpoint->trust_count; i++)
        chain_verdict_fini(&endpoint->trust[i].verdict);
    free(endpoint);
}

/* Exactly these findings, "id=severity" each, in their order. */
static void expect(struct endpoint *endpoint, const char *expected)
{
    char found[1024] = "";

    for (size_t i = 0; i < endpoint->findings.count; i++) {
        const struct finding *finding = &endpoint->findings.items[i];
        size_t used = strlen(found);
        ignore(snprintf(found + used, sizeof found - used, "%s%s=%s", i > 0 ? " " : "", finding->id,
                        severity_name(finding->severity)));
        assert_true(finding->text[0] != '\0' && finding->next != NULL);
    }
    assert_string_equal(found, expected);
    drop(endpoint);
}

static void expect_leaf(struct crafted crafted, const char *expected)
{
    X509 *leaf = leaf_with(crafted);

    expect(checked(STORES(store), SENT(leaf, middle), &(struct check_policy){.at = now}), expected);
    X509_free(leaf);
}

#define LEAF_WITH(...)                                                                             \
    (struct crafted)                                                                               \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static int setup(void **state)
{
    (void)state;
    root = authority(ROOT, "Root", NULL, 0, 1000 * DAY);
    other_root = authority(OTHER, "Other Root", NULL, 0, 5 * DAY);
    middle = authority(MIDDLE, "Middle", root, ROOT, 500 * DAY);
    store = store_named("ours", root);
    other_store = store_named("theirs", other_root);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    X509_free(root);
    X509_free(other_root);
    X509_free(middle);
    chain_store_unref(store);
    chain_store_unref(other_store);
    return 0;
}

/* ---- all is well ---- */

static void test_nothing_to_say(void **state)
{
    (void)state;
    expect_leaf(LEAF_WITH(.key = NULL), "");
    /* RFC 9525: no common name, as Let's Encrypt's newer profiles have it. */
    expect_leaf(LEAF_WITH(.common_name = "", .alternative_names = "critical,DNS:shop.test"), "");
    expect_leaf(LEAF_WITH(.common_name = ""), "chain-strict=warning");
}

static void test_nothing_seen(void **state)
{
    X509 *const nothing[] = {NULL};
    struct chain_store *const nobody[] = {NULL};

    (void)state;
    expect(checked(nobody, nothing, &(struct check_policy){.at = now}), "");
}

/* ---- trust ---- */

static void test_trust(void **state)
{
    X509 *leaf = leaf_with(LEAF_WITH(.key = NULL));
    X509 *alone = leaf_with(LEAF_WITH(.issuer_key = keys[LEAF]));
    const struct check_policy policy = {.at = now};

    (void)state;
    expect(checked(STORES(store), SENT(leaf), &policy), "chain-incomplete=critical");
    expect(checked(STORES(other_store), SENT(leaf, middle, root), &policy),
           "chain-untrusted=critical");
    expect(checked(STORES(store, other_store), SENT(leaf, middle), &policy),
           "chain-incomplete=critical chain-stores-differ=info");
    expect(checked(STORES(store), SENT(alone, middle), &policy), "chain-signature=critical");
    X509_free(leaf);
    X509_free(alone);
}

static void test_one_finding_for_stores_that_agree(void **state)
{
    X509 *leaf = leaf_with(LEAF_WITH(.key = NULL));
    struct chain_store *third = store_named("mine", other_root);
    struct endpoint *endpoint =
        checked(STORES(other_store, third), SENT(leaf, middle), &(struct check_policy){.at = now});

    (void)state;
    assert_non_null(strstr(endpoint->findings.items[0].text, "theirs, mine"));
    expect(endpoint, "chain-incomplete=critical");
    chain_store_unref(third);
    X509_free(leaf);
}

static void test_browsers_hide_it(void **state)
{
    X509 *leaf = leaf_with(LEAF_WITH(.key = NULL));
    const struct check_policy policy = {.at = now};
    struct endpoint *endpoint = checked(STORES(store), SENT(leaf), &policy);

    (void)state;
    endpoint->findings.count = 0;
    endpoint->revocation.fetched[endpoint->revocation.fetched_count++] = facts_of(middle);
    check_chain_trust(endpoint, &policy, &endpoint->findings);
    certificate_facts_unref(endpoint->revocation.fetched[0]);
    endpoint->revocation.fetched_count = 0;
    expect(endpoint, "chain-incomplete=critical chain-browsers-only=info");
    X509_free(leaf);
}

static void test_expired_intermediate_is_named(void **state)
{
    X509 *old = authority(MIDDLE, "Middle", root, ROOT, -DAY);
    X509 *leaf = leaf_with(LEAF_WITH(.key = NULL));
    struct endpoint *endpoint =
        checked(STORES(store), SENT(leaf, old), &(struct check_policy){.at = now});
    const struct certificate_facts *facts = facts_of(old);
    char hex[65];

    (void)state;
    for (int i = 0; i < 32; i++)
        sprintf(hex + 2 * i, "%02x", facts->sha256[i]);
    assert_string_equal(endpoint->findings.items[0].certificate, hex);
    assert_true(endpoint->findings.items[0].hard);
    assert_non_null(strstr(endpoint->findings.items[0].text, "certificate 2"));
    expect(endpoint, "chain-expired=critical");
    certificate_facts_unref(facts);
    X509_free(old);
    X509_free(leaf);
}

/* 2021-09-30 seen from before: the old store's end is told early, the modern one's is the leaf's.
 */
static void test_breaks_before_the_leaf(void **state)
{
    X509 *cross = authority(ROOT, "Root", other_root, OTHER, 900 * DAY);
    X509 *leaf = leaf_with(LEAF_WITH(.key = NULL));
    struct endpoint *endpoint = checked(STORES(store, other_store), SENT(leaf, middle, cross),
                                        &(struct check_policy){.at = now});
    const struct finding *finding = &endpoint->findings.items[0];

    (void)state;
    assert_non_null(strstr(finding->text, "theirs"));
    assert_non_null(strstr(finding->text, "Other Root"));
    assert_string_equal(finding->evidence, "now trusted, +1 d trusted, +7 d expired, +14 d "
                                           "expired, +30 d expired");
    expect(endpoint, "chain-breaks=critical");
    expect(checked(STORES(store, other_store), SENT(leaf, middle, cross),
                   &(struct check_policy){.at = now + 6 * DAY}),
           "chain-expired=critical chain-stores-differ=info");
    X509_free(cross);
    X509_free(leaf);
}

static void test_to_the_letter(void **state)
{
    X509 *careless = crafted_new(&(struct crafted){.key = keys[MIDDLE],
                                                   .issuer = root,
                                                   .issuer_key = keys[ROOT],
                                                   .common_name = "Middle",
                                                   .alternative_names = "",
                                                   .constraints = "CA:true",
                                                   .usage = "critical,keyCertSign",
                                                   .key_ids = true,
                                                   .from_s = -DAY,
                                                   .until_s = 500 * DAY});
    X509 *leaf = leaf_with(LEAF_WITH(.issuer = careless));

    (void)state;
    expect(checked(STORES(store), SENT(leaf, careless), &(struct check_policy){.at = now}),
           "chain-strict=warning constraints-not-critical=warning");
    X509_free(careless);
    X509_free(leaf);
}

/* ---- shape ---- */

static void test_shape(void **state)
{
    X509 *leaf = leaf_with(LEAF_WITH(.key = NULL));
    X509 *below = authority(OTHER, "Below", middle, MIDDLE, 400 * DAY);
    X509 *deep = leaf_with(LEAF_WITH(.issuer = below, .issuer_key = keys[OTHER]));
    X509 *old = authority(OTHER, "Old", NULL, 0, -DAY);
    const struct check_policy policy = {.at = now};

    (void)state;
    expect(checked(STORES(store), SENT(leaf, middle, root), &policy), "chain-root-sent=info");
    expect(checked(STORES(store), SENT(leaf, middle, middle), &policy), "chain-duplicate=info");
    expect(checked(STORES(store), SENT(leaf, middle, below), &policy), "chain-superfluous=info");
    expect(checked(STORES(store), SENT(leaf, middle, old), &policy),
           "chain-superfluous-expired=warning");
    expect(checked(STORES(store), SENT(deep, middle, below), &policy), "chain-order=warning");
    expect(checked(STORES(store), SENT(deep, below, middle), &policy), "");
    struct endpoint *endpoint = checked(STORES(store), SENT(middle, leaf), &policy);
    bool told = false;
    for (size_t i = 0; i < endpoint->findings.count; i++)
        told = told || strcmp(endpoint->findings.items[i].id, "chain-leaf-not-first") == 0;
    assert_true(told);
    drop(endpoint);
    X509_free(leaf);
    X509_free(below);
    X509_free(deep);
    X509_free(old);
}

/* ---- names ---- */

static void test_names(void **state)
{
    (void)state;
    expect_leaf(LEAF_WITH(.common_name = "a.test", .alternative_names = "DNS:a.test"),
                "name-mismatch=critical");
    expect_leaf(LEAF_WITH(.alternative_names = "DNS:a.test"),
                "name-mismatch=critical common-name-not-covered=info");
    expect_leaf(LEAF_WITH(.alternative_names = ""), "names-missing=critical");
    expect_leaf(LEAF_WITH(.alternative_names = "DNS:shop.test,DNS:a*.shop.test"),
                "names-wildcard=warning");
    expect_leaf(LEAF_WITH(.alternative_names = "DNS:shop.test,DNS:*.test"),
                "names-wildcard=warning");
    expect_leaf(LEAF_WITH(.alternative_names = "DNS:shop.test,DNS:a b.test"),
                "names-malformed=warning");
    expect_leaf(LEAF_WITH(.alternative_names = "DNS:shop.test,DNS:a_b.test"),
                "names-malformed=warning");
}

static void test_near_misses(void **state)
{
    static const struct {
        const char *names, *evidence;
    } cases[] = {
        {"DNS:*.shop.test", "a wildcard does not cover the domain itself"},
        {"DNS:other.test", "it stands in the common name, which no client looks at any more"},
    };

    (void)state;
    for (int i = 0; i < 2; i++) {
        X509 *leaf = leaf_with(LEAF_WITH(.common_name = i == 0 ? "*.shop.test" : "shop.test",
                                         .alternative_names = cases[i].names));
        struct endpoint *endpoint =
            checked(STORES(store), SENT(leaf, middle), &(struct check_policy){.at = now});
        assert_string_equal(endpoint->findings.items[0].evidence, cases[i].evidence);
        expect(endpoint, i == 0 ? "name-mismatch=critical"
                                : "name-mismatch=critical common-name-not-covered=info");
        X509_free(leaf);
    }
}

/* ---- dates ---- */

static void test_dates(void **state)
{
    (void)state;
    expect_leaf(LEAF_WITH(.until_s = -DAY), "certificate-expired=critical");
    expect_leaf(LEAF_WITH(.from_s = DAY), "certificate-not-yet-valid=critical");
    /* 90 days: a third is 30, a fiftieth of grace 1.8, a tenth would be 9 but a week is the most.
     */
    expect_leaf(LEAF_WITH(.from_s = -61 * DAY, .until_s = 29 * DAY), "");
    expect_leaf(LEAF_WITH(.from_s = -62 * DAY, .until_s = 28 * DAY), "renewal-overdue=warning");
    expect_leaf(LEAF_WITH(.from_s = -84 * DAY, .until_s = 6 * DAY),
                "certificate-expires-soon=critical");
    /* Six days: half of it, and never "about to expire" from its first day on. */
    expect_leaf(LEAF_WITH(.from_s = -2 * DAY, .until_s = 4 * DAY), "");
    expect_leaf(LEAF_WITH(.from_s = -4 * DAY, .until_s = 2 * DAY), "renewal-overdue=warning");
    expect_leaf(LEAF_WITH(.from_s = -6 * DAY + 3600, .until_s = 3600),
                "certificate-expires-soon=critical");
}

static void test_thresholds_of_the_user(void **state)
{
    X509 *leaf = leaf_with(LEAF_WITH(.from_s = -50 * DAY, .until_s = 50 * DAY));
    struct check_policy policy = {.at = now, .warning.seconds = 30 * DAY};

    (void)state;
    expect(checked(STORES(store), SENT(leaf, middle), &policy), "");
    policy.warning.seconds = 60 * DAY;
    expect(checked(STORES(store), SENT(leaf, middle), &policy), "certificate-expires-soon=warning");
    policy.warning = (struct threshold){.share = 0.6};
    expect(checked(STORES(store), SENT(leaf, middle), &policy), "certificate-expires-soon=warning");
    policy.critical = (struct threshold){.share = 0.55};
    expect(checked(STORES(store), SENT(leaf, middle), &policy),
           "certificate-expires-soon=critical");
    X509_free(leaf);
}

static void test_window_of_the_authority(void **state)
{
    X509 *leaf = leaf_with(LEAF_WITH(.from_s = -50 * DAY, .until_s = 50 * DAY));
    const struct check_policy policy = {.at = now};
    struct endpoint *endpoint = checked(STORES(store), SENT(leaf, middle), &policy);

    (void)state;
    endpoint->revocation.renewal =
        (struct endpoint_renewal){.known = true, .start = now - 3 * DAY, .end = now - DAY};
    check_dates(endpoint, &policy, &endpoint->findings);
    expect(endpoint, "renewal-overdue=warning");
    X509_free(leaf);
}

/* ---- what certificates say of themselves ---- */

static void test_keys(void **state)
{
    EVP_PKEY *odd = EVP_RSA_gen(2052), *curve = EVP_EC_gen("secp256k1"),
             *edwards = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), *small = EVP_EC_gen("P-192");

    (void)state;
    expect_leaf(LEAF_WITH(.key = odd), "key-odd-size=warning");
    expect_leaf(LEAF_WITH(.key = curve), "key-curve=warning");
    expect_leaf(LEAF_WITH(.key = edwards), "key-kind=warning");
    expect_leaf(LEAF_WITH(.key = small), "chain-signature=critical key-small=critical");
    EVP_PKEY_free(odd);
    EVP_PKEY_free(curve);
    EVP_PKEY_free(edwards);
    EVP_PKEY_free(small);
}

static void test_signatures(void **state)
{
    (void)state;
    expect_leaf(LEAF_WITH(.digest = EVP_sha1()),
                "chain-signature=critical signature-weak=critical");
    expect_leaf(LEAF_WITH(.digest = EVP_sha224()), "signature-weak=warning");
}

static void test_usage(void **state)
{
    (void)state;
    expect_leaf(LEAF_WITH(.usage = "critical,keyAgreement"), "usage-key=critical");
    expect_leaf(LEAF_WITH(.usage = "critical,digitalSignature,keyEncipherment"), "usage-key=info");
    expect_leaf(LEAF_WITH(.extended_usage = ""), "usage-extended-missing=critical");
    expect_leaf(LEAF_WITH(.extended_usage = "serverAuth,codeSigning"),
                "usage-extended-odd=critical");
    expect_leaf(LEAF_WITH(.extended_usage = "clientAuth"),
                "chain-purpose=critical usage-extended-wrong=critical");
    expect_leaf(LEAF_WITH(.constraints = "critical,CA:true",
                          .usage = "critical,digitalSignature,keyCertSign"),
                "usage-leaf-is-authority=critical");
}

static void test_form(void **state)
{
    (void)state;
    expect_leaf(LEAF_WITH(.serial = "0"), "serial-zero=warning");
    expect_leaf(LEAF_WITH(.serial = "-5"), "serial-negative=critical");
    expect_leaf(LEAF_WITH(.serial = "0xffffffffffffffffffffffffffffffffffffffff"),
                "serial-long=critical");
    expect_leaf(LEAF_WITH(.name_constraints = "permitted;DNS:test"), "extension-misplaced=warning");
}

static void test_lifetime(void **state)
{
    (void)state;
    expect_leaf(LEAF_WITH(.from_s = -400 * DAY, .until_s = 424 * DAY), "");
    expect_leaf(LEAF_WITH(.from_s = -400 * DAY, .until_s = 426 * DAY), "lifetime-long=warning");
}

static void test_shared_key_and_pins(void **state)
{
    X509 *leaf = leaf_with(LEAF_WITH(.key = keys[MIDDLE]));
    struct check_policy policy = {.at = now, .pin_count = 1};
    const struct certificate_facts *anchor = facts_of(root);

    (void)state;
    expect(checked(STORES(store), SENT(leaf, middle), &policy),
           "key-shared=warning pin-mismatch=critical");
    memcpy(policy.pins[0], anchor->public_key_sha256, 32);
    expect(checked(STORES(store), SENT(leaf, middle), &policy), "key-shared=warning");
    certificate_facts_unref(anchor);
    /* RFC 7469 §2.6: of the chain as it was validated; anybody can send a certificate along. */
    anchor = facts_of(other_root);
    memcpy(policy.pins[0], anchor->public_key_sha256, 32);
    expect(checked(STORES(store), SENT(leaf, middle, other_root), &policy),
           "chain-root-sent=info key-shared=warning pin-mismatch=critical");
    certificate_facts_unref(anchor);
    /* Where no store knows a path, those who have signed. */
    anchor = facts_of(middle);
    memcpy(policy.pins[0], anchor->public_key_sha256, 32);
    struct endpoint *endpoint = checked(STORES(other_store), SENT(leaf, root, middle), &policy);
    for (size_t i = 0; i < endpoint->findings.count; i++)
        assert_string_not_equal(endpoint->findings.items[i].id, "pin-mismatch");
    drop(endpoint);
    certificate_facts_unref(anchor);
    X509_free(leaf);
}

/* A chain that gives rise to more findings than are kept does not hide the one that counts. */
static void test_the_worst_is_kept(void **state)
{
    X509 *leaf = leaf_with(LEAF_WITH()), *sent[CHAIN_SERVED_MAX + 1] = {leaf};
    const struct check_policy policy = {.at = now, .pin_count = 1};

    (void)state;
    for (size_t i = 1; i < CHAIN_SERVED_MAX; i++)
        sent[i] = middle;
    struct endpoint *endpoint = checked(STORES(store), sent, &policy);
    assert_true(endpoint->findings.dropped > 0);
    assert_int_equal(endpoint->findings.count, FINDINGS_MAX);
    assert_int_equal(findings_worst(&endpoint->findings), SEVERITY_CRITICAL); /* pin-mismatch */
    drop(endpoint);
    X509_free(leaf);
}

static void expect_one(const struct endpoint *endpoint, const char *name)
{
    assert_int_equal(endpoint->findings.count, 1);
    assert_string_equal(endpoint->findings.items[0].id, "key-type-lacks-name");
    assert_non_null(strstr(endpoint->findings.items[0].text, name));
}

/* Twenty thousand names in each certificate are compared in no time, the last one, too. */
static void test_many_names_of_two_key_types(void **state)
{
    enum { MANY = CERTIFICATE_FACTS_NAMES_MAX };
    static char texts[MANY + 1][48];
    static struct alternative_name first[MANY], second[MANY];
    static struct certificate_facts facts[2];
    struct endpoint *endpoints[2];
    clock_t began = clock();

    (void)state;
    for (size_t i = 0; i <= MANY; i++)
        snprintf(texts[i], sizeof texts[i], "host-%05zu.department.shop.test", i);
    for (size_t i = 0; i < MANY; i++) {
        first[i] = (struct alternative_name){ALTERNATIVE_NAME_DNS, false, texts[i + 1]};
        second[i] = (struct alternative_name){ALTERNATIVE_NAME_DNS, false, texts[MANY - 1 - i]};
    }
    for (size_t i = 0; i < 2; i++) {
        facts[i] = (struct certificate_facts){.names = i == 0 ? first : second,
                                              .name_count = MANY,
                                              .references = 1,
                                              .sha256 = {(uint8_t)i}};
        endpoints[i] = calloc(1, sizeof *endpoints[i]);
        endpoints[i]->outcome = ENDPOINT_SEEN;
        endpoints[i]->key_type = i == 0 ? KEY_TYPE_ECDSA : KEY_TYPE_RSA;
        endpoints[i]->seen.chain[0] = &facts[i];
        endpoints[i]->seen.chain_count = 1;
    }
    check_consistency(endpoints, 2);
    expect_one(endpoints[0], "host-00000.department.shop.test");
    expect_one(endpoints[1], "host-20000.department.shop.test");
    assert_true(clock() - began < CLOCKS_PER_SEC);
    free(endpoints[0]);
    free(endpoints[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_say),
        cmocka_unit_test(test_nothing_seen),
        cmocka_unit_test(test_trust),
        cmocka_unit_test(test_one_finding_for_stores_that_agree),
        cmocka_unit_test(test_browsers_hide_it),
        cmocka_unit_test(test_expired_intermediate_is_named),
        cmocka_unit_test(test_breaks_before_the_leaf),
        cmocka_unit_test(test_to_the_letter),
        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_near_misses),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_thresholds_of_the_user),
        cmocka_unit_test(test_window_of_the_authority),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_lifetime),
        cmocka_unit_test(test_shared_key_and_pins),
        cmocka_unit_test(test_the_worst_is_kept),
        cmocka_unit_test(test_many_names_of_two_key_types),
    };

    issued_init();
    now = time(NULL);
    for (int i = 0; i < KEY_COUNT; i++)
        keys[i] = EVP_EC_gen("P-256");
    int failures = cmocka_run_group_tests_name("checks_certificates", tests, setup, teardown);
    for (int i = 0; i < KEY_COUNT; i++)
        EVP_PKEY_free(keys[i]);
    issued_fini();
    return failures;
}
