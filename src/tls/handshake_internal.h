/* The inside of a handshake, shared by its four files: handshake.c (life cycle),
 * handshake_capture.c (what OpenSSL tells while it runs), handshake_detach.c (taking the session
 * over), handshake_stream.c (plain use without detaching). */
#pragma once

#include <openssl/ssl.h>

#include "base/buffer.h"
#include "tls/context.h"
#include "tls/handshake.h"

/* Under which keys a direction stands. TLS 1.2 goes from plain to application. */
enum epoch { EPOCH_PLAIN, EPOCH_HANDSHAKE, EPOCH_APPLICATION };

/* One direction of the connection as the callbacks saw it. */
struct direction {
    enum epoch epoch;
    uint32_t records;           /* since the last change of keys */
    uint32_t handshake_records; /* TLS 1.3: how many were under the handshake keys */
    uint8_t secret_size;
    uint8_t handshake_secret[SUITE_SECRET_MAX]; /* TLS 1.3 */
    uint8_t secret[SUITE_SECRET_MAX];           /* TLS 1.3: application_traffic_secret_0 */
};

/* The peer's last record is kept when it is no larger than this: it holds a TLS 1.2 Finished. */
#define LAST_RECORD_MAX 64

struct handshake {
    SSL *ssl;
    struct tls_server *server; /* one of the two */
    struct tls_client *client;
    enum handshake_status status;

    /* What OpenSSL may read now: `record` is what is left of the record that it has begun, `input`
     * the bytes behind it. */
    const uint8_t *record, *input;
    size_t record_size, input_size;
    bool garbage; /* `record` is no TLS record: OpenSSL is to refuse it */

    struct buffer
        output; /* from the last flight in plaintext on; kept for the wire check even when sent */
    size_t output_sent;
    struct buffer later; /* plain use: records that came after the handshake */

    struct direction read, write;
    uint8_t last_record[LAST_RECORD_MAX]; /* the peer's */
    size_t last_record_size;              /* 0: it was larger */

    struct resumption_offer offer; /* server */
    enum resumption_miss miss;     /* why what was offered last was not taken */
    bool hello_retry;
    bool streaming; /* used plainly: no detaching any more */
    struct handshake_facts facts;
    struct handshake_failure failure;
    uint8_t alpn[255];
    char peer_subject[256];
};

static inline bool handshake_is_client(const struct handshake *handshake)
{
    return handshake->client != NULL;
}

/* The observer for key_schedule.h; `context` is the handshake. */
void handshake_on_secret(void *context, const char *label, size_t label_size, const uint8_t *secret,
                         size_t secret_size);

/* A BIO that reads from and writes to this handshake; NULL: out of memory. */
BIO *handshake_bio_new(struct handshake *handshake);

/* Fills `facts` while the SSL object still lives. */
void handshake_facts_collect(struct handshake *handshake);

/* Wipes the captured secrets and frees the SSL object, silently towards the peer. */
void handshake_ssl_free(struct handshake *handshake);

/* Later bytes of a finished handshake that is used plainly. Returns how many were taken. */
size_t handshake_stream_feed(struct handshake *handshake, const uint8_t *input, size_t size);
