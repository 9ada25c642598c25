/* What happens on a leg after its handshake. Every record is opened into the caller's output and,
 * unless it is application data, read there and left behind: only application data counts as
 * produced. */
#include "tls/leg.h"

#include <stdio.h>
#include <string.h>

#define EMPTY_RECORDS_MAX   32
#define WARNINGS_MAX        4
#define RENEGOTIATIONS_MAX  8
#define MESSAGE_HEADER_SIZE 4
#define MESSAGE_MAX         65536 /* of a message we skip */
#define ALERT_SIZE          2
#define NS_PER_TENTH        100000000ull

enum { ALERT_LEVEL_WARNING = 1, ALERT_LEVEL_FATAL = 2 };
enum { HELLO_REQUEST = 0, CLIENT_HELLO = 1, NEW_SESSION_TICKET = 4, KEY_UPDATE = 24 };
enum { UPDATE_NOT_REQUESTED = 0, UPDATE_REQUESTED = 1 };

/* What leg_open() works on; handlers return false when the record loop must stop, with `event` set.
 */
struct opening {
    struct leg *leg;
    struct leg_banks keys;
    const struct suite *suite;
    uint64_t now_ms;
    enum leg_event event;
    struct leg_opened opened;
};

const char *alert_name(unsigned alert)
{
    static const char *const names[] = {
        [0] = "close_notify",
        [10] = "unexpected_message",
        [20] = "bad_record_mac",
        [21] = "decryption_failed",
        [22] = "record_overflow",
        [30] = "decompression_failure",
        [40] = "handshake_failure",
        [41] = "no_certificate",
        [42] = "bad_certificate",
        [43] = "unsupported_certificate",
        [44] = "certificate_revoked",
        [45] = "certificate_expired",
        [46] = "certificate_unknown",
        [47] = "illegal_parameter",
        [48] = "unknown_ca",
        [49] = "access_denied",
        [50] = "decode_error",
        [51] = "decrypt_error",
        [70] = "protocol_version",
        [71] = "insufficient_security",
        [80] = "internal_error",
        [86] = "inappropriate_fallback",
        [90] = "user_canceled",
        [100] = "no_renegotiation",
        [109] = "missing_extension",
        [110] = "unsupported_extension",
        [111] = "certificate_unobtainable",
        [112] = "unrecognized_name",
        [113] = "bad_certificate_status_response",
        [115] = "unknown_psk_identity",
        [116] = "certificate_required",
        [120] = "no_application_protocol",
        [121] = "ech_required",
    };
    static char unknown[sizeof("alert_4294967295")];

    if (alert < sizeof(names) / sizeof(names[0]) && names[alert] != NULL) {
        return names[alert];
    }
    snprintf(unknown, sizeof(unknown), "alert_%u", alert);
    return unknown;
}

const char *leg_reason_text(enum leg_reason reason)
{
    static const char *const texts[] = {
#define X(symbol, text) [symbol] = (text),
        LEG_REASON_LIST(X)
#undef X
    };
    return (size_t)reason < sizeof(texts) / sizeof(texts[0]) ? texts[reason] : "unknown";
}

static bool is_tls13(const struct leg *leg)
{
    return leg->version == TLS_VERSION_1_3;
}

void leg_init(struct leg *leg, const struct suite *suite, bool is_client, size_t fragment_max)
{
    bool valid = fragment_max > 0 && fragment_max <= RECORD_PLAINTEXT_MAX;

    memset(leg, 0, sizeof(*leg));
    leg->suite = suite->id;
    leg->version = suite->version;
    leg->fragment_max = (uint16_t)(valid ? fragment_max : RECORD_PLAINTEXT_MAX);
    leg->is_client = is_client;
    leg->alert_owed = ALERT_NONE;
    leg->update_tokens = LEG_UPDATE_BURST;
}

/* Since when a key is in use is kept in tenths of a second: 32 bits last for 13 years. */
static uint32_t tenths(uint64_t now_ms)
{
    return (uint32_t)(now_ms / 100);
}

void leg_start(struct leg *leg, uint64_t now_ms)
{
    leg->write_since = tenths(now_ms);
}

/* ---- Opening ---- */

static bool fatal(struct opening *o, enum leg_reason reason, enum alert alert)
{
    o->event = LEG_FATAL;
    o->opened.reason = reason;
    o->opened.alert = (uint8_t)alert;
    leg_alert(o->leg, alert);
    return false;
}

