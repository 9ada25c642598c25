/* A leg in real conversations with OpenSSL, in every suite. */
#include "tls/leg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "leg_world.h"
#include "openssl_peer.h"

static const uint16_t suite_ids[][2] = {
    {0x0304, 0x1301}, {0x0304, 0x1302}, {0x0304, 0x1303}, {0x0303, 0xc02b}, {0x0303, 0xc02c},
    {0x0303, 0xc02f}, {0x0303, 0xc030}, {0x0303, 0xcca8}, {0x0303, 0xcca9},
};

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
        event = leg_open(crypto, &peer->leg, leg_own_banks(peer->keys), input + at, size - at,
                         output + total, sizeof(output) - total, 0, &opened);
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
    size_t n = leg_seal_owed(crypto, &peer->leg, leg_own_banks(peer->keys), clock_ms, wire);
    size_t sealed = leg_seal(crypto, &peer->leg, leg_own_banks(peer->keys), plain, size, wire + n);
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
    size_t n = leg_seal_owed(crypto, &peer->leg, leg_own_banks(peer->keys), clock_ms, owed);
    assert_int_equal(openssl_peer_open(peer, owed, n, output, sizeof(output), &error), 0);
    assert_int_equal(error, SSL_ERROR_ZERO_RETURN);
    assert_int_equal(SSL_get_shutdown(peer->ssl), SSL_RECEIVED_SHUTDOWN);
    SSL_shutdown(peer->ssl);
    n = openssl_peer_output(peer, wire, sizeof(wire));
    assert_int_equal(leg_open(crypto, &peer->leg, leg_own_banks(peer->keys), wire, n, output,
                              sizeof(output), 0, &opened),
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
            assert_true(peer->keys[peer->leg.read_bank].read.epoch >= 50);
            assert_true(peer->keys[peer->leg.write_bank].write.epoch >= 50);
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
    assert_int_equal(peer->keys[peer->leg.write_bank].write.epoch, 1);
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
        size_t n = leg_seal_owed(crypto, &peer->leg, leg_own_banks(peer->keys), clock_ms, owed);
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
        size_t n = leg_seal(crypto, &peer->leg, leg_own_banks(peer->keys), plain, 100, wire);
        wire[n - 1] ^= 1;
        assert_int_equal(openssl_peer_open(peer, wire, n, output, sizeof(output), &error), 0);
        assert_int_equal(error, SSL_ERROR_SSL);
        n = openssl_peer_output(peer, wire, sizeof(wire));
        assert_int_equal(leg_open(crypto, &peer->leg, leg_own_banks(peer->keys), wire, n, output,
                                  sizeof(output), 0, &opened),
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
        size_t n = record_seal(crypto, suite, &peer->keys[0].write, &leg->write_sequence,
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
            n = leg_seal_owed(crypto, &peer->leg, leg_own_banks(peer->keys), clock_ms, owed);
            /* OpenSSL itself gives up when its wish is refused, but it did understand our alert */
            assert_int_equal(openssl_peer_open(peer, owed, n, output, sizeof(output), &error), 0);
            assert_int_equal(error, SSL_ERROR_SSL);
            n = openssl_peer_output(peer, wire, sizeof(wire));
            struct leg_opened opened;
            assert_int_equal(leg_open(crypto, &peer->leg, leg_own_banks(peer->keys), wire, n,
                                      output, sizeof(output), 0, &opened),
                             LEG_FATAL);
            assert_int_equal(opened.reason, LEG_REASON_PEER_ALERT);
            openssl_peer_free(peer);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openssl_conversations),
        cmocka_unit_test(test_openssl_max_fragment_length),
        cmocka_unit_test(test_openssl_key_updates),
        cmocka_unit_test(test_openssl_repeated_requests),
        cmocka_unit_test(test_openssl_fatal_alert),
        cmocka_unit_test(test_openssl_reports_bad_record),
        cmocka_unit_test(test_openssl_user_canceled),
        cmocka_unit_test(test_openssl_renegotiation),
    };
    return cmocka_run_group_tests(tests, leg_world_set_up, leg_world_tear_down);
}
