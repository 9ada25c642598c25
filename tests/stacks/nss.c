#include "stacks/transport.h"

#include <nspr.h>
#include <nss.h>
#include <cert.h>
#include <pk11pub.h>
#include <private/pprio.h>
#include <prerror.h>
#include <ssl.h>
#include <sslexp.h>
#include <sslproto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tls {
    PRFileDesc *socket;
    unsigned handshakes, wanted;
    PRErrorCode error;
};

static CERTCertificate *trusted;
static const char *name;
static bool offers_session;

static const char *version(void)
{
    return NSS_GetVersion();
}

/* One PEM certificate, which becomes the only authority. */
static CERTCertificate *read_root(const char *path)
{
    char text[16384];
    FILE *file = fopen(path, "re");
    CERTCertificate *root = NULL;

    if (file != NULL) {
        size_t size = fread(text, 1, sizeof text, file);
        root = CERT_DecodeCertFromPackage(text, (int)size);
        fclose(file);
    }
    return root;
}

static bool begin(const char *root, const char *server_name, bool renegotiates)
{
    CERTCertTrust trust;

    name = server_name;
    if (NSS_NoDB_Init(NULL) != SECSuccess || (trusted = read_root(root)) == NULL ||
        CERT_DecodeTrustString(&trust, "C,,") != SECSuccess ||
        CERT_ChangeCertTrust(CERT_GetDefaultCertDB(), trusted, &trust) != SECSuccess)
        return false;
    SSL_OptionSetDefault(SSL_ENABLE_SESSION_TICKETS, PR_TRUE);
    SSL_OptionSetDefault(SSL_NO_CACHE, PR_FALSE);
    SSL_OptionSetDefault(SSL_ENABLE_RENEGOTIATION,
                         renegotiates ? SSL_RENEGOTIATE_REQUIRES_XTN : SSL_RENEGOTIATE_NEVER);
    return true;
}

static void on_handshake(PRFileDesc *socket, void *opaque)
{
    struct tls *tls = opaque;

    (void)socket;
    tls->handshakes++;
}

static void *open_session(int fd, bool tls13)
{
    struct tls *tls = calloc(1, sizeof *tls);
    PRUint16 wanted = tls13 ? SSL_LIBRARY_VERSION_TLS_1_3 : SSL_LIBRARY_VERSION_TLS_1_2;
    SSLVersionRange range = {wanted, wanted};
    PRSocketOptionData option = {.option = PR_SockOpt_Nonblocking, .value.non_blocking = PR_TRUE};
    PRFileDesc *plain = PR_ImportTCPSocket(dup(fd));

    if (tls == NULL || plain == NULL || PR_SetSocketOption(plain, &option) != PR_SUCCESS ||
        (tls->socket = SSL_ImportFD(NULL, plain)) == NULL ||
        SSL_VersionRangeSet(tls->socket, &range) != SECSuccess ||
        SSL_SetURL(tls->socket, name) != SECSuccess ||
        SSL_HandshakeCallback(tls->socket, on_handshake, tls) != SECSuccess ||
        SSL_ResetHandshake(tls->socket, PR_FALSE) != SECSuccess)
        return NULL;
    /* Its cache offers by itself what fits the peer. */
    if (!offers_session)
        SSL_ClearSessionCache();
    return tls;
}

static enum io result_of(struct tls *tls, int result)
{
    if (result >= 0)
        return IO_DONE;
    tls->error = PR_GetError();
    return tls->error == PR_WOULD_BLOCK_ERROR ? IO_AGAIN : IO_FAILED;
}

static enum io handshake(void *opaque)
{
    struct tls *tls = opaque;
    return result_of(tls, SSL_ForceHandshake(tls->socket));
}

static enum io read_some(void *opaque, void *data, size_t size, size_t *ret_done)
{
    struct tls *tls = opaque;
    int result = PR_Recv(tls->socket, data, (int)size, 0, PR_INTERVAL_NO_WAIT);

    if (result > 0)
        *ret_done = (size_t)result;
    return result == 0 ? IO_END : result_of(tls, result);
}

static enum io write_some(void *opaque, const void *data, size_t size, size_t *ret_done)
{
    struct tls *tls = opaque;
    int result = PR_Send(tls->socket, data, (int)size, 0, PR_INTERVAL_NO_WAIT);

    if (result > 0)
        *ret_done = (size_t)result;
    return result_of(tls, result);
}

static enum io update_keys(void *opaque, bool request)
{
    struct tls *tls = opaque;
    return result_of(tls, SSL_KeyUpdate(tls->socket, request ? PR_TRUE : PR_FALSE));
}

static enum io renegotiate(void *opaque)
{
    struct tls *tls = opaque;
    tls->wanted = tls->handshakes + 1;
    enum io result = result_of(tls, SSL_ReHandshake(tls->socket, PR_TRUE));
    return result == IO_DONE ? handshake(tls) : result;
}

static bool negotiating(void *opaque)
{
    struct tls *tls = opaque;
    return tls->handshakes < tls->wanted;
}

static unsigned handshakes(void *opaque)
{
    struct tls *tls = opaque;
    return tls->handshakes;
}

static void keep_session(void *opaque)
{
    (void)opaque;
    offers_session = true;
}

static enum io close_notify(void *opaque)
{
    struct tls *tls = opaque;
    return result_of(tls, PR_Shutdown(tls->socket, PR_SHUTDOWN_SEND));
}

static const char *fault(void *opaque)
{
    struct tls *tls = opaque;
    return PR_ErrorToName(tls->error);
}

static void free_session(void *opaque)
{
    struct tls *tls = opaque;

    PR_Close(tls->socket);
    free(tls);
}

const struct transport transport = {.name = "nss",
                                    TRANSPORT_COMMON,
                                    .update_keys = update_keys,
                                    .renegotiate = renegotiate,
                                    .negotiating = negotiating,
                                    .close_notify = close_notify};
