#include "stacks/transport.h"

#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

struct tls {
    gnutls_session_t session;
    unsigned handshakes;
    int error;
    bool negotiating;
};

static gnutls_certificate_credentials_t credentials;
static gnutls_datum_t kept;
static const char *name;
static bool renegotiates_if_asked;

static const char *version(void)
{
    return gnutls_check_version(NULL);
}

static bool begin(const char *root, const char *server_name, bool renegotiates)
{
    name = server_name;
    renegotiates_if_asked = renegotiates;
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
        gnutls_server_name_set(tls->session, GNUTLS_NAME_DNS, name, strlen(name)) != 0 ||
        (kept.data != NULL && gnutls_session_set_data(tls->session, kept.data, kept.size) != 0))
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

    tls->negotiating = true;
    do {
        result = gnutls_handshake(tls->session);
        if (result == GNUTLS_E_WARNING_ALERT_RECEIVED &&
            gnutls_alert_get(tls->session) == GNUTLS_A_NO_RENEGOTIATION) {
            tls->negotiating = false; /* the peer declines, the session goes on */
            return IO_DONE;
        }
    } while (result == GNUTLS_E_INTERRUPTED || result == GNUTLS_E_WARNING_ALERT_RECEIVED);
    if (result == 0) {
        tls->handshakes++;
        tls->negotiating = false;
    }
    return result_of(tls, result);
}

static enum io on_hello_request(struct tls *tls)
{
    if (renegotiates_if_asked)
        return handshake(tls);
    int result = gnutls_alert_send(tls->session, GNUTLS_AL_WARNING, GNUTLS_A_NO_RENEGOTIATION);
    return result == 0 ? IO_AGAIN : result_of(tls, result);
}

/* Data may still come while a handshake is on its way: gnutls_handshake stops for it, and it is to
 * be read before the handshake goes on. */
static enum io read_some(void *opaque, void *data, size_t size, size_t *ret_done)
{
    struct tls *tls = opaque;

    if (tls->negotiating) {
        enum io result = handshake(tls);
        if (result == IO_AGAIN ||
            (result == IO_FAILED && tls->error != GNUTLS_E_GOT_APPLICATION_DATA))
            return result;
    }
    ssize_t result = gnutls_record_recv(tls->session, data, size);
    if (result == GNUTLS_E_REHANDSHAKE)
        return on_hello_request(tls) == IO_FAILED ? IO_FAILED : IO_AGAIN;
    if (result > 0)
        *ret_done = (size_t)result;
    return result == 0 ? IO_END : result_of(tls, result);
}

static enum io write_some(void *opaque, const void *data, size_t size, size_t *ret_done)
{
    struct tls *tls = opaque;

    if (tls->negotiating)
        return IO_AGAIN;
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

static enum io renegotiate(void *opaque)
{
    struct tls *tls = opaque;
    enum io result = handshake(tls);

    return result == IO_FAILED && tls->error == GNUTLS_E_GOT_APPLICATION_DATA ? IO_AGAIN : result;
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

    gnutls_free(kept.data);
    if (gnutls_session_get_data2(tls->session, &kept) != 0)
        kept.data = NULL;
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

const struct transport transport = {.name = "gnutls",
                                    TRANSPORT_COMMON,
                                    .update_keys = update_keys,
                                    .renegotiate = renegotiate,
                                    .negotiating = negotiating,
                                    .close_notify = close_notify};
