/* What is thought of versions, suites and headers: each finding with the endpoint that just has it.
 */
#include "watch/checks/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct findings found;

/* An endpoint of which nothing is to be said. */
static struct endpoint good(void)
{
    return (struct endpoint){
        .outcome = ENDPOINT_SEEN,
        .seen = {.version = 0x0304,
                 .version_name = "TLS 1.3",
                 .suite = "TLS_AES_128_GCM_SHA256",
                 .forward_secrecy = true,
                 .secure_renegotiation = true,
                 .extended_master_secret = true},
    };
}

static const struct finding *find(const char *id)
{
    for (size_t i = 0; i < found.count; i++) {
        if (strcmp(found.items[i].id, id) == 0)
            return &found.items[i];
    }
    return NULL;
}

static void run_with(const struct endpoint *endpoint, bool require_hsts)
{
    static check_fn *const checks[] = {check_versions,        check_suites,    check_key_exchange,
                                       check_renegotiation,   check_downgrade, check_protocol_facts,
                                       check_strict_transport};
    const struct check_policy policy = {.require_hsts = require_hsts};

    found.count = 0;
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        checks[i](endpoint, &policy, &found);
}

/* This one, and no other. */
static void expect(const struct endpoint *endpoint, const char *id, enum severity severity)
{
    run_with(endpoint, false);
    const struct finding *finding = find(id);
    if (finding == NULL)
        fail_msg("%s was not found", id);
    assert_string_equal(severity_name(finding->severity), severity_name(severity));
    assert_int_equal(found.count, 1);
}

static void test_nothing_to_say(void **state)
{
    struct endpoint endpoint = good();

    (void)state;
    run_with(&endpoint, true);
    assert_int_equal(found.count, 0);
    for (unsigned i = 0; i < ENDPOINT_VERSIONS; i++)
        endpoint.inventory.versions[i] = i >= 3 ? ANSWER_YES : ANSWER_NO;
    endpoint.inventory.suites[endpoint.inventory.suite_count++] =
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    endpoint.inventory.resumes_ticket = endpoint.inventory.fallback_protected =
        endpoint.inventory.downgrade_sentinel = endpoint.inventory.post_quantum = ANSWER_YES;
    endpoint.inventory.resumes_id = endpoint.inventory.compression =
        endpoint.inventory.client_renegotiation = ANSWER_NO;
    run_with(&endpoint, true);
    assert_int_equal(found.count, 0);
}

static void test_nothing_was_seen(void **state)
{
    struct endpoint endpoint = {.outcome = ENDPOINT_REFUSED};

    (void)state;
    run_with(&endpoint, true);
    assert_int_equal(found.count, 0);
}

static void test_versions(void **state)
{
    struct endpoint endpoint = good();

    (void)state;
    endpoint.inventory.versions[0] = ANSWER_YES;
    expect(&endpoint, "version-ssl3", SEVERITY_CRITICAL);
    endpoint.inventory.versions[0] = ANSWER_NO;
    endpoint.inventory.versions[2] = ANSWER_YES;
    expect(&endpoint, "version-old", SEVERITY_WARNING);
    endpoint = good();
    endpoint.seen.version = 0x0303;
    expect(&endpoint, "version-no-tls13", SEVERITY_INFO);
    endpoint.seen.version = 0x0302;
    expect(&endpoint, "version-obsolete", SEVERITY_CRITICAL);
}

static void test_suites(void **state)
{
    static const struct {
        const char *suite, *id;
        enum severity severity;
    } bad[] = {
        {"TLS_RSA_WITH_NULL_SHA", "suites-broken", SEVERITY_CRITICAL},
        {"TLS_ECDH_anon_WITH_AES_128_CBC_SHA", "suites-broken", SEVERITY_CRITICAL},
        {"TLS_RSA_EXPORT_WITH_RC4_40_MD5", "suites-broken", SEVERITY_CRITICAL},
        {"TLS_RSA_EXPORT1024_WITH_DES_CBC_SHA", "suites-broken", SEVERITY_CRITICAL},
        {"TLS_DHE_RSA_WITH_DES_CBC_SHA", "suites-broken", SEVERITY_CRITICAL},
        {"TLS_ECDHE_RSA_WITH_RC4_128_SHA", "suites-weak", SEVERITY_WARNING},
        {"TLS_RSA_WITH_3DES_EDE_CBC_SHA", "suites-weak", SEVERITY_WARNING},
        {"TLS_RSA_WITH_AES_128_GCM_SHA256", "suites-no-forward-secrecy", SEVERITY_INFO},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct endpoint endpoint = good();
        endpoint.inventory.suites[endpoint.inventory.suite_count++] = bad[i].suite;
        endpoint.inventory.suites[endpoint.inventory.suite_count++] = bad[i].suite;
        expect(&endpoint, bad[i].id, bad[i].severity);
        assert_string_equal(found.items[0].evidence, bad[i].suite);
    }
    struct endpoint endpoint = good();
    endpoint.seen.suite = "TLS_RSA_WITH_RC4_128_SHA";
    expect(&endpoint, "suite-weak", SEVERITY_CRITICAL);
    endpoint = good();
    endpoint.inventory.compression = ANSWER_YES;
    expect(&endpoint, "compression", SEVERITY_WARNING);
}

