/* The other end of a leg under test: a real OpenSSL connection. Its handshake with a second SSL
 * object runs in memory; then that object is freed and a `struct leg` takes its place. */
#pragma once

#include <openssl/ssl.h>

#include "tls/leg.h"

struct openssl_peer {
    SSL *ssl;
    struct leg leg; /* ours, opposite to `ssl` */
    struct leg_keys keys[2];
    uint8_t pending[65536]; /* what the peer had sent after its handshake and we have not read:
                               tickets */
    size_t pending_size;
};

struct openssl_peer_options {
    const struct suite *suite;
    bool leg_is_client;    /* the peer is the server then */
    uint8_t fragment_code; /* TLSEXT_max_fragment_length_…, 0: none */
};

/* Fails the running test when the handshake fails. */
struct openssl_peer *openssl_peer_new(const struct openssl_peer_options *options);
void openssl_peer_free(struct openssl_peer *peer);

/* What the peer has sent since the last call. Returns the size. */
size_t openssl_peer_output(struct openssl_peer *peer, uint8_t *output, size_t size);
/* Writes application data and returns the records. */
size_t openssl_peer_seal(struct openssl_peer *peer, const uint8_t *input, size_t size,
                         uint8_t *output, size_t output_size);
/* Gives records to the peer and returns the application data it reads from them; the SSL error that
 * ended the reading (normally SSL_ERROR_WANT_READ) comes in *ret_error. */
size_t openssl_peer_open(struct openssl_peer *peer, const uint8_t *input, size_t size,
                         uint8_t *output, size_t output_size, int *ret_error);
