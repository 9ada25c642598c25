/* PROXY headers: broken ones first, then those of the specification and of HAProxy, then our own
 * read back. */
#include "session/proxy_protocol.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static struct proxy_protocol_header header;
static size_t consumed;

static enum proxy_protocol_result parse(const void *input, size_t size)
{
    memset(&header, 0, sizeof(header));
    consumed = 0;
    return proxy_protocol_parse(input, size, &header, &consumed);
}

/* Every proper prefix must be INCOMPLETE, the whole OK, and what follows must not matter. */
static void assert_parses(const void *input, size_t size)
{
    uint8_t longer[PROXY_PROTOCOL_V2_MAX + 16];

    for (size_t n = 0; n < size; n++) {
        assert_int_equal(parse(input, n), PROXY_PROTOCOL_INCOMPLETE);
    }
    memcpy(longer, input, size);
    memset(longer + size, '\n', 16);
    assert_int_equal(parse(longer, size + 16), PROXY_PROTOCOL_OK);
    assert_int_equal(consumed, size);
    assert_int_equal(parse(input, size), PROXY_PROTOCOL_OK);
    assert_int_equal(consumed, size);
}

static void make_ip(struct address *address, const char *text, uint16_t port)
{
    memset(address, 0, sizeof(*address));
    if (inet_pton(AF_INET, text, &address->in.sin_addr) == 1) {
        address->in.sin_family = AF_INET;
        address->in.sin_port = htons(port);
        address->size = sizeof(address->in);
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &address->in6.sin6_addr), 1);
        address->in6.sin6_family = AF_INET6;
        address->in6.sin6_port = htons(port);
        address->size = sizeof(address->in6);
    }
}

static void make_unix(struct address *address, const char *path)
{
    memset(address, 0, sizeof(*address));
    address->un.sun_family = AF_UNIX;
    memcpy(address->un.sun_path, path, strlen(path) + 1);
    address->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
}

static void assert_address(const struct address *address, const char *text, uint16_t port)
{
    char actual[INET6_ADDRSTRLEN];
    if (strchr(text, ':') == NULL) {
        assert_int_equal(address->size, sizeof(address->in));
        assert_int_equal(address->in.sin_family, AF_INET);
        inet_ntop(AF_INET, &address->in.sin_addr, actual, sizeof(actual));
        assert_int_equal(ntohs(address->in.sin_port), port);
    } else {
        assert_int_equal(address->size, sizeof(address->in6));
        assert_int_equal(address->in6.sin6_family, AF_INET6);
        inet_ntop(AF_INET6, &address->in6.sin6_addr, actual, sizeof(actual));
        assert_int_equal(ntohs(address->in6.sin6_port), port);
    }
    assert_string_equal(actual, text);
}

/* ---- Version 1 ---- */

static void test_v1_broken(void **state)
{
    static const char *const lines[] = {
        "GET / HTTP/1.1\r\n",
        "\x16\x03\x01",
        "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXYTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY \r\n",
        "PROXY\r\n",
        "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8  1 2\r\n",
        "PROXY TCP4 1.2.3.4\t5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
        "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 ::1 ::2 1 2\r\n",
        "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP6 ::1 ::g 1 2\r\n",
        "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1x 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 000000000000000000000000000000002\r\n",
    };
    uint8_t longest[PROXY_PROTOCOL_V1_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        assert_int_equal(parse(lines[i], strlen(lines[i])), PROXY_PROTOCOL_BAD);
        assert_int_equal(consumed, 0);
    }
    static const char with_zero[] = "PROXY UNKNOWN \0\r\n";
    assert_int_equal(parse(with_zero, sizeof(with_zero) - 1), PROXY_PROTOCOL_BAD);
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "PROXY UNKNOWN ", 14);
    assert_int_equal(parse(longest, sizeof(longest) - 1), PROXY_PROTOCOL_INCOMPLETE);
    assert_int_equal(parse(longest, sizeof(longest)), PROXY_PROTOCOL_BAD);
    memcpy(longest + sizeof(longest) - 2, "\r\n", 2);
    assert_int_equal(parse(longest, sizeof(longest)), PROXY_PROTOCOL_OK);
}

