/* The governor with a clock of its own: limits from a configuration, then hours of traffic through
 * a real leg and a peer that follows its keys. */
#include "tls/governor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000ull

static const struct conf conf;
static struct conf_listener listener;
static struct record_crypto *crypto;
static uint8_t plain[RECORD_PLAINTEXT_MAX], wire[2 * RECORD_WIRE_MAX], opened[2 * RECORD_WIRE_MAX];

static int setup(void **state)
{
    (void)state;
    crypto = record_crypto_new();
    return crypto == NULL;
}

static int teardown(void **state)
{
    (void)state;
    record_crypto_free(crypto);
    return 0;
}

static struct key_limits limits_of(uint16_t version, uint16_t id)
{
    struct key_limits limits;

    governor_limits(&conf, &listener, suite_find(version, id), &limits);
    return limits;
}

static int defaults(void **state)
{
    (void)state;
    memset(&listener, 0, sizeof listener);
    listener.traffic_key_records = 1u << 24;
    listener.traffic_key_probability = 60;
    return 0;
}

/* ---- limits ---- */

static void test_limits(void **state)
{
    (void)state;
    struct key_limits limits = limits_of(TLS_VERSION_1_3, 0x1301);
    assert_int_equal(limits.records_soft, 1u << 24);
    assert_int_equal(limits.records_hard, 1u << 25);
    /* 2^33.5, half of what 2^-60 allows (draft-irtf-cfrg-aead-limits §5.1.1): 194 GB. */
    assert_in_range(limits.blocks_soft, 12148000000, 12149000000);
    assert_true(limits.blocks_hard > limits.blocks_soft);
    assert_true(limits.blocks_hard < 2 * limits.blocks_soft);
    assert_int_equal(limits.bytes, 0);
    assert_int_equal(limits.age_ns, 0);

    limits = limits_of(TLS_VERSION_1_3, 0x1303); /* ChaCha20: records only */
    assert_int_equal(limits.blocks_soft, 0);
    assert_int_equal(limits.records_soft, 1u << 24);

    listener.traffic_key_records = 0;
    limits = limits_of(TLS_VERSION_1_2, 0xc02f);
    assert_int_equal(limits.records_soft, 0);
    assert_true(limits.records_hard != 0); /* the sequence number does not wrap */

    listener.traffic_key_age = 5000;
    listener.traffic_key_bytes = 1u << 20;
    limits = limits_of(TLS_VERSION_1_3, 0x1301);
    assert_int_equal(limits.age_ns, 5 * SECOND);
    assert_int_equal(limits.bytes, 1u << 20);
}

/* A fleet that sends 10 Gbit/s for a year, at 2^-50: 982 MB a key, half of it soft. */
static void test_fleet_limit(void **state)
{
    struct conf fleet = {.traffic_key_fleet_volume = 39420000000000000,
                         .traffic_key_fleet_probability = 50};
    struct key_limits limits;

    (void)state;
    governor_limits(&fleet, &listener, suite_find(TLS_VERSION_1_3, 0x1302), &limits);
    assert_in_range(limits.blocks_soft * 16, 450000000, 530000000);
    /* A budget for which nothing is left must not end in a division by zero. */
    fleet.traffic_key_fleet_volume = 1ull << 63;
    fleet.traffic_key_fleet_probability = 100;
    governor_limits(&fleet, &listener, suite_find(TLS_VERSION_1_2, 0xc02f), &limits);
    struct leg leg;
    leg_init(&leg, suite_find(TLS_VERSION_1_2, 0xc02f), false, 0);
    leg.write_blocks = 100;
    assert_int_equal(governor_end(&leg, &limits, 0, SECOND), GOVERNOR_END_NOW);
}

