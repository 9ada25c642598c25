/* ClientHellos: garbage, broken and oversized ones, then those of OpenSSL and one like Chrome's,
 * whole and in pieces. */
#include "tls/client_hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#define MAXIMUM 16384

static struct client_hello hello;

static enum client_hello_result parse(const uint8_t *input, size_t size)
{
    memset(&hello, 0, sizeof(hello));
    return client_hello_parse(input, size, MAXIMUM, &hello);
}

/* ---- A message to build ---- */

struct builder {
    uint8_t data[70000];
    size_t size;
};

static void put(struct builder *builder, const void *data, size_t size)
{
    memcpy(builder->data + builder->size, data, size);
    builder->size += size;
}

static void put_number(struct builder *builder, size_t number, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        builder->data[builder->size++] = (uint8_t)(number >> 8 * (size - 1 - i));
    }
}

static void put_extension(struct builder *builder, size_t type, const void *body, size_t size)
{
    put_number(builder, type, 2);
    put_number(builder, size, 2);
    put(builder, body, size);
}

/* An extension holding a list of 16-bit numbers with a length of `length_size` bytes; the list ends
 * with 0. */
static void put_list_extension(struct builder *builder, size_t type, size_t length_size,
                               const uint16_t *list)
{
    size_t count = 0;
    while (list[count] != 0) {
        count++;
    }
    put_number(builder, type, 2);
    put_number(builder, length_size + 2 * count, 2);
    put_number(builder, 2 * count, length_size);
    for (size_t i = 0; i < count; i++) {
        put_number(builder, list[i], 2);
    }
}

/* What stands before the extensions: TLS 1.2, two ciphers. */
static void put_fixed(struct builder *builder)
{
    static const uint8_t random[32] = {7};
    put_number(builder, 0x0303, 2);
    put(builder, random, sizeof(random));
    put(builder, "\0", 1);
    put(builder, "\0\4\x13\1\xc0\x2b", 6);
    put(builder, "\1\0", 2);
}

/* Frames the body as message and records of at most `fragment` bytes. */
static void frame(struct builder *wire, const uint8_t *body, size_t size, size_t fragment)
{
    static struct builder message;
    message.size = 0;
    put_number(&message, 1, 1);
    put_number(&message, size, 3);
    put(&message, body, size);
    wire->size = 0;
    for (size_t at = 0; at < message.size; at += fragment) {
        size_t n = message.size - at < fragment ? message.size - at : fragment;
        put(wire, "\x16\3\1", 3);
        put_number(wire, n, 2);
        put(wire, message.data + at, n);
    }
}

/* Parses a ClientHello with these extensions. */
static enum client_hello_result parse_extensions(const void *extensions, size_t size)
{
    static struct builder body, wire;
    body.size = 0;
    put_fixed(&body);
    put_number(&body, size, 2);
    put(&body, extensions, size);
    frame(&wire, body.data, body.size, 16384);
    return parse(wire.data, wire.size);
}

static enum client_hello_result parse_extension(size_t type, const void *data, size_t size)
{
    static struct builder extensions;
    extensions.size = 0;
    put_extension(&extensions, type, data, size);
    return parse_extensions(extensions.data, extensions.size);
}

static enum client_hello_result parse_name(const char *name, size_t size)
{
    static struct builder data;
    data.size = 0;
    put_number(&data, size + 3, 2);
    put_number(&data, 0, 1);
    put_number(&data, size, 2);
    put(&data, name, size);
    return parse_extension(0, data.data, data.size);
}

/* ---- Not ours ---- */

