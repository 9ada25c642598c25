/* A revocation list: whose word counts, for which certificate, and for how long. */
#include "tls/revocation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "revocation_world.h"

static void ask(struct crl_verdict *ret_verdict, struct crl *crl,
                const struct certificate_facts *certificate, const struct certificate_facts *issuer)
{
    const struct crl_question question = {.certificate = certificate,
                                          .issuers = &issuer,
                                          .issuer_count = issuer != NULL ? 1 : 0,
                                          .at = now};

    crl_judge(ret_verdict, crl, &question);
}

static struct crl_verdict looked_up(const struct list *list)
{
    struct crl *crl = crl_of(list);
    struct crl_verdict verdict;

    ask(&verdict, crl, leaf_facts, ca_facts);
    crl_unref(crl);
    return verdict;
}

static void unreadable_lists(void **state)
{
    struct bytes bytes = list_der(&(struct list){.revoked = leaf, .others = 20});
    struct error error;
    struct crl *crl;

    (void)state;
    assert_int_not_equal(crl_new(&crl, (const uint8_t *)"", 0, &error), 0);
    assert_int_not_equal(crl_new(&crl, (const uint8_t *)"<html>", 6, &error), 0);
    assert_non_null(strstr(error.message, "no revocation list"));
    for (size_t size = 1; size < bytes.size; size++)
        assert_int_not_equal(crl_new(&crl, bytes.data, size, &error), 0);
    static const char pem[] = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";
    assert_int_not_equal(crl_new(&crl, (const uint8_t *)pem, sizeof pem - 1, &error), 0);
    static const char other[] = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert_int_not_equal(crl_new(&crl, (const uint8_t *)other, sizeof other - 1, &error), 0);
    /* Damage anywhere must not change what it says. */
    for (size_t i = 0; i < bytes.size; i++) {
        bytes.data[i] ^= 1;
        if (crl_new(&crl, bytes.data, bytes.size, &error) == 0) {
            struct crl_verdict verdict;
            ask(&verdict, crl, leaf_facts, ca_facts);
            assert_true(verdict.outcome != CRL_GOOD && verdict.outcome != CRL_REVOKED);
            crl_unref(crl);
        }
        bytes.data[i] ^= 1;
    }
    OPENSSL_free(bytes.data);
    crl_unref(NULL);
}

static void lists_of_strangers(void **state)
{
    struct crl_verdict verdict;

    (void)state;
    assert_int_equal(looked_up(&(struct list){.issuer = other_ca, .key = other_key}).outcome,
                     CRL_OTHER_ISSUER);
    assert_int_equal(looked_up(&(struct list){.revoked = leaf, .key = other_key}).outcome,
                     CRL_UNTRUSTED);
    /* An issuer that may not sign lists. */
    X509 *silent = authority(ca_key, "CA", "critical,keyCertSign");
    const struct certificate_facts *silent_facts = facts_of(silent);
    struct crl *crl = crl_of(&(struct list){.revoked = leaf});
    ask(&verdict, crl, leaf_facts, ca_facts);
    assert_int_equal(verdict.outcome, CRL_REVOKED);
    ask(&verdict, crl, leaf_facts, silent_facts);
    assert_int_equal(verdict.outcome, CRL_UNTRUSTED);
    ask(&verdict, crl, leaf_facts, NULL);
    assert_int_equal(verdict.outcome, CRL_ISSUER_UNKNOWN);
    crl_unref(crl);
    certificate_facts_unref(silent_facts);
    X509_free(silent);
}

static void scopes_of_lists(void **state)
{
    static const struct {
        const char *text;
        enum crl_outcome outcome;
    } cases[] = {
        {"critical,fullname:URI:" URL, CRL_GOOD},
        {"critical,fullname:URI:http://crl.example/2.crl", CRL_OTHER_SCOPE},
        {"critical,onlyuser:TRUE", CRL_GOOD},
        {"critical,onlyCA:TRUE", CRL_OTHER_SCOPE},
        {"critical,onlyAA:TRUE", CRL_OTHER_SCOPE},
        {"critical,indirectCRL:TRUE", CRL_UNSUPPORTED},
        {"critical,onlysomereasons:keyCompromise", CRL_UNSUPPORTED},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct crl_verdict verdict = looked_up(&(struct list){
            .extension = NID_issuing_distribution_point, .extension_text = cases[i].text});
        if (verdict.outcome != cases[i].outcome)
            fail_msg("%s: %s", cases[i].text, crl_outcome_name(verdict.outcome));
    }
    assert_int_equal(looked_up(&(struct list){.extension = NID_basic_constraints,
                                              .extension_text = "critical,CA:TRUE"})
                         .outcome,
                     CRL_UNSUPPORTED);
    assert_int_equal(
        looked_up(&(struct list){.revoked = leaf,
                                 .extension = NID_issuing_distribution_point,
                                 .extension_text = "critical,onlysomereasons:keyCompromise"})
            .outcome,
        CRL_REVOKED);
}

/* An address is compared whole, however long it is. */
static void scopes_of_long_addresses(void **state)
{
    char address[700], scope[800];
    struct crl_verdict verdict;

    (void)state;
    memset(address, 'a', sizeof address);
    memcpy(address, "URI:" URL "?", sizeof "URI:" URL);
    address[sizeof address - 1] = '\0';
    X509 *certificate = with_list_address(issued(leaf_key, "far", "serverAuth"), address);
    const struct certificate_facts *facts = facts_of(certificate);
    snprintf(scope, sizeof scope, "critical,fullname:%s", address);
    struct crl *crl = crl_of(&(struct list){.revoked = certificate,
                                            .extension = NID_issuing_distribution_point,
                                            .extension_text = scope});
    ask(&verdict, crl, facts, ca_facts);
    assert_int_equal(verdict.outcome, CRL_REVOKED);
    crl_unref(crl);
    certificate_facts_unref(facts);
    X509_free(certificate);
}