static void test_used(void **state)
{
    struct key_limits limits = {.records_soft = 100,
                                .records_hard = 200,
                                .blocks_soft = 1000,
                                .blocks_hard = 1800,
                                .bytes = 4000,
                                .age_ns = 10 * SECOND};
    struct key_usage usage = {.records = 10, .blocks = 900, .bytes = 100, .since = SECOND};
    enum key_cause cause;

    (void)state;
    assert_int_equal(governor_used(&limits, &usage, 2 * SECOND, &cause), 500);
    assert_int_equal(cause, KEY_CAUSE_BLOCKS);
    cause = KEY_CAUSE_AGE;
    assert_true(governor_share(&limits, &usage, 2 * SECOND, &cause) == 0.5);
    assert_int_equal(cause, KEY_CAUSE_BLOCKS);
    assert_true(governor_share(&(struct key_limits){0}, &usage, 2 * SECOND, &cause) < 0);
    assert_true(governor_share(&(struct key_limits){.bytes = 10}, &(struct key_usage){0}, SECOND,
                               &cause) == 0);
    assert_int_equal(governor_used(&limits, &usage, 21 * SECOND, &cause), 1000);
    assert_int_equal(cause, KEY_CAUSE_AGE);
    usage.bytes = 12000;
    assert_int_equal(governor_used(&limits, &usage, 2 * SECOND, &cause), 1500);
    assert_int_equal(cause, KEY_CAUSE_BYTES);
    assert_string_equal(key_cause_name(cause), "bytes");
    usage.records = UINT64_MAX;
    assert_true(governor_used(&limits, &usage, 0, &cause) > 1000);
    assert_int_equal(cause, KEY_CAUSE_RECORDS);
}

/* ---- a leg and its peer ---- */

struct pair {
    const struct suite *suite;
    struct leg leg, peer;
    struct leg_keys keys[2], peer_keys[2];
    uint64_t updates, requests;
};

static void pair_init(struct pair *pair, uint64_t now_ns)
{
    memset(pair, 0, sizeof *pair);
    pair->suite = suite_find(TLS_VERSION_1_3, 0x1301);
    leg_init(&pair->leg, pair->suite, false, 0);
    leg_init(&pair->peer, pair->suite, true, 0);
    leg_start(&pair->leg, now_ns / 1000000);
    leg_start(&pair->peer, now_ns / 1000000);
    memset(&pair->keys[0].read, 1, sizeof pair->keys[0].read);
    memset(&pair->keys[0].write, 2, sizeof pair->keys[0].write);
    pair->keys[0].read.epoch = pair->keys[0].write.epoch = 0;
    pair->peer_keys[0].read = pair->keys[0].write;
    pair->peer_keys[0].write = pair->keys[0].read;
}

/* The receiver opens all, in as many calls as its keys change. */
static void deliver(struct leg *leg, struct leg_keys *keys, size_t size, uint64_t now_ns,
                    struct pair *pair)
{
    struct leg_opened result;
    size_t at = 0;

    while (at < size) {
        enum leg_event event = leg_open(crypto, leg, leg_own_banks(keys), wire + at, size - at,
                                        opened, sizeof opened, now_ns / 1000000, &result);
        assert_true(event == LEG_MORE || event == LEG_AGAIN);
        at += result.consumed;
        pair->updates += result.key_updates;
    }
}

static void send_owed(struct pair *pair, uint64_t now_ns)
{
    size_t size =
        leg_seal_owed(crypto, &pair->leg, leg_own_banks(pair->keys), now_ns / 1000000, wire);

    if (size != 0)
        deliver(&pair->peer, pair->peer_keys, size, now_ns, pair);
    size =
        leg_seal_owed(crypto, &pair->peer, leg_own_banks(pair->peer_keys), now_ns / 1000000, wire);
    if (size != 0)
        deliver(&pair->leg, pair->keys, size, now_ns, pair);
}

static void send_data(struct pair *pair, size_t size, uint64_t now_ns)
{
    size_t written = leg_seal(crypto, &pair->leg, leg_own_banks(pair->keys), plain, size, wire);

    assert_true(written != 0);
    deliver(&pair->peer, pair->peer_keys, written, now_ns, pair);
}

/* Ten minutes of small records as fast as they go: one KeyUpdate after each two seconds, none
 * sooner, and the peer follows every one of them. */
