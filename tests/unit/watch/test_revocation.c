/* watch/revocation.h against a web server of Python's: what is fetched, how often, from whom. */
#include "watch/revocation.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "../tls/issued.h"
#include "watch/checks/check.h"

#define HOUR 3600

static char folder[] = "/tmp/holdfast-revocation-XXXXXX";
static pid_t server;
static int port;
static EVP_PKEY *ca_key, *leaf_key;
static X509 *ca, *leaf;
static const struct certificate_facts *ca_facts, *leaf_facts;
static struct loop *loop;
static struct http_client *client;

static const char *path(const char *name)
{
    static char text[4][512];
    static unsigned at;

    snprintf(text[++at % 4], sizeof text[0], "%s/%s", folder, name);
    return text[at % 4];
}

static void write_file(const char *name, const void *data, size_t size)
{
    FILE *file = fopen(path(name), "w");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
}

static void start_server(void)
{
    int out[2];

    assert_int_equal(pipe(out), 0);
    server = fork();
    if (server == 0) {
        dup2(out[1], 1);
        dup2(open("/dev/null", O_WRONLY), 2); /* its log */
        execl("/usr/bin/python3", "python3", "-u", "-m", "http.server", "0", "--bind", "127.0.0.1",
              "--directory", folder, NULL);
        _exit(127);
    }
    close(out[1]);
    FILE *output = fdopen(out[0], "r");
    assert_int_equal(fscanf(output, "Serving HTTP on 127.0.0.1 port %d", &port), 1);
    fclose(output);
}

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void make_certificates(void)
{
    char text[256];

    ca_key = EVP_EC_gen("P-256");
    leaf_key = EVP_EC_gen("P-256");
    ca = crafted_new(&(struct crafted){.key = ca_key,
                                       .common_name = "CA",
                                       .constraints = "critical,CA:TRUE",
                                       .usage = "critical,keyCertSign,cRLSign"});
    add_extension(ca, ca, NID_subject_key_identifier, "0102030405");
    assert_true(X509_sign(ca, ca_key, EVP_sha256()) > 0);
    leaf = crafted_new(&(struct crafted){
        .key = leaf_key, .issuer = ca, .issuer_key = ca_key, .common_name = "leaf"});
    ASN1_INTEGER_set(X509_get_serialNumber(leaf), 0x87654321);
    snprintf(text, sizeof text, "URI:http://127.0.0.1:%d/1.crl", port);
    add_extension(leaf, ca, NID_crl_distribution_points, text);
    snprintf(text, sizeof text, "caIssuers;URI:http://127.0.0.1:%d/ca.der", port);
    add_extension(leaf, ca, NID_info_access, text);
    add_extension(leaf, ca, NID_authority_key_identifier, "keyid");
    assert_true(X509_sign(leaf, ca_key, EVP_sha256()) > 0);
    ca_facts = facts_of(ca);
    leaf_facts = facts_of(leaf);
}

static int set_up_all(void **state)
{
    (void)state;
    issued_init();
    assert_non_null(mkdtemp(folder));
    start_server();
    make_certificates();
    return 0;
}

static int tear_down_all(void **state)
{
    char command[128];

    (void)state;
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
    snprintf(command, sizeof command, "rm -r %s", folder);
    certificate_facts_unref(ca_facts);
    certificate_facts_unref(leaf_facts);
    X509_free(ca);
    X509_free(leaf);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(leaf_key);
    issued_fini();
    return system(command);
}

static int set_up(void **state)
{
    struct error error;

    (void)state;
    loop = loop_new();
    assert_int_equal(http_client_new(&client, loop, &error), 0);
    unlink(path("1.crl"));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_client_free(client);
    loop_free(loop);
    return 0;
}

