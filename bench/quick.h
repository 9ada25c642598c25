/* A TLS 1.3 client that costs a fraction of a server's handshake, for the storm only.
 *
 * OpenSSL's own client is dearer than the servers to be stormed, so one core of it cannot press
 * another core hard. This one does a complete, real handshake (the server sees nothing odd), but
 * with one X25519 key for all connections, without looking at the certificate, and with one suite:
 * TLS_AES_128_GCM_SHA256. For nothing but a bench.
 *
 * No sockets here: bytes in, bytes out. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUICK_OUT_MAX 1024u  /* what one call may give out */
#define QUICK_IN_MAX  18000u /* one record of the greatest size, and more */

enum quick_event { QUICK_MORE, QUICK_HANDSHAKEN, QUICK_DATA, QUICK_FAILED };

struct quick_key {
    uint8_t key[16], iv[12];
    uint64_t sequence_number;
};

struct quick {
    uint8_t client_secret[32], server_secret[32], master[32];
    struct quick_key read, write;
    uint8_t transcript[112]; /* a SHA-256 state */
    bool encrypted, established;
};

/* Once, before all else. Returns false when OpenSSL refuses. */
bool quick_setup(void);

/* Starts over and gives the ClientHello. */
size_t quick_hello(struct quick *quick, uint8_t out[QUICK_OUT_MAX]);

/* Takes at most one record from `in`, decrypting in place; *ret_used tells how much was taken (0:
 * not whole yet). QUICK_HANDSHAKEN: the server's flight is complete, call quick_finish. QUICK_DATA:
 * *ret_data holds application bytes. */
enum quick_event quick_feed(struct quick *quick, uint8_t *in, size_t length, size_t *ret_used,
                            const uint8_t **ret_data, size_t *ret_data_length);

/* Gives our Finished, and switches to application keys. */
size_t quick_finish(struct quick *quick, uint8_t out[QUICK_OUT_MAX]);

/* Gives one record of application data (type 23) or an alert (21). `length` ≤ 900. */
size_t quick_seal(struct quick *quick, uint8_t type, const void *bytes, size_t length,
                  uint8_t out[QUICK_OUT_MAX]);
