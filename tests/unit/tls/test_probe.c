/* The observing client against OpenSSL servers in memory, and against bytes that no server should
 * send. */
#include "tls/probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "tls/leg.h"

#include "conversation.h"
#include "issued.h"

#define ROUNDS_MAX 20

/* ---- both sides ---- */

static SSL_CTX *server_new(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    assert_non_null(context);
    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
    SSL_CTX_set_cipher_list(context, "ALL:eNULL");
    SSL_CTX_set_dh_auto(context, 1);
    return context;
}

static void use_pair(SSL_CTX *context, enum key_type type)
{
    size_t size;
    char *pem = keypair_to_pem(issued_pair(type), &size);
    BIO *input = BIO_new_mem_buf(pem, (int)size);
    X509 *leaf = PEM_read_bio_X509(input, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(input, NULL, NULL, NULL);

    assert_int_equal(SSL_CTX_use_cert_and_key(context, leaf, key, NULL, 1), 1);
    X509_free(leaf);
    EVP_PKEY_free(key);
    BIO_free(input);
    free(pem);
}

static SSL_CTX *server_with(enum key_type type)
{
    SSL_CTX *context = server_new();

    use_pair(context, type);
    return context;
}

struct visit {
    struct probe *probe;
    SSL *peer;
    enum probe_status status;
};

/* Both take their turns until nothing moves any more. */
static void run(struct visit *visit)
{
    static uint8_t bytes[1 << 18];
    const uint8_t *output;

    for (int round = 0; round < ROUNDS_MAX; round++) {
        size_t size = probe_output(visit->probe, &output);
        peer_input(visit->peer, output, size);
        probe_sent(visit->probe, size);
        char heard[256];
        ignore(SSL_read(visit->peer, heard, sizeof heard)); /* also shakes hands */
        ERR_clear_error();
        size_t came = peer_output(visit->peer, bytes, sizeof bytes);
        if (came > 0 || visit->status == PROBE_WANT_READ)
            visit->status = probe_feed(visit->probe, bytes, came);
        if (came == 0 && size == 0)
            return;
    }
}

static struct probe_offer any_offer(void)
{
    return (struct probe_offer){.server_name = "edge.test", .only_key_type = -1, .trace = true};
}

/* Keeps the context. */
static struct visit visit_begin(const struct probe_offer *offer, SSL_CTX *context)
{
    struct visit visit = {.peer = peer_new(context, true)};
    struct error error;

    if (probe_new(&visit.probe, offer, &error) != 0)
        fail_msg("%s", error.message);
    visit.status = probe_feed(visit.probe, NULL, 0);
    run(&visit);
    return visit;
}

static void visit_end(struct visit *visit)
{
    probe_free(visit->probe);
    SSL_set_shutdown(visit->peer, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(visit->peer);
    ERR_clear_error();
}

/* One handshake with a server of this context, which is freed. */
static struct probe_seen look(const struct probe_offer *offer, SSL_CTX *context,
                              enum probe_status expected)
{
    struct visit visit = visit_begin(offer, context);
    struct probe_seen seen;

    assert_int_equal(visit.status, expected);
    if (visit.status == PROBE_DONE) {
        uint8_t data[16];
        ignore(probe_read(visit.probe, data, sizeof data));
    }
    probe_take(visit.probe, &seen);
    visit_end(&visit);
    SSL_CTX_free(context);
    return seen;
}

/* ---- what cannot be a handshake ---- */

static enum probe_status tell(const char *bytes, size_t size, struct probe_seen *ret_seen)
{
    struct probe_offer offer = any_offer();
    struct probe *probe;
    struct error error;

    assert_int_equal(probe_new(&probe, &offer, &error), 0);
    assert_int_equal(probe_feed(probe, NULL, 0), PROBE_WANT_READ);
    enum probe_status status = probe_feed(probe, (const uint8_t *)bytes, size);
    if (status == PROBE_WANT_READ)
        status = probe_end(probe, "the connection was closed");
    probe_take(probe, ret_seen);
    probe_free(probe);
    return status;
}

static void test_plain_text_is_named(void **state)
{
    static const char greeting[] = "220 mail.example ESMTP\r\n";
    struct probe_seen seen;

    (void)state;
    assert_int_equal(tell(greeting, sizeof greeting - 1, &seen), PROBE_FAILED);
    assert_true(seen.not_tls);
    assert_string_equal(seen.plain, "220 mail.example ESMTP\\x0d\\x0a");
    assert_non_null(strstr(seen.reason, "does not speak TLS"));
    probe_seen_fini(&seen);
}

static void test_silence_and_garbage_are_told_apart(void **state)
{
    static const char garbage[] = "\x16\x03\x03\x00\x06\x02\xff\xff\xff\x00\x00";
    struct probe_seen seen;

    (void)state;
    assert_int_equal(tell("", 0, &seen), PROBE_FAILED);
    assert_string_equal(seen.reason,
                        "the connection was closed before any answer to the ClientHello");
    assert_false(seen.not_tls);
    assert_int_equal(tell("\x16\x03", 2, &seen), PROBE_FAILED);
    assert_true(seen.not_tls);
    assert_int_equal(tell(garbage, sizeof garbage - 1, &seen), PROBE_FAILED);
    assert_false(seen.not_tls);
    assert_non_null(strstr(seen.reason, "refused"));
    assert_int_equal(seen.version, 0);
}

static void test_alerts_are_put_into_words(void **state)
{
    static const char alert[] = "\x15\x03\x03\x00\x02\x02\x28";
    struct probe_seen seen;

    (void)state;
    assert_int_equal(tell(alert, sizeof alert - 1, &seen), PROBE_FAILED);
    assert_int_equal(seen.alert_received, 40);
    assert_non_null(strstr(seen.reason, "handshake_failure: no common cipher suite"));
    assert_string_equal(probe_alert_text(200), "an alert that no standard names");
    for (int alert_number = 0; alert_number < 256; alert_number++)
        assert_non_null(probe_alert_text((uint8_t)alert_number));
}

/* RFC 8446 §4.1.2: what a server does not know, it answers with an alert or not at all. */
static void test_no_certificate_of_the_type(void **state)
{
    struct probe_offer offer = any_offer();

    (void)state;
    offer.only_key_type = KEY_TYPE_RSA;
    struct probe_seen seen = look(&offer, server_with(KEY_TYPE_ECDSA), PROBE_FAILED);
    assert_int_equal(seen.alert_received, 40);
    assert_int_equal(seen.chain_count, 0);
    probe_seen_fini(&seen);
}

/* A certificate that OpenSSL cannot parse is still a certificate that was sent: the server's
 * Certificate message is replaced on its way (TLS 1.2 sends it in the clear). What follows it does
 * not become the leaf. */
static void test_unreadable_certificate_is_noted(void **state)
{
    struct probe_offer offer = any_offer();
    struct probe_seen seen;
    struct probe *probe;
    struct error error;
    static uint8_t bytes[1 << 16];
    const uint8_t *output;
    SSL_CTX *context = server_with(KEY_TYPE_ECDSA);
    SSL *peer = peer_new(context, true);

    (void)state;
    SSL_add1_chain_cert(peer, SSL_get_certificate(peer));
    offer.max_version = TLS1_2_VERSION;
    assert_int_equal(probe_new(&probe, &offer, &error), 0);
    assert_int_equal(probe_feed(probe, NULL, 0), PROBE_WANT_READ);
    peer_input(peer, output, probe_output(probe, &output));
    assert_int_equal(SSL_do_handshake(peer), -1);
    size_t size = peer_output(peer, bytes, sizeof bytes);
    /* The first SEQUENCE of the certificate becomes another type. */
    uint8_t *der = memmem(bytes, size, "\x30\x82", 2);
    assert_non_null(der);
    der[0] = 0x31;
    assert_int_equal(probe_feed(probe, bytes, size), PROBE_FAILED);
    probe_take(probe, &seen);
    assert_int_equal(seen.chain_count, 0);
    assert_true(seen.chain_malformed[0] != '\0');
    assert_true(seen.alert_sent != ALERT_NONE);
    assert_int_equal(seen.version, TLS1_2_VERSION);
    probe_seen_fini(&seen);
    probe_free(probe);
    SSL_free(peer);
    SSL_CTX_free(context);
    ERR_clear_error();
}

/* ---- what is seen ---- */

static void test_both_key_types(void **state)
{
    (void)state;
    for (int type = 0; type < KEY_TYPE_COUNT; type++) {
        struct probe_offer offer = any_offer();
        SSL_CTX *context = server_with(KEY_TYPE_ECDSA);
        use_pair(context, KEY_TYPE_RSA);
        offer.only_key_type = type;
        struct probe_seen seen = look(&offer, context, PROBE_DONE);
        assert_int_equal(seen.chain_count, 1);
        assert_int_equal(seen.chain[0]->key_kind,
                         type == KEY_TYPE_RSA ? PUBLIC_KEY_RSA : PUBLIC_KEY_EC);
        assert_int_equal(seen.version, TLS1_3_VERSION);
        assert_string_equal(seen.version_name, "TLS 1.3");
        assert_true(seen.forward_secrecy);
        assert_true(seen.secure_renegotiation);
        assert_true(seen.extended_master_secret);
        assert_int_equal(seen.tickets, 2);
        assert_int_equal(seen.alert_received, ALERT_NONE);
        assert_string_equal(seen.stage, "established");
        probe_seen_fini(&seen);
    }
}

static void test_every_version(void **state)
{
    static const uint16_t versions[] = {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION,
                                        TLS1_3_VERSION};
    static const char *const names[] = {"TLS 1.0", "TLS 1.1", "TLS 1.2", "TLS 1.3"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct probe_offer offer = any_offer();
        SSL_CTX *context = server_with(KEY_TYPE_RSA);
        SSL_CTX_set_max_proto_version(context, versions[i]);
        struct probe_seen seen = look(&offer, context, PROBE_DONE);
        assert_int_equal(seen.version, versions[i]);
        assert_string_equal(seen.version_name, names[i]);
        assert_int_equal(seen.chain_count, 1);
        probe_seen_fini(&seen);
    }
}

static struct probe_seen look_with_suites(const char *suites)
{
    struct probe_offer offer = any_offer();
    SSL_CTX *context = server_with(KEY_TYPE_RSA);

    SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    assert_int_equal(SSL_CTX_set_cipher_list(context, suites), 1);
    return look(&offer, context, PROBE_DONE);
}

/* A certificate of its own signature. */
static SSL_CTX *server_with_key(EVP_PKEY *key, const EVP_MD *digest)
{
    SSL_CTX *context = server_new();
    X509 *leaf = X509_new();

    assert_true(X509_gmtime_adj(X509_getm_notBefore(leaf), 0) != NULL &&
                X509_gmtime_adj(X509_getm_notAfter(leaf), 3600) != NULL);
    assert_int_equal(X509_set_pubkey(leaf, key), 1);
    assert_true(X509_sign(leaf, key, digest) > 0);
    assert_int_equal(SSL_CTX_use_cert_and_key(context, leaf, key, NULL, 1), 1);
    X509_free(leaf);
    EVP_PKEY_free(key);
    return context;
}

static EVP_PKEY *rsa_pss_key(void)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
    EVP_PKEY *key = NULL;

    assert_int_equal(EVP_PKEY_keygen_init(context), 1);
    assert_int_equal(EVP_PKEY_generate(context, &key), 1);
    EVP_PKEY_CTX_free(context);
    return key;
}

static void test_every_kind_of_key(void **state)
{
    const struct {
        EVP_PKEY *key;
        const EVP_MD *digest;
        enum public_key_kind kind;
    } keys[] = {
        {EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048), EVP_sha256(), PUBLIC_KEY_RSA},
        {rsa_pss_key(), EVP_sha256(), PUBLIC_KEY_RSA_PSS},
        {EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"), EVP_sha256(), PUBLIC_KEY_EC},
        {EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384"), EVP_sha384(), PUBLIC_KEY_EC},
        {EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-521"), EVP_sha512(), PUBLIC_KEY_EC},
        {EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL, PUBLIC_KEY_ED25519},
        {EVP_PKEY_Q_keygen(NULL, NULL, "ED448"), NULL, PUBLIC_KEY_ED448},
    };
    struct probe_offer offer = any_offer();
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        struct probe_seen seen =
            look(&offer, server_with_key(keys[i].key, keys[i].digest), PROBE_DONE);
        assert_int_equal(seen.chain_count, 1);
        assert_int_equal(seen.chain[0]->key_kind, keys[i].kind);
        probe_seen_fini(&seen);
    }
}

/* The X25519 key of a ClientHello. */
static void read_key_share(const struct probe_offer *offer, uint8_t ret_share[32])
{
    static const uint8_t begin[] = {0x00, 0x1d, 0x00, 0x20}; /* RFC 8446 §4.2.8: group, size */
    struct probe *probe = NULL;
    const uint8_t *hello;
    struct error error;

    assert_int_equal(probe_new(&probe, offer, &error), 0);
    assert_int_equal(probe_feed(probe, NULL, 0), PROBE_WANT_READ);
    size_t size = probe_output(probe, &hello);
    const uint8_t *share = memmem(hello, size, begin, sizeof begin);
    assert_non_null(share);
    assert_true((size_t)(hello + size - share) >= sizeof begin + 32);
    memcpy(ret_share, share + sizeof begin, 32);
    probe_free(probe);
}

static void test_a_key_serves_a_thousand_times(void **state)
{
    struct probe_offer offer = any_offer();
    uint8_t before[32], now[32];
    unsigned changes = 0;
    (void)state;

    read_key_share(&offer, before);
    for (unsigned i = 0; i < 2000; i++) {
        read_key_share(&offer, now);
        changes += memcmp(before, now, sizeof now) != 0;
        memcpy(before, now, sizeof now);
    }
    assert_int_equal(changes, 2);
}

static void test_key_exchange_is_named(void **state)
{
    (void)state;
    struct probe_seen seen = look_with_suites("AES128-SHA");
    assert_false(seen.forward_secrecy);
    assert_string_equal(seen.group, "RSA");
    assert_string_equal(seen.suite, "TLS_RSA_WITH_AES_128_CBC_SHA");
    probe_seen_fini(&seen);
    seen = look_with_suites("DHE-RSA-AES128-GCM-SHA256");
    assert_true(seen.forward_secrecy);
    assert_string_equal(seen.group, "DHE");
    assert_true(seen.dh_bits >= 512);
    probe_seen_fini(&seen);
    seen = look_with_suites("ECDHE-RSA-AES128-GCM-SHA256");
    assert_string_equal(seen.group, "X25519");
    assert_int_equal(seen.dh_bits, 0);
    probe_seen_fini(&seen);
    seen = look_with_suites("NULL-SHA256");
    assert_string_equal(seen.suite, "TLS_RSA_WITH_NULL_SHA256");
    probe_seen_fini(&seen);
}

/* A server must not make its visitor compute for seconds. */
static void test_a_huge_group_is_refused(void **state)
{
    struct probe_offer offer = any_offer();
    SSL_CTX *context = server_with(KEY_TYPE_RSA);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *maker = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
    BIGNUM *prime = BN_new(), *base = BN_new();
    EVP_PKEY *group = NULL;

    (void)state;
    BN_rand(prime, 4200, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD);
    BN_set_word(base, 2);
    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_FFC_P, prime);
    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_FFC_G, base);
    OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
    assert_int_equal(EVP_PKEY_fromdata_init(maker), 1);
    assert_int_equal(EVP_PKEY_fromdata(maker, &group, EVP_PKEY_KEY_PARAMETERS, parameters), 1);
    SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_cipher_list(context, "DHE-RSA-AES128-GCM-SHA256");
    SSL_CTX_set_dh_auto(context, 0);
    assert_int_equal(SSL_CTX_set0_tmp_dh_pkey(context, group), 1);
    struct probe_seen seen = look(&offer, context, PROBE_FAILED);
    assert_non_null(strstr(seen.reason, "4200 bits"));
    assert_int_equal(seen.alert_sent, SSL_AD_HANDSHAKE_FAILURE);
    probe_seen_fini(&seen);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    EVP_PKEY_CTX_free(maker);
    BN_free(prime);
    BN_free(base);
}

