/* Renegotiation in a TLS 1.2 session that OpenSSL goes on carrying (RFC 5246 §7.4.1.1, RFC 5746).
 *
 * Whether a client's is allowed is asked when its ClientHello is there and OpenSSL has not looked
 * at it yet. Two things OpenSSL must not see: the warning by which a client declines ours, because
 * OpenSSL would end the session for it, and a ClientHello larger than allowed. Records are given to
 * it one at a time, so such a one is simply kept. */
#include "tls/handshake_internal.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "base/secret.h"

#define SUITE_LIST_MAX 1024

static bool is_tls12(const struct handshake *handshake)
{
    return handshake->ssl != NULL && SSL_version(handshake->ssl) == TLS1_2_VERSION;
}

/* ---- what may be negotiated again ---- */

static bool is_weaker(const SSL_CIPHER *one, const SSL_CIPHER *other)
{
    return SSL_CIPHER_is_aead(one) < SSL_CIPHER_is_aead(other) ||
           SSL_CIPHER_get_bits(one, NULL) < SSL_CIPHER_get_bits(other, NULL);
}

/* Suites not weaker than the one in use; a client without any gets handshake_failure. */
static void limit_suites(SSL *ssl)
{
    const SSL_CIPHER *current = SSL_get_current_cipher(ssl);
    const STACK_OF(SSL_CIPHER) *all = SSL_get_ciphers(ssl);
    char list[SUITE_LIST_MAX] = "";
    size_t used = 0;

    for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
        const SSL_CIPHER *suite = sk_SSL_CIPHER_value(all, i);
        const char *name = SSL_CIPHER_get_name(suite);
        size_t size = strlen(name);
        if (is_weaker(suite, current) || used + size + 2 > sizeof list)
            continue;
        if (used != 0)
            list[used++] = ':';
        memcpy(list + used, name, size + 1);
        used += size;
    }
    ignore(SSL_set_cipher_list(ssl, list)); /* those of TLS 1.3 in it are not looked for there */
}

void handshake_carry(struct handshake *handshake, const struct handshake_carrying *how)
{
    SSL *ssl = handshake->ssl;

    handshake->streaming = true;
    handshake->carried = (struct carried){.in_use = true,
                                          .how = *how,
                                          .renegotiation = handshake->carried.renegotiation,
                                          .authentication = handshake->carried.authentication};
    if (how->allows == NULL || !handshake_can_renegotiate(handshake))
        return;
    limit_suites(ssl);
    SSL_clear_options(ssl, SSL_OP_NO_RENEGOTIATION);
    ERR_clear_error();
}

bool handshake_can_renegotiate(const struct handshake *handshake)
{
    return is_tls12(handshake) && SSL_get_secure_renegotiation_support(handshake->ssl) == 1;
}

bool handshake_authenticated(const struct handshake *handshake)
{
    return handshake->ssl != NULL && SSL_get0_peer_certificate(handshake->ssl) != NULL &&
           SSL_get_verify_result(handshake->ssl) == X509_V_OK;
}

/* ---- KeyUpdates ---- */

uint32_t handshake_key_updates(const struct handshake *handshake)
{
    return handshake->carried.key_updates;
}

/* ---- its course ---- */

/* What alerts told before is not about this one. */
static void forget_alerts(struct handshake *handshake)
{
    handshake->failure.alert_sent = handshake->failure.alert_received = ALERT_NONE;
}

bool handshake_takes_data(const struct handshake *handshake)
{
    return handshake->ssl == NULL || SSL_is_init_finished(handshake->ssl) == 1;
}

/* A ClientHello that is not all there yet. After an error OpenSSL is "in a handshake", too. */
static bool has_begun(const struct handshake *handshake)
{
    return is_tls12(handshake) && SSL_in_init(handshake->ssl) &&
           SSL_get_state(handshake->ssl) == TLS_ST_SR_CLNT_HELLO;
}

enum handshake_renegotiation handshake_renegotiation(const struct handshake *handshake)
{
    enum handshake_renegotiation now = handshake->carried.renegotiation;

    return now < RENEGOTIATION_RUNNING && has_begun(handshake) ? RENEGOTIATION_RUNNING : now;
}

void handshake_renegotiations(const struct handshake *handshake,
                              struct handshake_renegotiations *ret_counts)
{
    *ret_counts = handshake->carried.counts;
}

bool handshake_renegotiate(struct handshake *handshake)
{
    struct carried *carried = &handshake->carried;

    if (!carried->in_use || carried->how.allows == NULL || !handshake_can_renegotiate(handshake) ||
        carried->renegotiation != RENEGOTIATION_NONE)
        return false;
    ERR_clear_error();
    bool sent = SSL_renegotiate(handshake->ssl) == 1 && SSL_do_handshake(handshake->ssl) == 1;
    ERR_clear_error();
    if (sent) {
        carried->renegotiation = RENEGOTIATION_ASKED;
        forget_alerts(handshake);
    }
    return sent;
}

