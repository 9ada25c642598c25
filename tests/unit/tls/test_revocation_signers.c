/* tls/revocation.h: who may sign the lists of a CA besides its certificate's own key. */
#include "tls/revocation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/x509v3.h>

#include "revocation_world.h"

/* A root, a CA below it, a server's certificate of that CA; a second CA below the root, and a root
 * of the same name as the first. `changed` is a key that some certificate of the CA's name has. */
enum who { ROOT, CA, OTHER_CA, NAMESAKE, CHANGED, LEAF, EVERYBODY };

static EVP_PKEY *keys[EVERYBODY];
static X509 *certificates[EVERYBODY]; /* CHANGED: none */
static const struct certificate_facts *facts[EVERYBODY];

#define AUTHORITY .constraints = "critical,CA:TRUE", .usage = "critical,keyCertSign,cRLSign"

static void issue(enum who who, enum who issuer, struct crafted crafted)
{
    crafted.key = keys[who];
    crafted.key_ids = true;
    crafted.issuer = issuer == who ? NULL : certificates[issuer];
    crafted.issuer_key = keys[issuer];
    certificates[who] = crafted_new(&crafted);
    facts[who] = facts_of(certificates[who]);
}

static int set_up(void **state)
{
    (void)state;
    issued_init();
    now = time(NULL);
    for (size_t i = 0; i < EVERYBODY; i++)
        keys[i] = EVP_EC_gen("P-256");
    issue(ROOT, ROOT, (struct crafted){AUTHORITY, .common_name = "Root"});
    issue(NAMESAKE, NAMESAKE, (struct crafted){AUTHORITY, .common_name = "Root"});
    issue(CA, ROOT, (struct crafted){AUTHORITY, .common_name = "CA"});
    issue(OTHER_CA, ROOT, (struct crafted){AUTHORITY, .common_name = "Other CA"});
    issue(LEAF, CA, (struct crafted){.common_name = "leaf", .extended_usage = "serverAuth"});
    ca = certificates[CA]; /* whose lists crl_of() makes */
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < EVERYBODY; i++) {
        certificate_facts_unref(facts[i]);
        X509_free(certificates[i]);
        EVP_PKEY_free(keys[i]);
    }
    issued_fini();
    return 0;
}

/* ---- asking ---- */

#define LISTS_MAX 3

/* About the leaf, with the CA and the root above it, and this certificate at hand (NULL: none). */
static struct crl_answer ask(X509 *other, const struct list *lists, size_t count, bool trusted)
{
    const struct certificate_facts *issuers[] = {facts[CA], facts[ROOT]}, *others[1] = {NULL};
    struct crl_question question = {.certificate = facts[LEAF],
                                    .issuers = issuers,
                                    .issuer_count = trusted ? 2 : 1,
                                    .others = others,
                                    .at = now};
    struct crl *crls[LISTS_MAX];
    struct crl_answer answer;

    if (other != NULL)
        others[question.other_count++] = facts_of(other);
    for (size_t i = 0; i < count; i++)
        crls[i] = crl_of(&lists[i]);
    crl_judge_all(&answer, crls, count, &question);
    /* What is remembered changes nothing. */
    struct crl_answer again;
    crl_judge_all(&again, crls, count, &question);
    assert_int_equal(again.verdict.outcome, answer.verdict.outcome);
    for (size_t i = 0; i < count; i++)
        crl_unref(crls[i]);
    certificate_facts_unref(others[0]);
    return answer;
}

static enum crl_outcome outcome(X509 *other, const struct list *list)
{
    return ask(other, list, 1, true).verdict.outcome;
}

/* A certificate of the changed key; freed by the caller. */
static X509 *changed(enum who issuer, struct crafted crafted)
{
    crafted.key = keys[CHANGED];
    crafted.key_ids = true;
    crafted.issuer = certificates[issuer];
    crafted.issuer_key = keys[issuer];
    return crafted_new(&crafted);
}

#define LISTS_ONLY .common_name = "CA", .usage = "critical,cRLSign"

/* ---- who may not ---- */