static int staple(SSL *ssl, void *argument)
{
    uint8_t *response = OPENSSL_memdup("staple", 6);

    (void)argument;
    SSL_set_tlsext_status_ocsp_resp(ssl, response, 6);
    return SSL_TLSEXT_ERR_OK;
}

static int add_timestamps(SSL *ssl, unsigned type, unsigned context, const unsigned char **output,
                          size_t *size, X509 *certificate, size_t position, int *alert,
                          void *argument)
{
    (void)ssl, (void)type, (void)context, (void)certificate, (void)alert, (void)argument;
    if (position > 0)
        return 0;
    *output = (const unsigned char *)"timestamps";
    *size = 10;
    return 1;
}

static void test_staple_and_timestamps_are_kept_raw(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct probe_offer offer = any_offer();
        SSL_CTX *context = server_with(KEY_TYPE_ECDSA);
        SSL_CTX_set_max_proto_version(context, version);
        SSL_CTX_set_tlsext_status_cb(context, staple);
        assert_int_equal(SSL_CTX_add_custom_ext(context, TLSEXT_TYPE_signed_certificate_timestamp,
                                                SSL_EXT_CLIENT_HELLO | SSL_EXT_TLS1_2_SERVER_HELLO |
                                                    SSL_EXT_TLS1_3_CERTIFICATE,
                                                add_timestamps, NULL, NULL, NULL, NULL),
                         1);
        struct probe_seen seen = look(&offer, context, PROBE_DONE);
        assert_int_equal(seen.staple_size, 6);
        assert_memory_equal(seen.staple, "staple", 6);
        assert_int_equal(seen.timestamps_size, 10);
        assert_memory_equal(seen.timestamps, "timestamps", 10);
        probe_seen_fini(&seen);
    }
}

