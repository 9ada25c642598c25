/* Against a name server of the test's own, on the same loop, that knows the zones below. */
#include "watch/mail_exchange.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../tls/issued.h"
#include "base/string.h"
#include "tls/dane.h"

enum { MX = 15, TXT = 16, TLSA = 52 };

/* Names as the questions carry them. */
static const struct zone_record {
    const char *name;
    uint8_t type, size;
    const char *data;
    bool signed_zone;
} zone[] = {
    {"\4many\4test", MX, 17, "\0\x14\3mx2\4many\4test", true},
    {"\4many\4test", MX, 17, "\0\x0a\3mx1\4many\4test", true},
    {"\4many\4test", MX, 17, "\0\x0a\3mx1\4many\4test", true},
    {"\x08_mta-sts\4many\4test", TXT, 15, "\x0ev=STSv1; id=1;", false},
    {"\3_25\4_tcp\3mx1\4many\4test", TLSA, 35,
     "\3\1\1"
     "01234567890123456789012345678901",
     true},
    {"\4null\4test", MX, 3, "\0\0", false},
    {"\4junk\4test", MX, 7, "\0\x0a\3a b", false},
    {"\x08_mta-sts\4plus\4test", TXT, 9, "\x08v=STSv1;", false},
    {"\x08_mta-sts\5twice\4test", TXT, 15, "\x0ev=STSv1; id=1;", false},
    {"\x08_mta-sts\5twice\4test", TXT, 15, "\x0ev=STSv1; id=2;", false},
};

struct world {
    struct loop *loop;
    struct names *names;
    int fd;
    struct mail_exchange *exchange;
};

/* "gone" does not exist, "fail" cannot be found out, all else exists. */
static void on_question(void *context, uint64_t tag, unsigned events)
{
    struct world *world = context;
    struct sockaddr_in from;
    socklen_t from_size = sizeof from;
    uint8_t packet[1500];
    (void)tag, (void)events;

    ssize_t received = recvfrom(world->fd, packet, 512, 0, (struct sockaddr *)&from, &from_size);
    if (received < 17)
        return;
    size_t size = (size_t)received;
    const char *name = (const char *)packet + 12;
    uint8_t type = packet[size - 3];
    bool authentic = false;
    for (size_t i = 0; i < ARRAY_SIZE(zone); i++) {
        const uint8_t head[] = {0xc0, 12, 0, zone[i].type, 0, 1, 0, 0, 0, 60, 0, zone[i].size};
        if (zone[i].type != type || strcmp(zone[i].name, name) != 0)
            continue;
        memcpy(packet + size, head, sizeof head);
        memcpy(packet + size + sizeof head, zone[i].data, zone[i].size);
        size += sizeof head + zone[i].size;
        packet[7]++;
        authentic = zone[i].signed_zone;
    }
    packet[2] |= 0x80;
    packet[3] = (uint8_t)(0x80 | (authentic ? 0x20 : 0) |
                          (strstr(name, "gone") != NULL   ? 3
                           : strstr(name, "fail") != NULL ? 2
                                                          : 0));
    ignore(sendto(world->fd, packet, size, 0, (struct sockaddr *)&from, from_size));
}

static void set_up(struct world *world)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    struct error error;
    char servers[64];

    *world = (struct world){.loop = loop_new()};
    world->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(world->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(world->fd, (struct sockaddr *)&address, &size), 0);
    assert_true(loop_watch(world->loop, world->fd, LOOP_READ,
                           loop_handler(world->loop, on_question, world), 0));
    snprintf(servers, sizeof servers, "127.0.0.1:%u", ntohs(address.sin_port));
    const struct names_options options = {.servers = servers, .timeout_ms = 20000};
    assert_int_equal(names_new(&world->names, world->loop, &options, &error), 0);
}

static void tear_down(struct world *world)
{
    mail_exchange_free(world->exchange);
    names_free(world->names);
    ignore(close(world->fd));
    loop_free(world->loop);
}

static void on_exchange(void *context, struct mail_exchange *exchange)
{
    struct world *world = context;

    mail_exchange_free(world->exchange);
    world->exchange = exchange;
    loop_stop(world->loop, 0);
}

static const struct mail_exchange *looked_up(struct world *world, const char *domain)
{
    assert_non_null(mail_exchange_expand(world->names, NULL, domain, on_exchange, world));
    ignore(loop_run(world->loop));
    return world->exchange;
}