static void test_v1(void **state)
{
    static const char tcp4[] = "PROXY TCP4 255.255.255.255 192.168.0.11 65535 443\r\n";
    static const char tcp6[] = "PROXY TCP6 2001:db8::1 ::1 0 443\r\n";
    static const char mapped[] = "PROXY TCP6 ::ffff:192.0.2.1 ::1 5 6\r\n";
    static const char unknown[] = "PROXY UNKNOWN\r\n";
    static const char unknown_more[] = "PROXY UNKNOWN ffff:f...f:ffff what ever 65535\r\n";

    (void)state;
    assert_parses(tcp4, sizeof(tcp4) - 1);
    assert_false(header.local);
    assert_address(&header.source, "255.255.255.255", 65535);
    assert_address(&header.destination, "192.168.0.11", 443);
    assert_parses(tcp6, sizeof(tcp6) - 1);
    assert_address(&header.source, "2001:db8::1", 0);
    assert_address(&header.destination, "::1", 443);
    assert_parses(mapped, sizeof(mapped) - 1);
    assert_address(&header.source, "192.0.2.1", 5);
    assert_parses(unknown, sizeof(unknown) - 1);
    assert_true(header.local);
    assert_int_equal(header.source.size, 0);
    assert_parses(unknown_more, sizeof(unknown_more) - 1);
    assert_true(header.local);
}

/* ---- Version 2 ---- */

static void test_v2_broken(void **state)
{
    static const struct {
        const char *behind_signature;
        size_t size;
    } cases[] = {
        {"\x11\x11\0\x0c\1\2\3\4\5\6\7\x08\0\1\0\2", 16}, /* version 1 */
        {"\x22\x11\0\x0c\1\2\3\4\5\6\7\x08\0\1\0\2", 16}, /* unknown command */
        {"\x21\x12\0\x0c\1\2\3\4\5\6\7\x08\0\1\0\2", 16}, /* UDP */
        {"\x21\x41\0\x0c\1\2\3\4\5\6\7\x08\0\1\0\2", 16}, /* unknown family */
        {"\x21\x11\0\x0b\1\2\3\4\5\6\7\x08\0\1\0", 15},   /* too short for its family */
        {"\x21\x21\0\x0c\1\2\3\4\5\6\7\x08\0\1\0\2", 16},
        {"\x21\x31\0\x0c\1\2\3\4\5\6\7\x08\0\1\0\2", 16},
        {"\x21\x11\0\x0e\1\2\3\4\5\6\7\x08\0\1\0\2\1\0", 18},       /* half a TLV */
        {"\x21\x11\0\x0f\1\2\3\4\5\6\7\x08\0\1\0\2\1\0\1", 19},     /* a TLV beyond the end */
        {"\x21\x11\0\x12\1\2\3\4\5\6\7\x08\0\1\0\2\3\0\3xxx", 22},  /* a short checksum */
        {"\x21\x11\0\x13\1\2\3\4\5\6\7\x08\0\1\0\2\3\0\4xxxx", 23}, /* a wrong checksum */
        {"\x21\0\0\1x", 5},                                         /* junk instead of TLVs */
        {"\x21\x11\x0f\xf1", 4},                                    /* larger than 4096 */
        {"\x21\x11\xff\xff", 4},
    };
    uint8_t input[64];

    (void)state;
    memcpy(input, SIGNATURE, 12);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        memcpy(input + 12, cases[i].behind_signature, cases[i].size);
        assert_int_equal(parse(input, 12 + cases[i].size), PROXY_PROTOCOL_BAD);
    }
    for (size_t i = 0; i < 12; i++) {
        memcpy(input, SIGNATURE, 12);
        input[i] ^= 1;
        assert_int_equal(parse(input, i + 1), PROXY_PROTOCOL_BAD);
    }
}

static void test_v2(void **state)
{
    static const char tcp4[] = SIGNATURE "\x21\x11\0\x0c\xc0\0\2\1\x0a\0\0\1\x30\x39\1\xbb";
    static const char tcp6[] = SIGNATURE "\x21\x21\0\x28"
                                         "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
                                         "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\1"
                                         "\x30\x39\1\xbb\4\0\1x"; /* with a NOOP */
    static const char local[] = SIGNATURE "\x20\0\0\0";
    static const char local_junk[] = SIGNATURE "\x20\xff\0\3xyz";
    static const char unspecified[] = SIGNATURE "\x21\0\0\4\4\0\1x";

    (void)state;
    assert_parses(tcp4, sizeof(tcp4) - 1);
    assert_false(header.local);
    assert_address(&header.source, "192.0.2.1", 12345);
    assert_address(&header.destination, "10.0.0.1", 443);
    assert_parses(tcp6, sizeof(tcp6) - 1);
    assert_address(&header.source, "2001:db8::1", 12345);
    assert_address(&header.destination, "10.0.0.1", 443); /* was mapped */
    assert_parses(local, sizeof(local) - 1);
    assert_true(header.local);
    assert_parses(local_junk, sizeof(local_junk) - 1);
    assert_true(header.local);
    assert_parses(unspecified, sizeof(unspecified) - 1);
    assert_true(header.local);
}

