/* The record layer against RFC 8448's trace, against itself, and against everything that may be
 * wrong with a record. (Against OpenSSL: test_leg.c.) */
#include "tls/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint16_t suite_ids[][2] = {
    {0x0304, 0x1301}, {0x0304, 0x1302}, {0x0304, 0x1303}, {0x0303, 0xc02b}, {0x0303, 0xc02c},
    {0x0303, 0xc02f}, {0x0303, 0xc030}, {0x0303, 0xcca8}, {0x0303, 0xcca9},
};

static struct record_crypto *crypto;
static uint8_t plain[40000], wire[80000], opened_bytes[80000];

static int setup(void **state)
{
    (void)state;
    record_process_init(); /* as in a relay */
    crypto = record_crypto_new();
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)(i * 7 + 1);
    }
    return crypto == NULL;
}

static int teardown(void **state)
{
    (void)state;
    record_crypto_free(crypto);
    return 0;
}

/* The nth suite; NULL after the last. */
static const struct suite *nth_suite(size_t n)
{
    return n < ARRAY_SIZE(suite_ids) ? suite_find(suite_ids[n][0], suite_ids[n][1]) : NULL;
}

static struct record_key make_key(uint8_t seed)
{
    struct record_key key;
    memset(&key, seed, sizeof(key));
    return key;
}

static size_t unhex(uint8_t *output, const char *hex)
{
    size_t n = 0;
    for (const char *at = hex; *at != '\0'; at++) {
        if (*at != ' ') {
            unsigned digit = (unsigned)(*at <= '9' ? *at - '0' : *at - 'a' + 10);
            output[n / 2] = (uint8_t)(n % 2 == 0 ? digit << 4 : output[n / 2] | digit);
            n++;
        }
    }
    return n / 2;
}

static void assert_hex(const uint8_t *actual, const char *hex)
{
    uint8_t expected[256];
    size_t n = unhex(expected, hex);
    assert_memory_equal(actual, expected, n);
}

static size_t seal(const struct suite *suite, const struct record_key *key, uint64_t sequence,
                   enum record_type type, size_t size)
{
    uint64_t nonce = 77;
    size_t n = record_seal(crypto, suite, key, &sequence, &nonce, type, plain, size,
                           RECORD_PLAINTEXT_MAX, wire);
    assert_int_equal(n, record_sealed_size(suite, size, RECORD_PLAINTEXT_MAX));
    return n;
}

static enum record_open_result open_wire(const struct suite *suite, const struct record_key *key,
                                         uint64_t sequence, size_t size,
                                         struct record_opened *ret_opened)
{
    uint64_t before = sequence;
    enum record_open_result result =
        record_open(crypto, suite, key, &sequence, wire, size, opened_bytes, ret_opened);
    if (result != RECORD_OPENED) {
        assert_int_equal(sequence, before);
    }
    return result;
}

/* ---- Known answers ---- */

static void test_suites(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(suite_ids); i++) {
        const struct suite *suite = nth_suite(i);
        assert_non_null(suite);
        assert_int_equal(suite->id, suite_ids[i][1]);
        assert_int_equal(suite->explicit_nonce, suite->version == TLS_VERSION_1_2 &&
                                                    suite->aead != AEAD_CHACHA20_POLY1305);
    }
    assert_null(suite_find(TLS_VERSION_1_2, 0x1301));
    assert_null(suite_find(TLS_VERSION_1_3, 0xc02b));
    assert_null(suite_find(TLS_VERSION_1_3, 0x1304));
    assert_null(suite_find(TLS_VERSION_1_2, 0xc013)); /* ECDHE-RSA-AES128-SHA */
    assert_null(suite_find(0, 0));
}

