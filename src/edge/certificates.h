/* The certificates of a handshaker: which one answers a name, and the TLS contexts made from them.
 * Control publishes versions; names of folders are asked for when a client wants them. Handshakes
 * under way keep the context they began with. */
#pragma once

#include "edge/worker.h"
#include "tls/handshake.h"

struct certificates;

/* What was chosen for a handshake. */
struct certificate_choice {
    struct tls_server *server;         /* borrowed; valid until the loop's next batch */
    uint32_t certificate;              /* index in the configuration */
    uint32_t versions[KEY_TYPE_COUNT]; /* 0: there is none of this type */
};

enum certificate_answer {
    CERTIFICATE_FOUND,
    CERTIFICATE_ASKED,    /* control was asked: wait for certificates_arrived */
    CERTIFICATE_UNKNOWN,  /* the name is not served (unrecognized_name) */
    CERTIFICATE_MISSING,  /* it is served, but no version is loaded, or its context cannot be built
                           */
    CERTIFICATE_UNTRUSTED /* clients must be asked for a certificate, and there is nothing to judge
                             it by */
};

typedef void certificates_want_fn(void *context, const struct message_certificate_wanted *wanted);

/* `want` sends a question to control. `cache`: of sessions; NULL: none. */
struct certificates *certificates_new(struct worker *worker, struct session_cache *cache,
                                      certificates_want_fn *want, void *context);
void certificates_free(struct certificates *certificates);

/* ---- another configuration (indices keep their meaning) ---- */

/* Makes room for the certificates of worker->next_conf, so that control can send them before it is
 * in force. False when out of memory. */
MUST_CHECK bool certificates_prepare(struct certificates *certificates);
/* worker->conf is now what was prepared; `before` is what it was. Contexts whose listener or
 * certificate says something else now are dropped, all others stay. */
void certificates_swap(struct certificates *certificates, const struct conf *before);

/* `server_name`: lower-case, "" when the client sent none. */
enum certificate_answer certificates_choose(struct certificates *certificates, unsigned listener,
                                            const char *server_name,
                                            struct certificate_choice *ret_choice);

/* A version from control (combined PEM). Builds what can be built, so that an error is known before
 * it is in service. */
MUST_CHECK int certificates_install(struct certificates *certificates,
                                    const struct message_certificate *body, const char *pem,
                                    size_t pem_size, struct error *error);
/* It could not be installed: who waits for this name of a folder must not wait for it. */
void certificates_not_taken(struct certificates *certificates,
                            const struct message_certificate *body);
/* There is no pair of this key type any more; another one is in service. */
void certificates_withdraw(struct certificates *certificates,
                           const struct message_certificate *body);
/* What clients of a listener are judged by (MESSAGE_CLIENT_TRUST); `document` NULL: nothing. */
MUST_CHECK int certificates_trust(struct certificates *certificates,
                                  const struct message_client_trust *body, const char *document,
                                  size_t size, struct error *error);
/* The set in force; NULL: none. */
struct trust_set *certificates_trust_of(const struct certificates *certificates, unsigned listener);
/* How a client of the listener is asked for a certificate after its handshake; false: there is
 * nothing to judge it by. */
MUST_CHECK bool certificates_asking(const struct certificates *certificates, unsigned listener,
                                    struct handshake_asking *ret_asking);
/* Names of folders that were asked for are asked for anew when they are wanted. */
void certificates_ask_again(struct certificates *certificates);
/* Control does not know this name of a folder. */
void certificates_refuse(struct certificates *certificates,
                         const struct message_certificate_wanted *body);