static void test_ten_minutes_of_bulk(void **state)
{
    struct key_limits limits;
    uint64_t begin = 5 * SECOND, step = SECOND / 400, last = begin;
    struct pair pair;
    enum key_cause cause;

    (void)state;
    listener.traffic_key_records = 64;
    limits = limits_of(TLS_VERSION_1_3, 0x1301);
    pair_init(&pair, begin);
    for (uint64_t now = begin; now < begin + 600 * SECOND; now += step) {
        if (governor_renew(&pair.leg, &limits, false, now, &cause)) {
            assert_int_equal(cause, KEY_CAUSE_RECORDS);
            assert_true(now - last >= 2 * SECOND);
            assert_true(now - last <= 2 * SECOND + 2 * SECOND / 10);
            assert_true(pair.leg.write_sequence >= 64);
            last = now;
            send_owed(&pair, now);
            assert_int_equal(pair.leg.write_sequence, 0);
            assert_int_equal(pair.leg.write_blocks, 0);
        }
        send_data(&pair, 1 + now / step % 40, now);
    }
    assert_in_range(pair.leg.write_epoch, 280, 300);
    assert_int_equal(pair.updates, pair.leg.write_epoch);
    assert_int_equal(pair.keys[pair.leg.write_bank].write.epoch, pair.leg.write_epoch);
}

/* Slow enough: the key changes exactly at its limit, in millions of records. */
static void test_every_limit_is_met(void **state)
{
    struct key_limits limits;
    struct pair pair;
    enum key_cause cause;
    uint64_t now = 5 * SECOND;

    (void)state;
    listener.traffic_key_records = 1000;
    limits = limits_of(TLS_VERSION_1_3, 0x1301);
    pair_init(&pair, now);
    for (unsigned i = 0; i < 2000000; i++, now += SECOND / 100) {
        bool due = pair.leg.write_sequence >= 1000;
        assert_int_equal(governor_renew(&pair.leg, &limits, false, now, &cause), due);
        if (due) {
            size_t size =
                leg_seal_owed(crypto, &pair.leg, leg_own_banks(pair.keys), now / 1000000, wire);
            assert_true(size != 0);
        }
        pair.leg.write_sequence++;
        pair.leg.write_blocks += key_blocks(100);
    }
    assert_int_equal(pair.leg.write_epoch, 1999);

    /* by blocks, bytes and age in turn */
    struct key_limits each[] = {
        {.blocks_soft = 5000, .blocks_hard = 9000}, {.bytes = 10000}, {.age_ns = 60 * SECOND}};
    for (unsigned i = 0; i < ARRAY_SIZE(each); i++) {
        pair_init(&pair, now);
        while (!governor_renew(&pair.leg, &each[i], false, now, &cause)) {
            send_data(&pair, 100, now);
            now += SECOND / 10;
        }
        assert_int_equal(cause, KEY_CAUSE_BLOCKS + i);
        assert_true(cause != KEY_CAUSE_BLOCKS ||
                    (pair.leg.write_blocks >= 5000 && pair.leg.write_blocks < 5010));
        assert_true(cause != KEY_CAUSE_BYTES || leg_write_usage(&pair.leg).bytes < 10200);
    }
}

/* Blocks and records of a long write cut into fragments are those of its records. */
static void test_usage_of_a_leg(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair, SECOND);
    pair.leg.fragment_max = 512;
    send_data(&pair, 1100, SECOND); /* 512 + 512 + 76 */
    struct key_usage usage = leg_write_usage(&pair.leg);
    assert_int_equal(usage.records, 3);
    assert_int_equal(usage.blocks, 2 * key_blocks(512) + key_blocks(76));
    assert_in_range(usage.bytes, 1100, 1100 + 3 * 16);
    assert_int_equal(usage.since, SECOND);
    usage = leg_read_usage(&pair.peer);
    assert_int_equal(usage.records, 3);
    assert_int_equal(usage.blocks, 2 * key_blocks(512) + key_blocks(76));
    send_data(&pair, 512, SECOND);
    assert_int_equal(leg_write_usage(&pair.leg).blocks, 3 * key_blocks(512) + key_blocks(76));
}

