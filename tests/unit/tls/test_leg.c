/* A leg after its handshake: first everything a peer may do wrong, then real conversations with
 * OpenSSL in every suite. */
#include "tls/leg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "openssl_peer.h"

static const uint16_t suite_ids[][2] = {
    {0x0304, 0x1301}, {0x0304, 0x1302}, {0x0304, 0x1303}, {0x0303, 0xc02b}, {0x0303, 0xc02c},
    {0x0303, 0xc02f}, {0x0303, 0xc030}, {0x0303, 0xcca8}, {0x0303, 0xcca9},
};

static struct record_crypto *crypto;
static uint64_t clock_ms = 1000000;
static uint8_t plain[100000], wire[200000], output[200000];

static int setup(void **state)
{
    (void)state;
    crypto = record_crypto_new();
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)(i * 7 + 1);
    }
    return crypto == NULL;
}

static int teardown(void **state)
{
    (void)state;
    record_crypto_free(crypto);
    return 0;
}

/* ---- A leg and a peer that can send anything ---- */

struct link {
    const struct suite *suite;
    struct leg leg;
    struct leg_keys keys;
    struct record_key peer_write, peer_read; /* the peer's view */
    uint64_t write_sequence, read_sequence;
    struct leg_opened opened;
    size_t size; /* bytes in `wire` for the leg */
};

/* Late enough for another key. */
static bool update_keys(struct leg *leg, bool request)
{
    clock_ms += 2 * LEG_KEY_AGE_MIN_MS;
    return leg_update_keys(leg, request, clock_ms);
}

static void link_init(struct link *link, uint16_t version, uint16_t id, bool leg_is_client)
{
    memset(link, 0, sizeof(*link));
    link->suite = suite_find(version, id);
    leg_init(&link->leg, link->suite, leg_is_client, 0);
    memset(&link->peer_write, 1, sizeof(link->peer_write));
    memset(&link->peer_read, 2, sizeof(link->peer_read));
    link->keys.read[0] = link->peer_write;
    link->keys.write[0] = link->peer_read;
}

static void link_tls13(struct link *link)
{
    link_init(link, TLS_VERSION_1_3, 0x1301, false);
}

static void link_tls12(struct link *link)
{
    link_init(link, TLS_VERSION_1_2, 0xc02b, false);
}

/* Appends a record to what the leg will read. */
static void put(struct link *link, enum record_type type, const void *content, size_t size)
{
    uint64_t nonce = link->write_sequence;
    size_t n = record_seal(crypto, link->suite, &link->peer_write, &link->write_sequence, &nonce,
                           type, content, size, RECORD_PLAINTEXT_MAX, wire + link->size);
    assert_true(n > 0);
    link->size += n;
}

static void peer_renews(struct link *link)
{
    struct record_key next;
    assert_true(record_key_next(link->suite, &link->peer_write, &next));
    link->peer_write = next;
    link->write_sequence = 0;
}

static void put_key_update(struct link *link, uint8_t request)
{
    const uint8_t message[] = {24, 0, 0, 1, request};
    put(link, RECORD_HANDSHAKE, message, sizeof(message));
    peer_renews(link);
}

static enum leg_event take_at(struct link *link, uint64_t now_s)
{
    size_t size = link->size;
    link->size = 0;
    return leg_open(crypto, &link->leg, &link->keys, wire, size, output, sizeof(output),
                    now_s * 1000, &link->opened);
}

static enum leg_event take(struct link *link)
{
    return take_at(link, 0);
}

static void assert_fatal(struct link *link, enum leg_reason reason, enum alert alert)
{
    assert_int_equal(take(link), LEG_FATAL);
    assert_int_equal(link->opened.reason, reason);
    assert_int_equal(link->opened.alert, alert);
    assert_int_equal(link->leg.alert_owed, alert);
}

/* One record that is fatal for a fresh leg. */
static void assert_record_fatal(uint16_t version, bool leg_is_client, enum record_type type,
                                const void *content, size_t size, enum leg_reason reason,
                                enum alert alert)
{
    struct link link;
    link_init(&link, version, version == TLS_VERSION_1_3 ? 0x1301 : 0xc02b, leg_is_client);
    put(&link, type, content, size);
    assert_fatal(&link, reason, alert);
    assert_int_equal(link.opened.produced, 0);
}

/* Reads with the peer's key what the leg has sealed; returns the type. */
static enum record_type peer_reads(struct link *link, const uint8_t *records, size_t size,
                                   struct record_opened *ret_opened)
{
    assert_int_equal(record_open(crypto, link->suite, &link->peer_read, &link->read_sequence,
                                 records, size, output, ret_opened),
                     RECORD_OPENED);
    return ret_opened->type;
}

/* The one record that the leg owes. */
static void assert_owes(struct link *link, enum record_type type, const void *content, size_t size)
{
    uint8_t owed[LEG_OWED_MAX];
    struct record_opened opened;

    assert_true(leg_owes(&link->leg));
    size_t n = leg_seal_owed(crypto, &link->leg, &link->keys, clock_ms, owed);
    assert_int_equal(peer_reads(link, owed, n, &opened), type);
    assert_int_equal(opened.consumed, n);
    assert_int_equal(opened.size, size);
    assert_memory_equal(output, content, size);
    assert_false(leg_owes(&link->leg));
    assert_int_equal(leg_seal_owed(crypto, &link->leg, &link->keys, clock_ms, owed), 0);
}

/* ---- Broken records ---- */

