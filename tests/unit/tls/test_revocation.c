/* tls/revocation.h: whose word counts, for which certificate, and for how long. */
#include "tls/revocation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <openssl/conf.h>
#include <openssl/ec.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "issued.h"

#define HOUR 3600
#define URL  "http://crl.example/1.crl"

static EVP_PKEY *ca_key, *other_key, *leaf_key, *responder_key;
static X509 *ca, *other_ca, *leaf, *other_leaf, *responder, *impostor;
static const struct certificate_facts *ca_facts, *other_ca_facts, *leaf_facts;
static struct crl_question of_ca; /* about the leaf */
static int64_t now;

static const struct certificate_facts *facts_of(X509 *certificate)
{
    const struct certificate_facts *facts = NULL;
    unsigned char *der = NULL;
    struct error error;
    int size = i2d_X509(certificate, &der);

    assert_int_equal(certificate_facts_new(&facts, der, (size_t)size, &error), 0);
    OPENSSL_free(der);
    return facts;
}

static X509 *authority(EVP_PKEY *key, const char *name, const char *usage)
{
    return crafted_new(&(struct crafted){
        .key = key, .common_name = name, .constraints = "critical,CA:TRUE", .usage = usage});
}

static X509 *issued(EVP_PKEY *key, const char *name, const char *extended_usage)
{
    return crafted_new(&(struct crafted){.key = key,
                                         .issuer = ca,
                                         .issuer_key = ca_key,
                                         .common_name = name,
                                         .extended_usage = extended_usage});
}

static X509 *with_list_address(X509 *certificate, const char *address)
{
    X509_EXTENSION *extension =
        X509V3_EXT_conf_nid(NULL, NULL, NID_crl_distribution_points, address);

    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
    assert_true(X509_sign(certificate, ca_key, EVP_sha256()) > 0);
    return certificate;
}

static int set_up(void **state)
{
    (void)state;
    issued_init();
    now = time(NULL);
    ca_key = EVP_EC_gen("P-256");
    other_key = EVP_EC_gen("P-256");
    leaf_key = EVP_EC_gen("P-256");
    responder_key = EVP_EC_gen("P-256");
    ca = authority(ca_key, "CA", "critical,keyCertSign,cRLSign");
    other_ca = authority(other_key, "Other CA", "critical,keyCertSign,cRLSign");
    leaf = with_list_address(issued(leaf_key, "leaf", "serverAuth"), "URI:" URL);
    other_leaf = issued(leaf_key, "other", "serverAuth");
    responder = issued(responder_key, "responder", "OCSPSigning");
    impostor = issued(responder_key, "impostor", "serverAuth");
    ca_facts = facts_of(ca);
    other_ca_facts = facts_of(other_ca);
    leaf_facts = facts_of(leaf);
    of_ca = (struct crl_question){
        .certificate = leaf_facts, .issuers = &ca_facts, .issuer_count = 1, .at = now};
    return 0;
}

static int tear_down(void **state)
{
    EVP_PKEY *keys[] = {ca_key, other_key, leaf_key, responder_key};
    X509 *certificates[] = {ca, other_ca, leaf, other_leaf, responder, impostor};

    (void)state;
    certificate_facts_unref(ca_facts);
    certificate_facts_unref(other_ca_facts);
    certificate_facts_unref(leaf_facts);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        EVP_PKEY_free(keys[i]);
    for (size_t i = 0; i < ARRAY_SIZE(certificates); i++)
        X509_free(certificates[i]);
    issued_fini();
    return 0;
}

struct bytes {
    uint8_t *data;
    size_t size;
};

/* ---- OCSP ---- */

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

/* ---- CRL ---- */

struct list { /* zero: fresh, of the CA, for nobody */
    X509 *revoked;
    int reason; /* 0: not said */
    X509 *issuer;
    EVP_PKEY *key;
    long this_s, next_s;
    int extension;
    const char *extension_text;
    unsigned others;       /* so many other entries */
    long number;           /* 0: none */
    long changes;          /* a delta list of the one with this number; 0: a complete list */
    X509_EXTENSION *scope; /* NULL: none; stays the caller's */
};

static void add_entry(X509_CRL *crl, const ASN1_INTEGER *serial, int reason)
{
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_TIME *moment = X509_gmtime_adj(NULL, -HOUR);

    assert_int_equal(X509_REVOKED_set_serialNumber(entry, (ASN1_INTEGER *)(uintptr_t)serial), 1);
    assert_int_equal(X509_REVOKED_set_revocationDate(entry, moment), 1);
    if (reason != 0) {
        ASN1_ENUMERATED *value = ASN1_ENUMERATED_new();
        ASN1_ENUMERATED_set(value, reason);
        assert_int_equal(X509_REVOKED_add1_ext_i2d(entry, NID_crl_reason, value, 0, 0), 1);
        ASN1_ENUMERATED_free(value);
    }
    assert_int_equal(X509_CRL_add0_revoked(crl, entry), 1);
    ASN1_TIME_free(moment);
}

