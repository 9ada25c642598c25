/* What a probe sees: each message as it passes (before OpenSSL judges it, so that a chain that
 * OpenSSL refuses is still known), and at the end what was agreed on. */
#include "tls/probe_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>

#include "base/clock.h"
#include "base/string.h"
#include "tls/leg.h"
#include "tls/openssl_auto.h"
#include "tls/probe_hello.h"

#define LEAF_USUAL (16u << 10)

static struct probe *probe_of(const SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

/* ---- the Certificate message ---- */

static size_t number24(const uint8_t *bytes)
{
    return (size_t)bytes[0] << 16 | (size_t)bytes[1] << 8 | bytes[2];
}

/* A leaf of usual size has room always. */
static bool take_room(struct probe *probe, size_t size)
{
    size_t *room = probe->chain_room;

    if (room == NULL || (probe->seen.chain_count == 0 && size <= LEAF_USUAL))
        return true;
    if (size > *room)
        return false;
    *room -= size;
    return true;
}

static void keep_certificate(struct probe *probe, const uint8_t *der, size_t size)
{
    struct probe_seen *seen = &probe->seen;
    struct error error = {0};

    /* Behind a leaf that cannot be read another one must not take its place. */
    if (seen->chain_count == 0 && seen->chain_malformed[0] != '\0')
        return;
    bool fits = take_room(probe, size);
    if (!fits && seen->chain_count == 0)
        string_copy(seen->chain_malformed, sizeof seen->chain_malformed,
                    "all certificates of this target together are too long to be kept");
    if (!fits || seen->chain_count == CHAIN_SERVED_MAX) {
        seen->chain_dropped++;
        return;
    }
    if (certificate_facts_new(&seen->chain[seen->chain_count], der, size, &error) == 0)
        seen->chain_count++;
    else if (seen->chain_malformed[0] == '\0')
        ignore(
            snprintf(seen->chain_malformed, sizeof seen->chain_malformed, "%.150s", error.message));
}

/* The entries of the certificate list (RFC 8446 §4.4.2, RFC 5246 §7.4.2). Returns whether they are
 * well-formed. */
static bool keep_chain(struct probe *probe, const uint8_t *list, size_t size, bool tls13)
{
    while (size > 0) {
        size_t extensions = 0;
        if (size < 3)
            return false;
        size_t certificate = number24(list);
        list += 3;
        size -= 3;
        if (certificate > size)
            return false;
        keep_certificate(probe, list, certificate);
        probe->seen.chain_size += certificate;
        list += certificate;
        size -= certificate;
        if (!tls13)
            continue;
        if (size < 2 || (extensions = ((size_t)list[0] << 8 | list[1]) + 2) > size)
            return false;
        list += extensions;
        size -= extensions;
    }
    return true;
}

/* `body` is behind the header of the message. */
static void on_certificate(struct probe *probe, const uint8_t *body, size_t size, bool tls13)
{
    size_t context = tls13 && size > 0 ? 1u + body[0] : 0;
    bool well_formed = size >= context + 3 && number24(body + context) == size - context - 3 &&
                       keep_chain(probe, body + context + 3, size - context - 3, tls13);

    if (!well_formed)
        string_copy(probe->seen.chain_malformed, sizeof probe->seen.chain_malformed,
                    "the Certificate message is not well-formed");
}

/* ---- messages ---- */

static void note(struct probe *probe, bool sent, uint8_t content_type, const uint8_t *data,
                 size_t size)
{
    struct probe_seen *seen = &probe->seen;

    if (!probe->trace)
        return;
    if (seen->message_count == PROBE_MESSAGES_MAX) {
        seen->messages_dropped++;
        return;
    }
    seen->messages[seen->message_count++] = (struct probe_message){
        .at_ns = clock_monotonic_ns() - probe->began_ns,
        .sent = sent,
        .content_type = content_type,
        .type = size > 0 ? data[0] : 0,
        .detail = content_type == PROBE_CONTENT_ALERT && size > 1 ? data[1] : 0,
        .size = (uint32_t)size,
    };
}

static void on_server_hello(struct probe *probe, const uint8_t *body, size_t size)
{
    struct probe_hello_answer answer;

    if (!probe_hello_body(body, size, &answer))
        return; /* OpenSSL will refuse it */
    if (answer.retry) {
        probe->seen.hello_retry = true;
        return;
    }
    probe->hellos++;
    probe->seen.downgrade_sentinel = answer.sentinel != PROBE_HELLO_NO_SENTINEL;
}

static void on_ticket(struct probe_seen *seen, const uint8_t *body, size_t size)
{
    seen->tickets++;
    if (size >= 4)
        seen->ticket_lifetime_s =
            (uint32_t)body[0] << 24 | (uint32_t)body[1] << 16 | (uint32_t)body[2] << 8 | body[3];
}

static void on_handshake_received(struct probe *probe, const uint8_t *data, size_t size)
{
    const uint8_t *body = data + SSL3_HM_HEADER_LENGTH;
    size_t body_size = size - SSL3_HM_HEADER_LENGTH;

    probe->last_type = data[0];
    switch (data[0]) {
    case SSL3_MT_SERVER_HELLO:
        on_server_hello(probe, body, body_size);
        break;
    case SSL3_MT_CERTIFICATE:
        if (probe->seen.chain_size == 0) /* not again when renegotiating */
            on_certificate(probe, body, body_size, SSL_version(probe->ssl) == TLS1_3_VERSION);
        break;
    case SSL3_MT_CERTIFICATE_REQUEST:
        probe->seen.client_certificate_asked = true;
        break;
    case SSL3_MT_NEWSESSION_TICKET:
        on_ticket(&probe->seen, body, body_size);
        break;
    default:
        break;
    }
}

/* By its signature, or by its Finished in TLS 1.3. With RSA key exchange below that only the
 * server's Finished proves anything (RFC 5246 §7.4.9): until then anybody could show the chain. */
static bool has_proved_key(const struct probe *probe)
{
    const SSL_CIPHER *cipher = SSL_get_pending_cipher(probe->ssl);

    return cipher != NULL && SSL_CIPHER_get_kx_nid(cipher) != NID_kx_rsa;
}

/* A server that wants a certificate says so after our last flight, which had none. */
static bool asks_for_certificate(const struct probe *probe, uint8_t alert)
{
    static const uint8_t alerts[] = {SSL_AD_HANDSHAKE_FAILURE, SSL_AD_NO_CERTIFICATE,
                                     SSL_AD_BAD_CERTIFICATE,   SSL_AD_CERTIFICATE_UNKNOWN,
                                     SSL_AD_ACCESS_DENIED,     SSL_AD_CERTIFICATE_REQUIRED};

    return probe->seen.client_certificate_asked && probe->answered && has_proved_key(probe) &&
           memchr(alerts, alert, sizeof alerts) != NULL;
}

static void on_alert(struct probe *probe, bool sent, uint8_t alert)
{
    if (alert == ALERT_CLOSE_NOTIFY)
        return;
    if (sent) {
        probe->seen.alert_sent = alert;
        return;
    }
    probe->seen.alert_received = alert;
    if (asks_for_certificate(probe, alert))
        probe->seen.client_certificate_required = true;
}

void probe_on_message(int sent, int version, int content_type, const void *data, size_t size,
                      SSL *ssl, void *argument)
{
    struct probe *probe = probe_of(ssl);
    const uint8_t *bytes = data;

    (void)version, (void)argument;
    if (probe == NULL || content_type > PROBE_CONTENT_DATA)
        return; /* record headers */
    note(probe, sent != 0, (uint8_t)content_type, bytes, size);
    if (content_type == PROBE_CONTENT_ALERT && size == 2)
        on_alert(probe, sent != 0, bytes[1]);
    if (content_type != PROBE_CONTENT_HANDSHAKE || size < SSL3_HM_HEADER_LENGTH)
        return;
    if (sent == 0)
        on_handshake_received(probe, bytes, size);
    else if (bytes[0] == SSL3_MT_FINISHED)
        probe->answered = true;
}

int probe_on_timestamps(SSL *ssl, unsigned type, unsigned context, const unsigned char *data,
                        size_t size, X509 *certificate, size_t position, int *ret_alert,
                        void *argument)
{
    struct probe *probe = probe_of(ssl);

    (void)type, (void)context, (void)certificate, (void)ret_alert, (void)argument;
    if (position > 0 || size == 0 || probe->seen.timestamps != NULL)
        return 1;
    probe->seen.timestamps = malloc(size);
    if (probe->seen.timestamps == NULL)
        return 1;
    memcpy(probe->seen.timestamps, data, size);
    probe->seen.timestamps_size = size;
    return 1;
}

int probe_on_session(SSL *ssl, SSL_SESSION *session)
{
    struct probe *probe = probe_of(ssl);

    SSL_SESSION_free(probe->session);
    probe->session = session;
    return 1; /* kept */
}

/* A finite field is the server's choice, and with one of 10,000 bits, the largest that OpenSSL
 * takes, a handshake computes for two seconds. Well-known groups have short exponents. */
#define DH_BITS_MAX      4096
#define DH_SECURITY_BITS 80 /* OpenSSL's least, at security level 0 */

int probe_on_security(const SSL *ssl, const SSL_CTX *context, int operation, int bits, int nid,
                      void *other, void *argument)
{
    struct probe *probe = ssl != NULL ? probe_of(ssl) : NULL;
    char group[32];

    (void)context, (void)nid, (void)argument;
    if (operation != SSL_SECOP_TMP_DH)
        return 1;
    if (bits < DH_SECURITY_BITS)
        return 0;
    if (other == NULL || EVP_PKEY_get_bits(other) <= DH_BITS_MAX ||
        EVP_PKEY_get_utf8_string_param(other, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group,
                                       NULL) == 1)
        return 1;
    if (probe != NULL)
        probe->refused_dh_bits = EVP_PKEY_get_bits(other);
    return 0;
}

/* ---- what was agreed on ---- */

static const char *version_name(int version)
{
    switch (version) {
    case SSL3_VERSION:
        return "SSL 3";
    case TLS1_VERSION:
        return "TLS 1.0";
    case TLS1_1_VERSION:
        return "TLS 1.1";
    case TLS1_2_VERSION:
        return "TLS 1.2";
    case TLS1_3_VERSION:
        return "TLS 1.3";
    default:
        return "unknown";
    }
}

static const char *group_name(SSL *ssl)
{
    static const struct {
        const char *theirs, *ours;
    } names[] = {{"secp256r1", "P-256"},
                 {"secp384r1", "P-384"},
                 {"secp521r1", "P-521"},
                 {"x25519", "X25519"},
                 {"x448", "X448"}};
    int id = (int)SSL_get_negotiated_group(ssl);
    const char *name = id != NID_undef ? SSL_group_to_name(ssl, id) : NULL;

    for (size_t i = 0; name != NULL && i < ARRAY_SIZE(names); i++) {
        if (strcasecmp(name, names[i].theirs) == 0)
            return names[i].ours;
    }
    return name;
}

/* Below TLS 1.3 the suite says how keys are exchanged, and the size of a finite field is the
 * server's choice. */
static void collect_exchange(struct probe_seen *seen, SSL *ssl, const SSL_CIPHER *cipher)
{
    EVP_PKEY *key = NULL;

    seen->group = group_name(ssl);
    seen->forward_secrecy = SSL_CIPHER_get_kx_nid(cipher) != NID_kx_rsa;
    if (SSL_CIPHER_get_kx_nid(cipher) == NID_kx_rsa)
        seen->group = "RSA";
    if (SSL_CIPHER_get_kx_nid(cipher) != NID_kx_dhe || SSL_get_peer_tmp_key(ssl, &key) != 1)
        return;
    seen->group = "DHE";
    seen->dh_bits = (unsigned)EVP_PKEY_get_bits(key);
    EVP_PKEY_free(key);
}

static void collect_staple(struct probe_seen *seen, SSL *ssl)
{
    const unsigned char *response = NULL;
    long size = SSL_get_tlsext_status_ocsp_resp(ssl, &response);

    if (response == NULL || size <= 0 || (seen->staple = malloc((size_t)size)) == NULL)
        return;
    memcpy(seen->staple, response, (size_t)size);
    seen->staple_size = (size_t)size;
}

void probe_collect(struct probe *probe)
{
    struct probe_seen *seen = &probe->seen;
    const SSL_CIPHER *current = SSL_get_current_cipher(probe->ssl);
    const SSL_CIPHER *cipher = current != NULL ? current : SSL_get_pending_cipher(probe->ssl);
    const unsigned char *alpn;
    unsigned alpn_size;

    seen->stage = context_stage(probe->ssl);
    if (cipher == NULL || probe->hellos == 0)
        return;
    seen->version = (uint16_t)SSL_version(probe->ssl);
    seen->version_name = version_name(seen->version);
    seen->suite = SSL_CIPHER_standard_name(cipher);
    seen->resumed = SSL_session_reused(probe->ssl) == 1;
    seen->secure_renegotiation =
        seen->version == TLS1_3_VERSION || SSL_get_secure_renegotiation_support(probe->ssl) != 0;
    seen->extended_master_secret =
        seen->version == TLS1_3_VERSION || SSL_get_extms_support(probe->ssl) == 1;
    SSL_get0_alpn_selected(probe->ssl, &alpn, &alpn_size);
    string_printable(seen->alpn, sizeof seen->alpn, alpn, alpn_size);
    if (SSL_get0_session(probe->ssl) != NULL)
        collect_exchange(seen, probe->ssl, cipher);
    collect_staple(seen, probe->ssl);
    ERR_clear_error();
}
