/* The PROXY protocol, versions 1 and 2 (haproxy.org/download/2.9/doc/proxy-protocol.txt): how a
 * proxy in front tells the addresses of the client, and how we tell them, with facts of the TLS
 * session, to an upstream. Bytes in, bytes out. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "loop/socket.h"

#define PROXY_PROTOCOL_V1_MAX 107
#define PROXY_PROTOCOL_V2_MAX 4096 /* with all TLVs; what we accept and what we build */

enum proxy_protocol_result {
    PROXY_PROTOCOL_OK,
    PROXY_PROTOCOL_INCOMPLETE, /* a header has begun, more bytes are needed (never beyond
                                  PROXY_PROTOCOL_V2_MAX) */
    PROXY_PROTOCOL_BAD         /* not a PROXY header, or a broken one */
};

struct proxy_protocol_header {
    /* LOCAL, UNKNOWN or AF_UNSPEC: the connection's own addresses count, the two below are empty
     * (size 0). */
    bool local;
    struct address source, destination; /* IPv4-mapped IPv6 addresses come as IPv4 */
};

/* Parses the header at the start of `input`. A CRC32c TLV is verified when present; other TLVs must
 * be well-formed and are ignored. *ret_consumed: bytes of the header. Stream protocols only. */
MUST_CHECK enum proxy_protocol_result proxy_protocol_parse(const uint8_t *input, size_t size,
                                                           struct proxy_protocol_header *ret_header,
                                                           size_t *ret_consumed);

/* Facts of the client's TLS session. Texts may be NULL: left out. */
struct proxy_protocol_tls {
    const char *version;             /* "TLSv1.3" */
    const char *cipher;              /* "TLS_AES_128_GCM_SHA256" */
    const char *signature_algorithm; /* of our certificate: "SHA256" */
    const char *key_algorithm;       /* of our certificate: "EC256" */
    const char *common_name;         /* of the client's certificate */
    bool certificate;                /* the client has shown a certificate in this session */
    bool resumed;                    /* … but not over this connection */
    bool verified;                   /* … and it was verified */
};

/* TLVs of a version 2 header; zeroed = none. */
struct proxy_protocol_fields {
    const char *alpn; /* the one protocol negotiated, not terminated */
    size_t alpn_size;
    const char *authority; /* server name the client asked for */
    const void *unique_id; /* up to 128 bytes */
    size_t unique_id_size;
    const struct proxy_protocol_tls *tls; /* NULL: the client speaks no TLS */
    /* In TLVs of our own (§2.2.8): */
    const char *client_subject;        /* 0xE0: of the client's certificate, RFC 2253 */
    const char *client_names;          /* 0xE1: its alternative names, "DNS:a.example, URI:…" */
    const uint8_t *client_fingerprint; /* 0xE2: its SHA-256, 32 bytes */
    bool checksum;
};

/* Builds a header and returns its size. Addresses of different families are told as IPv6; where one
 * is missing or a Unix socket meets an IP address, the header says UNKNOWN or AF_UNSPEC. `output`
 * has PROXY_PROTOCOL_V1_MAX bytes. */
size_t proxy_protocol_build_v1(const struct address *source, const struct address *destination,
                               uint8_t *output);
/* `fields` may be NULL. `output` has PROXY_PROTOCOL_V2_MAX bytes; returns 0 when that is not
 * enough. */
MUST_CHECK size_t proxy_protocol_build_v2(const struct address *source,
                                          const struct address *destination,
                                          const struct proxy_protocol_fields *fields,
                                          uint8_t *output);