static void publish_list(const char *name, bool revoked, EVP_PKEY *key)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *begin = X509_gmtime_adj(NULL, -HOUR), *end = X509_gmtime_adj(NULL, HOUR);
    unsigned char *der = NULL;

    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca));
    X509_CRL_set1_lastUpdate(crl, begin);
    X509_CRL_set1_nextUpdate(crl, end);
    if (revoked) {
        X509_REVOKED *entry = X509_REVOKED_new();
        X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(leaf));
        X509_REVOKED_set_revocationDate(entry, begin);
        X509_CRL_add0_revoked(crl, entry);
    }
    assert_true(X509_CRL_sign(crl, key, EVP_sha256()) > 0);
    int size = i2d_X509_CRL(crl, &der);
    write_file(name, der, (size_t)size);
    OPENSSL_free(der);
    ASN1_TIME_free(begin);
    ASN1_TIME_free(end);
    X509_CRL_free(crl);
}

/* ---- asking ---- */

static struct revocation *revocation_of(const struct revocation_options *options)
{
    struct revocation *revocation;
    struct error error = {0};

    if (revocation_new(&revocation, loop, client, options, &error) != 0)
        fail_msg("%s", error.message);
    return revocation;
}

static struct endpoint *endpoint_of(const char *address, size_t certificates)
{
    struct target target = {.kind = TARGET_ENDPOINT};
    struct endpoint *endpoint = endpoint_new(&target);
    struct error error;

    assert_int_equal(address_parse(&endpoint->address, address, &error), 0);
    endpoint->seen.chain[0] = certificate_facts_ref(leaf_facts);
    endpoint->seen.chain[1] = certificates > 1 ? certificate_facts_ref(ca_facts) : NULL;
    endpoint->seen.chain_count = certificates;
    return endpoint;
}

static void over(void *context, struct endpoint *endpoint)
{
    assert_true(endpoint->revocation.prepared);
    *(int *)context += 1;
    loop_stop(loop, 0);
}

static struct revocation_order everything = {.crls = true, .intermediates = true, .renewal = true};

static void prepare(struct revocation *revocation, struct endpoint *endpoint)
{
    int calls = 0;

    assert_non_null(revocation_prepare(revocation, endpoint, &everything, over, &calls));
    assert_int_equal(calls, 0);
    loop_run(loop);
    assert_int_equal(calls, 1);
}

/* As a store's best path has it. */
static void trust(struct endpoint *endpoint)
{
    endpoint->needed_count = endpoint->seen.chain_count;
    memcpy(endpoint->needed, endpoint->seen.chain,
           endpoint->needed_count * sizeof *endpoint->needed);
}

/* What the list says of the leaf behind this address. */
static enum crl_outcome outcome_of(struct revocation *revocation, const char *address)
{
    struct endpoint *endpoint = endpoint_of(address, 2);

    trust(endpoint);
    prepare(revocation, endpoint);
    assert_int_equal(endpoint->revocation.crl_count, 1);
    enum crl_outcome outcome = endpoint->revocation.crls[0].verdict.outcome;
    endpoint_free(endpoint);
    return outcome;
}

/* ---- lists ---- */

static void failures_are_soft_and_remembered(void **state)
{
    struct revocation *revocation = revocation_of(&(struct revocation_options){0});
    struct endpoint *endpoint = endpoint_of("127.0.0.1:1", 2);
    const struct check_policy policy = {.at = time(NULL)};

    (void)state;
    prepare(revocation, endpoint);
    assert_int_equal(endpoint->revocation.crls[0].verdict.outcome, CRL_UNREACHABLE);
    assert_non_null(strstr(endpoint->revocation.crls[0].verdict.reason, "404"));
    check_revocation_lists(endpoint, &policy, &endpoint->findings);
    assert_int_equal(endpoint->findings.count, 1);
    assert_string_equal(endpoint->findings.items[0].id, "crl-unreachable");
    assert_int_equal(endpoint->findings.items[0].severity, SEVERITY_INFO);
    endpoint_free(endpoint);
    publish_list("1.crl", false, ca_key); /* too soon to be asked for */
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_UNREACHABLE);
    revocation_free(revocation);
}

static void what_is_no_list_is_said(void **state)
{
    struct revocation *revocation = revocation_of(&(struct revocation_options){0});

    (void)state;
    write_file("1.crl", "<html>", 6);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_MALFORMED);
    revocation_free(revocation);
}