static void strangers(void **state)
{
    const struct list list = {.key = keys[CHANGED]};
    const struct {
        const char *why;
        enum who issuer;
        struct crafted crafted;
    } cases[] = {
        {"below another anchor of the same name", NAMESAKE, {LISTS_ONLY}},
        {"a CA below another anchor of the same name", NAMESAKE, {AUTHORITY, .common_name = "CA"}},
        {"below the anchor, by another CA", OTHER_CA, {LISTS_ONLY}},
        {"a CA below the anchor, by another CA", OTHER_CA, {AUTHORITY, .common_name = "CA"}},
        {"another name", CA, {.common_name = "CB", .usage = "critical,cRLSign"}},
        {"no usage at all", CA, {.common_name = "CA"}},
        {"a server of that name", CA, {.common_name = "CA", .usage = "digitalSignature"}},
        {"a CA without cRLSign",
         ROOT,
         {.common_name = "CA", .constraints = "critical,CA:TRUE", .usage = "critical,keyCertSign"}},
        {"ended", ROOT, {LISTS_ONLY, .from_s = -2 * HOUR, .until_s = -HOUR}},
        {"to come", ROOT, {LISTS_ONLY, .from_s = HOUR, .until_s = 2 * HOUR}},
        {"for something else", ROOT, {LISTS_ONLY, .extended_usage = "critical,clientAuth"}},
        {"SHA-1", ROOT, {LISTS_ONLY, .digest = EVP_sha1()}},
    };

    (void)state;
    assert_int_equal(outcome(NULL, &list), CRL_UNTRUSTED);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        X509 *other = changed(cases[i].issuer, cases[i].crafted);
        struct list revoking = {.key = keys[CHANGED], .revoked = certificates[LEAF]};
        if (outcome(other, &list) != CRL_UNTRUSTED || outcome(other, &revoking) != CRL_UNTRUSTED)
            fail_msg("%s", cases[i].why);
        X509_free(other);
    }
    X509 *self =
        crafted_new(&(struct crafted){AUTHORITY, .common_name = "CA", .key = keys[CHANGED]});
    assert_int_equal(outcome(self, &list), CRL_UNTRUSTED);
    X509_free(self);
}

/* One of the right name and issuer does not vouch for a list by somebody else's key. */
static void lists_by_another_key(void **state)
{
    X509 *other = changed(ROOT, (struct crafted){LISTS_ONLY});

    (void)state;
    assert_int_equal(outcome(other, &(struct list){.key = keys[OTHER_CA]}), CRL_UNTRUSTED);
    assert_int_equal(outcome(other, &(struct list){.key = keys[ROOT]}), CRL_UNTRUSTED);
    assert_int_equal(outcome(other, &(struct list){.key = keys[LEAF]}), CRL_UNTRUSTED);
    /* The root signs its own lists with its key, and only those. */
    assert_int_equal(
        outcome(other, &(struct list){.key = keys[CHANGED], .issuer = certificates[ROOT]}),
        CRL_OTHER_ISSUER);
    X509_free(other);
}

static void revoked_signers(void **state)
{
    X509 *by_root = changed(ROOT, (struct crafted){LISTS_ONLY}),
         *by_ca = changed(CA, (struct crafted){LISTS_ONLY});
    const struct list good = {.key = keys[CHANGED]};
    const struct list root_list = {
        .key = keys[ROOT], .issuer = certificates[ROOT], .revoked = by_root};
    const struct list ca_list = {.key = keys[CA], .revoked = by_ca};
    const struct list forged = {
        .key = keys[NAMESAKE], .issuer = certificates[ROOT], .revoked = by_root};

    (void)state;
    struct crl_answer answer = ask(by_root, (const struct list[]){good, root_list}, 2, true);
    assert_int_equal(answer.verdict.outcome, CRL_UNTRUSTED);
    answer = ask(by_root, (const struct list[]){good, forged}, 2, true);
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
    answer = ask(by_ca, (const struct list[]){good, ca_list}, 2, true);
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
    assert_int_equal(answer.by, 1); /* not by the one of the revoked signer */
    /* He cannot free himself. */
    const struct list himself = {.key = keys[CHANGED], .number = 2};
    const struct list held = {.key = keys[CA], .revoked = by_ca, .number = 1};
    answer = ask(by_ca, (const struct list[]){himself, held}, 2, true);
    assert_int_equal(answer.by, 1);
    X509_free(by_root);
    X509_free(by_ca);
}

static void without_a_trusted_path(void **state)
{
    X509 *by_root = changed(ROOT, (struct crafted){LISTS_ONLY}),
         *by_ca = changed(CA, (struct crafted){LISTS_ONLY});
    const struct list list = {.key = keys[CHANGED]};

    (void)state;
    assert_int_equal(ask(by_root, &list, 1, false).verdict.outcome, CRL_UNTRUSTED);
    assert_int_equal(ask(by_ca, &list, 1, false).verdict.outcome, CRL_GOOD);
    X509_free(by_root);
    X509_free(by_ca);
}

/* ---- who may ---- */

