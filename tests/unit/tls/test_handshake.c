/* Handshakes against OpenSSL in memory: what must fail, and how it is told. */
#include "tls/handshake_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/err.h>

#include "tls/context.h"

#include "handshake_world.h"

static struct record_crypto *crypto;

/* ---- what a server refuses ---- */

static void expect_garbage_refused(const void *garbage, size_t size, const char *reason)
{
    struct tls_policy policy = ordinary_policy();
    struct tls_server *server = server_new(&policy, true, false);
    struct handshake *handshake = handshake_new_server(server);
    struct handshake_failure failure;
    size_t consumed;

    assert_int_equal(handshake_feed(handshake, garbage, size, &consumed), HANDSHAKE_FAILED);
    assert_true(consumed <= size);
    handshake_failure(handshake, &failure);
    assert_string_equal(failure.stage, "client_hello");
    if (strcmp(failure.reason, reason) != 0)
        fail_msg("%s", failure.reason);
    assert_int_equal(ERR_peek_error(), 0);
    assert_int_equal(handshake_feed(handshake, garbage, size, &consumed), HANDSHAKE_FAILED);
    assert_int_equal(consumed, 0);
    handshake_free(handshake);
    tls_server_unref(server);
}

static void refuses_garbage_at_once(void **state)
{
    static const uint8_t oversized[] = {22, 3, 1, 0xff, 0xff, 1, 0, 0, 0};
    static const uint8_t early_data[] = {23, 3, 3, 0, 1, 0};
    static const uint8_t empty[5] = {0};
    static const uint8_t short_hello[] = {22, 3, 1, 0, 5, 1, 0, 0, 1, 0};
    static const char http[] = "GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n";

    (void)state;
    expect_garbage_refused(http, strlen(http), "http request");
    expect_garbage_refused("CONNECT x", 9, "https proxy request");
    expect_garbage_refused("SSH-2.0-x", 9, "wrong version number");
    expect_garbage_refused(oversized, sizeof oversized, "packet length too long");
    expect_garbage_refused(early_data, sizeof early_data, "unexpected message");
    expect_garbage_refused(empty, sizeof empty, "wrong version number");
    expect_garbage_refused(short_hello, sizeof short_hello, "length too short");
}

static void refuses_the_hello_of_sslv2(void **state)
{
    /* OpenSSL would accept this form of a ClientHello; no record boundary could be trusted
     * afterwards. */
    static const uint8_t hello[] = {0x80, 0x2e, 1, 3, 3, 0, 21, 0, 0, 0, 16, 0, 0, 0x2f};
    struct tls_policy policy = ordinary_policy();
    struct tls_server *server = server_new(&policy, true, false);
    struct handshake *handshake = handshake_new_server(server);
    size_t consumed;

    (void)state;
    assert_int_equal(handshake_feed(handshake, hello, sizeof hello, &consumed), HANDSHAKE_FAILED);
    handshake_free(handshake);
    tls_server_unref(server);
}

static void waits_for_whole_records(void **state)
{
    struct conversation *conversation = ordinary_conversation();
    uint8_t hello[4096];
    size_t consumed;
    const uint8_t *output;

    (void)state;
    SSL_do_handshake(conversation->peer);
    size_t size = peer_output(conversation->peer, hello, sizeof hello);
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(handshake_feed(conversation->handshake, hello, i, &consumed),
                         HANDSHAKE_WANT_READ);
        assert_int_equal(consumed, 0);
        assert_int_equal(handshake_output(conversation->handshake, &output), 0);
    }
    assert_string_equal(failure_of(conversation).stage, "client_hello");
    assert_int_equal(handshake_feed(conversation->handshake, hello, size, &consumed),
                     HANDSHAKE_WANT_READ);
    assert_int_equal(consumed, size);
    assert_true(handshake_output(conversation->handshake, &output) > 0);
    assert_string_equal(failure_of(conversation).stage, "finished");
    conversation_free(conversation);
}

