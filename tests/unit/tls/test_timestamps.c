/* tls/timestamps.h: lists that are cut or odd, signatures over the right bytes, and the count that
 * browsers ask for. The log's own key is made here. */
#include "tls/timestamps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/x509v3.h>

#include "base/buffer.h"
#include "issued.h"

#define LOGS 3

static EVP_PKEY *ca_key, *leaf_key, *log_keys[LOGS];
static uint8_t log_ids[LOGS][32];
static char log_texts[LOGS][512]; /* keys in base64 */
static X509 *ca;
static const struct certificate_facts *ca_facts, *leaf_facts;
static int64_t now;

static X509 *leaf_for(long until_s)
{
    return crafted_new(
        &(struct crafted){.key = leaf_key, .issuer = ca, .issuer_key = ca_key, .until_s = until_s});
}

static int set_up(void **state)
{
    (void)state;
    issued_init();
    now = time(NULL);
    ca_key = EVP_EC_gen("P-256");
    leaf_key = EVP_EC_gen("P-256");
    ca = crafted_new(&(struct crafted){.key = ca_key, .constraints = "critical,CA:TRUE"});
    ca_facts = facts_of(ca);
    for (int i = 0; i < LOGS; i++) {
        unsigned char *der = NULL;
        log_keys[i] = EVP_EC_gen("P-256");
        int size = i2d_PUBKEY(log_keys[i], &der);
        EVP_EncodeBlock((unsigned char *)log_texts[i], der, size);
        EVP_Digest(der, (size_t)size, log_ids[i], NULL, EVP_sha256(), NULL);
        OPENSSL_free(der);
    }
    X509 *leaf = leaf_for(24 * 3600);
    leaf_facts = facts_of(leaf);
    X509_free(leaf);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    certificate_facts_unref(ca_facts);
    certificate_facts_unref(leaf_facts);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(leaf_key);
    for (int i = 0; i < LOGS; i++)
        EVP_PKEY_free(log_keys[i]);
    issued_fini();
    return 0;
}

/* ---- making them ---- */

static void put(struct buffer *output, uint64_t number, size_t size)
{
    while (size-- > 0) {
        uint8_t byte = (uint8_t)(number >> (8 * size));
        assert_true(buffer_append(output, &byte, 1));
    }
}

struct promised {
    int log;
    int64_t at_ms;
    const char *extensions; /* NULL: none */
    bool precertificate;    /* then `data` is the TBSCertificate */
    uint8_t version;
};

/* One timestamp with its length in front. */
static void promise(struct buffer *list, const struct promised *promised, const uint8_t *data,
                    size_t size)
{
    struct buffer text, one;
    size_t extensions = promised->extensions != NULL ? strlen(promised->extensions) : 0,
           signature_size = 128;
    uint8_t signature[128];
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    buffer_init(&text, 1 << 20);
    put(&text, 0, 2);
    put(&text, (uint64_t)promised->at_ms, 8);
    put(&text, promised->precertificate, 2);
    if (promised->precertificate)
        buffer_append(&text, ca_facts->public_key_sha256, 32);
    put(&text, size, 3);
    buffer_append(&text, data, size);
    put(&text, extensions, 2);
    buffer_append(&text, promised->extensions, extensions);
    assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, log_keys[promised->log]),
                     1);
    assert_int_equal(EVP_DigestSign(context, signature, &signature_size, text.data, text.size), 1);
    EVP_MD_CTX_free(context);
    buffer_init(&one, 1 << 16);
    put(&one, promised->version, 1);
    buffer_append(&one, log_ids[promised->log], 32);
    put(&one, (uint64_t)promised->at_ms, 8);
    put(&one, extensions, 2);
    buffer_append(&one, promised->extensions, extensions);
    put(&one, 0x0403, 2); /* ECDSA with SHA-256 */
    put(&one, signature_size, 2);
    buffer_append(&one, signature, signature_size);
    put(list, one.size, 2);
    buffer_append(list, one.data, one.size);
    buffer_fini(&one);
    buffer_fini(&text);
}

static void finish(struct buffer *list)
{
    struct buffer whole;

    buffer_init(&whole, 1 << 16);
    put(&whole, list->size, 2);
    buffer_append(&whole, list->data, list->size);
    buffer_fini(list);
    *list = whole;
}

/* Of the leaf itself, as the TLS extension carries it. */
static struct buffer list_of(const struct promised *promised, size_t count)
{
    struct buffer list;

    buffer_init(&list, 1 << 16);
    for (size_t i = 0; i < count; i++)
        promise(&list, &promised[i], leaf_facts->der, leaf_facts->der_size);
    finish(&list);
    return list;
}

static struct certificate_logs *logs_of(enum log_state state, int64_t since, bool one_operator)
{
    struct certificate_logs *logs = certificate_logs_new();
    struct error error;

    for (int i = 0; i < LOGS; i++) {
        struct certificate_log log = {.state = state, .state_since = since};
        snprintf(log.name, sizeof log.name, "log %d", i);
        snprintf(log.operator_name, sizeof log.operator_name, "operator %d", one_operator ? 0 : i);
        assert_int_equal(certificate_logs_add(logs, &log, log_texts[i], &error), 0);
    }
    return logs;
}