static bool take_application_data(struct opening *o, size_t size)
{
    struct leg *leg = o->leg;

    if (size == 0) {
        return ++leg->empty_records <= EMPTY_RECORDS_MAX ||
               fatal(o, LEG_REASON_EMPTY_FLOOD, ALERT_UNEXPECTED_MESSAGE);
    }
    leg->empty_records = 0;
    leg->warnings = 0;
    leg->renegotiations = 0;
    o->opened.produced += size;
    return true;
}

/* RFC 9846 §6, RFC 5246 §7.2. Alerts are whole in one record (as in OpenSSL, for TLS 1.2 too). */
static bool take_alert(struct opening *o, const uint8_t *content, size_t size)
{
    struct leg *leg = o->leg;

    if (size != ALERT_SIZE) {
        return fatal(o, LEG_REASON_BAD_MESSAGE,
                     size == 0 ? ALERT_UNEXPECTED_MESSAGE : ALERT_DECODE_ERROR);
    }
    unsigned level = content[0], description = content[1];
    o->opened.peer_alert = (uint8_t)description;
    if (description == ALERT_CLOSE_NOTIFY) {
        leg->close_received = 1;
        o->event = LEG_CLOSED;
        return false;
    }
    if (!is_tls13(leg) && level != ALERT_LEVEL_WARNING && level != ALERT_LEVEL_FATAL) {
        return fatal(o, LEG_REASON_BAD_MESSAGE, ALERT_ILLEGAL_PARAMETER);
    }
    /* TLS 1.3 ignores the level: all but these two end the session. JDK clients send user_canceled
     * before close_notify. */
    if (is_tls13(leg) ? description != ALERT_USER_CANCELED : level == ALERT_LEVEL_FATAL) {
        return fatal(o, LEG_REASON_PEER_ALERT, ALERT_NONE);
    }
    return ++leg->warnings <= WARNINGS_MAX ||
           fatal(o, LEG_REASON_ALERT_FLOOD, ALERT_UNEXPECTED_MESSAGE);
}

/* A bucket, not a counter for life: clients that renew per record during a long download are legal.
 * The second is kept modulo 2^16; a session silent for longer than that merely gets fewer tokens
 * than it is due. */
static bool take_update_token(struct leg *leg, uint64_t now_ms)
{
    uint64_t now_s = now_ms / 1000;
    uint32_t elapsed = (uint16_t)(now_s - leg->update_refilled);
    uint32_t tokens = leg->update_tokens + elapsed * LEG_UPDATES_PER_S;

    leg->update_refilled = (uint16_t)now_s;
    leg->update_tokens = (uint16_t)(tokens < LEG_UPDATE_BURST ? tokens : LEG_UPDATE_BURST);
    if (leg->update_tokens == 0) {
        return false;
    }
    leg->update_tokens--;
    return true;
}

/* RFC 9846 §4.7.3. The caller has seen that the message ends its record (§5.1: messages do not span
 * key changes). */
static bool take_key_update(struct opening *o, unsigned request)
{
    struct leg *leg = o->leg;

    if (request != UPDATE_NOT_REQUESTED && request != UPDATE_REQUESTED) {
        return fatal(o, LEG_REASON_BAD_MESSAGE, ALERT_ILLEGAL_PARAMETER);
    }
    if (!take_update_token(leg, o->now_ms)) {
        return fatal(o, LEG_REASON_UPDATE_FLOOD, ALERT_UNEXPECTED_MESSAGE);
    }
    unsigned bank = leg->read_bank;
    if (!record_key_next(o->suite, &o->keys.of[bank]->read, &o->keys.of[bank ^ 1u]->read)) {
        return fatal(o, LEG_REASON_INTERNAL, ALERT_INTERNAL_ERROR);
    }
    leg->read_bank = (bank ^ 1u) & 1u;
    leg->read_sequence = 0;
    leg->read_blocks = 0;
    leg->read_epoch++;
    /* Whether this answers our request or crossed it, the peer's key is new: nothing is left to ask
     * for. */
    o->opened.update_answered |= leg->update_asked;
    leg->update_asked = 0;
    leg->update_request = 0;
    if (request == UPDATE_REQUESTED && !leg->close_sent) {
        leg->update_owed = 1;
    }
    o->opened.key_updates++;
    o->event = LEG_AGAIN;
    return false;
}

/* A skipped TLS 1.2 message has come in whole: it was a request to renegotiate. */
static bool refuse_renegotiation(struct opening *o)
{
    struct leg *leg = o->leg;

    o->opened.renegotiations++;
    if (++leg->renegotiations > RENEGOTIATIONS_MAX) {
        return fatal(o, LEG_REASON_ALERT_FLOOD, ALERT_UNEXPECTED_MESSAGE);
    }
    if (!leg->close_sent) {
        leg->refuse_renegotiation = 1;
    }
    return true;
}

