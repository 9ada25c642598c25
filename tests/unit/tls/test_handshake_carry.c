/* Sessions that stay with OpenSSL: renegotiation that is refused, declined or brings another
 * identity, and the session going on without OpenSSL in mid-life. */
#include "tls/handshake_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/err.h>

#include "conversation.h"
#include "issued.h"

static struct record_crypto *crypto;
static bool allowed;

static bool allows(void *context)
{
    (void)context;
    return allowed;
}

/* A carried session of this version. */
static struct conversation *carried(int version, bool client_declines)
{
    struct tls_policy policy = {.min_version = TLS_VERSION_1_2,
                                .max_version = TLS_VERSION_1_3,
                                .groups = tls_default_groups(),
                                .tickets = 1,
                                .ticket_lifetime_s = 3600};
    struct keypair *pairs[KEY_TYPE_COUNT] = {issued_pair(KEY_TYPE_ECDSA)};
    const struct handshake_carrying how = {
        .crypto = crypto, .client_hello_max = 16384, .allows = allows};
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    struct tls_server *server = NULL;
    struct error error;

    assert_int_equal(tls_server_new(&server, &policy, pairs, &error), 0);
    SSL_CTX_set_max_proto_version(context, version);
    if (client_declines)
        SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
    struct conversation *conversation =
        conversation_new(handshake_new_server(server), peer_new(context, false));
    SSL_CTX_free(context);
    tls_server_unref(server);
    conversation_run(conversation, NULL);
    assert_int_equal(conversation->status, HANDSHAKE_DONE);
    handshake_carry(conversation->handshake, &how);
    return conversation;
}

static void renegotiate_from_peer(struct conversation *conversation)
{
    uint8_t plain[RECORD_WIRE_MAX_TLS12];

    assert_int_equal(SSL_renegotiate(conversation->peer), 1);
    for (int i = 0; i < 4; i++) {
        ignore((long)SSL_do_handshake(conversation->peer));
        ignore(conversation_pass(conversation, plain, sizeof plain));
    }
}

static void refuses_without_permission(void **state)
{
    struct conversation *conversation = carried(TLS_VERSION_1_2, false);
    struct handshake_renegotiations counts;

    (void)state;
    allowed = false;
    renegotiate_from_peer(conversation);
    handshake_renegotiations(conversation->handshake, &counts);
    assert_int_equal(counts.refused, 1);
    assert_int_equal(counts.done, 0);
    assert_int_equal(handshake_renegotiation(conversation->handshake), RENEGOTIATION_NONE);
    conversation_free(conversation);
}

static long give(struct conversation *conversation, const uint8_t *input, size_t size)
{
    uint8_t plain[RECORD_WIRE_MAX_TLS12];
    size_t consumed;

    ignore((long)handshake_feed(conversation->handshake, input, size, &consumed));
    assert_int_equal(consumed, size);
    return handshake_read(conversation->handshake, plain, sizeof plain);
}

/* By what it asks of an OCSP response. */
static void make_hello_long(SSL *peer)
{
    static const uint8_t nonce[2000] = {1};
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSIONS *extensions = sk_X509_EXTENSION_new_null();

    assert_int_equal(ASN1_OCTET_STRING_set(value, nonce, sizeof nonce), 1);
    assert_true(
        sk_X509_EXTENSION_push(
            extensions, X509_EXTENSION_create_by_NID(NULL, NID_id_pkix_OCSP_Nonce, 0, value)) > 0);
    ASN1_OCTET_STRING_free(value);
    ignore(SSL_set_tlsext_status_type(peer, TLSEXT_STATUSTYPE_ocsp));
    ignore(SSL_set_tlsext_status_exts(peer, extensions)); /* frees them */
}

/* Record by record: nobody may be told that data can be written, nor that all is as before. */
static void half_a_client_hello_has_begun(void **state)
{
    struct conversation *conversation = carried(TLS_VERSION_1_2, false);
    struct handshake *handshake = conversation->handshake;
    uint8_t sent[8192];
    struct handshake_renegotiations counts;

    (void)state;
    allowed = false;
    assert_int_equal(SSL_set_max_send_fragment(conversation->peer, 512), 1);
    make_hello_long(conversation->peer);
    assert_int_equal(SSL_renegotiate(conversation->peer), 1);
    ignore((long)SSL_do_handshake(conversation->peer));
    size_t size = peer_output(conversation->peer, sent, sizeof sent);
    size_t first = RECORD_HEADER_SIZE + ((size_t)sent[3] << 8 | sent[4]);
    assert_true(first > 512 && first + 512 < size);
    assert_true(handshake_takes_data(handshake));
    assert_int_equal(give(conversation, sent, first), 0);
    assert_int_equal(handshake_renegotiation(handshake), RENEGOTIATION_RUNNING);
    assert_false(handshake_takes_data(handshake));
    assert_false(handshake_go_alone(handshake));
    assert_int_equal(give(conversation, sent + first, size - first), 0);
    assert_int_equal(handshake_renegotiation(handshake), RENEGOTIATION_NONE);
    assert_true(handshake_takes_data(handshake));
    handshake_renegotiations(handshake, &counts);
    assert_int_equal(counts.refused, 1);
    conversation_free(conversation);
}

