#include "transport.h"

#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

struct tls {
    gnutls_session_t session;
    int error;
};

static gnutls_certificate_credentials_t credentials;
static const char *name;

static bool begin(const char *root, const char *server_name)
{
    name = server_name;
    return gnutls_certificate_allocate_credentials(&credentials) == 0 &&
           gnutls_certificate_set_x509_trust_file(credentials, root, GNUTLS_X509_FMT_PEM) > 0;
}

static void *open_session(int fd, bool tls13)
{
    struct tls *tls = calloc(1, sizeof *tls);
    const char *priority =
        tls13 ? "NORMAL:-VERS-ALL:+VERS-TLS1.3" : "NORMAL:-VERS-ALL:+VERS-TLS1.2";

    if (tls == NULL || gnutls_init(&tls->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK) != 0 ||
        gnutls_priority_set_direct(tls->session, priority, NULL) != 0 ||
        gnutls_credentials_set(tls->session, GNUTLS_CRD_CERTIFICATE, credentials) != 0 ||
        gnutls_server_name_set(tls->session, GNUTLS_NAME_DNS, name, strlen(name)) != 0)
        return NULL;
    gnutls_session_set_verify_cert(tls->session, name, 0);
    gnutls_transport_set_int(tls->session, fd);
    gnutls_handshake_set_timeout(tls->session, GNUTLS_INDEFINITE_TIMEOUT);
    return tls;
}

static enum io result_of(struct tls *tls, long result)
{
    if (result >= 0)
        return IO_DONE;
    /* Tickets and key updates also come back as GNUTLS_E_AGAIN or INTERRUPTED. */
    if (result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED)
        return IO_AGAIN;
    tls->error = (int)result;
    return IO_FAILED;
}

static enum io handshake(void *opaque)
{
    struct tls *tls = opaque;
    int result;

    do {
        result = gnutls_handshake(tls->session);
    } while (result == GNUTLS_E_INTERRUPTED || result == GNUTLS_E_WARNING_ALERT_RECEIVED);
    return result_of(tls, result);
}

static enum io read_some(void *opaque, void *data, size_t size, size_t *ret_done)
{
    struct tls *tls = opaque;
    ssize_t result = gnutls_record_recv(tls->session, data, size);

    if (result > 0)
        *ret_done = (size_t)result;
    return result == 0 ? IO_END : result_of(tls, result);
}

static enum io write_some(void *opaque, const void *data, size_t size, size_t *ret_done)
{
    struct tls *tls = opaque;
    ssize_t result = gnutls_record_send(tls->session, data, size);

    if (result > 0)
        *ret_done = (size_t)result;
    return result_of(tls, result);
}

static enum io update_keys(void *opaque, bool request)
{
    struct tls *tls = opaque;
    return result_of(tls, gnutls_session_key_update(tls->session, request ? GNUTLS_KU_PEER : 0));
}

static enum io close_notify(void *opaque)
{
    struct tls *tls = opaque;
    return result_of(tls, gnutls_bye(tls->session, GNUTLS_SHUT_WR));
}

static const char *fault(void *opaque)
{
    struct tls *tls = opaque;

    if (tls->error == GNUTLS_E_FATAL_ALERT_RECEIVED)
        return gnutls_alert_get_name(gnutls_alert_get(tls->session));
    return gnutls_strerror(tls->error);
}

static void free_session(void *opaque)
{
    struct tls *tls = opaque;

    gnutls_deinit(tls->session);
    free(tls);
}

const struct transport transport = {
    .name = "gnutls",
    .begin = begin,
    .open = open_session,
    .handshake = handshake,
    .read = read_some,
    .write = write_some,
    .update_keys = update_keys,
    .close_notify = close_notify,
    .fault = fault,
    .free = free_session,
};
