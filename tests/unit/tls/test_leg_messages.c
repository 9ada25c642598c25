/* Messages after the handshake: those that a peer may not send, KeyUpdates, session tickets,
 * renegotiation. */
#include "tls/leg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "leg_world.h"

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
            link_put(&link, RECORD_HANDSHAKE, "\x18\0\0\1\0", first);
            link_put(&link, (enum record_type)type, "\1\0", 2);
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
        link_put(&link, RECORD_HANDSHAKE, message, split);
        assert_int_equal(link_take(&link), LEG_MORE);
        link_put(&link, RECORD_HANDSHAKE, message + split, 5 - split);
        link_peer_renews(&link);
        assert_int_equal(link_take(&link), LEG_AGAIN);
        assert_int_equal(link.opened.key_updates, 1);
        link_put(&link, RECORD_APPLICATION_DATA, "new key", 7);
        assert_int_equal(link_take(&link), LEG_MORE);
        assert_int_equal(link.opened.produced, 7);
        assert_owes(&link, RECORD_HANDSHAKE, "\x18\0\0\1\0", 5);
    }
    link_tls13(&link); /* byte by byte */
    for (size_t i = 0; i < 5; i++) {
        link_put(&link, RECORD_HANDSHAKE, message + i, 1);
    }
    assert_int_equal(link_take(&link), LEG_AGAIN);
}

/* Until the caller has committed, the bank that is valid for everybody else must stay as it was. */
static void test_key_update_leaves_the_valid_bank(void **state)
{
    struct link link;

    (void)state;
    link_tls13(&link);
    link_put(&link, RECORD_APPLICATION_DATA, "a", 1);
    link_put_key_update(&link, 0);
    size_t first = link.size;
    link_put_key_update(&link, 0);
    link_put(&link, RECORD_APPLICATION_DATA, "b", 1);
    size_t size = link.size;
    struct record_key before = link.keys[0].read;
    assert_int_equal(link_take(&link), LEG_AGAIN);
    assert_int_equal(link.opened.consumed, first);
    assert_int_equal(link.opened.produced, 1);
    assert_int_equal(link.leg.read_bank, 1);
    assert_int_equal(link.leg.read_sequence, 0);
    assert_int_equal(link.keys[1].read.epoch, before.epoch + 1);
    assert_memory_equal(&before, &link.keys[0].read, sizeof(before));

    size_t at = first;
    assert_int_equal(leg_open(crypto, &link.leg, leg_own_banks(link.keys), wire + at, size - at,
                              output, sizeof(output), 0, &link.opened),
                     LEG_AGAIN);
    assert_int_equal(link.leg.read_bank, 0);
    at += link.opened.consumed;
    assert_int_equal(leg_open(crypto, &link.leg, leg_own_banks(link.keys), wire + at, size - at,
                              output, sizeof(output), 0, &link.opened),
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
        link_put_key_update(&link, i % 2 == 0);
        assert_int_equal(link_take(&link), LEG_AGAIN);
    }
    assert_int_equal(leg_seal(crypto, &link.leg, leg_own_banks(link.keys), plain, 10, wire), 0);
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
        link_put_key_update(&link, 0);
        assert_int_equal(link_take_at(&link, 100000), LEG_AGAIN);
    }
    for (uint64_t second = 1; second <= 3; second++) {
        for (int i = 0; i < 10; i++) {
            link_put_key_update(&link, 0);
            assert_int_equal(link_take_at(&link, 100000 + second), LEG_AGAIN);
        }
    }
    link_put_key_update(&link, 0);
    assert_int_equal(link_take_at(&link, 100003), LEG_FATAL);
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
    size_t n = leg_seal(crypto, &link.leg, leg_own_banks(link.keys), plain, 10, wire);
    assert_int_equal(link_peer_reads(&link, wire, n, &opened), RECORD_APPLICATION_DATA);

    /* RFC 9846 §4.7.3: one outstanding request at most */
    assert_true(update_keys(&link.leg, true));
    assert_owes(&link, RECORD_HANDSHAKE, "\x18\0\0\1\0", 5);
    assert_true(record_key_next(link.suite, &link.peer_read, &next));
    link.peer_read = next;
    link.read_sequence = 0;
    link_put_key_update(&link, 0); /* the answer */
    assert_int_equal(link_take(&link), LEG_AGAIN);
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
    link_put_key_update(&link, 1);
    assert_int_equal(link_take(&link), LEG_AGAIN);
    assert_owes(&link, RECORD_HANDSHAKE, "\x18\0\0\1\0", 5);
}

