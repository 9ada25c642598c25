/* Jobs against servers on the same loop: what goes wrong at each stage, and an OpenSSL server where
 * all goes well. */
#include "watch/prober.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "base/clock.h"

#include "../tls/issued.h"

#define TIMEOUT_MS      300   /* for servers that never answer */
#define ENOUGH_MS       20000 /* for those that do */
#define CONNECTIONS_MAX 256

/* What a server does: `greeting` is sent at once, `answer` for each read; then it may close. With a
 * context it speaks TLS, and `answer` goes inside. */
struct behaviour {
    const char *greeting;
    const char *answer;
    size_t answer_size;
    bool close_at_once, close_after_answer, drip;
    SSL_CTX *context;
};

struct server {
    const struct behaviour *behaviour;
    int fd;
    struct address address;
    SSL *sessions[CONNECTIONS_MAX]; /* by descriptor */
    bool open[CONNECTIONS_MAX];
    unsigned accepted;
};

static struct loop *loop;
static struct prober *prober;
static struct server server;
static uint8_t listen_handler, talk_handler;
static struct endpoint *endpoint;
static struct timer dripping;

static void server_hang_up(int fd)
{
    loop_unwatch(loop, fd);
    if (server.sessions[fd] != NULL) {
        SSL_set_quiet_shutdown(server.sessions[fd], 0);
        SSL_shutdown(server.sessions[fd]);
        SSL_free(server.sessions[fd]);
        server.sessions[fd] = NULL;
    }
    server.open[fd] = false;
    close(fd);
    ERR_clear_error();
}

static void server_talk_plain(int fd)
{
    char data[4096];
    ssize_t got = recv(fd, data, sizeof data, MSG_DONTWAIT);

    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        server_hang_up(fd);
        return;
    }
    if (server.behaviour->answer != NULL)
        ignore(send(fd, server.behaviour->answer, server.behaviour->answer_size, MSG_NOSIGNAL));
    if (server.behaviour->close_after_answer)
        server_hang_up(fd);
}

static void server_talk_tls(int fd)
{
    SSL *ssl = server.sessions[fd];
    char data[4096];

    ERR_clear_error();
    int got = SSL_read(ssl, data, sizeof data);
    if (got > 0 && server.behaviour->answer != NULL)
        ignore(SSL_write(ssl, server.behaviour->answer, (int)server.behaviour->answer_size));
    if (got <= 0 && SSL_get_error(ssl, got) != SSL_ERROR_WANT_READ)
        server_hang_up(fd);
}

static void on_talk(void *context, uint64_t tag, unsigned events)
{
    int fd = (int)tag;

    (void)context, (void)events;
    if (!server.open[fd])
        return;
    if (server.sessions[fd] != NULL)
        server_talk_tls(fd);
    else
        server_talk_plain(fd);
}

/* One byte now and then, for ever. */
static void drip(void *context)
{
    (void)context;
    for (int fd = 0; fd < CONNECTIONS_MAX; fd++) {
        if (server.open[fd])
            ignore(send(fd, "\x16", 1, MSG_NOSIGNAL));
    }
    timer_set(loop, &dripping, loop_now(loop) + 20 * NS_PER_MS);
}

static void on_listen(void *context, uint64_t tag, unsigned events)
{
    const struct behaviour *behaviour = server.behaviour;
    int fd = accept4(server.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)context, (void)tag, (void)events;
    if (fd < 0)
        return;
    assert_true(fd < CONNECTIONS_MAX);
    server.accepted++;
    if (behaviour->greeting != NULL)
        ignore(send(fd, behaviour->greeting, strlen(behaviour->greeting), MSG_NOSIGNAL));
    if (behaviour->close_at_once) {
        close(fd);
        return;
    }
    server.open[fd] = true;
    if (behaviour->context != NULL) {
        server.sessions[fd] = SSL_new(behaviour->context);
        SSL_set_fd(server.sessions[fd], fd);
        SSL_set_accept_state(server.sessions[fd]);
    }
    assert_true(loop_watch(loop, fd, LOOP_READ, talk_handler, (uint64_t)fd));
    if (behaviour->drip)
        timer_set(loop, &dripping, loop_now(loop) + 20 * NS_PER_MS);
}

static void server_start(const struct behaviour *behaviour)
{
    struct error error;

    server = (struct server){.behaviour = behaviour};
    assert_int_equal(address_parse(&server.address, "127.0.0.1:0", &error), 0);
    assert_int_equal(socket_listen(&server.fd, &server.address, 16, &error), 0);
    server.address.size = sizeof server.address.un;
    assert_int_equal(getsockname(server.fd, &server.address.any, &server.address.size), 0);
    assert_true(loop_watch(loop, server.fd, LOOP_READ, listen_handler, 0));
}

