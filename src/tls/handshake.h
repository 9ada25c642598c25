/* Server and client TLS handshakes by OpenSSL, and the detaching of the finished session from it.
 *
 * Bytes in, bytes out; no sockets. OpenSSL is fed one record at a time and asked to hold nothing
 * back, so that at the end every further byte is still in the caller's hands. Detaching takes the
 * traffic secrets (seen by the key schedule of key_schedule.h), counts records (message callback),
 * and then proves the result on the wire: the last flight that we sent is decrypted with the taken
 * keys; a mismatch ends the connection (facts in doc/internals.md). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tls/certificate.h"
#include "tls/leg.h"
#include "tls/resumption.h"
#include "tls/session_cache.h"
#include "tls/trust_set.h"

/* ---- contexts ---- */

struct ticket_ring;

/* Whether clients are asked for a certificate; one that is shown must always be good. */
enum tls_client_mode {
    TLS_CLIENT_NONE,
    TLS_CLIENT_OPTIONAL,
    TLS_CLIENT_REQUIRED,
    TLS_CLIENT_LATER /* not in the handshake; maybe later, by handshake_authenticate() */
};
#define TLS_CLIENT_MODES 4

/* What a listener asks of its handshakes; a plain value. */
struct tls_policy {
    uint16_t min_version, max_version; /* TLS_VERSION_* */
    const char *groups;                /* OpenSSL list */
    const uint8_t *alpn;               /* wire format, in order of our preference; size 0: none */
    size_t alpn_size;
    uint32_t tickets; /* TLS 1.3 tickets per handshake; 0: none (TLS 1.2: whether at all) */
    uint32_t ticket_lifetime_s;
    int64_t lineage_s; /* from the last use of certificates on, this long tickets resume, however
                          often they are renewed; 0: RESUMPTION_LINEAGE_MAX_S */
    struct session_cache *session_cache; /* for clients without tickets; NULL: none; unused when
                                            `tickets` is 0 */
    const uint64_t *resumption_epoch;    /* in shared memory, read at each handshake; NULL: 0 */
    uint8_t trust_digest[RESUMPTION_TRUST_SIZE]; /* as in the scope below */
    uint8_t session_id_context[32];              /* resumption_context() */
    const struct ticket_ring *ticket_ring; /* the same in all handshakers; NULL: keys of its own.
                                              Outlives the servers made with it */
    bool cbc;                       /* the TLS 1.2 CBC suites, too, which only OpenSSL can carry */
    struct trust_set *client_trust; /* borrowed; NULL: there is nothing to judge clients by, which
                                       LATER can begin with */
    enum tls_client_mode client_mode;
    uint32_t client_verify_depth; /* intermediates, up to CLIENT_DEPTH_MAX */
    bool refuse_stale_lists;      /* a client whose revocation list is over is refused */
};

/* Everything needed for handshakes under one policy with one certificate name (its ECDSA and RSA
 * pairs side by side). Immutable, reference-counted: handshakes under way keep the one they began
 * with. */
struct tls_server;
MUST_CHECK int tls_server_new(struct tls_server **ret_server, const struct tls_policy *policy,
                              struct keypair *const pairs[KEY_TYPE_COUNT], struct error *error);
struct tls_server *tls_server_ref(struct tls_server *server);
void tls_server_unref(struct tls_server *server);
/* What it judges clients by; NULL: nothing. */
const struct trust_set *tls_server_trust(const struct tls_server *server);

/* Trust and identity for connecting as a client. */
struct tls_client_policy {
    const char *trust_pem; /* NULL: the system's store */
    bool verify;
    struct keypair *identity; /* client certificate, or NULL */
    const uint8_t *alpn;
    size_t alpn_size;
    int only_key_type; /* -1: any; else enum key_type: offer only signature algorithms of this type
                          (self-dial) */
    bool detachable; /* offer only suites that leg.h can carry, and no tickets that would matter */
};
struct tls_client;
MUST_CHECK int tls_client_new(struct tls_client **ret_client,
                              const struct tls_client_policy *policy, struct error *error);
struct tls_client *tls_client_ref(struct tls_client *client);
void tls_client_unref(struct tls_client *client);

/* The key exchange groups to offer when nothing else is said: X25519MLKEM768 first when the library
 * has it. */
const char *tls_default_groups(void);

/* One-time preparation of the process: OpenSSL's allocator, fetches, no configuration file, no
 * atexit. Call first in main of every process that uses this folder. */
void tls_process_init(void);

/* ---- handshakes ---- */

enum handshake_status {
    HANDSHAKE_WANT_READ, /* send the output, then feed more */
    HANDSHAKE_DONE,      /* send the output, then detach */
    HANDSHAKE_FAILED     /* send the output (an alert), then close; see handshake_failure() */
};

