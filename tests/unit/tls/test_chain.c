#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "issued.h"
#include "tls/chain.h"

#define DAY 86400

/* ---- a world of certificates ---- */

enum { ROOT, OLD_ROOT, MIDDLE, SECOND, LEAF, KEY_COUNT };
static EVP_PKEY *keys[KEY_COUNT];
static int64_t now;

static X509 *authority(int key, const char *name, X509 *issuer, int issuer_key, long from_s,
                       long until_s)
{
    return crafted_new(&(struct crafted){.key = keys[key],
                                         .issuer = issuer,
                                         .issuer_key = issuer != NULL ? keys[issuer_key] : NULL,
                                         .common_name = name,
                                         .alternative_names = "",
                                         .constraints = "critical,CA:true",
                                         .usage = "critical,keyCertSign,cRLSign",
                                         .key_ids = true,
                                         .from_s = from_s,
                                         .until_s = until_s});
}

static X509 *end_entity(X509 *issuer, int issuer_key, long until_s)
{
    return crafted_new(&(struct crafted){.key = keys[LEAF],
                                         .issuer = issuer,
                                         .issuer_key = keys[issuer_key],
                                         .common_name = "shop.test",
                                         .alternative_names = "DNS:shop.test",
                                         .usage = "critical,digitalSignature",
                                         .extended_usage = "serverAuth",
                                         .key_ids = true,
                                         .from_s = -DAY,
                                         .until_s = until_s});
}

static struct chain_store *store_of(X509 *first, X509 *second)
{
    char path[] = "/tmp/chain-store-XXXXXX";
    int file = mkstemp(path);
    struct chain_store *store = NULL;
    struct error error;
    X509 *const anchors[] = {first, second};

    for (int i = 0; i < 2; i++) {
        char *pem = anchors[i] != NULL ? pem_of_certificate(anchors[i]) : strdup("");
        assert_int_equal(write(file, pem, strlen(pem)), (ssize_t)strlen(pem));
        free(pem);
    }
    close(file);
    assert_int_equal(chain_store_new(&store, "test", path, &error), 0);
    unlink(path);
    return store;
}

#define SERVED_MAX 8

/* Judges at `at` seconds from now; the list ends with NULL. */
static struct chain_verdict judged(struct chain_store *store, const char *name, int64_t at,
                                   X509 *const *certificates)
{
    const struct certificate_facts *served[SERVED_MAX];
    struct chain_question question = {.served = served, .name = name, .at = now + at};
    struct chain_verdict verdict;

    while (certificates[question.count] != NULL) {
        served[question.count] = facts_of(certificates[question.count]);
        question.count++;
    }
    chain_judge(store, &question, &verdict);
    for (size_t i = 0; i < question.count; i++)
        certificate_facts_unref(served[i]);
    return verdict;
}

#define SERVED(...) ((X509 *const[]){__VA_ARGS__, NULL})

static void expect(struct chain_verdict verdict, enum chain_outcome outcome, int at)
{
    assert_string_equal(chain_outcome_name(verdict.outcome), chain_outcome_name(outcome));
    assert_int_equal(verdict.at, at);
    assert_int_equal(verdict.path_count > 0, outcome == CHAIN_TRUSTED || outcome == CHAIN_NAME);
    assert_int_equal(verdict.breaks_at != 0, verdict.path_count > 0);
    chain_verdict_fini(&verdict);
}

/* Most tests: leaf <- middle <- root. */
struct world {
    X509 *root, *old_root, *middle, *leaf;
    struct chain_store *store;
};

static int world_setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);

    world->root = authority(ROOT, "Root", NULL, 0, -100 * DAY, 1000 * DAY);
    world->old_root = authority(OLD_ROOT, "Old Root", NULL, 0, -3000 * DAY, 5 * DAY);
    world->middle = authority(MIDDLE, "Middle", world->root, ROOT, -50 * DAY, 500 * DAY);
    world->leaf = end_entity(world->middle, MIDDLE, 90 * DAY);
    world->store = store_of(world->root, NULL);
    *state = world;
    return 0;
}

static int world_teardown(void **state)
{
    struct world *world = *state;

    X509_free(world->root);
    X509_free(world->old_root);
    X509_free(world->middle);
    X509_free(world->leaf);
    chain_store_unref(world->store);
    free(world);
    return 0;
}