/* The four bytes of a message's header are in `partial`: is it one of those that may come, and what
 * becomes of its body? */
static bool take_message_header(struct opening *o)
{
    struct leg *leg = o->leg;
    const uint8_t *header = leg->partial;
    uint32_t length = (uint32_t)header[1] << 16 | (uint32_t)header[2] << 8 | header[3];
    bool expected = is_tls13(leg) ? header[0] == KEY_UPDATE ||
                                        (leg->is_client && header[0] == NEW_SESSION_TICKET)
                                  : header[0] == (leg->is_client ? HELLO_REQUEST : CLIENT_HELLO);

    if (!expected) {
        return fatal(o, LEG_REASON_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
    }
    if (is_tls13(leg) && header[0] == KEY_UPDATE) {
        return length == 1 || fatal(o, LEG_REASON_BAD_MESSAGE, ALERT_DECODE_ERROR);
    }
    if (header[0] == HELLO_REQUEST ? length != 0 : length == 0 || length > MESSAGE_MAX) {
        return fatal(o, LEG_REASON_BAD_MESSAGE, ALERT_DECODE_ERROR);
    }
    leg->skip = length;
    leg->partial_size = 0;
    return length != 0 || refuse_renegotiation(o);
}

static bool skip_message(struct opening *o, size_t size)
{
    struct leg *leg = o->leg;

    leg->skip -= (uint32_t)size;
    return leg->skip != 0 || is_tls13(leg) || refuse_renegotiation(o);
}

/* Post-handshake messages, any of which may be spread over several records. */
static bool take_handshake(struct opening *o, const uint8_t *content, size_t size)
{
    struct leg *leg = o->leg;
    size_t at = 0;

    if (size == 0) { /* RFC 9846 §5.1 */
        return fatal(o, LEG_REASON_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
    }
    while (at < size) {
        if (leg->skip > 0) {
            size_t n = size - at < leg->skip ? size - at : leg->skip;
            at += n;
            if (!skip_message(o, n)) {
                return false;
            }
            continue;
        }
        leg->partial[leg->partial_size++] = content[at++];
        if (leg->partial_size == MESSAGE_HEADER_SIZE) {
            if (!take_message_header(o)) {
                return false;
            }
        } else if (leg->partial_size > MESSAGE_HEADER_SIZE) { /* only KeyUpdate gets here */
            leg->partial_size = 0;
            return at == size ? take_key_update(o, content[at - 1])
                              : fatal(o, LEG_REASON_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
        }
    }
    return true;
}

static bool take_record(struct opening *o, const struct record_opened *record,
                        const uint8_t *content)
{
    bool in_message = o->leg->partial_size > 0 || o->leg->skip > 0;

    /* RFC 9846 §5.1: no other record between those of one handshake message. */
    if (in_message && record->type != RECORD_HANDSHAKE) {
        return fatal(o, LEG_REASON_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
    }
    switch (record->type) {
    case RECORD_APPLICATION_DATA:
        return take_application_data(o, record->size);
    case RECORD_ALERT:
        return take_alert(o, content, record->size);
    case RECORD_HANDSHAKE:
        return take_handshake(o, content, record->size);
    case RECORD_CHANGE_CIPHER_SPEC:
        break; /* never after the handshake */
    }
    return fatal(o, LEG_REASON_BAD_TYPE, ALERT_UNEXPECTED_MESSAGE);
}

/* The next record could be read but has no room. (Lengths that no record may have are for
 * record_open() to refuse.) */
static bool lacks_room(const uint8_t *input, size_t size, size_t room)
{
    if (size < RECORD_HEADER_SIZE) {
        return false;
    }
    size_t length = (size_t)input[3] << 8 | input[4];
    return length > room && length <= RECORD_WIRE_MAX - RECORD_HEADER_SIZE &&
           size >= RECORD_HEADER_SIZE + length;
}

static bool stop_at(struct opening *o, enum record_open_result result)
{
    switch (result) {
    case RECORD_OPENED:
    case RECORD_INCOMPLETE:
        o->event = LEG_MORE;
        return false;
    case RECORD_BAD_TAG:
        return fatal(o, LEG_REASON_BAD_TAG, ALERT_BAD_RECORD_MAC);
    case RECORD_TOO_LARGE:
        return fatal(o, LEG_REASON_RECORD_TOO_LARGE, ALERT_RECORD_OVERFLOW);
    case RECORD_BAD_HEADER:
        return fatal(o, LEG_REASON_BAD_HEADER, ALERT_UNEXPECTED_MESSAGE);
    case RECORD_NO_TYPE:
        return fatal(o, LEG_REASON_BAD_TYPE, ALERT_UNEXPECTED_MESSAGE);
    }
    return fatal(o, LEG_REASON_INTERNAL, ALERT_INTERNAL_ERROR);
}

static void open_records(struct record_crypto *crypto, struct opening *o, const uint8_t *input,
                         size_t size, uint8_t *output, size_t output_size)
{
    struct leg *leg = o->leg;
    struct leg_opened *opened = &o->opened;

    for (;;) {
        const uint8_t *at = input + opened->consumed;
        size_t left = size - opened->consumed;
        uint8_t *content = output + opened->produced;
        struct record_opened record;

        if (lacks_room(at, left, output_size - opened->produced)) {
            o->event = LEG_FULL;
            return;
        }
        enum record_open_result result =
            record_open(crypto, o->suite, &o->keys.of[leg->read_bank]->read, &leg->read_sequence,
                        at, left, content, &record);
        if (result != RECORD_OPENED) {
            stop_at(o, result);
            return;
        }
        opened->consumed += record.consumed;
        leg->read_blocks += key_blocks(record.size);
        if (!take_record(o, &record, content)) {
            return;
        }
    }
}

enum leg_event leg_open(struct record_crypto *crypto, struct leg *leg, struct leg_banks keys,
                        const uint8_t *input, size_t size, uint8_t *output, size_t output_size,
                        uint64_t now_ms, struct leg_opened *ret_opened)
{
    struct opening o = {
        .leg = leg,
        .keys = keys,
        .suite = suite_find(leg->version, leg->suite),
        .now_ms = now_ms,
        .event = LEG_CLOSED,
        .opened = {.alert = ALERT_NONE, .peer_alert = ALERT_NONE},
    };

    if (o.suite == NULL) {
        fatal(&o, LEG_REASON_INTERNAL, ALERT_INTERNAL_ERROR);
    } else if (!leg->close_received) {
        open_records(crypto, &o, input, size, output, output_size);
    }
    if (o.event == LEG_CLOSED) { /* RFC 9846 §6.1: whatever follows is ignored */
        o.opened.consumed = size;
    }
    *ret_opened = o.opened;
    return o.event;
}

/* ---- Sealing ---- */

bool leg_owes(const struct leg *leg)
{
    return !leg->close_sent &&
           (leg->alert_owed != ALERT_NONE || leg->update_owed || leg->refuse_renegotiation);
}

/* Blocks of all records that carry `size` bytes. */
static uint64_t sealed_blocks(const struct leg *leg, size_t size)
{
    size_t whole = size / leg->fragment_max, rest = size % leg->fragment_max;

    return whole * key_blocks(leg->fragment_max) + (rest != 0 || whole == 0 ? key_blocks(rest) : 0);
}

/* 0 on failure, after which the leg is closed for writing. */
static size_t seal(struct record_crypto *crypto, struct leg *leg, struct leg_banks keys,
                   enum record_type type, const uint8_t *input, size_t size, uint8_t *output)
{
    const struct suite *suite = suite_find(leg->version, leg->suite);
    size_t written = 0;

    if (suite != NULL) {
        written = record_seal(crypto, suite, &keys.of[leg->write_bank]->write, &leg->write_sequence,
                              &leg->write_nonce, type, input, size, leg->fragment_max, output);
    }
    if (written == 0) {
        leg->close_sent = 1;
        return 0;
    }
    leg->write_blocks += sealed_blocks(leg, size);
    return written;
}

static size_t seal_alert(struct record_crypto *crypto, struct leg *leg, struct leg_banks keys,
                         enum alert alert, uint8_t *output)
{
    bool warning = alert == ALERT_CLOSE_NOTIFY || alert == ALERT_NO_RENEGOTIATION;
    const uint8_t content[ALERT_SIZE] = {warning ? ALERT_LEVEL_WARNING : ALERT_LEVEL_FATAL,
                                         (uint8_t)alert};
    return seal(crypto, leg, keys, RECORD_ALERT, content, sizeof(content), output);
}

/* One unfragmented record under the old key, then the new key in the other bank. */
static size_t seal_key_update(struct record_crypto *crypto, struct leg *leg, struct leg_banks keys,
                              uint64_t now_ms, uint8_t *output)
{
    const uint8_t content[] = {KEY_UPDATE, 0, 0, 1,
                               leg->update_request ? UPDATE_REQUESTED : UPDATE_NOT_REQUESTED};
    const struct suite *suite = suite_find(leg->version, leg->suite);
    unsigned bank = leg->write_bank;

    if (suite == NULL ||
        !record_key_next(suite, &keys.of[bank]->write, &keys.of[bank ^ 1u]->write)) {
        leg->close_sent = 1;
        return 0;
    }
    size_t written = seal(crypto, leg, keys, RECORD_HANDSHAKE, content, sizeof(content), output);
    if (written > 0) {
        leg->write_bank = (bank ^ 1u) & 1u;
        leg->write_sequence = 0;
        leg->write_blocks = 0;
        leg->write_epoch++;
        leg->write_since = tenths(now_ms);
        leg->renewal_wanted = leg->renewal_request = 0;
        leg->update_asked |= leg->update_request;
        leg->update_request = 0;
        leg->update_owed = 0;
    }
    return written;
}

size_t leg_seal_owed(struct record_crypto *crypto, struct leg *leg, struct leg_banks keys,
                     uint64_t now_ms, uint8_t *output)
{
    size_t written = 0;

    if (!leg_owes(leg)) {
        return 0;
    }
    if (leg->alert_owed != ALERT_NONE) {
        written = seal_alert(crypto, leg, keys, (enum alert)leg->alert_owed, output);
        leg->close_sent = 1; /* makes all else that is owed void */
        return written;
    }
    if (leg->update_owed) {
        written = seal_key_update(crypto, leg, keys, now_ms, output);
    }
    if (leg->refuse_renegotiation && !leg->close_sent) {
        written += seal_alert(crypto, leg, keys, ALERT_NO_RENEGOTIATION, output + written);
        leg->refuse_renegotiation = 0;
    }
    return written;
}

void leg_settle(struct leg *leg, struct leg_banks keys)
{
    if (leg->read_bank) {
        keys.of[0]->read = keys.of[1]->read;
    }
    if (leg->write_bank) {
        keys.of[0]->write = keys.of[1]->write;
    }
    leg->read_bank = leg->write_bank = 0;
}

/* No counter of its own: each record takes whole blocks and two more. */
static uint64_t bytes_of(uint64_t blocks, uint64_t records)
{
    return blocks > 2 * records ? (blocks - 2 * records) * 16 : 0;
}

/* Both in steps of a tenth, so that two seconds are never less. */
static bool key_is_young(const struct leg *leg, uint64_t now_ms)
{
    return (uint32_t)(tenths(now_ms) - leg->write_since) <= LEG_KEY_AGE_MIN_MS / 100;
}

bool leg_update_keys(struct leg *leg, bool request, uint64_t now_ms)
{
    if (!is_tls13(leg) || leg->close_sent || leg->alert_owed != ALERT_NONE) {
        return false;
    }
    /* An answer that is owed already renews our key; the peer has just renewed its own. */
    if (!leg->update_owed) {
        if (key_is_young(leg, now_ms)) {
            return false;
        }
        leg->update_owed = 1;
        leg->update_request = request && !leg->update_asked;
    }
    return true;
}

struct key_usage leg_write_usage(const struct leg *leg)
{
    return (struct key_usage){.blocks = leg->write_blocks,
                              .records = leg->write_sequence,
                              .bytes = bytes_of(leg->write_blocks, leg->write_sequence),
                              .since = leg->write_since * NS_PER_TENTH};
}

struct key_usage leg_read_usage(const struct leg *leg)
{
    return (struct key_usage){.blocks = leg->read_blocks,
                              .records = leg->read_sequence,
                              .bytes = bytes_of(leg->read_blocks, leg->read_sequence)};
}

void leg_alert(struct leg *leg, enum alert alert)
{
    if (leg->alert_owed == ALERT_NONE) {
        leg->alert_owed = (uint8_t)alert;
    }
}

size_t leg_seal(struct record_crypto *crypto, struct leg *leg, struct leg_banks keys,
                const uint8_t *input, size_t size, uint8_t *output)
{
    if (leg->close_sent || leg_owes(leg)) {
        return 0;
    }
    return seal(crypto, leg, keys, RECORD_APPLICATION_DATA, input, size, output);
}

size_t leg_sealed_size(const struct leg *leg, size_t size)
{
    const struct suite *suite = suite_find(leg->version, leg->suite);
    return suite == NULL ? 0 : record_sealed_size(suite, size, leg->fragment_max);
}
