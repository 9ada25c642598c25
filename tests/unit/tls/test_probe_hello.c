/* The hello of our own making: OpenSSL must take it for one, and whatever comes back must not be
 * taken for more than it is. */
#include "tls/probe_hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "tls/client_hello.h"
#include "tls/suite_catalogue.h"

#include "conversation.h"
#include "issued.h"

static uint16_t suites[256];
static size_t suite_count;

static void list_suites(bool tls13)
{
    size_t count;
    const struct suite_catalogue_entry *all = suite_catalogue(&count);

    suite_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (suite_catalogue_tls13(all[i].id) == tls13)
            suites[suite_count++] = all[i].id;
    }
}

static struct probe_hello hello_of(uint16_t version)
{
    list_suites(version == TLS1_3_VERSION);
    return (struct probe_hello){.server_name = "edge.test",
                                .version = version,
                                .suites = suites,
                                .suite_count = suite_count};
}

/* ---- what a server must not be believed ---- */

static enum probe_hello_result read_text(const char *bytes, size_t size)
{
    struct probe_hello_answer answer;

    return probe_hello_read((const uint8_t *)bytes, size, &answer);
}

static void test_strange_answers(void **state)
{
    static const char too_long[] = "\x16\x03\x03\x00\x04\x02\x00\xff\xff";
    static const char other_message[] = "\x16\x03\x03\x00\x04\x0b\x00\x00\x00";
    static const char cut[] = "\x16\x03\x03\x00\x08\x02\x00\x00\x04\x03\x03\x00\x00";
    static const char odd_alert[] = "\x15\x03\x03\x00\x03\x02\x28\x00";

    (void)state;
    assert_int_equal(read_text("HTTP/1.1 400 Bad", 16), PROBE_HELLO_STRANGE);
    assert_int_equal(read_text("\x16\x02\x00\x00", 4), PROBE_HELLO_STRANGE);
    assert_int_equal(read_text(too_long, sizeof too_long - 1), PROBE_HELLO_STRANGE);
    assert_int_equal(read_text(other_message, sizeof other_message - 1), PROBE_HELLO_STRANGE);
    assert_int_equal(read_text(cut, sizeof cut - 1), PROBE_HELLO_STRANGE);
    assert_int_equal(read_text(odd_alert, sizeof odd_alert - 1), PROBE_HELLO_STRANGE);
    assert_int_equal(read_text("", 0), PROBE_HELLO_MORE);
    assert_int_equal(read_text("\x16", 1), PROBE_HELLO_MORE);
}

static void test_alerts(void **state)
{
    static const char fatal[] = "\x15\x03\x01\x00\x02\x02\x46";
    static const char warning_first[] = "\x15\x03\x01\x00\x02\x01\x70\x15\x03\x01\x00\x02\x02\x28";
    struct probe_hello_answer answer;

    (void)state;
    assert_int_equal(probe_hello_read((const uint8_t *)fatal, sizeof fatal - 1, &answer),
                     PROBE_HELLO_REFUSED);
    assert_int_equal(answer.alert, 70);
    assert_int_equal(
        probe_hello_read((const uint8_t *)warning_first, sizeof warning_first - 1, &answer),
        PROBE_HELLO_REFUSED);
    assert_int_equal(answer.alert, 40);
}

/* ---- what is built ---- */

static void test_hello_is_well_formed(void **state)
{
    uint8_t message[PROBE_HELLO_SIZE_MAX];
    struct client_hello read;

    (void)state;
    for (uint16_t version = TLS1_VERSION; version <= TLS1_3_VERSION; version++) {
        struct probe_hello hello = hello_of(version);
        size_t size = probe_hello_build(message, &hello);
        assert_int_equal(client_hello_parse(message, size, sizeof message, &read), CLIENT_HELLO_OK);
        assert_int_equal(read.wire_size, size);
        assert_string_equal(read.server_name, "edge.test");
        assert_int_equal(read.max_version, version);
        assert_int_equal(read.key_share_count, 0);
    }
}

