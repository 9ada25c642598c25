/* Bounds of keys: each number of the published tables, and the judge at each of its borders. */
#include "tls/key_limits.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>

#define GB  1e9
#define TB  1e12
#define GIB (1024.0 * 1024 * 1024)

/* As printed with three digits. */
static bool about(double value, double expected, double tolerance)
{
    return fabs(value - expected) <= fabs(expected) * tolerance;
}

static double bytes_of(enum key_cipher cipher, unsigned block_bits, double record, double log2_p)
{
    struct key_question question = {cipher, block_bits, record, log2_p};
    return key_bound_confidentiality(&question).bytes;
}

static void test_gcm(void **state)
{
    static const struct {
        double record, log2_p, bytes;
    } table[] = {
        {16384, -60, 388 * GB},  {1400, -60, 378 * GB},  {100, -60, 270 * GB},
        {16384, -57, 1.1 * TB},  {1400, -57, 1.07 * TB}, {100, -57, 764 * GB},
        {16384, -50, 12.4 * TB}, {1400, -50, 12.1 * TB}, {100, -50, 8.6 * TB},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        assert_true(about(bytes_of(KEY_AES_GCM, 128, table[i].record, table[i].log2_p),
                          table[i].bytes, 0.006));
}

/* RFC 9846 §5.5: 2^24.5 full-size records. */
static void test_gcm_records_and_time(void **state)
{
    struct key_question question = {KEY_AES_GCM, 128, 16384, -60};
    struct key_bound bound = key_bound_confidentiality(&question);
    (void)state;

    assert_true(about(log2(bound.records), 24.5, 0.001));
    assert_true(about(bound.bytes * 8 / 1e9 / 60, 52, 0.01));
    assert_true(about(bound.bytes * 8 / 1e10 / 60, 5.2, 0.01));
    question.log2_probability = -57;
    assert_true(about(key_bound_confidentiality(&question).bytes * 8 / 1e9 / 3600, 2.4, 0.02));
    question.log2_probability = -50;
    assert_true(about(key_bound_confidentiality(&question).bytes * 8 / 1e9 / 3600, 28, 0.02));
    assert_true(about(key_bound_confidentiality(&question).bytes * 8 / 1e10 / 3600, 2.8, 0.02));
}

static void test_ccm(void **state)
{
    (void)state;
    assert_true(about(bytes_of(KEY_AES_CCM, 128, 16384, -60), 137 * GB, 0.005));
    assert_true(about(bytes_of(KEY_AES_CCM, 128, 16384, -57), 388 * GB, 0.005));
    assert_true(about(bytes_of(KEY_AES_CCM, 128, 16384, -50), 4.4 * TB, 0.005));
    assert_true(bytes_of(KEY_AES_CCM_8, 128, 16384, -60) == bytes_of(KEY_AES_CCM, 128, 16384, -60));
}

static void test_chacha_has_no_limit(void **state)
{
    struct key_question question = {KEY_CHACHA20_POLY1305, 128, 16384, -60};
    (void)state;

    assert_true(isinf(key_bound_confidentiality(&question).bytes));
    assert_true(isinf(key_bound_fleet(&question, 1e18).bytes));
    assert_true(about(key_log2_forgery(&question), log2(1027) - 103, 1e-9));
}

static void test_forgery(void **state)
{
    struct key_question question = {KEY_AES_GCM, 128, 16384, -60};
    (void)state;

    assert_true(about(key_log2_forgery(&question), -117, 0.001));
    question.cipher = KEY_AES_CCM; /* (2Lq)^2 / 2^128 is the probability itself */
    assert_true(about(key_log2_forgery(&question), -60, 1e-6));
    question.cipher = KEY_AES_CCM_8;
    assert_true(about(key_log2_forgery(&question), log2(exp2(-64) + exp2(-60)), 1e-6));
}

/* Sweet32: 47 MB at 2^-20, and two equal blocks after 32 GiB. */
static void test_64_bit_blocks(void **state)
{
    struct key_question question = {KEY_CBC, 64, 16384, -20};
    (void)state;

    assert_true(about(bytes_of(KEY_CBC, 64, 16384, -20), 47e6, 0.01));
    assert_true(key_bound_birthday(&question).blocks == exp2(32));
    assert_true(key_bound_birthday(&question).bytes == 32 * GIB);
}

/* "250 billions of gigabytes" for AES: 2^64 blocks of 16 bytes are 256 times 2^30 GiB. */
static void test_birthday_of_aes(void **state)
{
    struct key_question question = {KEY_AES_GCM, 128, 16384, -1};
    (void)state;

    assert_true(key_bound_birthday(&question).bytes == 256 * GIB * GIB);
    assert_true(about(key_bound_confidentiality(&question).blocks, exp2(64), 1e-9));
}

/* 10 Gbit/s for a year of 31.5 million seconds. */
static void test_fleet(void **state)
{
    struct key_question question = {KEY_AES_GCM, 128, 16384, -40};
    double year = 1.25e9 * 31.5e6;
    (void)state;

    assert_true(about(key_bound_fleet(&question, year).bytes, 1 * TB, 0.006));
    question.log2_probability = -50;
    assert_true(about(key_bound_fleet(&question, year).bytes, 982e6, 0.005));
    question.cipher = KEY_CBC;
    assert_true(isinf(key_bound_fleet(&question, year).bytes));
}

static void test_sequence_numbers(void **state)
{
    struct key_question question = {KEY_AES_GCM, 128, 16384, -60};
    (void)state;

    assert_true(key_bound_sequence(&question, 64).records == exp2(64));
    assert_true(key_bound_sequence(&question, 32).bytes == exp2(32 + 14)); /* 64 TiB */
    double times =
        key_bound_sequence(&question, 64).records / key_bound_confidentiality(&question).records;
    assert_true(about(log2(times), 39.5, 0.001));
}

static void test_blocks_of_a_record(void **state)
{
    (void)state;
    assert_int_equal(key_blocks(0), 3); /* the type byte alone fills a block */
    assert_int_equal(key_blocks(15), 3);
    assert_int_equal(key_blocks(16), 4);
    assert_int_equal(key_blocks(100), 9);
    assert_int_equal(key_blocks(1400), 90);
    assert_int_equal(key_blocks(16384), 1027);
}

static void test_limits(void **state)
{
    struct key_limits limits = key_limits_for(KEY_AES_GCM, KEY_LOG2_PROBABILITY, 0, 0);
    (void)state;

    assert_true(about((double)limits.blocks_soft, exp2(33.5), 1e-6));
    assert_true(about((double)limits.blocks_soft * 16, 194 * GB, 0.01));
    assert_true(limits.blocks_hard < exp2(34.5) && limits.blocks_hard > limits.blocks_soft);
    assert_int_equal(limits.records_soft, 1 << 24);
    assert_int_equal(limits.records_hard, 1ull << 63);
    limits = key_limits_for(KEY_AES_CCM, KEY_LOG2_PROBABILITY, 0, 0);
    assert_true(about((double)limits.blocks_soft, exp2(32), 1e-6));
    limits = key_limits_for(KEY_CHACHA20_POLY1305, KEY_LOG2_PROBABILITY, 1e18, -60);
    assert_int_equal(limits.blocks_soft, 0);
    assert_int_equal(limits.blocks_hard, 0);
    assert_int_equal(limits.records_soft, 0);
    limits = key_limits_for(KEY_AES_GCM, KEY_LOG2_PROBABILITY, 1.25e9 * 31.5e6, -50);
    assert_true(about((double)limits.blocks_soft * 16, 982e6 / 2, 0.005));
    limits = key_limits_for(KEY_AES_GCM, -600, 0, 0); /* no record at all: renew each time */
    assert_int_equal(limits.blocks_soft, 1);
}

static enum key_action judge(struct key_limits limits, struct key_usage usage, uint64_t now)
{
    return key_limits_judge(&limits, &usage, now);
}

static void test_judge(void **state)
{
    struct key_limits all = {100, 200, 10, 20, 1000, 500};
    struct key_usage used = {99, 9, 999, 1000};
    (void)state;

    assert_int_equal(judge(all, used, 1499), KEY_KEEP);
    assert_int_equal(judge(all, used, 1500), KEY_RENEW);
    assert_int_equal(judge(all, used, 999), KEY_KEEP); /* a clock that went back */
    assert_int_equal(judge(all, (struct key_usage){100, 0, 0, 0}, 0), KEY_RENEW);
    assert_int_equal(judge(all, (struct key_usage){199, 0, 0, 0}, 0), KEY_RENEW);
    assert_int_equal(judge(all, (struct key_usage){200, 0, 0, 0}, 0), KEY_RENEW_URGENT);
    assert_int_equal(judge(all, (struct key_usage){0, 10, 0, 0}, 0), KEY_RENEW);
    assert_int_equal(judge(all, (struct key_usage){0, 20, 0, 0}, 0), KEY_RENEW_URGENT);
    assert_int_equal(judge(all, (struct key_usage){0, 0, 1000, 0}, 0), KEY_RENEW);
    assert_int_equal(
        judge((struct key_limits){0}, (struct key_usage){UINT64_MAX, UINT64_MAX, 1, 0}, UINT64_MAX),
        KEY_KEEP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gcm),
        cmocka_unit_test(test_gcm_records_and_time),
        cmocka_unit_test(test_ccm),
        cmocka_unit_test(test_chacha_has_no_limit),
        cmocka_unit_test(test_forgery),
        cmocka_unit_test(test_64_bit_blocks),
        cmocka_unit_test(test_birthday_of_aes),
        cmocka_unit_test(test_fleet),
        cmocka_unit_test(test_sequence_numbers),
        cmocka_unit_test(test_blocks_of_a_record),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_judge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
