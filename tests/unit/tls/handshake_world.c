#include "handshake_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tls/context.h"

struct tls_policy ordinary_policy(void)
{
    struct tls_policy policy = {.min_version = TLS_VERSION_1_2,
                                .max_version = TLS_VERSION_1_3,
                                .groups = tls_default_groups(),
                                .tickets = 1,
                                .ticket_lifetime_s = 3600};

    memset(policy.session_id_context, 7, sizeof policy.session_id_context);
    return policy;
}

struct tls_server *server_new(const struct tls_policy *policy, bool ecdsa, bool rsa)
{
    struct keypair *pairs[KEY_TYPE_COUNT] = {ecdsa ? issued_pair(KEY_TYPE_ECDSA) : NULL,
                                             rsa ? issued_pair(KEY_TYPE_RSA) : NULL};
    struct tls_server *server = NULL;
    struct error error;

    if (tls_server_new(&server, policy, pairs, &error) != 0)
        fail_msg("%s", error.message);
    return server;
}

SSL_CTX *client_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    assert_non_null(context);
    return context;
}

SSL *client_peer(SSL_CTX *context)
{
    SSL *peer = peer_new(context, false);
    SSL_set_tlsext_host_name(peer, context_text("edge.test"));
    SSL_CTX_free(context);
    return peer;
}

struct conversation *ordinary_conversation(void)
{
    struct tls_policy policy = ordinary_policy();
    struct tls_server *server = server_new(&policy, true, true);
    struct conversation *conversation =
        conversation_new(handshake_new_server(server), client_peer(client_context()));

    tls_server_unref(server);
    return conversation;
}

struct handshake_failure failure_of(const struct conversation *conversation)
{
    struct handshake_failure failure;

    handshake_failure(conversation->handshake, &failure);
    return failure;
}
