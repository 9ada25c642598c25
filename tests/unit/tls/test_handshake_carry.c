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

/* What the peer has written goes to us, and what we have written to the peer; returns what came as
 * application data, or -1. */
static long exchange(struct conversation *conversation, uint8_t *plain, size_t size)
{
    static uint8_t wire[65536];
    const uint8_t *data;
    size_t consumed, length = peer_output(conversation->peer, wire, sizeof wire);

    ignore((long)handshake_feed(conversation->handshake, wire, length, &consumed));
    assert_int_equal(consumed, length);
    long got = handshake_read(conversation->handshake, plain, size);
    length = handshake_output(conversation->handshake, &data);
    peer_input(conversation->peer, data, length);
    handshake_sent(conversation->handshake, length);
    return got;
}

/* The peer reads until nothing is left; its error. */
static int peer_read(struct conversation *conversation)
{
    uint8_t plain[256];

    ERR_clear_error();
    return SSL_get_error(conversation->peer, SSL_read(conversation->peer, plain, sizeof plain));
}

/* `text` from the peer to us and back. */
static void echo(struct conversation *conversation, const char *text)
{
    uint8_t plain[RECORD_WIRE_MAX_TLS12];
    int size = (int)strlen(text);

    assert_int_equal(SSL_write(conversation->peer, text, size), size);
    assert_int_equal(exchange(conversation, plain, sizeof plain), size);
    assert_memory_equal(plain, text, (size_t)size);
    assert_int_equal(handshake_write(conversation->handshake, plain, (size_t)size), size);
    assert_int_equal(exchange(conversation, plain, sizeof plain), 0);
    assert_int_equal(SSL_read(conversation->peer, plain, sizeof plain), size);
    assert_memory_equal(plain, text, (size_t)size);
}

static void renegotiate_from_peer(struct conversation *conversation)
{
    uint8_t plain[RECORD_WIRE_MAX_TLS12];

    assert_int_equal(SSL_renegotiate(conversation->peer), 1);
    for (int i = 0; i < 4; i++) {
        ignore((long)SSL_do_handshake(conversation->peer));
        ignore(exchange(conversation, plain, sizeof plain));
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
        echo(conversation, "after it");
    }
    assert_true(handshake_go_alone(conversation->handshake)); /* also then */
    echo(conversation, "alone");
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
    assert_int_equal(peer_read(conversation), SSL_ERROR_SSL);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE);
    conversation_free(conversation);
}

static void goes_on_alone_when_declined(void **state)
{
    struct conversation *conversation = carried(TLS_VERSION_1_2, true);
    uint8_t plain[RECORD_WIRE_MAX_TLS12];

    (void)state;
    echo(conversation, "before");
    assert_true(handshake_renegotiate(conversation->handshake));
    assert_int_equal(handshake_renegotiation(conversation->handshake), RENEGOTIATION_ASKED);
    assert_int_equal(exchange(conversation, plain, sizeof plain), 0);
    assert_int_equal(peer_read(conversation), SSL_ERROR_WANT_READ);
    assert_int_equal(exchange(conversation, plain, sizeof plain), 0);
    assert_int_equal(handshake_renegotiation(conversation->handshake), RENEGOTIATION_DECLINED);
    assert_true(handshake_go_alone(conversation->handshake));
    assert_int_equal(exchange(conversation, plain, sizeof plain), 0); /* the warning itself */
    for (int i = 0; i < 3; i++)
        echo(conversation, "after it");
    assert_false(handshake_renegotiate(conversation->handshake));
    SSL_shutdown(conversation->peer);
    assert_int_equal(exchange(conversation, plain, sizeof plain), -1);
    assert_true(handshake_close_received(conversation->handshake));
    conversation_free(conversation);
}

static void tls13_neither_renegotiates_nor_goes_alone(void **state)
{
    struct conversation *conversation = carried(TLS_VERSION_1_3, false);

    (void)state;
    assert_false(handshake_can_renegotiate(conversation->handshake));
    assert_false(handshake_renegotiate(conversation->handshake));
    assert_false(handshake_go_alone(conversation->handshake));
    echo(conversation, "as before");
    conversation_free(conversation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_without_permission),
        cmocka_unit_test(renegotiates_with_permission),
        cmocka_unit_test(another_identity_is_told_and_alerted),
        cmocka_unit_test(goes_on_alone_when_declined),
        cmocka_unit_test(tls13_neither_renegotiates_nor_goes_alone),
    };

    issued_init();
    crypto = record_crypto_new();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    record_crypto_free(crypto);
    issued_fini();
    return failed;
}