static enum crl_outcome point_of(const char *certificate_point, const char *list_point)
{
    X509 *certificate = issued(leaf_key, "named", "serverAuth");
    X509_EXTENSION *point = naming(NID_crl_distribution_points, certificate_point);
    struct list list = {.number = 1};
    struct crl_verdict verdict;

    list.scope = naming(NID_issuing_distribution_point, list_point);
    assert_int_equal(X509_add_ext(certificate, point, -1), 1);
    assert_true(X509_sign(certificate, ca_key, EVP_sha256()) > 0);
    const struct certificate_facts *facts = facts_of(certificate);
    struct crl *crl = crl_of(&list);
    ask(&verdict, crl, facts, ca_facts);
    crl_unref(crl);
    certificate_facts_unref(facts);
    X509_EXTENSION_free(list.scope);
    X509_EXTENSION_free(point);
    X509_free(certificate);
    return verdict.outcome;
}

/* Directory names, whole or relative to the CA's (RFC 5280 §4.2.1.13). */
static void scopes_by_directory_name(void **state)
{
    (void)state;
    assert_int_equal(point_of("full", "critical,@full"), CRL_GOOD);
    assert_int_equal(point_of("full", "critical,@other"), CRL_OTHER_SCOPE);
    assert_int_equal(point_of("relative", "critical,@relative"), CRL_GOOD);
    assert_int_equal(point_of("relative", "critical,@other_relative"), CRL_OTHER_SCOPE);
    assert_int_equal(point_of("full", "critical,@relative"), CRL_GOOD);
    assert_int_equal(point_of("relative", "critical,@full"), CRL_GOOD);
    assert_int_equal(point_of("relative", "critical,@other"), CRL_OTHER_SCOPE);
    assert_int_equal(point_of("URI:" URL, "critical,@full"), CRL_OTHER_SCOPE);
}

static void age_of_lists(void **state)
{
    (void)state;
    assert_int_equal(looked_up(&(struct list){.this_s = HOUR, .next_s = 2 * HOUR}).outcome,
                     CRL_NOT_YET_VALID);
    assert_int_equal(looked_up(&(struct list){.this_s = -2 * HOUR, .next_s = -HOUR}).outcome,
                     CRL_STALE);
    assert_int_equal(
        looked_up(&(struct list){.revoked = leaf, .this_s = -2 * HOUR, .next_s = -HOUR}).outcome,
        CRL_REVOKED);
}

static void good_and_revoked_by_lists(void **state)
{
    (void)state;
    assert_int_equal(looked_up(&(struct list){0}).outcome, CRL_GOOD);
    assert_int_equal(looked_up(&(struct list){.revoked = other_leaf}).outcome, CRL_GOOD);
    struct crl_verdict verdict = looked_up(&(struct list){.revoked = leaf, .reason = 4});
    assert_int_equal(verdict.outcome, CRL_REVOKED);
    assert_string_equal(verdict.revocation_reason, "superseded");
    assert_in_range(verdict.revoked_at, now - HOUR - 60, now);
    assert_string_equal(looked_up(&(struct list){.revoked = leaf}).revocation_reason,
                        "unspecified");
}

static void large_lists(void **state)
{
    struct crl *with = crl_of(&(struct list){.revoked = leaf, .others = 20000}),
               *without = crl_of(&(struct list){.others = 20000});
    struct crl_verdict verdict;

    (void)state;
    assert_int_equal(crl_count(with), 20001);
    assert_true(crl_size(with) > 20000 * 20);
    assert_string_equal(crl_issuer(with), "CN=CA");
    ask(&verdict, with, leaf_facts, ca_facts);
    assert_int_equal(verdict.outcome, CRL_REVOKED);
    ask(&verdict, without, leaf_facts, ca_facts);
    assert_int_equal(verdict.outcome, CRL_GOOD);
    crl_unref(with);
    crl_unref(without);
}

static void lists_in_pem(void **state)
{
    struct bytes first = list_der(&(struct list){0}),
                 second = list_der(&(struct list){.issuer = other_ca, .key = other_key});
    BIO *output = BIO_new(BIO_s_mem());
    struct crl *lists[2];
    struct error error;
    size_t count = 0;
    char *data;

    (void)state;
    PEM_write_bio(output, PEM_STRING_X509_CRL, "", first.data, (long)first.size);
    PEM_write_bio(output, PEM_STRING_X509_CRL, "", second.data, (long)second.size);
    long size = BIO_get_mem_data(output, &data);
    assert_int_equal(crl_new_all(lists, 2, &count, (const uint8_t *)data, (size_t)size, &error), 0);
    assert_int_equal(count, 2);
    assert_string_equal(crl_issuer(lists[1]), "CN=Other CA");
    crl_unref(lists[0]);
    crl_unref(lists[1]);
    assert_int_not_equal(crl_new_all(lists, 1, &count, (const uint8_t *)data, (size_t)size, &error),
                         0);
    assert_non_null(strstr(error.message, "too many"));
    BIO_free(output);
    OPENSSL_free(first.data);
    OPENSSL_free(second.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unreadable_lists),
        cmocka_unit_test(lists_of_strangers),
        cmocka_unit_test(scopes_of_lists),
        cmocka_unit_test(scopes_of_long_addresses),
        cmocka_unit_test(scopes_by_directory_name),
        cmocka_unit_test(age_of_lists),
        cmocka_unit_test(good_and_revoked_by_lists),
        cmocka_unit_test(large_lists),
        cmocka_unit_test(lists_in_pem),
    };

    return cmocka_run_group_tests(tests, revocation_world_set_up, revocation_world_tear_down);
}