static void test_not_tls(void **state)
{
    static const char *const http[] = {"GET / HTTP/1.1\r\n",
                                       "POST /",
                                       "HEAD ",
                                       "PUT /x",
                                       "OPTIONS *",
                                       "CONNECT",
                                       "DELETE",
                                       "PATCH ",
                                       "TRACE",
                                       "PRI * HTTP/2.0\r\n"};
    static const char *const other[] = {
        "\x80\x2e\x01\x03\x01", "SSH-2.0-x", "PROXY TCP4", "\x15\x03\x03\x00\x02",
        "\x16\x02\x00",         "\x01",      "get / ",     "HELO x"};

    (void)state;
    assert_int_equal(parse((const uint8_t *)"", 0), CLIENT_HELLO_INCOMPLETE);
    for (size_t i = 0; i < ARRAY_SIZE(http); i++) {
        for (size_t n = 1; n <= strlen(http[i]); n++) {
            assert_int_equal(parse((const uint8_t *)http[i], n),
                             n < 4 ? CLIENT_HELLO_INCOMPLETE : CLIENT_HELLO_HTTP);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(other); i++) {
        assert_int_equal(parse((const uint8_t *)other[i], strlen(other[i])), CLIENT_HELLO_NOT_TLS);
    }
}

static void test_bad_records(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"\x16\3\1\0\0", 5},                /* empty record */
        {"\x16\3\1\x40\1", 5},              /* longer than any plaintext record */
        {"\x16\3\1\0\4\2\0\0\0", 9},        /* a ServerHello */
        {"\x16\3\1\0\1\1\x17\3\1\0\1", 11}, /* another type in the middle */
        {"\x16\3\1\0\1\1\x16\3\1\0\0", 11}, /* an empty fragment */
        {"\x16\3\1\0\1\1\x16\2\1\0\1", 11},
        {"\x16\3\1\0\5\1\0\0\0\0", 10}, /* bytes behind the message */
        {"\x16\3\1\0\4\1\0\0\0", 9},    /* empty message */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(parse((const uint8_t *)cases[i].bytes, cases[i].size), CLIENT_HELLO_BAD);
    }
}

static void test_too_large(void **state)
{
    static struct builder body, wire;

    (void)state;
    put_fixed(&body);
    put_number(&body, 2000 + 4, 2);
    put_number(&body, 21, 2);
    put_number(&body, 2000, 2);
    body.size += 2000;
    frame(&wire, body.data, body.size, 16384);
    assert_int_equal(client_hello_parse(wire.data, wire.size, wire.size, &hello), CLIENT_HELLO_OK);
    for (size_t n = 9; n < wire.size; n += 100) { /* known from its header on */
        assert_int_equal(client_hello_parse(wire.data, n, wire.size - 1, &hello),
                         CLIENT_HELLO_TOO_LARGE);
    }
    /* record headers count: no patience for a message in single bytes */
    frame(&wire, body.data, body.size, 1);
    assert_int_equal(client_hello_parse(wire.data, wire.size, wire.size, &hello), CLIENT_HELLO_OK);
    assert_int_equal(hello.wire_size, wire.size);
    assert_int_equal(client_hello_parse(wire.data, wire.size, 4096, &hello),
                     CLIENT_HELLO_TOO_LARGE);
    assert_int_equal(client_hello_parse(wire.data, 4095, 4096, &hello), CLIENT_HELLO_INCOMPLETE);
    assert_int_equal(client_hello_parse(wire.data, 4096, 4096, &hello), CLIENT_HELLO_TOO_LARGE);
}

/* ---- Malformed bodies ---- */

/* Every body cut short, with the lengths around it made to fit, is refused. */
static void test_truncated_bodies(void **state)
{
    static struct builder body, wire;

    (void)state;
    put_fixed(&body);
    assert_int_equal(body.size, 43);
    frame(&wire, body.data, body.size, 16384);
    assert_int_equal(parse(wire.data, wire.size), CLIENT_HELLO_OK); /* no extensions at all */
    for (size_t n = 0; n < body.size; n++) {
        frame(&wire, body.data, n, 16384);
        assert_int_equal(parse(wire.data, wire.size), CLIENT_HELLO_BAD);
    }
    put(&body, "\0", 1); /* half a length of the extensions */
    frame(&wire, body.data, body.size, 16384);
    assert_int_equal(parse(wire.data, wire.size), CLIENT_HELLO_BAD);
}

static void test_bad_fixed_part(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
    } cases[] = {
        {0, 2},   /* legacy_version 0x0203 */
        {34, 33}, /* session id too long */
        {36, 3},  /* odd cipher list */
        {36, 0},  /* no ciphers */
        {41, 0},  /* no compression method */
        {42, 1},  /* not the null one */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        static struct builder body, wire;
        body.size = 0;
        put_fixed(&body);
        body.data[cases[i].at] = cases[i].value;
        frame(&wire, body.data, body.size, 16384);
        assert_int_equal(parse(wire.data, wire.size), CLIENT_HELLO_BAD);
    }
}