/* ---- what cannot be trusted ---- */

static void test_nothing_sent(void **state)
{
    struct world *world = *state;

    expect(judged(world->store, NULL, 0, (X509 *const[]){NULL}), CHAIN_MALFORMED, -1);
}

static void test_incomplete(void **state)
{
    struct world *world = *state;

    expect(judged(world->store, "shop.test", 0, SERVED(world->leaf)), CHAIN_INCOMPLETE, 0);
    expect(judged(world->store, "shop.test", 0, SERVED(world->leaf, world->old_root)),
           CHAIN_INCOMPLETE, 0);
}

static void test_untrusted_root(void **state)
{
    struct world *world = *state;
    struct chain_store *other = store_of(world->old_root, NULL);

    expect(judged(other, NULL, 0, SERVED(world->leaf, world->middle, world->root)), CHAIN_UNTRUSTED,
           2);
    expect(judged(other, NULL, 0, SERVED(world->leaf, world->middle)), CHAIN_INCOMPLETE, 1);
    chain_store_unref(other);
}

static void test_self_signed(void **state)
{
    struct world *world = *state;
    X509 *alone = crafted_new(&(struct crafted){.key = keys[LEAF]});
    struct chain_store *own = store_of(alone, NULL);

    expect(judged(world->store, NULL, 0, SERVED(alone)), CHAIN_SELF_SIGNED, 0);
    expect(judged(own, "edge.test", 0, SERVED(alone)), CHAIN_TRUSTED, -1);
    expect(judged(own, "other.test", 0, SERVED(alone)), CHAIN_NAME, 0);
    chain_store_unref(own);
    X509_free(alone);
}

static void test_dates(void **state)
{
    struct world *world = *state;
    X509 *const *chain = SERVED(world->leaf, world->middle);

    expect(judged(world->store, NULL, 91 * DAY, chain), CHAIN_EXPIRED, 0);
    expect(judged(world->store, NULL, -2 * DAY, chain), CHAIN_NOT_YET_VALID, 0);
    expect(judged(world->store, NULL, 0, chain), CHAIN_TRUSTED, -1);
}

static void test_expired_intermediate(void **state)
{
    struct world *world = *state;
    X509 *old = authority(SECOND, "Expired", world->root, ROOT, -50 * DAY, -DAY);
    X509 *leaf = end_entity(old, SECOND, 90 * DAY);

    expect(judged(world->store, NULL, 0, SERVED(leaf, old)), CHAIN_EXPIRED, 1);
    X509_free(old);
    X509_free(leaf);
}

static void test_last_second(void **state)
{
    struct world *world = *state;
    X509 *const *chain = SERVED(world->leaf, world->middle);
    const struct certificate_facts *leaf = facts_of(world->leaf);
    struct chain_verdict verdict = judged(world->store, NULL, 0, chain);

    assert_int_equal(verdict.breaks_at, leaf->not_after);
    expect(judged(world->store, NULL, leaf->not_after - now - 1, chain), CHAIN_TRUSTED, -1);
    expect(judged(world->store, NULL, leaf->not_after - now, chain), CHAIN_EXPIRED, 0);
    chain_verdict_fini(&verdict);
    certificate_facts_unref(leaf);
}

static void test_wrong_signature(void **state)
{
    struct world *world = *state;
    X509 *forged = end_entity(world->middle, SECOND, 90 * DAY);

    expect(judged(world->store, NULL, 0, SERVED(forged, world->middle)), CHAIN_SIGNATURE, 0);
    X509_free(forged);
}

