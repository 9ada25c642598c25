/* The client's side: what it refuses to believe, what it detaches, and plain use without detaching.
 */
#include "tls/handshake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "tls/context.h"

#include "conversation.h"
#include "issued.h"

static struct record_crypto *crypto;

/* ---- making both sides ---- */

static struct tls_client_policy ordinary_policy(void)
{
    return (struct tls_client_policy){
        .trust_pem = issued_ca_pem(), .verify = true, .only_key_type = -1, .detachable = true};
}

static struct tls_client *client_new(const struct tls_client_policy *policy)
{
    struct tls_client *client = NULL;
    struct error error;

    if (tls_client_new(&client, policy, &error) != 0)
        fail_msg("%s", error.message);
    return client;
}

static void use_pair(SSL_CTX *context, const struct keypair *pair)
{
    size_t size;
    char *pem = keypair_to_pem(pair, &size);
    BIO *input = BIO_new_mem_buf(pem, (int)size);
    X509 *leaf = PEM_read_bio_X509(input, NULL, NULL, NULL),
         *issuer = PEM_read_bio_X509(input, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(input, NULL, NULL, NULL);
    STACK_OF(X509) *chain = sk_X509_new_null();

    if (issuer != NULL)
        sk_X509_push(chain, issuer);
    assert_int_equal(SSL_CTX_use_cert_and_key(context, leaf, key, chain, 1), 1);
    sk_X509_pop_free(chain, X509_free);
    X509_free(leaf);
    EVP_PKEY_free(key);
    BIO_free(input);
    free(pem);
}

static SSL_CTX *server_context(const struct keypair *pair)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    assert_non_null(context);
    if (pair != NULL)
        use_pair(context, pair);
    return context;
}

/* Takes the context. */
static struct conversation *conversation_with(const struct tls_client_policy *policy,
                                              const char *name, SSL_CTX *context)
{
    struct tls_client *client = client_new(policy);
    struct conversation *conversation =
        conversation_new(handshake_new_client(client, name), peer_new(context, true));

    tls_client_unref(client);
    SSL_CTX_free(context);
    return conversation;
}

/* ---- what a client refuses ---- */

static void expect_refused(const struct tls_client_policy *policy, const char *name,
                           const struct keypair *pair, unsigned alert, const char *reason)
{
    struct conversation *conversation = conversation_with(policy, name, server_context(pair));
    struct handshake_failure failure;

    conversation_run(conversation, NULL);
    assert_int_equal(conversation->status, HANDSHAKE_FAILED);
    handshake_failure(conversation->handshake, &failure);
    assert_int_equal(failure.alert_sent, alert);
    assert_string_equal(failure.stage, "certificate");
    if (strstr(failure.reason, reason) == NULL)
        fail_msg("%s", failure.reason);
    conversation_free(conversation);
}

static void refuses_whom_it_cannot_trust(void **state)
{
    struct tls_client_policy policy = ordinary_policy(), of_others = policy;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *self_signed = crafted_new(&(struct crafted){.key = key});
    X509 *expired = crafted_new(&(struct crafted){.key = key, .from_s = -7200, .until_s = -60});
    struct keypair *stranger = pair_of(self_signed, NULL, NULL, key),
                   *late = pair_of(expired, NULL, NULL, key);
    char *late_pem = pem_of_certificate(expired);

    (void)state;
    expect_refused(&policy, "edge.test", stranger, TLS1_AD_UNKNOWN_CA, "self-signed");
    expect_refused(&policy, "other.test", issued_pair(KEY_TYPE_ECDSA), 42, "hostname mismatch");
    expect_refused(&policy, "a.b.wild.test", issued_pair(KEY_TYPE_ECDSA), 42, "hostname mismatch");
    expect_refused(&policy, "127.0.0.2", issued_pair(KEY_TYPE_ECDSA), 42, "IP address mismatch");
    of_others.trust_pem = late_pem;
    expect_refused(&of_others, "edge.test", late, 45, "expired");
    expect_refused(&of_others, "edge.test", issued_pair(KEY_TYPE_RSA), TLS1_AD_UNKNOWN_CA,
                   "self-signed");
    of_others.trust_pem = NULL; /* the system's store does not know our CA */
    expect_refused(&of_others, "edge.test", issued_pair(KEY_TYPE_RSA), TLS1_AD_UNKNOWN_CA,
                   "self-signed");
    keypair_unref(stranger);
    keypair_unref(late);
    free(late_pem);
    X509_free(self_signed);
    X509_free(expired);
    EVP_PKEY_free(key);
}

