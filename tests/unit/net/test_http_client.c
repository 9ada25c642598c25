/* net/http_client.h against servers of Python (http_servers.py): every limit, mail with and without
 * TLS, and that failures keep secrets. */
#include "net/http_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SECRET "bot12345-very-secret"

static struct loop *loop;
static struct http_client *client;
static pid_t servers;
static int servers_input;
static int web_port, plain_port, protected_port;
static char trust_file[256], trust_pem[8192], mail_file[256];

/* ---- servers ---- */

static int set_up_servers(void **state)
{
    int in[2], out[2];

    (void)state;
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    servers = fork();
    assert_true(servers >= 0);
    if (servers == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        execl("/usr/bin/python3", "python3", "tests/unit/net/http_servers.py", NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    servers_input = in[1];
    FILE *output = fdopen(out[0], "r");
    assert_non_null(output);
    assert_int_equal(fscanf(output, "%d %d %d %255s %255s", &web_port, &plain_port, &protected_port,
                            trust_file, mail_file),
                     5);
    fclose(output);
    FILE *trust = fopen(trust_file, "r");
    assert_non_null(trust);
    trust_pem[fread(trust_pem, 1, sizeof trust_pem - 1, trust)] = '\0';
    fclose(trust);
    return 0;
}

static int tear_down_servers(void **state)
{
    (void)state;
    close(servers_input);
    assert_int_equal(waitpid(servers, NULL, 0), servers);
    return 0;
}

static int set_up(void **state)
{
    struct error error;

    (void)state;
    loop = loop_new();
    assert_non_null(loop);
    assert_int_equal(http_client_new(&client, loop, &error), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_client_free(client);
    http_client_free(NULL);
    loop_free(loop);
    return 0;
}

/* ---- asking ---- */

struct result {
    int calls;
    bool failed;
    struct error error;
    unsigned status;
    char body[512];
    int64_t retry_after_s;
};

static int open_results;

static void keep(void *context, const struct http_answer *answer)
{
    struct result *result = context;

    result->calls++;
    result->failed = answer->failed;
    result->error = answer->error;
    result->status = answer->status;
    result->retry_after_s = answer->retry_after_s;
    snprintf(result->body, sizeof result->body, "%.*s", (int)answer->body_size,
             (const char *)answer->body);
    if (--open_results == 0)
        loop_stop(loop, 0);
}

static struct result ask(const struct http_order *order)
{
    struct result result = {0};
    struct error error;

    open_results = 1;
    assert_non_null(http_client_ask(client, order, keep, &result, &error));
    assert_int_equal(result.calls, 0); /* never before it returned */
    loop_run(loop);
    assert_int_equal(result.calls, 1);
    return result;
}

static const char *url(const char *path)
{
    static char texts[4][256];
    static unsigned at;
    char *text = texts[at++ % 4];

    snprintf(text, sizeof texts[0], "http://127.0.0.1:%d%s", web_port, path);
    return text;
}

static const char *mail_url(int port)
{
    static char text[64];

    snprintf(text, sizeof text, "smtp://127.0.0.1:%d", port);
    return text;
}

/* ---- what is refused ---- */

static void other_schemes_are_refused(void **state)
{
    static const char *const urls[] = {
        "file:///etc/passwd", "ftp://127.0.0.1/", "gopher://x/", "http://", "", "no url",
        "ldap://127.0.0.1/"};
    struct error error;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
        assert_null(
            http_client_ask(client, &(struct http_order){.url = urls[i]}, keep, NULL, &error));
        assert_int_equal(error.code, ERROR_USAGE);
    }
}

static void headers_cannot_be_split(void **state)
{
    const struct http_header header = {"X-Test", "a\r\nX-Other: b"};
    struct error error;

    (void)state;
    assert_null(http_client_ask(
        client, &(struct http_order){.url = url("/ok"), .headers = &header, .header_count = 1},
        keep, NULL, &error));
}

static void private_addresses_are_refused_where_asked(void **state)
{
    (void)state;
    struct result result = ask(&(struct http_order){.url = url("/ok"), .public_only = true});
    assert_true(result.failed);
    assert_int_equal(result.error.code, ERROR_LIMIT);
    assert_non_null(strstr(result.error.message, "not public"));
}

static void public_addresses(void **state)
{
    static const struct {
        const char *text;
        bool is_public;
    } cases[] = {{"127.0.0.1:80", false},
                 {"10.1.2.3:80", false},
                 {"192.168.0.1:80", false},
                 {"172.31.255.255:80", false},
                 {"172.32.0.1:80", true},
                 {"169.254.169.254:80", false},
                 {"100.64.0.1:80", false},
                 {"0.0.0.0:80", false},
                 {"224.0.0.1:80", false},
                 {"255.255.255.255:80", false},
                 {"8.8.8.8:80", true},
                 {"[::1]:80", false},
                 {"[::]:80", false},
                 {"[::ffff:10.0.0.1]:80", false},
                 {"[::10.0.0.1]:80", false},
                 {"[64:ff9b::a00:1]:80", false},
                 {"[2002:a00:1::]:80", false},
                 {"[fe80::1]:80", false},
                 {"[fd00::1]:80", false},
                 {"[ff02::1]:80", false},
                 {"[2606:4700::1111]:80", true}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct address address;
        struct error error;
        assert_int_equal(address_parse(&address, cases[i].text, &error), 0);
        if (http_address_public(&address) != cases[i].is_public)
            fail_msg("%s", cases[i].text);
    }
}

static void answers_have_a_size(void **state)
{
    (void)state;
    const struct http_order large = {.url = url("/large"), .answer_max = 1000},
                            endless = {.url = url("/endless"), .answer_max = 200000};
    struct result result = ask(&large);
    assert_true(result.failed);
    assert_int_equal(result.error.code, ERROR_LIMIT);
    assert_non_null(strstr(result.error.message, "more than 1000 bytes"));
    result = ask(&endless);
    assert_true(result.failed);
    assert_non_null(strstr(result.error.message, "more than 200000 bytes"));
}

static void a_server_that_hangs_is_left(void **state)
{
    (void)state;
    struct result result = ask(&(struct http_order){.url = url("/hang"), .timeout_ms = 100});
    assert_true(result.failed);
    assert_int_equal(result.error.code, ERROR_TIMEOUT);
}

static void redirects_have_limits(void **state)
{
    (void)state;
    assert_int_equal(ask(&(struct http_order){.url = url("/to-ok")}).status, 302);
    struct result result = ask(&(struct http_order){.url = url("/to-ok"), .follow = true});
    assert_string_equal(result.body, "document");
    assert_true(ask(&(struct http_order){.url = url("/round"), .follow = true}).failed);
    result = ask(&(struct http_order){.url = url("/to-file"), .follow = true});
    assert_true(result.failed);
    assert_string_equal(result.body, "");
}

static void failures_keep_secrets(void **state)
{
    char address[256];

    (void)state;
    struct result result = ask(&(struct http_order){
        .url = "http://user:" SECRET "@127.0.0.1:1/" SECRET "?" SECRET, .password = SECRET});
    assert_true(result.failed);
    assert_null(strstr(result.error.message, SECRET));
    assert_non_null(strstr(result.error.message, "127.0.0.1"));
    snprintf(address, sizeof address, "%s?%s", url("/hang"), SECRET);
    result = ask(&(struct http_order){.url = address, .timeout_ms = 100});
    assert_true(result.failed);
    assert_null(strstr(result.error.message, SECRET));
}

/* ---- what is answered ---- */

static void documents_and_statuses(void **state)
{
    (void)state;
    struct result result = ask(&(struct http_order){.url = url("/ok")});
    assert_false(result.failed);
    assert_int_equal(result.status, 200);
    assert_string_equal(result.body, "document");
    assert_int_equal(result.retry_after_s, -1);
    result = ask(&(struct http_order){.url = url("/busy")});
    assert_false(result.failed);
    assert_int_equal(result.status, 503);
    assert_int_equal(result.retry_after_s, 120);
    assert_non_null(strstr(ask(&(struct http_order){.url = url("/agent")}).body, "Holdfast"));
}

static void bodies_and_methods(void **state)
{
    const struct http_header header = {"X-Test", "yes"};
    struct http_order order = {
        .url = url("/"), .headers = &header, .header_count = 1, .body = "{}", .body_size = 2};

    (void)state;
    assert_string_equal(ask(&order).body, "POST yes {}");
    order.method = "PUT";
    assert_string_equal(ask(&order).body, "PUT yes {}");
}

static void many_at_once(void **state)
{
    enum { COUNT = 100 };
    static struct result results[COUNT];
    struct error error;

    (void)state;
    open_results = COUNT;
    for (int i = 0; i < COUNT; i++)
        assert_non_null(http_client_ask(client, &(struct http_order){.url = url("/ok")}, keep,
                                        &results[i], &error));
    loop_run(loop);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(results[i].calls, 1);
        assert_string_equal(results[i].body, "document");
    }
}

static void cancelled_ones_stay_silent(void **state)
{
    struct result silent = {0};
    struct error error;
    struct http_request *request =
        http_client_ask(client, &(struct http_order){.url = url("/hang")}, keep, &silent, &error);

    (void)state;
    assert_non_null(request);
    assert_string_equal(ask(&(struct http_order){.url = url("/ok")}).body, "document");
    http_client_cancel(request);
    http_client_cancel(NULL);
    /* One that is under way when the client ends: nobody is told, nothing leaks. */
    assert_non_null(
        http_client_ask(client, &(struct http_order){.url = url("/hang")}, keep, &silent, &error));
    assert_string_equal(ask(&(struct http_order){.url = url("/ok")}).body, "document");
    assert_int_equal(silent.calls, 0);
}

/* ---- mail ---- */

static struct http_order mail(int port)
{
    static const char *const to[] = {"<one@example.org>", "<two@example.org>"};
    static const char text[] = "Subject: test\r\n\r\nshop.example expires\r\n";

    return (struct http_order){.url = mail_url(port),
                               .mail_from = "<watch@example.org>",
                               .mail_to = to,
                               .mail_to_count = 2,
                               .body = text,
                               .body_size = sizeof text - 1,
                               .trust_pem = trust_pem};
}

static void read_mail(char *text, size_t size)
{
    FILE *file = fopen(mail_file, "r");

    assert_non_null(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

static void mail_without_tls(void **state)
{
    char text[512];

    (void)state;
    if (plain_port == 0)
        skip(); /* python3-aiosmtpd is not installed */
    struct http_order order = mail(plain_port);
    struct result result = ask(&order);
    if (result.failed)
        fail_msg("%s", result.error.message);
    read_mail(text, sizeof text);
    assert_non_null(strstr(text, "watch@example.org one@example.org two@example.org tls=False"));
    assert_non_null(strstr(text, "shop.example expires"));
    order.mail_starttls = true; /* which this server does not offer */
    assert_true(ask(&order).failed);
}

static void mail_with_starttls_and_password(void **state)
{
    char text[512];

    (void)state;
    if (protected_port == 0)
        skip(); /* python3-aiosmtpd is not installed */
    struct http_order order = mail(protected_port);
    order.mail_starttls = true;
    order.user = "watch";
    order.password = SECRET;
    struct result result = ask(&order);
    assert_true(result.failed);
    assert_int_equal(result.status, 535); /* the server said no */
    assert_null(strstr(result.error.message, SECRET));
    order.password = "open sesame";
    result = ask(&order);
    if (result.failed)
        fail_msg("%s", result.error.message);
    read_mail(text, sizeof text);
    assert_non_null(strstr(text, "tls=True"));
    order.trust_pem = NULL; /* the system does not know the server */
    assert_true(ask(&order).failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(other_schemes_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(headers_cannot_be_split, set_up, tear_down),
        cmocka_unit_test_setup_teardown(private_addresses_are_refused_where_asked, set_up,
                                        tear_down),
        cmocka_unit_test(public_addresses),
        cmocka_unit_test_setup_teardown(answers_have_a_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_server_that_hangs_is_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(redirects_have_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_keep_secrets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(documents_and_statuses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bodies_and_methods, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancelled_ones_stay_silent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mail_without_tls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mail_with_starttls_and_password, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, set_up_servers, tear_down_servers);
}