static void test_unable_client(void **state)
{
    struct key_limits limits;
    struct pair pair;
    enum key_cause cause;

    (void)state;
    listener.traffic_key_records = 100;
    limits = limits_of(TLS_VERSION_1_3, 0x1301);
    pair_init(&pair, SECOND);
    pair.leg.write_sequence = 199;
    assert_false(governor_renew(&pair.leg, &limits, true, 100 * SECOND, &cause));
    assert_false(leg_owes(&pair.leg));
    pair.leg.write_sequence = 200;
    assert_true(governor_renew(&pair.leg, &limits, true, 100 * SECOND, &cause));
    /* never asked for its own */
    pair_init(&pair, SECOND);
    pair.leg.read_sequence = 100000;
    assert_false(governor_ask(&pair.leg, &limits, true, 100 * SECOND, &cause));
}

static void test_peer_is_asked_once(void **state)
{
    struct key_limits limits;
    struct pair pair;
    enum key_cause cause;
    uint64_t now = 100 * SECOND;

    (void)state;
    listener.traffic_key_records = 100;
    limits = limits_of(TLS_VERSION_1_3, 0x1301);
    pair_init(&pair, SECOND);
    pair.leg.read_sequence = 199;
    assert_false(governor_ask(&pair.leg, &limits, false, now, &cause));
    pair.leg.read_sequence = 200;
    assert_true(governor_ask(&pair.leg, &limits, false, now, &cause));
    assert_int_equal(cause, KEY_CAUSE_PEER);
    assert_false(governor_ask(&pair.leg, &limits, false, now, &cause)); /* it is owed */
    uint8_t owed[LEG_OWED_MAX];
    assert_true(leg_seal_owed(crypto, &pair.leg, leg_own_banks(pair.keys), now / 1000000, owed) !=
                0);
    assert_true(pair.leg.update_asked);
    now += 1000 * SECOND; /* however long it takes and whatever it sends */
    pair.leg.read_sequence = 1000000;
    assert_false(governor_ask(&pair.leg, &limits, false, now, &cause));
    assert_false(leg_owes(&pair.leg));

    pair_init(&pair, SECOND); /* both keys are worn: one KeyUpdate for both */
    pair.leg.read_sequence = pair.leg.write_sequence = 200;
    assert_true(governor_ask(&pair.leg, &limits, false, now, &cause));
    assert_int_equal(cause, KEY_CAUSE_RECORDS);
    assert_false(governor_renew(&pair.leg, &limits, false, now, &cause));
}

static void test_operator(void **state)
{
    struct key_limits limits = limits_of(TLS_VERSION_1_3, 0x1301);
    struct pair pair;
    enum key_cause cause;

    (void)state;
    pair_init(&pair, 10 * SECOND);
    pair.leg.renewal_wanted = pair.leg.renewal_request = 1;
    assert_false(governor_renew(&pair.leg, &limits, false, 11 * SECOND, &cause)); /* too young */
    assert_true(pair.leg.renewal_wanted);
    assert_true(governor_renew(&pair.leg, &limits, true, 13 * SECOND, &cause));
    assert_int_equal(cause, KEY_CAUSE_OPERATOR);
    send_owed(&pair, 13 * SECOND);
    assert_false(pair.leg.renewal_wanted);
    assert_int_equal(pair.leg.write_epoch, 1);
    assert_int_equal(pair.leg.read_epoch, 1); /* the peer has answered */
    assert_int_equal(pair.peer.write_epoch, 1);
}

/* An answer makes the key young, too: what a client asks for is not followed by our own. */
static void test_answers_count(void **state)
{
    struct key_limits limits;
    struct pair pair;
    enum key_cause cause;

    (void)state;
    listener.traffic_key_records = 16;
    limits = limits_of(TLS_VERSION_1_3, 0x1301);
    pair_init(&pair, SECOND);
    assert_true(leg_update_keys(&pair.peer, true, 10000));
    size_t size = leg_seal_owed(crypto, &pair.peer, leg_own_banks(pair.peer_keys), 10000, wire);
    deliver(&pair.leg, pair.keys, size, 10 * SECOND, &pair);
    send_owed(&pair, 10 * SECOND);
    for (unsigned i = 0; i < 20; i++)
        send_data(&pair, 10, 10 * SECOND);
    assert_false(governor_renew(&pair.leg, &limits, false, 11 * SECOND, &cause));
    assert_true(governor_renew(&pair.leg, &limits, false, 13 * SECOND, &cause));
}