/* RFC 8448 §3, from "derive write traffic keys for application data" on. */
static void test_rfc8448(void **state)
{
    const struct suite *suite = suite_find(TLS_VERSION_1_3, 0x1301);
    struct record_key client = {0}, server = {0};
    uint64_t client_sequence = 0, server_sequence = 1 /* NewSessionTicket was 0 */, nonce = 0;
    uint8_t payload[50], alert[2] = {1, 0};

    (void)state;
    unhex(client.secret, "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5");
    unhex(server.secret, "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643");
    assert_true(record_key_derive(suite, &client) && record_key_derive(suite, &server));
    assert_hex(client.key, "17422dda596ed5d9acd890e3c63f5051");
    assert_hex(client.iv, "5b78923dee08579033e523d9");
    assert_hex(server.key, "9f02283b6c9c07efc26bb9f2ac92e356");
    assert_hex(server.iv, "cf782b88dd83549aadf1e984");

    for (size_t i = 0; i < sizeof(payload); i++) {
        payload[i] = (uint8_t)i;
    }
    assert_int_equal(72, record_seal(crypto, suite, &client, &client_sequence, &nonce,
                                     RECORD_APPLICATION_DATA, payload, sizeof(payload),
                                     RECORD_PLAINTEXT_MAX, wire));
    assert_hex(wire,
               "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b"
               "395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4");
    assert_int_equal(72, record_seal(crypto, suite, &server, &server_sequence, &nonce,
                                     RECORD_APPLICATION_DATA, payload, sizeof(payload),
                                     RECORD_PLAINTEXT_MAX, wire));
    assert_hex(wire,
               "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6"
               "dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d");
    assert_int_equal(24, record_seal(crypto, suite, &client, &client_sequence, &nonce, RECORD_ALERT,
                                     alert, sizeof(alert), RECORD_PLAINTEXT_MAX, wire));
    assert_hex(wire, "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3");
    assert_int_equal(24, record_seal(crypto, suite, &server, &server_sequence, &nonce, RECORD_ALERT,
                                     alert, sizeof(alert), RECORD_PLAINTEXT_MAX, wire));
    assert_hex(wire, "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9");
    assert_int_equal(client_sequence, 2);
    assert_int_equal(server_sequence, 3);
}

static void test_key_next(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const struct suite *suite = nth_suite(i);
        struct record_key key = make_key(3), next, again;
        key.epoch = 5;
        assert_true(record_key_next(suite, &key, &next));
        assert_int_equal(next.epoch, 6);
        assert_memory_not_equal(next.secret, key.secret, suite->secret_size);
        again = next;
        assert_true(record_key_derive(suite, &again));
        assert_memory_equal(&again, &next, sizeof(next));
        key.epoch = UINT32_MAX;
        assert_false(record_key_next(suite, &key, &next));
    }
}

/* ---- Sealing ---- */

static void test_round_trip(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 100, 1000, 16383, 16384};
    const struct suite *suite;

    (void)state;
    for (size_t s = 0; (suite = nth_suite(s)) != NULL; s++) {
        struct record_key key = make_key((uint8_t)(s + 1));
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
            for (unsigned type = RECORD_ALERT; type <= RECORD_APPLICATION_DATA; type++) {
                struct record_opened opened;
                size_t n = seal(suite, &key, i, (enum record_type)type, sizes[i]);
                assert_int_equal(open_wire(suite, &key, i, n, &opened), RECORD_OPENED);
                assert_int_equal(opened.type, type);
                assert_int_equal(opened.consumed, n);
                assert_int_equal(opened.size, sizes[i]);
                assert_memory_equal(opened_bytes, plain, sizes[i]);
            }
        }
    }
}

static void test_fragments(void **state)
{
    static const size_t maxima[] = {1, 512, 1024, 4096, 16384};
    const struct suite *suite;

    (void)state;
    for (size_t s = 0; (suite = nth_suite(s)) != NULL; s++) {
        for (size_t i = 0; i < ARRAY_SIZE(maxima); i++) {
            struct record_key key = make_key(9);
            uint64_t write = 3, read = 3, nonce = UINT64_MAX - 1; /* wraps */
            size_t size = maxima[i] == 1 ? 50 : 40000, at = 0, total = 0;
            size_t n = record_seal(crypto, suite, &key, &write, &nonce, RECORD_APPLICATION_DATA,
                                   plain, size, maxima[i], wire);
            assert_int_equal(n, record_sealed_size(suite, size, maxima[i]));
            while (at < n) {
                struct record_opened opened;
                assert_int_equal(record_open(crypto, suite, &key, &read, wire + at, n - at,
                                             opened_bytes + total, &opened),
                                 RECORD_OPENED);
                assert_true(opened.size <= maxima[i]);
                at += opened.consumed;
                total += opened.size;
            }
            assert_int_equal(total, size);
            assert_memory_equal(opened_bytes, plain, size);
            assert_int_equal(read, write);
            assert_int_equal(nonce, suite->explicit_nonce
                                        ? UINT64_MAX - 1 + (size + maxima[i] - 1) / maxima[i]
                                        : UINT64_MAX - 1);
        }
    }
}

