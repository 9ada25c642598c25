/* Client contexts: for TLS upstreams, for dialling ourselves, and for synthetic clients. */
#include "tls/context.h"

#include <stdlib.h>

#include <openssl/err.h>

#include "tls/certificate_internal.h"
#include "tls/key_schedule.h"
#include "tls/trust_store.h"

struct tls_client {
    unsigned references;
    SSL_CTX *context;
    bool verify;
};

static int set_trust(SSL_CTX *context, const struct tls_client_policy *policy, struct error *error)
{
    X509_STORE *store;

    SSL_CTX_set_verify(context, policy->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (!policy->verify)
        return 0;
    int result = policy->trust_pem != NULL ? trust_store_text(&store, policy->trust_pem, error)
                                           : trust_store_file(&store, NULL, error);
    if (result == 0)
        SSL_CTX_set_cert_store(context, store); /* takes the reference */
    return result;
}

/* Which certificate a server with several shows is decided by the signature algorithms (TLS 1.3)
 * and the suites (TLS 1.2). */
static bool set_key_type(SSL_CTX *context, int only_key_type)
{
    switch (only_key_type) {
    case KEY_TYPE_ECDSA:
        return SSL_CTX_set1_sigalgs_list(context, context_text(CONTEXT_SIGNATURES_ECDSA)) == 1 &&
               SSL_CTX_set_cipher_list(context, CONTEXT_SUITES_ECDSA) == 1;
    case KEY_TYPE_RSA:
        return SSL_CTX_set1_sigalgs_list(context, context_text(CONTEXT_SIGNATURES_RSA)) == 1 &&
               SSL_CTX_set_cipher_list(context, CONTEXT_SUITES_RSA) == 1;
    default:
        return SSL_CTX_set_cipher_list(context, CONTEXT_SUITES_ECDSA ":" CONTEXT_SUITES_RSA) == 1;
    }
}

static int set_protocol(SSL_CTX *context, const struct tls_client_policy *policy,
                        struct error *error)
{
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_clear_options(context, SSL_OP_ENABLE_KTLS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    if (policy->detachable) {
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
        context_capture(context);
    }
    bool restricted = policy->detachable || policy->only_key_type >= 0;
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
        (restricted && (!set_key_type(context, policy->only_key_type) ||
                        SSL_CTX_set_ciphersuites(context, CONTEXT_SUITES_TLS13) != 1)))
        return error_set(error, ERROR_TLS, "OpenSSL lacks the cipher suites: %s", openssl_reason());
    if (policy->alpn_size > 0 &&
        SSL_CTX_set_alpn_protos(context, policy->alpn, (unsigned)policy->alpn_size) != 0)
        return error_set(error, ERROR_CONFIG, "malformed ALPN list");
    return context_set_groups(context, NULL, error);
}

int tls_client_new(struct tls_client **ret_client, const struct tls_client_policy *policy,
                   struct error *error)
{
    struct tls_client *client = calloc(1, sizeof *client);
    int result;

    if (client == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    client->references = 1;
    client->verify = policy->verify;
    client->context = SSL_CTX_new_ex(NULL, KEY_SCHEDULE_PROPERTIES, TLS_client_method());
    if (client->context == NULL) {
        result = error_set(error, ERROR_TLS, "cannot make a TLS context: %s", openssl_reason());
        goto failed;
    }
    if ((result = set_protocol(client->context, policy, error)) != 0 ||
        (result = set_trust(client->context, policy, error)) != 0 ||
        (policy->identity != NULL &&
         (result = context_use_keypair(client->context, policy->identity, error)) != 0))
        goto failed;
    *ret_client = client;
    return 0;
failed:
    ERR_clear_error();
    tls_client_unref(client);
    return result;
}

struct tls_client *tls_client_ref(struct tls_client *client)
{
    client->references++;
    return client;
}

void tls_client_unref(struct tls_client *client)
{
    if (client == NULL || --client->references > 0)
        return;
    SSL_CTX_free(client->context);
    free(client);
}

SSL_CTX *tls_client_context(const struct tls_client *client)
{
    return client->context;
}

bool tls_client_verifies(const struct tls_client *client)
{
    return client->verify;
}
