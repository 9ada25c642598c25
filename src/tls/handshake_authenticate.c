/* Asking the client of a carried session who it is: RFC 9846 §4.7.2 in TLS 1.3, a renegotiation in
 * TLS 1.2.
 *
 * It is judged by what is trusted when it is asked, not by what was when its session began: that
 * may be long ago. */
#include "tls/handshake_internal.h"

#include <openssl/err.h>

#include "tls/client_verify.h"

static bool is_tls13(const struct handshake *handshake)
{
    return SSL_version(handshake->ssl) == TLS1_3_VERSION;
}

bool handshake_can_authenticate(const struct handshake *handshake)
{
    return handshake->ssl != NULL && handshake->server != NULL &&
           tls_server_clients(handshake->server) != NULL &&
           handshake->client_identity.chain_count == 0 &&
           (is_tls13(handshake) ? handshake->post_handshake_auth
                                : handshake_can_renegotiate(handshake));
}

/* The request goes out at once; the answer is waited for by reading. */
static bool send_request(struct handshake *handshake)
{
    if (!is_tls13(handshake))
        return handshake_renegotiate(handshake);
    return SSL_verify_client_post_handshake(handshake->ssl) == 1 &&
           SSL_do_handshake(handshake->ssl) == 1;
}

static void ask_no_more(struct handshake *handshake)
{
    SSL_set_verify(handshake->ssl, SSL_VERIFY_NONE, NULL);
    ERR_clear_error();
}

bool handshake_authenticate(struct handshake *handshake, const struct handshake_asking *asking)
{
    struct carried *carried = &handshake->carried;
    struct client_verify *verify;

    if (!carried->in_use || !handshake_can_authenticate(handshake) ||
        carried->authentication == AUTHENTICATION_ASKED || !SSL_is_init_finished(handshake->ssl) ||
        (verify = client_verify_ask(handshake->ssl, asking)) == NULL)
        return false;
    client_verify_free(handshake->asked_by);
    handshake->asked_by = verify;
    carried->finished = false;
    if (!send_request(handshake)) {
        ask_no_more(handshake);
        return false;
    }
    carried->authentication = AUTHENTICATION_ASKED;
    return true;
}

/* Who has a certificate is asked for it again by each renegotiation, and must have the same. */
void handshake_authenticate_settle(struct handshake *handshake)
{
    struct carried *carried = &handshake->carried;

    carried->finished = false;
    if (carried->authentication != AUTHENTICATION_ASKED)
        return;
    if (handshake->client_identity.chain_count > 0 &&
        SSL_get0_peer_certificate(handshake->ssl) != NULL) {
        carried->authentication = AUTHENTICATION_DONE;
        handshake_facts_peer(handshake);
    } else {
        carried->authentication = AUTHENTICATION_EMPTY;
        ask_no_more(handshake);
    }
}

enum handshake_authentication handshake_authentication(struct handshake *handshake)
{
    struct carried *carried = &handshake->carried;
    enum handshake_authentication now = carried->authentication;

    if (now == AUTHENTICATION_DONE || now == AUTHENTICATION_EMPTY)
        carried->authentication = AUTHENTICATION_NONE;
    if (now == AUTHENTICATION_ASKED && handshake->ssl != NULL && is_tls13(handshake) &&
        !SSL_is_init_finished(handshake->ssl))
        return AUTHENTICATION_RUNNING;
    return now;
}
