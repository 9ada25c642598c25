/* The inside of a handshake, shared by its files: handshake.c (life cycle), handshake_capture.c
 * (what OpenSSL tells while it runs), handshake_detach.c (taking the session over),
 * handshake_stream.c (plain use without detaching), handshake_carry.c (renegotiation in it),
 * handshake_authenticate.c (asking the client who it is), handshake_alone.c (taking it over in
 * mid-life). */
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
    uint64_t records;           /* since the last change of keys */
    uint32_t handshake_records; /* TLS 1.3: how many were under the handshake keys */
    uint8_t secret_size;
    uint8_t handshake_secret[SUITE_SECRET_MAX]; /* TLS 1.3 */
    uint8_t secret[SUITE_SECRET_MAX];           /* TLS 1.3: application_traffic_secret_0 */
};

/* The peer's last record is kept when it is no larger than this: it holds a TLS 1.2 Finished. */
#define LAST_RECORD_MAX 64

/* A session that OpenSSL goes on carrying. */
struct carried {
    bool in_use;
    struct handshake_carrying how;
    size_t hello_size; /* bytes of handshake messages since the last whole ClientHello */
    enum handshake_renegotiation renegotiation;
    struct handshake_renegotiations counts;
    uint32_t key_updates; /* of the peer */
    enum handshake_authentication authentication;
    bool finished; /* TLS 1.3: a Finished has come in answer */
};

/* … and one that was taken from it in mid-life. */
struct alone {
    struct leg leg;
    struct leg_keys *keys; /* both banks, in secret memory; NULL: OpenSSL has the session */
    bool failed;
};

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
    uint64_t write_nonce;          /* TLS 1.2 AES-GCM: explicit nonce of the last record written */
    struct carried carried;
    struct alone alone;

    bool hello_retry;
    bool streaming; /* used plainly: no detaching any more */
    struct handshake_facts facts;
    struct handshake_failure failure;
    uint8_t alpn[255];
    char peer_subject[256];
    X509 *peer; /* server side: the client's certificate, kept beyond the SSL object; NULL: none */
    struct client_identity client_identity;
    char client_common_name[256];
    bool post_handshake_auth;       /* offered; looked for in contexts that ask later */
    struct client_verify *asked_by; /* what the client is judged by that was asked later; NULL: as
                                       the context says */
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
/* The part about the peer, which may have shown a certificate by now. */
void handshake_facts_peer(struct handshake *handshake);

/* Fills `client_common_name` (client_names.c). */
void handshake_common_name_collect(struct handshake *handshake, const X509 *peer);

/* Wipes the captured secrets and frees the SSL object, silently towards the peer. */
void handshake_ssl_free(struct handshake *handshake);

/* OpenSSL has failed: where, and why. */
void handshake_failure_collect(struct handshake *handshake);

/* Later bytes of a finished handshake that is used plainly. Returns how many were taken. */
size_t handshake_stream_feed(struct handshake *handshake, const uint8_t *input, size_t size);

/* ---- handshake_carry.c ---- */

/* A ClientHello has come after the handshake, and OpenSSL is about to look at it. */
void handshake_carry_hello(struct handshake *handshake);
/* The next record of the peer: is it one that OpenSSL must not see? */
bool handshake_carry_stops(struct handshake *handshake, const uint8_t *record, size_t size);
/* OpenSSL has read on: a renegotiation may be over, or the answer to handshake_authenticate(). */
void handshake_carry_settle(struct handshake *handshake);

/* ---- handshake_authenticate.c ---- */

/* A handshake that was to bring a certificate is over. */
void handshake_authenticate_settle(struct handshake *handshake);

/* ---- handshake_detach.c ---- */

/* A KeyUpdate of TLS 1.3 has passed: the next secret is in force. */
void handshake_key_updated(struct handshake *handshake, struct direction *direction);
/* Both directions' keys of a session as it stands. */
MUST_CHECK bool handshake_keys_tls13(const struct handshake *handshake, const struct suite *suite,
                                     struct record_key *ret_read, struct record_key *ret_write);
MUST_CHECK bool handshake_keys_tls12(const struct handshake *handshake, const struct suite *suite,
                                     struct record_key *ret_read, struct record_key *ret_write);

/* ---- handshake_alone.c: the same as in handshake.h, for such a session ---- */

long handshake_alone_read(struct handshake *handshake, uint8_t *output, size_t size);
long handshake_alone_write(struct handshake *handshake, const uint8_t *input, size_t size);
void handshake_alone_free(struct handshake *handshake);
