#include "tls/client_verify.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tls/certificate_internal.h"
#include "tls/handshake_internal.h"
#include "tls/trust_set_internal.h"

/* What a client may sign with; our own certificates are of fewer kinds. */
#define SIGNATURES CONTEXT_SIGNATURES_ECDSA ":" CONTEXT_SIGNATURES_RSA ":ed25519:ed448"
#define LEVEL      2 /* of OpenSSL: keys and signatures of a chain with 112 bits and more */
/* Of CAs, told to clients. Those of TLS end at 64 KiB, many clients' handshakes earlier. */
#define NAMES_MAX (16 * 1024)

struct client_verify {
    struct trust_set *trust; /* NULL: nothing is trusted (yet) */
    uint32_t depth;
    bool refuse_stale;
    bool later; /* nobody is asked in the handshake */
};

/* ---- who it is ---- */

static void take_serial(struct client_identity *identity, const X509 *leaf)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(leaf);
    int size = ASN1_STRING_length(serial);

    if (size < 0 || size > CLIENT_SERIAL_MAX)
        size = size < 0 ? 0 : CLIENT_SERIAL_MAX;
    memcpy(identity->serial, ASN1_STRING_get0_data(serial), (size_t)size);
    identity->serial_size = (uint8_t)size;
}

static void take_leaf(struct client_identity *identity, const X509 *leaf)
{
    take_serial(identity, leaf);
    ignore(X509_digest(leaf, EVP_sha256(), identity->fingerprint, NULL));
    certificate_name_text(identity->subject, sizeof identity->subject, X509_get_subject_name(leaf));
}

/* False for a chain longer than can be remembered. */
static bool identify(const STACK_OF(X509) * chain, struct client_identity *ret_identity)
{
    struct client_identity identity = {.not_after = INT64_MAX};
    int count = sk_X509_num(chain);

    if (count < 1 || count > CLIENT_CHAIN_MAX)
        return false;
    for (int i = 0; i < count; i++) {
        const X509 *certificate = sk_X509_value(chain, i);
        int64_t end = certificate_time(X509_get0_notAfter(certificate));
        trust_link(certificate, &identity.chain[i]);
        if ((i == 0 || i < count - 1) && end < identity.not_after)
            identity.not_after = end;
    }
    identity.chain_count = (uint8_t)count;
    take_leaf(&identity, sk_X509_value(chain, 0));
    *ret_identity = identity;
    return true;
}

/* ---- judgement ---- */

/* Is the list of an issuer of the chain over, where that matters? */
static bool stale(const struct client_verify *verify, const STACK_OF(X509) * chain)
{
    int64_t now = (int64_t)time(NULL);

    for (int i = 0; verify->refuse_stale && i < sk_X509_num(chain); i++) {
        if (trust_set_issuer_stale(verify->trust, X509_get_issuer_name(sk_X509_value(chain, i)),
                                   now))
            return true;
    }
    return false;
}

static int fault_of(const struct client_verify *verify, const STACK_OF(X509) * chain,
                    const struct client_identity *identity)
{
    if (stale(verify, chain))
        return X509_V_ERR_CRL_HAS_EXPIRED;
    switch (trust_set_judge(verify->trust, identity, (int64_t)time(NULL))) {
    case TRUST_ACCEPTED:
        return X509_V_OK;
    case TRUST_REVOKED:
        return X509_V_ERR_CERT_REVOKED;
    case TRUST_EXPIRED:
        return X509_V_ERR_CERT_HAS_EXPIRED;
    case TRUST_UNKNOWN:
        break;
    }
    return X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
}

static int verify_chain(X509_STORE_CTX *context, void *argument)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct handshake *handshake = SSL_get_app_data(ssl);
    const struct client_verify *verify =
        handshake->asked_by != NULL ? handshake->asked_by : argument;
    struct client_identity identity;

    int result = X509_verify_cert(context);
    if (result <= 0)
        return result;
    const STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(context);
    int fault = identify(chain, &identity) ? fault_of(verify, chain, &identity)
                                           : X509_V_ERR_CERT_CHAIN_TOO_LONG;
    if (fault != X509_V_OK) {
        X509_STORE_CTX_set_error(context, fault);
        return 0;
    }
    handshake->client_identity = identity;
    return 1;
}

/* ---- resumption ---- */

void client_verify_remember(const struct client_identity *identity,
                            struct client_record *ret_record)
{
    *ret_record = (struct client_record){.not_after = identity->not_after,
                                         .chain_count = identity->chain_count};
    memcpy(ret_record->chain, identity->chain, sizeof ret_record->chain);
}

/* Whoever came without a certificate is resumed without one. Which list belongs to which issuer a
 * resumed chain does not tell: where lists must not be over, none may be. */
bool client_verify_resumes(const struct client_verify *verify, struct handshake *handshake,
                           const SSL_SESSION *session, const struct client_record *record)
{
    X509 *leaf = SSL_SESSION_get0_peer((SSL_SESSION *)(uintptr_t)session);
    int64_t now = (int64_t)time(NULL);
    struct client_identity identity = {0};

    if (leaf == NULL)
        return true;
    if (verify == NULL || verify->trust == NULL || record == NULL || record->chain_count == 0 ||
        record->chain_count > CLIENT_CHAIN_MAX || record->chain_count > verify->depth + 2)
        return false;
    identity.not_after = record->not_after;
    identity.chain_count = (uint8_t)record->chain_count;
    memcpy(identity.chain, record->chain, sizeof identity.chain);
    take_leaf(&identity, leaf);
    if ((verify->refuse_stale && trust_set_stale(verify->trust, now)) ||
        trust_set_judge(verify->trust, &identity, now) != TRUST_ACCEPTED)
        return false;
    handshake->client_identity = identity;
    return true;
}