/* A key whose exponent is beyond what Go's clients accept; its signatures are as good as none. */
static void test_exponent_of_an_authority(void **state)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    BIGNUM *exponent = BN_new();
    EVP_PKEY *key = NULL;
    struct crafted crafted = {.common_name = "Large",
                              .constraints = "critical,CA:true",
                              .usage = "critical,keyCertSign",
                              .key_ids = true,
                              .from_s = -DAY,
                              .until_s = 100 * DAY};

    (void)state;
    assert_int_equal(BN_set_word(exponent, 4294967311), 1); /* a prime */
    assert_int_equal(EVP_PKEY_keygen_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(context, 2048), 1);
    assert_int_equal(EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context, exponent), 1);
    assert_int_equal(EVP_PKEY_generate(context, &key), 1);
    crafted.key = key;
    X509 *large = crafted_new(&crafted);
    X509 *leaf = crafted_new(&(struct crafted){.key = keys[LEAF],
                                               .issuer = large,
                                               .issuer_key = key,
                                               .common_name = "shop.test",
                                               .alternative_names = "DNS:shop.test",
                                               .key_ids = true,
                                               .from_s = -DAY,
                                               .until_s = 90 * DAY});
    struct chain_store *store = store_of(large, NULL);
    assert_int_equal(X509_verify(leaf, key), 1);
    expect(judged(store, "shop.test", 0, SERVED(leaf)), CHAIN_SIGNATURE, 0);
    chain_store_unref(store);
    X509_free(leaf);
    X509_free(large);
    EVP_PKEY_free(key);
    BN_free(exponent);
    EVP_PKEY_CTX_free(context);
}

static void test_issuer_is_no_authority(void **state)
{
    struct world *world = *state;
    X509 *leaf = crafted_new(&(struct crafted){.key = keys[SECOND],
                                               .issuer = world->leaf,
                                               .issuer_key = keys[LEAF],
                                               .common_name = "below.test",
                                               .extended_usage = "serverAuth"});

    expect(judged(world->store, NULL, 0, SERVED(leaf, world->leaf, world->middle)),
           CHAIN_CONSTRAINTS, 1);
    X509_free(leaf);
}

/* OpenSSL alone takes both for CAs. */
static void test_authority_by_usage_or_version_alone(void **state)
{
    struct world *world = *state;
    struct crafted crafted = {.key = keys[SECOND],
                              .issuer = world->root,
                              .issuer_key = keys[ROOT],
                              .common_name = "Second",
                              .alternative_names = "",
                              .usage = "critical,keyCertSign"};

    for (int version = 1; version <= 3; version += 2) {
        crafted.version = version;
        crafted.usage = version == 1 ? "" : "critical,keyCertSign";
        X509 *second = crafted_new(&crafted), *leaf = end_entity(second, SECOND, 90 * DAY);
        expect(judged(world->store, NULL, 0, SERVED(leaf, second)), CHAIN_CONSTRAINTS, 1);
        X509_free(second);
        X509_free(leaf);
    }
}

/* leaf <- second (as described) <- root; what comes of it. */
static void expect_authority(struct world *world, const struct crafted *changes,
                             const struct crafted *leaf_changes, enum chain_outcome outcome, int at)
{
    struct crafted second = *changes, leaf = *leaf_changes;

    second.key = keys[SECOND];
    second.issuer = world->root;
    second.issuer_key = second.issuer_key != NULL ? second.issuer_key : keys[ROOT];
    second.common_name = "Second";
    second.alternative_names = "";
    second.constraints = second.constraints != NULL ? second.constraints : "critical,CA:true";
    second.usage = "critical,keyCertSign,cRLSign";
    second.key_ids = true;
    X509 *issuer = crafted_new(&second);
    leaf.key = leaf.key != NULL ? leaf.key : keys[LEAF];
    leaf.issuer = issuer;
    leaf.issuer_key = keys[SECOND];
    leaf.alternative_names = "DNS:shop.test";
    leaf.extended_usage = leaf.extended_usage != NULL ? leaf.extended_usage : "serverAuth";
    leaf.key_ids = true;
    X509 *certificate = crafted_new(&leaf);
    expect(judged(world->store, "shop.test", 0, SERVED(certificate, issuer)), outcome, at);
    X509_free(issuer);
    X509_free(certificate);
}