static void a_strangers_list_is_dropped(void **state)
{
    struct revocation *revocation = revocation_of(&(struct revocation_options){0});

    (void)state;
    publish_list("1.crl", true, leaf_key);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_UNTRUSTED);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_MALFORMED);
    revocation_free(revocation);
}

/* Who makes himself a CA of the same name does not drop the real one's list for others. */
static void an_impostor_drops_nothing(void **state)
{
    struct revocation *revocation = revocation_of(&(struct revocation_options){0});
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *false_ca = crafted_new(&(struct crafted){.key = key,
                                                   .common_name = "CA",
                                                   .constraints = "critical,CA:TRUE",
                                                   .usage = "critical,keyCertSign,cRLSign"});
    X509 *false_leaf = crafted_new(&(struct crafted){
        .key = key, .issuer = false_ca, .issuer_key = key, .common_name = "leaf"});
    char text[256];

    (void)state;
    snprintf(text, sizeof text, "URI:http://127.0.0.1:%d/1.crl", port);
    add_extension(false_leaf, false_ca, NID_crl_distribution_points, text);
    assert_true(X509_sign(false_leaf, key, EVP_sha256()) > 0);
    publish_list("1.crl", true, ca_key);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_REVOKED);
    struct endpoint *endpoint = endpoint_of("127.0.0.1:2", 2);
    certificate_facts_unref(endpoint->seen.chain[0]);
    certificate_facts_unref(endpoint->seen.chain[1]);
    endpoint->seen.chain[0] = facts_of(false_leaf);
    endpoint->seen.chain[1] = facts_of(false_ca);
    prepare(revocation, endpoint);
    assert_int_equal(endpoint->revocation.crls[0].verdict.outcome, CRL_UNTRUSTED);
    endpoint_free(endpoint);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_REVOKED);
    revocation_free(revocation);
    X509_free(false_leaf);
    X509_free(false_ca);
    EVP_PKEY_free(key);
}

static void public_endpoints_lead_to_no_private_address(void **state)
{
    struct revocation *revocation = revocation_of(&(struct revocation_options){0});

    (void)state;
    publish_list("1.crl", true, ca_key);
    assert_int_equal(outcome_of(revocation, "8.8.8.8:443"), CRL_UNREACHABLE);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_REVOKED);
    revocation_free(revocation);
}

static void a_list_is_fetched_once(void **state)
{
    struct revocation *revocation = revocation_of(&(struct revocation_options){0});

    (void)state;
    publish_list("1.crl", false, ca_key);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_GOOD);
    unlink(path("1.crl"));
    assert_int_equal(outcome_of(revocation, "127.0.0.1:2"), CRL_GOOD);
    revocation_free(revocation);
}

/* A keeper with one place, which answers when the loop comes round. */
static struct {
    struct revocation *revocation;
    struct timer answer;
    char key[128], asked[128];
    uint8_t body[8192];
    struct document_copy copy;
    int64_t until;
    unsigned kept, dropped;
} kept;

static void answer_recall(void *context)
{
    (void)context;
    revocation_recalled(kept.revocation, kept.asked,
                        strcmp(kept.key, kept.asked) == 0 ? &kept.copy : NULL);
}

static bool recall(void *context, const char *key)
{
    (void)context;
    snprintf(kept.asked, sizeof kept.asked, "%s", key);
    timer_init(&kept.answer, answer_recall, NULL);
    timer_set(loop, &kept.answer, loop_now(loop));
    return true;
}

static void keep(void *context, const char *key, const struct document_copy *copy, int64_t until)
{
    (void)context;
    assert_true(copy->size <= sizeof kept.body);
    snprintf(kept.key, sizeof kept.key, "%s", key);
    memcpy(kept.body, copy->body, copy->size);
    kept.copy = *copy;
    kept.copy.body = kept.body;
    kept.until = until;
    kept.kept++;
}

