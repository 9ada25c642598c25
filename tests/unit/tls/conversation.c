#include "conversation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/err.h>

#define ROUNDS_MAX 12
#define PLAIN_MAX  200000

static uint8_t pattern[PLAIN_MAX], plain[PLAIN_MAX], wire[PLAIN_MAX * 2];

SSL *peer_new(SSL_CTX *context, bool is_server)
{
    SSL *peer = SSL_new(context);
    BIO *input = BIO_new(BIO_s_mem()), *output = BIO_new(BIO_s_mem());

    assert_non_null(peer);
    BIO_set_mem_eof_return(input, -1);
    SSL_set_bio(peer, input, output);
    if (is_server)
        SSL_set_accept_state(peer);
    else
        SSL_set_connect_state(peer);
    return peer;
}

size_t peer_output(SSL *peer, uint8_t *output, size_t size)
{
    int n = BIO_read(SSL_get_wbio(peer), output, (int)size);
    return n > 0 ? (size_t)n : 0;
}

void peer_input(SSL *peer, const uint8_t *input, size_t size)
{
    if (size > 0)
        assert_int_equal(BIO_write(SSL_get_rbio(peer), input, (int)size), size);
}

struct conversation *conversation_new(struct handshake *handshake, SSL *peer)
{
    struct conversation *conversation = calloc(1, sizeof *conversation);

    assert_non_null(conversation);
    assert_non_null(handshake);
    conversation->handshake = handshake;
    conversation->peer = peer;
    conversation->peer_error = SSL_ERROR_WANT_READ;
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (uint8_t)(i * 31 + i / 251);
    return conversation;
}