static void test_rules_of_the_path(void **state)
{
    struct world *world = *state;
    const struct crafted none = {.key = NULL};
    EVP_PKEY *small = EVP_RSA_gen(1024);

    expect_authority(world, &none, &none, CHAIN_TRUSTED, -1);
    expect_authority(world, &(struct crafted){.extended_usage = "clientAuth"}, &none, CHAIN_PURPOSE,
                     1);
    expect_authority(world, &(struct crafted){.extended_usage = "msSGC"}, &none, CHAIN_PURPOSE, 1);
    expect_authority(world, &none, &(struct crafted){.extended_usage = "clientAuth"}, CHAIN_PURPOSE,
                     0);
    expect_authority(world, &none, &(struct crafted){.extended_usage = "anyExtendedKeyUsage"},
                     CHAIN_PURPOSE, 0);
    expect_authority(world, &(struct crafted){.name_constraints = "permitted;DNS:other.test"},
                     &none, CHAIN_NAME_CONSTRAINTS, 0);
    expect_authority(world, &(struct crafted){.name_constraints = "permitted;DNS:test"}, &none,
                     CHAIN_TRUSTED, -1);
    expect_authority(world, &(struct crafted){.digest = EVP_sha1()}, &none, CHAIN_SIGNATURE, 1);
    expect_authority(world, &none, &(struct crafted){.digest = EVP_sha1()}, CHAIN_SIGNATURE, 0);
    expect_authority(world, &none, &(struct crafted){.key = small}, CHAIN_SIGNATURE, 0);
    expect_authority(world, &(struct crafted){.policy_constraints = "requireExplicitPolicy:0"},
                     &none, CHAIN_POLICY, 0);
    EVP_PKEY_free(small);
}

/* RFC 5937: what an anchor says of policies holds below it; OpenSSL alone does not look. */
static void test_policies_of_the_anchor(void **state)
{
    static const struct {
        const char *constraints, *policies;
        enum chain_outcome outcome;
    } cases[] = {{"requireExplicitPolicy:1", NULL, CHAIN_POLICY},
                 {"requireExplicitPolicy:5", NULL, CHAIN_TRUSTED},
                 {"requireExplicitPolicy:0", "1.2.3.4", CHAIN_POLICY},
                 {NULL, "1.2.3.4", CHAIN_TRUSTED}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        X509 *root = crafted_new(&(struct crafted){.key = keys[ROOT],
                                                   .common_name = "Root with policies",
                                                   .alternative_names = "",
                                                   .constraints = "critical,CA:true",
                                                   .usage = "critical,keyCertSign",
                                                   .policy_constraints = cases[i].constraints,
                                                   .policies = cases[i].policies,
                                                   .from_s = -DAY,
                                                   .until_s = 100 * DAY});
        X509 *leaf = end_entity(root, ROOT, 90 * DAY);
        struct chain_store *store = store_of(root, NULL);
        expect(judged(store, NULL, 0, SERVED(leaf)), cases[i].outcome,
               cases[i].outcome == CHAIN_TRUSTED ? -1 : 0);
        chain_store_unref(store);
        X509_free(root);
        X509_free(leaf);
    }
}

static enum chain_outcome demanding(struct chain_store *store, X509 *leaf,
                                    const struct chain_policies *policies)
{
    const struct certificate_facts *served[] = {facts_of(leaf)};
    const struct chain_question question = {
        .served = served, .count = 1, .policies = policies, .at = now};
    struct chain_verdict verdict;

    chain_judge(store, &question, &verdict);
    enum chain_outcome outcome = verdict.outcome;
    chain_verdict_fini(&verdict);
    certificate_facts_unref(served[0]);
    return outcome;
}

