/* OCSP responses: whose word counts, for which certificate, and for how long. */
#include "tls/revocation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/ocsp.h>

#include "revocation_world.h"

struct answer { /* zero: good, fresh, by the CA with SHA-1 */
    X509 *about, *issuer, *signer;
    EVP_PKEY *key;
    int status, reason;
    long this_s, next_s; /* from now; both 0: an hour each way */
    bool without_next, without_certificates;
    const EVP_MD *digest;
    const char *timestamps;
};

static struct bytes response(const struct answer *answer)
{
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    X509 *signer = answer->signer != NULL ? answer->signer : ca;
    OCSP_CERTID *id = OCSP_cert_to_id(answer->digest != NULL ? answer->digest : EVP_sha1(),
                                      answer->about != NULL ? answer->about : leaf,
                                      answer->issuer != NULL ? answer->issuer : ca);
    bool any = answer->this_s != 0 || answer->next_s != 0;
    ASN1_TIME *this_update = X509_gmtime_adj(NULL, any ? answer->this_s : -HOUR),
              *next_update = X509_gmtime_adj(NULL, any ? answer->next_s : HOUR),
              *revoked = X509_gmtime_adj(NULL, -2 * HOUR);
    ASN1_GENERALIZEDTIME *this_general = ASN1_TIME_to_generalizedtime(this_update, NULL),
                         *next_general = ASN1_TIME_to_generalizedtime(next_update, NULL),
                         *revoked_general = ASN1_TIME_to_generalizedtime(revoked, NULL);
    struct bytes bytes = {0};

    OCSP_SINGLERESP *single =
        OCSP_basic_add1_status(basic, id, answer->status, answer->reason,
                               answer->status == V_OCSP_CERTSTATUS_REVOKED ? revoked_general : NULL,
                               this_general, answer->without_next ? NULL : next_general);
    assert_non_null(single);
    if (answer->timestamps != NULL) {
        ASN1_OCTET_STRING *list = ASN1_OCTET_STRING_new();
        ASN1_OCTET_STRING_set(list, (const uint8_t *)answer->timestamps,
                              (int)strlen(answer->timestamps));
        unsigned char *der = NULL;
        int size = i2d_ASN1_OCTET_STRING(list, &der);
        ASN1_OCTET_STRING_set(list, der, size);
        X509_EXTENSION *extension = X509_EXTENSION_create_by_NID(NULL, NID_ct_cert_scts, 0, list);
        assert_int_equal(OCSP_SINGLERESP_add_ext(single, extension, -1), 1);
        X509_EXTENSION_free(extension);
        ASN1_OCTET_STRING_free(list);
        OPENSSL_free(der);
    }
    assert_int_equal(OCSP_basic_sign(basic, signer, answer->key != NULL ? answer->key : ca_key,
                                     EVP_sha256(), NULL,
                                     answer->without_certificates ? OCSP_NOCERTS : 0),
                     1);
    OCSP_RESPONSE *whole = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    bytes.size = (size_t)i2d_OCSP_RESPONSE(whole, &bytes.data);
    OCSP_RESPONSE_free(whole);
    OCSP_BASICRESP_free(basic);
    OCSP_CERTID_free(id);
    ASN1_TIME *times[] = {this_update, next_update, revoked};
    for (size_t i = 0; i < ARRAY_SIZE(times); i++)
        ASN1_TIME_free(times[i]);
    ASN1_GENERALIZEDTIME_free(this_general);
    ASN1_GENERALIZEDTIME_free(next_general);
    ASN1_GENERALIZEDTIME_free(revoked_general);
    return bytes;
}

static struct ocsp_verdict judged(const struct answer *answer)
{
    struct bytes bytes = response(answer);
    struct ocsp_verdict verdict;

    ocsp_judge(&verdict, bytes.data, bytes.size, leaf_facts, ca_facts, now);
    /* Cut anywhere, it is nothing. */
    for (size_t size = 1; size < bytes.size; size += 7) {
        struct ocsp_verdict cut;
        ocsp_judge(&cut, bytes.data, size, leaf_facts, ca_facts, now);
        assert_int_equal(cut.outcome, OCSP_MALFORMED);
    }
    OPENSSL_free(bytes.data);
    return verdict;
}

static void no_response(void **state)
{
    struct ocsp_verdict verdict;

    (void)state;
    ocsp_judge(&verdict, NULL, 0, leaf_facts, ca_facts, now);
    assert_int_equal(verdict.outcome, OCSP_ABSENT);
    ocsp_judge(&verdict, (const uint8_t *)"garbage", 7, leaf_facts, ca_facts, now);
    assert_int_equal(verdict.outcome, OCSP_MALFORMED);
    assert_true(verdict.reason[0] != '\0');
    static uint8_t large[OCSP_SIZE_MAX + 1];
    ocsp_judge(&verdict, large, sizeof large, leaf_facts, ca_facts, now);
    assert_int_equal(verdict.outcome, OCSP_MALFORMED);
    static const uint8_t try_later[] = {0x30, 0x03, 0x0a, 0x01, 0x03};
    ocsp_judge(&verdict, try_later, sizeof try_later, leaf_facts, ca_facts, now);
    assert_int_equal(verdict.outcome, OCSP_NOT_SUCCESSFUL);
    assert_string_equal(verdict.reason, "trylater");
}

