/* Revocation lists together: complete ones, those for some reasons, those of changes only. */
#include "tls/revocation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/x509v3.h>

#include "revocation_world.h"

#define LISTS_MAX 4
#define LISTS(...)                                                                                 \
    together((const struct list[LISTS_MAX + 1]){__VA_ARGS__},                                      \
             sizeof((const struct list[]){__VA_ARGS__}) / sizeof(struct list))

static struct crl_answer together(const struct list *lists, size_t count)
{
    struct crl *crls[LISTS_MAX];
    struct crl_answer answer;

    for (size_t i = 0; i < count; i++)
        crls[i] = crl_of(&lists[i]);
    crl_judge_all(&answer, crls, count, &of_ca);
    for (size_t i = 0; i < count; i++)
        crl_unref(crls[i]);
    return answer;
}

#define COMPLETE        .number = 1
#define CHANGES(of, is) .changes = (of), .number = (is)
#define HOLD            CRL_REASON_CERTIFICATE_HOLD
#define REMOVE          CRL_REASON_REMOVE_FROM_CRL
#define ENDED           .this_s = -2 * HOUR, .next_s = -HOUR

static void no_lists(void **state)
{
    struct crl_answer answer;

    (void)state;
    crl_judge_all(&answer, NULL, 0, &of_ca);
    assert_int_equal(answer.verdict.outcome, CRL_NOT_ASKED);
    assert_int_equal(answer.by, 0);
    answer = LISTS({.issuer = other_ca, .key = other_key}, {.number = 1, .key = other_key});
    assert_int_equal(answer.verdict.outcome, CRL_UNTRUSTED);
    assert_int_equal(answer.by, 1);
}

/* The first good one must not hide what a later one says. */
static void complete_lists_together(void **state)
{
    (void)state;
    struct crl_answer answer = LISTS({COMPLETE}, {.number = 2, .revoked = leaf, .reason = 1});
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
    assert_int_equal(answer.by, 1);
    answer = LISTS({.number = 1, .revoked = leaf, .reason = 1}, {.number = 2});
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
    /* A hold is over when the newer list does not have it. */
    answer = LISTS({.number = 1, .revoked = leaf, .reason = HOLD}, {.number = 2});
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
    assert_int_equal(answer.by, 1);
    answer = LISTS({.number = 1}, {.number = 2, .revoked = leaf, .reason = HOLD});
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
}

/* RFC 5280 §6.3.3 (d), (e). */
static void lists_for_some_reasons(void **state)
{
    X509_EXTENSION *compromise = naming(NID_issuing_distribution_point, "critical,@compromise"),
                   *others = naming(NID_issuing_distribution_point, "critical,@others");
    const struct list half = {.scope = compromise};

    (void)state;
    struct crl_answer answer = LISTS(half, {.scope = others, .this_s = -HOUR, .next_s = HOUR / 2});
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
    assert_int_equal(answer.by, 1); /* it ends first */
    assert_in_range(answer.verdict.next_update, now, now + HOUR / 2 + 60);
    answer = LISTS(half, {.scope = others, .revoked = leaf, .reason = 4});
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
    /* The other half has ended, is to come, is somebody else's, holds changes only, is the same. */
    const struct list useless[] = {
        {.scope = others, ENDED},
        {.scope = others, .this_s = HOUR, .next_s = 2 * HOUR},
        {.scope = others, .key = other_key},
        {.scope = others, CHANGES(1, 2)},
        {.scope = compromise},
    };
    for (size_t i = 0; i < ARRAY_SIZE(useless); i++) {
        answer = LISTS(half, useless[i]);
        if (answer.verdict.outcome == CRL_GOOD || answer.verdict.outcome == CRL_REVOKED)
            fail_msg("%zu: %s", i, crl_outcome_name(answer.verdict.outcome));
    }
    /* A whole one needs no others. */
    assert_int_equal(LISTS(half, {.number = 1}).verdict.outcome, CRL_GOOD);
    X509_EXTENSION_free(compromise);
    X509_EXTENSION_free(others);
}

