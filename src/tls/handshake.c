/* The life of a handshake: made, fed, finished or failed, freed. */
#include "tls/handshake_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/secret.h"
#include "base/string.h"
#include "tls/certificate_internal.h"
#include "tls/client_verify.h"
#include "tls/key_schedule.h"
#include "tls/openssl_auto.h"

#define LATER_MAX       (256u << 10)
#define OUTPUT_KEPT_MAX (64u << 10) /* sent, in front of what is not */

/* ---- making and freeing ---- */

static struct handshake *handshake_new(SSL_CTX *context)
{
    struct handshake *handshake = calloc(1, sizeof *handshake);

    if (handshake == NULL)
        return NULL;
    handshake->failure.alert_sent = handshake->failure.alert_received = ALERT_NONE;
    handshake->failure.stage = "none";
    handshake->facts = (struct handshake_facts){.suite_name = "none",
                                                .version_name = "unknown",
                                                .group = "none",
                                                .signature_algorithm = "none",
                                                .fragment_max = RECORD_PLAINTEXT_MAX};
    buffer_init(&handshake->later, LATER_MAX);
    handshake->ssl = SSL_new(context);
    BIO *bio = handshake->ssl != NULL ? handshake_bio_new(handshake) : NULL;
    if (bio == NULL || SSL_set_app_data(handshake->ssl, handshake) != 1) {
        BIO_free(bio);
        ERR_clear_error();
        handshake_free(handshake);
        return NULL;
    }
    SSL_set_bio(handshake->ssl, bio, bio);
    return handshake;
}

struct handshake *handshake_new_server(struct tls_server *server)
{
    struct handshake *handshake = handshake_new(tls_server_context(server));

    if (handshake != NULL) {
        handshake->server = tls_server_ref(server);
        resumption_name("", handshake->offer.name);
        client_verify_begin(tls_server_clients(server), handshake->ssl);
        SSL_set_accept_state(handshake->ssl);
    }
    return handshake;
}

void handshake_expect(struct handshake *handshake, const struct resumption_offer *offer)
{
    handshake->offer = *offer;
}

/* Sends and verifies the name; addresses are verified but never sent (RFC 6066 §3). */
static bool set_server_name(struct handshake *handshake, const char *name)
{
    unsigned char address[16];
    bool is_address =
        inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;

    if (!is_address && SSL_set_tlsext_host_name(handshake->ssl, context_text(name)) != 1)
        return false;
    if (!tls_client_verifies(handshake->client))
        return true;
    X509_VERIFY_PARAM *expected = SSL_get0_param(handshake->ssl);
    X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return is_address ? X509_VERIFY_PARAM_set1_ip_asc(expected, name) == 1
                      : X509_VERIFY_PARAM_set1_host(expected, name, 0) == 1;
}

struct handshake *handshake_new_client(struct tls_client *client, const char *server_name)
{
    struct handshake *handshake = handshake_new(tls_client_context(client));

    if (handshake == NULL)
        return NULL;
    handshake->client = tls_client_ref(client);
    SSL_set_connect_state(handshake->ssl);
    if (server_name != NULL && !set_server_name(handshake, server_name)) {
        ERR_clear_error();
        handshake_free(handshake);
        return NULL;
    }
    return handshake;
}

void handshake_free(struct handshake *handshake)
{
    if (handshake == NULL)
        return;
    handshake_alone_free(handshake);
    handshake_ssl_free(handshake);
    buffer_fini(&handshake->output);
    buffer_fini(&handshake->later);
    X509_free(handshake->peer);
    client_verify_free(handshake->asked_by);
    tls_server_unref(handshake->server);
    tls_client_unref(handshake->client);
    free(handshake);
}

/* Marked as shut down on both sides, so that OpenSSL neither sends anything nor declares the
 * session bad. */
void handshake_ssl_free(struct handshake *handshake)
{
    secret_wipe(&handshake->read, sizeof handshake->read);
    secret_wipe(&handshake->write, sizeof handshake->write);
    if (handshake->ssl == NULL)
        return;
    SSL_set_quiet_shutdown(handshake->ssl, 1);
    SSL_set_shutdown(handshake->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(handshake->ssl);
    key_schedule_forget();
    handshake->ssl = NULL;
}

/* ---- failing ---- */

void handshake_failure_collect(struct handshake *handshake)
{
    struct handshake_failure *failure = &handshake->failure;
    long verified = SSL_get_verify_result(handshake->ssl);
    const char *reason = openssl_reason();

    failure->stage = context_stage(handshake->ssl);
    if (verified != X509_V_OK)
        ignore(snprintf(failure->reason, sizeof failure->reason, "%s: %s", reason,
                        X509_verify_cert_error_string(verified)));
    else
        ignore(snprintf(failure->reason, sizeof failure->reason, "%s", reason));
}

void handshake_failure(const struct handshake *handshake, struct handshake_failure *ret_failure)
{
    *ret_failure = handshake->failure;
    if (handshake->status == HANDSHAKE_WANT_READ && handshake->ssl != NULL)
        ret_failure->stage = context_stage(handshake->ssl);
}

/* ---- feeding ---- */

static enum handshake_status handshake_step(struct handshake *handshake)
{
    ERR_clear_error();
    key_schedule_observe(handshake_on_secret, handshake);
    int result = SSL_do_handshake(handshake->ssl);
    key_schedule_observe(NULL, NULL);

    if (result == 1) {
        handshake->failure.stage = "established";
        handshake_facts_collect(handshake);
        return HANDSHAKE_DONE;
    }
    if (SSL_get_error(handshake->ssl, result) == SSL_ERROR_WANT_READ && !handshake->garbage)
        return HANDSHAKE_WANT_READ;
    handshake_failure_collect(handshake);
    handshake_facts_collect(handshake);
    return HANDSHAKE_FAILED;
}

enum handshake_status handshake_feed(struct handshake *handshake, const uint8_t *input, size_t size,
                                     size_t *ret_consumed)
{
    *ret_consumed = 0;
    if (handshake->status == HANDSHAKE_DONE)
        *ret_consumed = handshake_stream_feed(handshake, input, size);
    if (handshake->status != HANDSHAKE_WANT_READ)
        return handshake->status;
    handshake->input = input;
    handshake->input_size = size;
    handshake->status = handshake_step(handshake);
    *ret_consumed = size - handshake->input_size;
    handshake->input = NULL;
    handshake->input_size = 0;
    return handshake->status;
}

size_t handshake_output(struct handshake *handshake, const uint8_t **ret_data)
{
    *ret_data = handshake->output.data;
    if (handshake->output_sent > 0)
        *ret_data += handshake->output_sent;
    return handshake->output.size - handshake->output_sent;
}

void handshake_sent(struct handshake *handshake, size_t size)
{
    handshake->output_sent += size;
    /* Records under keys stay for the wire check. */
    bool needed =
        handshake->write.epoch != EPOCH_PLAIN && handshake->ssl != NULL && !handshake->streaming;
    bool much = handshake->output_sent == handshake->output.size ||
                handshake->output_sent >= OUTPUT_KEPT_MAX;
    if (much && !needed) {
        buffer_consume(&handshake->output, handshake->output_sent);
        handshake->output_sent = 0;
    }
}