static void test_a_long_chain_is_cut(void **state)
{
    struct probe_offer offer = any_offer();
    SSL_CTX *context = server_with(KEY_TYPE_ECDSA);

    (void)state;
    for (int i = 0; i < 80; i++)
        assert_int_equal(SSL_CTX_add1_chain_cert(context, SSL_CTX_get0_certificate(context)), 1);
    struct probe_seen seen = look(&offer, context, PROBE_DONE);
    assert_int_equal(seen.chain_count, CHAIN_SERVED_MAX);
    assert_int_equal(seen.chain_dropped, 81 - CHAIN_SERVED_MAX);
    probe_seen_fini(&seen);
}

/* RFC 8446 §4.4.2.4: the refusal comes behind the client's Finished. */
static void test_client_certificate_required(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct probe_offer offer = any_offer();
        SSL_CTX *context = server_with(KEY_TYPE_ECDSA);
        SSL_CTX_set_max_proto_version(context, version);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        struct probe_seen seen =
            look(&offer, context, version == TLS1_3_VERSION ? PROBE_DONE : PROBE_FAILED);
        assert_true(seen.client_certificate_asked);
        assert_true(seen.client_certificate_required);
        assert_int_equal(seen.chain_count, 1);
        probe_seen_fini(&seen);
    }
}