struct handshake;
struct handshake *
handshake_new_server(struct tls_server *server); /* takes its own reference; NULL: out of memory */
/* What the client offers to resume, before anything is fed. Without it the server name counts as ""
 * and no miss has a reason. */
void handshake_expect(struct handshake *handshake, const struct resumption_offer *offer);
/* `server_name`: SNI and the name to verify; NULL: none. Produces output at once: call
 * handshake_feed with size 0 first. */
struct handshake *handshake_new_client(struct tls_client *client, const char *server_name);
void handshake_free(struct handshake *handshake); /* accepts NULL */

/* Feeds complete records from `input`; *ret_consumed tells how many bytes were taken; the rest (a
 * partial record, or data after the handshake) stays with the caller. */
MUST_CHECK enum handshake_status handshake_feed(struct handshake *handshake, const uint8_t *input,
                                                size_t size, size_t *ret_consumed);
/* Bytes to send. Valid until the next call; handshake_sent() drops them. */
size_t handshake_output(struct handshake *handshake, const uint8_t **ret_data);
void handshake_sent(struct handshake *handshake, size_t size);

/* What was negotiated, for events, slots and the PROXY header. Text is static or lives as long as
 * the handshake. */
struct handshake_facts {
    uint16_t version, suite;
    const char
        *suite_name; /* OpenSSL's: what PROXY headers carry; struct suite has the IANA name */
    const char *version_name, *group, *signature_algorithm;
    const uint8_t *alpn;
    size_t alpn_size;
    bool resumed, hello_retry;
    bool resumption_offered;   /* server: the client has offered a ticket or a session id */
    enum resumption_miss miss; /* why it was not resumed, though offered */
    enum key_type key_type;    /* of the certificate used */
    uint16_t fragment_max;
    const char *peer_subject;     /* client certificate (server side) or server certificate (client
                                     side); NULL: none */
    uint8_t peer_fingerprint[32]; /* of it; zero: none */
    const struct client_identity *client_identity; /* server side: the client, verified; NULL:
                                                      it has shown no certificate */
    uint32_t records_read, records_written;        /* after the keys changed */
};
void handshake_facts(const struct handshake *handshake, struct handshake_facts *ret_facts);

/* Server side, also after detaching: what the client's certificate says of him, as it is written
 * there: its subject (RFC 2253) and its alternative names, "DNS:a.example, URI:spiffe://x/y, …",
 * printable, with commas and backslashes inside of names escaped. Returns the length, 0: none, or
 * it does not fit. */
size_t handshake_client_subject(const struct handshake *handshake, char *ret_text, size_t size);
size_t handshake_client_names(const struct handshake *handshake, char *ret_text, size_t size);
/* Its common name in UTF-8, free of control characters; NULL: none such. */
const char *handshake_client_common_name(const struct handshake *handshake);

struct handshake_failure {
    const char
        *stage; /* where it failed: "client_hello", "certificate_verify", "finished", … (static) */
    uint8_t alert_sent, alert_received; /* ALERT_NONE: none */
    char reason[160];                   /* OpenSSL's reason, printable */
};
void handshake_failure(const struct handshake *handshake, struct handshake_failure *ret_failure);

/* After HANDSHAKE_DONE with all output taken: fills leg and keys for the record layer and frees
 * OpenSSL's object inside. On failure the reason says which check did not hold, and nothing was
 * changed: OpenSSL may carry the session (below), or the connection ends. */
MUST_CHECK int handshake_detach(struct handshake *handshake, struct record_crypto *crypto,
                                struct leg *ret_leg, struct leg_keys *ret_keys,
                                struct error *error);
/* The peer's certificate chain as DER SHA-256 of the leaf is in the facts; this gives the leaf's
 * notAfter etc. for self-dial: fills 32 bytes; false when there was none. */
bool handshake_peer_fingerprint(const struct handshake *handshake, uint8_t ret_fingerprint[32]);

/* ---- plain use as a blocking-free client stream (self-dial, synthetic clients, checks): no
 * detaching ---- */
/* After HANDSHAKE_DONE: application data through OpenSSL itself. `handshake_feed` accepts later
 * bytes too. Return bytes, 0: nothing now, -1: the session ended (close_notify or error). */
long handshake_read(struct handshake *handshake, uint8_t *output, size_t size);
long handshake_write(struct handshake *handshake, const uint8_t *input, size_t size);
void handshake_shutdown(struct handshake *handshake); /* close_notify into the output */
/* handshake_read() said -1 because of the peer's close_notify. */
bool handshake_close_received(const struct handshake *handshake);

