/* Handshakes against OpenSSL in memory: what cannot detach, and every combination that must, each
 * followed by data both ways through the leg. */
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

/* ---- what detaching refuses ---- */

static void expect_detach_refused(struct conversation *conversation, const char *reason)
{
    struct error error = {0};
    struct leg leg = {.suite = 1};

    assert_int_equal(
        handshake_detach(conversation->handshake, crypto, &leg, &conversation->keys[0], &error),
        -(int)ERROR_TLS);
    if (strstr(error.message, reason) == NULL)
        fail_msg("%s", error.message);
    assert_int_equal(leg.suite, 1);
    conversation_free(conversation);
}

static struct conversation *finished(int version, uint32_t tickets)
{
    struct tls_policy policy = ordinary_policy();
    SSL_CTX *context = client_context();

    policy.tickets = tickets;
    SSL_CTX_set_max_proto_version(context, version);
    struct tls_server *server = server_new(&policy, true, false);
    struct conversation *conversation =
        conversation_new(handshake_new_server(server), client_peer(context));
    conversation_run(conversation, NULL);
    assert_int_equal(conversation->status, HANDSHAKE_DONE);
    tls_server_unref(server);
    return conversation;
}

static void refuses_to_detach_too_early_or_twice(void **state)
{
    struct conversation *conversation = finished(TLS_VERSION_1_3, 1);
    uint8_t byte;

    (void)state;
    conversation_detach(conversation, crypto);
    assert_int_equal(handshake_read(conversation->handshake, &byte, 1), -1);
    expect_detach_refused(conversation, "not finished");
    expect_detach_refused(ordinary_conversation(), "not finished");
    conversation = finished(TLS_VERSION_1_3, 1);
    assert_int_equal(handshake_write(conversation->handshake, (const uint8_t *)"x", 1), 1);
    expect_detach_refused(conversation, "in use");
    conversation = finished(TLS_VERSION_1_3, 1);
    conversation->handshake->output_sent--;
    expect_detach_refused(conversation, "not been sent");
}

/* Each of these would seal with a wrong key or nonce if it went unnoticed. */
static void finds_every_mismatch_on_the_wire(void **state)
{
    struct conversation *conversation = finished(TLS_VERSION_1_3, 2);

    (void)state;
    conversation->handshake->write.secret[3] ^= 1;
    expect_detach_refused(conversation, "does not open with the taken key");
    conversation = finished(TLS_VERSION_1_3, 2);
    conversation->handshake->write.records--;
    expect_detach_refused(conversation, "does not open with the taken key");
    conversation = finished(TLS_VERSION_1_3, 2);
    conversation->handshake->write.records++;
    expect_detach_refused(conversation, "does not open with the taken key");
    conversation = finished(TLS_VERSION_1_3, 0);
    conversation->handshake->write.handshake_secret[0] ^= 1;
    expect_detach_refused(conversation, "Finished does not open");
    conversation = finished(TLS_VERSION_1_3, 0);
    conversation->handshake->write.epoch = EPOCH_HANDSHAKE;
    expect_detach_refused(conversation, "both traffic secrets");
    conversation = finished(TLS_VERSION_1_3, 1);
    conversation->handshake->read.records = 1;
    expect_detach_refused(conversation, "records were read");
    conversation = finished(TLS_VERSION_1_2, 1);
    conversation->handshake->output.data[conversation->handshake->output.size - 1] ^= 1;
    expect_detach_refused(conversation, "our Finished");
    conversation = finished(TLS_VERSION_1_2, 1);
    conversation->handshake->last_record[20] ^= 1;
    expect_detach_refused(conversation, "the peer's Finished");
    conversation = finished(TLS_VERSION_1_2, 1);
    conversation->handshake->write.records = 2;
    expect_detach_refused(conversation, "more than Finished");
}

/* ---- what must work: server side ---- */

struct server_case {
    const char *suite;
    int version;
    bool rsa;
    uint32_t tickets;
    uint8_t fragment_code;
    bool hello_retry;
    size_t step;
    const char *last_words;
};