static void test_used_up_keys(void **state)
{
    struct link link;
    uint8_t owed[LEG_OWED_MAX];

    (void)state;
    link_tls13(&link);
    link.leg.write_sequence = UINT64_MAX;
    assert_int_equal(leg_seal(crypto, &link.leg, leg_own_banks(link.keys), plain, 10, wire), 0);
    assert_true(link.leg.close_sent);

    link_tls13(&link);
    link.keys[0].write.epoch = UINT32_MAX;
    assert_true(update_keys(&link.leg, false));
    assert_int_equal(leg_seal_owed(crypto, &link.leg, leg_own_banks(link.keys), clock_ms, owed), 0);
    assert_true(link.leg.close_sent);

    link_tls13(&link);
    link.keys[0].read.epoch = UINT32_MAX;
    link_put(&link, RECORD_HANDSHAKE, "\x18\0\0\1\0", 5);
    assert_fatal(&link, LEG_REASON_INTERNAL, ALERT_INTERNAL_ERROR);
}

static void test_session_tickets_are_skipped(void **state)
{
    struct link link;
    uint8_t ticket[65540] = {4, 1, 0, 0}; /* the largest */

    (void)state;
    link_init(&link, TLS_VERSION_1_3, 0x1301, true);
    for (size_t at = 0; at < sizeof(ticket); at += 16000) {
        link_put(&link, RECORD_HANDSHAKE, ticket + at,
                 sizeof(ticket) - at < 16000 ? sizeof(ticket) - at : 16000);
    }
    link_put(&link, RECORD_HANDSHAKE, "\4\0\0\1x\4\0\0\2xx", 11); /* two in one record */
    link_put(&link, RECORD_HANDSHAKE, "\4\0", 2);
    link_put(&link, RECORD_HANDSHAKE, "\0\2x", 3);
    link_put(&link, RECORD_HANDSHAKE, "x\x18\0\0\1\0", 6); /* and a KeyUpdate at the end of one */
    link_peer_renews(&link);
    link_put(&link, RECORD_APPLICATION_DATA, "data", 4);
    size_t size = link.size;
    assert_int_equal(link_take(&link), LEG_AGAIN);
    assert_int_equal(link.opened.produced, 0);
    size_t at = link.opened.consumed;
    assert_int_equal(leg_open(crypto, &link.leg, leg_own_banks(link.keys), wire + at, size - at,
                              output, sizeof(output), 0, &link.opened),
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
            link_put(&link, RECORD_HANDSHAKE, message, split);
            assert_int_equal(link_take(&link), LEG_MORE);
            assert_false(leg_owes(&link.leg));
            link_put(&link, RECORD_HANDSHAKE, message + split, size - split);
            link_put(&link, RECORD_APPLICATION_DATA, "data", 4);
            assert_int_equal(link_take(&link), LEG_MORE);
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
            link_put(&link, RECORD_HANDSHAKE, "\1\0\0\1x", 5);
        }
        link_put(&link, RECORD_APPLICATION_DATA, "data", 4);
        assert_int_equal(link_take(&link), LEG_MORE);
        assert_int_equal(link.opened.renegotiations, 8);
        assert_owes(&link, RECORD_ALERT, "\x01\x64", 2); /* one warning for all */
    }
    for (int i = 0; i < 9; i++) {
        link_put(&link, RECORD_HANDSHAKE, "\1\0\0\1x", 5);
    }
    assert_fatal(&link, LEG_REASON_ALERT_FLOOD, ALERT_UNEXPECTED_MESSAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, leg_world_set_up, leg_world_tear_down);
}
