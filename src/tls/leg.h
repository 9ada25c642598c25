/* One TLS leg of a session after its handshake: application data, alerts, KeyUpdate and close, on
 * top of tls/record.h.
 *
 * All state is plain values in two structs of the session's slot: `struct leg` (counters and flags;
 * part of the hot part that is committed in two copies) and `struct leg_keys` (secrets, in two
 * banks: a new key is written into bank 1, beside the old one, and becomes valid by the commit that
 * sets the leg's bank bit). No sockets: bytes in, bytes out.
 *
 * The caller: (1) gives what it read to leg_open() and forwards the plaintext; (2) before sealing
 * anything calls leg_owes() and, if so, leg_seal_owed() first (KeyUpdate answers, alerts); (3)
 * seals with leg_seal(). After each of these it commits the changed `struct leg`, brings keys that
 * changed home with leg_settle() and a second commit, then does the I/O. */
#pragma once

#include "tls/key_limits.h"
#include "tls/record.h"

/* Alert descriptions (RFC 9846 §6). */
enum alert {
    ALERT_CLOSE_NOTIFY = 0,
    ALERT_UNEXPECTED_MESSAGE = 10,
    ALERT_BAD_RECORD_MAC = 20,
    ALERT_RECORD_OVERFLOW = 22,
    ALERT_HANDSHAKE_FAILURE = 40,
    ALERT_CERTIFICATE_REVOKED = 44,
    ALERT_CERTIFICATE_EXPIRED = 45,
    ALERT_ILLEGAL_PARAMETER = 47,
    ALERT_UNKNOWN_CA = 48,
    ALERT_DECODE_ERROR = 50,
    ALERT_PROTOCOL_VERSION = 70,
    ALERT_INTERNAL_ERROR = 80,
    ALERT_USER_CANCELED = 90,
    ALERT_NO_RENEGOTIATION = 100,
    ALERT_UNRECOGNIZED_NAME = 112,
    ALERT_CERTIFICATE_REQUIRED = 116,
    ALERT_NONE = 255
};
/* "bad_record_mac"; "alert_123" for unknown ones (static storage). */
const char *alert_name(unsigned alert);

/* The peer's KeyUpdates: so many at once, and from then on. */
#define LEG_UPDATE_BURST  4096
#define LEG_UPDATES_PER_S 10

struct leg {
    uint64_t read_sequence, write_sequence;
    uint64_t write_nonce; /* TLS 1.2 AES-GCM: explicit nonce of the next record */
    /* What each key was used for, in blocks as key_blocks() counts them. Records are the sequence
     * numbers, which begin anew with each key. (The few records that the handshake sealed under the
     * key are in the sequence number only.) */
    uint64_t read_blocks, write_blocks;
    uint32_t read_epoch, write_epoch; /* key changes so far */
    uint32_t write_since; /* when our key came into use: tenths of a second, CLOCK_MONOTONIC */
    uint16_t suite;       /* IANA id; 0: a plain leg, no TLS (leg_* functions are not called) */
    uint16_t version;
    uint16_t fragment_max; /* our records carry at most this much plaintext (max_fragment_length) */
    uint8_t read_bank : 1; /* in which of the two banks the valid key is */
    uint8_t write_bank : 1;
    uint8_t is_client : 1;      /* we are the client of this leg (TLS upstream) */
    uint8_t close_received : 1; /* close_notify came */
    uint8_t close_sent : 1;     /* close_notify or a fatal alert was sealed: nothing may follow */
    uint8_t update_owed : 1;  /* the peer asked for a KeyUpdate: answer before the next application
                                 data */
    uint8_t update_asked : 1; /* we asked (update_requested); at most one outstanding */
    uint8_t refuse_renegotiation : 1; /* TLS 1.2: a no_renegotiation warning is owed */
    uint8_t update_request : 1;  /* the owed KeyUpdate is our own and asks for the peer's, too */
    uint8_t renewal_wanted : 1;  /* an operator wants another key: with the next data */
    uint8_t renewal_request : 1; /* … and one of the peer */
    uint8_t limit_announced : 1; /* the end of a key that cannot be renewed was told */
    uint8_t alert_owed;   /* ALERT_NONE, or an alert to seal before anything else; fatal unless
                             close_notify */
    uint8_t partial_size; /* bytes of a fragmented post-handshake message kept in `partial` */
    uint8_t partial[5];
    uint8_t warnings;         /* consecutive warning alerts */
    uint8_t renegotiations;   /* consecutive TLS 1.2 renegotiation attempts */
    uint16_t empty_records;   /* consecutive */
    uint16_t update_tokens;   /* inbound KeyUpdate bucket, of LEG_UPDATE_BURST */
    uint16_t update_refilled; /* second of the last refill, modulo 2^16 */
    uint32_t skip; /* bytes of a post-handshake handshake message (NewSessionTicket on a client leg)
                      still to skip */
};

_Static_assert(sizeof(struct leg) <= 80, "two copies lie in each session slot");

struct leg_keys {
    struct record_key read, write;
};

/* Where the banks are. Bank 1 holds something between a key change and leg_settle() only, so legs
 * that never change keys at the same time can share it. */
struct leg_banks {
    struct leg_keys *of[2];
};
/* Of a leg that has both to itself. */
static inline struct leg_banks leg_own_banks(struct leg_keys keys[2])
{
    return (struct leg_banks){{&keys[0], &keys[1]}};
}

/* Prepares a fresh leg: everything zero but the given values, alert_owed NONE, bucket full. */
void leg_init(struct leg *leg, const struct suite *suite, bool is_client, size_t fragment_max);
/* Its keys come into use. All times here are CLOCK_MONOTONIC in milliseconds. */
void leg_start(struct leg *leg, uint64_t now_ms);