static void test_bad_extensions(void **state)
{
    static const struct {
        size_t type, size;
        const char *data;
    } cases[] = {
        {0, 0, ""},                      /* server_name as servers send it */
        {0, 2, "\0\0"},                  /* empty list */
        {0, 5, "\0\3\0\0\0"},            /* empty name */
        {0, 6, "\0\4\1\0\1a"},           /* another name type */
        {0, 6, "\0\5\0\0\1a"},           /* list longer than its extension */
        {0, 10, "\0\x08\0\0\1a\0\0\1b"}, /* two names */
        {0, 7, "\0\4\0\0\1ab"},          /* a byte too many */
        {10, 0, ""},
        {10, 2, "\0\0"},
        {10, 3, "\0\1\0"},
        {10, 5, "\0\2\0\x1d\0"},
        {13, 2, "\0\0"},
        {13, 3, "\0\1\4"},
        {16, 0, ""},
        {16, 2, "\0\0"},
        {16, 3, "\0\1\0"},
        {16, 5, "\0\3\3h2"},
        {42, 1, "x"},
        {49, 1, "x"},
        {23, 1, "x"},
        {43, 0, ""},
        {43, 1, "\0"},
        {43, 2, "\1\3"},
        {51, 0, ""},
        {51, 6, "\0\4\0\x1d\0\0"},
        {51, 6, "\0\4\0\x1d\0\5"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(parse_extension(cases[i].type, cases[i].data, cases[i].size),
                         CLIENT_HELLO_BAD);
    }
    assert_int_equal(parse_extensions("\0\x23\0\0\0\x23\0\0", 8), CLIENT_HELLO_BAD); /* twice */
    assert_int_equal(parse_extensions("\0\x29\0\0\0\x23\0\0", 8),
                     CLIENT_HELLO_BAD); /* PSK not last */
    assert_int_equal(parse_extensions("\0\x23\0\0\0\x29\0\0", 8), CLIENT_HELLO_OK);
    assert_int_equal(parse_extensions("\0\x23\0\1", 4), CLIENT_HELLO_BAD);
    assert_int_equal(parse_extensions("\0\x23\0", 3), CLIENT_HELLO_BAD);

    static struct builder many;
    for (size_t type = 1000; type < 1129; type++) {
        if (type == 1128) {
            assert_int_equal(parse_extensions(many.data, many.size), CLIENT_HELLO_OK);
        }
        put_extension(&many, type, "", 0);
    }
    assert_int_equal(parse_extensions(many.data, many.size), CLIENT_HELLO_BAD);
}

static void test_server_names(void **state)
{
    static const char label63[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk";
    static const char *const bad[] = {".",   "..",  ".a",  "a..b",     "a..",  "a b", "a/b",
                                      "a:1", "*.a", "::1", "\xc3\xa4", "a\"b", "a\nb"};
    static const struct {
        const char *sent, *read;
    } good[] = {
        {"example.org", "example.org"},
        {"EXAMPLE.Org", "example.org"},
        {"example.org.", "example.org"},
        {"a", "a"},
        {"127.0.0.1", "127.0.0.1"},
        {"_sip-x.xn--bcher-kva.example", "_sip-x.xn--bcher-kva.example"},
        {label63, label63},
    };
    char name[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(parse_name(bad[i], strlen(bad[i])), CLIENT_HELLO_BAD);
    }
    assert_int_equal(parse_name("a\0b", 3), CLIENT_HELLO_BAD);
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(parse_name(good[i].sent, strlen(good[i].sent)), CLIENT_HELLO_OK);
        assert_string_equal(hello.server_name, good[i].read);
        assert_true(hello.has_server_name);
    }
    memset(name, 'a', sizeof(name));
    assert_int_equal(parse_name(name, 64), CLIENT_HELLO_BAD); /* a label of 64 */
    for (size_t i = 1; i < sizeof(name); i += 2) {
        name[i] = '.';
    }
    assert_int_equal(parse_name(name, 255), CLIENT_HELLO_OK);
    assert_int_equal(parse_name(name, 256), CLIENT_HELLO_BAD);
}

/* ---- Well-formed ones ---- */

static void test_plain_tls12(void **state)
{
    (void)state;
    assert_int_equal(parse_extension(35, "ticket", 6), CLIENT_HELLO_OK);
    assert_true(hello.session_ticket);
    assert_int_equal(hello.ticket_size, 6);
    assert_int_equal(parse_extension(35, "", 0), CLIENT_HELLO_OK);
    assert_true(hello.session_ticket && hello.ticket_size == 0);
    assert_false(hello.early_data || hello.pre_shared_key || hello.has_server_name);
    assert_string_equal(hello.server_name, "");
    assert_int_equal(hello.min_version, 0x0303);
    assert_int_equal(hello.max_version, 0x0303);
    assert_true(hello.offers_ecdsa && hello.offers_rsa);
    assert_int_equal(hello.cipher_count, 2);
    assert_int_equal(hello.ciphers[1], 0xc02b);
    assert_int_equal(parse_extension(13, "\0\2\4\3", 4), CLIENT_HELLO_OK);
    assert_true(hello.offers_ecdsa && !hello.offers_rsa);
    assert_int_equal(parse_extension(13, "\0\2\x08\4", 4), CLIENT_HELLO_OK);
    assert_true(!hello.offers_ecdsa && hello.offers_rsa);
    assert_int_equal(parse_extension(13, "\0\4\x08\7\x08\x0b", 6), CLIENT_HELLO_OK);
    assert_false(hello.offers_ecdsa || hello.offers_rsa);
    assert_int_equal(parse_extension(42, "", 0), CLIENT_HELLO_OK);
    assert_true(hello.early_data);
    assert_int_equal(parse_extension(43, "\6\x7a\x7a\3\4\3\2", 7), CLIENT_HELLO_OK); /* GREASE */
    assert_int_equal(hello.min_version, 0x0302);
    assert_int_equal(hello.max_version, 0x0304);
}

/* Each way to cut it into records and each prefix of it. */
static void test_openssl_in_pieces(void **state)
{
    static struct builder wire;
    uint8_t flight[4096];
    char name[] = "Www.Example.org", groups[] = "X25519:P-256"; /* the macros drop const */
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);

    (void)state;
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_set_tlsext_host_name(ssl, name);
    SSL_set_alpn_protos(ssl, (const uint8_t *)"\x02h2\x08http/1.1", 12);
    SSL_set1_groups_list(ssl, groups);
    SSL_set_post_handshake_auth(ssl, 1);
    SSL_connect(ssl);
    int size = BIO_read(SSL_get_wbio(ssl), flight, sizeof(flight));
    assert_true(size > 9);
    SSL_free(ssl);
    SSL_CTX_free(context);

    for (size_t fragment = 1; fragment < (size_t)size; fragment++) {
        frame(&wire, flight + 9, (size_t)size - 9, fragment);
        for (size_t n = 1; n < wire.size; n += fragment < 10 ? 1 : 13) {
            assert_int_equal(parse(wire.data, n), CLIENT_HELLO_INCOMPLETE);
        }
        memcpy(wire.data + wire.size, "\x14\3\3\0\1\1", 6); /* what follows is not ours */
        assert_int_equal(parse(wire.data, wire.size + 6), CLIENT_HELLO_OK);
        assert_int_equal(hello.wire_size, wire.size);
        assert_string_equal(hello.server_name, "www.example.org");
        assert_int_equal(hello.min_version, 0x0303);
        assert_int_equal(hello.max_version, 0x0304);
        assert_int_equal(hello.session_id_size, 32);
        assert_int_equal(hello.alpn_size, 12);
        assert_memory_equal(hello.alpn, "\x02h2\x08http/1.1", 12);
        assert_true(hello.offers_ecdsa && hello.offers_rsa && hello.session_ticket);
        assert_true(hello.extended_master_secret && hello.post_handshake_auth);
        assert_false(hello.early_data || hello.pre_shared_key);
        assert_int_equal(hello.group_count, 2);
        assert_int_equal(hello.groups[0], 29);
        assert_int_equal(hello.key_share_count, 1);
        assert_int_equal(hello.key_shares[0], 29);
    }
}

