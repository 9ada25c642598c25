/* The life of a probe and the bytes through it. OpenSSL shakes hands; what it makes of the server
 * is asked only at the end. */
#include "tls/probe_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "base/clock.h"
#include "base/string.h"
#include "tls/certificate_internal.h"
#include "tls/leg.h"
#include "tls/record.h"

struct probe_session {
    SSL_SESSION *session;
};

/* ---- making and freeing ---- */

static bool set_offer(struct probe *probe, const struct probe_offer *offer)
{
    SSL *ssl = probe->ssl;

    if (offer->max_version != 0 && SSL_set_max_proto_version(ssl, offer->max_version) != 1)
        return false;
    if (offer->no_tickets)
        SSL_set_options(ssl, SSL_OP_NO_TICKET);
    if (offer->server_name != NULL &&
        SSL_set_tlsext_host_name(ssl, context_text(offer->server_name)) != 1)
        return false;
    if (offer->alpn_size > 0 && SSL_set_alpn_protos(ssl, offer->alpn, (unsigned)offer->alpn_size))
        return false;
    return offer->resume == NULL || SSL_set_session(ssl, offer->resume->session) == 1;
}

static bool set_up(struct probe *probe, const struct probe_offer *offer)
{
    SSL_CTX *context = probe_context(offer->only_key_type);

    if (context == NULL || (probe->ssl = SSL_new(context)) == NULL)
        return false;
    probe->input = BIO_new(BIO_s_mem());
    probe->output = BIO_new(BIO_s_mem());
    if (probe->input == NULL || probe->output == NULL) {
        BIO_free(probe->input);
        BIO_free(probe->output);
        return false;
    }
    SSL_set_bio(probe->ssl, probe->input, probe->output);
    SSL_set_connect_state(probe->ssl);
    return SSL_set_app_data(probe->ssl, probe) == 1 && set_offer(probe, offer);
}