static void test_explicit_nonce_on_the_wire(void **state)
{
    const struct suite *suite = suite_find(TLS_VERSION_1_2, 0xc02b);
    struct record_key key = make_key(1);
    uint64_t sequence = 9, nonce = 0x0102030405060708;

    (void)state;
    assert_true(record_seal(crypto, suite, &key, &sequence, &nonce, RECORD_ALERT, plain, 2,
                            RECORD_PLAINTEXT_MAX, wire) > 0);
    assert_hex(wire, "150303001a 0102030405060708");
}

static void test_sequence_never_wraps(void **state)
{
    const struct suite *suite;

    (void)state;
    for (size_t s = 0; (suite = nth_suite(s)) != NULL; s++) {
        struct record_key key = make_key(1);
        struct record_opened opened;
        uint64_t sequence = UINT64_MAX - 1, nonce = 0;
        assert_int_equal(0, record_seal(crypto, suite, &key, &sequence, &nonce,
                                        RECORD_APPLICATION_DATA, plain, 1000, 512, wire));
        assert_int_equal(sequence, UINT64_MAX - 1);
        assert_int_equal(nonce, 0);
        size_t n = record_seal(crypto, suite, &key, &sequence, &nonce, RECORD_APPLICATION_DATA,
                               plain, 512, 512, wire);
        assert_true(n > 0);
        assert_int_equal(sequence, UINT64_MAX);
        assert_int_equal(open_wire(suite, &key, UINT64_MAX, n, &opened), RECORD_BAD_TAG);
        assert_int_equal(open_wire(suite, &key, UINT64_MAX - 1, n, &opened), RECORD_OPENED);
        assert_int_equal(0, record_seal(crypto, suite, &key, &sequence, &nonce,
                                        RECORD_APPLICATION_DATA, plain, 1, 512, wire));
    }
}

static void test_bad_fragment_max(void **state)
{
    struct record_key key = make_key(1);
    uint64_t sequence = 0, nonce = 0;

    (void)state;
    assert_int_equal(0, record_seal(crypto, nth_suite(0), &key, &sequence, &nonce,
                                    RECORD_APPLICATION_DATA, plain, 1, 0, wire));
    assert_int_equal(0, record_seal(crypto, nth_suite(0), &key, &sequence, &nonce,
                                    RECORD_APPLICATION_DATA, plain, 1, 16385, wire));
}

/* The same struct with another key in it (a slot that is used again) must not go on under the old
 * one. */
static void test_key_of_a_reused_slot(void **state)
{
    const struct suite *suite;

    (void)state;
    for (size_t s = 0; (suite = nth_suite(s)) != NULL; s++) {
        struct record_key key = make_key(1), other = make_key(1);
        struct record_opened opened;
        size_t n = seal(suite, &key, 0, RECORD_APPLICATION_DATA, 10);
        assert_int_equal(open_wire(suite, &key, 0, n, &opened), RECORD_OPENED);
        key.key[suite->key_size - 1] ^= 1; /* same address, same epoch */
        assert_int_equal(open_wire(suite, &key, 0, n, &opened), RECORD_BAD_TAG);
        n = seal(suite, &key, 0, RECORD_APPLICATION_DATA, 10);
        assert_int_equal(open_wire(suite, &other, 0, n, &opened), RECORD_BAD_TAG);
        assert_int_equal(open_wire(suite, &key, 0, n, &opened), RECORD_OPENED);
        record_crypto_forget(crypto);
        assert_int_equal(open_wire(suite, &key, 0, n, &opened), RECORD_OPENED);
    }
    record_crypto_free(NULL);
}

/* ---- What may be wrong with a record ---- */