static void test_v2_unix(void **state)
{
    uint8_t input[16 + 216] = SIGNATURE "\x21\x31\0\xd8/run/a";

    (void)state;
    memset(input + 16 + 108, 'y', 108); /* not terminated */
    assert_parses(input, sizeof(input));
    assert_string_equal(header.source.un.sun_path, "/run/a");
    assert_int_equal(header.source.size, offsetof(struct sockaddr_un, sun_path) + 7);
    assert_int_equal(strlen(header.destination.un.sun_path), 107);
}

/* ---- Writing ---- */

static void test_build_v1(void **state)
{
    static const struct {
        const char *source, *destination, *expected;
    } cases[] = {
        {"192.0.2.1", "10.0.0.1", "PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n"},
        {"::ffff:192.0.2.1", "10.0.0.1", "PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n"},
        {"2001:db8::1", "::1", "PROXY TCP6 2001:db8::1 ::1 12345 443\r\n"},
        {"2001:db8::1", "10.0.0.1", "PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 12345 443\r\n"},
    };
    struct address source, destination, none = {0}, path;
    uint8_t output[PROXY_PROTOCOL_V1_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        make_ip(&source, cases[i].source, 12345);
        make_ip(&destination, cases[i].destination, 443);
        size_t n = proxy_protocol_build_v1(&source, &destination, output);
        assert_int_equal(n, strlen(cases[i].expected));
        assert_memory_equal(output, cases[i].expected, n);
        assert_parses(output, n);
    }
    make_unix(&path, "/run/a");
    const struct address *const pairs[][2] = {
        {&none, &source}, {&source, &none}, {&path, &source}, {&path, &path}};
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        size_t n = proxy_protocol_build_v1(pairs[i][0], pairs[i][1], output);
        assert_int_equal(n, 15);
        assert_memory_equal(output, "PROXY UNKNOWN\r\n", n);
    }
}

/* The value of the first TLV of `type` in `size` bytes of TLVs. */
static const uint8_t *find_tlv(const uint8_t *tlvs, size_t size, uint8_t type, size_t *ret_size)
{
    for (size_t at = 0; at + 3 <= size; at += 3 + *ret_size) {
        *ret_size = (size_t)tlvs[at + 1] << 8 | tlvs[at + 2];
        if (tlvs[at] == type) {
            return tlvs + at + 3;
        }
    }
    return NULL;
}

static void assert_tlv(const uint8_t *tlvs, size_t size, uint8_t type, const char *expected)
{
    size_t actual_size = 0;
    const uint8_t *actual = find_tlv(tlvs, size, type, &actual_size);
    if (expected == NULL) {
        assert_null(actual);
        return;
    }
    assert_non_null(actual);
    assert_int_equal(actual_size, strlen(expected));
    assert_memory_equal(actual, expected, actual_size);
}

static void test_build_v2_fields(void **state)
{
    const struct proxy_protocol_tls tls = {
        .version = "TLSv1.3",
        .cipher = "TLS_AES_128_GCM_SHA256",
        .signature_algorithm = "SHA256",
        .key_algorithm = "EC256",
        .common_name = "alice",
        .certificate = true,
        .verified = true,
    };
    const struct proxy_protocol_fields fields = {
        .alpn = "h2xyz",
        .alpn_size = 2,
        .authority = "example.org",
        .unique_id = "0123456789abcdef",
        .unique_id_size = 16,
        .tls = &tls,
        .checksum = true,
    };
    struct address source, destination;
    uint8_t output[PROXY_PROTOCOL_V2_MAX];
    size_t ssl_size = 0;

    (void)state;
    make_ip(&source, "192.0.2.1", 12345);
    make_ip(&destination, "10.0.0.1", 443);
    size_t n = proxy_protocol_build_v2(&source, &destination, &fields, output);
    assert_parses(output, n);
    assert_address(&header.source, "192.0.2.1", 12345);
    assert_address(&header.destination, "10.0.0.1", 443);
    const uint8_t *tlvs = output + 16 + 12;
    size_t size = n - 16 - 12;
    assert_tlv(tlvs, size, 0x01, "h2");
    assert_tlv(tlvs, size, 0x02, "example.org");
    assert_tlv(tlvs, size, 0x05, "0123456789abcdef");
    const uint8_t *ssl = find_tlv(tlvs, size, 0x20, &ssl_size);
    assert_non_null(ssl);
    assert_memory_equal(ssl, "\x07\0\0\0\0", 5);
    assert_tlv(ssl + 5, ssl_size - 5, 0x21, "TLSv1.3");
    assert_tlv(ssl + 5, ssl_size - 5, 0x22, "alice");
    assert_tlv(ssl + 5, ssl_size - 5, 0x23, "TLS_AES_128_GCM_SHA256");
    assert_tlv(ssl + 5, ssl_size - 5, 0x24, "SHA256");
    assert_tlv(ssl + 5, ssl_size - 5, 0x25, "EC256");

    /* the checksum covers every byte (its own type is the one that hides it when it is changed) */
    for (size_t i = 0; i < n; i++) {
        if (i == n - 7) {
            continue;
        }
        output[i] ^= 0x40;
        assert_int_not_equal(parse(output, n), PROXY_PROTOCOL_OK);
        output[i] ^= 0x40;
    }
}