static void test_too_much_is_refused(void **state)
{
    static uint16_t many[2000];
    uint8_t message[PROBE_HELLO_SIZE_MAX];
    struct probe_hello hello = {
        .version = TLS1_2_VERSION, .suites = many, .suite_count = ARRAY_SIZE(many)};

    (void)state;
    assert_int_equal(probe_hello_build(message, &hello), 0);
}

/* ---- against OpenSSL ---- */

static SSL_CTX *server_new(uint16_t lowest, uint16_t highest)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    size_t size;
    char *pem = keypair_to_pem(issued_pair(KEY_TYPE_RSA), &size);
    BIO *input = BIO_new_mem_buf(pem, (int)size);
    X509 *leaf = PEM_read_bio_X509(input, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(input, NULL, NULL, NULL);

    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_min_proto_version(context, lowest);
    SSL_CTX_set_max_proto_version(context, highest);
    assert_int_equal(SSL_CTX_use_cert_and_key(context, leaf, key, NULL, 1), 1);
    X509_free(leaf);
    EVP_PKEY_free(key);
    BIO_free(input);
    free(pem);
    return context;
}

/* Keeps the context. Every prefix of the answer must be an answer that is not whole. */
static enum probe_hello_result ask(SSL_CTX *context, const struct probe_hello *hello,
                                   struct probe_hello_answer *ret_answer)
{
    static uint8_t answer[1 << 16];
    uint8_t message[PROBE_HELLO_SIZE_MAX];
    struct probe_hello_answer of_prefix;
    SSL *peer = peer_new(context, true);
    size_t whole = 0;

    peer_input(peer, message, probe_hello_build(message, hello));
    ignore(SSL_do_handshake(peer));
    ERR_clear_error();
    size_t size = peer_output(peer, answer, sizeof answer);
    SSL_free(peer);
    enum probe_hello_result result = probe_hello_read(answer, size, ret_answer);
    while (probe_hello_read(answer, whole, &of_prefix) == PROBE_HELLO_MORE && whole < size)
        whole++;
    assert_int_equal(probe_hello_read(answer, whole, &of_prefix), result);
    return result;
}

static void test_versions(void **state)
{
    struct probe_hello_answer answer;

    (void)state;
    for (uint16_t version = TLS1_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *context = server_new(version, version);
        for (uint16_t asked = SSL3_VERSION; asked <= TLS1_3_VERSION; asked++) {
            struct probe_hello hello = hello_of(asked);
            enum probe_hello_result result = ask(context, &hello, &answer);
            /* Below TLS 1.3 a server may answer with less than was asked for. */
            bool lower = asked > version && asked < TLS1_3_VERSION;
            assert_int_equal(result == PROBE_HELLO_ACCEPTED, asked == version || lower);
            if (result == PROBE_HELLO_ACCEPTED)
                assert_int_equal(answer.version, version);
            else
                assert_int_equal(result, PROBE_HELLO_REFUSED);
        }
        SSL_CTX_free(context);
    }
}

/* RFC 8446 §4.1.4: without a key share the server names the group that it wants. */
static void test_hello_retry(void **state)
{
    static const uint16_t hybrid[] = {PROBE_GROUP_X25519MLKEM768}, p384[] = {0x0018};
    struct probe_hello hello = hello_of(TLS1_3_VERSION);
    struct probe_hello_answer answer;
    SSL_CTX *context = server_new(TLS1_2_VERSION, TLS1_3_VERSION);

    (void)state;
    hello.groups = p384;
    hello.group_count = 1;
    assert_int_equal(ask(context, &hello, &answer), PROBE_HELLO_ACCEPTED);
    assert_true(answer.retry);
    assert_int_equal(answer.group, 0x0018);
    assert_int_equal(answer.suite >> 8, 0x13);
    hello.groups = hybrid;
    bool has_hybrid = SSL_CTX_set1_groups_list(context, "X25519MLKEM768:X25519") == 1;
    assert_int_equal(ask(context, &hello, &answer),
                     has_hybrid ? PROBE_HELLO_ACCEPTED : PROBE_HELLO_REFUSED);
    SSL_CTX_free(context);
}

