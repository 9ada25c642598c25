/* A leg after its handshake: broken records, alerts, and input and output of any size. */
#include "tls/leg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "leg_world.h"

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
    link_put(&link, RECORD_APPLICATION_DATA, "good", 4);
    size_t good = link.size;
    link_put(&link, RECORD_APPLICATION_DATA, "evil", 4);
    wire[link.size - 1] ^= 1;
    assert_fatal(&link, LEG_REASON_BAD_TAG, ALERT_BAD_RECORD_MAC);
    assert_int_equal(link.opened.produced, 4);
    assert_int_equal(link.opened.consumed, good);
    assert_memory_equal(output, "good\0\0\0\0", 8);
    assert_owes(&link, RECORD_ALERT, "\x02\x14", 2);
    assert_int_equal(leg_seal(crypto, &link.leg, leg_own_banks(link.keys), plain, 1, wire), 0);
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
            link_put(&link, RECORD_APPLICATION_DATA, plain, 0);
        }
        link_put(&link, RECORD_APPLICATION_DATA, plain, 1);
        assert_int_equal(link_take(&link), LEG_MORE);
        assert_int_equal(link.opened.produced, 1);
    }
    for (int i = 0; i < 33; i++) {
        link_put(&link, RECORD_APPLICATION_DATA, plain, 0);
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
    assert_int_equal(leg_seal_owed(crypto, &link.leg, leg_own_banks(link.keys), clock_ms, owed), 0);
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
    link_put(&link, RECORD_ALERT, "\x02\x28", 2);
    assert_int_equal(link_take(&link), LEG_FATAL);
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
                link_put(&link, RECORD_ALERT, cases[i].content, 2);
            }
            link_put(&link, RECORD_APPLICATION_DATA, "x", 1);
            assert_int_equal(link_take(&link), LEG_MORE);
            assert_int_equal(link.opened.produced, 1);
            assert_int_equal(link.opened.peer_alert, (uint8_t)cases[i].content[1]);
        }
        for (int j = 0; j < 5; j++) {
            link_put(&link, RECORD_ALERT, cases[i].content, 2);
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
        link_put(&link, RECORD_APPLICATION_DATA, "last", 4);
        link_put(&link, RECORD_ALERT, "\x01\x00", 2);
        link_put(&link, RECORD_APPLICATION_DATA, "ignored", 7);
        memset(wire + link.size, 'x', 100);
        link.size += 100;
        size_t size = link.size;
        assert_int_equal(link_take(&link), LEG_CLOSED);
        assert_int_equal(link.opened.consumed, size);
        assert_int_equal(link.opened.produced, 4);
        assert_int_equal(link.opened.peer_alert, ALERT_CLOSE_NOTIFY);
        link.size = 50;
        assert_int_equal(link_take(&link), LEG_CLOSED);
        assert_int_equal(link.opened.consumed, 50);
        /* half-closed: we may go on, then close ourselves */
        size_t n = leg_seal(crypto, &link.leg, leg_own_banks(link.keys), plain, 10, wire);
        struct record_opened opened;
        assert_int_equal(link_peer_reads(&link, wire, n, &opened), RECORD_APPLICATION_DATA);
        leg_alert(&link.leg, ALERT_CLOSE_NOTIFY);
        assert_int_equal(leg_seal(crypto, &link.leg, leg_own_banks(link.keys), plain, 10, wire), 0);
        assert_owes(&link, RECORD_ALERT, "\x01\x00", 2);
        assert_int_equal(leg_seal(crypto, &link.leg, leg_own_banks(link.keys), plain, 10, wire), 0);
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
    link_put_key_update(&link, 1); /* cannot be answered any more, but is obeyed */
    link_put(&link, RECORD_APPLICATION_DATA, "x", 1);
    size_t size = link.size;
    assert_int_equal(link_take(&link), LEG_AGAIN);
    assert_false(leg_owes(&link.leg));
    assert_int_equal(leg_open(crypto, &link.leg, leg_own_banks(link.keys),
                              wire + link.opened.consumed, size - link.opened.consumed, output,
                              sizeof(output), 0, &link.opened),
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

/* ---- Input and output sizes ---- */

static void test_byte_by_byte(void **state)
{
    struct link link;
    struct leg_opened opened;

    (void)state;
    link_tls13(&link);
    link_put(&link, RECORD_APPLICATION_DATA, plain, 300);
    size_t total = 0;
    for (size_t n = 0; n < link.size;
         n++) { /* a partial record is consumed never, a whole one at once */
        assert_int_equal(leg_open(crypto, &link.leg, leg_own_banks(link.keys), wire, n, output,
                                  sizeof(output), 0, &opened),
                         LEG_MORE);
        assert_int_equal(opened.consumed, 0);
        total += opened.produced;
    }
    assert_int_equal(total, 0);
    assert_int_equal(link_take(&link), LEG_MORE);
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
        link_put(&link, RECORD_APPLICATION_DATA, plain + i * 1000, 1000);
    }
    for (;;) { /* room for two ciphertexts and a bit */
        enum leg_event event = leg_open(crypto, &link.leg, leg_own_banks(link.keys), wire + at,
                                        link.size - at, output + total, 2500, 0, &opened);
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
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_full_output),
        cmocka_unit_test(test_sealed_size),
    };
    return cmocka_run_group_tests(tests, leg_world_set_up, leg_world_tear_down);
}
