/* Taking a finished session over from OpenSSL, and proving on the wire that it was taken rightly.
 *
 * What is checked, beyond OpenSSL holding nothing back and the suite being one of ours:
 *  - TLS 1.3: every record that we wrote under the application key (NewSessionTickets; they may be
 *    split) opens with the taken secret at the sequence numbers 0, 1, …, and their number is the
 *    one that OpenSSL reported. When there was none (no tickets, or we are the client), nothing on
 *    the wire is under that key yet; then our Finished must open with the handshake secret that the
 *    same observer saw, which proves that observer and wire belong together. The read direction has
 *    seen no record.
 *  - TLS 1.2: our Finished opens with our write key and the peer's Finished with the read key, each
 *    at sequence number 0 and as the only record under its key; the explicit nonce goes on from the
 *    one in our Finished. */
#include "tls/handshake_internal.h"

#include <string.h>

#include <openssl/err.h>

#include "base/secret.h"

struct detach {
    struct handshake *handshake;
    struct record_crypto *crypto;
    const struct suite *suite;
    struct leg leg;
    struct leg_keys keys;
    struct error *error;
};

static int mismatch(struct detach *detach, const char *reason)
{
    return error_set(detach->error, ERROR_TLS, "cannot detach the session from OpenSSL: %s",
                     reason);
}

/* ---- walking our last flight ---- */

struct wire_record {
    const uint8_t *data;
    size_t size;
};

/* The records of the kept output that matter, in the order of sending. Returns how many there are
 * (the last `maximum` are stored, oldest first), or -1 when the output does not consist of whole
 * records. */
static long flight_collect(const struct handshake *handshake, struct wire_record *ret_records,
                           size_t maximum)
{
    const uint8_t *data = handshake->output.data;
    size_t left = handshake->output.size;
    size_t count = 0;

    while (left > 0) {
        if (left < RECORD_HEADER_SIZE)
            return -1;
        size_t size = RECORD_HEADER_SIZE + ((size_t)data[3] << 8 | data[4]);
        if (size > left)
            return -1;
        if (data[0] != RECORD_CHANGE_CIPHER_SPEC) {
            if (count >= maximum)
                memmove(ret_records, ret_records + 1, (maximum - 1) * sizeof *ret_records);
            ret_records[count < maximum ? count : maximum - 1] = (struct wire_record){data, size};
            count++;
        }
        data += size;
        left -= size;
    }
    return (long)count;
}

/* Opens one record of ours or the peer's and forgets the content; true when it is a handshake
 * message. */
static bool opens(struct detach *detach, const struct record_key *key, uint64_t *sequence,
                  const uint8_t *record, size_t size)
{
    uint8_t plain[RECORD_WIRE_MAX_TLS12];
    struct record_opened opened;

    if (record_open(detach->crypto, detach->suite, key, sequence, record, size, plain, &opened) !=
        RECORD_OPENED)
        return false;
    secret_wipe(plain, opened.size);
    return opened.type == RECORD_HANDSHAKE && opened.consumed == size;
}

/* ---- TLS 1.3 ---- */

#define FLIGHT_RECORDS_MAX 64 /* seven tickets of several records each */

/* Nothing was written under the application key: our Finished must open under the handshake key. */
static int check_finished(struct detach *detach, const struct wire_record *finished,
                          size_t handshake_records)
{
    struct record_key key = {0};
    uint64_t sequence = handshake_records - 1;

    memcpy(key.secret, detach->handshake->write.handshake_secret, detach->suite->secret_size);
    bool good = record_key_derive(detach->suite, &key) &&
                opens(detach, &key, &sequence, finished->data, finished->size);
    secret_wipe(&key, sizeof key);
    return good ? 0 : mismatch(detach, "our Finished does not open with the observed secret");
}

static int check_flight_tls13(struct detach *detach)
{
    const struct handshake *handshake = detach->handshake;
    struct wire_record records[FLIGHT_RECORDS_MAX];
    uint64_t written = handshake->write.records;
    uint64_t sequence = 0;
    long total = flight_collect(handshake, records, FLIGHT_RECORDS_MAX);
    size_t stored = total < FLIGHT_RECORDS_MAX ? (size_t)total : FLIGHT_RECORDS_MAX;

    if (total <= 0 || written > (uint64_t)total)
        return mismatch(detach, "the last flight is not complete");
    if (written > stored)
        return mismatch(detach, "too many records after the handshake");
    if (written == 0 && handshake->write.handshake_records == 0)
        return mismatch(detach, "OpenSSL reported no record of its Finished");
    if (written == 0)
        return check_finished(detach, &records[stored - 1], handshake->write.handshake_records);
    for (size_t i = stored - written; i < stored; i++) {
        if (!opens(detach, &detach->keys.write, &sequence, records[i].data, records[i].size))
            return mismatch(detach, "a record of our last flight does not open with the taken key");
    }
    return sequence == written
               ? 0
               : mismatch(detach, "the records of our last flight do not match the count");
}

bool handshake_keys_tls13(const struct handshake *handshake, const struct suite *suite,
                          struct record_key *ret_read, struct record_key *ret_write)
{
    memcpy(ret_read->secret, handshake->read.secret, suite->secret_size);
    memcpy(ret_write->secret, handshake->write.secret, suite->secret_size);
    return record_key_derive(suite, ret_read) && record_key_derive(suite, ret_write);
}

