#include "watch/mail_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attributes.h"

static struct mail_policy policy;

static const char *parsed(const char *text)
{
    return mail_policy_parse(&policy, (const uint8_t *)text, strlen(text));
}

static void records(void **state)
{
    (void)state;
    static const char *const strangers[] = {"", "v=STSv2; id=1;", "v=STSv10; id=1", "v=spf1 -all",
                                            " v=STSv1; id=1;"};
    static const char *const bad[] = {
        "v=STSv1",          "v=STSv1;",        "v=STSv1; id=;",
        "v=STSv1; id=a-b;", "v=STSv1; xid=1;", "v=STSv1; id=123456789012345678901234567890123;"};
    static const char *const good[] = {"v=STSv1; id=20160831085700Z;", "v=STSv1;id=a",
                                       "v=STSv1 ; x=y; id=7 ; z=1"};

    for (size_t i = 0; i < ARRAY_SIZE(strangers); i++)
        assert_false(mail_policy_is_record(strangers[i]));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_true(mail_policy_is_record(bad[i]));
        assert_non_null(mail_policy_record_defect(bad[i]));
    }
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_true(mail_policy_is_record(good[i]));
        assert_null(mail_policy_record_defect(good[i]));
    }
}

static void what_is_no_policy_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"", "lacks"},
        {"<html>\r\n", "key: value"},
        {"version: STSv2\r\nmode: none\r\nmax_age: 1\r\n", "version"},
        {"version: STSv1\r\nmode: strict\r\nmax_age: 1\r\nmx: a\r\n", "mode"},
        {"version: STSv1\nmode: none\n", "lacks"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\n", "no mx"},
        {"version: STSv1\nmode: enforce\nmax_age: \nmx: a\n", "max_age"},
        {"version: STSv1\nmode: enforce\nmax_age: -1\nmx: a\n", "max_age"},
        {"version: STSv1\nmode: enforce\nmax_age: 99999999999999999999\nmx: a\n", "max_age"},
        {"version: STSv1\nmode: enforce\nmax_age: 31557601\nmx: a\n", "max_age"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\nmx:\n", "mx"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\nmx: a.*.b\n", "mx"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\nmx: *\n", "mx"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\nmx: *.a.*\n", "mx"},
        {"version: STSv1\nmode: enforce\nmax_age: 1\nmx: a\x1b[2J\n", "mx"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const char *defect = parsed(bad[i].text);
        if (defect == NULL || strstr(defect, bad[i].words) == NULL)
            fail_msg("%s: %s", bad[i].text, defect);
    }
}

static void too_much_is_bounded(void **state)
{
    (void)state;
    static char text[MAIL_POLICY_SIZE_MAX + 2];
    size_t used =
        (size_t)snprintf(text, sizeof text, "version: STSv1\nmode: testing\nmax_age: 1\n");

    for (unsigned i = 0; i < 100; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "mx: mx%u.example\n", i);
    assert_null(parsed(text));
    assert_int_equal(policy.pattern_count, MAIL_POLICY_PATTERNS_MAX);
    assert_int_equal(policy.patterns_dropped, 100 - MAIL_POLICY_PATTERNS_MAX);
    memset(text, 'x', sizeof text - 1);
    assert_non_null(strstr(parsed(text), "64 KiB"));
    snprintf(text, sizeof text, "version: STSv1\nmode: enforce\nmax_age: 1\nmx: %0300d\n", 0);
    assert_non_null(parsed(text));
}

static void a_policy_names_hosts(void **state)
{
    (void)state;

    assert_null(parsed("version: STSv1\r\nfuture: thing\r\nmode:enforce\r\n"
                       "max_age: 604800 \r\nmode: none\r\nmx: MX1.example.org\r\n"
                       "mx: *.mail.example.net"));
    assert_int_equal(policy.mode, MAIL_POLICY_ENFORCE);
    assert_int_equal(policy.max_age_s, 604800);
    assert_true(mail_policy_covers(&policy, "mx1.example.org"));
    assert_true(mail_policy_covers(&policy, "a.mail.example.net"));
    assert_false(mail_policy_covers(&policy, "mx2.example.org"));
    assert_false(mail_policy_covers(&policy, "mail.example.net"));
    assert_false(mail_policy_covers(&policy, "a.b.mail.example.net"));
    assert_false(mail_policy_covers(&policy, ".mail.example.net"));
    assert_null(parsed("version: STSv1\nmode: none\nmax_age: 0\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records),
        cmocka_unit_test(what_is_no_policy_is_refused),
        cmocka_unit_test(too_much_is_bounded),
        cmocka_unit_test(a_policy_names_hosts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
