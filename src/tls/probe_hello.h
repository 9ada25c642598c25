/* Questions that need no handshake: a ClientHello of our own making, and what the server's first
 * answer says. Asks what OpenSSL cannot offer any more (SSL 3, RC4, EXPORT, compression) or cannot
 * yet (X25519MLKEM768), and costs neither side a key: a TLS 1.3 hello without a key share is
 * answered by a HelloRetryRequest that names suite and group (RFC 8446 §4.1.4).
 *
 * Bytes in, bytes out; parsing allocates nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"

#define PROBE_HELLO_SIZE_MAX       2048
#define PROBE_HELLO_ANSWER_MAX     (64u << 10) /* bytes until the answer must be there */
#define PROBE_GROUP_X25519MLKEM768 0x11ec

#define PROBE_HELLO_NO_SENTINEL 0xff

/* What is offered; plain value. */
struct probe_hello {
    const char *server_name; /* NULL: none */
    uint16_t version;        /* 0x0300–0x0304: this one alone */
    const uint16_t *suites;
    size_t suite_count;
    const uint16_t *groups; /* NULL: all that are common */
    size_t group_count;
    bool fallback;    /* with TLS_FALLBACK_SCSV (RFC 7507) */
    bool compression; /* with DEFLATE; below TLS 1.3 */
};

/* Returns the size; 0 when it does not fit, or without randomness. */
size_t probe_hello_build(uint8_t output[PROBE_HELLO_SIZE_MAX], const struct probe_hello *hello);

enum probe_hello_result {
    PROBE_HELLO_MORE, /* so far it may be an answer */
    PROBE_HELLO_ACCEPTED,
    PROBE_HELLO_REFUSED, /* by an alert */
    PROBE_HELLO_STRANGE  /* no TLS, or not well-formed */
};

struct probe_hello_answer {
    uint16_t version, suite;
    uint16_t group; /* of a HelloRetryRequest or key share; 0: none */
    uint8_t compression;
    uint8_t alert;    /* of PROBE_HELLO_REFUSED */
    bool retry;       /* a HelloRetryRequest */
    uint8_t sentinel; /* RFC 8446 §4.1.3: 0x01 "TLS 1.2 instead of 1.3", 0x00 "still lower" */
};

/* A ServerHello or HelloRetryRequest behind its message header; false: not well-formed. */
MUST_CHECK bool probe_hello_body(const uint8_t *body, size_t size,
                                 struct probe_hello_answer *ret_answer);

/* *ret_answer is filled for ACCEPTED and REFUSED. Warning alerts are passed over. */
MUST_CHECK enum probe_hello_result probe_hello_read(const uint8_t *input, size_t size,
                                                    struct probe_hello_answer *ret_answer);