/* The example of the JA4 specification: Chrome. */
static void test_ja4_chrome(void **state)
{
    static const uint16_t ciphers[] = {0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f,
                                       0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
                                       0x009c, 0x009d, 0x002f, 0x0035};
    static const uint16_t groups[] = {0x6a6a, 29, 23, 24, 0};
    static const uint16_t signatures[] = {0x0403, 0x0804, 0x0401, 0x0503, 0x0805,
                                          0x0501, 0x0806, 0x0601, 0};
    static const uint16_t versions[] = {0x3a3a, 0x0304, 0x0303, 0};
    static const uint16_t others[] = {0x0005, 0x000b, 0x0012, 0x0015,
                                      0x001b, 0x002d, 0x4469, 0xff01};
    static struct builder body, extensions, wire;
    char text[CLIENT_HELLO_JA4_SIZE];

    (void)state;
    put_extension(&extensions, 0x1a1a, "", 0);
    put_extension(&extensions, 0,
                  "\0\x0e\0\0\x0b"
                  "example.org",
                  16);
    put_extension(&extensions, 23, "", 0);
    put_extension(&extensions, 16, "\0\x0c\2h2\x08http/1.1", 14);
    put_list_extension(&extensions, 10, 2, groups);
    put_list_extension(&extensions, 13, 2, signatures);
    put_list_extension(&extensions, 43, 1, versions);
    put_extension(&extensions, 35, "", 0);
    put_extension(&extensions, 51, "\0\x0a\x6a\x6a\0\1x\0\x1d\0\1y", 12);
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        put_extension(&extensions, others[i], "", 0);
    }
    put_extension(&extensions, 0xbaba, "", 0);

    put_fixed(&body);
    body.size = 35;
    put_number(&body, sizeof(ciphers), 2);
    for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++) {
        put_number(&body, ciphers[i], 2);
    }
    put(&body, "\1\0", 2);
    put_number(&body, extensions.size, 2);
    put(&body, extensions.data, extensions.size);
    frame(&wire, body.data, body.size, 16384);
    assert_int_equal(parse(wire.data, wire.size), CLIENT_HELLO_OK);
    assert_int_equal(hello.key_share_count, 1);
    assert_true(client_hello_ja4(&hello, text));
    assert_string_equal(text, "t13d1516h2_8daaf6152771_e5627efa2ab1");
}