static enum crl_outcome halves_at(const char *certificate_point)
{
    X509 *certificate = issued(leaf_key, "named", "serverAuth");
    X509_EXTENSION *point = naming(NID_crl_distribution_points, certificate_point),
                   *compromise = naming(NID_issuing_distribution_point, "critical,@compromise_at"),
                   *others = naming(NID_issuing_distribution_point, "critical,@others_at");
    struct crl *lists[] = {crl_of(&(struct list){.scope = compromise}),
                           crl_of(&(struct list){.scope = others})};
    struct crl_question question = of_ca;
    struct crl_answer answer;

    assert_int_equal(X509_add_ext(certificate, point, -1), 1);
    assert_true(X509_sign(certificate, ca_key, EVP_sha256()) > 0);
    question.certificate = facts_of(certificate);
    crl_judge_all(&answer, lists, 2, &question);
    certificate_facts_unref(question.certificate);
    crl_unref(lists[0]);
    crl_unref(lists[1]);
    X509_EXTENSION_free(point);
    X509_EXTENSION_free(compromise);
    X509_EXTENSION_free(others);
    X509_free(certificate);
    return answer.verdict.outcome;
}

/* The certificate names the lists for these reasons, and for no more do they count. */
static void reasons_that_a_certificate_names(void **state)
{
    (void)state;
    assert_int_equal(halves_at("full"), CRL_GOOD);
    assert_int_equal(halves_at("other"), CRL_OTHER_SCOPE);
    assert_int_equal(halves_at("some"), CRL_UNSUPPORTED);
}

static void changes_alone(void **state)
{
    (void)state;
    struct crl_answer answer = LISTS({CHANGES(1, 2)});
    assert_int_equal(answer.verdict.outcome, CRL_UNSUPPORTED);
    assert_non_null(strstr(answer.verdict.reason, "not at hand"));
    assert_int_equal(LISTS({CHANGES(1, 2), .revoked = leaf, .reason = REMOVE}).verdict.outcome,
                     CRL_UNSUPPORTED);
    answer = LISTS({CHANGES(1, 2), .revoked = leaf, .reason = 1});
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
    assert_int_equal(answer.changes, 0);
    /* Another CA's, and an unreadable one. */
    assert_int_equal(LISTS({CHANGES(1, 2), .revoked = leaf, .issuer = other_ca, .key = other_key})
                         .verdict.outcome,
                     CRL_OTHER_ISSUER);
    answer = LISTS({.extension = NID_delta_crl, .extension_text = "critical,DER:0500"});
    assert_int_equal(answer.verdict.outcome, CRL_UNSUPPORTED);
    assert_non_null(strstr(answer.verdict.reason, "unreadable"));
}

/* RFC 5280 §6.3.3 (i) to (k). */
static void changes_that_fit(void **state)
{
    (void)state;
    struct crl_answer answer = LISTS({COMPLETE}, {CHANGES(1, 2), .revoked = leaf, .reason = 1});
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
    assert_string_equal(answer.verdict.revocation_reason, "keyCompromise");
    assert_int_equal(answer.by, 1);
    answer = LISTS({CHANGES(1, 2), .this_s = -HOUR / 2, .next_s = HOUR / 2}, {COMPLETE});
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
    assert_int_equal(answer.by, 1);
    assert_int_equal(answer.changes, 0);
    assert_int_equal(answer.left_out, 2);
    assert_in_range(answer.verdict.next_update, now, now + HOUR / 2 + 60);
    /* A hold is placed, made final, lifted; what was not listed is lifted (PKITS 4.15.7). */
    answer = LISTS({COMPLETE}, {CHANGES(1, 2), .revoked = leaf, .reason = HOLD});
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
    answer = LISTS({COMPLETE, .revoked = leaf, .reason = HOLD},
                   {CHANGES(1, 2), .revoked = leaf, .reason = 1});
    assert_string_equal(answer.verdict.revocation_reason, "keyCompromise");
    answer = LISTS({COMPLETE, .revoked = leaf, .reason = HOLD},
                   {CHANGES(1, 2), .revoked = leaf, .reason = REMOVE});
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
    answer = LISTS({COMPLETE}, {CHANGES(1, 2), .revoked = leaf, .reason = REMOVE});
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
    /* Nothing else ends a hold, and only a hold is lifted. */
    answer = LISTS({COMPLETE, .revoked = leaf, .reason = HOLD}, {CHANGES(1, 2)});
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
    answer = LISTS({COMPLETE, .revoked = leaf, .reason = 1},
                   {CHANGES(1, 2), .revoked = leaf, .reason = REMOVE});
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
    assert_int_equal(answer.by, 0);
}

