/* Who a client is by its certificate, as far as that must be known once the certificate itself is
 * gone: a plain value that lies beside the session's slot, so that a session can be judged again
 * when what is trusted changes (tls/trust_set.h). */
#pragma once

#include <stdint.h>

#define CLIENT_DIGEST_SIZE   16
#define CLIENT_DEPTH_MAX     3                      /* intermediates */
#define CLIENT_CHAIN_MAX     (CLIENT_DEPTH_MAX + 2) /* leaf and anchor besides */
#define CLIENT_SERIAL_MAX    20                     /* RFC 5280 §4.1.2.2 */
#define CLIENT_SUBJECT_SHOWN 64

/* One certificate of the chain. Digests are cut SHA-256; names count in the form in which RFC 5280
 * §7.1 compares them. */
struct client_link {
    uint8_t certificate[CLIENT_DIGEST_SIZE]; /* issuer and serial number: what a CRL names */
    uint8_t authority[CLIENT_DIGEST_SIZE]; /* subject and key: what stays when a CA's certificate is
                                              renewed */
};

struct client_identity {
    int64_t not_after;       /* the first end among leaf and intermediates, Unix seconds */
    uint8_t fingerprint[32]; /* SHA-256 of the leaf */
    uint8_t serial[CLIENT_SERIAL_MAX];
    uint8_t serial_size;
    uint8_t chain_count; /* 0: there was no certificate */
    uint8_t reserved[2];
    struct client_link chain[CLIENT_CHAIN_MAX]; /* leaf first, as verified */
    char subject[CLIENT_SUBJECT_SHOWN];         /* printable, cut */
};