static void domains_without_hosts(void **state)
{
    (void)state;
    struct world world;

    set_up(&world);
    const struct mail_exchange *exchange = looked_up(&world, "gone.test");
    assert_int_equal(exchange->outcome, NAMES_UNKNOWN);
    assert_int_equal(exchange->host_count, 0);
    exchange = looked_up(&world, "fail.test");
    assert_int_equal(exchange->outcome, NAMES_FAILED);
    assert_int_equal(exchange->policy_state, MAIL_POLICY_UNKNOWN);
    exchange = looked_up(&world, "null.test");
    assert_int_equal(exchange->outcome, NAMES_NONE);
    assert_true(exchange->null_mx);
    assert_non_null(strstr(exchange->reason, "no mail"));
    exchange = looked_up(&world, "junk.test");
    assert_int_equal(exchange->host_count, 0);
    assert_int_not_equal(exchange->outcome, NAMES_FOUND);
    tear_down(&world);
}

static void without_mx_the_domain_is_the_host(void **state)
{
    (void)state;
    struct world world;

    set_up(&world);
    const struct mail_exchange *exchange = looked_up(&world, "plain.test");
    assert_int_equal(exchange->outcome, NAMES_FOUND);
    assert_true(exchange->fallback);
    assert_int_equal(exchange->host_count, 1);
    assert_string_equal(exchange->hosts[0].target.text, "smtp+starttls://plain.test:25");
    assert_int_equal(exchange->hosts[0].associations_outcome, NAMES_NONE);
    assert_int_equal(exchange->policy_state, MAIL_POLICY_ABSENT);
    tear_down(&world);
}

static void hosts_come_by_preference_and_once(void **state)
{
    (void)state;
    struct world world;

    set_up(&world);
    const struct mail_exchange *exchange = looked_up(&world, "many.test");
    assert_int_equal(exchange->host_count, 2);
    assert_string_equal(exchange->hosts[0].target.host, "mx1.many.test");
    assert_int_equal(exchange->hosts[0].target.protocol, TARGET_SMTP);
    assert_int_equal(exchange->hosts[1].preference, 20);
    assert_true(exchange->authenticated);
    assert_int_equal(exchange->hosts[0].association_count, 1);
    assert_true(exchange->hosts[0].authenticated);
    assert_int_equal(exchange->hosts[1].associations_outcome, NAMES_NONE);
    tear_down(&world);
}

static void wrong_records_of_mta_sts(void **state)
{
    (void)state;
    struct world world;

    set_up(&world);
    const struct mail_exchange *exchange = looked_up(&world, "plus.test");
    assert_int_equal(exchange->policy_state, MAIL_POLICY_BAD_RECORD);
    assert_non_null(strstr(exchange->policy_reason, "no id"));
    exchange = looked_up(&world, "twice.test");
    assert_int_equal(exchange->policy_state, MAIL_POLICY_BAD_RECORD);
    assert_non_null(strstr(exchange->policy_reason, "several"));
    tear_down(&world);
}

static void a_policy_that_cannot_be_fetched(void **state)
{
    (void)state;
    struct http_client *http;
    struct error error;
    struct world world;

    set_up(&world);
    assert_int_equal(http_client_new(&http, world.loop, &error), 0);
    /* No resolver knows a host of the zone ".test" (RFC 6761 §6.2). */
    assert_non_null(mail_exchange_expand(world.names, http, "many.test", on_exchange, &world));
    ignore(loop_run(world.loop));
    assert_int_equal(world.exchange->policy_state, MAIL_POLICY_UNREACHABLE);
    assert_true(strlen(world.exchange->policy_reason) > 0);
    http_client_free(http);
    tear_down(&world);
}

static void a_cancelled_lookup_is_silent(void **state)
{
    (void)state;
    struct world world;

    set_up(&world);
    struct mail_exchange_lookup *lookup =
        mail_exchange_expand(world.names, NULL, "many.test", on_exchange, &world);
    mail_exchange_cancel(lookup);
    mail_exchange_cancel(NULL);
    assert_int_equal(looked_up(&world, "plain.test")->host_count, 1);
    tear_down(&world);
}

/* ---- judging ---- */

static struct mail_exchange exchange;
static struct endpoint endpoint;

