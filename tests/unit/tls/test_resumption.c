/* Who may resume, with given times: first what must not, to the second. */
#include "tls/resumption.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tls/suite.h"

#define NOW  1800000000
#define DAY  86400
#define WEEK (7 * DAY)

static struct resumption_record record;
static struct resumption_moment moment;

/* One that resumes: made a day ago, good for years. */
static int prepare(void **state)
{
    (void)state;
    record = (struct resumption_record){.version = RESUMPTION_RECORD_VERSION,
                                        .authenticated = NOW - DAY,
                                        .server_end = NOW + 100 * (int64_t)DAY,
                                        .epoch = 5};
    moment = (struct resumption_moment){
        .now = NOW, .session_end = NOW + 10, .lineage_s = WEEK, .epoch = 5, .same_context = true};
    resumption_name("shop.test", record.name);
    resumption_name("shop.test", moment.name);
    return 0;
}

static void expect(enum resumption_miss miss)
{
    assert_string_equal(resumption_miss_name(resumption_judge(&record, &moment)),
                        resumption_miss_name(miss));
}

/* The last second in which it resumes is the one before `end`. */
static void expect_end(int64_t end, enum resumption_miss miss)
{
    moment.now = end;
    expect(miss);
    moment.now = end + 1;
    expect(miss);
    moment.now = end - 1;
    expect(RESUMPTION_MISS_NONE);
}

static void another_version_of_the_record(void **state)
{
    (void)state;
    record.version++;
    expect(RESUMPTION_MISS_POLICY_CHANGED);
    record.version = 0;
    expect(RESUMPTION_MISS_POLICY_CHANGED);
}

static void another_trust(void **state)
{
    (void)state;
    moment.trust_digest[7] = 1;
    moment.same_context = false; /* which follows, and says less */
    expect(RESUMPTION_MISS_TRUST_CHANGED);
}

static void another_policy(void **state)
{
    (void)state;
    moment.same_context = false;
    expect(RESUMPTION_MISS_POLICY_CHANGED);
}

static void an_earlier_epoch_but_not_a_later_one(void **state)
{
    (void)state;
    moment.epoch = 6;
    expect(RESUMPTION_MISS_POLICY_CHANGED);
    moment.epoch = UINT64_MAX;
    expect(RESUMPTION_MISS_POLICY_CHANGED);
    moment.epoch = 4; /* another machine's operator was quicker */
    expect(RESUMPTION_MISS_NONE);
}

static void another_name(void **state)
{
    static const char *const others[] = {"", "shop.tes", "shop.testa", "www.shop.test"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        resumption_name(others[i], moment.name);
        expect(RESUMPTION_MISS_NAME_CHANGED);
    }
    resumption_name("", record.name);
    resumption_name("", moment.name);
    expect(RESUMPTION_MISS_NONE);
}

static void the_lineage_ends(void **state)
{
    (void)state;
    moment.session_end = INT64_MAX; /* each ticket of a TLS 1.3 chain is new */
    expect_end(record.authenticated + WEEK, RESUMPTION_MISS_CAPPED);
    moment.lineage_s = 1;
    record.authenticated = NOW;
    expect_end(NOW + 1, RESUMPTION_MISS_CAPPED);
}

static void the_certificates_end(void **state)
{
    (void)state;
    moment.session_end = INT64_MAX;
    record.server_end = NOW + 5;
    expect_end(NOW + 5, RESUMPTION_MISS_CAPPED);
    record.client_end = NOW + 3;
    expect_end(NOW + 3, RESUMPTION_MISS_CAPPED);
    record.server_end = NOW + 2;
    expect_end(NOW + 2, RESUMPTION_MISS_CAPPED);
}

static void the_cap_is_the_earliest(void **state)
{
    (void)state;
    assert_int_equal(resumption_cap(&record, WEEK), record.authenticated + WEEK);
    assert_int_equal(resumption_cap(&record, 3650 * (int64_t)DAY), record.server_end);
    record.client_end = NOW;
    assert_int_equal(resumption_cap(&record, WEEK), NOW);
    record.client_end = 0; /* no client certificate, not one that ended in 1970 */
    assert_int_equal(resumption_cap(&record, WEEK), record.authenticated + WEEK);
}

