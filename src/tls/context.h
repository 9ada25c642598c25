/* What server and client contexts have in common, for the files of this folder. */
#pragma once

#include <openssl/ssl.h>

#include "tls/handshake.h"

/* The suites that leg.h can carry. */
#define CONTEXT_SUITES_TLS13                                                                       \
    "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
#define CONTEXT_SUITES_ECDSA                                                                       \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384"
#define CONTEXT_SUITES_RSA                                                                         \
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES256-GCM-SHA384"

/* … and that only OpenSSL can (RFC 5289 and RFC 4492), behind all of those. */
#define CONTEXT_SUITES_CBC                                                                         \
    "ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-"       \
    "AES256-SHA384:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-"  \
    "AES256-SHA"

#define CONTEXT_SIGNATURES_ECDSA "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512"
#define CONTEXT_SIGNATURES_RSA                                                                     \
    "RSA-PSS+SHA256:RSA+SHA256:RSA-PSS+SHA384:RSA+SHA384:RSA-PSS+SHA512:RSA+SHA512"

/* Text for those of OpenSSL's macros that cast `const` away, though nothing is written. */
static inline char *context_text(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* Sets the groups of an OpenSSL list, leaving out X25519MLKEM768 when the library lacks it. NULL:
 * tls_default_groups(). */
MUST_CHECK int context_set_groups(SSL_CTX *context, const char *groups, struct error *error);

/* Uses the pair's certificate, chain and key. */
MUST_CHECK int context_use_keypair(SSL_CTX *context, struct keypair *pair, struct error *error);

/* Names after RFC 9846 and RFC 5246: the message that was awaited, read or written. */
const char *context_stage(const SSL *ssl);

/* Prepares a context so that handshakes under it can be detached (handshake_capture.c). */
void context_capture(SSL_CTX *context);

struct client_verify;
/* By what a certificate that a client shows, now or later, is judged; NULL: nothing. */
const struct client_verify *tls_server_clients(const struct tls_server *server);
/* NULL: none was given. */
const struct ticket_ring *tls_server_ticket_ring(const struct tls_server *server);
SSL_CTX *tls_server_context(const struct tls_server *server);
/* The type that a session without a signature (a resumed one) is counted under. */
enum key_type tls_server_key_type(const struct tls_server *server);

SSL_CTX *tls_client_context(const struct tls_client *client);
bool tls_client_verifies(const struct tls_client *client);