static SSL_CTX *client_for(const struct server_case *test)
{
    SSL_CTX *context = client_context();

    SSL_CTX_set_min_proto_version(context, test->version);
    SSL_CTX_set_max_proto_version(context, test->version);
    if (test->version == TLS1_3_VERSION)
        assert_int_equal(SSL_CTX_set_ciphersuites(context, test->suite), 1);
    else
        assert_int_equal(SSL_CTX_set_cipher_list(context, test->suite), 1);
    /* The first group gets the key share; ours does not know it. */
    assert_int_equal(SSL_CTX_set1_groups_list(
                         context, context_text(test->hello_retry ? "P-521:P-256" : "X25519:P-256")),
                     1);
    if (test->fragment_code != 0)
        SSL_CTX_set_tlsext_max_fragment_length(context, test->fragment_code);
    return context;
}

static void check_facts(const struct conversation *conversation, const struct server_case *test,
                        bool resumed)
{
    struct handshake_facts facts;

    handshake_facts(conversation->handshake, &facts);
    assert_int_equal(facts.version, test->version);
    assert_int_equal(facts.suite,
                     SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(conversation->peer)));
    assert_int_equal(facts.resumed, resumed);
    assert_int_equal(facts.fragment_max,
                     test->fragment_code != 0 ? 256u << test->fragment_code : 16384);
    if (test->version == TLS1_3_VERSION || !resumed)
        assert_string_equal(facts.group, test->hello_retry ? "secp256r1" : "x25519");
    assert_int_equal(facts.hello_retry, test->hello_retry && test->version == TLS1_3_VERSION);
    assert_null(facts.peer_subject);
    if (!resumed) {
        assert_int_equal(facts.key_type, test->rsa ? KEY_TYPE_RSA : KEY_TYPE_ECDSA);
        assert_string_not_equal(facts.signature_algorithm, "none");
    }
    assert_int_equal(conversation->leg.fragment_max, facts.fragment_max);
    assert_int_equal(conversation->leg.version, test->version);
    assert_int_equal(conversation->leg.suite, facts.suite);
}

static SSL_SESSION *newest_session;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(newest_session);
    newest_session = session;
    return 1;
}

/* One handshake, one detaching, and data both ways. */
static void run_server_case(const struct server_case *test, struct tls_server *server,
                            SSL_CTX *context, bool resume)
{
    SSL *peer = peer_new(context, false);

    SSL_set_tlsext_host_name(peer, context_text("edge.test"));
    if (resume)
        assert_int_equal(SSL_set_session(peer, newest_session), 1);
    struct conversation *conversation = conversation_new(handshake_new_server(server), peer);
    conversation->step = test->step;
    conversation_run(conversation, test->last_words);
    conversation_detach(conversation, crypto);
    check_facts(conversation, test, resume);
    /* In TLS 1.3 the client may not use its tickets before it reads. */
    conversation_exchange(conversation, crypto, test->last_words, 40000);
    conversation_free(conversation);
}