/* RFC 5280 §6.1.1 (c), (d): the same path is judged anew for whoever asks for something else. */
static void test_policies_that_are_asked_for(void **state)
{
    struct world *world = *state;
    X509 *leaf = crafted_new(&(struct crafted){.key = keys[LEAF],
                                               .issuer = world->root,
                                               .issuer_key = keys[ROOT],
                                               .common_name = "shop.test",
                                               .extended_usage = "serverAuth",
                                               .policies = "1.2.3.4"});
    X509 *plain = end_entity(world->root, ROOT, 90 * DAY);
    struct chain_store *of_leaf = store_of(leaf, NULL), *of_plain = store_of(plain, NULL);
    const struct chain_policies held = {{"1.2.3.4"}, 1, .required = true},
                                other = {{"1.2.3.5"}, 1, .required = true},
                                either = {{"1.2.3.5", "1.2.3.4"}, 2, .required = true},
                                optional = {.accepted = {"1.2.3.5"}, .count = 1},
                                any = {.required = true};

    for (int round = 0; round < 2; round++) { /* the second one from memory */
        assert_int_equal(demanding(world->store, leaf, &held), CHAIN_TRUSTED);
        assert_int_equal(demanding(world->store, leaf, &other), CHAIN_POLICY);
        assert_int_equal(demanding(world->store, leaf, &either), CHAIN_TRUSTED);
        assert_int_equal(demanding(world->store, leaf, &optional), CHAIN_TRUSTED);
        assert_int_equal(demanding(world->store, leaf, &any), CHAIN_TRUSTED);
        assert_int_equal(demanding(world->store, plain, &any), CHAIN_POLICY);
        assert_int_equal(demanding(world->store, plain, NULL), CHAIN_TRUSTED);
    }
    /* Also of a certificate that is trusted by itself. */
    assert_int_equal(demanding(of_leaf, leaf, &held), CHAIN_TRUSTED);
    assert_int_equal(demanding(of_leaf, leaf, &other), CHAIN_POLICY);
    assert_int_equal(demanding(of_plain, plain, &any), CHAIN_POLICY);
    assert_int_equal(demanding(of_plain, plain, NULL), CHAIN_TRUSTED);
    chain_store_unref(of_leaf);
    chain_store_unref(of_plain);
    X509_free(leaf);
    X509_free(plain);
}

static void test_path_length(void **state)
{
    struct world *world = *state;
    X509 *short_one = crafted_new(&(struct crafted){.key = keys[SECOND],
                                                    .issuer = world->root,
                                                    .issuer_key = keys[ROOT],
                                                    .common_name = "Second",
                                                    .alternative_names = "",
                                                    .constraints = "critical,CA:true,pathlen:0",
                                                    .usage = "critical,keyCertSign"});
    X509 *below = authority(MIDDLE, "Below", short_one, SECOND, -DAY, 100 * DAY);
    X509 *leaf = end_entity(below, MIDDLE, 90 * DAY);

    expect(judged(world->store, NULL, 0, SERVED(leaf, below, short_one)), CHAIN_CONSTRAINTS, 2);
    X509_free(short_one);
    X509_free(below);
    X509_free(leaf);
}

static void test_name(void **state)
{
    struct world *world = *state;
    X509 *const *chain = SERVED(world->leaf, world->middle);

    expect(judged(world->store, "other.test", 0, chain), CHAIN_NAME, 0);
    expect(judged(world->store, "192.0.2.1", 0, chain), CHAIN_NAME, 0);
    expect(judged(world->store, "shop.test", 0, chain), CHAIN_TRUSTED, -1);
}

/* ---- paths ---- */

static void test_any_order_and_superfluous(void **state)
{
    struct world *world = *state;

    expect(judged(world->store, "shop.test", 0,
                  SERVED(world->leaf, world->old_root, world->root, world->middle, world->leaf)),
           CHAIN_TRUSTED, -1);
}

static void test_intermediate_as_anchor(void **state)
{
    struct world *world = *state;
    struct chain_store *store = store_of(world->middle, NULL);

    expect(judged(store, "shop.test", 0, SERVED(world->leaf)), CHAIN_TRUSTED, -1);
    chain_store_unref(store);
}

/* 2021-09-30: leaf <- R3 <- ISRG Root X1 (cross-signed by DST Root CA X3, which ends). */
static void test_expired_cross_sign(void **state)
{
    struct world *world = *state;
    X509 *cross = authority(ROOT, "Root", world->old_root, OLD_ROOT, -90 * DAY, 900 * DAY);
    X509 *const *chain = SERVED(world->leaf, world->middle, cross);
    struct chain_store *old = store_of(world->old_root, NULL), *modern = world->store,
                       *both = store_of(world->old_root, world->root),
                       *lasting = store_of(world->old_root, NULL);
    const struct certificate_facts *end = facts_of(world->old_root);

    chain_store_ignore_ends(lasting);
    struct chain_verdict verdict = judged(old, NULL, 0, chain);
    assert_int_equal(verdict.outcome, CHAIN_TRUSTED);
    assert_int_equal(verdict.breaks_at, end->not_after);
    chain_verdict_fini(&verdict);
    expect(judged(old, NULL, 6 * DAY, chain), CHAIN_EXPIRED, -1);
    expect(judged(old, NULL, 6 * DAY, SERVED(world->leaf, world->middle, cross, world->old_root)),
           CHAIN_EXPIRED, 3);
    expect(judged(modern, NULL, 6 * DAY, chain), CHAIN_TRUSTED, -1);
    expect(judged(both, NULL, 6 * DAY, chain), CHAIN_TRUSTED, -1);
    expect(judged(lasting, NULL, 6 * DAY, chain), CHAIN_TRUSTED, -1);

    /* Two paths now, the longer-living one first; the end is the leaf's. */
    verdict = judged(both, NULL, 0, chain);
    assert_int_equal(verdict.path_count, 2);
    assert_int_equal(verdict.paths[0].count, 3);
    assert_int_equal(verdict.paths[1].count, 4);
    assert_int_equal(verdict.paths[1].not_after, end->not_after);
    assert_true(verdict.breaks_at > end->not_after);
    chain_verdict_fini(&verdict);
    certificate_facts_unref(end);
    chain_store_unref(old);
    chain_store_unref(both);
    chain_store_unref(lasting);
    X509_free(cross);
}

