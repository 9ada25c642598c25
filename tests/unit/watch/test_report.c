/* Endpoints in the forms that people, plugins and Prometheus read, made from their JSON. */
#include "watch/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEAF(sha256, days)                                                                         \
    "{\"position\":0,\"role\":\"leaf\",\"sha256\":\"" sha256 "\",\"subject\":\"CN=shop.example\"," \
    "\"issuer\":\"CN=Small CA\",\"issuer_cn\":\"Small CA\",\"common_name\":\"shop.example\","      \
    "\"serial\":\"0a1b\",\"not_before\":\"2026-09-01T00:00:00Z\","                                 \
    "\"not_after\":\"2026-12-01T00:00:00Z\",\"days_left\":" days ",\"life_left\":0.25,"            \
    "\"subject_an\":[\"shop.example\",\"192.0.2.1\",\"email:a@b.example\"]}"
#define EXTRA                                                                                      \
    "{\"position\":1,\"role\":\"superfluous\",\"sha256\":\"ee\",\"subject\":\"CN=Old\","           \
    "\"issuer_cn\":\"Older\",\"common_name\":\"Old\",\"serial\":\"01\","                           \
    "\"not_before\":\"2010-01-01T00:00:00Z\",\"not_after\":\"2021-09-30T14:01:15Z\","              \
    "\"days_left\":-1883.4,\"life_left\":-0.4}"
#define ENDPOINT(target, address, verdict, certificates, findings)                                 \
    "{\"target\":\"" target "\",\"kind\":\"endpoint\",\"host\":\"shop.example\",\"port\":443,"     \
    "\"protocol\":\"tls\",\"name\":\"shop.example\",\"sni\":true,\"address\":\"" address "\","     \
    "\"key_type\":\"ecdsa\",\"vantage\":\"public\",\"checked_at\":\"2026-11-21T04:06:01Z\","       \
    "\"outcome\":\"seen\",\"verdict\":\"" verdict "\",\"tls\":{\"version\":\"TLS 1.3\","           \
    "\"suite\":\"TLS_AES_128_GCM_SHA256\",\"group\":\"X25519\"},\"times\":{\"resolve_s\":0.002,"   \
    "\"connect_s\":0.01,\"handshake_s\":0.02},\"certificates\":[" certificates "],"                \
    "\"breaks_at\":\"2026-12-01T00:00:00Z\",\"trust\":[{\"store\":\"system\","                     \
    "\"outcome\":\"trusted\",\"path\":[\"aa\"],\"not_after\":\"2026-12-01T00:00:00Z\","            \
    "\"breaks_at\":\"2026-12-01T00:00:00Z\"}],\"staple\":{\"present\":false},"                     \
    "\"findings\":[" findings "]}"
#define EXPIRING                                                                                   \
    "{\"id\":\"expires-soon\",\"severity\":\"warning\",\"text\":\"9 days | are left\","            \
    "\"next\":\"renew it\"}"

static json_t *endpoints_of(const char *text)
{
    json_error_t error;
    json_t *endpoints = json_loads(text, 0, &error);

    if (endpoints == NULL)
        fail_msg("%s at %d", error.text, error.position);
    return endpoints;
}

static json_t *two_addresses(void)
{
    return endpoints_of("[" ENDPOINT("shop.example:443", "192.0.2.1:443", "ok",
                                     LEAF("aa", "9.98") "," EXTRA, "") "," //
                        ENDPOINT("shop.example:443", "[2001:db8::1]:443", "ok",
                                 LEAF("aa", "9.98") "," EXTRA, "") "]");
}

static json_t *one_warning(void)
{
    return endpoints_of("[" ENDPOINT("shop.example:443", "192.0.2.1:443", "warning",
                                     LEAF("aa", "9.98"), EXPIRING) "]");
}

static char *nagios(json_t *endpoints, const struct report_nagios_options *options, int code)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    assert_int_equal(report_nagios(stream, endpoints, options), code);
    fclose(stream);
    json_decref(endpoints);
    return text;
}