/* RFC 5246 §7.4.9: before its Finished, a server with RSA key exchange has shown a chain that
 * anybody could show. */
static void test_refusal_before_the_key_is_proved(void **state)
{
    struct probe_offer offer = any_offer();
    SSL_CTX *context = server_with(KEY_TYPE_RSA);

    (void)state;
    SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_cipher_list(context, "AES128-GCM-SHA256");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    struct probe_seen seen = look(&offer, context, PROBE_FAILED);
    assert_true(seen.client_certificate_asked);
    assert_false(seen.client_certificate_required);
    assert_non_null(strstr(seen.reason, "has not proved"));
    assert_int_equal(seen.chain_count, 1);
    probe_seen_fini(&seen);
}

static void test_messages_are_traced(void **state)
{
    static const uint8_t expected[] = {1, 2, 8, 11, 15, 20, 20, 4, 4}; /* RFC 8446 §2 */
    struct probe_offer offer = any_offer();
    size_t found = 0;

    (void)state;
    struct probe_seen seen = look(&offer, server_with(KEY_TYPE_ECDSA), PROBE_DONE);
    for (size_t i = 0; i < seen.message_count; i++) {
        const struct probe_message *message = &seen.messages[i];
        assert_true(message->size > 0);
        if (message->content_type != PROBE_CONTENT_HANDSHAKE)
            continue;
        assert_int_equal(message->type, expected[found]);
        assert_string_not_equal(probe_message_text(message->content_type, message->type), "");
        found++;
    }
    assert_int_equal(found, sizeof expected);
    probe_seen_fini(&seen);
    offer.trace = false;
    seen = look(&offer, server_with(KEY_TYPE_ECDSA), PROBE_DONE);
    assert_int_equal(seen.message_count, 0);
    probe_seen_fini(&seen);
}

