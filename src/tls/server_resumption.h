/* Resumption as OpenSSL sees it: the callbacks of a server context. What is decided stands in
 * resumption.h. */
#pragma once

#include <openssl/ssl.h>

#include "tls/handshake.h"

/* A context's own copy of what its callbacks need; must live as long as the context. */
struct client_verify;
struct server_resumption {
    const struct client_verify *clients; /* NULL: clients have no certificates */
    int64_t lineage_s;
    int64_t lifetime_s;
    const uint64_t *epoch;
    uint8_t trust_digest[RESUMPTION_TRUST_SIZE];
    uint8_t context[32];
    const struct ticket_ring *ticket_ring;
    struct session_cache *cache; /* NULL: none */
};

/* Sets the context's tickets and their judging. */
MUST_CHECK bool server_resumption_init(struct server_resumption *resumption, SSL_CTX *context,
                                       const struct tls_policy *policy);