enum leg_event {
    LEG_MORE,   /* all complete records were opened; what is left is a partial record */
    LEG_FULL,   /* output has no room for the next record; call again with more */
    LEG_AGAIN,  /* a KeyUpdate changed the read key: commit and settle, then call again with the
                 * rest of the input (the next KeyUpdate overwrites the other bank) */
    LEG_CLOSED, /* close_notify: no more data will come; later bytes are ignored */
    LEG_FATAL   /* the session must end: `alert` is to be sent and already marked as by leg_alert()
                 * (ALERT_NONE: the peer   sent a fatal one itself) */
};

/* Why a leg failed, for events: X(symbol, text). */
#define LEG_REASON_LIST(X)                                                                         \
    X(LEG_REASON_NONE, "none")                                                                     \
    X(LEG_REASON_BAD_TAG, "record failed its tag")                                                 \
    X(LEG_REASON_RECORD_TOO_LARGE, "record too large")                                             \
    X(LEG_REASON_BAD_HEADER, "not a TLS record")                                                   \
    X(LEG_REASON_BAD_TYPE, "record of a wrong type")                                               \
    X(LEG_REASON_EMPTY_FLOOD, "flood of empty records")                                            \
    X(LEG_REASON_ALERT_FLOOD, "flood of warning alerts")                                           \
    X(LEG_REASON_UPDATE_FLOOD, "flood of KeyUpdates")                                              \
    X(LEG_REASON_BAD_MESSAGE, "malformed or unexpected handshake message")                         \
    X(LEG_REASON_PEER_ALERT, "the peer sent a fatal alert")                                        \
    X(LEG_REASON_INTERNAL, "internal error")

enum leg_reason {
#define X(symbol, text) symbol,
    LEG_REASON_LIST(X)
#undef X
};
const char *leg_reason_text(enum leg_reason reason);

struct leg_opened {
    size_t consumed;         /* bytes of input */
    size_t produced;         /* bytes of plaintext in output */
    uint32_t key_updates;    /* received in this call */
    bool update_answered;    /* … and the peer's key that we had asked for is among them */
    uint32_t renegotiations; /* refused in this call (TLS 1.2 ClientHello or HelloRequest) */
    enum leg_reason reason;
    uint8_t alert;      /* LEG_FATAL: what to send */
    uint8_t peer_alert; /* an alert that the peer sent (ALERT_NONE: none) */
};

/* Opens as many records as `input` holds and `output_size` allows (each needs its ciphertext length
 * of room). Post-handshake messages are dealt with here: KeyUpdate switches the read bank and marks
 * an answer owed; user_canceled is tolerated; a TLS 1.2 renegotiation attempt makes a
 * no_renegotiation warning owed; NewSessionTickets on a client leg are skipped. `now_ms` is
 * for the bucket of KeyUpdates. Plaintext produced before a LEG_CLOSED or LEG_FATAL is valid and
 * belongs to the stream. The bank that is not valid is written when a KeyUpdate arrives. */
MUST_CHECK enum leg_event leg_open(struct record_crypto *crypto, struct leg *leg,
                                   struct leg_banks keys, const uint8_t *input, size_t size,
                                   uint8_t *output, size_t output_size, uint64_t now_ms,
                                   struct leg_opened *ret_opened);

/* Does this leg have something to send by itself (KeyUpdate answer, warning, alert)? */
bool leg_owes(const struct leg *leg);

#define LEG_OWED_MAX 128 /* room for all owed records */
/* Seals what is owed; one KeyUpdate answers any number of requests. Returns bytes written (0:
 * nothing owed or failure, see leg->close_sent). */
size_t leg_seal_owed(struct record_crypto *crypto, struct leg *leg, struct leg_banks keys,
                     uint64_t now_ms, uint8_t *output);

/* A key change was committed and its key is still in bank 1. */
static inline bool leg_unsettled(const struct leg *leg)
{
    return leg->read_bank || leg->write_bank;
}
/* Brings the valid keys to bank 0, where the old ones end. Bank 1 is the caller's to wipe once the
 * leg is committed; until then all of this can be done again. */
void leg_settle(struct leg *leg, struct leg_banks keys);

/* Asks for our own KeyUpdate to go out: renews the write key, and the peer's too if `request`
 * (ignored while one is outstanding). TLS 1.3 only. Takes effect in the next leg_seal_owed(). Some
 * clients end a session in which keys change faster than they like (GnuTLS: 8 in a second, some
 * 1), so our key must be LEG_KEY_AGE_MIN_MS old, whatever made it. Returns false when it is not, or
 * when there is nothing to be renewed. */
#define LEG_KEY_AGE_MIN_MS 2000
bool leg_update_keys(struct leg *leg, bool request, uint64_t now_ms);

/* What the key that we seal with was used for so far. */
struct key_usage leg_write_usage(const struct leg *leg);
/* The same of the peer's key; its age is not known. */
struct key_usage leg_read_usage(const struct leg *leg);

/* Marks an alert to be sent (close_notify or fatal). The first one wins; ALERT_NONE does nothing.
 */
void leg_alert(struct leg *leg, enum alert alert);

/* Seals application data; nothing may be owed. Returns bytes written, 0 on failure. */
MUST_CHECK size_t leg_seal(struct record_crypto *crypto, struct leg *leg, struct leg_banks keys,
                           const uint8_t *input, size_t size, uint8_t *output);
/* Largest output of leg_seal for `size` bytes. */
size_t leg_sealed_size(const struct leg *leg, size_t size);
