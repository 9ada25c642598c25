/* Server contexts: one policy with one certificate name. */
#include "tls/context.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "tls/certificate_internal.h"
#include "tls/client_verify.h"
#include "tls/key_schedule.h"
#include "tls/server_resumption.h"

#define SUITES_AEAD CONTEXT_SUITES_ECDSA ":" CONTEXT_SUITES_RSA

struct tls_server {
    unsigned references;
    SSL_CTX *context;
    enum key_type first_type;
    uint8_t *alpn; /* wire format, NULL: none */
    unsigned alpn_size;
    struct server_resumption resumption;
    struct client_verify *clients; /* NULL: nobody is asked */
};

/* Our order decides; without a common protocol the handshake ends with no_application_protocol (RFC
 * 7301 §3.2). */
static int select_alpn(SSL *ssl, const unsigned char **ret_protocol, unsigned char *ret_size,
                       const unsigned char *offered, unsigned offered_size, void *argument)
{
    const struct tls_server *server = argument;
    unsigned char *chosen;

    (void)ssl;
    if (SSL_select_next_proto(&chosen, ret_size, server->alpn, server->alpn_size, offered,
                              offered_size) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret_protocol = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* The caller has chosen this context by the name already; agreeing here makes OpenSSL confirm the
 * extension and tie the session to the name. */
static int confirm_server_name(SSL *ssl, int *ret_alert, void *argument)
{
    (void)ssl, (void)ret_alert, (void)argument;
    return SSL_TLSEXT_ERR_OK;
}

/* Everything that OpenSSL's security levels would look at is named by us: suites, groups, signature
 * algorithms, versions; and the certificate has passed the pre-flight. Asking again a hundred times
 * per handshake would only cost time, and it would refuse a certificate that the operator forced.
 */
static int permit(const SSL *ssl, const SSL_CTX *context, int operation, int bits, int id,
                  void *other, void *extra)
{
    (void)ssl, (void)context, (void)operation, (void)bits, (void)id, (void)other, (void)extra;
    return 1;
}

static void set_behaviour(SSL_CTX *context, const struct tls_policy *policy)
{
    uint64_t options = SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                       SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                       (policy->tickets == 0 ? SSL_OP_NO_TICKET : 0);

    SSL_CTX_set_options(context, options);
    SSL_CTX_clear_options(context, SSL_OP_ENABLE_KTLS | SSL_OP_LEGACY_SERVER_CONNECT);
    SSL_CTX_set_mode(context, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_security_callback(context, permit);
    SSL_CTX_set_tlsext_servername_callback(context, confirm_server_name);
    context_capture(context);
}

static int set_protocol(SSL_CTX *context, const struct tls_policy *policy, struct error *error)
{
    if (SSL_CTX_set_min_proto_version(context, policy->min_version) != 1 ||
        SSL_CTX_set_max_proto_version(context, policy->max_version) != 1 ||
        policy->min_version < TLS_VERSION_1_2 || policy->max_version < policy->min_version)
        return error_set(error, ERROR_CONFIG, "impossible range of TLS versions %#x to %#x",
                         policy->min_version, policy->max_version);
    if (SSL_CTX_set_ciphersuites(context, CONTEXT_SUITES_TLS13) != 1 ||
        SSL_CTX_set_cipher_list(context, policy->cbc ? SUITES_AEAD ":" CONTEXT_SUITES_CBC
                                                     : SUITES_AEAD) != 1 ||
        SSL_CTX_set1_sigalgs_list(
            context, context_text(CONTEXT_SIGNATURES_ECDSA ":" CONTEXT_SIGNATURES_RSA)) != 1)
        return error_set(error, ERROR_TLS, "OpenSSL lacks the cipher suites: %s", openssl_reason());
    return context_set_groups(context, policy->groups, error);
}

static int set_resumption(struct tls_server *server, const struct tls_policy *policy,
                          struct error *error)
{
    return server_resumption_init(&server->resumption, server->context, policy)
               ? 0
               : error_set(error, ERROR_TLS, "OpenSSL refuses the ticket settings: %s",
                           openssl_reason());
}

static int set_alpn(struct tls_server *server, const struct tls_policy *policy, struct error *error)
{
    if (policy->alpn_size == 0)
        return 0;
    server->alpn = malloc(policy->alpn_size);
    if (server->alpn == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    memcpy(server->alpn, policy->alpn, policy->alpn_size);
    server->alpn_size = (unsigned)policy->alpn_size;
    SSL_CTX_set_alpn_select_cb(server->context, select_alpn, server);
    return 0;
}

static int set_certificates(struct tls_server *server, struct keypair *const pairs[KEY_TYPE_COUNT],
                            struct error *error)
{
    bool any = false;

    for (int type = KEY_TYPE_COUNT - 1; type >= 0; type--) {
        if (pairs[type] == NULL)
            continue;
        int result = context_use_keypair(server->context, pairs[type], error);
        if (result != 0)
            return result;
        server->first_type = (enum key_type)type;
        any = true;
    }
    return any ? 0 : error_set(error, ERROR_INTERNAL, "a server context needs a certificate");
}

int tls_server_new(struct tls_server **ret_server, const struct tls_policy *policy,
                   struct keypair *const pairs[KEY_TYPE_COUNT], struct error *error)
{
    struct tls_server *server = calloc(1, sizeof *server);
    int result;

    if (server == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    server->references = 1;
    server->context = SSL_CTX_new_ex(NULL, KEY_SCHEDULE_PROPERTIES, TLS_server_method());
    if (server->context == NULL) {
        result = error_set(error, ERROR_TLS, "cannot make a TLS context: %s", openssl_reason());
        goto failed;
    }
    set_behaviour(server->context, policy);
    if ((result = set_protocol(server->context, policy, error)) != 0 ||
        (result = set_resumption(server, policy, error)) != 0 ||
        (result = set_alpn(server, policy, error)) != 0 ||
        (result = set_certificates(server, pairs, error)) != 0 ||
        (result = client_verify_new(&server->clients, server->context, policy, error)) != 0)
        goto failed;
    server->resumption.clients = server->clients;
    *ret_server = server;
    return 0;
failed:
    ERR_clear_error();
    tls_server_unref(server);
    return result;
}

struct tls_server *tls_server_ref(struct tls_server *server)
{
    server->references++;
    return server;
}

void tls_server_unref(struct tls_server *server)
{
    if (server == NULL || --server->references > 0)
        return;
    SSL_CTX_free(server->context);
    client_verify_free(server->clients);
    free(server->alpn);
    free(server);
}

const struct ticket_ring *tls_server_ticket_ring(const struct tls_server *server)
{
    return server->resumption.ticket_ring;
}

SSL_CTX *tls_server_context(const struct tls_server *server)
{
    return server->context;
}

const struct client_verify *tls_server_clients(const struct tls_server *server)
{
    return server->clients;
}

const struct trust_set *tls_server_trust(const struct tls_server *server)
{
    return client_verify_set(server->clients);
}

enum key_type tls_server_key_type(const struct tls_server *server)
{
    return server->first_type;
}