/* ---- what follows a handshake ---- */

/* Resumes at a server of `context`, which is kept. Returns whether that was accepted. */
static bool resume(struct probe_offer offer, SSL_CTX *context, struct probe_session *session)
{
    struct probe_seen seen;

    offer.resume = session;
    SSL_CTX_up_ref(context);
    seen = look(&offer, context, PROBE_DONE);
    bool resumed = seen.resumed;
    probe_seen_fini(&seen);
    return resumed;
}

static void resume_under(struct probe_offer offer, uint16_t version, bool by_ticket)
{
    SSL_CTX *context = server_with(KEY_TYPE_ECDSA);

    SSL_CTX_set_session_id_context(context, (const uint8_t *)"test", 4);
    SSL_CTX_set_max_proto_version(context, version);
    struct visit visit = visit_begin(&offer, context);
    assert_int_equal(visit.status, PROBE_DONE);
    uint8_t data[16];
    assert_int_equal(probe_read(visit.probe, data, sizeof data), 0);
    struct probe_session *session = probe_session(visit.probe);
    assert_non_null(session);
    assert_int_equal(probe_session_has_ticket(session), by_ticket);
    visit_end(&visit);
    assert_true(resume(offer, context, session));
    probe_session_free(session);
    SSL_CTX_free(context);
}