/* Time that goes back or far ahead (it is the kernel's, but a slot may be older than a boot). */
static void test_odd_clock(void **state)
{
    struct key_limits limits;
    struct pair pair;
    enum key_cause cause;

    (void)state;
    listener.traffic_key_age = 60000;
    limits = limits_of(TLS_VERSION_1_3, 0x1301);
    pair_init(&pair, 1000 * SECOND);
    assert_false(governor_renew(&pair.leg, &limits, false, 1 * SECOND, &cause));
    assert_true(governor_renew(&pair.leg, &limits, false, 1ull << 60, &cause));
}

/* ---- TLS 1.2 ---- */

static void test_end_of_tls12(void **state)
{
    struct key_limits limits;
    struct leg leg;
    unsigned ended_idle = 0;

    (void)state;
    listener.traffic_key_records = 1000;
    limits = limits_of(TLS_VERSION_1_2, 0xc02b);
    leg_init(&leg, suite_find(TLS_VERSION_1_2, 0xc02b), false, 0);
    leg_start(&leg, 1000);
    leg.write_sequence = 999;
    assert_int_equal(governor_end(&leg, &limits, 0, SECOND), GOVERNOR_GO_ON);
    assert_int_equal(governor_age_end(&leg, &limits, 0), 0);
    leg.write_sequence = 1000;
    assert_int_equal(governor_end(&leg, &limits, 0, SECOND), GOVERNOR_ENDING);
    leg.write_sequence = 1500; /* half-way: those whose turn it is */
    for (uint64_t spread = 0; spread < 1000; spread++)
        ended_idle += governor_end(&leg, &limits, spread, SECOND) == GOVERNOR_END_IDLE;
    assert_in_range(ended_idle, 400, 600);
    leg.write_sequence = 1760;
    assert_int_equal(governor_end(&leg, &limits, 500, SECOND), GOVERNOR_END_IDLE);
    leg.write_sequence = 1900; /* before the hard limit, also in the middle of a transfer */
    assert_int_equal(governor_end(&leg, &limits, 500, SECOND), GOVERNOR_END_NOW);

    listener.traffic_key_age = 100000;
    limits = limits_of(TLS_VERSION_1_2, 0xc02b);
    assert_int_equal(governor_age_end(&leg, &limits, 500), 101 * SECOND);
    leg.limit_announced = 1;
    assert_in_range(governor_age_end(&leg, &limits, 0), 125 * SECOND, 127 * SECOND);
    assert_in_range(governor_age_end(&leg, &limits, 500), 175 * SECOND, 177 * SECOND);
    leg_init(&leg, suite_find(TLS_VERSION_1_3, 0x1301), false, 0);
    leg.write_sequence = UINT32_MAX;
    assert_int_equal(governor_end(&leg, &limits, 0, SECOND), GOVERNOR_GO_ON);
    assert_int_equal(governor_age_end(&leg, &limits, 0), 0);
    struct key_limits never = {.records_hard = 1000};
    enum key_cause cause;
    leg_init(&leg, suite_find(TLS_VERSION_1_2, 0xc02b), false, 0);
    leg.renewal_wanted = 1;
    assert_false(governor_renew(&leg, &never, false, 100 * SECOND, &cause));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_limits, defaults),
        cmocka_unit_test_setup(test_fleet_limit, defaults),
        cmocka_unit_test_setup(test_used, defaults),
        cmocka_unit_test_setup(test_ten_minutes_of_bulk, defaults),
        cmocka_unit_test_setup(test_every_limit_is_met, defaults),
        cmocka_unit_test_setup(test_usage_of_a_leg, defaults),
        cmocka_unit_test_setup(test_unable_client, defaults),
        cmocka_unit_test_setup(test_peer_is_asked_once, defaults),
        cmocka_unit_test_setup(test_operator, defaults),
        cmocka_unit_test_setup(test_answers_count, defaults),
        cmocka_unit_test_setup(test_odd_clock, defaults),
        cmocka_unit_test_setup(test_end_of_tls12, defaults),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
