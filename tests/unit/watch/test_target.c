#include "watch/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct error error;

static struct target parsed(const char *text)
{
    struct target target;

    if (target_parse(&target, text, &error) != 0)
        fail_msg("%s: %s", text, error.message);
    return target;
}

static void refused(const char *text, const char *words)
{
    struct target target = {.port = 77};

    assert_int_equal(target_parse(&target, text, &error), -ERROR_USAGE);
    assert_int_equal(target.port, 77);
    if (strstr(error.message, words) == NULL)
        fail_msg("%s: \"%s\" is not in \"%s\"", text, words, error.message);
}

static void bad_targets_are_refused_with_what_was_expected(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"", "the host is missing"},
        {":443", "the host is missing"},
        {"https://", "the host is missing"},
        {"shop.example:", "expected a number from 1 to 65535"},
        {"shop.example:0", "expected a number from 1 to 65535"},
        {"shop.example:65536", "expected a number from 1 to 65535"},
        {"shop.example:99999999999999999999", "expected a number from 1 to 65535"},
        {"shop.example:https", "expected a number from 1 to 65535"},
        {"shop example", "spaces"},
        {"shop.example\x1b[2J", "control characters"},
        {"shop..example", "is empty"},
        {".example", "is empty"},
        {"-shop.example", "neither begins nor ends"},
        {"shop-.example", "neither begins nor ends"},
        {"shop!.example", "letters, digits"},
        {"*.example", "letters, digits"},
        {"300.1.1.1", "four numbers"},
        {"1.2.3", "four numbers"},
        {"[::1", "expected [IPv6 address]"},
        {"[::1]443", "expected [IPv6 address]"},
        {"[shop.example]:443", "not an IPv6 address"},
        {"[192.0.2.1]:443", "not an IPv6 address"},
        {"1:2:3", "not an IPv6 address"},
        {"http://shop.example", "write https://"},
        {"htps://shop.example", "did you mean https://?"},
        {"smtp+startls://shop.example", "did you mean smtp+starttls://?"},
        {"gopher://shop.example", "expected https"},
        {"shop.example/path", "did you mean https://shop.example/path?"},
        {"/etc/ssl/shop.pem", "file:/etc/ssl/shop.pem"},
        {"file:", "the path is missing"},
        {"file:/etc/\n", "control characters"},
        {"imaps://shop.example/path", "only https:// has a path"},
        {"https://user:secret@shop.example/", "leave out"},
        {"mx://example.org:25", "a mail domain"},
        {"mx://192.0.2.1", "not an address"},
        {"\xff.example", "not an international name"},
        {"sh\xc3\xb6p..example", "is empty"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        refused(bad[i].text, bad[i].words);
}

static void long_texts_are_refused(void **state)
{
    (void)state;
    char text[1024];

    memset(text, 'a', sizeof text);
    text[64] = '\0';
    refused(text, "63 characters");
    memset(text, 'a', sizeof text);
    for (size_t i = 50; i < 300; i += 50)
        text[i] = '.';
    text[280] = '\0';
    refused(text, "253 characters");
    memset(text, 'a', sizeof text);
    text[600] = '\0';
    refused(text, "longer than");
    memcpy(text, "https://shop.example/", 21);
    text[300] = '\0';
    refused(text, "the path is longer");
    memcpy(text, "file:/", 6);
    refused(text, "the path is longer");
}

static void hostile_text_is_shown_escaped(void **state)
{
    (void)state;
    struct target target;

    assert_true(target_parse(&target, "https://\x1b]0;x@shop.example", &error) < 0);
    assert_null(strchr(error.message, '\x1b'));
}