/* RFC 7507 §3. */
static void test_fallback(void **state)
{
    struct probe_hello hello = hello_of(TLS1_1_VERSION);
    struct probe_hello_answer answer;
    SSL_CTX *context = server_new(TLS1_VERSION, TLS1_2_VERSION);

    (void)state;
    assert_int_equal(ask(context, &hello, &answer), PROBE_HELLO_ACCEPTED);
    hello.fallback = true;
    assert_int_equal(ask(context, &hello, &answer), PROBE_HELLO_REFUSED);
    assert_int_equal(answer.alert, 86); /* inappropriate_fallback */
    SSL_CTX_free(context);
}

/* RFC 8446 §4.1.3. */
static void test_sentinel(void **state)
{
    struct probe_hello hello = hello_of(TLS1_2_VERSION);
    struct probe_hello_answer answer;
    SSL_CTX *context = server_new(TLS1_2_VERSION, TLS1_3_VERSION);

    (void)state;
    assert_int_equal(ask(context, &hello, &answer), PROBE_HELLO_ACCEPTED);
    assert_int_equal(answer.sentinel, 1);
    SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    assert_int_equal(ask(context, &hello, &answer), PROBE_HELLO_ACCEPTED);
    assert_int_equal(answer.sentinel, PROBE_HELLO_NO_SENTINEL);
    SSL_CTX_free(context);
}

static void test_suites_are_found_by_elimination(void **state)
{
    static const char *const expected[] = {"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                                           "TLS_RSA_WITH_AES_256_CBC_SHA", "TLS_RSA_WITH_NULL_SHA"};
    struct probe_hello hello = hello_of(TLS1_2_VERSION);
    struct probe_hello_answer answer;
    SSL_CTX *context = server_new(TLS1_2_VERSION, TLS1_2_VERSION);
    size_t found = 0;

    (void)state;
    SSL_CTX_set_cipher_list(context, "ECDHE-RSA-AES128-GCM-SHA256:AES256-SHA:NULL-SHA");
    SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
    hello.compression = true;
    while (ask(context, &hello, &answer) == PROBE_HELLO_ACCEPTED) {
        assert_true(found < ARRAY_SIZE(expected));
        assert_string_equal(suite_catalogue_name(answer.suite), expected[found++]);
        assert_int_equal(answer.compression, 0);
        for (size_t i = 0; i < suite_count; i++)
            suites[i] = suites[i] == answer.suite ? 0xfefe : suites[i];
    }
    assert_int_equal(found, ARRAY_SIZE(expected));
    assert_int_equal(answer.alert, 40);
    SSL_CTX_free(context);
}

static void test_catalogue_has_no_doubles(void **state)
{
    size_t count;
    const struct suite_catalogue_entry *all = suite_catalogue(&count);

    (void)state;
    for (size_t i = 0; i < count; i++)
        assert_ptr_equal(suite_catalogue_name(all[i].id), all[i].name);
    assert_null(suite_catalogue_name(0xfefe));
}

static int set_up(void **state)
{
    (void)state;
    issued_init();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    issued_fini();
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strange_answers),
        cmocka_unit_test(test_alerts),
        cmocka_unit_test(test_hello_is_well_formed),
        cmocka_unit_test(test_too_much_is_refused),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_hello_retry),
        cmocka_unit_test(test_fallback),
        cmocka_unit_test(test_sentinel),
        cmocka_unit_test(test_suites_are_found_by_elimination),
        cmocka_unit_test(test_catalogue_has_no_doubles),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