void conversation_free(struct conversation *conversation)
{
    handshake_free(conversation->handshake);
    SSL_set_shutdown(conversation->peer, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(conversation->peer);
    ERR_clear_error();
    free(conversation);
}

/* Gives our side `size` bytes of what is there; the consumed ones leave. */
static void feed(struct conversation *conversation, size_t size)
{
    size_t consumed = 0;

    conversation->status =
        handshake_feed(conversation->handshake, conversation->inbound, size, &consumed);
    assert_true(consumed <= size);
    conversation->inbound_size -= consumed;
    memmove(conversation->inbound, conversation->inbound + consumed, conversation->inbound_size);
}

static void feed_stepwise(struct conversation *conversation)
{
    size_t shown = 0;

    if (conversation->step == 0) {
        feed(conversation, conversation->inbound_size);
        return;
    }
    while (conversation->status == HANDSHAKE_WANT_READ && shown < conversation->inbound_size) {
        size_t before = conversation->inbound_size;
        shown = shown + conversation->step < before ? shown + conversation->step : before;
        feed(conversation, shown);
        shown -= before - conversation->inbound_size;
    }
}

static void deliver(struct conversation *conversation)
{
    const uint8_t *data;
    size_t size = handshake_output(conversation->handshake, &data);

    peer_input(conversation->peer, data, size);
    handshake_sent(conversation->handshake, size);
}

static void run_peer(struct conversation *conversation)
{
    ERR_clear_error();
    int result = SSL_do_handshake(conversation->peer);
    conversation->peer_error = SSL_get_error(conversation->peer, result);
}

void conversation_run(struct conversation *conversation, const char *last_words)
{
    size_t consumed;

    if (!SSL_is_server(conversation->peer))
        run_peer(conversation);
    else
        conversation->status = handshake_feed(conversation->handshake, NULL, 0, &consumed);
    for (int round = 0; round < ROUNDS_MAX; round++) {
        if (last_words != NULL && conversation->peer_error == SSL_ERROR_NONE) {
            assert_int_equal(SSL_write(conversation->peer, last_words, (int)strlen(last_words)),
                             strlen(last_words));
            last_words = NULL;
        }
        conversation->inbound_size +=
            peer_output(conversation->peer, conversation->inbound + conversation->inbound_size,
                        sizeof conversation->inbound - conversation->inbound_size);
        if (conversation->status == HANDSHAKE_WANT_READ)
            feed_stepwise(conversation);
        deliver(conversation);
        if (conversation->peer_error == SSL_ERROR_WANT_READ)
            run_peer(conversation);
        if (conversation->status == HANDSHAKE_FAILED)
            return;
    }
}

void conversation_detach(struct conversation *conversation, struct record_crypto *crypto)
{
    struct error error = {0};

    if (conversation->status != HANDSHAKE_DONE || conversation->peer_error != SSL_ERROR_NONE) {
        struct handshake_failure failure;
        handshake_failure(conversation->handshake, &failure);
        fail_msg("handshake: status %d, peer %d, %s: %s", (int)conversation->status,
                 conversation->peer_error, failure.stage, failure.reason);
    }
    if (handshake_detach(conversation->handshake, crypto, &conversation->leg,
                         &conversation->keys[0], &error) != 0)
        fail_msg("%s", error.message);
}

static void expect_from_peer(struct conversation *conversation, struct record_crypto *crypto,
                             const uint8_t *expected, size_t expected_size)
{
    struct leg_opened opened;
    size_t produced = 0;

    memcpy(wire, conversation->inbound, conversation->inbound_size);
    size_t size = conversation->inbound_size +
                  peer_output(conversation->peer, wire + conversation->inbound_size,
                              sizeof wire - conversation->inbound_size);
    conversation->inbound_size = 0;
    size_t consumed = 0;
    for (int call = 0; call < 100 && consumed < size; call++) {
        enum leg_event event =
            leg_open(crypto, &conversation->leg, leg_own_banks(conversation->keys), wire + consumed,
                     size - consumed, plain + produced, sizeof plain - produced, 1, &opened);
        assert_true(event == LEG_MORE || event == LEG_FULL);
        consumed += opened.consumed;
        produced += opened.produced;
    }
    assert_int_equal(consumed, size);
    assert_int_equal(produced, expected_size);
    assert_memory_equal(plain, expected, expected_size);
}

void conversation_exchange(struct conversation *conversation, struct record_crypto *crypto,
                           const char *heard, size_t size)
{
    if (heard != NULL)
        expect_from_peer(conversation, crypto, (const uint8_t *)heard, strlen(heard));
    for (int turn = 0; turn < 2; turn++) {
        assert_int_equal(SSL_write(conversation->peer, pattern, (int)size), size);
        expect_from_peer(conversation, crypto, pattern, size);
        size_t sealed = leg_seal(crypto, &conversation->leg, leg_own_banks(conversation->keys),
                                 pattern, size, wire);
        assert_true(sealed > 0);
        peer_input(conversation->peer, wire, sealed);
        size_t received = 0;
        int n;
        while (received < size &&
               (n = SSL_read(conversation->peer, plain + received, (int)(size - received))) > 0)
            received += (size_t)n;
        assert_int_equal(received, size);
        assert_memory_equal(plain, pattern, size);
    }
}

/* ---- a session that OpenSSL carries ---- */

long conversation_pass(struct conversation *conversation, uint8_t *output, size_t size)
{
    const uint8_t *data;
    size_t consumed, length = peer_output(conversation->peer, wire, sizeof wire);

    ignore((long)handshake_feed(conversation->handshake, wire, length, &consumed));
    assert_int_equal(consumed, length);
    long got = handshake_read(conversation->handshake, output, size);
    length = handshake_output(conversation->handshake, &data);
    peer_input(conversation->peer, data, length);
    handshake_sent(conversation->handshake, length);
    return got;
}

int conversation_peer_read(struct conversation *conversation)
{
    ERR_clear_error();
    return SSL_get_error(conversation->peer, SSL_read(conversation->peer, plain, sizeof plain));
}

void conversation_echo(struct conversation *conversation, const char *text)
{
    int size = (int)strlen(text);

    assert_int_equal(SSL_write(conversation->peer, text, size), size);
    assert_int_equal(conversation_pass(conversation, plain, sizeof plain), size);
    assert_memory_equal(plain, text, (size_t)size);
    assert_int_equal(handshake_write(conversation->handshake, plain, (size_t)size), size);
    assert_int_equal(conversation_pass(conversation, plain, sizeof plain), 0);
    assert_int_equal(SSL_read(conversation->peer, plain, sizeof plain), size);
    assert_memory_equal(plain, text, (size_t)size);
}
