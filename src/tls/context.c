#include "tls/context.h"

#include <string.h>

#include <openssl/err.h>

#include "base/string.h"
#include "tls/certificate_internal.h"
#include "tls/openssl_auto.h"

#define HYBRID_GROUP    "X25519MLKEM768"
#define GROUPS_SIZE_MAX 512

/* Copies the list without the hybrid group. Returns false when it does not fit. */
static bool groups_without_hybrid(char *destination, size_t size, const char *groups)
{
    size_t used = 0;

    destination[0] = '\0';
    while (*groups != '\0') {
        size_t length = strcspn(groups, ":");
        bool hybrid =
            length == strlen(HYBRID_GROUP) && strncasecmp(groups, HYBRID_GROUP, length) == 0;
        if (!hybrid && length > 0) {
            if (used + length + 2 > size)
                return false;
            if (used > 0)
                destination[used++] = ':';
            memcpy(destination + used, groups, length);
            used += length;
            destination[used] = '\0';
        }
        groups += length + (groups[length] == ':');
    }
    return true;
}

int context_set_groups(SSL_CTX *context, const char *groups, struct error *error)
{
    char classic[GROUPS_SIZE_MAX];

    if (groups == NULL)
        groups = tls_default_groups();
    if (SSL_CTX_set1_groups_list(context, context_text(groups)) == 1)
        return 0;
    ERR_clear_error();
    if (groups_without_hybrid(classic, sizeof classic, groups) && classic[0] != '\0' &&
        SSL_CTX_set1_groups_list(context, classic) == 1)
        return 0;
    return error_set(error, ERROR_CONFIG, "cannot use the key exchange groups \"%s\": %s", groups,
                     openssl_reason());
}

const char *tls_default_groups(void)
{
    static const char with_hybrid[] = HYBRID_GROUP ":X25519:P-256";
    static const char *chosen;

    if (chosen == NULL) {
        SSL_CTX *context = SSL_CTX_new(TLS_server_method());
        bool has_hybrid =
            context != NULL && SSL_CTX_set1_groups_list(context, context_text(with_hybrid)) == 1;
        ERR_clear_error();
        SSL_CTX_free(context);
        chosen = has_hybrid ? with_hybrid : strchr(with_hybrid, ':') + 1;
    }
    return chosen;
}

int context_use_keypair(SSL_CTX *context, struct keypair *pair, struct error *error)
{
    if (SSL_CTX_use_cert_and_key(context, keypair_leaf(pair), keypair_private_key(pair),
                                 keypair_chain(pair), 1) != 1)
        return error_set(error, ERROR_TLS, "OpenSSL refuses the certificate of %s: %s",
                         keypair_subject(pair), openssl_reason());
    return 0;
}

const char *context_stage(const SSL *ssl)
{
    static const char *const names[] = {
        [TLS_ST_BEFORE] = "client_hello",
        [TLS_ST_OK] = "established",
        [TLS_ST_CR_SRVR_HELLO] = "server_hello",
        [TLS_ST_CR_CERT] = "certificate",
        [TLS_ST_CR_CERT_STATUS] = "certificate_status",
        [TLS_ST_CR_KEY_EXCH] = "server_key_exchange",
        [TLS_ST_CR_CERT_REQ] = "certificate_request",
        [TLS_ST_CR_SRVR_DONE] = "server_hello_done",
        [TLS_ST_CR_SESSION_TICKET] = "new_session_ticket",
        [TLS_ST_CR_CHANGE] = "change_cipher_spec",
        [TLS_ST_CR_FINISHED] = "finished",
        [TLS_ST_CW_CLNT_HELLO] = "server_hello", /* awaited now */
        [TLS_ST_CW_CERT] = "certificate",
        [TLS_ST_CW_KEY_EXCH] = "client_key_exchange",
        [TLS_ST_CW_CERT_VRFY] = "certificate_verify",
        [TLS_ST_CW_CHANGE] = "change_cipher_spec",
        [TLS_ST_CW_FINISHED] = "finished",
        [TLS_ST_SR_CLNT_HELLO] = "client_hello",
        [TLS_ST_SR_CERT] = "certificate",
        [TLS_ST_SR_KEY_EXCH] = "client_key_exchange",
        [TLS_ST_SR_CERT_VRFY] = "certificate_verify",
        [TLS_ST_SR_CHANGE] = "change_cipher_spec",
        [TLS_ST_SR_FINISHED] = "finished",
        [TLS_ST_SW_SRVR_HELLO] = "server_hello",
        [TLS_ST_SW_CERT] = "certificate",
        [TLS_ST_SW_KEY_EXCH] = "server_key_exchange",
        [TLS_ST_SW_CERT_REQ] = "certificate_request",
        [TLS_ST_SW_SRVR_DONE] = "client_key_exchange", /* awaited now */
        [TLS_ST_SW_SESSION_TICKET] = "new_session_ticket",
        [TLS_ST_SW_CHANGE] = "change_cipher_spec",
        [TLS_ST_SW_FINISHED] = "finished",
        [TLS_ST_SW_ENCRYPTED_EXTENSIONS] = "encrypted_extensions",
        [TLS_ST_CR_ENCRYPTED_EXTENSIONS] = "encrypted_extensions",
        [TLS_ST_CR_CERT_VRFY] = "certificate_verify",
        [TLS_ST_SW_CERT_VRFY] = "certificate_verify",
        [TLS_ST_EARLY_DATA] = "finished", /* the server awaits the client's answer to its flight */
        [TLS_ST_PENDING_EARLY_DATA_END] = "finished",
    };
    unsigned state = (unsigned)SSL_get_state(ssl);

    return state < ARRAY_SIZE(names) && names[state] != NULL ? names[state] : "handshake";
}