/* The alert that ends a handshake between this policy and a client prepared by `prepare`. */
static void expect_server_alert(const struct tls_policy *policy, void (*prepare)(SSL_CTX *),
                                unsigned alert, const char *stage)
{
    SSL_CTX *context = client_context();
    prepare(context);
    struct tls_server *server = server_new(policy, true, false);
    struct conversation *conversation =
        conversation_new(handshake_new_server(server), client_peer(context));

    conversation_run(conversation, NULL);
    assert_int_equal(conversation->status, HANDSHAKE_FAILED);
    assert_int_equal(failure_of(conversation).alert_sent, alert);
    assert_int_equal(failure_of(conversation).alert_received, ALERT_NONE);
    assert_string_equal(failure_of(conversation).stage, stage);
    assert_true(failure_of(conversation).reason[0] != '\0');
    tls_server_unref(server);
    conversation_free(conversation);
}

static void only_tls12(SSL_CTX *context)
{
    SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
}

static void only_rsa_suites(SSL_CTX *context)
{
    only_tls12(context);
    SSL_CTX_set_cipher_list(context,
                            "AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA:DHE-RSA-AES128-GCM-SHA256");
}

static void only_ccm(SSL_CTX *context)
{
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(context, "TLS_AES_128_CCM_SHA256");
}

static void only_p521(SSL_CTX *context)
{
    SSL_CTX_set1_groups_list(context, context_text("P-521"));
}

static void only_rsa_signatures(SSL_CTX *context)
{
    SSL_CTX_set1_sigalgs_list(context, context_text("RSA-PSS+SHA256"));
}

static void offer_h2(SSL_CTX *context)
{
    SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\x02h2", 3);
}

static void refuses_without_common_ground(void **state)
{
    struct tls_policy policy = ordinary_policy(), new_only = policy, with_alpn = policy;

    (void)state;
    new_only.min_version = TLS_VERSION_1_3;
    with_alpn.alpn = (const uint8_t *)"\x08http/1.1";
    with_alpn.alpn_size = 9;
    expect_server_alert(&new_only, only_tls12, ALERT_PROTOCOL_VERSION, "client_hello");
    expect_server_alert(&policy, only_rsa_suites, ALERT_HANDSHAKE_FAILURE, "client_hello");
    expect_server_alert(&policy, only_ccm, ALERT_HANDSHAKE_FAILURE, "client_hello");
    expect_server_alert(&policy, only_p521, ALERT_HANDSHAKE_FAILURE, "client_hello");
    expect_server_alert(&policy, only_rsa_signatures, ALERT_HANDSHAKE_FAILURE, "client_hello");
    expect_server_alert(&with_alpn, offer_h2, TLS1_AD_NO_APPLICATION_PROTOCOL, "client_hello");
}

static void tells_the_alert_of_the_peer(void **state)
{
    struct tls_policy policy = ordinary_policy();

    (void)state;
    for (int version = TLS_VERSION_1_2; version <= TLS_VERSION_1_3; version++) {
        SSL_CTX *context = client_context();
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL); /* trusts nobody */
        SSL_CTX_set_max_proto_version(context, version);
        struct tls_server *server = server_new(&policy, true, false);
        struct conversation *conversation =
            conversation_new(handshake_new_server(server), client_peer(context));
        conversation_run(conversation, NULL);
        assert_int_equal(conversation->status, HANDSHAKE_FAILED);
        assert_int_equal(failure_of(conversation).alert_received, TLS1_AD_UNKNOWN_CA);
        assert_int_equal(failure_of(conversation).alert_sent, ALERT_NONE);
        assert_string_equal(failure_of(conversation).stage,
                            version == TLS_VERSION_1_2 ? "client_key_exchange" : "finished");
        tls_server_unref(server);
        conversation_free(conversation);
    }
}

