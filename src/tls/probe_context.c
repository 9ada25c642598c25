/* What a probe offers: all that a server may still speak, so that it can be looked at. */
#include "tls/probe_internal.h"

#include <openssl/err.h>

#include "tls/key_schedule.h"

/* Forward secrecy and AEADs first, for servers that follow the client; the rest is there to be
 * seen. */
#define SUITES_BEST      "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:ECDHE:DHE:ALL:eNULL:!aNULL:!PSK:!SRP"
#define SIGNATURES_ECDSA CONTEXT_SIGNATURES_ECDSA ":ECDSA+SHA1"
#define SIGNATURES_RSA                                                                             \
    CONTEXT_SIGNATURES_RSA ":rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512:RSA+SHA1"

/* The largest Certificate message. */
#define CHAIN_MESSAGE_MAX (CERTIFICATE_FACTS_SIZE_MAX + (64 << 10))

/* Whom we would trust is judged elsewhere. */
static int accept_all(X509_STORE_CTX *store, void *argument)
{
    (void)store, (void)argument;
    return 1;
}

static bool set_offer(SSL_CTX *context, int only_key_type)
{
    switch (only_key_type) {
    case KEY_TYPE_ECDSA:
        return SSL_CTX_set1_sigalgs_list(context, context_text(SIGNATURES_ECDSA)) == 1 &&
               SSL_CTX_set_cipher_list(context, SUITES_BEST ":!aRSA:!aDSS") == 1;
    case KEY_TYPE_RSA:
        return SSL_CTX_set1_sigalgs_list(context, context_text(SIGNATURES_RSA)) == 1 &&
               SSL_CTX_set_cipher_list(context, SUITES_BEST ":!aECDSA:!aDSS") == 1;
    default:
        return SSL_CTX_set_cipher_list(context, SUITES_BEST) == 1;
    }
}

static bool set_observers(SSL_CTX *context)
{
    SSL_CTX_set_msg_callback(context, probe_on_message);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, probe_on_session);
    /* As an extension of our own: OpenSSL's certificate transparency would judge. */
    return SSL_CTX_add_custom_ext(context, TLSEXT_TYPE_signed_certificate_timestamp,
                                  SSL_EXT_CLIENT_HELLO | SSL_EXT_TLS1_2_SERVER_HELLO |
                                      SSL_EXT_TLS1_3_CERTIFICATE,
                                  NULL, NULL, NULL, probe_on_timestamps, NULL) == 1;
}

static SSL_CTX *context_new(int only_key_type)
{
    SSL_CTX *context =
        SSL_CTX_new_ex(probe_library(), KEY_SCHEDULE_PROPERTIES, TLS_client_method());

    if (context == NULL)
        return NULL;
    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_security_callback(context, probe_on_security);
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_cert_verify_callback(context, accept_all, NULL);
    SSL_CTX_set_max_cert_list(context, CHAIN_MESSAGE_MAX);
    /* Servers without RFC 5746 are to be seen, and asked to renegotiate. */
    SSL_CTX_set_options(context, SSL_OP_LEGACY_SERVER_CONNECT |
                                     SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION |
                                     SSL_OP_NO_COMPRESSION);
    SSL_CTX_clear_options(context, SSL_OP_ENABLE_KTLS);
    SSL_CTX_set_tlsext_status_type(context, TLSEXT_STATUSTYPE_ocsp);
    /* In the order of browsers and Go, which is also the cheapest. */
    if (SSL_CTX_set_ciphersuites(context, CONTEXT_SUITES_TLS13) != 1 ||
        SSL_CTX_set_min_proto_version(context, TLS1_VERSION) != 1 ||
        !set_offer(context, only_key_type) || !set_observers(context)) {
        SSL_CTX_free(context);
        return NULL;
    }
    return context;
}

SSL_CTX *probe_context(int only_key_type)
{
    static SSL_CTX *contexts[KEY_TYPE_COUNT + 1]; /* the last: any */
    SSL_CTX **place = &contexts[only_key_type >= 0 ? only_key_type : KEY_TYPE_COUNT];

    if (*place == NULL)
        *place = context_new(only_key_type);
    return *place;
}