static void refuses_impossible_policies(void **state)
{
    struct tls_client_policy policy = ordinary_policy();
    struct tls_client *client = NULL;
    struct error error;

    (void)state;
    policy.trust_pem = "nothing";
    assert_int_equal(tls_client_new(&client, &policy, &error), -(int)ERROR_CERTIFICATE_UNPARSABLE);
    policy.trust_pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_int_equal(tls_client_new(&client, &policy, &error), -(int)ERROR_CERTIFICATE_UNPARSABLE);
    policy = ordinary_policy();
    policy.alpn = (const uint8_t *)"\x09http";
    policy.alpn_size = 5;
    assert_int_equal(tls_client_new(&client, &policy, &error), -(int)ERROR_CONFIG);
    assert_null(client);
    tls_client_unref(NULL);
    handshake_free(NULL);
}

static void refuses_garbage(void **state)
{
    struct tls_client_policy policy = ordinary_policy();
    struct tls_client *client = client_new(&policy);
    struct handshake *handshake = handshake_new_client(client, "edge.test");
    struct handshake_failure failure;
    size_t consumed;
    const uint8_t *output;

    (void)state;
    assert_int_equal(handshake_feed(handshake, NULL, 0, &consumed), HANDSHAKE_WANT_READ);
    assert_true(handshake_output(handshake, &output) > 0);
    assert_int_equal(
        handshake_feed(handshake, (const uint8_t *)"220 mail.test ESMTP\r\n", 21, &consumed),
        HANDSHAKE_FAILED);
    handshake_failure(handshake, &failure);
    assert_string_equal(failure.stage, "server_hello");
    handshake_free(handshake);
    tls_client_unref(client);
}

/* Without verification anything goes, but the fingerprint tells who it was. */
static void tells_the_peer_without_verifying(void **state)
{
    struct tls_client_policy policy = ordinary_policy();
    struct handshake_facts facts;
    uint8_t fingerprint[32];

    (void)state;
    policy.verify = false;
    struct conversation *conversation =
        conversation_with(&policy, "other.test", server_context(issued_pair(KEY_TYPE_ECDSA)));
    assert_false(handshake_peer_fingerprint(conversation->handshake, fingerprint));
    conversation_run(conversation, NULL);
    conversation_detach(conversation, crypto);
    handshake_facts(conversation->handshake, &facts);
    assert_string_equal(facts.peer_subject, "CN=edge.test");
    assert_true(handshake_peer_fingerprint(conversation->handshake, fingerprint));
    assert_memory_equal(fingerprint, keypair_fingerprint(issued_pair(KEY_TYPE_ECDSA)), 32);
    conversation_free(conversation);
}

/* ---- what it detaches ---- */