static void test_broken_records(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        enum leg_reason reason;
        enum alert alert;
    } cases[] = {
        {"GET / HTTP/1.1\r\n", 16, LEG_REASON_BAD_HEADER, ALERT_UNEXPECTED_MESSAGE},
        {"\x17\x03\x01\x00\x20", 5, LEG_REASON_BAD_HEADER, ALERT_UNEXPECTED_MESSAGE},
        {"\x17\x03\x03\x44\x00", 5, LEG_REASON_RECORD_TOO_LARGE, ALERT_RECORD_OVERFLOW},
        {"\x17\x03\x03\xff\xff", 5, LEG_REASON_RECORD_TOO_LARGE, ALERT_RECORD_OVERFLOW},
        {"\x17\x03\x03\x00\x00", 5, LEG_REASON_BAD_TAG, ALERT_BAD_RECORD_MAC},
        {"\x17\x03\x03\x00\x01x", 6, LEG_REASON_BAD_TAG, ALERT_BAD_RECORD_MAC},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        for (int version = 0; version < 2; version++) {
            struct link link;
            if (version == 0) {
                link_tls13(&link);
            } else {
                link_tls12(&link);
            }
            memcpy(wire, cases[i].bytes, cases[i].size);
            link.size = cases[i].size;
            assert_fatal(&link, cases[i].reason, cases[i].alert);
        }
    }
}

static void test_data_before_a_bad_record_is_kept(void **state)
{
    struct link link;

    (void)state;
    link_tls13(&link);
    put(&link, RECORD_APPLICATION_DATA, "good", 4);
    size_t good = link.size;
    put(&link, RECORD_APPLICATION_DATA, "evil", 4);
    wire[link.size - 1] ^= 1;
    assert_fatal(&link, LEG_REASON_BAD_TAG, ALERT_BAD_RECORD_MAC);
    assert_int_equal(link.opened.produced, 4);
    assert_int_equal(link.opened.consumed, good);
    assert_memory_equal(output, "good\0\0\0\0", 8);
    assert_owes(&link, RECORD_ALERT, "\x02\x14", 2);
    assert_int_equal(leg_seal(crypto, &link.leg, &link.keys, plain, 1, wire), 0);
}

static void test_change_cipher_spec(void **state)
{
    struct link link;

    (void)state;
    link_tls13(&link);
    memcpy(wire, "\x14\x03\x03\x00\x01\x01", 6);
    link.size = 6;
    assert_fatal(&link, LEG_REASON_BAD_TYPE, ALERT_UNEXPECTED_MESSAGE);
    assert_record_fatal(TLS_VERSION_1_2, false, RECORD_CHANGE_CIPHER_SPEC, "\x01", 1,
                        LEG_REASON_BAD_TYPE, ALERT_UNEXPECTED_MESSAGE);
}

static void test_empty_flood(void **state)
{
    struct link link;

    (void)state;
    link_tls13(&link);
    for (int round = 0; round < 3; round++) { /* data resets the count */
        for (int i = 0; i < 32; i++) {
            put(&link, RECORD_APPLICATION_DATA, plain, 0);
        }
        put(&link, RECORD_APPLICATION_DATA, plain, 1);
        assert_int_equal(take(&link), LEG_MORE);
        assert_int_equal(link.opened.produced, 1);
    }
    for (int i = 0; i < 33; i++) {
        put(&link, RECORD_APPLICATION_DATA, plain, 0);
    }
    assert_fatal(&link, LEG_REASON_EMPTY_FLOOD, ALERT_UNEXPECTED_MESSAGE);
}

static void test_unknown_suite(void **state)
{
    struct link link;
    uint8_t owed[LEG_OWED_MAX];

    (void)state;
    link_tls13(&link);
    link.leg.suite = 0x1305;
    assert_fatal(&link, LEG_REASON_INTERNAL, ALERT_INTERNAL_ERROR);
    assert_int_equal(leg_seal_owed(crypto, &link.leg, &link.keys, clock_ms, owed), 0);
    assert_true(link.leg.close_sent);
    assert_int_equal(leg_sealed_size(&link.leg, 5), 0);
}

/* ---- Alerts ---- */

static void test_malformed_alerts(void **state)
{
    static const uint16_t versions[] = {TLS_VERSION_1_2, TLS_VERSION_1_3};

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_record_fatal(versions[i], false, RECORD_ALERT, "", 0, LEG_REASON_BAD_MESSAGE,
                            ALERT_UNEXPECTED_MESSAGE);
        assert_record_fatal(versions[i], false, RECORD_ALERT, "\x01", 1, LEG_REASON_BAD_MESSAGE,
                            ALERT_DECODE_ERROR);
        assert_record_fatal(versions[i], false, RECORD_ALERT, "\x01\x00\x01", 3,
                            LEG_REASON_BAD_MESSAGE, ALERT_DECODE_ERROR);
    }
    assert_record_fatal(TLS_VERSION_1_2, false, RECORD_ALERT, "\x03\x5a", 2, LEG_REASON_BAD_MESSAGE,
                        ALERT_ILLEGAL_PARAMETER);
}

static void test_fatal_alerts(void **state)
{
    struct link link;

    (void)state;
    assert_record_fatal(TLS_VERSION_1_2, false, RECORD_ALERT, "\x02\x50", 2, LEG_REASON_PEER_ALERT,
                        ALERT_NONE);
    /* RFC 9846 §6: in TLS 1.3 the level says nothing */
    assert_record_fatal(TLS_VERSION_1_3, false, RECORD_ALERT, "\x01\x50", 2, LEG_REASON_PEER_ALERT,
                        ALERT_NONE);
    assert_record_fatal(TLS_VERSION_1_3, false, RECORD_ALERT, "\x01\x64", 2, LEG_REASON_PEER_ALERT,
                        ALERT_NONE);
    link_tls13(&link);
    put(&link, RECORD_ALERT, "\x02\x28", 2);
    assert_int_equal(take(&link), LEG_FATAL);
    assert_int_equal(link.opened.peer_alert, ALERT_HANDSHAKE_FAILURE);
    assert_false(leg_owes(&link.leg)); /* a fatal alert is not answered */
}