/* AddTrust 2020: a cross-sign that has expired is still sent; who has the new root is not hurt. */
static void test_expired_extra(void **state)
{
    struct world *world = *state;
    X509 *cross = authority(ROOT, "Root", world->old_root, OLD_ROOT, -2000 * DAY, -DAY);
    struct chain_store *old = store_of(world->old_root, NULL);

    expect(
        judged(world->store, NULL, 0, SERVED(world->leaf, world->middle, cross, world->old_root)),
        CHAIN_TRUSTED, -1);
    expect(judged(old, NULL, 0, SERVED(world->leaf, world->middle, cross, world->old_root)),
           CHAIN_EXPIRED, 2);
    chain_store_unref(old);
    X509_free(cross);
}

/* Let's Encrypt's generation Y: leaf <- YE1 <- Root YE <- X2 <- X1; a store with X1 alone needs
 * three extra certificates. */
static void test_long_chain_of_cross_signs(void **state)
{
    struct world *world = *state;
    X509 *x2 = authority(SECOND, "X2", world->root, ROOT, -DAY, 800 * DAY);
    X509 *root_ye = authority(OLD_ROOT, "Root YE", x2, SECOND, -DAY, 700 * DAY);
    X509 *ye1 = authority(MIDDLE, "YE1", root_ye, OLD_ROOT, -DAY, 600 * DAY);
    X509 *leaf = end_entity(ye1, MIDDLE, 64 * DAY);
    struct chain_store *modern = store_of(x2, NULL);

    expect(judged(world->store, NULL, 0, SERVED(leaf, ye1, root_ye, x2)), CHAIN_TRUSTED, -1);
    expect(judged(world->store, NULL, 0, SERVED(leaf, ye1, root_ye)), CHAIN_INCOMPLETE, 2);
    expect(judged(world->store, NULL, 0, SERVED(leaf, ye1, x2)), CHAIN_INCOMPLETE, 1);
    expect(judged(modern, NULL, 0, SERVED(leaf, ye1, root_ye)), CHAIN_TRUSTED, -1);
    X509_free(x2);
    X509_free(root_ye);
    X509_free(ye1);
    X509_free(leaf);
    chain_store_unref(modern);
}

/* One path ends before the next begins, or just overlaps with it. */
static void test_breaks_at_of_several_paths(void **state)
{
    struct world *world = *state;
    X509 *early = authority(MIDDLE, "Middle", world->root, ROOT, -50 * DAY, 10 * DAY);
    X509 *late = authority(MIDDLE, "Middle", world->root, ROOT, 9 * DAY, 30 * DAY);
    X509 *later = authority(MIDDLE, "Middle", world->root, ROOT, 12 * DAY, 60 * DAY);
    struct {
        X509 *next;
        X509 *end;
    } cases[] = {{late, late}, {later, early}};

    for (int i = 0; i < 2; i++) {
        struct chain_verdict verdict =
            judged(world->store, NULL, 0, SERVED(world->leaf, early, cases[i].next));
        const struct certificate_facts *end = facts_of(cases[i].end);
        assert_int_equal(verdict.outcome, CHAIN_TRUSTED);
        assert_int_equal(verdict.path_count, 1);
        assert_int_equal(verdict.breaks_at, end->not_after);
        chain_verdict_fini(&verdict);
        expect(judged(world->store, NULL, end->not_after - 1 - now,
                      SERVED(world->leaf, early, cases[i].next)),
               CHAIN_TRUSTED, -1);
        expect(judged(world->store, NULL, end->not_after - now,
                      SERVED(world->leaf, early, cases[i].next)),
               i == 0 ? CHAIN_EXPIRED : CHAIN_NOT_YET_VALID, 2);
        certificate_facts_unref(end);
    }
    X509_free(early);
    X509_free(late);
    X509_free(later);
}