static void refuses_a_forged_finished(void **state)
{
    struct conversation *conversation = ordinary_conversation();
    uint8_t wire[8192];
    const uint8_t *output;
    size_t consumed;

    (void)state;
    SSL_do_handshake(conversation->peer);
    size_t size = peer_output(conversation->peer, wire, sizeof wire);
    assert_int_equal(handshake_feed(conversation->handshake, wire, size, &consumed),
                     HANDSHAKE_WANT_READ);
    size = handshake_output(conversation->handshake, &output);
    peer_input(conversation->peer, output, size);
    handshake_sent(conversation->handshake, size);
    assert_int_equal(SSL_do_handshake(conversation->peer), 1);
    size = peer_output(conversation->peer, wire, sizeof wire);
    wire[size - 1] ^= 1;
    assert_int_equal(handshake_feed(conversation->handshake, wire, size, &consumed),
                     HANDSHAKE_FAILED);
    assert_int_equal(failure_of(conversation).alert_sent, ALERT_BAD_RECORD_MAC);
    assert_string_equal(failure_of(conversation).stage, "finished");
    conversation_free(conversation);
}

static void refuses_impossible_policies(void **state)
{
    struct keypair *both[KEY_TYPE_COUNT] = {issued_pair(KEY_TYPE_ECDSA), issued_pair(KEY_TYPE_RSA)};
    struct keypair *none[KEY_TYPE_COUNT] = {NULL, NULL};
    struct tls_policy policy = ordinary_policy();
    struct tls_server *server = NULL;
    struct error error;

    (void)state;
    assert_int_equal(tls_server_new(&server, &policy, none, &error), -(int)ERROR_INTERNAL);
    policy.groups = "X25519:Q-256";
    assert_int_equal(tls_server_new(&server, &policy, both, &error), -(int)ERROR_CONFIG);
    assert_non_null(strstr(error.message, "Q-256"));
    policy = ordinary_policy();
    policy.min_version = 0x0302;
    assert_int_equal(tls_server_new(&server, &policy, both, &error), -(int)ERROR_CONFIG);
    policy.min_version = TLS_VERSION_1_3;
    policy.max_version = TLS_VERSION_1_2;
    assert_int_equal(tls_server_new(&server, &policy, both, &error), -(int)ERROR_CONFIG);
    assert_null(server);
    assert_int_equal(ERR_peek_error(), 0);
    tls_server_unref(NULL);
}

static void leaves_out_a_hybrid_group_that_is_not_there(void **state)
{
    struct tls_policy policy = ordinary_policy();

    (void)state;
    policy.groups = "X25519MLKEM768:X25519";
    tls_server_unref(server_new(&policy, true, false));
    assert_non_null(strstr(tls_default_groups(), "X25519"));
}

/* A certificate that the operator forced is served, whatever OpenSSL's security level thinks of it.
 */
static void serves_a_forced_weak_certificate(void **state)
{
    EVP_PKEY *key = EVP_RSA_gen(1024);
    X509 *leaf = crafted_new(&(struct crafted){.key = key, .digest = EVP_sha1()});
    struct keypair *pairs[KEY_TYPE_COUNT] = {[KEY_TYPE_RSA] = pair_of(leaf, NULL, NULL, key)};
    struct tls_policy policy = ordinary_policy();
    struct tls_server *server;
    struct error error;
    SSL_CTX *context = client_context();

    (void)state;
    SSL_CTX_set_security_level(context, 0);
    assert_int_equal(tls_server_new(&server, &policy, pairs, &error), 0);
    struct conversation *conversation =
        conversation_new(handshake_new_server(server), client_peer(context));
    conversation_run(conversation, NULL);
    conversation_detach(conversation, crypto);
    conversation_free(conversation);
    tls_server_unref(server);
    keypair_unref(pairs[KEY_TYPE_RSA]);
    X509_free(leaf);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_garbage_at_once),
        cmocka_unit_test(refuses_the_hello_of_sslv2),
        cmocka_unit_test(waits_for_whole_records),
        cmocka_unit_test(refuses_without_common_ground),
        cmocka_unit_test(tells_the_alert_of_the_peer),
        cmocka_unit_test(refuses_a_forged_finished),
        cmocka_unit_test(refuses_impossible_policies),
        cmocka_unit_test(leaves_out_a_hybrid_group_that_is_not_there),
        cmocka_unit_test(serves_a_forced_weak_certificate),
    };

    issued_init();
    crypto = record_crypto_new();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    record_crypto_free(crypto);
    issued_fini();
    return failed;
}