static void run_with_resumption(const struct server_case *test)
{
    struct tls_policy policy = ordinary_policy();
    SSL_CTX *context = client_for(test);

    policy.tickets = test->tickets;
    SSL_CTX_set_session_cache_mode(context,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    struct tls_server *server = server_new(&policy, true, true);
    run_server_case(test, server, context, false);
    if (test->tickets > 0) {
        assert_non_null(newest_session);
        run_server_case(test, server, context, true);
    } else if (test->version == TLS1_3_VERSION) {
        assert_null(newest_session);
    }
    SSL_SESSION_free(newest_session);
    newest_session = NULL;
    tls_server_unref(server);
    SSL_CTX_free(context);
}

static const struct {
    const char *name;
    int version;
    bool rsa;
} suites[] = {
    {"TLS_AES_128_GCM_SHA256", TLS1_3_VERSION, false},
    {"TLS_AES_256_GCM_SHA384", TLS1_3_VERSION, false},
    {"TLS_CHACHA20_POLY1305_SHA256", TLS1_3_VERSION, false},
    {"ECDHE-ECDSA-AES128-GCM-SHA256", TLS1_2_VERSION, false},
    {"ECDHE-ECDSA-AES256-GCM-SHA384", TLS1_2_VERSION, false},
    {"ECDHE-ECDSA-CHACHA20-POLY1305", TLS1_2_VERSION, false},
    {"ECDHE-RSA-AES128-GCM-SHA256", TLS1_2_VERSION, true},
    {"ECDHE-RSA-AES256-GCM-SHA384", TLS1_2_VERSION, true},
    {"ECDHE-RSA-CHACHA20-POLY1305", TLS1_2_VERSION, true},
};

static void detaches_every_suite_in_every_circumstance(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(suites); i++) {
        for (unsigned circumstance = 0; circumstance < 16; circumstance++) {
            const struct server_case test = {
                .suite = suites[i].name,
                .version = suites[i].version,
                .rsa = suites[i].rsa,
                .tickets = 1,
                .hello_retry = (circumstance & 1) != 0,
                .fragment_code = (circumstance & 2) != 0 ? TLSEXT_max_fragment_length_512 : 0,
                .step = (circumstance & 4) != 0 ? 1 : 0,
                /* A TLS 1.2 client has no last flight of its own unless it resumes. */
                .last_words = (circumstance & 8) != 0 && suites[i].version == TLS1_3_VERSION
                                  ? "early bird"
                                  : NULL,
            };
            run_with_resumption(&test);
        }
    }
}

static void detaches_with_any_number_of_tickets(void **state)
{
    (void)state;
    for (uint32_t tickets = 0; tickets <= 7; tickets++) {
        for (uint8_t code = 0; code <= TLSEXT_max_fragment_length_4096; code++) {
            const struct server_case test = {.suite = suites[tickets % 3].name,
                                             .version = TLS1_3_VERSION,
                                             .tickets = tickets,
                                             .fragment_code = code,
                                             .last_words = "and more"};
            run_with_resumption(&test);
        }
    }
    const struct server_case without = {.suite = suites[3].name, .version = TLS1_2_VERSION};
    run_with_resumption(&without);
}

/* A ticket holds name and protocol; with long ones and small fragments it takes two records. */
static void counts_records_not_tickets(void **state)
{
    const struct server_case test = {.suite = suites[0].name,
                                     .version = TLS1_3_VERSION,
                                     .tickets = 7,
                                     .fragment_code = TLSEXT_max_fragment_length_512};
    struct tls_policy policy = ordinary_policy();
    char name[256];
    SSL_CTX *context = client_for(&test);
    struct handshake_facts facts;

    (void)state;
    memset(name, 'a', sizeof name);
    for (size_t i = 50; i < 250; i += 50)
        name[i] = '.';
    name[250] = '\0';
    uint8_t protocol[201];
    memset(protocol, 'p', sizeof protocol);
    protocol[0] = sizeof protocol - 1;
    policy.alpn = protocol;
    policy.alpn_size = sizeof protocol;
    SSL_CTX_set_alpn_protos(context, protocol, sizeof protocol);
    policy.tickets = test.tickets;
    struct tls_server *server = server_new(&policy, true, false);
    SSL *peer = peer_new(context, false);
    SSL_set_tlsext_host_name(peer, name);
    struct conversation *conversation = conversation_new(handshake_new_server(server), peer);
    conversation_run(conversation, NULL);
    conversation_detach(conversation, crypto);
    handshake_facts(conversation->handshake, &facts);
    assert_int_equal(facts.records_written, 14);
    assert_int_equal(conversation->leg.write_sequence, 14);
    conversation_exchange(conversation, crypto, NULL, 3000);
    conversation_free(conversation);
    tls_server_unref(server);
    SSL_CTX_free(context);
}