static void test_warning_alerts(void **state)
{
    static const struct {
        uint16_t version, suite;
        const char *content;
    } cases[] = {
        {TLS_VERSION_1_3, 0x1301, "\x01\x5a"}, /* user_canceled, as JDK clients send it */
        {TLS_VERSION_1_3, 0x1301, "\x02\x5a"}, {TLS_VERSION_1_2, 0xc02b, "\x01\x5a"},
        {TLS_VERSION_1_2, 0xc02b, "\x01\x64"}, /* no_renegotiation */
        {TLS_VERSION_1_2, 0xc02b, "\x01\x70"}, /* unrecognized_name */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct link link;
        link_init(&link, cases[i].version, cases[i].suite, false);
        for (int round = 0; round < 2; round++) {
            for (int j = 0; j < 4; j++) {
                put(&link, RECORD_ALERT, cases[i].content, 2);
            }
            put(&link, RECORD_APPLICATION_DATA, "x", 1);
            assert_int_equal(take(&link), LEG_MORE);
            assert_int_equal(link.opened.produced, 1);
            assert_int_equal(link.opened.peer_alert, (uint8_t)cases[i].content[1]);
        }
        for (int j = 0; j < 5; j++) {
            put(&link, RECORD_ALERT, cases[i].content, 2);
        }
        assert_fatal(&link, LEG_REASON_ALERT_FLOOD, ALERT_UNEXPECTED_MESSAGE);
    }
}

static void test_close_notify(void **state)
{
    struct link link;

    (void)state;
    for (int version = 0; version < 2; version++) {
        if (version == 0) {
            link_tls13(&link);
        } else {
            link_tls12(&link);
        }
        put(&link, RECORD_APPLICATION_DATA, "last", 4);
        put(&link, RECORD_ALERT, "\x01\x00", 2);
        put(&link, RECORD_APPLICATION_DATA, "ignored", 7);
        memset(wire + link.size, 'x', 100);
        link.size += 100;
        size_t size = link.size;
        assert_int_equal(take(&link), LEG_CLOSED);
        assert_int_equal(link.opened.consumed, size);
        assert_int_equal(link.opened.produced, 4);
        assert_int_equal(link.opened.peer_alert, ALERT_CLOSE_NOTIFY);
        link.size = 50;
        assert_int_equal(take(&link), LEG_CLOSED);
        assert_int_equal(link.opened.consumed, 50);
        /* half-closed: we may go on, then close ourselves */
        size_t n = leg_seal(crypto, &link.leg, &link.keys, plain, 10, wire);
        struct record_opened opened;
        assert_int_equal(peer_reads(&link, wire, n, &opened), RECORD_APPLICATION_DATA);
        leg_alert(&link.leg, ALERT_CLOSE_NOTIFY);
        assert_int_equal(leg_seal(crypto, &link.leg, &link.keys, plain, 10, wire), 0);
        assert_owes(&link, RECORD_ALERT, "\x01\x00", 2);
        assert_int_equal(leg_seal(crypto, &link.leg, &link.keys, plain, 10, wire), 0);
    }
}

static void test_nothing_after_close_sent(void **state)
{
    struct link link;

    (void)state;
    link_tls13(&link);
    leg_alert(&link.leg, ALERT_NONE);
    assert_false(leg_owes(&link.leg));
    leg_alert(&link.leg, ALERT_CLOSE_NOTIFY);
    leg_alert(&link.leg, ALERT_INTERNAL_ERROR); /* the first one wins */
    assert_false(update_keys(&link.leg, true));
    assert_owes(&link, RECORD_ALERT, "\x01\x00", 2);
    assert_false(update_keys(&link.leg, true));
    leg_alert(&link.leg, ALERT_INTERNAL_ERROR);
    assert_false(leg_owes(&link.leg));
    put_key_update(&link, 1); /* cannot be answered any more, but is obeyed */
    put(&link, RECORD_APPLICATION_DATA, "x", 1);
    size_t size = link.size;
    assert_int_equal(take(&link), LEG_AGAIN);
    assert_false(leg_owes(&link.leg));
    assert_int_equal(leg_open(crypto, &link.leg, &link.keys, wire + link.opened.consumed,
                              size - link.opened.consumed, output, sizeof(output), 0, &link.opened),
                     LEG_MORE);
    assert_int_equal(link.opened.produced, 1);
}

static void test_alert_names(void **state)
{
    (void)state;
    assert_string_equal(alert_name(0), "close_notify");
    assert_string_equal(alert_name(20), "bad_record_mac");
    assert_string_equal(alert_name(112), "unrecognized_name");
    assert_string_equal(alert_name(123), "alert_123");
    assert_string_equal(alert_name(3), "alert_3");
    assert_string_equal(alert_name(UINT32_MAX), "alert_4294967295");
    assert_string_equal(leg_reason_text(LEG_REASON_NONE), "none");
    assert_string_equal(leg_reason_text(LEG_REASON_BAD_TAG), "record failed its tag");
    assert_string_equal(leg_reason_text((enum leg_reason)99), "unknown");
}

/* ---- Post-handshake messages ---- */

