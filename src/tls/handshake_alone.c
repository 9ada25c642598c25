/* A session that was taken from OpenSSL in mid-life and goes by our own record layer, in
 * the same process. Both counters are those of the records seen since the last change of keys; the
 * explicit nonce goes on behind the one last written. */
#include "tls/handshake_internal.h"

#include <openssl/err.h>

#include "base/secret.h"

/* Of the records; a renegotiation may have chosen another than the first handshake. */
static const struct suite *suite_in_force(const SSL *ssl)
{
    return suite_find((uint16_t)SSL_version(ssl),
                      (uint16_t)SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl)));
}

/* A ClientHello that is not complete has changed nothing yet. No message of a client changes our
 * keys of TLS 1.3. */
static bool can_be_taken(const struct handshake *handshake)
{
    if (handshake->ssl == NULL || !handshake->carried.in_use || handshake->record_size != 0)
        return false;
    if (SSL_version(handshake->ssl) == TLS1_3_VERSION)
        return handshake->read.epoch == EPOCH_APPLICATION &&
               handshake->write.epoch == EPOCH_APPLICATION;
    return handshake->carried.renegotiation == RENEGOTIATION_TOO_LARGE ||
           (SSL_is_init_finished(handshake->ssl) && !SSL_has_pending(handshake->ssl));
}

static bool take_keys(const struct handshake *handshake, const struct suite *suite,
                      struct leg_keys *keys)
{
    return SSL_version(handshake->ssl) == TLS1_3_VERSION
               ? handshake_keys_tls13(handshake, suite, &keys->read, &keys->write)
               : handshake_keys_tls12(handshake, suite, &keys->read, &keys->write);
}

#define BANKS_SIZE (2 * sizeof(struct leg_keys))

static void settle(struct alone *alone)
{
    if (!leg_unsettled(&alone->leg))
        return;
    leg_settle(&alone->leg, leg_own_banks(alone->keys));
    secret_wipe(&alone->keys[1], sizeof alone->keys[1]);
}

bool handshake_go_alone(struct handshake *handshake)
{
    struct alone *alone = &handshake->alone;

    if (alone->keys != NULL)
        return true;
    const struct suite *suite = can_be_taken(handshake) ? suite_in_force(handshake->ssl) : NULL;
    struct leg_keys *keys = suite == NULL ? NULL : secret_alloc(BANKS_SIZE);

    if (keys == NULL)
        return false;
    if (!take_keys(handshake, suite, keys)) {
        secret_free(keys, BANKS_SIZE);
        return false;
    }
    leg_init(&alone->leg, suite, false, handshake->facts.fragment_max);
    alone->leg.read_sequence = handshake->read.records;
    alone->leg.write_sequence = handshake->write.records;
    alone->leg.write_nonce = handshake->write_nonce + 1;
    alone->keys = keys;
    handshake->carried.renegotiation = RENEGOTIATION_NONE;
    handshake_ssl_free(handshake);
    ERR_clear_error();
    return true;
}

void handshake_alone_free(struct handshake *handshake)
{
    if (handshake->alone.keys == NULL)
        return;
    record_crypto_forget(handshake->carried.how.crypto);
    secret_free(handshake->alone.keys, BANKS_SIZE);
    handshake->alone.keys = NULL;
}

static void seal_owed(struct handshake *handshake)
{
    struct alone *alone = &handshake->alone;
    uint8_t *place;

    if (!leg_owes(&alone->leg))
        return;
    place = buffer_reserve(&handshake->output, LEG_OWED_MAX);
    if (place != NULL)
        handshake->output.size += leg_seal_owed(handshake->carried.how.crypto, &alone->leg,
                                                leg_own_banks(alone->keys), 0, place);
    settle(alone);
}

void handshake_alert(struct handshake *handshake, enum alert alert)
{
    if (handshake->alone.keys == NULL)
        return;
    leg_alert(&handshake->alone.leg, alert);
    handshake->failure.alert_sent = (uint8_t)alert;
    seal_owed(handshake);
}

long handshake_alone_read(struct handshake *handshake, uint8_t *output, size_t size)
{
    struct alone *alone = &handshake->alone;
    struct leg_opened opened;

    if (alone->failed)
        return -1;
    enum leg_event event =
        leg_open(handshake->carried.how.crypto, &alone->leg, leg_own_banks(alone->keys),
                 handshake->later.data, handshake->later.size, output, size, 0, &opened);
    settle(alone);
    buffer_consume(&handshake->later, opened.consumed);
    handshake->carried.counts.refused += opened.renegotiations;
    if (opened.peer_alert != ALERT_NONE)
        handshake->failure.alert_received = opened.peer_alert;
    if (event == LEG_FATAL) {
        alone->failed = true;
        handshake_alert(handshake, (enum alert)opened.alert);
    }
    seal_owed(handshake);
    if (opened.produced != 0)
        return (long)opened.produced;
    return event == LEG_FATAL || event == LEG_CLOSED ? -1 : 0;
}

long handshake_alone_write(struct handshake *handshake, const uint8_t *input, size_t size)
{
    struct alone *alone = &handshake->alone;
    uint8_t *place;

    seal_owed(handshake);
    if (size == 0 || alone->leg.close_sent)
        return size == 0 ? 0 : -1;
    place = buffer_reserve(&handshake->output, leg_sealed_size(&alone->leg, size));
    size_t sealed = place == NULL ? 0
                                  : leg_seal(handshake->carried.how.crypto, &alone->leg,
                                             leg_own_banks(alone->keys), input, size, place);
    handshake->output.size += sealed;
    return sealed == 0 ? -1 : (long)size;
}