/* ---- the context ---- */

static size_t names_size(const struct trust_set *trust)
{
    size_t size = 0;

    for (int i = 0; i < sk_X509_num(trust->certificates); i++) {
        const X509 *certificate = sk_X509_value(trust->certificates, i);
        int name = i2d_X509_NAME(X509_get_subject_name(certificate), NULL);
        size += sizeof(uint16_t) + (name > 0 ? (size_t)name : 0);
    }
    return size;
}

/* The names of the CAs, so that clients with several certificates know which to send; none where
 * they are too many, which lets a client send any. */
static STACK_OF(X509_NAME) * names_of(const struct trust_set *trust)
{
    STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
    bool few = names_size(trust) <= NAMES_MAX;

    for (int i = 0; few && names != NULL && i < sk_X509_num(trust->certificates); i++) {
        X509_NAME *name =
            X509_NAME_dup(X509_get_subject_name(sk_X509_value(trust->certificates, i)));
        if (name != NULL && sk_X509_NAME_push(names, name) > 0)
            continue;
        X509_NAME_free(name);
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return NULL;
    }
    return names;
}

static int modes(enum tls_client_mode mode)
{
    switch (mode) {
    case TLS_CLIENT_NONE:
    case TLS_CLIENT_LATER:
        break;
    case TLS_CLIENT_OPTIONAL:
        return SSL_VERIFY_PEER;
    case TLS_CLIENT_REQUIRED:
        return SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    }
    return SSL_VERIFY_NONE;
}

/* The client offers to be asked after the handshake (RFC 9846 §4.2.6). */
static void note_offer(SSL *ssl, int of_server, int type, const unsigned char *data, int size,
                       void *argument)
{
    (void)data, (void)size, (void)argument;
    if (!of_server && type == TLSEXT_TYPE_post_handshake_auth)
        ((struct handshake *)SSL_get_app_data(ssl))->post_handshake_auth = true;
}

static bool prepare(SSL_CTX *context, const struct tls_policy *policy, struct client_verify *verify)
{
    SSL_CTX_set_cert_verify_callback(context, verify_chain, verify);
    if (verify->later)
        return true;
    STACK_OF(X509_NAME) *names = names_of(verify->trust);
    if (names == NULL)
        return false;
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify(context, modes(policy->client_mode), NULL);
    SSL_CTX_set_verify_depth(context, (int)policy->client_verify_depth);
    SSL_CTX_set_security_level(context, LEVEL);
    return SSL_CTX_set1_verify_cert_store(context, verify->trust->store) == 1 &&
           SSL_CTX_set1_client_sigalgs_list(context, context_text(SIGNATURES)) == 1;
}

static struct client_verify *verify_new(struct trust_set *trust, uint32_t depth, bool refuse_stale)
{
    struct client_verify *verify = calloc(1, sizeof *verify);

    if (verify == NULL)
        return NULL;
    verify->trust = trust != NULL ? trust_set_ref(trust) : NULL;
    verify->depth = depth;
    verify->refuse_stale = refuse_stale;
    return verify;
}

int client_verify_new(struct client_verify **ret_verify, SSL_CTX *context,
                      const struct tls_policy *policy, struct error *error)
{
    if (policy->client_trust == NULL && policy->client_mode != TLS_CLIENT_LATER)
        return policy->client_mode == TLS_CLIENT_NONE
                   ? 0
                   : error_set(error, ERROR_INTERNAL,
                               "clients cannot be asked for a certificate without a trust set");
    struct client_verify *verify =
        verify_new(policy->client_trust, policy->client_verify_depth, policy->refuse_stale_lists);
    if (verify == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    verify->later = policy->client_mode == TLS_CLIENT_LATER;
    if (!prepare(context, policy, verify)) {
        client_verify_free(verify);
        return error_set(error, ERROR_TLS, "OpenSSL refuses to ask for client certificates: %s",
                         openssl_reason());
    }
    *ret_verify = verify;
    return 0;
}

void client_verify_begin(const struct client_verify *verify, SSL *ssl)
{
    if (verify != NULL && verify->later)
        SSL_set_tlsext_debug_callback(ssl, note_offer);
}

struct client_verify *client_verify_ask(SSL *ssl, const struct handshake_asking *asking)
{
    int how = modes(asking->required ? TLS_CLIENT_REQUIRED : TLS_CLIENT_OPTIONAL);
    STACK_OF(X509_NAME) *names = names_of(asking->trust);
    struct client_verify *verify =
        verify_new(asking->trust, asking->verify_depth, asking->refuse_stale_lists);

    if (names != NULL)
        SSL_set_client_CA_list(ssl, names);
    if (names == NULL || verify == NULL ||
        SSL_set1_verify_cert_store(ssl, asking->trust->store) != 1 ||
        SSL_set1_client_sigalgs_list(ssl, context_text(SIGNATURES)) != 1) {
        client_verify_free(verify);
        ERR_clear_error();
        return NULL;
    }
    SSL_set_verify_depth(ssl, (int)asking->verify_depth);
    SSL_set_security_level(ssl, LEVEL);
    SSL_set_verify(ssl, how, NULL);
    return verify;
}

void client_verify_free(struct client_verify *verify)
{
    if (verify == NULL)
        return;
    trust_set_unref(verify->trust);
    free(verify);
}

const struct trust_set *client_verify_set(const struct client_verify *verify)
{
    return verify != NULL ? verify->trust : NULL;
}