bool handshake_update_key(struct handshake *handshake)
{
    bool done = handshake->ssl != NULL && SSL_version(handshake->ssl) == TLS1_3_VERSION &&
                SSL_key_update(handshake->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1;

    ERR_clear_error();
    return done;
}

void handshake_carry_hello(struct handshake *handshake)
{
    struct carried *carried = &handshake->carried;
    bool asked = carried->renegotiation == RENEGOTIATION_ASKED;

    carried->hello_size = 0;
    if (asked || (carried->how.allows != NULL && handshake_can_renegotiate(handshake) &&
                  carried->how.allows(carried->how.context))) {
        SSL_set_options(handshake->ssl, SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
        carried->renegotiation = RENEGOTIATION_RUNNING;
        forget_alerts(handshake);
    } else {
        SSL_clear_options(handshake->ssl, SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
        carried->counts.refused++;
    }
}

/* The certificate that the first handshake has proved, or that we have asked for since, is the
 * session's for ever: what was sent before belongs to it. */
static bool is_changed(const struct handshake *handshake)
{
    const struct handshake_facts *facts = &handshake->facts;
    uint8_t fingerprint[sizeof facts->peer_fingerprint] = {0};
    X509 *peer = SSL_get0_peer_certificate(handshake->ssl);
    const unsigned char *alpn;
    unsigned alpn_size;

    if (peer != NULL && X509_digest(peer, EVP_sha256(), fingerprint, NULL) != 1)
        return true;
    /* OpenSSL's client does not negotiate a protocol again: that is no change. */
    SSL_get0_alpn_selected(handshake->ssl, &alpn, &alpn_size);
    return memcmp(fingerprint, facts->peer_fingerprint, sizeof fingerprint) != 0 ||
           (alpn_size != 0 &&
            (alpn_size != facts->alpn_size || memcmp(alpn, facts->alpn, alpn_size) != 0));
}

void handshake_carry_settle(struct handshake *handshake)
{
    struct carried *carried = &handshake->carried;

    if (!carried->in_use || !SSL_is_init_finished(handshake->ssl))
        return;
    if (carried->finished)
        handshake_authenticate_settle(handshake);
    if (carried->renegotiation != RENEGOTIATION_RUNNING || SSL_renegotiate_pending(handshake->ssl))
        return;
    carried->counts.done++;
    carried->renegotiation = is_changed(handshake) ? RENEGOTIATION_CHANGED : RENEGOTIATION_NONE;
}

/* ---- what OpenSSL must not see ---- */

/* The warning no_renegotiation, under the keys in force. A copy is opened: the record stays. */
static bool declines(const struct handshake *handshake, const uint8_t *record, size_t size)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(handshake->ssl);
    const struct suite *suite =
        suite_find(TLS_VERSION_1_2, (uint16_t)SSL_CIPHER_get_protocol_id(cipher));
    struct record_key read = {0}, write = {0};
    uint64_t sequence = handshake->read.records;
    uint8_t plain[LAST_RECORD_MAX];
    struct record_opened opened;

    if (suite == NULL || size > sizeof plain)
        return false;
    bool good = handshake_keys_tls12(handshake, suite, &read, &write) &&
                record_open(handshake->carried.how.crypto, suite, &read, &sequence, record, size,
                            plain, &opened) == RECORD_OPENED;
    secret_wipe(&read, sizeof read);
    secret_wipe(&write, sizeof write);
    record_crypto_forget(handshake->carried.how.crypto);
    return good && opened.size == 2 && plain[1] == ALERT_NO_RENEGOTIATION;
}

bool handshake_carry_stops(struct handshake *handshake, const uint8_t *record, size_t size)
{
    struct carried *carried = &handshake->carried;
    bool quiet = carried->renegotiation == RENEGOTIATION_NONE ||
                 carried->renegotiation == RENEGOTIATION_ASKED;

    if (carried->renegotiation >= RENEGOTIATION_DECLINED)
        return true;
    if (!is_tls12(handshake) || !quiet)
        return false;
    if (record[0] == RECORD_ALERT && carried->renegotiation == RENEGOTIATION_ASKED &&
        declines(handshake, record, size))
        carried->renegotiation = RENEGOTIATION_DECLINED;
    if (record[0] == RECORD_HANDSHAKE) {
        carried->hello_size += size - RECORD_HEADER_SIZE;
        if (carried->hello_size > carried->how.client_hello_max + RECORD_OVERHEAD_MAX)
            carried->renegotiation = RENEGOTIATION_TOO_LARGE;
    }
    return carried->renegotiation >= RENEGOTIATION_DECLINED;
}
