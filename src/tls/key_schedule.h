/* The TLS 1.3 key schedule (RFC 9846 §7.1) as an OpenSSL provider: the algorithm TLS13-KDF, which
 * libssl asks for whenever it derives a secret.
 *
 * It has two reasons to exist. It lets the process see the traffic secrets at the moment when
 * libssl derives them, which is the moment of the change of keys: what the key log callback would
 * tell too, but that prints each secret as text (a tenth of a handshake's time). And it keeps its
 * HMAC contexts, where the default provider fetches everything anew for each derivation. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"

/* For SSL_CTX_new_ex(): prefers this provider where it has the algorithm. */
#define KEY_SCHEDULE_PROPERTIES "?provider=holdfast"

/* Adds the provider to the default library context. Returns success; without it handshakes work but
 * cannot be detached. */
MUST_CHECK bool key_schedule_load(void);

/* Adds it to another library context, too. */
struct ossl_lib_ctx_st;
MUST_CHECK bool key_schedule_add(struct ossl_lib_ctx_st *library);

/* Forgets the secret that was last derived from, of which the HMAC contexts keep a copy. */
void key_schedule_forget(void);

/* Told of every secret that libssl expands; `label` without "tls13 ", not terminated. */
typedef void key_schedule_observer(void *context, const char *label, size_t label_size,
                                   const uint8_t *secret, size_t secret_size);
/* Sets the one observer of this thread; NULL: nobody. */
void key_schedule_observe(key_schedule_observer *observer, void *context);
