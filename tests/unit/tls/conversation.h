/* A handshake under test against a plain OpenSSL connection in memory, and what they say to each
 * other afterwards. */
#pragma once

#include <openssl/ssl.h>

#include "tls/handshake.h"

struct conversation {
    struct handshake *handshake; /* ours */
    SSL *peer;
    enum handshake_status status;
    int peer_error;         /* SSL error of the peer's handshake; SSL_ERROR_NONE when it is done */
    size_t step;            /* how many more bytes our side is given at a time; 0: all there are */
    uint8_t inbound[65536]; /* sent by the peer, not yet consumed by us */
    size_t inbound_size;
    struct leg leg;
    struct leg_keys keys[2];
};

/* Takes both. */
struct conversation *conversation_new(struct handshake *handshake, SSL *peer);
void conversation_free(struct conversation *conversation);

/* An OpenSSL connection over memory BIOs. */
SSL *peer_new(SSL_CTX *context, bool is_server);
/* What the peer has written since the last call, at most `size`. */
size_t peer_output(SSL *peer, uint8_t *output, size_t size);
void peer_input(SSL *peer, const uint8_t *input, size_t size);

/* Runs the handshake until both sides rest. `last_words` (may be NULL) is written by the peer as
 * application data together with its last flight, so that it arrives in the same bytes as its
 * Finished. */
void conversation_run(struct conversation *conversation, const char *last_words);

/* After conversation_run(): detaches, or fails the test. */
void conversation_detach(struct conversation *conversation, struct record_crypto *crypto);
/* Sends `size` bytes of a pattern each way and fails the test when they arrive otherwise. `heard`
 * (may be NULL) is what the peer has said already. */
void conversation_exchange(struct conversation *conversation, struct record_crypto *crypto,
                           const char *heard, size_t size);

/* ---- of a session that OpenSSL carries (handshake_carry()) ---- */

/* What the peer has written goes to us, and what we have written to the peer; returns what came as
 * application data, or -1. */
long conversation_pass(struct conversation *conversation, uint8_t *output, size_t size);
/* The peer reads until nothing is left; its error. */
int conversation_peer_read(struct conversation *conversation);
/* `text` from the peer to us and back, or the test fails. */
void conversation_echo(struct conversation *conversation, const char *text);
