#include "watch/checks/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/string.h"
#include "tls/leg.h"

static struct endpoint endpoint;
static struct findings findings;

static void begin(enum endpoint_outcome outcome, const char *reason)
{
    memset(&endpoint, 0, sizeof endpoint);
    memset(&findings, 0, sizeof findings);
    endpoint.outcome = outcome;
    endpoint.stage = "handshake";
    endpoint.seen.alert_received = endpoint.seen.alert_sent = ALERT_NONE;
    ignore(string_copy(endpoint.reason, sizeof endpoint.reason, reason));
}

static const struct finding *judged(void)
{
    check_connection(&endpoint, &(struct check_policy){.at = 0}, &findings);
    assert_int_equal(findings.count, 1);
    assert_false(findings.items[0].hard); /* of the network: it may pass */
    assert_true(strlen(findings.items[0].text) > 0 && strlen(findings.items[0].next) > 0);
    return &findings.items[0];
}

static void what_failed_is_one_finding(void **state)
{
    (void)state;
    static const struct {
        enum endpoint_outcome outcome;
        enum severity severity;
        const char *id;
    } all[] = {
        {ENDPOINT_NOT_RESOLVED, SEVERITY_CRITICAL, "not-resolved"},
        {ENDPOINT_RESOLVER_FAILED, SEVERITY_UNKNOWN, "resolver-failed"},
        {ENDPOINT_REFUSED, SEVERITY_CRITICAL, "connection-refused"},
        {ENDPOINT_CONNECT_TIMEOUT, SEVERITY_CRITICAL, "connect-timeout"},
        {ENDPOINT_STARTTLS_REFUSED, SEVERITY_CRITICAL, "starttls-refused"},
        {ENDPOINT_STARTTLS_INJECTED, SEVERITY_CRITICAL, "starttls-injected"},
        {ENDPOINT_STARTTLS_FAILED, SEVERITY_CRITICAL, "starttls-failed"},
        {ENDPOINT_NOT_TLS, SEVERITY_CRITICAL, "not-tls"},
        {ENDPOINT_HANDSHAKE_FAILED, SEVERITY_CRITICAL, "handshake-failed"},
        {ENDPOINT_TIMEOUT, SEVERITY_CRITICAL, "timeout"},
        {ENDPOINT_UNREADABLE, SEVERITY_CRITICAL, "file-unreadable"},
        {ENDPOINT_LOCAL_FAILURE, SEVERITY_UNKNOWN, "local-failure"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        begin(all[i].outcome, "what was seen");
        const struct finding *finding = judged();
        assert_string_equal(finding->id, all[i].id);
        assert_int_equal(finding->severity, all[i].severity);
        assert_string_equal(finding->evidence, "what was seen");
    }
}

static void success_and_a_missing_key_type_are_none(void **state)
{
    (void)state;
    static const enum endpoint_outcome outcomes[] = {ENDPOINT_SEEN, ENDPOINT_NO_CERTIFICATE};

    for (size_t i = 0; i < ARRAY_SIZE(outcomes); i++) {
        begin(outcomes[i], "");
        check_connection(&endpoint, &(struct check_policy){.at = 0}, &findings);
        assert_int_equal(findings.count, 0);
    }
}

static void alerts_are_explained(void **state)
{
    (void)state;
    static const struct {
        uint8_t alert;
        const char *next;
    } all[] = {{ALERT_HANDSHAKE_FAILURE, "--deep"},
               {ALERT_PROTOCOL_VERSION, "TLS 1.2 or TLS 1.3"},
               {ALERT_UNRECOGNIZED_NAME, "no certificate for this name"},
               {ALERT_INTERNAL_ERROR, "log"},
               {ALERT_CERTIFICATE_EXPIRED, "client's certificate"},
               {116, "certificate of the client"},
               {199, "log"}};

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        begin(ENDPOINT_HANDSHAKE_FAILED, "");
        endpoint.seen.alert_received = all[i].alert;
        const struct finding *finding = judged();
        assert_string_equal(finding->id, "handshake-alert");
        assert_non_null(strstr(finding->text, probe_alert_text(all[i].alert)));
        assert_non_null(strstr(finding->next, all[i].next));
    }
    begin(ENDPOINT_HANDSHAKE_FAILED, "");
    endpoint.seen.alert_sent = ALERT_ILLEGAL_PARAMETER;
    assert_string_equal(judged()->id, "handshake-refused");
}

static void plain_text_is_shown(void **state)
{
    (void)state;

    begin(ENDPOINT_NOT_TLS, "");
    ignore(string_copy(endpoint.seen.plain, sizeof endpoint.seen.plain, "HTTP/1.1 400"));
    const struct finding *finding = judged();
    assert_string_equal(finding->evidence, "it says: HTTP/1.1 400");
    assert_non_null(strstr(finding->next, "plain HTTP"));
    begin(ENDPOINT_NOT_TLS, "");
    ignore(string_copy(endpoint.seen.plain, sizeof endpoint.seen.plain, "220 mail"));
    assert_non_null(strstr(judged()->next, "smtp+starttls://"));
}

static void the_stage_of_a_time_out_is_named(void **state)
{
    (void)state;

    begin(ENDPOINT_TIMEOUT, "nothing came within 10 s");
    endpoint.stage = "starttls";
    assert_non_null(strstr(judged()->text, "stage: starttls"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_failed_is_one_finding),
        cmocka_unit_test(success_and_a_missing_key_type_are_none),
        cmocka_unit_test(alerts_are_explained),
        cmocka_unit_test(plain_text_is_shown),
        cmocka_unit_test(the_stage_of_a_time_out_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