static void test_build_v2_without_client_certificate(void **state)
{
    struct proxy_protocol_tls tls = {.version = "TLSv1.2"};
    const struct proxy_protocol_fields fields = {.tls = &tls};
    struct address none = {0};
    uint8_t output[PROXY_PROTOCOL_V2_MAX];

    (void)state;
    size_t n = proxy_protocol_build_v2(&none, &none, &fields, output);
    assert_parses(output, n);
    assert_true(header.local);
    assert_memory_equal(output + 16, "\x20\0\x0f\x01\0\0\0\1\x21\0\7TLSv1.2", 18);
    tls.certificate = tls.resumed = tls.verified = true; /* shown before this connection */
    n = proxy_protocol_build_v2(&none, &none, &fields, output);
    assert_memory_equal(output + 16, "\x20\0\x0f\x05\0\0\0\0", 8);
}

static void test_build_v2_with_client_certificate(void **state)
{
    static const uint8_t fingerprint[33] = "0123456789abcdef0123456789abcdef";
    const struct proxy_protocol_fields fields = {.client_subject = "CN=alice,O=Example",
                                                 .client_names = "DNS:alice.example",
                                                 .client_fingerprint = fingerprint};
    struct address none = {0};
    uint8_t output[PROXY_PROTOCOL_V2_MAX];

    (void)state;
    size_t n = proxy_protocol_build_v2(&none, &none, &fields, output);
    assert_parses(output, n);
    assert_tlv(output + 16, n - 16, 0xe0, "CN=alice,O=Example");
    assert_tlv(output + 16, n - 16, 0xe1, "DNS:alice.example");
    assert_tlv(output + 16, n - 16, 0xe2, (const char *)fingerprint);
}

static void test_build_v2_addresses(void **state)
{
    struct address source, destination;
    uint8_t output[PROXY_PROTOCOL_V2_MAX];

    (void)state;
    make_ip(&source, "2001:db8::1", 12345);
    make_ip(&destination, "10.0.0.1", 443);
    assert_parses(output, proxy_protocol_build_v2(&source, &destination, NULL, output));
    assert_int_equal(consumed, 16 + 36);
    assert_address(&header.source, "2001:db8::1", 12345);
    assert_address(&header.destination, "10.0.0.1", 443);
    make_ip(&source, "::ffff:192.0.2.1", 1);
    assert_parses(output, proxy_protocol_build_v2(&source, &destination, NULL, output));
    assert_int_equal(consumed, 16 + 12);
    make_unix(&source, "/run/a");
    assert_parses(output, proxy_protocol_build_v2(&source, &destination, NULL, output));
    assert_true(header.local);
    make_unix(&destination, "/run/b");
    assert_parses(output, proxy_protocol_build_v2(&source, &destination, NULL, output));
    assert_false(header.local);
    assert_string_equal(header.source.un.sun_path, "/run/a");
    assert_string_equal(header.destination.un.sun_path, "/run/b");
}

static void test_build_v2_too_large(void **state)
{
    static char name[5000];
    const struct proxy_protocol_tls tls = {.common_name = name};
    struct proxy_protocol_fields fields = {.tls = &tls};
    struct address none = {0};
    uint8_t output[PROXY_PROTOCOL_V2_MAX];

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    assert_int_equal(proxy_protocol_build_v2(&none, &none, &fields, output), 0);
    name[PROXY_PROTOCOL_V2_MAX - 16 - 3 - 5 - 3] = '\0';
    assert_int_equal(proxy_protocol_build_v2(&none, &none, &fields, output), sizeof(output));
    fields = (struct proxy_protocol_fields){.unique_id = name, .unique_id_size = 129};
    assert_int_equal(proxy_protocol_build_v2(&none, &none, &fields, output), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v1_broken),
        cmocka_unit_test(test_v2_broken),
        cmocka_unit_test(test_v1),
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_v2_unix),
        cmocka_unit_test(test_build_v1),
        cmocka_unit_test(test_build_v2_fields),
        cmocka_unit_test(test_build_v2_without_client_certificate),
        cmocka_unit_test(test_build_v2_with_client_certificate),
        cmocka_unit_test(test_build_v2_addresses),
        cmocka_unit_test(test_build_v2_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