static void response_of_strangers(void **state)
{
    (void)state;
    assert_int_equal(judged(&(struct answer){.about = other_leaf}).outcome, OCSP_OTHER);
    assert_int_equal(judged(&(struct answer){.issuer = other_ca}).outcome, OCSP_OTHER);
    /* Signed by a CA that is not the issuer, by the issuer's name with another key, and by a
     * certificate of the issuer that is not for this. */
    assert_int_equal(judged(&(struct answer){.signer = other_ca, .key = other_key}).outcome,
                     OCSP_UNTRUSTED);
    X509 *namesake = authority(other_key, "CA", NULL);
    assert_int_equal(judged(&(struct answer){.signer = namesake, .key = other_key}).outcome,
                     OCSP_UNTRUSTED);
    X509_free(namesake);
    struct ocsp_verdict verdict =
        judged(&(struct answer){.signer = impostor, .key = responder_key});
    assert_int_equal(verdict.outcome, OCSP_UNTRUSTED);
    assert_true(verdict.reason[0] != '\0');
    assert_int_equal(judged(&(struct answer){.signer = responder,
                                             .key = responder_key,
                                             .without_certificates = true})
                         .outcome,
                     OCSP_UNTRUSTED);
}

static void response_without_issuer(void **state)
{
    struct bytes bytes = response(&(struct answer){0});
    struct ocsp_verdict verdict;

    (void)state;
    ocsp_judge(&verdict, bytes.data, bytes.size, leaf_facts, NULL, now);
    assert_int_equal(verdict.outcome, OCSP_ISSUER_UNKNOWN);
    ocsp_judge(&verdict, bytes.data, bytes.size, leaf_facts, other_ca_facts, now);
    assert_int_equal(verdict.outcome, OCSP_OTHER);
    OPENSSL_free(bytes.data);
}

static void damaged_response(void **state)
{
    struct bytes bytes = response(&(struct answer){0});

    (void)state;
    for (size_t i = 0; i < bytes.size; i++) {
        struct ocsp_verdict verdict;
        bytes.data[i] ^= 0x10;
        ocsp_judge(&verdict, bytes.data, bytes.size, leaf_facts, ca_facts, now);
        /* The certificates beside the signature are not signed, and not needed. */
        if (verdict.outcome == OCSP_GOOD && i < 150)
            fail_msg("byte %zu can be changed", i);
        bytes.data[i] ^= 0x10;
    }
    OPENSSL_free(bytes.data);
}

static void age_of_a_response(void **state)
{
    (void)state;
    assert_int_equal(judged(&(struct answer){.this_s = HOUR, .next_s = 2 * HOUR}).outcome,
                     OCSP_NOT_YET_VALID);
    assert_int_equal(judged(&(struct answer){.this_s = -2 * HOUR, .next_s = -HOUR}).outcome,
                     OCSP_STALE);
    assert_int_equal(
        judged(&(struct answer){.this_s = -11 * 24 * HOUR, .without_next = true}).outcome,
        OCSP_STALE);
    assert_int_equal(judged(&(struct answer){.this_s = -HOUR, .without_next = true}).outcome,
                     OCSP_GOOD);
}

static void good_and_revoked_responses(void **state)
{
    (void)state;
    struct ocsp_verdict verdict = judged(&(struct answer){0});
    assert_int_equal(verdict.outcome, OCSP_GOOD);
    assert_string_equal(verdict.digest, "sha1");
    assert_false(verdict.delegated);
    assert_in_range(verdict.next_update, now, now + HOUR + 60);
    assert_in_range(verdict.this_update, now - HOUR - 60, now);
    verdict =
        judged(&(struct answer){.digest = EVP_sha256(), .signer = responder, .key = responder_key});
    assert_int_equal(verdict.outcome, OCSP_GOOD);
    assert_string_equal(verdict.digest, "sha256");
    assert_true(verdict.delegated);
    verdict = judged(&(struct answer){.status = V_OCSP_CERTSTATUS_REVOKED,
                                      .reason = OCSP_REVOKED_STATUS_KEYCOMPROMISE});
    assert_int_equal(verdict.outcome, OCSP_REVOKED);
    assert_string_equal(verdict.revocation_reason, "keyCompromise");
    assert_in_range(verdict.revoked_at, now - 2 * HOUR - 60, now);
    assert_int_equal(judged(&(struct answer){.status = V_OCSP_CERTSTATUS_REVOKED,
                                             .reason = -1,
                                             .this_s = -3 * HOUR,
                                             .next_s = -2 * HOUR})
                         .outcome,
                     OCSP_REVOKED);
    assert_int_equal(judged(&(struct answer){.status = V_OCSP_CERTSTATUS_UNKNOWN}).outcome,
                     OCSP_UNKNOWN);
}

static void timestamps_in_a_response(void **state)
{
    struct bytes without = response(&(struct answer){0}),
                 with = response(&(struct answer){.timestamps = "a list"});
    uint8_t *list;
    size_t size;

    (void)state;
    assert_false(ocsp_timestamps(&list, &size, without.data, without.size));
    assert_false(ocsp_timestamps(&list, &size, NULL, 0));
    assert_true(ocsp_timestamps(&list, &size, with.data, with.size));
    assert_int_equal(size, 6);
    assert_memory_equal(list, "a list", 6);
    free(list);
    OPENSSL_free(without.data);
    OPENSSL_free(with.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_response),
        cmocka_unit_test(response_of_strangers),
        cmocka_unit_test(response_without_issuer),
        cmocka_unit_test(damaged_response),
        cmocka_unit_test(age_of_a_response),
        cmocka_unit_test(good_and_revoked_responses),
        cmocka_unit_test(timestamps_in_a_response),
    };

    return cmocka_run_group_tests(tests, revocation_world_set_up, revocation_world_tear_down);
}