static void drop(void *context, const char *key)
{
    (void)context;
    assert_string_equal(key, kept.key);
    kept.dropped++;
}

static const struct documents_keeper keeper = {.recall = recall, .keep = keep, .drop = drop};

static struct revocation *another_process(struct revocation *before)
{
    revocation_free(before);
    if (before == NULL)
        memset(&kept, 0, sizeof kept);
    return kept.revocation = revocation_of(&(struct revocation_options){.keeper = &keeper});
}

static void a_list_outlives_the_process(void **state)
{
    struct revocation *revocation = another_process(NULL);
    int64_t now = time(NULL);

    (void)state;
    publish_list("1.crl", false, ca_key);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_GOOD);
    assert_int_equal(kept.kept, 1);
    assert_true(kept.until > now && kept.copy.fetched_at >= now);
    unlink(path("1.crl"));
    revocation = another_process(revocation);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_GOOD);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_GOOD);
    assert_int_equal(kept.kept, 1);

    /* One that has been renewed since is asked for, and the one that was kept helps meanwhile. */
    kept.copy.fetched_at -= 2 * 86400;
    revocation = another_process(revocation);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_GOOD);
    revocation = another_process(revocation);
    publish_list("1.crl", true, ca_key);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_REVOKED);
    assert_int_equal(kept.kept, 2);
    revocation_free(revocation);
}

/* A keeper is believed no more than a server. */
static void what_was_kept_is_verified(void **state)
{
    struct revocation *revocation = another_process(NULL);

    (void)state;
    publish_list("1.crl", false, ca_key);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_GOOD);
    unlink(path("1.crl"));

    kept.copy.fetched_at += 3600; /* of the future */
    revocation = another_process(revocation);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_UNREACHABLE);
    kept.copy.fetched_at -= 3600;

    kept.body[kept.copy.size - 1] ^= 1; /* the signature */
    revocation = another_process(revocation);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_UNTRUSTED);
    assert_int_equal(kept.dropped, 1);

    kept.copy.size /= 2;
    revocation = another_process(revocation);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_UNREACHABLE);
    revocation_free(revocation);
}

static void revoked_is_hard(void **state)
{
    struct revocation *revocation = revocation_of(&(struct revocation_options){0});
    struct endpoint *endpoint = endpoint_of("127.0.0.1:1", 2);
    const struct check_policy policy = {.at = time(NULL)};

    (void)state;
    publish_list("1.crl", true, ca_key);
    prepare(revocation, endpoint);
    check_revocation_lists(endpoint, &policy, &endpoint->findings);
    assert_int_equal(endpoint->findings.count, 1);
    assert_string_equal(endpoint->findings.items[0].id, "certificate-revoked");
    assert_int_equal(endpoint->findings.items[0].severity, SEVERITY_CRITICAL);
    assert_true(endpoint->findings.items[0].hard);
    endpoint_free(endpoint);
    revocation_free(revocation);
}

static void the_operators_list_comes_first(void **state)
{
    struct error error;
    struct revocation *revocation = revocation_of(&(struct revocation_options){0});
    struct crl_file *file = NULL;

    (void)state;
    assert_int_not_equal(crl_file_read(&file, path("absent.crl"), &error), 0);
    assert_int_equal(error.code, ERROR_IO);
    assert_int_not_equal(crl_file_parse(&file, "/x.crl", "no list", 7, &error), 0);
    assert_non_null(strstr(error.message, "/x.crl: "));
    publish_list("1.crl", false, ca_key);
    publish_list("operator.crl", true, ca_key);
    assert_int_equal(crl_file_read(&file, path("operator.crl"), &error), 0);
    const struct crl_file *files[] = {file};
    everything.crl_files = files;
    everything.crl_file_count = 1;
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_REVOKED);
    everything.crl_file_count = 0; /* an order's own: the next one has none */
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_GOOD);
    crl_file_free(file);
    revocation_free(revocation);
}

/* ---- the rest ---- */

