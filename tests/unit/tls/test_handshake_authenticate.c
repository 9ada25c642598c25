/* A client that is asked who it is after its handshake: what it may answer, and when its answer
 * counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/err.h>

#include "conversation.h"
#include "issued.h"
#include "tls/handshake_internal.h"

static struct record_crypto *crypto;
static EVP_PKEY *ca_key, *other_key, *client_key;
static X509 *ca, *other_ca, *good, *foreign;

static bool allows(void *context)
{
    (void)context;
    return true;
}

static X509 *authority(EVP_PKEY *key, const char *name)
{
    return crafted_new(&(struct crafted){.key = key,
                                         .common_name = name,
                                         .constraints = "critical,CA:TRUE",
                                         .usage = "critical,keyCertSign,cRLSign"});
}

static X509 *client_of(X509 *issuer, EVP_PKEY *issuer_key, const char *name)
{
    return crafted_new(&(struct crafted){.key = client_key,
                                         .issuer = issuer,
                                         .issuer_key = issuer_key,
                                         .common_name = name,
                                         .extended_usage = "clientAuth"});
}

static struct trust_set *trusting(X509 *authority)
{
    char *pem = pem_of_certificate(authority);
    const struct trust_file file = {"ca.pem", pem, strlen(pem)};
    struct trust_set *set = NULL;
    struct error error = {0};

    assert_int_equal(trust_set_new(&set, &file, 1, &error), 0);
    free(pem);
    return set;
}

struct wanted {
    int version;
    enum tls_client_mode mode;
    X509 *certificate; /* that the client has; NULL: none */
    bool unable;       /* it does not offer to be asked */
};

static SSL_CTX *client_context(const struct wanted *wanted)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    SSL_CTX_set_max_proto_version(context, wanted->version);
    SSL_CTX_set_post_handshake_auth(context, !wanted->unable);
    if (wanted->certificate != NULL) {
        assert_int_equal(SSL_CTX_use_certificate(context, wanted->certificate), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(context, client_key), 1);
    }
    return context;
}

/* A carried session whose context trusts nobody yet. */
static struct conversation *carried(const struct wanted *wanted)
{
    struct tls_policy policy = {.min_version = TLS_VERSION_1_2,
                                .max_version = TLS_VERSION_1_3,
                                .groups = tls_default_groups(),
                                .tickets = 2,
                                .ticket_lifetime_s = 3600,
                                .client_mode = wanted->mode};
    struct keypair *pairs[KEY_TYPE_COUNT] = {issued_pair(KEY_TYPE_ECDSA)};
    const struct handshake_carrying how = {
        .crypto = crypto, .client_hello_max = 16384, .allows = allows};
    SSL_CTX *context = client_context(wanted);
    struct tls_server *server = NULL;
    struct error error;

    assert_int_equal(tls_server_new(&server, &policy, pairs, &error), 0);
    struct conversation *conversation =
        conversation_new(handshake_new_server(server), peer_new(context, false));
    SSL_CTX_free(context);
    tls_server_unref(server);
    conversation_run(conversation, NULL);
    assert_int_equal(conversation->status, HANDSHAKE_DONE);
    handshake_carry(conversation->handshake, &how);
    return conversation;
}

static bool ask(struct conversation *conversation, X509 *authority, bool required)
{
    struct trust_set *trust = trusting(authority);
    const struct handshake_asking asking = {
        .trust = trust, .verify_depth = 3, .required = required};
    bool asked = handshake_authenticate(conversation->handshake, &asking);

    trust_set_unref(trust);
    return asked;
}

/* Until both rest, or the peer has read an alert: what came of it. */
static enum handshake_authentication outcome(struct conversation *conversation)
{
    uint8_t plain[RECORD_WIRE_MAX_TLS12];

    for (int i = 0; i < 6; i++) {
        ignore(conversation_pass(conversation, plain, sizeof plain));
        if (conversation_peer_read(conversation) == SSL_ERROR_SSL)
            break;
    }
    return handshake_authentication(conversation->handshake);
}

static const struct client_identity *identity(const struct conversation *conversation)
{
    struct handshake_facts facts;

    handshake_facts(conversation->handshake, &facts);
    return facts.client_identity;
}

static const int versions[] = {TLS_VERSION_1_2, TLS_VERSION_1_3};

/* ---- negative ---- */

static void not_where_nobody_is_judged(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        const struct wanted wanted = {versions[i], TLS_CLIENT_NONE, good, false};
        struct conversation *conversation = carried(&wanted);
        assert_false(handshake_can_authenticate(conversation->handshake));
        assert_false(ask(conversation, ca, true));
        conversation_echo(conversation, "as before");
        conversation_free(conversation);
    }
}

static void not_who_does_not_offer_it(void **state)
{
    const struct wanted wanted = {TLS_VERSION_1_3, TLS_CLIENT_LATER, good, true};
    struct conversation *conversation = carried(&wanted);

    (void)state;
    assert_false(handshake_can_authenticate(conversation->handshake));
    assert_false(ask(conversation, ca, true));
    conversation_echo(conversation, "as before");
    conversation_free(conversation);
}

static void a_foreign_certificate_gets_an_alert(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        const struct wanted wanted = {versions[i], TLS_CLIENT_LATER, foreign, false};
        struct conversation *conversation = carried(&wanted);
        assert_true(ask(conversation, ca, false));
        assert_int_not_equal(outcome(conversation), AUTHENTICATION_DONE);
        assert_null(identity(conversation));
        assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_UNKNOWN_CA);
        conversation_free(conversation);
    }
}

