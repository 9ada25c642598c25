/* What the exporter lets be asked for: a proxy into the network it must not be. */
#include "watch/export.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

static struct conf *conf_of(const char *targets)
{
    struct conf *conf = NULL;
    struct error error = {0};
    char text[512];

    snprintf(text, sizeof text, "exporter { bind = \"127.0.0.1:9115\" targets = {%s} }", targets);
    if (conf_parse(&conf, "t.conf", text, NULL, NULL, &error) != 0)
        fail_msg("%s", error.message);
    return conf;
}

/* The target that would be probed, "" : the error's name. */
static const char *ask(const struct conf *conf, const char *target, const char *module)
{
    static char text[600];
    struct error error = {0};
    json_t *request;

    if (export_request(&request, conf, NULL, target, module, &error) != 0)
        return error_name(error.code);
    snprintf(text, sizeof text, "%s", json_string_value(json_object_get(request, "target")));
    json_decref(request);
    return text;
}

static void test_refused(void **state)
{
    struct conf *conf = conf_of("\"shop.example\", \"*.inside.example:443\", \"192.0.2.1\"");
    (void)state;

    assert_string_equal(ask(conf, NULL, "tcp"), "usage");
    assert_string_equal(ask(conf, "", NULL), "usage");
    assert_string_equal(ask(conf, "shop.example:443", "nonsense"), "usage");
    assert_string_equal(ask(conf, "shop.example:443", "_starttls"), "usage");
    assert_string_equal(ask(conf, "shop.example:443\n", NULL), "usage");
    assert_string_equal(ask(conf, "other.example:443", NULL), "not-found");
    assert_string_equal(ask(conf, "evilshop.example:443", NULL), "not-found");
    assert_string_equal(ask(conf, "shop.example.evil:443", NULL), "not-found");
    assert_string_equal(ask(conf, "inside.example:443", NULL), "not-found");
    assert_string_equal(ask(conf, "a.inside.example:22", NULL), "not-found");
    assert_string_equal(ask(conf, "192.0.2.10:443", NULL), "not-found");
    assert_string_equal(ask(conf, "127.0.0.1:443", NULL), "not-found");
    assert_string_equal(ask(conf, "file:/etc/passwd", NULL), "not-found");
    assert_string_equal(ask(conf, "/etc/passwd", "file"), "not-found");
    assert_string_equal(ask(conf, "mx://shop.example", NULL), "not-found");
    conf_free(conf);
    conf = conf_of("");
    assert_string_equal(ask(conf, "shop.example:443", NULL), "not-found");
    conf_free(conf);
}

static void test_asked(void **state)
{
    struct conf *conf = conf_of("\"Shop.example\", \"*.inside.example:443\", \"192.0.2.1\"");
    (void)state;

    assert_string_equal(ask(conf, "shop.example:8443", "tcp"), "shop.example:8443");
    assert_string_equal(ask(conf, "SHOP.example", NULL), "shop.example:443");
    assert_string_equal(ask(conf, "a.inside.example:443", "tcp_tls"), "a.inside.example:443");
    assert_string_equal(ask(conf, "192.0.2.1:993", "tls_connect"), "192.0.2.1:993");
    assert_non_null(strstr(ask(conf, "shop.example:587", "smtp_starttls"), "smtp+starttls://shop"));
    assert_non_null(strstr(ask(conf, "shop.example:143", "tcp_imap_starttls"), "imap+starttls://"));
    assert_non_null(
        strstr(ask(conf, "https://shop.example/x", "http_2xx"), "https://shop.example"));
    assert_non_null(strstr(ask(conf, "shop.example", "https"), "https://shop.example"));
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_asked)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