static void missing_issuers_are_fetched(void **state)
{
    struct revocation *revocation = revocation_of(&(struct revocation_options){0});
    struct endpoint *endpoint = endpoint_of("127.0.0.1:1", 1);

    (void)state;
    write_file("ca.der", leaf_facts->der, leaf_facts->der_size); /* not the issuer */
    prepare(revocation, endpoint);
    assert_int_equal(endpoint->revocation.fetched_count, 0);
    assert_true(endpoint->revocation.fetch_reason[0] != '\0');
    endpoint_free(endpoint);
    revocation_free(revocation);
    write_file("ca.der", ca_facts->der, ca_facts->der_size);
    revocation = revocation_of(&(struct revocation_options){0});
    endpoint = endpoint_of("127.0.0.1:1", 1);
    prepare(revocation, endpoint);
    assert_int_equal(endpoint->revocation.fetched_count, 1);
    assert_true(certificate_facts_same(endpoint->revocation.fetched[0], ca_facts));
    assert_true(certificate_facts_same(endpoint->revocation.issuer, ca_facts));
    endpoint_free(endpoint);
    revocation_free(revocation);
}

static void renewal_windows(void **state)
{
    /* base64url of 0102030405, and of 0087654321 */
    static const char id[] = "renewal/AQIDBAU.AIdlQyE",
                      window[] = "{\"suggestedWindow\":{\"start\":\"2026-01-02T06:00:00.5+02:00\","
                                 "\"end\":\"2026-01-03T04:00:00Z\"},\"explanationURL\":\"https://"
                                 "ca.example/why\"}";
    char directory_url[128], directory[256];

    (void)state;
    snprintf(directory_url, sizeof directory_url, "http://127.0.0.1:%d/directory", port);
    snprintf(directory, sizeof directory, "{\"renewalInfo\":\"http://127.0.0.1:%d/renewal\"}",
             port);
    write_file("directory", directory, strlen(directory));
    mkdir(path("renewal"), 0700);
    everything.renewal_directory = directory_url;
    struct revocation *revocation = revocation_of(&(struct revocation_options){0});
    struct endpoint *endpoint = endpoint_of("127.0.0.1:1", 2);
    prepare(revocation, endpoint);
    assert_false(endpoint->revocation.renewal.known);
    assert_non_null(strstr(endpoint->revocation.renewal.reason, "404"));
    endpoint_free(endpoint);
    revocation_free(revocation);
    write_file(id, window, sizeof window - 1);
    revocation = revocation_of(&(struct revocation_options){0});
    endpoint = endpoint_of("127.0.0.1:1", 2);
    prepare(revocation, endpoint);
    everything.renewal_directory = NULL;
    assert_true(endpoint->revocation.renewal.known);
    assert_int_equal(endpoint->revocation.renewal.start, 1767326400);
    assert_int_equal(endpoint->revocation.renewal.end, 1767412800);
    assert_string_equal(endpoint->revocation.renewal.explanation, "https://ca.example/why");
    endpoint_free(endpoint);
    revocation_free(revocation);
}

static void cancelled_jobs_stay_silent(void **state)
{
    struct revocation *revocation = revocation_of(&(struct revocation_options){0});
    struct endpoint *first = endpoint_of("127.0.0.1:1", 2);
    int calls = 0;

    (void)state;
    struct revocation_job *job = revocation_prepare(revocation, first, &everything, over, &calls);
    revocation_cancel(job);
    revocation_cancel(NULL);
    assert_int_equal(outcome_of(revocation, "127.0.0.1:1"), CRL_UNREACHABLE);
    assert_int_equal(calls, 0);
    endpoint_free(first);
    revocation_free(revocation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(failures_are_soft_and_remembered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_list_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_strangers_list_is_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_impostor_drops_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(public_endpoints_lead_to_no_private_address, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_list_is_fetched_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_list_outlives_the_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_kept_is_verified, set_up, tear_down),
        cmocka_unit_test_setup_teardown(revoked_is_hard, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_operators_list_comes_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(missing_issuers_are_fetched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(renewal_windows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancelled_jobs_stay_silent, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
