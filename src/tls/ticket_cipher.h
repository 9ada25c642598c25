/* Sealing and opening of session tickets with the keys of the ring, as OpenSSL asks for it. */
#pragma once

#include <stdbool.h>

#include <openssl/ssl.h>

#include "base/attributes.h"

/* Tickets of handshakes under this context are made with the ring of its server
 * (tls_server_ticket_ring). */
MUST_CHECK bool ticket_cipher_install(SSL_CTX *context);