static void detaches_every_suite(void **state)
{
    static const struct {
        const char *name;
        int version;
        bool rsa;
    } suites[] = {
        {"TLS_AES_128_GCM_SHA256", TLS1_3_VERSION, false},
        {"TLS_AES_256_GCM_SHA384", TLS1_3_VERSION, true},
        {"TLS_CHACHA20_POLY1305_SHA256", TLS1_3_VERSION, false},
        {"ECDHE-ECDSA-AES128-GCM-SHA256", TLS1_2_VERSION, false},
        {"ECDHE-ECDSA-AES256-GCM-SHA384", TLS1_2_VERSION, false},
        {"ECDHE-ECDSA-CHACHA20-POLY1305", TLS1_2_VERSION, false},
        {"ECDHE-RSA-AES128-GCM-SHA256", TLS1_2_VERSION, true},
        {"ECDHE-RSA-AES256-GCM-SHA384", TLS1_2_VERSION, true},
        {"ECDHE-RSA-CHACHA20-POLY1305", TLS1_2_VERSION, true},
    };
    const struct tls_client_policy policy = ordinary_policy();

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(suites); i++) {
        for (unsigned circumstance = 0; circumstance < 8; circumstance++) {
            bool chatty = (circumstance & 1) != 0;
            SSL_CTX *context =
                server_context(issued_pair(suites[i].rsa ? KEY_TYPE_RSA : KEY_TYPE_ECDSA));
            SSL_CTX_set_max_proto_version(context, suites[i].version);
            SSL_CTX_set_ciphersuites(context,
                                     suites[i].version == TLS1_3_VERSION ? suites[i].name : "");
            SSL_CTX_set_cipher_list(context,
                                    suites[i].version == TLS1_2_VERSION ? suites[i].name : "HIGH");
            SSL_CTX_set_num_tickets(context, circumstance & 1 ? 3 : 0);
            if ((circumstance & 4) != 0) /* HelloRetryRequest in TLS 1.3 */
                SSL_CTX_set1_groups_list(context, context_text("P-256"));
            struct conversation *conversation = conversation_with(&policy, "edge.test", context);
            conversation->step = (circumstance & 2) != 0 ? 1 : 0;
            conversation_run(conversation, chatty ? "welcome" : NULL);
            conversation_detach(conversation, crypto);
            assert_true(conversation->leg.is_client);
            conversation_exchange(conversation, crypto, chatty ? "welcome" : NULL, 40000);
            conversation_free(conversation);
        }
    }
}

static void shows_its_certificate(void **state)
{
    struct tls_client_policy policy = ordinary_policy();

    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        for (int type = 0; type < KEY_TYPE_COUNT; type++) {
            SSL_CTX *context = server_context(issued_pair(KEY_TYPE_ECDSA));
            BIO *input = BIO_new_mem_buf(issued_ca_pem(), -1);
            X509 *root = PEM_read_bio_X509(input, NULL, NULL, NULL);
            X509_STORE_add_cert(SSL_CTX_get_cert_store(context), root);
            SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
            SSL_CTX_set_max_proto_version(context, version);
            policy.identity = issued_pair((enum key_type)type);
            struct conversation *conversation = conversation_with(&policy, "edge.test", context);
            conversation_run(conversation, NULL);
            conversation_detach(conversation, crypto);
            assert_non_null(SSL_get0_peer_certificate(conversation->peer));
            conversation_exchange(conversation, crypto, NULL, 1000);
            conversation_free(conversation);
            X509_free(root);
            BIO_free(input);
        }
    }
}

/* Self-dial: each of the two certificates of a server can be asked for, in both versions; names and
 * addresses are told right. */
static void chooses_the_key_type(void **state)
{
    static const char *const names[] = {"edge.test", "x.wild.test", "127.0.0.1"};
    struct tls_client_policy policy = ordinary_policy();
    uint8_t fingerprint[32];

    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        for (int type = 0; type < KEY_TYPE_COUNT; type++) {
            SSL_CTX *context = server_context(issued_pair(KEY_TYPE_ECDSA));
            use_pair(context, issued_pair(KEY_TYPE_RSA));
            SSL_CTX_set_max_proto_version(context, version);
            policy.only_key_type = type;
            policy.alpn = (const uint8_t *)"\x02h2";
            policy.alpn_size = 3;
            const char *name = names[(version + type) % 3];
            struct conversation *conversation = conversation_with(&policy, name, context);
            conversation_run(conversation, NULL);
            assert_int_equal(conversation->status, HANDSHAKE_DONE);
            assert_true(handshake_peer_fingerprint(conversation->handshake, fingerprint));
            assert_memory_equal(fingerprint, keypair_fingerprint(issued_pair((enum key_type)type)),
                                32);
            const char *seen = SSL_get_servername(conversation->peer, TLSEXT_NAMETYPE_host_name);
            if (strcmp(name, "127.0.0.1") == 0)
                assert_null(seen);
            else
                assert_string_equal(seen, name);
            conversation_free(conversation);
        }
    }
}