void handshake_key_updated(struct handshake *handshake, struct direction *direction)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(handshake->ssl);
    const struct suite *suite =
        suite_find(TLS_VERSION_1_3, (uint16_t)SSL_CIPHER_get_protocol_id(cipher));
    struct record_key key = {0}, next;

    memcpy(key.secret, direction->secret, sizeof key.secret);
    if (suite == NULL || !record_key_next(suite, &key, &next))
        direction->epoch = EPOCH_PLAIN; /* it cannot be taken over any more */
    else
        memcpy(direction->secret, next.secret, sizeof direction->secret);
    direction->records = 0;
    secret_wipe(&key, sizeof key);
    secret_wipe(&next, sizeof next);
    record_key_forget();
}

static int take_tls13(struct detach *detach)
{
    const struct handshake *handshake = detach->handshake;
    size_t secret_size = detach->suite->secret_size;

    if (handshake->read.epoch != EPOCH_APPLICATION || handshake->write.epoch != EPOCH_APPLICATION ||
        handshake->read.secret_size != secret_size || handshake->write.secret_size != secret_size)
        return mismatch(detach, "OpenSSL did not derive both traffic secrets");
    if (handshake->read.records != 0)
        return mismatch(detach, "records were read after the handshake");
    if (!handshake_keys_tls13(handshake, detach->suite, &detach->keys.read, &detach->keys.write))
        return mismatch(detach, "the key derivation failed");
    detach->leg.write_sequence = handshake->write.records;
    return check_flight_tls13(detach);
}

/* ---- TLS 1.2 ---- */

static uint64_t explicit_nonce(const uint8_t *record)
{
    uint64_t nonce = 0;

    for (int i = 0; i < 8; i++)
        nonce = nonce << 8 | record[RECORD_HEADER_SIZE + i];
    return nonce;
}

static int check_flight_tls12(struct detach *detach)
{
    const struct handshake *handshake = detach->handshake;
    struct wire_record finished;
    uint64_t read_sequence = 0, write_sequence = 0;

    if (handshake->write.records != 1 || handshake->read.records != 1)
        return mismatch(detach, "more than Finished was sent under the new keys");
    if (flight_collect(handshake, &finished, 1) <= 0 ||
        !opens(detach, &detach->keys.write, &write_sequence, finished.data, finished.size))
        return mismatch(detach, "our Finished does not open with the taken key");
    if (handshake->last_record_size == 0 ||
        !opens(detach, &detach->keys.read, &read_sequence, handshake->last_record,
               handshake->last_record_size))
        return mismatch(detach, "the peer's Finished does not open with the taken key");
    if (detach->suite->explicit_nonce)
        detach->leg.write_nonce = explicit_nonce(finished.data) + 1;
    detach->leg.read_sequence = read_sequence;
    detach->leg.write_sequence = write_sequence;
    return 0;
}

bool handshake_keys_tls12(const struct handshake *handshake, const struct suite *suite,
                          struct record_key *ret_read, struct record_key *ret_write)
{
    uint8_t master_secret[48], client_random[32], server_random[32];
    bool client = handshake_is_client(handshake);

    bool good = SSL_SESSION_get_master_key(SSL_get0_session(handshake->ssl), master_secret,
                                           sizeof master_secret) == sizeof master_secret &&
                SSL_get_client_random(handshake->ssl, client_random, sizeof client_random) ==
                    sizeof client_random &&
                SSL_get_server_random(handshake->ssl, server_random, sizeof server_random) ==
                    sizeof server_random &&
                record_key_block(suite, master_secret, client_random, server_random,
                                 client ? ret_write : ret_read, client ? ret_read : ret_write);
    secret_wipe(master_secret, sizeof master_secret);
    return good;
}

static int take_tls12(struct detach *detach)
{
    return handshake_keys_tls12(detach->handshake, detach->suite, &detach->keys.read,
                                &detach->keys.write)
               ? check_flight_tls12(detach)
               : mismatch(detach, "the key derivation failed");
}

/* ---- both ---- */

static int check_quiet(struct detach *detach)
{
    struct handshake *handshake = detach->handshake;

    if (handshake->status != HANDSHAKE_DONE || handshake->ssl == NULL ||
        !SSL_is_init_finished(handshake->ssl))
        return mismatch(detach, "the handshake is not finished");
    if (handshake->streaming || handshake->later.size > 0)
        return mismatch(detach, "the session is already in use");
    if (handshake->record_size > 0 || SSL_has_pending(handshake->ssl))
        return mismatch(detach, "OpenSSL holds bytes beyond the handshake");
    if (handshake->output_sent != handshake->output.size)
        return mismatch(detach, "the last flight has not been sent");
    detach->suite = suite_find(handshake->facts.version, handshake->facts.suite);
    return detach->suite != NULL
               ? 0
               : mismatch(detach, "the cipher suite is not one that can be carried");
}

int handshake_detach(struct handshake *handshake, struct record_crypto *crypto, struct leg *ret_leg,
                     struct leg_keys *ret_keys, struct error *error)
{
    struct detach detach = {.handshake = handshake, .crypto = crypto, .error = error};
    int result = check_quiet(&detach);

    if (result == 0) {
        leg_init(&detach.leg, detach.suite, handshake_is_client(handshake),
                 handshake->facts.fragment_max);
        result =
            handshake->facts.version == TLS_VERSION_1_3 ? take_tls13(&detach) : take_tls12(&detach);
    }
    if (result == 0) {
        *ret_leg = detach.leg;
        *ret_keys = detach.keys;
        handshake_ssl_free(handshake);
    }
    secret_wipe(&detach.keys, sizeof detach.keys);
    record_crypto_forget(crypto);
    ERR_clear_error();
    return result;
}