/* ---- carrying: a server's session that stays with OpenSSL, and TLS 1.2 renegotiation in it ----
 *
 * Who carries a session holds its own writes back from handshake_renegotiate() on, and whenever
 * handshake_renegotiation() says RUNNING: OpenSSL takes no application data in the middle of a
 * handshake, nor do most clients. */

struct handshake_carrying {
    struct record_crypto *crypto; /* for handshake_go_alone() */
    size_t client_hello_max;      /* bytes of a later ClientHello */
    /* A client begins a renegotiation: may it? A refused one is answered with the warning
     * no_renegotiation. NULL: neither side ever does. */
    bool (*allows)(void *context);
    void *context;
};
/* After HANDSHAKE_DONE. A later handshake will be a full one and choose no weaker suite. */
void handshake_carry(struct handshake *handshake, const struct handshake_carrying *how);

/* False as long as a message of the client is half there, too, of which nothing is known yet. */
bool handshake_takes_data(const struct handshake *handshake);

enum handshake_renegotiation {
    RENEGOTIATION_NONE,
    RENEGOTIATION_ASKED,   /* our HelloRequest is out; the client has not begun */
    RENEGOTIATION_RUNNING, /* the client has begun, allowed or not: that is seen when all of its
                              ClientHello is there */
    /* Nothing more is given to OpenSSL: end the session, or take it over by handshake_go_alone().
     */
    RENEGOTIATION_DECLINED,  /* the client answered by the warning no_renegotiation */
    RENEGOTIATION_TOO_LARGE, /* its ClientHello exceeds client_hello_max */
    RENEGOTIATION_CHANGED    /* done, with another client certificate or application protocol */
};
enum handshake_renegotiation handshake_renegotiation(const struct handshake *handshake);
struct handshake_renegotiations {
    uint32_t done, refused;
};
void handshake_renegotiations(const struct handshake *handshake,
                              struct handshake_renegotiations *ret_counts);

/* TLS 1.2, and the client binds a renegotiation to the session (RFC 5746). */
bool handshake_can_renegotiate(const struct handshake *handshake);
/* The client has proved a certificate, which was verified. */
bool handshake_authenticated(const struct handshake *handshake);
/* HelloRequest into the output. False when OpenSSL refuses. */
MUST_CHECK bool handshake_renegotiate(struct handshake *handshake);

/* TLS 1.3: a KeyUpdate goes out before the next data. False when OpenSSL refuses. */
MUST_CHECK bool handshake_update_key(struct handshake *handshake);

/* TLS 1.3: how many KeyUpdates have come; OpenSSL takes any number. */
uint32_t handshake_key_updates(const struct handshake *handshake);

/* Takes a carried session from OpenSSL in mid-life, between two records: from here on
 * handshake_read() and its like go by leg.h. What no library function can do is possible then: to
 * go on with a client that declined, and to send a fatal alert. Renegotiation is over for this
 * session. Fails when the suite is not one of ours or a handshake of TLS 1.2 is under way. In the
 * middle of a client's answer to handshake_authenticate() it is only good for an alert. */
MUST_CHECK bool handshake_go_alone(struct handshake *handshake);
/* A fatal alert into the output; only after handshake_go_alone(). */
void handshake_alert(struct handshake *handshake, enum alert alert);

/* ---- asking the client of a carried session for its certificate ----
 *
 * TLS 1.3: post-handshake authentication (RFC 9846 §4.7.2), which the client must have offered;
 * data goes on both ways until its answer begins. TLS 1.2: a renegotiation of ours, with all that
 * is said above of these. A certificate that is not good ends the session with the alert that says
 * why. */

struct handshake_asking {
    struct trust_set *trust; /* borrowed */
    uint32_t verify_depth;
    bool refuse_stale_lists;
    bool required; /* a client that sends none gets an alert, too */
};
/* Its context judges clients, nobody is known yet, and the client could be asked. */
bool handshake_can_authenticate(const struct handshake *handshake);
/* The request into the output. False when OpenSSL refuses, or the client is asked already. */
MUST_CHECK bool handshake_authenticate(struct handshake *handshake,
                                       const struct handshake_asking *asking);

enum handshake_authentication {
    AUTHENTICATION_NONE,
    AUTHENTICATION_ASKED,
    AUTHENTICATION_RUNNING, /* the client's answer has begun: nothing can be written */
    AUTHENTICATION_DONE,    /* the facts have the client's identity */
    AUTHENTICATION_EMPTY    /* it sent no certificate */
};
/* DONE and EMPTY are said once. */
enum handshake_authentication handshake_authentication(struct handshake *handshake);