static void server_stop(void)
{
    timer_cancel(loop, &dripping);
    for (int fd = 0; fd < CONNECTIONS_MAX; fd++) {
        if (server.open[fd])
            server_hang_up(fd);
    }
    loop_unwatch(loop, server.fd);
    close(server.fd);
}

static void on_done(void *context, struct endpoint *done)
{
    (void)context;
    assert_ptr_equal(done, endpoint);
    loop_stop(loop, 0);
}

/* Runs one job; the endpoint is the test's until the next one. */
static const struct endpoint *probe_with(const struct address *address,
                                         const struct checker_options *options,
                                         enum target_protocol protocol, bool https)
{
    struct target target = {.protocol = protocol, .https = https, .port = 443, .path = "/"};

    endpoint_free(endpoint);
    strcpy(target.host, "edge.test");
    endpoint = endpoint_new(&target);
    strcpy(endpoint->name, "edge.test");
    endpoint->sni = true;
    endpoint->address = *address;
    assert_non_null(prober_start(prober, endpoint, options, on_done, NULL));
    loop_run(loop);
    return endpoint;
}

static const struct endpoint *probe_plain(const struct behaviour *behaviour, uint32_t timeout_ms,
                                          enum target_protocol protocol)
{
    struct checker_options options = {.timeout_ms = timeout_ms};

    server_start(behaviour);
    const struct endpoint *result = probe_with(&server.address, &options, protocol, false);
    server_stop();
    return result;
}

static void expect(const struct endpoint *seen, enum endpoint_outcome outcome, const char *stage,
                   const char *reason)
{
    assert_string_equal(endpoint_outcome_name(seen->outcome), endpoint_outcome_name(outcome));
    assert_string_equal(seen->stage, stage);
    if (strstr(seen->reason, reason) == NULL)
        fail_msg("expected \"%s\", found \"%s\"", reason, seen->reason);
}

/* ---- what goes wrong ---- */

static void test_refused(void **state)
{
    static const struct behaviour nothing = {0};
    struct checker_options options = {.timeout_ms = ENOUGH_MS};

    (void)state;
    server_start(&nothing);
    struct address nobody = server.address;
    server_stop();
    expect(probe_with(&nobody, &options, TARGET_TLS, false), ENDPOINT_REFUSED, "connect",
           "Connection refused");
}

static void test_silence(void **state)
{
    static const struct behaviour silent = {0};
    const struct endpoint *seen = probe_plain(&silent, TIMEOUT_MS, TARGET_TLS);

    (void)state;
    expect(seen, ENDPOINT_TIMEOUT, "server_hello",
           "nothing more came before any answer to the ClientHello within 0.3 s");
    assert_true(seen->times.connect > 0);
    assert_int_equal(seen->times.handshake, 0);
}

static void test_dripping_bytes_win_no_time(void **state)
{
    static const struct behaviour drips = {.drip = true};

    (void)state;
    const struct endpoint *seen = probe_plain(&drips, TIMEOUT_MS, TARGET_TLS);
    assert_true(seen->outcome == ENDPOINT_TIMEOUT || seen->outcome == ENDPOINT_NOT_TLS);
}

static void test_closed(void **state)
{
    static const struct behaviour closes = {.close_after_answer = true};

    (void)state;
    expect(probe_plain(&closes, ENOUGH_MS, TARGET_TLS), ENDPOINT_HANDSHAKE_FAILED, "server_hello",
           "before any answer to the ClientHello");
}

static void test_plain_text(void **state)
{
    static const struct behaviour mail = {.greeting = "220 mail ESMTP\r\n"};
    const struct endpoint *seen = probe_plain(&mail, ENOUGH_MS, TARGET_TLS);

    (void)state;
    expect(seen, ENDPOINT_NOT_TLS, "server_hello", "220 mail ESMTP");
    assert_true(seen->seen.not_tls);
}

static void test_alert(void **state)
{
    static const struct behaviour refuses = {.answer = "\x15\x03\x03\x00\x02\x02\x46",
                                             .answer_size = 7};
    const struct endpoint *seen = probe_plain(&refuses, ENOUGH_MS, TARGET_TLS);

    (void)state;
    expect(seen, ENDPOINT_HANDSHAKE_FAILED, "server_hello", "alert 70 from the server");
    assert_int_equal(seen->seen.alert_received, 70);
}

static void test_garbage_after_a_good_header(void **state)
{
    static const struct behaviour garbage = {
        .answer = "\x16\x03\x03\x00\x06\x02\xff\xff\xff\x00\x00", .answer_size = 11};

    (void)state;
    expect(probe_plain(&garbage, ENOUGH_MS, TARGET_TLS), ENDPOINT_HANDSHAKE_FAILED, "server_hello",
           "what the server sent was refused");
}