static void set_times(X509_CRL *crl, const struct list *list)
{
    bool any = list->this_s != 0 || list->next_s != 0;
    ASN1_TIME *this_update = X509_gmtime_adj(NULL, any ? list->this_s : -HOUR),
              *next_update = X509_gmtime_adj(NULL, any ? list->next_s : HOUR);

    X509_CRL_set1_lastUpdate(crl, this_update);
    X509_CRL_set1_nextUpdate(crl, next_update);
    ASN1_TIME_free(this_update);
    ASN1_TIME_free(next_update);
}

static void add_number(X509_CRL *crl, int nid, long value)
{
    ASN1_INTEGER *number = ASN1_INTEGER_new();

    ASN1_INTEGER_set(number, value);
    assert_int_equal(X509_CRL_add1_ext_i2d(crl, nid, number, nid == NID_delta_crl, 0), 1);
    ASN1_INTEGER_free(number);
}

static struct bytes list_der(const struct list *list)
{
    X509_CRL *crl = X509_CRL_new();
    struct bytes bytes = {0};

    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(list->issuer != NULL ? list->issuer : ca));
    set_times(crl, list);
    for (unsigned i = 0; i < list->others; i++) {
        ASN1_INTEGER *serial = ASN1_INTEGER_new();
        ASN1_INTEGER_set(serial, 1000000 + (i * 7919) % 1000003);
        add_entry(crl, serial, 0);
        ASN1_INTEGER_free(serial);
    }
    if (list->revoked != NULL)
        add_entry(crl, X509_get0_serialNumber(list->revoked), list->reason);
    if (list->extension != 0) {
        X509_EXTENSION *extension =
            X509V3_EXT_conf_nid(NULL, NULL, list->extension, list->extension_text);
        assert_non_null(extension);
        X509_CRL_add_ext(crl, extension, -1);
        X509_EXTENSION_free(extension);
    }
    if (list->scope != NULL)
        assert_int_equal(X509_CRL_add_ext(crl, list->scope, -1), 1);
    if (list->number != 0)
        add_number(crl, NID_crl_number, list->number);
    if (list->changes != 0)
        add_number(crl, NID_delta_crl, list->changes);
    assert_true(X509_CRL_sign(crl, list->key != NULL ? list->key : ca_key, EVP_sha256()) > 0);
    bytes.size = (size_t)i2d_X509_CRL(crl, &bytes.data);
    X509_CRL_free(crl);
    return bytes;
}

static struct crl *crl_of(const struct list *list)
{
    struct bytes bytes = list_der(list);
    struct crl *crl;
    struct error error = {0};

    if (crl_new(&crl, bytes.data, bytes.size, &error) != 0)
        fail_msg("%s", error.message);
    OPENSSL_free(bytes.data);
    return crl;
}

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

#define COMPROMISE "keyCompromise,CACompromise"
#define OTHERS                                                                                     \
    "affiliationChanged,superseded,cessationOfOperation,certificateHold,privilegeWithdrawn,"       \
    "AACompromise"

static const char names_text[] = "[one]\nCN=CA\nOU=One\n[two]\nCN=CA\nOU=Two\n"
                                 "[rest]\nOU=One\n[other_rest]\nOU=Two\n"
                                 "[full]\nfullname=dirName:one\n[other]\nfullname=dirName:two\n"
                                 "[relative]\nrelativename=rest\n"
                                 "[other_relative]\nrelativename=other_rest\n"
                                 "[compromise]\nonlysomereasons=" COMPROMISE "\n"
                                 "[others]\nonlysomereasons=" OTHERS "\n"
                                 "[compromise_at]\nfullname=dirName:one\n"
                                 "onlysomereasons=" COMPROMISE "\n"
                                 "[others_at]\nfullname=dirName:one\n"
                                 "onlysomereasons=" OTHERS "\n"
                                 "[some]\nfullname=dirName:one\nreasons=keyCompromise\n";

/* An extension about distribution points, whose directory names stand in names_text. */
static X509_EXTENSION *naming(int nid, const char *text)
{
    CONF *names = NCONF_new(NULL);
    BIO *input = BIO_new_mem_buf(names_text, -1);
    X509V3_CTX context;
    long line;

    assert_int_equal(NCONF_load_bio(names, input, &line), 1);
    X509V3_set_ctx(&context, NULL, NULL, NULL, NULL, 0);
    X509V3_set_nconf(&context, names);
    X509_EXTENSION *extension = X509V3_EXT_nconf_nid(names, &context, nid, text);
    assert_non_null(extension);
    NCONF_free(names);
    BIO_free(input);
    return extension;
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

/* ---- lists together ---- */

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
        cmocka_unit_test(no_response),
        cmocka_unit_test(response_of_strangers),
        cmocka_unit_test(response_without_issuer),
        cmocka_unit_test(damaged_response),
        cmocka_unit_test(age_of_a_response),
        cmocka_unit_test(good_and_revoked_responses),
        cmocka_unit_test(timestamps_in_a_response),
        cmocka_unit_test(unreadable_lists),
        cmocka_unit_test(lists_of_strangers),
        cmocka_unit_test(scopes_of_lists),
        cmocka_unit_test(scopes_of_long_addresses),
        cmocka_unit_test(scopes_by_directory_name),
        cmocka_unit_test(age_of_lists),
        cmocka_unit_test(good_and_revoked_by_lists),
        cmocka_unit_test(large_lists),
        cmocka_unit_test(lists_in_pem),
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

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
