/* What OpenSSL tells while a handshake runs: secrets (the observer of key_schedule.h), records and
 * alerts (message callback), and the bytes themselves (a BIO of our own that hands over one record
 * at a time). Nothing of it is written anywhere. */
#include "tls/handshake_internal.h"

#include <string.h>

#define OUTPUT_MAX  (4u << 20) /* more than the largest chain that keypair_parse() takes */
#define OUTPUT_ROOM 4096       /* most flights fit */

static struct handshake *handshake_of(const SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

/* ---- secrets ---- */

/* A traffic secret is derived at the moment when that direction changes to it (RFC 9846 §7.1 has
 * the labels). */
void handshake_on_secret(void *context, const char *label, size_t label_size, const uint8_t *secret,
                         size_t secret_size)
{
    static const struct {
        const char *label; /* all of the same size */
        bool of_client;
        enum epoch epoch;
    } labels[] = {
        {"c hs traffic", true, EPOCH_HANDSHAKE},
        {"s hs traffic", false, EPOCH_HANDSHAKE},
        {"c ap traffic", true, EPOCH_APPLICATION},
        {"s ap traffic", false, EPOCH_APPLICATION},
    };
    struct handshake *handshake = context;

    if (label_size != strlen(labels[0].label) || secret_size > SUITE_SECRET_MAX)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(labels); i++) {
        if (memcmp(label, labels[i].label, label_size) != 0)
            continue;
        bool ours = labels[i].of_client == handshake_is_client(handshake);
        struct direction *direction = ours ? &handshake->write : &handshake->read;
        bool application = labels[i].epoch == EPOCH_APPLICATION;
        memcpy(application ? direction->secret : direction->handshake_secret, secret, secret_size);
        direction->secret_size = (uint8_t)secret_size;
        direction->handshake_records = application ? (uint32_t)direction->records : 0;
        direction->records = 0;
        direction->epoch = labels[i].epoch;
    }
}

/* ---- records, alerts, HelloRetryRequest ---- */

static void on_record(struct handshake *handshake, bool written, const uint8_t *header)
{
    struct direction *direction = written ? &handshake->write : &handshake->read;

    if (header[0] != RECORD_CHANGE_CIPHER_SPEC) {
        direction->records++;
    } else if (SSL_version(handshake->ssl) == TLS1_2_VERSION) {
        /* In TLS 1.3 this record is only for the eyes of middleboxes; here it changes the keys. */
        direction->epoch = EPOCH_APPLICATION;
        direction->records = 0;
    }
}

static bool is_hello_retry(const uint8_t *message, size_t size)
{
    /* RFC 9846 §4.1.3: SHA-256 of "HelloRetryRequest" in place of the random. */
    static const uint8_t random[] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11,
                                     0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
                                     0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e,
                                     0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};

    return size >= 6 + sizeof random && message[0] == SSL3_MT_SERVER_HELLO &&
           memcmp(message + 6, random, sizeof random) == 0;
}

/* A message in a session that is carried. */
static void on_late_message(struct handshake *handshake, bool written, uint8_t type)
{
    if (type == SSL3_MT_KEY_UPDATE)
        handshake_key_updated(handshake, written ? &handshake->write : &handshake->read);
    if (written)
        return;
    handshake->carried.key_updates += type == SSL3_MT_KEY_UPDATE;
    handshake->carried.finished |= type == SSL3_MT_FINISHED;
    if (type == SSL3_MT_CLIENT_HELLO)
        handshake_carry_hello(handshake);
}

static void on_message(int written, int version, int type, const void *data, size_t size, SSL *ssl,
                       void *argument)
{
    struct handshake *handshake = handshake_of(ssl);
    const uint8_t *bytes = data;

    (void)version, (void)argument;
    if (handshake == NULL)
        return;
    if (type == SSL3_RT_HEADER && size == RECORD_HEADER_SIZE)
        on_record(handshake, written != 0, bytes);
    else if (type == SSL3_RT_HANDSHAKE && is_hello_retry(bytes, size))
        handshake->hello_retry = true;
    else if (type == SSL3_RT_HANDSHAKE && handshake->carried.in_use && size != 0)
        on_late_message(handshake, written != 0, bytes[0]);
    else if (type == SSL3_RT_ALERT && size == 2 && written != 0)
        handshake->failure.alert_sent = bytes[1];
    else if (type == SSL3_RT_ALERT && size == 2)
        handshake->failure.alert_received = bytes[1];
}

