#include "stacks/transport.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <stdlib.h>
#include <string.h>

struct tls {
    WOLFSSL *ssl;
    unsigned handshakes;
    int error;
};

static WOLFSSL_CTX *contexts[2]; /* by tls13 */
static WOLFSSL_SESSION *kept;
static const char *name;

static const char *version(void)
{
    return wolfSSL_lib_version();
}

static WOLFSSL_CTX *new_context(WOLFSSL_METHOD *method, const char *root)
{
    WOLFSSL_CTX *context = wolfSSL_CTX_new(method);

    if (context == NULL ||
        wolfSSL_CTX_load_verify_locations(context, root, NULL) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_UseSessionTicket(context) != WOLFSSL_SUCCESS)
        return NULL;
    wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_PEER, NULL);
    return context;
}

static bool begin(const char *root, const char *server_name, bool renegotiates)
{
    (void)renegotiates; /* not in Debian's build */
    wolfSSL_Init();
    name = server_name;
    contexts[0] = new_context(wolfTLSv1_2_client_method(), root);
    contexts[1] = new_context(wolfTLSv1_3_client_method(), root);
    return contexts[0] != NULL && contexts[1] != NULL;
}

static void *open_session(int fd, bool tls13)
{
    struct tls *tls = calloc(1, sizeof *tls);

    if (tls == NULL || (tls->ssl = wolfSSL_new(contexts[tls13])) == NULL ||
        wolfSSL_set_fd(tls->ssl, fd) != WOLFSSL_SUCCESS ||
        wolfSSL_check_domain_name(tls->ssl, name) != WOLFSSL_SUCCESS ||
        wolfSSL_UseSNI(tls->ssl, WOLFSSL_SNI_HOST_NAME, name, (unsigned short)strlen(name)) !=
            WOLFSSL_SUCCESS ||
        (kept != NULL && wolfSSL_set_session(tls->ssl, kept) != WOLFSSL_SUCCESS))
        return NULL;
    wolfSSL_set_using_nonblock(tls->ssl, 1);
    return tls;
}

static enum io result_of(struct tls *tls, int result)
{
    if (result > 0)
        return IO_DONE;
    int error = wolfSSL_get_error(tls->ssl, result);
    if (error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE)
        return IO_AGAIN;
    tls->error = error;
    return error == WOLFSSL_ERROR_ZERO_RETURN ? IO_END : IO_FAILED;
}

static enum io handshake(void *opaque)
{
    struct tls *tls = opaque;
    enum io result = result_of(tls, wolfSSL_connect(tls->ssl));

    tls->handshakes += result == IO_DONE;
    return result;
}

static enum io read_some(void *opaque, void *data, size_t size, size_t *ret_done)
{
    struct tls *tls = opaque;
    int result = wolfSSL_read(tls->ssl, data, (int)size);

    if (result > 0)
        *ret_done = (size_t)result;
    return result_of(tls, result);
}

static enum io write_some(void *opaque, const void *data, size_t size, size_t *ret_done)
{
    struct tls *tls = opaque;
    int result = wolfSSL_write(tls->ssl, data, (int)size);

    if (result > 0)
        *ret_done = (size_t)result;
    return result_of(tls, result);
}

/* It always asks for the peer's update, too. */
static enum io update_keys(void *opaque, bool request)
{
    struct tls *tls = opaque;

    (void)request;
    return result_of(tls, wolfSSL_update_keys(tls->ssl));
}

static unsigned handshakes(void *opaque)
{
    struct tls *tls = opaque;
    return tls->handshakes;
}

static void keep_session(void *opaque)
{
    struct tls *tls = opaque;

    wolfSSL_SESSION_free(kept);
    kept = wolfSSL_get1_session(tls->ssl);
}

static enum io end_writing(void *opaque)
{
    struct tls *tls = opaque;
    int result = wolfSSL_shutdown(tls->ssl);
    return result == WOLFSSL_SHUTDOWN_NOT_DONE ? IO_DONE : result_of(tls, result);
}

static const char *fault(void *opaque)
{
    struct tls *tls = opaque;
    return wolfSSL_ERR_reason_error_string((unsigned long)(-tls->error));
}

static void free_session(void *opaque)
{
    struct tls *tls = opaque;

    wolfSSL_free(tls->ssl);
    free(tls);
}

const struct transport transport = {
    .name = "wolfssl", TRANSPORT_COMMON, .update_keys = update_keys, .close_notify = end_writing};