int probe_new(struct probe **ret_probe, const struct probe_offer *offer, struct error *error)
{
    struct probe *probe = calloc(1, sizeof *probe);

    if (probe == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    probe->only_key_type = offer->only_key_type;
    probe->trace = offer->trace;
    probe->chain_room = offer->chain_room;
    probe->began_ns = clock_monotonic_ns();
    probe->seen.alert_received = probe->seen.alert_sent = ALERT_NONE;
    probe->seen.stage = "client_hello";
    if (!set_up(probe, offer)) {
        int result =
            error_set(error, ERROR_TLS, "OpenSSL cannot make the offer: %s", openssl_reason());
        probe_free(probe);
        return result;
    }
    *ret_probe = probe;
    return 0;
}

void probe_free(struct probe *probe)
{
    if (probe == NULL)
        return;
    if (probe->ssl != NULL) {
        /* As if closed in order: else OpenSSL spoils the session, which may be resumed. */
        SSL_set_quiet_shutdown(probe->ssl, 1);
        SSL_set_shutdown(probe->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(probe->ssl);
    }
    SSL_SESSION_free(probe->session);
    probe_seen_fini(&probe->seen);
    free(probe);
}

void probe_seen_fini(struct probe_seen *seen)
{
    for (size_t i = 0; i < seen->chain_count; i++)
        certificate_facts_unref(seen->chain[i]);
    free(seen->staple);
    free(seen->timestamps);
    *seen = (struct probe_seen){0};
}

/* ---- failing ---- */

/* What came last, for what is missing. */
static void describe_silence(const struct probe *probe, char *text, size_t size)
{
    if (probe->last_type == 0)
        ignore(snprintf(text, size, "before any answer to the ClientHello"));
    else
        ignore(snprintf(text, size, "after the server's %s",
                        probe_message_text(PROBE_CONTENT_HANDSHAKE, probe->last_type)));
}

static enum probe_status fail_not_tls(struct probe *probe)
{
    struct probe_seen *seen = &probe->seen;

    seen->not_tls = true;
    string_printable(seen->plain, sizeof seen->plain, probe->first, probe->first_size);
    ignore(snprintf(seen->reason, sizeof seen->reason, "the server does not speak TLS: \"%s\"",
                    seen->plain));
    return PROBE_FAILED;
}

/* Whose alert it was, and what for. OpenSSL's own reason is of use only when it was ours. */
static enum probe_status fail_handshake(struct probe *probe)
{
    struct probe_seen *seen = &probe->seen;
    const char *reason = openssl_reason();

    if (probe->refused_dh_bits != 0)
        ignore(snprintf(seen->reason, sizeof seen->reason,
                        "the server wants a Diffie-Hellman group of %d bits, which would take "
                        "seconds to compute with",
                        probe->refused_dh_bits));
    else if (seen->alert_received != ALERT_NONE && seen->client_certificate_asked &&
             probe->answered && !seen->client_certificate_required)
        ignore(snprintf(seen->reason, sizeof seen->reason,
                        "alert %u from the server, which wants a client's certificate and has not "
                        "proved that it has the key of its own",
                        seen->alert_received));
    else if (seen->alert_received != ALERT_NONE)
        ignore(snprintf(seen->reason, sizeof seen->reason, "alert %u from the server, %s",
                        seen->alert_received, probe_alert_text(seen->alert_received)));
    else
        ignore(snprintf(seen->reason, sizeof seen->reason, "what the server sent was refused: %s",
                        reason));
    return PROBE_FAILED;
}

enum probe_status probe_end(struct probe *probe, const char *how)
{
    struct probe_seen *seen = &probe->seen;
    char when[64];

    if (probe->status != PROBE_WANT_READ)
        return probe->status;
    if (probe->first_size > 0 && probe->first_size < RECORD_HEADER_SIZE)
        return probe->status = fail_not_tls(probe);
    describe_silence(probe, when, sizeof when);
    ignore(snprintf(seen->reason, sizeof seen->reason, "%s %s", how, when));
    return probe->status = PROBE_FAILED;
}

/* ---- bytes ---- */

static enum probe_status step(struct probe *probe)
{
    ERR_clear_error();
    int result = SSL_do_handshake(probe->ssl);

    if (result == 1 || (probe->renegotiating && probe->hellos > 1))
        return PROBE_DONE;
    if (SSL_get_error(probe->ssl, result) == SSL_ERROR_WANT_READ)
        return PROBE_WANT_READ;
    return fail_handshake(probe);
}

static bool could_be_tls(const struct probe *probe)
{
    return probe->first_size == 0 || (probe->first[0] >= RECORD_CHANGE_CIPHER_SPEC &&
                                      probe->first[0] <= RECORD_APPLICATION_DATA &&
                                      (probe->first_size < 2 || probe->first[1] == 3));
}

static void keep_first(struct probe *probe, const uint8_t *input, size_t size)
{
    size_t room = sizeof probe->first - probe->first_size;

    if (size > room)
        size = room;
    if (size > 0)
        memcpy(probe->first + probe->first_size, input, size);
    probe->first_size += size;
}

enum probe_status probe_feed(struct probe *probe, const uint8_t *input, size_t size)
{
    if (probe->status == PROBE_FAILED)
        return probe->status;
    keep_first(probe, input, size);
    if (probe->status == PROBE_WANT_READ && !could_be_tls(probe))
        return probe->status = fail_not_tls(probe);
    if (size > INT_MAX || (size > 0 && BIO_write(probe->input, input, (int)size) != (int)size)) {
        string_copy(probe->seen.reason, sizeof probe->seen.reason, "out of memory");
        return probe->status = PROBE_FAILED;
    }
    if (probe->status == PROBE_WANT_READ)
        probe->status = step(probe);
    return probe->status;
}

size_t probe_output(struct probe *probe, const uint8_t **ret_data)
{
    char *data = NULL;
    long size = BIO_get_mem_data(probe->output, &data);

    *ret_data = (const uint8_t *)data;
    return size > 0 ? (size_t)size : 0;
}

void probe_sent(struct probe *probe, size_t size)
{
    char scratch[4096];

    while (size > 0) {
        int part = size < sizeof scratch ? (int)size : (int)sizeof scratch;
        if (BIO_read(probe->output, scratch, part) <= 0)
            return;
        size -= (size_t)part;
    }
}

bool probe_tickets_follow(const struct probe *probe)
{
    return SSL_version(probe->ssl) == TLS1_3_VERSION;
}

/* OpenSSL's answer in the header's terms. */
static long result_of(struct probe *probe, int result)
{
    int kind = result > 0 ? SSL_ERROR_NONE : SSL_get_error(probe->ssl, result);

    ERR_clear_error();
    if (kind == SSL_ERROR_NONE)
        return result;
    return kind == SSL_ERROR_WANT_READ ? 0 : -1;
}

long probe_read(struct probe *probe, uint8_t *output, size_t size)
{
    if (probe->status != PROBE_DONE)
        return -1;
    ERR_clear_error();
    return result_of(probe, SSL_read(probe->ssl, output, size > INT_MAX ? INT_MAX : (int)size));
}

long probe_write(struct probe *probe, const uint8_t *input, size_t size)
{
    if (probe->status != PROBE_DONE || size == 0 || size > INT_MAX)
        return -1;
    ERR_clear_error();
    return result_of(probe, SSL_write(probe->ssl, input, (int)size));
}

void probe_close(struct probe *probe)
{
    if (probe->status != PROBE_DONE)
        return;
    ignore(SSL_shutdown(probe->ssl));
    ERR_clear_error();
}

bool probe_renegotiate(struct probe *probe)
{
    if (probe->status != PROBE_DONE || SSL_version(probe->ssl) == TLS1_3_VERSION)
        return false;
    ERR_clear_error();
    if (SSL_renegotiate(probe->ssl) != 1)
        return false;
    probe->renegotiating = true;
    probe->status = step(probe);
    return probe->status == PROBE_WANT_READ;
}

/* ---- what comes of it ---- */

void probe_take(struct probe *probe, struct probe_seen *ret_seen)
{
    struct probe_seen *seen = &probe->seen;
    char when[64];

    probe_collect(probe);
    if (probe->status == PROBE_WANT_READ) {
        describe_silence(probe, when, sizeof when);
        ignore(snprintf(seen->reason, sizeof seen->reason, "nothing more came %s", when));
    }
    *ret_seen = *seen;
    *seen = (struct probe_seen){.alert_received = ALERT_NONE, .alert_sent = ALERT_NONE};
}

struct probe_session *probe_session(struct probe *probe)
{
    if (probe->session == NULL || SSL_SESSION_is_resumable(probe->session) != 1)
        return NULL;
    struct probe_session *session = malloc(sizeof *session);
    if (session == NULL)
        return NULL;
    *session = (struct probe_session){probe->session};
    SSL_SESSION_up_ref(probe->session);
    return session;
}

void probe_session_free(struct probe_session *session)
{
    if (session == NULL)
        return;
    SSL_SESSION_free(session->session);
    free(session);
}

bool probe_session_has_ticket(const struct probe_session *session)
{
    return session != NULL && SSL_SESSION_has_ticket(session->session) == 1;
}
