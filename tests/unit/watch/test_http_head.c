#include "watch/http_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static enum http_head_status read_text(const char *text, struct endpoint_http *http)
{
    *http = (struct endpoint_http){.asked = true};
    return http_head_read((const uint8_t *)text, strlen(text), http);
}

static void test_what_is_no_head(void **state)
{
    static const char *const bad[] = {"SSH-2.0-OpenSSH\r\n", "HTTP/1.1 2x0 OK\r\n", "HTTP/1.1\r\n",
                                      "HTTP/2 200\r\n", "HTTP/1.1 000 No\r\n"};
    static const char *const more[] = {"", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\nA: b\r\n",
                                       "HTTP/1.1 103 Early\r\n\r\n"};
    struct endpoint_http http;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(read_text(bad[i], &http), HTTP_HEAD_BAD);
    for (size_t i = 0; i < ARRAY_SIZE(more); i++)
        assert_int_equal(read_text(more[i], &http), HTTP_HEAD_MORE);
    assert_int_equal(http.status, 0);
}

static void test_endless_head_ends(void **state)
{
    static char text[HTTP_HEAD_MAX + 1];
    struct endpoint_http http;

    (void)state;
    memset(text, 'a', HTTP_HEAD_MAX);
    memcpy(text, "HTTP/1.1 200 OK\r\nA: ", 20);
    assert_int_equal(read_text(text, &http), HTTP_HEAD_BAD);
}

static void test_status_after_interim_ones(void **state)
{
    struct endpoint_http http;

    (void)state;
    assert_int_equal(read_text("HTTP/1.1 103 Early\r\nStrict-Transport-Security: max-age=1\r\n\r\n"
                               "HTTP/1.0 404\r\nA: b\r\n\r\nbody\r\n",
                               &http),
                     HTTP_HEAD_DONE);
    assert_true(http.asked);
    assert_int_equal(http.status, 404);
    assert_string_equal(http.strict_transport_security, "");
}

static struct endpoint_http header(const char *value)
{
    struct endpoint_http http;
    char text[512] = "HTTP/1.1 200 OK\r\nServer: x\r\nstrict-transport-SECURITY: ";

    strncat(text, value, 400);
    strcat(text, "\r\n\r\n");
    assert_int_equal(read_text(text, &http), HTTP_HEAD_DONE);
    return http;
}

/* RFC 6797 §6.1. */
static void test_malformed_headers(void **state)
{
    static const char *const bad[] = {"",
                                      "includeSubDomains",
                                      "max-age",
                                      "max-age=",
                                      "max-age=-1",
                                      "max-age=1d",
                                      "max-age=\"1",
                                      "max-age=1, includeSubDomains",
                                      "max-age=1; max-age=2",
                                      "max-age=1; includeSubDomains; includesubdomains"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct endpoint_http http = header(bad[i]);
        if (!http.hsts_malformed)
            fail_msg("%s", bad[i]);
    }
}

static void test_well_formed_headers(void **state)
{
    static const struct {
        const char *value;
        uint64_t age;
        bool subdomains;
    } good[] = {
        {"max-age=31536000", 31536000, false},
        {" Max-Age = \"600\" ;includesubdomains; preload", 600, true},
        {";;max-age=0;", 0, false},
        {"max-age=99999999999999999999999", INT64_MAX, false},
        {"max-age=9223372036854775808", INT64_MAX, false},
        {"unknown=\"a\"; max-age=5", 5, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct endpoint_http http = header(good[i].value);
        assert_false(http.hsts_malformed);
        assert_int_equal(http.hsts_max_age_s, good[i].age);
        assert_int_equal(http.hsts_subdomains, good[i].subdomains);
    }
}

static void test_only_the_first_header_counts(void **state)
{
    struct endpoint_http http = header("max-age=7\r\nStrict-Transport-Security: nonsense");

    (void)state;
    assert_false(http.hsts_malformed);
    assert_int_equal(http.hsts_max_age_s, 7);
    http = header("max-age=7; \x1b[31m");
    assert_string_equal(http.strict_transport_security, "max-age=7; \\x1b[31m");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_no_head),
        cmocka_unit_test(test_endless_head_ends),
        cmocka_unit_test(test_status_after_interim_ones),
        cmocka_unit_test(test_malformed_headers),
        cmocka_unit_test(test_well_formed_headers),
        cmocka_unit_test(test_only_the_first_header_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
