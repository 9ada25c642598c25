/* The inside of a probe, shared by its files: probe.c (life and bytes), probe_context.c (what is
 * offered), probe_library.c (of what OpenSSL is made), probe_observe.c (what is seen). */
#pragma once

#include <openssl/ssl.h>

#include "tls/context.h"
#include "tls/probe.h"

struct probe {
    SSL *ssl;
    BIO *input, *output; /* in memory; the SSL object's */
    enum probe_status status;
    int only_key_type;
    bool trace;
    size_t *chain_room; /* NULL: no limit */
    uint64_t began_ns;
    uint8_t first[64]; /* what came first */
    size_t first_size;
    uint8_t last_type;    /* of the server's last handshake message; 0: none came */
    unsigned hellos;      /* ServerHello messages, without HelloRetryRequests */
    bool answered;        /* our side's last flight is written */
    bool renegotiating;   /* a second ServerHello ends it */
    int refused_dh_bits;  /* of a group that would hold up everybody; 0: none */
    SSL_SESSION *session; /* that could be resumed; NULL: none yet */
    struct probe_seen seen;
};

/* The library context of all contexts, for the life of the process; NULL, the default one, where
 * OpenSSL does not let itself be put together so. */
OSSL_LIB_CTX *probe_library(void);
/* The context for this key type, borrowed; NULL: OpenSSL cannot make it. */
SSL_CTX *probe_context(int only_key_type);

/* Set on the contexts. */
void probe_on_message(int sent, int version, int content_type, const void *data, size_t size,
                      SSL *ssl, void *argument);
int probe_on_timestamps(SSL *ssl, unsigned type, unsigned context, const unsigned char *data,
                        size_t size, X509 *certificate, size_t position, int *ret_alert,
                        void *argument);
int probe_on_session(SSL *ssl, SSL_SESSION *session);
int probe_on_security(const SSL *ssl, const SSL_CTX *context, int operation, int bits, int nid,
                      void *other, void *argument);

/* Fills what OpenSSL knows at the end, as far as it went. */
void probe_collect(struct probe *probe);