static void test_tampered_everywhere(void **state)
{
    const struct suite *suite;

    (void)state;
    for (size_t s = 0; (suite = nth_suite(s)) != NULL; s++) {
        struct record_key key = make_key(5);
        size_t n = seal(suite, &key, 4, RECORD_APPLICATION_DATA, 40);
        for (size_t bit = 0; bit < 8 * n; bit++) {
            struct record_opened opened = {.size = 4711};
            uint8_t room[2 * RECORD_PLAINTEXT_MAX];
            uint64_t sequence = 4;
            memset(opened_bytes, 0, sizeof(plain));
            memcpy(room, wire, n);
            memset(room + n, 0, sizeof(room) - n);
            room[bit / 8] ^= (uint8_t)(1u << bit % 8);
            enum record_open_result result = record_open(crypto, suite, &key, &sequence, room,
                                                         sizeof(room), opened_bytes, &opened);
            assert_int_not_equal(result, RECORD_OPENED);
            assert_true(bit < 24   ? result == RECORD_BAD_HEADER || result == RECORD_BAD_TAG
                        : bit < 40 ? result == RECORD_TOO_LARGE || result == RECORD_BAD_TAG ||
                                         result == RECORD_INCOMPLETE
                                   : result == RECORD_BAD_TAG);
            assert_int_equal(opened.size, 4711);
            assert_int_equal(sequence, 4);
            for (size_t i = 0; i < 64; i++) { /* not one byte of what failed is visible */
                assert_int_equal(opened_bytes[i], 0);
            }
        }
    }
}

static void test_truncated(void **state)
{
    const struct suite *suite;

    (void)state;
    for (size_t s = 0; (suite = nth_suite(s)) != NULL; s++) {
        struct record_key key = make_key(5);
        struct record_opened opened;
        size_t n = seal(suite, &key, 0, RECORD_APPLICATION_DATA, 40);
        for (size_t size = 0; size < n; size++) {
            assert_int_equal(open_wire(suite, &key, 0, size, &opened), RECORD_INCOMPLETE);
        }
        /* a header that promises fewer bytes than a tag has */
        for (size_t length = 0; length < n - RECORD_HEADER_SIZE; length++) {
            wire[3] = 0;
            wire[4] = (uint8_t)length;
            assert_int_equal(open_wire(suite, &key, 0, n, &opened), RECORD_BAD_TAG);
        }
    }
}

static void test_replayed_and_reordered(void **state)
{
    const struct suite *suite;

    (void)state;
    for (size_t s = 0; (suite = nth_suite(s)) != NULL; s++) {
        struct record_key key = make_key(5);
        struct record_opened opened;
        size_t n = seal(suite, &key, 7, RECORD_APPLICATION_DATA, 40);
        assert_int_equal(open_wire(suite, &key, 6, n, &opened), RECORD_BAD_TAG);
        assert_int_equal(open_wire(suite, &key, 8, n, &opened), RECORD_BAD_TAG);
        assert_int_equal(open_wire(suite, &key, 7 + (1ull << 32), n, &opened), RECORD_BAD_TAG);
        assert_int_equal(open_wire(suite, &key, 7, n, &opened), RECORD_OPENED);
    }
}

static void test_header(void **state)
{
    const struct suite *suite;

    (void)state;
    for (size_t s = 0; (suite = nth_suite(s)) != NULL; s++) {
        struct record_key key = make_key(5);
        struct record_opened opened;
        size_t n = seal(suite, &key, 0, RECORD_APPLICATION_DATA, 40);
        for (unsigned type = 0; type < 256; type++) {
            bool known = type >= RECORD_CHANGE_CIPHER_SPEC && type <= RECORD_APPLICATION_DATA;
            wire[0] = (uint8_t)type;
            enum record_open_result expected = type == RECORD_APPLICATION_DATA ? RECORD_OPENED
                                               : suite->version == TLS_VERSION_1_2 && known
                                                   ? RECORD_BAD_TAG
                                                   : RECORD_BAD_HEADER;
            assert_int_equal(open_wire(suite, &key, 0, n, &opened), expected);
        }
        wire[0] = RECORD_APPLICATION_DATA;
        for (unsigned version = 0; version < 0x10000; version++) {
            wire[1] = (uint8_t)(version >> 8);
            wire[2] = (uint8_t)version;
            assert_int_equal(open_wire(suite, &key, 0, n, &opened),
                             version == 0x0303 ? RECORD_OPENED : RECORD_BAD_HEADER);
        }
    }
}