static void test_unexpected_messages(void **state)
{
    uint8_t message[] = {0, 0, 0, 0};

    (void)state;
    for (int type = 0; type < 256; type++) {
        message[0] = (uint8_t)type;
        for (int client = 0; client < 2; client++) {
            if (type != 24 && !(client == 1 && type == 4)) {
                assert_record_fatal(TLS_VERSION_1_3, client == 1, RECORD_HANDSHAKE, message, 4,
                                    LEG_REASON_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
            }
            if (type != (client == 1 ? 0 : 1)) {
                assert_record_fatal(TLS_VERSION_1_2, client == 1, RECORD_HANDSHAKE, message, 4,
                                    LEG_REASON_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
            }
        }
    }
    assert_record_fatal(TLS_VERSION_1_3, false, RECORD_HANDSHAKE, "", 0, LEG_REASON_BAD_MESSAGE,
                        ALERT_UNEXPECTED_MESSAGE);
}

static void test_malformed_messages(void **state)
{
    static const struct {
        uint16_t version;
        bool client;
        const char *bytes;
        size_t size;
        enum alert alert;
    } cases[] = {
        {TLS_VERSION_1_3, false, "\x18\0\0\0", 4, ALERT_DECODE_ERROR},
        {TLS_VERSION_1_3, false, "\x18\0\0\2\0\0", 6, ALERT_DECODE_ERROR},
        {TLS_VERSION_1_3, false, "\x18\1\0\1\0", 5, ALERT_DECODE_ERROR},
        {TLS_VERSION_1_3, false, "\x18\0\0\1\2", 5, ALERT_ILLEGAL_PARAMETER},
        {TLS_VERSION_1_3, false, "\x18\0\0\1\xff", 5, ALERT_ILLEGAL_PARAMETER},
        /* RFC 9846 §5.1: nothing of the old key may stand behind a KeyUpdate in its record */
        {TLS_VERSION_1_3, false, "\x18\0\0\1\0\x18\0\0\1\0", 10, ALERT_UNEXPECTED_MESSAGE},
        {TLS_VERSION_1_3, false, "\x18\0\0\1\0\x18", 6, ALERT_UNEXPECTED_MESSAGE},
        {TLS_VERSION_1_3, true, "\4\0\0\0", 4, ALERT_DECODE_ERROR},
        {TLS_VERSION_1_3, true, "\4\1\0\1", 4, ALERT_DECODE_ERROR},
        {TLS_VERSION_1_2, true, "\0\0\0\1x", 5, ALERT_DECODE_ERROR},
        {TLS_VERSION_1_2, false, "\1\0\0\0", 4, ALERT_DECODE_ERROR},
        {TLS_VERSION_1_2, false, "\1\xff\0\0", 4, ALERT_DECODE_ERROR},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_record_fatal(cases[i].version, cases[i].client, RECORD_HANDSHAKE, cases[i].bytes,
                            cases[i].size, LEG_REASON_BAD_MESSAGE, cases[i].alert);
    }
}

/* RFC 9846 §5.1: no other record between the parts of a handshake message. */
static void test_interleaved_message(void **state)
{
    struct link link;

    (void)state;
    for (int type = RECORD_ALERT; type <= RECORD_APPLICATION_DATA; type += 2) {
        for (size_t first = 1; first < 5; first++) {
            link_tls13(&link);
            put(&link, RECORD_HANDSHAKE, "\x18\0\0\1\0", first);
            put(&link, (enum record_type)type, "\1\0", 2);
            assert_fatal(&link, LEG_REASON_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
            assert_int_equal(link.opened.produced, 0);
        }
    }
}

static void test_split_key_update(void **state)
{
    struct link link;
    const uint8_t message[] = {24, 0, 0, 1, 1};

    (void)state;
    for (size_t split = 1; split < 5; split++) {
        link_tls13(&link);
        put(&link, RECORD_HANDSHAKE, message, split);
        assert_int_equal(take(&link), LEG_MORE);
        put(&link, RECORD_HANDSHAKE, message + split, 5 - split);
        peer_renews(&link);
        assert_int_equal(take(&link), LEG_AGAIN);
        assert_int_equal(link.opened.key_updates, 1);
        put(&link, RECORD_APPLICATION_DATA, "new key", 7);
        assert_int_equal(take(&link), LEG_MORE);
        assert_int_equal(link.opened.produced, 7);
        assert_owes(&link, RECORD_HANDSHAKE, "\x18\0\0\1\0", 5);
    }
    link_tls13(&link); /* byte by byte */
    for (size_t i = 0; i < 5; i++) {
        put(&link, RECORD_HANDSHAKE, message + i, 1);
    }
    assert_int_equal(take(&link), LEG_AGAIN);
}

/* Until the caller has committed, the bank that is valid for everybody else must stay as it was. */
static void test_key_update_leaves_the_valid_bank(void **state)
{
    struct link link;

    (void)state;
    link_tls13(&link);
    put(&link, RECORD_APPLICATION_DATA, "a", 1);
    put_key_update(&link, 0);
    size_t first = link.size;
    put_key_update(&link, 0);
    put(&link, RECORD_APPLICATION_DATA, "b", 1);
    size_t size = link.size;
    struct record_key before = link.keys.read[0];
    assert_int_equal(take(&link), LEG_AGAIN);
    assert_int_equal(link.opened.consumed, first);
    assert_int_equal(link.opened.produced, 1);
    assert_int_equal(link.leg.read_bank, 1);
    assert_int_equal(link.leg.read_sequence, 0);
    assert_int_equal(link.keys.read[1].epoch, before.epoch + 1);
    assert_memory_equal(&before, &link.keys.read[0], sizeof(before));

    size_t at = first;
    assert_int_equal(leg_open(crypto, &link.leg, &link.keys, wire + at, size - at, output,
                              sizeof(output), 0, &link.opened),
                     LEG_AGAIN);
    assert_int_equal(link.leg.read_bank, 0);
    at += link.opened.consumed;
    assert_int_equal(leg_open(crypto, &link.leg, &link.keys, wire + at, size - at, output,
                              sizeof(output), 0, &link.opened),
                     LEG_MORE);
    assert_int_equal(link.opened.produced, 1);
    assert_int_equal(output[0], 'b');
}

static void test_one_answer_for_many_requests(void **state)
{
    struct link link;

    (void)state;
    link_tls13(&link);
    for (int i = 0; i < 100; i++) {
        put_key_update(&link, i % 2 == 0);
        assert_int_equal(take(&link), LEG_AGAIN);
    }
    assert_int_equal(leg_seal(crypto, &link.leg, &link.keys, plain, 10, wire), 0);
    assert_owes(&link, RECORD_HANDSHAKE, "\x18\0\0\1\0", 5);
    assert_int_equal(link.leg.write_bank, 1);
    assert_int_equal(link.leg.write_sequence, 0);
}

static void test_key_update_bucket(void **state)
{
    struct link link;

    (void)state;
    link_tls13(&link);
    for (int i = 0; i < 4096; i++) {
        put_key_update(&link, 0);
        assert_int_equal(take_at(&link, 100000), LEG_AGAIN);
    }
    for (uint64_t second = 1; second <= 3; second++) {
        for (int i = 0; i < 10; i++) {
            put_key_update(&link, 0);
            assert_int_equal(take_at(&link, 100000 + second), LEG_AGAIN);
        }
    }
    put_key_update(&link, 0);
    assert_int_equal(take_at(&link, 100003), LEG_FATAL);
    assert_int_equal(link.opened.reason, LEG_REASON_UPDATE_FLOOD);
    assert_int_equal(link.opened.alert, ALERT_UNEXPECTED_MESSAGE);
}

static void test_own_key_update(void **state)
{
    struct link link;
    struct record_opened opened;

    (void)state;
    link_tls12(&link);
    assert_false(update_keys(&link.leg, false));

    link_tls13(&link);
    assert_true(update_keys(&link.leg, true));
    assert_owes(&link, RECORD_HANDSHAKE, "\x18\0\0\1\1", 5);
    struct record_key next;
    assert_true(record_key_next(link.suite, &link.peer_read, &next));
    link.peer_read = next;
    link.read_sequence = 0;
    size_t n = leg_seal(crypto, &link.leg, &link.keys, plain, 10, wire);
    assert_int_equal(peer_reads(&link, wire, n, &opened), RECORD_APPLICATION_DATA);

    /* RFC 9846 §4.7.3: one outstanding request at most */
    assert_true(update_keys(&link.leg, true));
    assert_owes(&link, RECORD_HANDSHAKE, "\x18\0\0\1\0", 5);
    assert_true(record_key_next(link.suite, &link.peer_read, &next));
    link.peer_read = next;
    link.read_sequence = 0;
    put_key_update(&link, 0); /* the answer */
    assert_int_equal(take(&link), LEG_AGAIN);
    assert_false(leg_owes(&link.leg));
    assert_true(update_keys(&link.leg, true));
    assert_owes(&link, RECORD_HANDSHAKE, "\x18\0\0\1\1", 5);
}

/* Our request meets the peer's: its answer must not ask again. */
static void test_crossing_key_updates(void **state)
{
    struct link link;

    (void)state;
    link_tls13(&link);
    assert_true(update_keys(&link.leg, true));
    put_key_update(&link, 1);
    assert_int_equal(take(&link), LEG_AGAIN);
    assert_owes(&link, RECORD_HANDSHAKE, "\x18\0\0\1\0", 5);
}

static void test_used_up_keys(void **state)
{
    struct link link;
    uint8_t owed[LEG_OWED_MAX];

    (void)state;
    link_tls13(&link);
    link.leg.write_sequence = UINT64_MAX;
    assert_int_equal(leg_seal(crypto, &link.leg, &link.keys, plain, 10, wire), 0);
    assert_true(link.leg.close_sent);

    link_tls13(&link);
    link.keys.write[0].epoch = UINT32_MAX;
    assert_true(update_keys(&link.leg, false));
    assert_int_equal(leg_seal_owed(crypto, &link.leg, &link.keys, clock_ms, owed), 0);
    assert_true(link.leg.close_sent);

    link_tls13(&link);
    link.keys.read[0].epoch = UINT32_MAX;
    put(&link, RECORD_HANDSHAKE, "\x18\0\0\1\0", 5);
    assert_fatal(&link, LEG_REASON_INTERNAL, ALERT_INTERNAL_ERROR);
}

static void test_session_tickets_are_skipped(void **state)
{
    struct link link;
    uint8_t ticket[65540] = {4, 1, 0, 0}; /* the largest */

    (void)state;
    link_init(&link, TLS_VERSION_1_3, 0x1301, true);
    for (size_t at = 0; at < sizeof(ticket); at += 16000) {
        put(&link, RECORD_HANDSHAKE, ticket + at,
            sizeof(ticket) - at < 16000 ? sizeof(ticket) - at : 16000);
    }
    put(&link, RECORD_HANDSHAKE, "\4\0\0\1x\4\0\0\2xx", 11); /* two in one record */
    put(&link, RECORD_HANDSHAKE, "\4\0", 2);
    put(&link, RECORD_HANDSHAKE, "\0\2x", 3);
    put(&link, RECORD_HANDSHAKE, "x\x18\0\0\1\0", 6); /* and a KeyUpdate at the end of one */
    peer_renews(&link);
    put(&link, RECORD_APPLICATION_DATA, "data", 4);
    size_t size = link.size;
    assert_int_equal(take(&link), LEG_AGAIN);
    assert_int_equal(link.opened.produced, 0);
    size_t at = link.opened.consumed;
    assert_int_equal(leg_open(crypto, &link.leg, &link.keys, wire + at, size - at, output,
                              sizeof(output), 0, &link.opened),
                     LEG_MORE);
    assert_int_equal(link.opened.produced, 4);
}

static void test_renegotiation_is_refused(void **state)
{
    static const uint8_t client_hello[104] = {1, 0, 0, 100};
    static const uint8_t hello_request[4] = {0};

    (void)state;
    for (int client = 0; client < 2; client++) {
        const uint8_t *message = client == 1 ? hello_request : client_hello;
        size_t size = client == 1 ? sizeof(hello_request) : sizeof(client_hello);
        for (size_t split = 1; split < size; split++) {
            struct link link;
            link_init(&link, TLS_VERSION_1_2, 0xc02b, client == 1);
            put(&link, RECORD_HANDSHAKE, message, split);
            assert_int_equal(take(&link), LEG_MORE);
            assert_false(leg_owes(&link.leg));
            put(&link, RECORD_HANDSHAKE, message + split, size - split);
            put(&link, RECORD_APPLICATION_DATA, "data", 4);
            assert_int_equal(take(&link), LEG_MORE);
            assert_int_equal(link.opened.renegotiations, 1);
            assert_int_equal(link.opened.produced, 4);
            assert_owes(&link, RECORD_ALERT, "\x01\x64", 2);
        }
    }
}

static void test_renegotiation_flood(void **state)
{
    struct link link;

    (void)state;
    link_tls12(&link);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 8; i++) {
            put(&link, RECORD_HANDSHAKE, "\1\0\0\1x", 5);
        }
        put(&link, RECORD_APPLICATION_DATA, "data", 4);
        assert_int_equal(take(&link), LEG_MORE);
        assert_int_equal(link.opened.renegotiations, 8);
        assert_owes(&link, RECORD_ALERT, "\x01\x64", 2); /* one warning for all */
    }
    for (int i = 0; i < 9; i++) {
        put(&link, RECORD_HANDSHAKE, "\1\0\0\1x", 5);
    }
    assert_fatal(&link, LEG_REASON_ALERT_FLOOD, ALERT_UNEXPECTED_MESSAGE);
}

/* ---- Input and output sizes ---- */

static void test_byte_by_byte(void **state)
{
    struct link link;
    struct leg_opened opened;

    (void)state;
    link_tls13(&link);
    put(&link, RECORD_APPLICATION_DATA, plain, 300);
    size_t total = 0;
    for (size_t n = 0; n < link.size;
         n++) { /* a partial record is consumed never, a whole one at once */
        assert_int_equal(
            leg_open(crypto, &link.leg, &link.keys, wire, n, output, sizeof(output), 0, &opened),
            LEG_MORE);
        assert_int_equal(opened.consumed, 0);
        total += opened.produced;
    }
    assert_int_equal(total, 0);
    assert_int_equal(take(&link), LEG_MORE);
    assert_int_equal(link.opened.produced, 300);
}

static void test_full_output(void **state)
{
    struct link link;
    struct leg_opened opened;
    size_t at = 0, total = 0, calls = 0;

    (void)state;
    link_tls13(&link);
    for (int i = 0; i < 10; i++) {
        put(&link, RECORD_APPLICATION_DATA, plain + i * 1000, 1000);
    }
    for (;;) { /* room for two ciphertexts and a bit */
        enum leg_event event = leg_open(crypto, &link.leg, &link.keys, wire + at, link.size - at,
                                        output + total, 2500, 0, &opened);
        at += opened.consumed;
        total += opened.produced;
        calls++;
        if (event == LEG_MORE) {
            break;
        }
        assert_int_equal(event, LEG_FULL);
        assert_int_equal(opened.produced, 2000);
    }
    assert_int_equal(at, link.size);
    assert_int_equal(calls, 5);
    assert_int_equal(total, 10000);
    assert_memory_equal(output, plain, 10000);
}

static void test_sealed_size(void **state)
{
    struct link link;

    (void)state;
    link_tls13(&link);
    assert_int_equal(leg_sealed_size(&link.leg, 16384), 16384 + 22);
    assert_int_equal(leg_sealed_size(&link.leg, 16385), 16385 + 2 * 22);
    link_tls12(&link);
    link.leg.fragment_max = 512;
    assert_int_equal(leg_sealed_size(&link.leg, 1025), 1025 + 3 * 29);
}

/* ---- OpenSSL on the other end ---- */

static struct openssl_peer *new_peer(size_t n, bool leg_is_client, uint8_t fragment_code)
{
    const struct openssl_peer_options options = {
        .suite = suite_find(suite_ids[n][0], suite_ids[n][1]),
        .leg_is_client = leg_is_client,
        .fragment_code = fragment_code,
    };
    return openssl_peer_new(&options);
}

/* The leg reads what the peer has sent; returns the plaintext's size. */
static size_t leg_reads(struct openssl_peer *peer, const uint8_t *input, size_t size)
{
    size_t at = 0, total = 0;
    enum leg_event event;
    struct leg_opened opened;

    do {
        event = leg_open(crypto, &peer->leg, &peer->keys, input + at, size - at, output + total,
                         sizeof(output) - total, 0, &opened);
        at += opened.consumed;
        total += opened.produced;
    } while (event == LEG_AGAIN);
    assert_int_equal(event, LEG_MORE);
    assert_int_equal(at, size);
    return total;
}

static void peer_to_leg(struct openssl_peer *peer, size_t size)
{
    size_t n = openssl_peer_seal(peer, plain, size, wire, sizeof(wire));
    assert_int_equal(leg_reads(peer, wire, n), size);
    assert_memory_equal(output, plain, size);
}

static void leg_to_peer(struct openssl_peer *peer, size_t size)
{
    int error;
    size_t n = leg_seal_owed(crypto, &peer->leg, &peer->keys, clock_ms, wire);
    size_t sealed = leg_seal(crypto, &peer->leg, &peer->keys, plain, size, wire + n);
    assert_int_equal(sealed, leg_sealed_size(&peer->leg, size));
    assert_int_equal(openssl_peer_open(peer, wire, n + sealed, output, sizeof(output), &error),
                     size);
    assert_int_equal(error, SSL_ERROR_WANT_READ);
    assert_memory_equal(output, plain, size);
}

static void close_both(struct openssl_peer *peer)
{
    uint8_t owed[LEG_OWED_MAX];
    struct leg_opened opened;
    int error;

    leg_alert(&peer->leg, ALERT_CLOSE_NOTIFY);
    size_t n = leg_seal_owed(crypto, &peer->leg, &peer->keys, clock_ms, owed);
    assert_int_equal(openssl_peer_open(peer, owed, n, output, sizeof(output), &error), 0);
    assert_int_equal(error, SSL_ERROR_ZERO_RETURN);
    assert_int_equal(SSL_get_shutdown(peer->ssl), SSL_RECEIVED_SHUTDOWN);
    SSL_shutdown(peer->ssl);
    n = openssl_peer_output(peer, wire, sizeof(wire));
    assert_int_equal(
        leg_open(crypto, &peer->leg, &peer->keys, wire, n, output, sizeof(output), 0, &opened),
        LEG_CLOSED);
}

static void test_openssl_conversations(void **state)
{
    static const size_t sizes[] = {1, 5, 100, 1000, 16384, 16385, 60000};

    (void)state;
    for (size_t s = 0; s < ARRAY_SIZE(suite_ids); s++) {
        for (int client = 0; client < 2; client++) {
            struct openssl_peer *peer = new_peer(s, client == 1, 0);
            assert_int_equal(leg_reads(peer, peer->pending, peer->pending_size), 0);
            for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                peer_to_leg(peer, sizes[i]);
                leg_to_peer(peer, sizes[i]);
            }
            close_both(peer);
            openssl_peer_free(peer);
        }
    }
}