static void a_fault_is_no_renegotiation(void **state)
{
    struct conversation *conversation = carried(TLS_VERSION_1_2, false);
    uint8_t record[RECORD_HEADER_SIZE + 40] = {RECORD_APPLICATION_DATA, 3, 3, 0, 40};

    (void)state;
    assert_int_equal(give(conversation, record, sizeof record), -1);
    assert_int_equal(handshake_renegotiation(conversation->handshake), RENEGOTIATION_NONE);
    conversation_free(conversation);
}

static void renegotiates_with_permission(void **state)
{
    struct conversation *conversation = carried(TLS_VERSION_1_2, false);
    struct handshake_renegotiations counts;

    (void)state;
    allowed = true;
    for (unsigned i = 1; i <= 3; i++) {
        renegotiate_from_peer(conversation);
        handshake_renegotiations(conversation->handshake, &counts);
        assert_int_equal(counts.done, i);
        conversation_echo(conversation, "after it");
    }
    assert_true(handshake_go_alone(conversation->handshake)); /* also then */
    conversation_echo(conversation, "alone");
    conversation_free(conversation);
}

static void another_identity_is_told_and_alerted(void **state)
{
    struct conversation *conversation = carried(TLS_VERSION_1_2, false);
    const uint8_t *data;

    (void)state;
    allowed = true;
    conversation->handshake->facts.peer_fingerprint[0] ^= 1; /* as if it had had a certificate */
    renegotiate_from_peer(conversation);
    assert_int_equal(handshake_renegotiation(conversation->handshake), RENEGOTIATION_CHANGED);
    assert_true(handshake_go_alone(conversation->handshake));
    handshake_alert(conversation->handshake, ALERT_HANDSHAKE_FAILURE);
    size_t size = handshake_output(conversation->handshake, &data);
    peer_input(conversation->peer, data, size);
    assert_int_equal(conversation_peer_read(conversation), SSL_ERROR_SSL);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE);
    conversation_free(conversation);
}

static void goes_on_alone_when_declined(void **state)
{
    struct conversation *conversation = carried(TLS_VERSION_1_2, true);
    uint8_t plain[RECORD_WIRE_MAX_TLS12];

    (void)state;
    conversation_echo(conversation, "before");
    assert_true(handshake_renegotiate(conversation->handshake));
    assert_int_equal(handshake_renegotiation(conversation->handshake), RENEGOTIATION_ASKED);
    assert_int_equal(conversation_pass(conversation, plain, sizeof plain), 0);
    assert_int_equal(conversation_peer_read(conversation), SSL_ERROR_WANT_READ);
    assert_int_equal(conversation_pass(conversation, plain, sizeof plain), 0);
    assert_int_equal(handshake_renegotiation(conversation->handshake), RENEGOTIATION_DECLINED);
    assert_true(handshake_go_alone(conversation->handshake));
    assert_int_equal(conversation_pass(conversation, plain, sizeof plain),
                     0); /* the warning itself */
    for (int i = 0; i < 3; i++)
        conversation_echo(conversation, "after it");
    assert_false(handshake_renegotiate(conversation->handshake));
    SSL_shutdown(conversation->peer);
    assert_int_equal(conversation_pass(conversation, plain, sizeof plain), -1);
    assert_true(handshake_close_received(conversation->handshake));
    conversation_free(conversation);
}

static void tls13_goes_alone_and_does_not_renegotiate(void **state)
{
    struct conversation *conversation = carried(TLS_VERSION_1_3, false);

    (void)state;
    assert_false(handshake_can_renegotiate(conversation->handshake));
    assert_false(handshake_renegotiate(conversation->handshake));
    for (int i = 0; i < 3; i++) { /* both change their keys, in turn */
        conversation_echo(conversation, "as before");
        assert_true(handshake_update_key(conversation->handshake));
        conversation_echo(conversation, "after ours");
        assert_int_equal(SSL_key_update(conversation->peer, SSL_KEY_UPDATE_REQUESTED), 1);
        conversation_echo(conversation, "after theirs");
    }
    assert_true(handshake_go_alone(conversation->handshake));
    conversation_echo(conversation, "alone");
    conversation_free(conversation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_without_permission),
        cmocka_unit_test(half_a_client_hello_has_begun),
        cmocka_unit_test(a_fault_is_no_renegotiation),
        cmocka_unit_test(renegotiates_with_permission),
        cmocka_unit_test(another_identity_is_told_and_alerted),
        cmocka_unit_test(goes_on_alone_when_declined),
        cmocka_unit_test(tls13_goes_alone_and_does_not_renegotiate),
    };

    issued_init();
    crypto = record_crypto_new();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    record_crypto_free(crypto);
    issued_fini();
    return failed;
}