/* OpenSSL resumes in the last second of a session's life; so do we. */
static void the_session_ends(void **state)
{
    (void)state;
    moment.session_end = NOW - 1;
    expect(RESUMPTION_MISS_EXPIRED);
    moment.session_end = NOW;
    expect(RESUMPTION_MISS_NONE);
    moment.session_end = NOW - 1;
    record.authenticated = NOW - WEEK; /* both: what it can never outlive is told */
    expect(RESUMPTION_MISS_CAPPED);
}

static void the_clock_was_set_back(void **state)
{
    (void)state;
    record.authenticated = NOW + RESUMPTION_SKEW_S + 1;
    expect(RESUMPTION_MISS_CAPPED);
    record.authenticated = NOW + RESUMPTION_SKEW_S; /* another machine's clock may be ahead */
    expect(RESUMPTION_MISS_NONE);
}

/* ---- contexts ---- */

static void every_part_of_a_scope_makes_another_context(void **state)
{
    const struct resumption_scope scopes[] = {
        {.listener = "shop"},
        {.listener = "shop2"},
        {.listener = "sho"},
        {.listener = "shop", .strict_names = true},
        {.listener = "shop", .client_certificates = 1},
        {.listener = "shop", .client_certificates = 256},
        {.listener = "shop", .trust_digest = {1}},
        {.listener = "shop", .trust_digest = {0, 1}},
    };
    uint8_t contexts[ARRAY_SIZE(scopes)][32], again[32];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(scopes); i++) {
        resumption_context(&scopes[i], contexts[i]);
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(contexts[i], contexts[j], 32);
    }
    resumption_context(&scopes[0], again);
    assert_memory_equal(again, contexts[0], 32);
}

/* ---- offers ---- */

static void an_id_of_a_client_that_knows_tls13_is_no_offer(void **state)
{
    struct client_hello hello = {.session_id_size = 32, .max_version = TLS_VERSION_1_3};
    struct resumption_offer offer;

    (void)state;
    resumption_offer(&hello, &offer);
    assert_false(resumption_offered(&offer, TLS_VERSION_1_3));
    assert_false(resumption_offered(&offer, TLS_VERSION_1_2));
    hello.max_version = TLS_VERSION_1_2;
    resumption_offer(&hello, &offer);
    assert_true(resumption_offered(&offer, TLS_VERSION_1_2));
    hello.session_id_size = 0;
    hello.session_ticket = true; /* empty: it only says that it takes tickets */
    resumption_offer(&hello, &offer);
    assert_false(resumption_offered(&offer, TLS_VERSION_1_2));
}

static void each_version_has_its_own_offer(void **state)
{
    struct client_hello hello = {.pre_shared_key = true, .max_version = TLS_VERSION_1_3};
    struct resumption_offer offer;

    (void)state;
    resumption_offer(&hello, &offer);
    assert_true(resumption_offered(&offer, TLS_VERSION_1_3));
    assert_false(resumption_offered(&offer, TLS_VERSION_1_2));
    hello.pre_shared_key = false;
    hello.ticket_size = 1;
    resumption_offer(&hello, &offer);
    assert_false(resumption_offered(&offer, TLS_VERSION_1_3));
    assert_true(resumption_offered(&offer, TLS_VERSION_1_2));
}

static void names_of_misses(void **state)
{
    (void)state;
    assert_string_equal(resumption_miss_name(RESUMPTION_MISS_CAPPED), "capped");
    assert_string_equal(resumption_miss_name(RESUMPTION_MISS_COUNT), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(another_version_of_the_record, prepare),
        cmocka_unit_test_setup(another_trust, prepare),
        cmocka_unit_test_setup(another_policy, prepare),
        cmocka_unit_test_setup(an_earlier_epoch_but_not_a_later_one, prepare),
        cmocka_unit_test_setup(another_name, prepare),
        cmocka_unit_test_setup(the_lineage_ends, prepare),
        cmocka_unit_test_setup(the_certificates_end, prepare),
        cmocka_unit_test_setup(the_cap_is_the_earliest, prepare),
        cmocka_unit_test_setup(the_session_ends, prepare),
        cmocka_unit_test_setup(the_clock_was_set_back, prepare),
        cmocka_unit_test(every_part_of_a_scope_makes_another_context),
        cmocka_unit_test(an_id_of_a_client_that_knows_tls13_is_no_offer),
        cmocka_unit_test(each_version_has_its_own_offer),
        cmocka_unit_test(names_of_misses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