static char *table(json_t *endpoints, bool colour)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    report_table(stream, endpoints, colour);
    fclose(stream);
    json_decref(endpoints);
    return text;
}

static void contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

static void contains_not(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        fail_msg("\"%s\" is in:\n%s", part, text);
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;

    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        count++;
    return count;
}

/* ---- exit codes ---- */

static void worst_wins(void **state)
{
    static const struct {
        const char *verdicts;
        int code;
    } cases[] = {{"[]", 3},
                 {"[{\"verdict\":\"ok\"}]", 0},
                 {"[{\"verdict\":\"ok\"},{\"verdict\":\"unknown\"}]", 3},
                 {"[{\"verdict\":\"unknown\"},{\"verdict\":\"warning\"}]", 1},
                 {"[{\"verdict\":\"critical\"},{\"verdict\":\"unknown\"}]", 2},
                 {"[{\"verdict\":\"warning\"},{\"verdict\":\"critical\"}]", 2},
                 {"[{\"verdict\":\"other\"}]", 3}};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *endpoints = endpoints_of(cases[i].verdicts);
        assert_int_equal(report_exit_code(endpoints), cases[i].code);
        json_decref(endpoints);
    }
}

/* ---- plugins ---- */

static void nagios_nothing(void **state)
{
    const struct report_nagios_options options = {0};
    char *text = nagios(json_array(), &options, 3);
    (void)state;

    contains(text, "SSL_CERT UNKNOWN - nothing was checked|");
    free(text);
}

static void nagios_ranges(void **state)
{
    const struct report_nagios_options days = {.warning_d = 30, .critical_d = 14};
    const struct report_nagios_options shares = {.warning_l = 0.5};
    const struct report_nagios_options compatible = {
        .warning_d = 30, .critical_d = 14, .compatible_ranges = true};
    char *text = nagios(two_addresses(), &days, 0);
    (void)state;

    contains(text, "SSL_CERT OK - shop.example:443 at 192.0.2.1:443: 9 d left, chain ok to "
                   "2026-12-01, 2 endpoints| 'days_chain_elem1'=9;30:;14:;; ");
    contains(text, "'days_chain_elem2'=-1884;30:;14:;;");
    contains(text, " time=0.032000s;;;0 endpoints_ok=2;;;0;2\n");
    free(text);
    text = nagios(two_addresses(), &compatible, 0);
    contains(text, "'days_chain_elem1'=9;30;14;;");
    free(text);
    text = nagios(two_addresses(), &shares, 0);
    contains(text, "'days_chain_elem1'=9;20:;;;");
    free(text);
}

/* Those that are well do not speak for those of which nothing is known. */
static void nagios_unfinished(void **state)
{
    const struct report_nagios_options options = {.unfinished = 2, .targets = 3};
    char *text = nagios(two_addresses(), &options, 3);
    (void)state;

    contains(text, "SSL_CERT UNKNOWN - 2 of 3 targets were not finished| 'days_chain_elem1'=9;");
    free(text);
    text = nagios(one_warning(), &options, 1);
    contains(text, "SSL_CERT WARNING - shop.example:443: 9 days / are left, 1 endpoint, 2 of 3 "
                   "targets were not finished|");
    free(text);
}

/* One pipe: whatever stands in the text does not begin the perfdata. */
static void nagios_pipe(void **state)
{
    const struct report_nagios_options options = {0};
    char *text = nagios(one_warning(), &options, 1);
    (void)state;

    contains(text, "SSL_CERT WARNING - shop.example:443: 9 days / are left, 1 endpoint|");
    contains(text, "\n  warning: 9 days / are left - renew it\n");
    assert_int_equal(count_of(text, "|"), 1);
    free(text);
}

