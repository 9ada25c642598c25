#include "stacks/transport.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

static SSL_CTX *context;
static SSL_SESSION *kept;
static const char *name;

static const char *version(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}

/* OpenSSL as a client renegotiates by default. */
static bool begin(const char *root, const char *server_name, bool renegotiates)
{
    (void)renegotiates;

    context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || SSL_CTX_load_verify_locations(context, root, NULL) != 1)
        return false;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    name = server_name;
    return true;
}

static void *open_session(int fd, bool tls13)
{
    SSL *ssl = SSL_new(context);
    int wanted = tls13 ? TLS1_3_VERSION : TLS1_2_VERSION;

    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1 || SSL_set1_host(ssl, name) != 1 ||
        SSL_set_tlsext_host_name(ssl, name) != 1 || SSL_set_min_proto_version(ssl, wanted) != 1 ||
        SSL_set_max_proto_version(ssl, wanted) != 1 ||
        (kept != NULL && SSL_set_session(ssl, kept) != 1))
        return NULL;
    SSL_set_connect_state(ssl);
    return ssl;
}

static enum io result_of(SSL *ssl, int result)
{
    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_NONE:
        return IO_DONE;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return IO_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return IO_END;
    default:
        return IO_FAILED;
    }
}

static enum io handshake(void *tls)
{
    ERR_clear_error();
    return result_of(tls, SSL_do_handshake(tls));
}

static enum io read_some(void *tls, void *data, size_t size, size_t *ret_done)
{
    ERR_clear_error();
    return result_of(tls, SSL_read_ex(tls, data, size, ret_done));
}

/* A renegotiation of ours is begun and carried on by reading alone: OpenSSL takes data of the peer
 * between its ClientHello and the ServerHello only inside of SSL_read. SSL_write and
 * SSL_do_handshake end the session with "unexpected record". */
static enum io write_some(void *tls, const void *data, size_t size, size_t *ret_done)
{
    if (SSL_version(tls) == TLS1_2_VERSION && SSL_in_init(tls))
        return IO_AGAIN;
    ERR_clear_error();
    return result_of(tls, SSL_write_ex(tls, data, size, ret_done));
}

static enum io update_keys(void *tls, bool request)
{
    ERR_clear_error();
    int type = request ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
    return SSL_key_update(tls, type) == 1 ? IO_DONE : IO_FAILED; /* sent by the next write */
}

/* It offers the session, which the edge is not to resume: handshakes() would not count that. The
 * ClientHello goes out with the next call, which must not be a write (write_some()). */
static enum io renegotiate(void *tls)
{
    char next;
    size_t size;

    ERR_clear_error();
    if (SSL_renegotiate_abbreviated(tls) != 1)
        return IO_FAILED;
    return result_of(tls, SSL_peek_ex(tls, &next, 1, &size));
}

static bool negotiating(void *tls)
{
    return SSL_in_init(tls) || SSL_renegotiate_pending(tls);
}

static unsigned handshakes(void *tls)
{
    unsigned again = (unsigned)SSL_total_renegotiations(tls);

    return again > 0 && SSL_session_reused(tls) ? 1 : again + 1;
}

static void keep_session(void *tls)
{
    SSL_SESSION_free(kept);
    kept = SSL_get1_session(tls);
}

static enum io close_notify(void *tls)
{
    ERR_clear_error();
    int result = SSL_shutdown(tls);
    return result >= 0 ? IO_DONE : result_of(tls, result);
}

static const char *fault(void *tls)
{
    (void)tls;
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    return reason != NULL ? reason : errno != 0 ? strerror(errno) : "end without close_notify";
}

static void free_session(void *tls)
{
    SSL_free(tls);
}

const struct transport transport = {.name = "openssl",
                                    TRANSPORT_COMMON,
                                    .update_keys = update_keys,
                                    .renegotiate = renegotiate,
                                    .negotiating = negotiating,
                                    .close_notify = close_notify};