/* An exchange with one host, which serves this certificate. */
static void begin(const struct certificate_facts *facts)
{
    struct error error;

    memset(&exchange, 0, sizeof exchange);
    memset(&endpoint, 0, sizeof endpoint);
    ignore(string_copy(exchange.domain, sizeof exchange.domain, "many.test"));
    exchange.host_count = 1;
    exchange.hosts[0].associations_outcome = NAMES_NONE;
    assert_int_equal(
        target_parse(&exchange.hosts[0].target, "smtp+starttls://mx1.many.test:25", &error), 0);
    endpoint.target = exchange.hosts[0].target;
    endpoint.seen.chain[0] = facts;
    endpoint.seen.chain_count = facts != NULL;
}

static const struct finding *found(const char *id)
{
    memset(&endpoint.findings, 0, sizeof endpoint.findings);
    mail_exchange_judge(&exchange, &endpoint);
    for (size_t i = 0; i < endpoint.findings.count; i++) {
        if (strcmp(endpoint.findings.items[i].id, id) == 0)
            return &endpoint.findings.items[i];
    }
    fail_msg("no finding %s", id);
    return NULL;
}

static void policies_are_judged(void **state)
{
    (void)state;
    static const struct {
        enum mail_policy_state state;
        const char *id;
        enum severity severity;
    } all[] = {
        {MAIL_POLICY_ABSENT, "mta-sts-absent", SEVERITY_INFO},
        {MAIL_POLICY_UNKNOWN, "mta-sts-unknown", SEVERITY_UNKNOWN},
        {MAIL_POLICY_BAD_RECORD, "mta-sts-record", SEVERITY_WARNING},
        {MAIL_POLICY_UNREACHABLE, "mta-sts-unreachable", SEVERITY_WARNING},
        {MAIL_POLICY_MALFORMED, "mta-sts-policy", SEVERITY_WARNING},
    };

    begin(NULL);
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        exchange.policy_state = all[i].state;
        assert_int_equal(found(all[i].id)->severity, all[i].severity);
    }
    exchange.policy_state = MAIL_POLICY_VALID;
    exchange.policy = (struct mail_policy){
        .mode = MAIL_POLICY_ENFORCE, .patterns = {"mx2.many.test"}, .pattern_count = 1};
    assert_int_equal(found("mta-sts-mismatch")->severity, SEVERITY_CRITICAL);
    exchange.policy.mode = MAIL_POLICY_TESTING;
    assert_int_equal(found("mta-sts-mismatch")->severity, SEVERITY_WARNING);
    exchange.policy.mode = MAIL_POLICY_NONE;
    assert_int_equal(found("mta-sts")->severity, SEVERITY_INFO);
    exchange.policy = (struct mail_policy){
        .mode = MAIL_POLICY_ENFORCE, .patterns = {"*.many.test"}, .pattern_count = 1};
    assert_int_equal(found("mta-sts")->severity, SEVERITY_INFO);
}

static void hosts_of_others_are_left_alone(void **state)
{
    (void)state;

    begin(NULL);
    ignore(string_copy(endpoint.target.host, sizeof endpoint.target.host, "mx9.many.test"));
    mail_exchange_judge(&exchange, &endpoint);
    assert_int_equal(endpoint.findings.count, 0);
}

static void associate(unsigned usage, unsigned selector, unsigned matching, const uint8_t *data,
                      size_t size)
{
    struct names_tlsa *tlsa =
        &exchange.hosts[0].associations[exchange.hosts[0].association_count++];

    *tlsa = (struct names_tlsa){.usage = (uint8_t)usage,
                                .selector = (uint8_t)selector,
                                .matching = (uint8_t)matching,
                                .size = (uint16_t)size};
    memcpy(tlsa->data, data, size < sizeof tlsa->data ? size : sizeof tlsa->data);
    exchange.hosts[0].associations_outcome = NAMES_FOUND;
}