static void test_starttls_goes_wrong(void **state)
{
    static const struct behaviour silent = {0}, other = {.greeting = "SSH-2.0-OpenSSH\r\n"},
                                  closes = {.close_at_once = true};

    (void)state;
    expect(probe_plain(&silent, TIMEOUT_MS, TARGET_SMTP), ENDPOINT_TIMEOUT, "starttls",
           "no end of the talk before TLS within 0.3 s");
    expect(probe_plain(&closes, ENOUGH_MS, TARGET_SMTP), ENDPOINT_STARTTLS_FAILED, "starttls",
           "connection");
    assert_int_equal(probe_plain(&other, ENOUGH_MS, TARGET_SMTP)->outcome,
                     ENDPOINT_STARTTLS_FAILED);
}

static void test_cancelled_and_freed_jobs_call_nobody(void **state)
{
    static const struct behaviour silent = {0};
    struct checker_options options = {.timeout_ms = ENOUGH_MS};
    struct prober *other = prober_new(loop);
    struct target target = {.port = 443};
    struct endpoint *one = endpoint_new(&target), *two = endpoint_new(&target);

    (void)state;
    server_start(&silent);
    one->address = two->address = server.address;
    struct prober_job *job = prober_start(other, one, &options, on_done, NULL);
    assert_non_null(job);
    assert_non_null(prober_start(other, two, &options, on_done, NULL));
    prober_cancel(job);
    prober_cancel(NULL);
    prober_free(other);
    prober_free(NULL);
    server_stop();
    endpoint_free(one);
    endpoint_free(two);
}

/* ---- what goes well ---- */

static SSL_CTX *context_new(const char *suites)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    size_t size;
    char *pem = keypair_to_pem(issued_pair(KEY_TYPE_RSA), &size);
    BIO *input = BIO_new_mem_buf(pem, (int)size);
    X509 *leaf = PEM_read_bio_X509(input, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(input, NULL, NULL, NULL);

    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_min_proto_version(context, TLS1_1_VERSION);
    assert_int_equal(SSL_CTX_set_cipher_list(context, suites), 1);
    SSL_CTX_set_session_id_context(context, (const uint8_t *)"test", 4);
    assert_int_equal(SSL_CTX_use_cert_and_key(context, leaf, key, NULL, 1), 1);
    X509_free(leaf);
    EVP_PKEY_free(key);
    BIO_free(input);
    free(pem);
    return context;
}

#define RESPONSE "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=31536000\r\n\r\n"

/* One job against a TLS server of this context, which is freed. */
static const struct endpoint *probe_tls(SSL_CTX *context, const struct checker_options *options,
                                        bool https)
{
    const struct behaviour behaviour = {
        .context = context, .answer = RESPONSE, .answer_size = sizeof RESPONSE - 1};

    server_start(&behaviour);
    const struct endpoint *result = probe_with(&server.address, options, TARGET_TLS, https);
    server_stop();
    SSL_CTX_free(context);
    return result;
}

static void test_a_first_look(void **state)
{
    struct checker_options options = {.timeout_ms = ENOUGH_MS};
    const struct endpoint *seen = probe_tls(context_new("ALL"), &options, false);

    (void)state;
    assert_int_equal(seen->outcome, ENDPOINT_SEEN);
    assert_string_equal(seen->reason, "");
    assert_int_equal(seen->seen.chain_count, 1);
    assert_int_equal(seen->seen.tickets, 2);
    assert_true(seen->times.handshake > 0);
    assert_int_equal(seen->times.starttls, 0);
    assert_false(seen->http.asked);
    assert_int_equal(seen->inventory.connections, 0);
    assert_int_equal(server.accepted, 1);
}

static void test_http_inside(void **state)
{
    struct checker_options options = {.timeout_ms = ENOUGH_MS};
    const struct endpoint *seen = probe_tls(context_new("ALL"), &options, true);

    (void)state;
    assert_int_equal(seen->outcome, ENDPOINT_SEEN);
    assert_int_equal(seen->http.status, 200);
    assert_int_equal(seen->http.hsts_max_age_s, 31536000);
    assert_int_equal(seen->seen.tickets, 2);
    assert_int_equal(server.accepted, 1);
}

static void test_client_certificate_required(void **state)
{
    struct checker_options options = {.timeout_ms = ENOUGH_MS};

    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *context = context_new("ALL");
        SSL_CTX_set_max_proto_version(context, version);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        const struct endpoint *seen = probe_tls(context, &options, true);
        assert_int_equal(seen->outcome, ENDPOINT_SEEN);
        assert_true(seen->seen.client_certificate_required);
        assert_int_equal(seen->seen.chain_count, 1);
    }
}