static void forms_and_their_canonical_text(void **state)
{
    (void)state;
    static const struct {
        const char *text, *canonical, *host;
        uint16_t port;
        enum target_protocol protocol;
        bool https, is_address;
    } good[] = {
        {"Shop.Example", "shop.example:443", "shop.example", 443, TARGET_TLS, false, false},
        {"shop.example.", "shop.example:443", "shop.example", 443, TARGET_TLS, false, false},
        {"shop.example:8443", "shop.example:8443", "shop.example", 8443, TARGET_TLS, false, false},
        {"tls://shop.example", "shop.example:443", "shop.example", 443, TARGET_TLS, false, false},
        {"my_host", "my_host:443", "my_host", 443, TARGET_TLS, false, false},
        {"4.example", "4.example:443", "4.example", 443, TARGET_TLS, false, false},
        {"192.0.2.1", "192.0.2.1:443", "192.0.2.1", 443, TARGET_TLS, false, true},
        {"192.0.2.1:25", "192.0.2.1:25", "192.0.2.1", 25, TARGET_TLS, false, true},
        {"[2001:DB8:0::1]:8443", "[2001:db8::1]:8443", "2001:db8::1", 8443, TARGET_TLS, false,
         true},
        {"[::1]", "[::1]:443", "::1", 443, TARGET_TLS, false, true},
        {"2001:db8::1", "[2001:db8::1]:443", "2001:db8::1", 443, TARGET_TLS, false, true},
        {"https://shop.example", "https://shop.example/", "shop.example", 443, TARGET_TLS, true,
         false},
        {"HTTPS://shop.example:443/a?b#c", "https://shop.example/a?b", "shop.example", 443,
         TARGET_TLS, true, false},
        {"https://shop.example:8443?q", "https://shop.example:8443/?q", "shop.example", 8443,
         TARGET_TLS, true, false},
        {"https://[::1]/", "https://[::1]/", "::1", 443, TARGET_TLS, true, true},
        {"smtp+starttls://mail.example", "smtp+starttls://mail.example:25", "mail.example", 25,
         TARGET_SMTP, false, false},
        {"smtp://mail.example:587", "smtp+starttls://mail.example:587", "mail.example", 587,
         TARGET_SMTP, false, false},
        {"submission://mail.example", "smtp+starttls://mail.example:587", "mail.example", 587,
         TARGET_SMTP, false, false},
        {"imaps://mail.example/", "mail.example:993", "mail.example", 993, TARGET_TLS, false,
         false},
        {"xmpp-server+starttls://[::1]", "xmpp-server+starttls://[::1]:5269", "::1", 5269,
         TARGET_XMPP_SERVER, false, true},
        {"postgres://db", "postgres+starttls://db:5432", "db", 5432, TARGET_POSTGRES, false, false},
        {"b\xc3\xbc"
         "cher.example",
         "xn--bcher-kva.example:443", "xn--bcher-kva.example", 443, TARGET_TLS, false, false},
        {"fa\xc3\x9f.example", "xn--fa-hia.example:443", "xn--fa-hia.example", 443, TARGET_TLS,
         false, false},
        {"https://B\xc3\x9c"
         "CHER.example",
         "https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, TARGET_TLS, true, false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct target target = parsed(good[i].text);
        assert_int_equal(target.kind, TARGET_ENDPOINT);
        assert_string_equal(target.text, good[i].canonical);
        assert_string_equal(target.host, good[i].host);
        assert_int_equal(target.port, good[i].port);
        assert_int_equal(target.protocol, good[i].protocol);
        assert_int_equal(target.https, good[i].https);
        assert_int_equal(target.is_address, good[i].is_address);
        struct target again = parsed(target.text);
        assert_string_equal(again.text, target.text);
    }
}

static void every_protocol_has_a_scheme(void **state)
{
    (void)state;

    for (int i = TARGET_SMTP; i < TARGET_PROTOCOL_COUNT; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s+starttls://h", target_protocol_name(i));
        assert_int_equal(parsed(text).protocol, i);
    }
}

static void files_and_mail_domains(void **state)
{
    (void)state;
    struct target target = parsed("file:/etc/ssl/my shop.pem");

    assert_int_equal(target.kind, TARGET_FILE);
    assert_string_equal(target.host, "/etc/ssl/my shop.pem");
    assert_string_equal(target.text, "file:/etc/ssl/my shop.pem");
    assert_string_equal(parsed("file:///etc/x.pem").text, "file:/etc/x.pem");
    assert_string_equal(parsed("file://///etc/x.pem").text, "file:/etc/x.pem");
    assert_string_equal(parsed("file:chain.pem").host, "chain.pem");
    target = parsed("mx://Example.ORG");
    assert_int_equal(target.kind, TARGET_MX);
    assert_string_equal(target.host, "example.org");
    assert_string_equal(target.text, "mx://example.org");
}

static void services(void **state)
{
    (void)state;
    static const char *const mail[] = {"smtp+starttls://[::1]:25",
                                       "smtp+starttls://[::1]:587",
                                       "[::1]:465",
                                       "imap+starttls://[::1]:143",
                                       "[::1]:993",
                                       "pop3+starttls://[::1]:110",
                                       "[::1]:995",
                                       "sieve+starttls://[::1]:4190"};
    static const char *const names[] = {"web", "xmpp", "ldap", "ftp", "database", "news"};
    struct target targets[TARGET_SERVICE_MAX];
    size_t count = 77;

    assert_int_equal(target_service(targets, &count, "h", "mails", &error), -ERROR_USAGE);
    assert_non_null(strstr(error.message, "did you mean \"mail\"?"));
    assert_int_equal(target_service(targets, &count, "h", "gopher", &error), -ERROR_USAGE);
    assert_int_equal(target_service(targets, &count, "h:25", "mail", &error), -ERROR_USAGE);
    assert_int_equal(target_service(targets, &count, "[::1]:25", "mail", &error), -ERROR_USAGE);
    assert_int_equal(target_service(targets, &count, "https://h", "mail", &error), -ERROR_USAGE);
    assert_int_equal(target_service(targets, &count, "file:x", "mail", &error), -ERROR_USAGE);
    assert_int_equal(target_service(targets, &count, "a b", "mail", &error), -ERROR_USAGE);
    assert_int_equal(count, 77);

    assert_int_equal(target_service(targets, &count, "::1", "mail", &error), 0);
    assert_int_equal(count, ARRAY_SIZE(mail));
    for (size_t i = 0; i < count; i++)
        assert_string_equal(targets[i].text, mail[i]);
    assert_int_equal(target_service(targets, &count, "[::1]", "web", &error), 0);
    assert_string_equal(targets[0].text, "https://[::1]/");
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        assert_int_equal(target_service(targets, &count, "shop.example", names[i], &error), 0);
        assert_in_range(count, 1, 2);
    }
}

