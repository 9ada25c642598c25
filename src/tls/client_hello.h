/* A strict look at a ClientHello before any handshake begins: for routing by name without
 * terminating, for limits, for events and fingerprints (RFC 9846 §4.1.2, RFC 5246 §7.4.1.2).
 * Allocates nothing and keeps no pointer into its input. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"

#define CLIENT_HELLO_NAME_MAX       256
#define CLIENT_HELLO_ALPN_MAX       256
#define CLIENT_HELLO_CIPHERS_MAX    512 /* of these lists, what goes beyond is dropped */
#define CLIENT_HELLO_SIGNATURES_MAX 128
#define CLIENT_HELLO_GROUPS_MAX     64
#define CLIENT_HELLO_SHARES_MAX     16
#define CLIENT_HELLO_EXTENSIONS_MAX 128 /* a message with more is refused */

enum client_hello_result {
    CLIENT_HELLO_OK,
    CLIENT_HELLO_INCOMPLETE, /* so far it may be one; more bytes are needed */
    CLIENT_HELLO_NOT_TLS, /* does not begin with a TLS handshake record (SSLv2 hellos among them) */
    CLIENT_HELLO_HTTP,    /* a plain HTTP request */
    CLIENT_HELLO_BAD,     /* TLS, but no well-formed ClientHello: decode_error */
    CLIENT_HELLO_TOO_LARGE /* more than `maximum` bytes with its record headers */
};

/* Lists of code points are in the order sent, without GREASE values (RFC 8701). */
struct client_hello {
    size_t wire_size; /* bytes of input that the message took, record headers included */
    char server_name[CLIENT_HELLO_NAME_MAX]; /* lower-case, without a final dot; "" when none was
                                                sent */
    bool has_server_name;
    uint16_t legacy_version;
    uint16_t min_version, max_version;   /* offered, from supported_versions where present */
    uint8_t alpn[CLIENT_HELLO_ALPN_MAX]; /* ProtocolName list as on the wire, without the outer
                                            length; whole names only */
    size_t alpn_size;
    bool offers_ecdsa,
        offers_rsa; /* certificate types that its signature_algorithms (or their absence) allow */
    uint8_t session_id_size;
    size_t ticket_size; /* of the session ticket; 0: none, or the client only says that it takes
                           them */
    bool early_data, session_ticket, pre_shared_key, post_handshake_auth, extended_master_secret;
    uint16_t ciphers[CLIENT_HELLO_CIPHERS_MAX];
    size_t cipher_count;
    uint16_t extensions[CLIENT_HELLO_EXTENSIONS_MAX];
    size_t extension_count;
    uint16_t signatures[CLIENT_HELLO_SIGNATURES_MAX];
    size_t signature_count;
    uint16_t groups[CLIENT_HELLO_GROUPS_MAX];
    size_t group_count;
    uint16_t key_shares[CLIENT_HELLO_SHARES_MAX]; /* groups for which a share was sent */
    size_t key_share_count;
};

/* Parses the ClientHello at the start of a connection; the message may be spread over several
 * records. `maximum` limits the bytes of input. *ret_hello is filled for CLIENT_HELLO_OK only. */
MUST_CHECK enum client_hello_result client_hello_parse(const uint8_t *input, size_t size,
                                                       size_t maximum,
                                                       struct client_hello *ret_hello);

/* JA4 as published by FoxIO ("t13d1516h2_8daaf6152771_e5627efa2ab1"), over TCP. Returns false when
 * SHA-256 failed. */
#define CLIENT_HELLO_JA4_SIZE (10 + 1 + 12 + 1 + 12 + 1)
MUST_CHECK bool client_hello_ja4(const struct client_hello *hello,
                                 char ret_text[CLIENT_HELLO_JA4_SIZE]);