static void test_key_exchange(void **state)
{
    struct endpoint endpoint = good();

    (void)state;
    endpoint.seen.forward_secrecy = false;
    expect(&endpoint, "forward-secrecy-missing", SEVERITY_WARNING);
    endpoint = good();
    endpoint.seen.dh_bits = 1536;
    expect(&endpoint, "dh-weak", SEVERITY_WARNING);
    endpoint.seen.dh_bits = 1024;
    expect(&endpoint, "dh-weak", SEVERITY_CRITICAL);
    endpoint = good();
    endpoint.inventory.post_quantum = ANSWER_NO;
    expect(&endpoint, "post-quantum-missing", SEVERITY_INFO);
}

static void test_renegotiation_and_downgrading(void **state)
{
    struct endpoint endpoint = good();

    (void)state;
    endpoint.seen.secure_renegotiation = false;
    expect(&endpoint, "renegotiation-insecure", SEVERITY_CRITICAL);
    endpoint = good();
    endpoint.inventory.client_renegotiation = ANSWER_YES;
    expect(&endpoint, "renegotiation-by-client", SEVERITY_WARNING);
    endpoint = good();
    endpoint.inventory.fallback_protected = ANSWER_NO;
    expect(&endpoint, "fallback-unprotected", SEVERITY_INFO);
    endpoint.inventory.versions[1] = ANSWER_YES;
    run_with(&endpoint, false);
    assert_int_equal(find("fallback-unprotected")->severity, SEVERITY_WARNING);
    endpoint = good();
    endpoint.inventory.downgrade_sentinel = ANSWER_NO;
    expect(&endpoint, "downgrade-unmarked", SEVERITY_WARNING);
}

static void test_other_facts(void **state)
{
    struct endpoint endpoint = good();

    (void)state;
    endpoint.inventory.resumes_ticket = endpoint.inventory.resumes_id = ANSWER_NO;
    expect(&endpoint, "resumption-missing", SEVERITY_INFO);
    endpoint = good();
    endpoint.inventory.cut = true;
    expect(&endpoint, "inventory-incomplete", SEVERITY_INFO);
    endpoint = good();
    endpoint.seen.client_certificate_required = true;
    expect(&endpoint, "client-certificate-required", SEVERITY_INFO);
    endpoint = good();
    endpoint.seen.extended_master_secret = false;
    expect(&endpoint, "extended-master-secret-missing", SEVERITY_INFO);
}

static void test_strict_transport(void **state)
{
    static const struct {
        struct endpoint_http http;
        const char *id;
    } bad[] = {
        {{.asked = true}, "http-silent"},
        {{.asked = true, .status = 200}, "hsts-missing"},
        {{.asked = true, .status = 200, .strict_transport_security = "x", .hsts_malformed = true},
         "hsts-malformed"},
        {{.asked = true, .status = 200, .strict_transport_security = "max-age=0"}, "hsts-off"},
        {{.asked = true,
          .status = 200,
          .strict_transport_security = "max-age=60",
          .hsts_max_age_s = 60},
         "hsts-short"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct endpoint endpoint = good();
        endpoint.http = bad[i].http;
        expect(&endpoint, bad[i].id, SEVERITY_INFO);
        run_with(&endpoint, true);
        assert_int_equal(find(bad[i].id)->severity, SEVERITY_WARNING);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_say), cmocka_unit_test(test_nothing_was_seen),
        cmocka_unit_test(test_versions),       cmocka_unit_test(test_suites),
        cmocka_unit_test(test_key_exchange),   cmocka_unit_test(test_renegotiation_and_downgrading),
        cmocka_unit_test(test_other_facts),    cmocka_unit_test(test_strict_transport),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