/* A and B have signed each other. */
static void test_loop(void **state)
{
    struct world *world = *state;
    X509 *a = authority(MIDDLE, "A", NULL, 0, -DAY, 100 * DAY);
    X509 *b = authority(SECOND, "B", NULL, 0, -DAY, 100 * DAY);
    X509 *a_by_b = authority(MIDDLE, "A", b, SECOND, -DAY, 100 * DAY);
    X509 *b_by_a = authority(SECOND, "B", a, MIDDLE, -DAY, 100 * DAY);
    X509 *leaf = end_entity(a, MIDDLE, 90 * DAY);

    expect(judged(world->store, NULL, 0, SERVED(leaf, a_by_b, b_by_a)), CHAIN_INCOMPLETE, 2);
    X509_free(a);
    X509_free(b);
    X509_free(a_by_b);
    X509_free(b_by_a);
    X509_free(leaf);
}

/* Everybody has signed everybody, many times over: the work ends, and soon. */
static void test_blow_up(void **state)
{
    struct world *world = *state;
    const struct certificate_facts *served[CHAIN_SERVED_MAX];
    struct chain_question question = {.served = served, .at = now};
    struct chain_verdict verdict;
    X509 *first = authority(MIDDLE, "Same", NULL, 0, -DAY, 100 * DAY);
    X509 *leaf = end_entity(first, MIDDLE, 90 * DAY);

    served[question.count++] = facts_of(leaf);
    for (; question.count < CHAIN_SERVED_MAX; question.count++) {
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *same = crafted_new(&(struct crafted){.key = key,
                                                   .issuer = first,
                                                   .issuer_key = keys[MIDDLE],
                                                   .common_name = "Same",
                                                   .alternative_names = "",
                                                   .constraints = "critical,CA:true",
                                                   .usage = "critical,keyCertSign"});
        served[question.count] = facts_of(same);
        X509_free(same);
        EVP_PKEY_free(key);
    }
    chain_judge(world->store, &question, &verdict);
    assert_int_equal(verdict.path_count, 0);
    chain_verdict_fini(&verdict);
    for (size_t i = 0; i < question.count; i++)
        certificate_facts_unref(served[i]);
    X509_free(first);
    X509_free(leaf);
}

/* ---- stores ---- */

static void test_stores_that_cannot_be_read(void **state)
{
    struct chain_store *store = NULL;
    struct error error;

    (void)state;
    assert_true(chain_store_new(&store, "none", "/nonexistent/store.pem", &error) < 0);
    assert_int_equal(error.code, ERROR_IO);
    assert_true(chain_store_new(&store, "folder", "/tmp", &error) < 0);
    assert_true(chain_store_new(&store, "text", "/etc/hostname", &error) < 0);
    assert_int_equal(error.code, ERROR_CERTIFICATE_UNPARSABLE);
    assert_null(store);
}

/* SSL_CERT_FILE is the system's store, whose roots count as those of a public programme. */
static void test_public(void **state)
{
    struct world *world = *state;
    struct chain_store *system = NULL;
    struct error error;
    char path[] = "/tmp/chain-system-XXXXXX", *pem = pem_of_certificate(world->root);
    const struct certificate_facts *root = facts_of(world->root), *old = facts_of(world->old_root);
    int file = mkstemp(path);

    assert_int_equal(write(file, pem, strlen(pem)), (ssize_t)strlen(pem));
    close(file);
    assert_int_equal(setenv("SSL_CERT_FILE", path, 1), 0);
    assert_int_equal(chain_store_new(&system, "system", NULL, &error), 0);
    assert_true(chain_store_public(system, root));
    assert_true(chain_store_public(world->store, root));
    assert_false(chain_store_public(system, old));
    expect(judged(system, NULL, 0, SERVED(world->leaf, world->middle)), CHAIN_TRUSTED, -1);
    chain_store_unref(system);
    certificate_facts_unref(root);
    certificate_facts_unref(old);
    unlink(path);
    free(pem);
}