static void serves_the_key_type_that_the_client_can_use(void **state)
{
    struct tls_policy policy = ordinary_policy();
    static const struct {
        const char *signatures;
        enum key_type type;
        const char *name;
    } cases[] = {
        {"RSA-PSS+SHA256", KEY_TYPE_RSA, "rsa_pss_sha256"},
        {"ECDSA+SHA256", KEY_TYPE_ECDSA, "ecdsa_sha256"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        SSL_CTX *context = client_context();
        SSL_CTX_set1_sigalgs_list(context, context_text(cases[i].signatures));
        struct tls_server *server = server_new(&policy, true, true);
        struct conversation *conversation =
            conversation_new(handshake_new_server(server), client_peer(context));
        struct handshake_facts facts;
        conversation_run(conversation, NULL);
        conversation_detach(conversation, crypto);
        handshake_facts(conversation->handshake, &facts);
        assert_int_equal(facts.key_type, cases[i].type);
        assert_string_equal(facts.signature_algorithm, cases[i].name);
        conversation_free(conversation);
        tls_server_unref(server);
    }
}

static void chooses_alpn_in_its_own_order(void **state)
{
    struct tls_policy policy = ordinary_policy();
    SSL_CTX *context = client_context();
    struct handshake_facts facts;

    (void)state;
    policy.alpn = (const uint8_t *)"\x04mqtt\x08http/1.1";
    policy.alpn_size = 14;
    SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\x02h2\x08http/1.1\x04mqtt", 17);
    struct tls_server *server = server_new(&policy, true, false);
    struct conversation *conversation =
        conversation_new(handshake_new_server(server), client_peer(context));
    conversation_run(conversation, NULL);
    conversation_detach(conversation, crypto);
    handshake_facts(conversation->handshake, &facts);
    assert_int_equal(facts.alpn_size, 4);
    assert_memory_equal(facts.alpn, "mqtt", 4);
    conversation_free(conversation);
    tls_server_unref(server);
}

/* Another policy, another session-id context: a full handshake, no failure. */
static void resumes_only_under_the_same_policy(void **state)
{
    const struct server_case test = {
        .suite = suites[0].name, .version = TLS1_3_VERSION, .tickets = 1};
    struct tls_policy policy = ordinary_policy(), other = policy;
    SSL_CTX *context = client_for(&test);
    struct handshake_facts facts;

    (void)state;
    other.session_id_context[0]++;
    SSL_CTX_set_session_cache_mode(context,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    struct tls_server *first = server_new(&policy, true, false),
                      *second = server_new(&other, true, false);
    run_server_case(&test, first, context, false);
    SSL *peer = peer_new(context, false);
    assert_int_equal(SSL_set_session(peer, newest_session), 1);
    struct conversation *conversation = conversation_new(handshake_new_server(second), peer);
    conversation_run(conversation, NULL);
    conversation_detach(conversation, crypto);
    handshake_facts(conversation->handshake, &facts);
    assert_false(facts.resumed);
    conversation_free(conversation);
    SSL_SESSION_free(newest_session);
    newest_session = NULL;
    tls_server_unref(first);
    tls_server_unref(second);
    SSL_CTX_free(context);
}

/* A handshake under way keeps the context it began with. */
static void outlives_its_context(void **state)
{
    struct conversation *conversation =
        ordinary_conversation(); /* has dropped its server already */

    (void)state;
    conversation_run(conversation, NULL);
    conversation_detach(conversation, crypto);
    conversation_exchange(conversation, crypto, NULL, 100);
    conversation_free(conversation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_to_detach_too_early_or_twice),
        cmocka_unit_test(finds_every_mismatch_on_the_wire),
        cmocka_unit_test(detaches_every_suite_in_every_circumstance),
        cmocka_unit_test(detaches_with_any_number_of_tickets),
        cmocka_unit_test(counts_records_not_tickets),
        cmocka_unit_test(serves_the_key_type_that_the_client_can_use),
        cmocka_unit_test(chooses_alpn_in_its_own_order),
        cmocka_unit_test(resumes_only_under_the_same_policy),
        cmocka_unit_test(outlives_its_context),
    };

    issued_init();
    crypto = record_crypto_new();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    record_crypto_free(crypto);
    issued_fini();
    return failed;
}