/* RFC 5280 §5.2.4 (a) to (d), §6.3.3 (c): they lift nothing, and are named. */
static void changes_that_do_not_fit(void **state)
{
    static const struct {
        struct list changes;
        const char *reason;
    } cases[] = {
        {{CHANGES(8, 9)}, "changes a later complete list"},
        {{CHANGES(1, 3)}, "is newer"},
        {{.changes = 1}, "no number"},
        {{CHANGES(1, 9), .extension = NID_issuing_distribution_point,
          .extension_text = "critical,onlyuser:TRUE"},
         "scope"},
        {{CHANGES(1, 9), .extension = NID_authority_key_identifier,
          .extension_text = "DER:300480020102"},
         "another key"},
        {{CHANGES(1, 9), .extension = NID_basic_constraints, .extension_text = "critical,CA:TRUE"},
         "critical extension"},
        {{CHANGES(1, 9), .this_s = HOUR, .next_s = 2 * HOUR}, "still to come"},
        {{CHANGES(1, 9), ENDED}, "has ended"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct list changes = cases[i].changes;
        struct crl_answer answer = LISTS({.number = 7}, changes);
        assert_int_equal(answer.verdict.outcome, CRL_GOOD);
        assert_int_equal(answer.by, 0);
        assert_int_equal(answer.changes, 2);
        assert_int_equal(answer.left_out, 1);
        if (strstr(answer.left_out_reason, cases[i].reason) == NULL)
            fail_msg("%s: %s", cases[i].reason, answer.left_out_reason);
        changes.revoked = leaf;
        changes.reason = REMOVE;
        answer = LISTS({.number = 7, .revoked = leaf, .reason = HOLD}, changes);
        assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
        answer = LISTS({.number = 7, ENDED}, changes);
        assert_int_equal(answer.verdict.outcome, CRL_STALE);
    }
    struct crl_answer answer = LISTS({.number = 7}, {CHANGES(1, 9), .key = other_key});
    assert_int_equal(answer.left_out, 1);
    assert_non_null(strstr(answer.left_out_reason, "not signed"));
    answer = LISTS({.number = 7}, {CHANGES(1, 9), .issuer = other_ca, .key = other_key});
    assert_int_equal(answer.left_out, 2);
    /* Of the same moment as the complete list: nothing is left out by that. */
    answer = LISTS({.number = 7}, {CHANGES(1, 7)});
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
    assert_int_equal(answer.left_out, 2);
}

/* Revocation is for ever, in whatever list it was seen. */
static void changes_that_revoke_without_fitting(void **state)
{
    (void)state;
    struct crl_answer answer =
        LISTS({.number = 7}, {CHANGES(8, 9), .revoked = leaf, .reason = HOLD});
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
    assert_int_equal(answer.by, 1);
    answer = LISTS({.number = 7}, {CHANGES(1, 9), .revoked = leaf, .reason = 1, ENDED});
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
    answer = LISTS({.number = 7}, {CHANGES(1, 3), .revoked = leaf, .reason = 1});
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
    /* But a hold that the newer complete list does not have is over. */
    answer = LISTS({.number = 7}, {CHANGES(1, 3), .revoked = leaf, .reason = HOLD});
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
}

/* RFC 5280 §6.3.3 (a) (1) (i). */
static void lists_that_have_ended_with_changes(void **state)
{
    (void)state;
    struct crl_answer answer = LISTS({COMPLETE, ENDED}, {CHANGES(1, 2)});
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
    assert_in_range(answer.verdict.next_update, now, now + HOUR + 60);
    answer = LISTS({COMPLETE, ENDED, .extension = NID_issuing_distribution_point,
                    .extension_text = "critical,onlysomereasons:keyCompromise"},
                   {CHANGES(1, 2), .extension = NID_issuing_distribution_point,
                    .extension_text = "critical,onlysomereasons:keyCompromise"});
    assert_int_not_equal(answer.verdict.outcome, CRL_GOOD);
    answer = LISTS({COMPLETE, .this_s = HOUR, .next_s = 2 * HOUR}, {CHANGES(1, 2)});
    assert_int_equal(answer.verdict.outcome, CRL_NOT_YET_VALID);
}

static void newest_changes_count(void **state)
{
    const struct list placed = {CHANGES(1, 2), .revoked = leaf, .reason = HOLD},
                      lifted = {CHANGES(1, 3), .revoked = leaf, .reason = REMOVE},
                      again = {CHANGES(1, 4), .revoked = leaf, .reason = HOLD},
                      early = {CHANGES(1, 5), .this_s = HOUR, .next_s = 2 * HOUR},
                      ended = {CHANGES(1, 2), ENDED};

    (void)state;
    struct crl_answer answer = LISTS({COMPLETE}, placed, lifted);
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
    assert_int_equal(answer.changes, 2);
    assert_int_equal(LISTS(lifted, placed, {COMPLETE}).verdict.outcome, CRL_GOOD);
    assert_int_equal(LISTS(again, lifted, placed, {COMPLETE}).verdict.outcome, CRL_REVOKED);
    /* One whose time is still to come ends no hold, and hides no current one. */
    answer = LISTS({COMPLETE}, placed, early);
    assert_int_equal(answer.verdict.outcome, CRL_REVOKED);
    answer = LISTS({COMPLETE, .revoked = leaf, .reason = HOLD}, lifted, early);
    assert_int_equal(answer.verdict.outcome, CRL_GOOD);
    assert_int_equal(answer.left_out, 2);
    answer = LISTS({COMPLETE}, ended, lifted);
    assert_int_equal(answer.changes, 2);
    assert_int_equal(answer.left_out, 3);
}

static void addresses_of_changes(void **state)
{
    struct crl *crl = crl_of(&(struct list){.extension = NID_freshest_crl,
                                            .extension_text = "URI:" URL ",URI:http://b.example/"});

    (void)state;
    assert_false(crl_is_delta(crl));
    assert_string_equal(crl_delta_url(crl, 0), URL);
    assert_string_equal(crl_delta_url(crl, 1), "http://b.example/");
    assert_null(crl_delta_url(crl, 2));
    crl_unref(crl);
    crl = crl_of(&(struct list){CHANGES(1, 2)});
    assert_true(crl_is_delta(crl));
    assert_null(crl_delta_url(crl, 0));
    crl_unref(crl);
    X509 *certificate = issued(leaf_key, "fresh", "serverAuth");
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_freshest_crl, "URI:" URL);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    assert_true(X509_sign(certificate, ca_key, EVP_sha256()) > 0);
    const struct certificate_facts *facts = facts_of(certificate);
    assert_int_equal(facts->delta_url_count, 1);
    assert_string_equal(facts->delta_urls[0], URL);
    certificate_facts_unref(facts);
    X509_EXTENSION_free(extension);
    X509_free(certificate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_lists),
        cmocka_unit_test(complete_lists_together),
        cmocka_unit_test(lists_for_some_reasons),
        cmocka_unit_test(reasons_that_a_certificate_names),
        cmocka_unit_test(changes_alone),
        cmocka_unit_test(changes_that_fit),
        cmocka_unit_test(changes_that_do_not_fit),
        cmocka_unit_test(changes_that_revoke_without_fitting),
        cmocka_unit_test(lists_that_have_ended_with_changes),
        cmocka_unit_test(newest_changes_count),
        cmocka_unit_test(addresses_of_changes),
    };

    return cmocka_run_group_tests(tests, revocation_world_set_up, revocation_world_tear_down);
}
