/* The TLS record layer: seals and opens records under keys taken from a finished handshake (RFC
 * 9846 §5, RFC 5246 §6.2, RFC 5288, RFC 7905). No sockets, no state of its own: keys and counters
 * are plain values of the caller (they lie in shared memory), AEADs come from OpenSSL's EVP.
 *
 * Input and output never overlap (a worker killed between sealing and committing must find the
 * plaintext again). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "tls/suite.h"

#define RECORD_HEADER_SIZE   5
#define RECORD_PLAINTEXT_MAX 16384
#define RECORD_OVERHEAD_MAX  29 /* TLS 1.2 GCM: 5 + 8 + 16; TLS 1.3: 5 + 1 + 16 */
#define RECORD_WIRE_MAX                                                                            \
    (5 + 16384 + 256) /* largest TLS 1.3 record; TLS 1.2 allows 2048 more, we never need it */
#define RECORD_WIRE_MAX_TLS12 (5 + 16384 + 2048)

enum record_type {
    RECORD_CHANGE_CIPHER_SPEC = 20,
    RECORD_ALERT = 21,
    RECORD_HANDSHAKE = 22,
    RECORD_APPLICATION_DATA = 23
};

/* One direction's key of one epoch. A plain value of 96 bytes. TLS 1.2 uses the first 4 bytes of
 * `iv` as salt with AES-GCM and all 12 with ChaCha20-Poly1305; `secret` is unused there. */
struct record_key {
    uint8_t secret[SUITE_SECRET_MAX]; /* application_traffic_secret_N */
    uint8_t key[SUITE_KEY_MAX];
    uint8_t iv[SUITE_IV_SIZE];
    uint32_t epoch; /* N */
};

/* Prepares OpenSSL in a process that uses nothing else of this folder, in half the time that it
 * takes by itself: no configuration file, as in tls_process_init(). Call before anything else. */
void record_process_init(void);

/* The working contexts of one process: one EVP context per AEAD and direction, re-keyed when
 * another session's turn comes. */
struct record_crypto;
struct record_crypto *
record_crypto_new(void); /* NULL: out of memory or no such cipher in the library */
void record_crypto_free(struct record_crypto *crypto);
/* Forgets the keys that the contexts hold, and the secret that keys were last derived from. */
void record_crypto_forget(struct record_crypto *crypto);

/* TLS 1.3: fills key and iv from the secret (RFC 9846 §7.3). Returns success. */
MUST_CHECK bool record_key_derive(const struct suite *suite, struct record_key *key);
/* TLS 1.3: next = the key after `key` (RFC 9846 §7.2), epoch + 1. `next` may not be `key`. Returns
 * success. */
MUST_CHECK bool record_key_next(const struct suite *suite, const struct record_key *key,
                                struct record_key *next);
/* Forgets the secret that was last derived from; part of record_crypto_forget(). */
void record_key_forget(void);
/* TLS 1.2: both directions' keys from the master secret (RFC 5246 §6.3). Returns success. */
MUST_CHECK bool record_key_block(const struct suite *suite, const uint8_t master_secret[48],
                                 const uint8_t client_random[32], const uint8_t server_random[32],
                                 struct record_key *ret_client, struct record_key *ret_server);

/* Bytes that `size` bytes of plaintext take on the wire when cut into fragments of at most
 * `fragment_max`. */
size_t record_sealed_size(const struct suite *suite, size_t size, size_t fragment_max);

/* Seals `size` bytes (0 gives one empty record) as records of `type`, fragments of at most
 * `fragment_max`. Advances *sequence and, for explicit-nonce suites, *explicit_nonce by one per
 * record. Returns the bytes written, 0 on failure (nothing may be sent then): the sequence space is
 * used up, or EVP failed. `output` has room for record_sealed_size(). */
MUST_CHECK size_t record_seal(struct record_crypto *crypto, const struct suite *suite,
                              const struct record_key *key, uint64_t *sequence,
                              uint64_t *explicit_nonce, enum record_type type, const uint8_t *input,
                              size_t size, size_t fragment_max, uint8_t *output);

enum record_open_result {
    RECORD_OPENED,
    RECORD_INCOMPLETE, /* needs more bytes */
    RECORD_BAD_TAG,    /* bad_record_mac */
    RECORD_TOO_LARGE,  /* record_overflow */
    RECORD_BAD_HEADER, /* wrong version or outer type: unexpected_message / decode_error */
    RECORD_NO_TYPE     /* TLS 1.3 record of padding only, or of a type that is never protected:
                          unexpected_message */
};

struct record_opened {
    enum record_type type; /* inner type */
    size_t consumed;       /* bytes of input */
    size_t size;           /* bytes of output */
};

/* Opens the first record of `input`. `output` has room for the record's ciphertext length. Advances
 * *sequence on success only. An unprotected TLS 1.3 change_cipher_spec record of the single byte 1
 * is returned as RECORD_CHANGE_CIPHER_SPEC without touching *sequence, with size 0 (RFC 9846 §5:
 * the caller decides whether it is still allowed). */
MUST_CHECK enum record_open_result record_open(struct record_crypto *crypto,
                                               const struct suite *suite,
                                               const struct record_key *key, uint64_t *sequence,
                                               const uint8_t *input, size_t size, uint8_t *output,
                                               struct record_opened *ret_opened);