static void nagios_targets(void **state)
{
    const struct report_nagios_options options = {0};
    char *text = nagios(
        endpoints_of("[" ENDPOINT("a:443", "192.0.2.1:443", "ok", LEAF("aa", "50"), "") "," //
                     ENDPOINT("b:443", "192.0.2.2:443", "critical", LEAF("bb", "-3"),
                              "{\"severity\":\"critical\",\"text\":\"it is over\"}") "]"),
        &options, 2);
    (void)state;

    contains(text, "SSL_CERT CRITICAL - b:443 at 192.0.2.2:443: it is over, 2 targets, 2 "
                   "endpoints|");
    contains(text, "'a:443 days_chain_elem1'=50;;;;");
    contains(text, "'b:443 days_chain_elem1'=-3;;;;");
    free(text);
}

/* ---- the table ---- */

static void table_merges(void **state)
{
    char *text = table(two_addresses(), false);
    (void)state;

    contains(text, "OK        192.0.2.1:443, [2001:db8::1]:443  ecdsa  TLS 1.3, "
                   "TLS_AES_128_GCM_SHA256, X25519");
    assert_int_equal(count_of(text, "superfluous"), 1);
    contains(text, "9 d    25 %  2026-12-01");
    contains(text, "breaks    2026-12-01");
    contains_not(text, "\033");
    free(text);
}

static void table_next_step(void **state)
{
    char *text = table(one_warning(), true);
    (void)state;

    contains(text, "\033[33mWARNING \033[0m");
    contains(text, "-> renew it");
    free(text);
}

/* Of many targets only what is not well is told at length. */
static void table_many(void **state)
{
    json_t *endpoints = json_array(), *some;
    (void)state;

    for (int i = 0; i < 20; i++) {
        some = i == 7 ? one_warning() : two_addresses();
        for (size_t k = 0; k < json_array_size(some); k++) {
            char name[20];
            snprintf(name, sizeof name, "host%d:443", i);
            json_object_set_new(json_array_get(some, k), "target", json_string(name));
        }
        json_array_extend(endpoints, some);
        json_decref(some);
    }
    char *text = table(endpoints, false);
    contains(text, "20 targets: 19 ok 1 warning\n");
    assert_int_equal(count_of(text, "192.0.2.1:443"), 1);
    contains(text, "WARNING   host7:443        9 d  2026-12-01\n");
    free(text);
}

/* ---- Prometheus ---- */

static char *metrics(json_t *endpoints, bool targets)
{
    struct buffer buffer;

    buffer_init(&buffer, 1u << 20);
    report_prometheus(&buffer, endpoints, targets);
    assert_false(buffer.failed);
    char *text = strdup(buffer_text(&buffer));
    buffer_fini(&buffer);
    json_decref(endpoints);
    return text;
}

static void prometheus_names(void **state)
{
    char *text = metrics(two_addresses(), false);
    (void)state;

    contains(text, "# TYPE probe_success gauge\nprobe_success 1\n");
    contains(text, "probe_ip_protocol 4\n");
    contains(text, "\nprobe_ssl_earliest_cert_expiry 1633010475\n");
    contains(text, "\nprobe_ssl_last_chain_expiry_timestamp_seconds 1796083200\n");
    contains(text, "probe_tls_version_info{version=\"TLS 1.3\"} 1\n");
    contains(text, "ssl_cert_not_after{serial_no=\"0a1b\",issuer_cn=\"Small CA\","
                   "cn=\"shop.example\",dnsnames=\",shop.example,\",ips=\",192.0.2.1,\","
                   "emails=\",a@b.example,\",ou=\"\"} 1796083200\n");
    contains(text, "ssl_verified_cert_not_after{chain_no=\"0\",serial_no=\"0a1b\"");
    contains_not(text, "ssl_verified_cert_not_after{chain_no=\"0\",serial_no=\"01\"");
    contains(text, "ssl_ocsp_response_stapled 0\n");
    contains_not(text, "ssl_ocsp_response_status");
    /* Both addresses serve the same: one series of each name and labels. */
    assert_int_equal(count_of(text, "\nssl_cert_not_after{"), 2);
    assert_int_equal(count_of(text, "\nholdfast_endpoint_cert_not_after_timestamp_seconds{"), 4);
    free(text);
}