static void test_ja4_corners(void **state)
{
    char text[CLIENT_HELLO_JA4_SIZE];
    static const struct {
        const char *alpn;
        size_t size;
        const char *code;
    } cases[] = {
        {"\2h2", 3, "h2"},
        {"\1x", 2, "xx"},
        {"\x08http/1.1", 9, "h1"},
        {"\1\xab", 2, "ab"},
        {"\2\xab\xcd", 3, "ad"},
        {"\2\x30\xab", 3, "3b"},
        {"\4\x30\x31\xab\xcd", 5, "3d"},
    };

    (void)state;
    memset(&hello, 0, sizeof(hello));
    assert_true(client_hello_ja4(&hello, text));
    assert_string_equal(text, "t00i000000_000000000000_000000000000");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        memcpy(hello.alpn, cases[i].alpn, cases[i].size);
        hello.alpn_size = cases[i].size;
        assert_true(client_hello_ja4(&hello, text));
        assert_memory_equal(text + 8, cases[i].code, 2);
    }
    hello.cipher_count = CLIENT_HELLO_CIPHERS_MAX;
    hello.extension_count = CLIENT_HELLO_EXTENSIONS_MAX;
    hello.signature_count = CLIENT_HELLO_SIGNATURES_MAX;
    for (size_t i = 0; i < CLIENT_HELLO_EXTENSIONS_MAX; i++) {
        hello.extensions[i] = (uint16_t)(1000 + i);
    }
    hello.max_version = 0x0301;
    assert_true(client_hello_ja4(&hello, text));
    assert_memory_equal(text, "t10i9999", 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_tls),           cmocka_unit_test(test_bad_records),
        cmocka_unit_test(test_too_large),         cmocka_unit_test(test_truncated_bodies),
        cmocka_unit_test(test_bad_fixed_part),    cmocka_unit_test(test_bad_extensions),
        cmocka_unit_test(test_server_names),      cmocka_unit_test(test_plain_tls12),
        cmocka_unit_test(test_openssl_in_pieces), cmocka_unit_test(test_ja4_chrome),
        cmocka_unit_test(test_ja4_corners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