/* ---- who verifies to the letter ---- */

static void test_strict(void **state)
{
    struct world *world = *state;
    X509 *careless = crafted_new(&(struct crafted){.key = keys[SECOND],
                                                   .issuer = world->root,
                                                   .issuer_key = keys[ROOT],
                                                   .common_name = "Careless",
                                                   .alternative_names = "",
                                                   .constraints = "CA:true",
                                                   .key_ids = true});
    X509 *leaf = end_entity(careless, SECOND, 90 * DAY);
    struct chain_verdict verdict = judged(world->store, NULL, 0, SERVED(leaf, careless));

    assert_int_equal(verdict.outcome, CHAIN_TRUSTED);
    assert_int_not_equal(verdict.strict_code, 0);
    assert_int_equal(verdict.strict_at, 1);
    chain_verdict_fini(&verdict);
    verdict = judged(world->store, NULL, 0, SERVED(world->leaf, world->middle));
    assert_int_equal(verdict.strict_code, 0);
    assert_int_equal(verdict.strict_at, -1);
    chain_verdict_fini(&verdict);
    X509_free(careless);
    X509_free(leaf);
}

static void test_issuer(void **state)
{
    struct world *world = *state;
    const struct certificate_facts *pool[] = {facts_of(world->old_root), facts_of(world->middle),
                                              facts_of(world->root)};
    const struct certificate_facts *leaf = facts_of(world->leaf);

    assert_ptr_equal(chain_issuer(leaf, pool, 3), pool[1]);
    assert_ptr_equal(chain_issuer(pool[2], pool, 3), pool[2]);
    assert_null(chain_issuer(leaf, pool, 1));
    certificate_facts_unref(leaf);
    for (int i = 0; i < 3; i++)
        certificate_facts_unref(pool[i]);
}

/* OpenSSL 3.0 loses a few bytes where a certificate has policy constraints and no policies; this
 * and nothing else is to be overlooked, for which whole stacks are needed. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0";
}
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:X509_policy_check\n";
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_sent),
        cmocka_unit_test(test_incomplete),
        cmocka_unit_test(test_untrusted_root),
        cmocka_unit_test(test_self_signed),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_expired_intermediate),
        cmocka_unit_test(test_last_second),
        cmocka_unit_test(test_wrong_signature),
        cmocka_unit_test(test_exponent_of_an_authority),
        cmocka_unit_test(test_issuer_is_no_authority),
        cmocka_unit_test(test_authority_by_usage_or_version_alone),
        cmocka_unit_test(test_rules_of_the_path),
        cmocka_unit_test(test_policies_of_the_anchor),
        cmocka_unit_test(test_policies_that_are_asked_for),
        cmocka_unit_test(test_path_length),
        cmocka_unit_test(test_name),
        cmocka_unit_test(test_any_order_and_superfluous),
        cmocka_unit_test(test_intermediate_as_anchor),
        cmocka_unit_test(test_expired_cross_sign),
        cmocka_unit_test(test_expired_extra),
        cmocka_unit_test(test_long_chain_of_cross_signs),
        cmocka_unit_test(test_breaks_at_of_several_paths),
        cmocka_unit_test(test_loop),
        cmocka_unit_test(test_blow_up),
        cmocka_unit_test(test_stores_that_cannot_be_read),
        cmocka_unit_test(test_public),
        cmocka_unit_test(test_strict),
        cmocka_unit_test(test_issuer),
    };

    issued_init();
    now = time(NULL);
    for (int i = 0; i < KEY_COUNT; i++)
        keys[i] = EVP_EC_gen("P-256");
    int failures = cmocka_run_group_tests_name("chain", tests, world_setup, world_teardown);
    for (int i = 0; i < KEY_COUNT; i++)
        EVP_PKEY_free(keys[i]);
    issued_fini();
    return failures;
}