/* ---- plain use ---- */

/* Moves all output of one handshake to the other, in pieces. */
static void carry(struct handshake *from, struct handshake *to)
{
    uint8_t pending[65536];
    const uint8_t *data;
    size_t size = handshake_output(from, &data), consumed, done = 0;

    assert_true(size <= sizeof pending);
    memcpy(pending, data, size);
    handshake_sent(from, size);
    for (int i = 0; i < 50 && done < size; i++) {
        ignore(handshake_feed(to, pending + done, size - done, &consumed));
        done += consumed;
    }
    assert_int_equal(done, size);
}

static void talks_without_detaching(void **state)
{
    struct tls_client_policy client_policy = ordinary_policy();
    struct tls_policy server_policy = {.min_version = TLS_VERSION_1_2,
                                       .max_version = TLS_VERSION_1_3,
                                       .groups = tls_default_groups(),
                                       .tickets = 2,
                                       .ticket_lifetime_s = 60};
    struct keypair *pairs[KEY_TYPE_COUNT] = {issued_pair(KEY_TYPE_ECDSA), NULL};
    struct error error;
    uint8_t buffer[4096];
    struct tls_server *server;
    size_t consumed;

    (void)state;
    assert_int_equal(tls_server_new(&server, &server_policy, pairs, &error), 0);
    for (int detachable = 0; detachable < 2; detachable++) {
        client_policy.detachable = detachable != 0;
        struct tls_client *client = client_new(&client_policy);
        struct handshake *ours = handshake_new_client(client, "edge.test"),
                         *theirs = handshake_new_server(server);
        assert_int_equal(handshake_read(ours, buffer, sizeof buffer), -1);
        assert_int_equal(handshake_write(ours, buffer, 1), -1);
        assert_int_equal(handshake_feed(ours, NULL, 0, &consumed), HANDSHAKE_WANT_READ);
        for (int i = 0; i < 4; i++) {
            carry(ours, theirs);
            carry(theirs, ours);
        }
        for (int i = 0; i < 3; i++) {
            assert_int_equal(handshake_write(ours, (const uint8_t *)"question", 8), 8);
            carry(ours, theirs);
            assert_int_equal(handshake_read(theirs, buffer, sizeof buffer), 8);
            assert_int_equal(handshake_read(theirs, buffer, sizeof buffer), 0);
            assert_int_equal(handshake_write(theirs, (const uint8_t *)"answer", 6), 6);
            carry(theirs, ours);
            assert_int_equal(handshake_read(ours, buffer, 4), 4);
            assert_int_equal(handshake_read(ours, buffer + 4, 4), 2);
            assert_memory_equal(buffer, "answer", 6);
        }
        handshake_shutdown(ours);
        carry(ours, theirs);
        assert_int_equal(handshake_read(theirs, buffer, sizeof buffer), -1);
        handshake_free(ours);
        handshake_free(theirs);
        tls_client_unref(client);
    }
    tls_server_unref(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_whom_it_cannot_trust),
        cmocka_unit_test(refuses_impossible_policies),
        cmocka_unit_test(refuses_garbage),
        cmocka_unit_test(tells_the_peer_without_verifying),
        cmocka_unit_test(detaches_every_suite),
        cmocka_unit_test(shows_its_certificate),
        cmocka_unit_test(chooses_the_key_type),
        cmocka_unit_test(talks_without_detaching),
    };

    issued_init();
    crypto = record_crypto_new();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    record_crypto_free(crypto);
    issued_fini();
    return failed;
}