static void test_resumption(void **state)
{
    struct probe_offer offer = any_offer();

    (void)state;
    resume_under(offer, TLS1_3_VERSION, true);
    resume_under(offer, TLS1_2_VERSION, true);
    offer.no_tickets = true;
    offer.max_version = TLS1_2_VERSION;
    resume_under(offer, TLS1_2_VERSION, false);
}

static enum probe_status renegotiate_with(uint64_t options)
{
    struct probe_offer offer = any_offer();
    SSL_CTX *context = server_with(KEY_TYPE_ECDSA);

    SSL_CTX_set_options(context, options);
    offer.max_version = TLS1_2_VERSION;
    struct visit visit = visit_begin(&offer, context);
    assert_int_equal(visit.status, PROBE_DONE);
    assert_true(probe_renegotiate(visit.probe));
    visit.status = PROBE_WANT_READ;
    run(&visit);
    enum probe_status status = visit.status;
    visit_end(&visit);
    SSL_CTX_free(context);
    return status;
}

static void test_renegotiation(void **state)
{
    (void)state;
    assert_int_equal(renegotiate_with(SSL_OP_NO_RENEGOTIATION), PROBE_FAILED);
    assert_int_equal(renegotiate_with(SSL_OP_ALLOW_CLIENT_RENEGOTIATION), PROBE_DONE);
}

static void test_application_data(void **state)
{
    struct probe_offer offer = any_offer();
    SSL_CTX *context = server_with(KEY_TYPE_ECDSA);
    struct visit visit = visit_begin(&offer, context);
    uint8_t data[16];

    (void)state;
    assert_int_equal(visit.status, PROBE_DONE);
    assert_int_equal(probe_write(visit.probe, (const uint8_t *)"hello", 5), 5);
    assert_int_equal(SSL_write(visit.peer, "answer", 6), 6);
    run(&visit);
    assert_int_equal(probe_read(visit.probe, data, sizeof data), 6);
    assert_memory_equal(data, "answer", 6);
    probe_close(visit.probe);
    SSL_shutdown(visit.peer);
    run(&visit);
    assert_int_equal(probe_read(visit.probe, data, sizeof data), -1);
    visit_end(&visit);
    SSL_CTX_free(context);
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
        cmocka_unit_test(test_plain_text_is_named),
        cmocka_unit_test(test_silence_and_garbage_are_told_apart),
        cmocka_unit_test(test_alerts_are_put_into_words),
        cmocka_unit_test(test_no_certificate_of_the_type),
        cmocka_unit_test(test_unreadable_certificate_is_noted),
        cmocka_unit_test(test_both_key_types),
        cmocka_unit_test(test_every_version),
        cmocka_unit_test(test_every_kind_of_key),
        cmocka_unit_test(test_a_key_serves_a_thousand_times),
        cmocka_unit_test(test_key_exchange_is_named),
        cmocka_unit_test(test_a_huge_group_is_refused),
        cmocka_unit_test(test_staple_and_timestamps_are_kept_raw),
        cmocka_unit_test(test_a_long_chain_is_cut),
        cmocka_unit_test(test_client_certificate_required),
        cmocka_unit_test(test_refusal_before_the_key_is_proved),
        cmocka_unit_test(test_messages_are_traced),
        cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_renegotiation),
        cmocka_unit_test(test_application_data),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