static void test_openssl_max_fragment_length(void **state)
{
    (void)state;
    for (size_t s = 0; s < ARRAY_SIZE(suite_ids); s++) {
        for (uint8_t code = 1; code <= 4; code++) {
            struct openssl_peer *peer = new_peer(s, false, code);
            assert_int_equal(peer->leg.fragment_max, 256 << code);
            peer_to_leg(peer, 10000);
            leg_to_peer(peer, 10000); /* OpenSSL refuses records above the limit */
            openssl_peer_free(peer);
        }
    }
}

static void test_openssl_key_updates(void **state)
{
    (void)state;
    for (size_t s = 0; s < 3; s++) {
        for (int client = 0; client < 2; client++) {
            struct openssl_peer *peer = new_peer(s, client == 1, 0);
            assert_int_equal(leg_reads(peer, peer->pending, peer->pending_size), 0);
            for (int round = 0; round < 30; round++) {
                bool ask = round % 3 != 0;
                assert_int_equal(SSL_key_update(peer->ssl, ask ? SSL_KEY_UPDATE_REQUESTED
                                                               : SSL_KEY_UPDATE_NOT_REQUESTED),
                                 1);
                peer_to_leg(peer, 100);
                assert_int_equal(leg_owes(&peer->leg), ask);
                leg_to_peer(peer, 100);
                assert_true(update_keys(&peer->leg, ask));
                leg_to_peer(peer, 100);
                assert_int_equal(peer->leg.update_asked, ask);
                peer_to_leg(peer, 20000); /* brings OpenSSL's answer first */
                assert_false(peer->leg.update_asked);
            }
            assert_true(peer->keys.read[peer->leg.read_bank].epoch >= 50);
            assert_true(peer->keys.write[peer->leg.write_bank].epoch >= 50);
            close_both(peer);
            openssl_peer_free(peer);
        }
    }
}