/* By who has issued the CA, and by the CA; with and without being a CA (PKITS 4.4.19, 4.5.6). */
static void other_keys_of_the_ca(void **state)
{
    const struct {
        enum who issuer;
        struct crafted crafted;
    } cases[] = {
        {ROOT, {LISTS_ONLY}},
        {CA, {LISTS_ONLY}},
        {ROOT, {AUTHORITY, .common_name = "CA"}},
        {CA, {AUTHORITY, .common_name = "CA"}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        X509 *other = changed(cases[i].issuer, cases[i].crafted);
        assert_int_equal(outcome(other, &(struct list){.key = keys[CHANGED]}), CRL_GOOD);
        assert_int_equal(
            outcome(other, &(struct list){.key = keys[CHANGED], .revoked = certificates[LEAF]}),
            CRL_REVOKED);
        assert_int_equal(outcome(other, &(struct list){.key = keys[CA]}), CRL_GOOD);
        X509_free(other);
    }
}

/* The list names the key; without that, the signature decides. */
static void named_keys(void **state)
{
    X509 *other = changed(ROOT, (struct crafted){LISTS_ONLY});
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(other);
    char text[64] = "DER:30168014";

    (void)state;
    assert_int_equal(ASN1_STRING_length(id), 20);
    for (size_t i = 0; i < 20; i++)
        snprintf(text + strlen(text), 3, "%02x", ASN1_STRING_get0_data(id)[i]);
    assert_int_equal(outcome(other, &(struct list){.key = keys[CHANGED],
                                                   .extension = NID_authority_key_identifier,
                                                   .extension_text = text}),
                     CRL_GOOD);
    char *digit = text + strlen(text) - 1;
    *digit = *digit == '0' ? '1' : '0'; /* another key's */
    assert_int_equal(outcome(other, &(struct list){.key = keys[CHANGED],
                                                   .extension = NID_authority_key_identifier,
                                                   .extension_text = text}),
                     CRL_UNTRUSTED);
    X509_free(other);
}

/* The old key's certificate, signed by the new one, which signs the lists (PKITS 4.5.1). */
static void new_key_on_the_path(void **state)
{
    X509 *old = crafted_new(&(struct crafted){AUTHORITY, .common_name = "CA", .key = keys[CHANGED],
                                              .issuer = certificates[CA], .issuer_key = keys[CA]});
    X509 *server = crafted_new(&(struct crafted){
        .common_name = "leaf", .key = keys[LEAF], .issuer = old, .issuer_key = keys[CHANGED]});
    const struct certificate_facts *server_facts = facts_of(server),
                                   *issuers[] = {facts_of(old), facts[CA], facts[ROOT]};
    struct crl_question question = {
        .certificate = server_facts, .issuers = issuers, .issuer_count = 3, .at = now};
    struct crl *lists[] = {crl_of(&(struct list){.key = keys[CA]}),
                           crl_of(&(struct list){.key = keys[CA], .revoked = server})};
    struct crl_answer answer;

    (void)state;
    crl_judge_all(&answer, lists, 1, &question);
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
    crl_judge_all(&answer, lists, 2, &question);
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
    question.issuer_count = 1;
    crl_judge_all(&answer, lists, 2, &question);
    assert_int_equal(answer.verdict.outcome, CRL_UNTRUSTED);
    crl_unref(lists[0]);
    crl_unref(lists[1]);
    certificate_facts_unref(server_facts);
    certificate_facts_unref(issuers[0]);
    X509_free(server);
    X509_free(old);
}

/* RFC 5280 §6.3.3 (g): changes count with a complete list of the same key. */
static void changes_by_another_key(void **state)
{
    X509 *other = changed(ROOT, (struct crafted){LISTS_ONLY});
    const struct list complete = {.key = keys[CA], .number = 1},
                      changes = {.key = keys[CHANGED], .number = 2, .changes = 1},
                      revoking = {.key = keys[CHANGED],
                                  .number = 2,
                                  .changes = 1,
                                  .revoked = certificates[LEAF]},
                      same = {.key = keys[CHANGED], .number = 1};

    (void)state;
    struct crl_answer answer = ask(other, (const struct list[]){complete, changes}, 2, true);
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
    assert_int_equal(answer.left_out, 1);
    assert_non_null(strstr(answer.left_out_reason, "another key"));
    answer = ask(other, (const struct list[]){complete, revoking}, 2, true);
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
    answer = ask(other, (const struct list[]){same, changes}, 2, true);
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
    assert_int_equal(answer.changes, 1);
    X509_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers),
        cmocka_unit_test(lists_by_another_key),
        cmocka_unit_test(revoked_signers),
        cmocka_unit_test(without_a_trusted_path),
        cmocka_unit_test(other_keys_of_the_ca),
        cmocka_unit_test(named_keys),
        cmocka_unit_test(new_key_on_the_path),
        cmocka_unit_test(changes_by_another_key),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