static void prometheus_escapes(void **state)
{
    json_t *endpoints = one_warning();
    (void)state;

    json_t *leaf = json_array_get(json_object_get(json_array_get(endpoints, 0), "certificates"), 0);
    json_object_set_new(leaf, "common_name", json_string("a\"} 1\nevil{x=\"\\"));
    char *text = metrics(endpoints, true);
    contains(text, "cn=\"a\\\"} 1?evil{x=\\\"\\\\\"");
    contains_not(text, "\nevil");
    contains(text, "probe_success{target=\"shop.example:443\"} 1\n");
    free(text);
}

/* Nothing was seen: no series that would lie. */
static void prometheus_refused(void **state)
{
    char *text = metrics(
        endpoints_of("[{\"target\":\"a:443\",\"kind\":\"endpoint\",\"verdict\":\"critical\","
                     "\"address\":\"192.0.2.1:443\",\"outcome\":\"refused\",\"findings\":[]}]"),
        false);
    (void)state;

    contains(text, "probe_success 0\n");
    contains_not(text, "expiry");
    contains_not(text, "ocsp");
    contains_not(text, "nan");
    free(text);
}

/* ---- the trace ---- */

static void trace(void **state)
{
    json_t *endpoints = one_warning(), *endpoint = json_array_get(endpoints, 0);
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    (void)state;

    json_object_set_new(
        endpoint, "messages",
        endpoints_of("[{\"at_s\":0.0005,\"direction\":\"sent\",\"record\":\"handshake\","
                     "\"message\":\"ClientHello\",\"size\":517},{\"at_s\":0.0015,"
                     "\"direction\":\"received\",\"record\":\"alert\",\"message\":\"alert\","
                     "\"size\":2,\"alert\":\"handshake_failure: why\"}]"));
    report_trace(stream, endpoint);
    fclose(stream);
    json_decref(endpoints);
    contains(text, "0.500 ms  ->  ClientHello             517 B  what the client can");
    contains(text, "1.500 ms  <-  alert                     2 B  handshake_failure: why\n");
    contains(text, "serial    0a1b");
    free(text);
}

/* Whatever a server sends, an endpoint stays a line that control takes (4 MiB). */
static void json_bounded(void **state)
{
    static char text[251];
    static struct alternative_name names[1000];
    static struct certificate_facts facts;
    struct endpoint *endpoint = calloc(1, sizeof *endpoint);

    (void)state;
    for (size_t i = 0; i + 1 < sizeof text; i += 5)
        memcpy(text + i, "\\x01a", 5);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        names[i] = (struct alternative_name){ALTERNATIVE_NAME_DNS, true, text};
    facts = (struct certificate_facts){
        .names = names, .name_count = ARRAY_SIZE(names), .references = 1};
    for (size_t i = 0; i < CHAIN_SERVED_MAX; i++)
        endpoint->seen.chain[i] = &facts;
    endpoint->seen.chain_count = CHAIN_SERVED_MAX;
    json_t *object = report_json(endpoint);
    char *line = json_dumps(object, JSON_COMPACT);
    assert_true(strlen(line) < 2u << 20);
    const json_t *leaf = json_array_get(json_object_get(object, "certificates"), 0);
    assert_int_equal(json_array_size(json_object_get(leaf, "subject_an")), ARRAY_SIZE(names));
    free(line);
    json_decref(object);
    free(endpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worst_wins),
        cmocka_unit_test(nagios_nothing),
        cmocka_unit_test(nagios_ranges),
        cmocka_unit_test(nagios_unfinished),
        cmocka_unit_test(nagios_pipe),
        cmocka_unit_test(nagios_targets),
        cmocka_unit_test(table_merges),
        cmocka_unit_test(table_next_step),
        cmocka_unit_test(table_many),
        cmocka_unit_test(prometheus_names),
        cmocka_unit_test(prometheus_escapes),
        cmocka_unit_test(prometheus_refused),
        cmocka_unit_test(trace),
        cmocka_unit_test(json_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