/* RFC 9846 §5.2, RFC 5246 §6.2.3: refused from the header alone, before the bytes are there. */
static void test_too_large(void **state)
{
    const struct suite *suite;

    (void)state;
    for (size_t s = 0; (suite = nth_suite(s)) != NULL; s++) {
        struct record_key key = make_key(5);
        struct record_opened opened;
        size_t largest = seal(suite, &key, 0, RECORD_APPLICATION_DATA, 16384) - 5;
        for (size_t length = largest + 1; length < 65536; length += 211) {
            wire[3] = (uint8_t)(length >> 8);
            wire[4] = (uint8_t)length;
            assert_int_equal(open_wire(suite, &key, 0, 5, &opened), RECORD_TOO_LARGE);
        }
    }
}

/* Seals raw bytes as the inner plaintext of a TLS 1.3 record: the sealed type is its last byte. */
static size_t seal_inner(const struct record_key *key, const uint8_t *inner, size_t size)
{
    uint64_t sequence = 0, nonce = 0;
    return record_seal(crypto, nth_suite(0), key, &sequence, &nonce,
                       (enum record_type)inner[size - 1], inner, size - 1, RECORD_PLAINTEXT_MAX,
                       wire);
}

static void test_padding(void **state)
{
    struct record_key key = make_key(5);
    struct record_opened opened;
    uint8_t inner[100] = {'a', 0, 'b', RECORD_APPLICATION_DATA};

    (void)state;
    size_t n = seal_inner(&key, inner, sizeof(inner));
    assert_int_equal(open_wire(nth_suite(0), &key, 0, n, &opened), RECORD_OPENED);
    assert_int_equal(opened.size, 3);
    assert_memory_equal(opened_bytes, inner, 3);

    memset(inner, 0, sizeof(inner));
    n = seal_inner(&key, inner, sizeof(inner));
    assert_int_equal(open_wire(nth_suite(0), &key, 0, n, &opened), RECORD_NO_TYPE);

    static const uint8_t never_protected[] = {1, 19, RECORD_CHANGE_CIPHER_SPEC, 24, 255};
    for (size_t i = 0; i < sizeof(never_protected); i++) {
        inner[3] = never_protected[i];
        n = seal_inner(&key, inner, sizeof(inner));
        assert_int_equal(open_wire(nth_suite(0), &key, 0, n, &opened), RECORD_NO_TYPE);
    }
}

static void test_change_cipher_spec(void **state)
{
    const struct suite *suite = nth_suite(0);
    struct record_key key = make_key(5);
    struct record_opened opened;

    (void)state;
    memcpy(wire, "\x14\x03\x03\x00\x01\x01", 6);
    assert_int_equal(open_wire(suite, &key, 7, 5, &opened), RECORD_INCOMPLETE);
    assert_int_equal(open_wire(suite, &key, 7, 6, &opened), RECORD_OPENED);
    assert_int_equal(opened.type, RECORD_CHANGE_CIPHER_SPEC);
    assert_int_equal(opened.consumed, 6);
    assert_int_equal(opened.size, 0);
    wire[5] = 2;
    assert_int_equal(open_wire(suite, &key, 7, 6, &opened), RECORD_BAD_HEADER);
    wire[4] = 2;
    assert_int_equal(open_wire(suite, &key, 7, 7, &opened), RECORD_BAD_HEADER);
    wire[4] = 0;
    assert_int_equal(open_wire(suite, &key, 7, 5, &opened), RECORD_BAD_HEADER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tampered_everywhere),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_replayed_and_reordered),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_padding),
        cmocka_unit_test(test_change_cipher_spec),
        cmocka_unit_test(test_sequence_never_wraps),
        cmocka_unit_test(test_bad_fragment_max),
        cmocka_unit_test(test_key_of_a_reused_slot),
        cmocka_unit_test(test_suites),
        cmocka_unit_test(test_rfc8448),
        cmocka_unit_test(test_key_next),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_explicit_nonce_on_the_wire),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