static void test_inventory(void **state)
{
    struct checker_options options = {.timeout_ms = ENOUGH_MS, .deep = true};
    SSL_CTX *context = context_new("ECDHE-RSA-AES128-GCM-SHA256:AES256-SHA:NULL-SHA");

    (void)state;
    SSL_CTX_set_options(context,
                        SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
    SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256");
    const struct endpoint_inventory *found = &probe_tls(context, &options, false)->inventory;
    assert_int_equal(found->versions[0], ANSWER_NO);
    assert_int_equal(found->versions[1], ANSWER_NO);
    assert_int_equal(found->versions[2], ANSWER_YES);
    assert_int_equal(found->versions[3], ANSWER_YES);
    assert_int_equal(found->versions[4], ANSWER_YES);
    static const char *const suites[] = {"TLS_AES_256_GCM_SHA384",
                                         "TLS_AES_128_GCM_SHA256", /* TLS 1.3 */
                                         "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                                         "TLS_RSA_WITH_AES_256_CBC_SHA",
                                         "TLS_RSA_WITH_NULL_SHA", /* TLS 1.1 has no AEAD */
                                         "TLS_RSA_WITH_AES_256_CBC_SHA",
                                         "TLS_RSA_WITH_NULL_SHA"};
    assert_int_equal(found->suite_count, ARRAY_SIZE(suites));
    for (size_t i = 0; i < ARRAY_SIZE(suites); i++)
        assert_string_equal(found->suites[i], suites[i]);
    assert_int_equal(found->suite_versions[0], TLS1_3_VERSION);
    assert_int_equal(found->suite_versions[6], TLS1_1_VERSION);
    assert_int_equal(found->server_preference, ANSWER_YES);
    assert_int_equal(found->resumes_ticket, ANSWER_YES);
    assert_int_equal(found->resumes_id, ANSWER_YES);
    assert_int_equal(found->client_renegotiation, ANSWER_YES);
    assert_int_equal(found->fallback_protected, ANSWER_YES);
    assert_int_equal(found->downgrade_sentinel, ANSWER_YES);
    assert_int_equal(found->compression, ANSWER_NO);
    assert_int_not_equal(found->post_quantum, ANSWER_UNKNOWN);
    assert_false(found->cut);
    assert_int_equal(found->connections + 1, server.accepted);
}

static void test_inventory_of_a_modest_server(void **state)
{
    struct checker_options options = {
        .timeout_ms = ENOUGH_MS, .resumption = true, .renegotiation = true};
    SSL_CTX *context = context_new("ALL");

    (void)state;
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    const struct endpoint_inventory *found = &probe_tls(context, &options, false)->inventory;
    assert_int_equal(found->resumes_ticket, ANSWER_NO);
    assert_int_equal(found->resumes_id, ANSWER_NO);
    assert_int_equal(found->client_renegotiation, ANSWER_NO);
    assert_int_equal(found->versions[4], ANSWER_UNKNOWN); /* not asked */
    assert_int_equal(found->suite_count, 0);
}

/* It shakes hands with nobody, but a silence after each hello must not hold us for ever. */
static void test_inventory_gives_up(void **state)
{
    static const struct behaviour refuses_then_silent = {.answer = "\x15\x03\x03\x00\x02\x02\x28",
                                                         .answer_size = 7};
    struct checker_options options = {.timeout_ms = ENOUGH_MS, .deep = true};

    (void)state;
    server_start(&refuses_then_silent);
    const struct endpoint_inventory *found =
        &probe_with(&server.address, &options, TARGET_TLS, false)->inventory;
    server_stop();
    for (unsigned i = 0; i < ENDPOINT_VERSIONS; i++)
        assert_int_equal(found->versions[i], ANSWER_NO);
    assert_int_equal(found->resumes_ticket, ANSWER_UNKNOWN);
}

static int set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* of the servers, whose clients hang up */
    issued_init();
    loop = loop_new();
    listen_handler = loop_handler(loop, on_listen, NULL);
    talk_handler = loop_handler(loop, on_talk, NULL);
    timer_init(&dripping, drip, NULL);
    prober = prober_new(loop);
    return prober == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    endpoint_free(endpoint);
    prober_free(prober);
    loop_free(loop);
    issued_fini();
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_dripping_bytes_win_no_time),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_plain_text),
        cmocka_unit_test(test_alert),
        cmocka_unit_test(test_garbage_after_a_good_header),
        cmocka_unit_test(test_starttls_goes_wrong),
        cmocka_unit_test(test_cancelled_and_freed_jobs_call_nobody),
        cmocka_unit_test(test_a_first_look),
        cmocka_unit_test(test_http_inside),
        cmocka_unit_test(test_client_certificate_required),
        cmocka_unit_test(test_inventory),
        cmocka_unit_test(test_inventory_of_a_modest_server),
        cmocka_unit_test(test_inventory_gives_up),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