void context_capture(SSL_CTX *context)
{
    SSL_CTX_set_msg_callback(context, on_message);
}

/* ---- bytes ---- */

/* Makes the next complete record readable. What cannot be a record is passed on as a whole, to be
 * refused at once instead of being waited for. */
static bool record_next(struct handshake *handshake)
{
    const uint8_t *input = handshake->input;

    if (handshake->input_size < RECORD_HEADER_SIZE)
        return false;
    size_t size = RECORD_HEADER_SIZE + ((size_t)input[3] << 8 | input[4]);
    handshake->garbage = input[0] < RECORD_CHANGE_CIPHER_SPEC ||
                         input[0] > RECORD_APPLICATION_DATA || input[1] != 3 ||
                         size > RECORD_WIRE_MAX_TLS12;
    if (handshake->garbage)
        size = handshake->input_size;
    if (size > handshake->input_size)
        return false;
    if (handshake->carried.in_use && !handshake->garbage &&
        handshake_carry_stops(handshake, input, size))
        return false;
    handshake->record = input;
    handshake->record_size = size;
    handshake->input += size;
    handshake->input_size -= size;
    handshake->last_record_size = size <= LAST_RECORD_MAX ? size : 0;
    memcpy(handshake->last_record, input, handshake->last_record_size);
    return true;
}

static int bio_read(BIO *bio, char *output, int size)
{
    struct handshake *handshake = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (size <= 0)
        return 0;
    if (handshake->record_size == 0 && !record_next(handshake)) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t taken = (size_t)size < handshake->record_size ? (size_t)size : handshake->record_size;
    memcpy(output, handshake->record, taken);
    handshake->record += taken;
    handshake->record_size -= taken;
    return (int)taken;
}

/* OpenSSL writes whole records. Which it wrote last matters for TLS 1.2 AES-GCM (RFC 5288 §3). */
static void note_nonce(struct handshake *handshake, const uint8_t *records, size_t size)
{
    uint64_t nonce = 0;

    while (size >= RECORD_HEADER_SIZE + sizeof nonce) {
        size_t record = RECORD_HEADER_SIZE + ((size_t)records[3] << 8 | records[4]);
        nonce = 0;
        for (unsigned i = 0; i < sizeof nonce; i++)
            nonce = nonce << 8 | records[RECORD_HEADER_SIZE + i];
        if (record >= size)
            break;
        records += record;
        size -= record;
    }
    handshake->write_nonce = nonce;
}

static int bio_write(BIO *bio, const char *input, int size)
{
    struct handshake *handshake = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (handshake->output.data == NULL)
        ignore(buffer_reserve(&handshake->output, OUTPUT_ROOM) != NULL);
    if (size <= 0 || !buffer_append(&handshake->output, input, (size_t)size))
        return -1;
    if (handshake->carried.in_use)
        note_nonce(handshake, (const uint8_t *)input, (size_t)size);
    return size;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

BIO *handshake_bio_new(struct handshake *handshake)
{
    static BIO_METHOD *method;

    if (method == NULL) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "handshake");
        if (method == NULL || BIO_meth_set_read(method, bio_read) != 1 ||
            BIO_meth_set_write(method, bio_write) != 1 ||
            BIO_meth_set_ctrl(method, bio_control) != 1) {
            BIO_meth_free(method);
            method = NULL;
            return NULL;
        }
    }
    BIO *bio = BIO_new(method);
    if (bio != NULL) {
        buffer_init(&handshake->output, OUTPUT_MAX);
        BIO_set_data(bio, handshake);
        BIO_set_init(bio, 1);
    }
    return bio;
}