static void names_that_are_expected(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",      ".",        "a b", "*.shop.example", "shop.example:443", "https://shop.example",
        "[::1]", "a\x1b[31m"};
    char name[TARGET_HOST_MAX] = "untouched", longest[300];

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(target_name(name, bad[i], &error), -ERROR_USAGE);
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(target_name(name, longest, &error), -ERROR_USAGE);
    assert_string_equal(name, "untouched");

    assert_int_equal(target_name(name, "Shop.EXAMPLE.", &error), 0);
    assert_string_equal(name, "shop.example");
    assert_int_equal(target_name(name,
                                 "b\xc3\xbc"
                                 "cher.example",
                                 &error),
                     0);
    assert_string_equal(name, "xn--bcher-kva.example");
    assert_int_equal(target_name(name, "0:0::1", &error), 0);
    assert_string_equal(name, "::1");
}

static void has_host(void **state)
{
    (void)state;
    assert_true(target_has_host("shop.example:443", "shop.example"));
    assert_true(target_has_host("smtp+starttls://shop.example:587", "Shop.example"));
    assert_true(target_has_host("file:/etc/x.pem", "file:/etc/x.pem"));
    assert_false(target_has_host("shop.example.evil:443", "shop.example"));
    assert_false(target_has_host("a.shop.example:443", "shop.example"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_host),
        cmocka_unit_test(bad_targets_are_refused_with_what_was_expected),
        cmocka_unit_test(long_texts_are_refused),
        cmocka_unit_test(hostile_text_is_shown_escaped),
        cmocka_unit_test(forms_and_their_canonical_text),
        cmocka_unit_test(every_protocol_has_a_scheme),
        cmocka_unit_test(files_and_mail_domains),
        cmocka_unit_test(services),
        cmocka_unit_test(names_that_are_expected),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