static struct timestamps read_list(const struct buffer *list, const struct certificate_logs *logs)
{
    struct timestamps timestamps = {0};

    timestamps_add(&timestamps, TIMESTAMP_TLS, list->data, list->size, leaf_facts, ca_facts, logs,
                   now);
    return timestamps;
}

/* ---- tests ---- */

static void cut_lists(void **state)
{
    struct buffer list = list_of(&(struct promised){.at_ms = now * 1000}, 1);
    struct timestamps timestamps;

    (void)state;
    for (size_t size = 0; size < list.size; size++) {
        const struct buffer cut = {.data = list.data, .size = size};
        timestamps = read_list(&cut, NULL);
        assert_true(timestamps.malformed);
    }
    put(&list, 0, 1);
    timestamps = read_list(&list, NULL);
    assert_true(timestamps.malformed);
    buffer_fini(&list);
}

static void odd_timestamps(void **state)
{
    const struct promised promised[] = {{.log = 0, .at_ms = (now + 3600) * 1000},
                                        {.log = 1, .at_ms = now * 1000, .version = 1}};
    struct buffer list = list_of(promised, 2);
    struct certificate_logs *logs = logs_of(LOG_USABLE, 0, false), *none = certificate_logs_new();

    (void)state;
    struct timestamps timestamps = read_list(&list, logs);
    assert_int_equal(timestamps.count, 2);
    assert_int_equal(timestamps.items[0].outcome, TIMESTAMP_FROM_THE_FUTURE);
    assert_int_equal(timestamps.items[1].outcome, TIMESTAMP_UNSUPPORTED);
    buffer_fini(&list);
    list = list_of(&(struct promised){.at_ms = now * 1000}, 1);
    timestamps = read_list(&list, none);
    assert_int_equal(timestamps.items[0].outcome, TIMESTAMP_UNKNOWN_LOG);
    timestamps = read_list(&list, NULL);
    assert_int_equal(timestamps.items[0].outcome, TIMESTAMP_UNVERIFIED);
    list.data[list.size - 1] ^= 1;
    timestamps = read_list(&list, logs);
    assert_int_equal(timestamps.items[0].outcome, TIMESTAMP_BAD_SIGNATURE);
    buffer_fini(&list);
    certificate_logs_free(logs);
    certificate_logs_free(none);
    certificate_logs_free(NULL);
}

static void more_than_anybody_needs(void **state)
{
    static struct promised promised[TIMESTAMPS_MAX + 5];
    struct buffer list = list_of(promised, ARRAY_SIZE(promised));
    struct timestamps timestamps = read_list(&list, NULL);

    (void)state;
    assert_int_equal(timestamps.count, TIMESTAMPS_MAX);
    assert_int_equal(timestamps.dropped, 5);
    buffer_fini(&list);
}

static void unusable_keys_of_logs(void **state)
{
    static const char *const keys[] = {"", "AAAA", "not base64!!", "====", "AAA"};
    struct certificate_logs *logs = certificate_logs_new();
    struct error error;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        assert_int_not_equal(
            certificate_logs_add(logs, &(struct certificate_log){0}, keys[i], &error), 0);
    assert_int_equal(certificate_logs_count(logs), 0);
    certificate_logs_free(logs);
}

static void valid_ones_beside_the_certificate(void **state)
{
    /* The second as logs of the static kind make it, with the index of its leaf. */
    const struct promised promised[] = {
        {.log = 0, .at_ms = now * 1000 - 5},
        {.log = 1, .at_ms = now * 1000 - 5, .extensions = "\1\2\3"}};
    struct buffer list = list_of(promised, 2);
    struct certificate_logs *logs = logs_of(LOG_USABLE, 0, false);
    struct timestamps timestamps = read_list(&list, logs);

    (void)state;
    assert_false(timestamps.malformed);
    assert_int_equal(timestamps.count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(timestamps.items[i].outcome, TIMESTAMP_VALID);
        assert_int_equal(timestamps.items[i].at_ms, now * 1000 - 5);
    }
    assert_string_equal(timestamps.items[1].log->name, "log 1");
    buffer_fini(&list);
    certificate_logs_free(logs);
}

static void add_list(X509 *certificate, const struct buffer *list)
{
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    unsigned char *der = NULL;

    ASN1_OCTET_STRING_set(value, list->data, (int)list->size);
    int size = i2d_ASN1_OCTET_STRING(value, &der);
    ASN1_OCTET_STRING_set(value, der, size);
    X509_EXTENSION *extension = X509_EXTENSION_create_by_NID(NULL, NID_ct_precert_scts, 0, value);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    assert_true(X509_sign(certificate, ca_key, EVP_sha256()) > 0);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    OPENSSL_free(der);
}

