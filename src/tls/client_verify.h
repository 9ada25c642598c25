/* Asking clients for a certificate, and judging it: the part of a server context that knows a trust
 * set. The chain is built and verified by OpenSSL (purpose, times, signatures, constraints);
 * whether it is revoked says the same function that judges live sessions later. */
#pragma once

#include <openssl/ssl.h>

#include "tls/context.h"
#include "tls/trust_set.h"

struct client_verify;

/* Prepares the context as the policy says; NULL in *ret_verify when it has no trust set and
 * nobody will be asked. It must outlive the context. */
MUST_CHECK int client_verify_new(struct client_verify **ret_verify, SSL_CTX *context,
                                 const struct tls_policy *policy, struct error *error);
void client_verify_free(struct client_verify *verify); /* accepts NULL */

/* A handshake begins: where clients are asked later, what its client offers is looked at. `verify`
 * may be NULL. */
void client_verify_begin(const struct client_verify *verify, SSL *ssl);
/* Prepares one session to be asked for a certificate after its handshake, whatever its context
 * says, and returns what the answer is to be judged by; NULL when OpenSSL or memory does not allow
 * it. */
MUST_CHECK struct client_verify *client_verify_ask(SSL *ssl, const struct handshake_asking *asking);

/* What travels with a session that may be resumed, because its client's chain does not: only the
 * leaf is in it. */
struct client_record {
    int64_t not_after;
    uint32_t chain_count;
    uint32_t reserved;
    struct client_link chain[CLIENT_CHAIN_MAX];
};
void client_verify_remember(const struct client_identity *identity,
                            struct client_record *ret_record);
/* A session is about to be resumed: gives the handshake the identity that it had, judged as of now.
 * `record` NULL: the session has none. False: not to be resumed. */
MUST_CHECK bool client_verify_resumes(const struct client_verify *verify,
                                      struct handshake *handshake, const SSL_SESSION *session,
                                      const struct client_record *record);

/* The trust set; NULL without one. */
const struct trust_set *client_verify_set(const struct client_verify *verify);