static void none_gets_an_alert_where_one_is_required(void **state)
{
    const int reasons[] = {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE,
                           SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        const struct wanted wanted = {versions[i], TLS_CLIENT_LATER, NULL, false};
        struct conversation *conversation = carried(&wanted);
        assert_true(ask(conversation, ca, true));
        assert_int_not_equal(outcome(conversation), AUTHENTICATION_DONE);
        assert_null(identity(conversation));
        assert_int_equal(ERR_GET_REASON(ERR_peek_error()), reasons[i]);
        conversation_free(conversation);
    }
}

/* ---- positive ---- */

static void none_is_told_where_one_is_not_required(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        const struct wanted wanted = {versions[i], TLS_CLIENT_LATER, NULL, false};
        struct conversation *conversation = carried(&wanted);
        for (int round = 0; round < 2; round++) { /* it may be asked again */
            assert_true(ask(conversation, ca, false));
            assert_int_equal(outcome(conversation), AUTHENTICATION_EMPTY);
            assert_int_equal(handshake_authentication(conversation->handshake),
                             AUTHENTICATION_NONE);
            assert_null(identity(conversation));
            conversation_echo(conversation, "goes on");
        }
        conversation_free(conversation);
    }
}

static void an_identity_is_gained_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        const struct wanted wanted = {versions[i], TLS_CLIENT_LATER, good, false};
        struct conversation *conversation = carried(&wanted);
        conversation_echo(conversation, "before");
        assert_true(handshake_can_authenticate(conversation->handshake));
        assert_null(identity(conversation));
        assert_true(ask(conversation, ca, true));
        assert_false(ask(conversation, ca, true));
        assert_int_equal(outcome(conversation), AUTHENTICATION_DONE);
        assert_int_equal(handshake_renegotiation(conversation->handshake), RENEGOTIATION_NONE);
        assert_non_null(identity(conversation));
        assert_string_equal(identity(conversation)->subject, "CN=good");
        assert_true(handshake_authenticated(conversation->handshake));
        assert_false(handshake_can_authenticate(conversation->handshake));
        conversation_echo(conversation, "after it");
        conversation_free(conversation);
    }
}

static void renegotiations_afterwards_keep_the_identity(void **state)
{
    const struct wanted wanted = {TLS_VERSION_1_2, TLS_CLIENT_LATER, good, false};
    struct conversation *conversation = carried(&wanted);

    (void)state;
    assert_true(ask(conversation, ca, true));
    assert_int_equal(outcome(conversation), AUTHENTICATION_DONE);
    assert_true(handshake_renegotiate(conversation->handshake));
    assert_int_equal(outcome(conversation), AUTHENTICATION_NONE);
    assert_int_equal(handshake_renegotiation(conversation->handshake), RENEGOTIATION_NONE);
    conversation_echo(conversation, "the same");
    conversation_free(conversation);
}

/* Data goes on until the answer begins, and the session can be ended by an alert at any time. */
static void tls13_waits_for_the_answer(void **state)
{
    const struct wanted wanted = {TLS_VERSION_1_3, TLS_CLIENT_LATER, good, false};
    struct conversation *conversation = carried(&wanted);
    uint8_t plain[RECORD_WIRE_MAX_TLS12], wire[65536];
    const uint8_t *data;
    size_t consumed;

    (void)state;
    assert_true(ask(conversation, ca, true));
    assert_int_equal(handshake_authentication(conversation->handshake), AUTHENTICATION_ASKED);
    assert_int_equal(handshake_write(conversation->handshake, (const uint8_t *)"x", 1), 1);
    assert_int_equal(conversation_pass(conversation, plain, sizeof plain), 0);
    assert_int_equal(SSL_read(conversation->peer, plain, 1), 1); /* … and answers */
    size_t size = peer_output(conversation->peer, wire, sizeof wire);
    size_t first = RECORD_HEADER_SIZE + ((size_t)wire[3] << 8 | wire[4]);
    assert_true(first < size); /* its Certificate, and more behind it */
    ignore((long)handshake_feed(conversation->handshake, wire, first, &consumed));
    assert_int_equal(handshake_read(conversation->handshake, plain, sizeof plain), 0);
    assert_int_equal(handshake_authentication(conversation->handshake), AUTHENTICATION_RUNNING);
    assert_null(identity(conversation)); /* it has not proved anything yet */
    assert_true(handshake_go_alone(conversation->handshake));
    handshake_alert(conversation->handshake, ALERT_CERTIFICATE_REQUIRED);
    size = handshake_output(conversation->handshake, &data);
    peer_input(conversation->peer, data, size);
    assert_int_equal(conversation_peer_read(conversation), SSL_ERROR_SSL);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED);
    conversation_free(conversation);
}

static int set_up(void **state)
{
    (void)state;
    issued_init();
    crypto = record_crypto_new();
    ca_key = EVP_EC_gen("P-256");
    other_key = EVP_EC_gen("P-256");
    client_key = EVP_EC_gen("P-256");
    ca = authority(ca_key, "Clients CA");
    other_ca = authority(other_key, "Other CA");
    good = client_of(ca, ca_key, "good");
    foreign = client_of(other_ca, other_key, "foreign");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    X509_free(ca);
    X509_free(other_ca);
    X509_free(good);
    X509_free(foreign);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(other_key);
    EVP_PKEY_free(client_key);
    record_crypto_free(crypto);
    issued_fini();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(not_where_nobody_is_judged),
        cmocka_unit_test(not_who_does_not_offer_it),
        cmocka_unit_test(a_foreign_certificate_gets_an_alert),
        cmocka_unit_test(none_gets_an_alert_where_one_is_required),
        cmocka_unit_test(none_is_told_where_one_is_not_required),
        cmocka_unit_test(an_identity_is_gained_once),
        cmocka_unit_test(renegotiations_afterwards_keep_the_identity),
        cmocka_unit_test(tls13_waits_for_the_answer),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
