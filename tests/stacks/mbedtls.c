/* mbedTLS 2.28: TLS 1.2 only. */
#include "stacks/transport.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <stdlib.h>

struct tls {
    mbedtls_ssl_context ssl;
    mbedtls_net_context net;
    unsigned handshakes;
    int error;
    bool negotiating;
};

static mbedtls_ssl_config config;
static mbedtls_ssl_session kept;
static mbedtls_x509_crt trusted;
static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context dice;
static bool has_kept;
static const char *name;

static const char *version(void)
{
    return MBEDTLS_VERSION_STRING;
}

static bool begin(const char *root, const char *server_name, bool renegotiates)
{
    name = server_name;
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_session_init(&kept);
    mbedtls_x509_crt_init(&trusted);
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&dice);
    if (mbedtls_ctr_drbg_seed(&dice, mbedtls_entropy_func, &entropy, NULL, 0) != 0 ||
        mbedtls_x509_crt_parse_file(&trusted, root) != 0 ||
        mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT) != 0)
        return false;
    mbedtls_ssl_conf_ca_chain(&config, &trusted, NULL);
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &dice);
    mbedtls_ssl_conf_renegotiation(&config, renegotiates ? MBEDTLS_SSL_RENEGOTIATION_ENABLED
                                                         : MBEDTLS_SSL_RENEGOTIATION_DISABLED);
    return true;
}

static void *open_session(int fd, bool tls13)
{
    struct tls *tls = tls13 ? NULL : calloc(1, sizeof *tls);

    if (tls == NULL)
        return NULL;
    tls->net.fd = fd;
    mbedtls_ssl_init(&tls->ssl);
    if (mbedtls_ssl_setup(&tls->ssl, &config) != 0 ||
        mbedtls_ssl_set_hostname(&tls->ssl, name) != 0 ||
        (has_kept && mbedtls_ssl_set_session(&tls->ssl, &kept) != 0))
        return NULL;
    mbedtls_ssl_set_bio(&tls->ssl, &tls->net, mbedtls_net_send, mbedtls_net_recv, NULL);
    return tls;
}

static enum io result_of(struct tls *tls, int result)
{
    if (result > 0)
        return IO_DONE;
    if (result == MBEDTLS_ERR_SSL_WANT_READ || result == MBEDTLS_ERR_SSL_WANT_WRITE)
        return IO_AGAIN;
    tls->error = result;
    return result == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY ? IO_END : IO_FAILED;
}

static enum io done_if(struct tls *tls, int result)
{
    return result == 0 ? IO_DONE : result_of(tls, result);
}

static enum io handshake(void *opaque)
{
    struct tls *tls = opaque;
    enum io result = done_if(tls, mbedtls_ssl_handshake(&tls->ssl));

    tls->handshakes += result == IO_DONE;
    return result;
}

/* A renegotiation of our own goes on with each call until it is done. */
static enum io renegotiate(void *opaque)
{
    struct tls *tls = opaque;
    enum io result = done_if(tls, mbedtls_ssl_renegotiate(&tls->ssl));

    tls->negotiating = result == IO_AGAIN;
    tls->handshakes += result == IO_DONE;
    return result;
}

static enum io read_some(void *opaque, void *data, size_t size, size_t *ret_done)
{
    struct tls *tls = opaque;

    if (tls->negotiating && renegotiate(tls) == IO_FAILED)
        return IO_FAILED;
    int result = mbedtls_ssl_read(&tls->ssl, data, size);
    if (result > 0)
        *ret_done = (size_t)result;
    return result_of(tls, result);
}

static enum io write_some(void *opaque, const void *data, size_t size, size_t *ret_done)
{
    struct tls *tls = opaque;

    if (tls->negotiating)
        return IO_AGAIN;
    int result = mbedtls_ssl_write(&tls->ssl, data, size);
    if (result > 0)
        *ret_done = (size_t)result;
    return result_of(tls, result);
}

static bool negotiating(void *opaque)
{
    struct tls *tls = opaque;
    return tls->negotiating;
}

static unsigned handshakes(void *opaque)
{
    struct tls *tls = opaque;
    return tls->handshakes;
}

static void keep_session(void *opaque)
{
    struct tls *tls = opaque;

    mbedtls_ssl_session_free(&kept);
    has_kept = mbedtls_ssl_get_session(&tls->ssl, &kept) == 0;
}

static enum io close_notify(void *opaque)
{
    struct tls *tls = opaque;
    return done_if(tls, mbedtls_ssl_close_notify(&tls->ssl));
}

static const char *fault(void *opaque)
{
    static char text[128];
    struct tls *tls = opaque;

    mbedtls_strerror(tls->error, text, sizeof text);
    return text;
}

static void free_session(void *opaque)
{
    struct tls *tls = opaque;

    mbedtls_ssl_free(&tls->ssl);
    free(tls);
}

const struct transport transport = {.name = "mbedtls",
                                    TRANSPORT_COMMON,
                                    .renegotiate = renegotiate,
                                    .negotiating = negotiating,
                                    .close_notify = close_notify};