static void associations_are_compared(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = crafted_new(&(struct crafted){.key = key, .common_name = "mx1.many.test"});
    const struct certificate_facts *facts = facts_of(certificate);
    static const uint8_t other[64];

    begin(facts);
    exchange.hosts[0].associations_outcome = NAMES_FAILED;
    assert_int_equal(found("dane-unknown")->severity, SEVERITY_UNKNOWN);
    associate(1, 1, 1, facts->public_key_sha256, 32); /* no usage of SMTP's */
    associate(3, 1, 1, facts->public_key_sha256, 31);
    associate(3, 0, 0, facts->der, 64);
    assert_int_equal(found("dane-unusable")->severity, SEVERITY_WARNING);
    associate(3, 1, 1, other, 32);
    assert_int_equal(found("dane-mismatch-unsigned")->severity, SEVERITY_WARNING);
    exchange.hosts[0].authenticated = true;
    const struct finding *finding = found("dane-mismatch");
    assert_int_equal(finding->severity, SEVERITY_CRITICAL);
    assert_true(finding->hard);
    associate(3, 1, 1, facts->public_key_sha256, 32);
    assert_int_equal(found("dane")->severity, SEVERITY_INFO);
    assert_non_null(strstr(found("dane")->evidence, "1 of 2 TLSA records match"));
    endpoint.seen.chain_count = 0; /* refused before it showed anything: said elsewhere */
    memset(&endpoint.findings, 0, sizeof endpoint.findings);
    mail_exchange_judge(&exchange, &endpoint);
    assert_int_equal(endpoint.findings.count, 1);
    certificate_facts_unref(facts);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

/* How bad the findings of checks are once mail_exchange_judge() has had its say. */
static enum severity judged_with(const char *id)
{
    memset(&endpoint.findings, 0, sizeof endpoint.findings);
    findings_add(&endpoint.findings, id, SEVERITY_CRITICAL, "mend it", "it is so");
    mail_exchange_judge(&exchange, &endpoint);
    assert_string_equal(endpoint.findings.items[0].id, id);
    return endpoint.findings.items[0].severity;
}

/* RFC 7672 §3.1.1. */
static void what_dane_leaves_of_other_findings(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = crafted_new(&(struct crafted){.key = key, .common_name = "mx1.many.test"});
    const struct certificate_facts *facts = facts_of(certificate);
    static const uint8_t other[64];

    begin(facts);
    exchange.authenticated = exchange.hosts[0].authenticated = true;
    assert_int_equal(judged_with("chain-untrusted"), SEVERITY_CRITICAL);
    associate(3, 1, 1, other, 32);
    assert_int_equal(judged_with("chain-untrusted"), SEVERITY_CRITICAL);
    associate(2, 1, 1, facts->public_key_sha256, 32); /* names and dates count with DANE-TA */
    assert_int_equal(judged_with("chain-untrusted"), SEVERITY_CRITICAL);
    associate(3, 1, 1, facts->public_key_sha256, 32);
    static const char *const relieved[] = {"chain-untrusted", "chain-incomplete", "name-mismatch",
                                           "certificate-expired", "usage-extended-missing"};
    for (size_t i = 0; i < ARRAY_SIZE(relieved); i++)
        assert_int_equal(judged_with(relieved[i]), SEVERITY_INFO);
    assert_non_null(strstr(endpoint.findings.items[0].next, "RFC 7672"));
    static const char *const kept[] = {"certificate-revoked", "key-small", "chain-malformed"};
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        assert_int_equal(judged_with(kept[i]), SEVERITY_CRITICAL);

    /* Nobody vouches for the record, or for the way to the host. */
    exchange.hosts[0].authenticated = false;
    assert_int_equal(judged_with("chain-untrusted"), SEVERITY_CRITICAL);
    exchange.hosts[0].authenticated = true;
    exchange.authenticated = false;
    assert_int_equal(judged_with("chain-untrusted"), SEVERITY_CRITICAL);
    exchange.authenticated = true;
    /* MTA-STS makes senders without DANE look at the chain. */
    exchange.policy_state = MAIL_POLICY_VALID;
    exchange.policy = (struct mail_policy){
        .mode = MAIL_POLICY_ENFORCE, .patterns = {"*.many.test"}, .pattern_count = 1};
    assert_int_equal(judged_with("chain-untrusted"), SEVERITY_CRITICAL);
    exchange.policy.mode = MAIL_POLICY_TESTING;
    assert_int_equal(judged_with("chain-untrusted"), SEVERITY_INFO);
    certificate_facts_unref(facts);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static int set_up_pki(void **state)
{
    (void)state;
    issued_init();
    return 0;
}

static int tear_down_pki(void **state)
{
    (void)state;
    issued_fini();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(domains_without_hosts),
        cmocka_unit_test(wrong_records_of_mta_sts),
        cmocka_unit_test(a_policy_that_cannot_be_fetched),
        cmocka_unit_test(a_cancelled_lookup_is_silent),
        cmocka_unit_test(without_mx_the_domain_is_the_host),
        cmocka_unit_test(hosts_come_by_preference_and_once),
        cmocka_unit_test(policies_are_judged),
        cmocka_unit_test(hosts_of_others_are_left_alone),
        cmocka_unit_test(associations_are_compared),
        cmocka_unit_test(what_dane_leaves_of_other_findings),
    };

    return cmocka_run_group_tests(tests, set_up_pki, tear_down_pki);
}
