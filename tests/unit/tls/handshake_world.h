/* What the tests of handshakes share: servers by a policy, and clients of OpenSSL for them. */
#pragma once

#include "conversation.h"
#include "issued.h"
#include "tls/handshake_internal.h"

/* TLS 1.2 and 1.3 with one ticket. */
struct tls_policy ordinary_policy(void);
/* With certificates of these key types; or the test fails. */
struct tls_server *server_new(const struct tls_policy *policy, bool ecdsa, bool rsa);

SSL_CTX *client_context(void);
/* Takes the context. */
SSL *client_peer(SSL_CTX *context);

/* All of this, not begun. */
struct conversation *ordinary_conversation(void);
struct handshake_failure failure_of(const struct conversation *conversation);