/* A peer that asks again and again before we write gets one answer, and both sides still agree. */
static void test_openssl_repeated_requests(void **state)
{
    (void)state;
    struct openssl_peer *peer = new_peer(0, false, 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(SSL_key_update(peer->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        peer_to_leg(peer, 10);
    }
    leg_to_peer(peer, 100);
    assert_int_equal(peer->keys.write[peer->leg.write_bank].epoch, 1);
    peer_to_leg(peer, 100);
    leg_to_peer(peer, 100);
    openssl_peer_free(peer);
}

static void test_openssl_fatal_alert(void **state)
{
    (void)state;
    for (size_t s = 0; s < ARRAY_SIZE(suite_ids); s++) {
        struct openssl_peer *peer = new_peer(s, false, 0);
        uint8_t owed[LEG_OWED_MAX];
        int error;
        leg_alert(&peer->leg, ALERT_INTERNAL_ERROR);
        size_t n = leg_seal_owed(crypto, &peer->leg, &peer->keys, clock_ms, owed);
        assert_int_equal(openssl_peer_open(peer, owed, n, output, sizeof(output), &error), 0);
        assert_int_equal(error, SSL_ERROR_SSL);
        openssl_peer_free(peer);
    }
}

/* OpenSSL notices a broken record and tells us; we read its alert. */
static void test_openssl_reports_bad_record(void **state)
{
    (void)state;
    for (size_t s = 0; s < ARRAY_SIZE(suite_ids); s++) {
        struct openssl_peer *peer = new_peer(s, false, 0);
        struct leg_opened opened;
        int error;
        size_t n = leg_seal(crypto, &peer->leg, &peer->keys, plain, 100, wire);
        wire[n - 1] ^= 1;
        assert_int_equal(openssl_peer_open(peer, wire, n, output, sizeof(output), &error), 0);
        assert_int_equal(error, SSL_ERROR_SSL);
        n = openssl_peer_output(peer, wire, sizeof(wire));
        assert_int_equal(
            leg_open(crypto, &peer->leg, &peer->keys, wire, n, output, sizeof(output), 0, &opened),
            LEG_FATAL);
        assert_int_equal(opened.reason, LEG_REASON_PEER_ALERT);
        assert_int_equal(opened.peer_alert, ALERT_BAD_RECORD_MAC);
        openssl_peer_free(peer);
    }
}

static void test_openssl_user_canceled(void **state)
{
    (void)state;
    for (size_t s = 0; s < 3; s++) {
        struct openssl_peer *peer = new_peer(s, false, 0);
        struct leg *leg = &peer->leg;
        int error;
        const struct suite *suite = suite_find(leg->version, leg->suite);
        size_t n = record_seal(crypto, suite, &peer->keys.write[0], &leg->write_sequence,
                               &leg->write_nonce, RECORD_ALERT, (const uint8_t *)"\1\x5a", 2,
                               RECORD_PLAINTEXT_MAX, wire);
        assert_int_equal(openssl_peer_open(peer, wire, n, output, sizeof(output), &error), 0);
        assert_int_equal(error, SSL_ERROR_WANT_READ);
        leg_to_peer(peer, 100);
        openssl_peer_free(peer);
    }
}

static void test_openssl_renegotiation(void **state)
{
    (void)state;
    for (size_t s = 3; s < ARRAY_SIZE(suite_ids); s++) {
        for (int client = 0; client < 2; client++) {
            struct openssl_peer *peer = new_peer(s, client == 1, 0);
            uint8_t owed[LEG_OWED_MAX];
            int error;
            peer_to_leg(peer, 100);
            assert_int_equal(SSL_renegotiate(peer->ssl), 1);
            SSL_do_handshake(peer->ssl);
            size_t n = openssl_peer_output(peer, wire, sizeof(wire));
            assert_int_equal(leg_reads(peer, wire, n), 0);
            assert_true(leg_owes(&peer->leg));
            n = leg_seal_owed(crypto, &peer->leg, &peer->keys, clock_ms, owed);
            /* OpenSSL itself gives up when its wish is refused, but it did understand our alert */
            assert_int_equal(openssl_peer_open(peer, owed, n, output, sizeof(output), &error), 0);
            assert_int_equal(error, SSL_ERROR_SSL);
            n = openssl_peer_output(peer, wire, sizeof(wire));
            struct leg_opened opened;
            assert_int_equal(leg_open(crypto, &peer->leg, &peer->keys, wire, n, output,
                                      sizeof(output), 0, &opened),
                             LEG_FATAL);
            assert_int_equal(opened.reason, LEG_REASON_PEER_ALERT);
            openssl_peer_free(peer);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broken_records),
        cmocka_unit_test(test_data_before_a_bad_record_is_kept),
        cmocka_unit_test(test_change_cipher_spec),
        cmocka_unit_test(test_empty_flood),
        cmocka_unit_test(test_unknown_suite),
        cmocka_unit_test(test_malformed_alerts),
        cmocka_unit_test(test_fatal_alerts),
        cmocka_unit_test(test_warning_alerts),
        cmocka_unit_test(test_close_notify),
        cmocka_unit_test(test_nothing_after_close_sent),
        cmocka_unit_test(test_alert_names),
        cmocka_unit_test(test_unexpected_messages),
        cmocka_unit_test(test_malformed_messages),
        cmocka_unit_test(test_interleaved_message),
        cmocka_unit_test(test_split_key_update),
        cmocka_unit_test(test_key_update_leaves_the_valid_bank),
        cmocka_unit_test(test_one_answer_for_many_requests),
        cmocka_unit_test(test_key_update_bucket),
        cmocka_unit_test(test_own_key_update),
        cmocka_unit_test(test_crossing_key_updates),
        cmocka_unit_test(test_used_up_keys),
        cmocka_unit_test(test_session_tickets_are_skipped),
        cmocka_unit_test(test_renegotiation_is_refused),
        cmocka_unit_test(test_renegotiation_flood),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_full_output),
        cmocka_unit_test(test_sealed_size),
        cmocka_unit_test(test_openssl_conversations),
        cmocka_unit_test(test_openssl_max_fragment_length),
        cmocka_unit_test(test_openssl_key_updates),
        cmocka_unit_test(test_openssl_repeated_requests),
        cmocka_unit_test(test_openssl_fatal_alert),
        cmocka_unit_test(test_openssl_reports_bad_record),
        cmocka_unit_test(test_openssl_user_canceled),
        cmocka_unit_test(test_openssl_renegotiation),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