static void embedded_ones(void **state)
{
    X509 *leaf = leaf_for(24 * 3600);
    unsigned char *bare = NULL;
    struct certificate_logs *logs = logs_of(LOG_USABLE, 0, false);
    struct timestamps timestamps = {0}, without_issuer = {0}, other_issuer = {0};
    struct buffer list;

    (void)state;
    int size = i2d_re_X509_tbs(leaf, &bare); /* what the log signed: no list in it yet */
    buffer_init(&list, 1 << 16);
    promise(&list, &(struct promised){.at_ms = now * 1000, .precertificate = true}, bare,
            (size_t)size);
    finish(&list);
    add_list(leaf, &list);
    const struct certificate_facts *facts = facts_of(leaf);
    assert_int_equal(facts->timestamps_size, list.size);
    timestamps_add(&timestamps, TIMESTAMP_EMBEDDED, facts->timestamps, facts->timestamps_size,
                   facts, ca_facts, logs, now);
    assert_int_equal(timestamps.items[0].outcome, TIMESTAMP_VALID);
    timestamps_add(&without_issuer, TIMESTAMP_EMBEDDED, facts->timestamps, facts->timestamps_size,
                   facts, NULL, logs, now);
    assert_int_equal(without_issuer.items[0].outcome, TIMESTAMP_UNVERIFIED);
    timestamps_add(&other_issuer, TIMESTAMP_EMBEDDED, facts->timestamps, facts->timestamps_size,
                   facts, leaf_facts, logs, now);
    assert_int_equal(other_issuer.items[0].outcome, TIMESTAMP_BAD_SIGNATURE);
    certificate_facts_unref(facts);
    certificate_logs_free(logs);
    buffer_fini(&list);
    OPENSSL_free(bare);
    X509_free(leaf);
}

/* What is made of timestamps of these logs (bits), all in one place. */
static struct timestamps_policy weighed(enum timestamp_source source, unsigned which,
                                        enum log_state state, int64_t since, bool one_operator,
                                        int64_t life_s)
{
    struct certificate_log logs[LOGS];
    struct timestamps timestamps = {0};
    struct timestamps_policy policy;
    const struct certificate_facts facts = {.not_after = life_s};

    for (int i = 0; i < LOGS; i++) {
        logs[i] = (struct certificate_log){.state = state, .state_since = since};
        snprintf(logs[i].operator_name, sizeof logs[i].operator_name, "%d", one_operator ? 0 : i);
        if ((which >> i & 1) == 0)
            continue;
        struct timestamp *one = &timestamps.items[timestamps.count++];
        *one = (struct timestamp){.source = source, .log = &logs[i], .at_ms = 1000000};
        memcpy(one->log_id, log_ids[i], sizeof one->log_id);
    }
    timestamps_weigh(&policy, &timestamps, &facts);
    return policy;
}

static void what_browsers_ask_for(void **state)
{
    const int64_t day = 86400;

    (void)state;
    assert_false(weighed(TIMESTAMP_EMBEDDED, 0, LOG_USABLE, 0, false, 90 * day).enough);
    assert_false(weighed(TIMESTAMP_EMBEDDED, 1, LOG_USABLE, 0, false, 90 * day).enough);
    assert_true(weighed(TIMESTAMP_EMBEDDED, 3, LOG_USABLE, 0, false, 90 * day).enough);
    assert_true(weighed(TIMESTAMP_EMBEDDED, 3, LOG_USABLE, 0, false, 180 * day - 1).enough);
    assert_false(weighed(TIMESTAMP_EMBEDDED, 3, LOG_USABLE, 0, false, 180 * day).enough);
    assert_true(weighed(TIMESTAMP_EMBEDDED, 7, LOG_USABLE, 0, false, 180 * day).enough);
    assert_true(weighed(TIMESTAMP_TLS, 3, LOG_USABLE, 0, false, 180 * day).enough);
    assert_false(weighed(TIMESTAMP_EMBEDDED, 7, LOG_USABLE, 0, true, 90 * day).enough);
    assert_false(weighed(TIMESTAMP_EMBEDDED, 7, LOG_REJECTED, 0, false, 90 * day).enough);
    assert_true(weighed(TIMESTAMP_EMBEDDED, 3, LOG_READ_ONLY, 0, false, 90 * day).enough);
    /* Promised before the logs retired, but none of them is left; or afterwards. */
    struct timestamps_policy policy =
        weighed(TIMESTAMP_EMBEDDED, 3, LOG_RETIRED, 2000, false, 90 * day);
    assert_int_equal(policy.counted, 2);
    assert_false(policy.enough);
    assert_int_equal(weighed(TIMESTAMP_EMBEDDED, 3, LOG_RETIRED, 500, false, 90 * day).counted, 0);
    assert_int_equal(weighed(TIMESTAMP_TLS, 3, LOG_RETIRED, 2000, false, 90 * day).counted, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_lists),
        cmocka_unit_test(odd_timestamps),
        cmocka_unit_test(more_than_anybody_needs),
        cmocka_unit_test(unusable_keys_of_logs),
        cmocka_unit_test(valid_ones_beside_the_certificate),
        cmocka_unit_test(embedded_ones),
        cmocka_unit_test(what_browsers_ask_for),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
