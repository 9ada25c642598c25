/* Files of ticket keys and of the key-encryption key: first what must be refused. */
#include "tls/ticket_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

static uint8_t kek[KEY_ENCRYPTION_SIZE];
static struct ticket_keys keys, read_keys;
static uint8_t bytes[TICKET_FILE_MAX + 1];
static size_t size;

static int set_up(void **state)
{
    const struct ticket_rules rules = {.lifetime_s = 100, .window_s = 300, .node = "here"};
    struct ticket_clock now = {.wall_s = 1800000000, .monotonic_ns = NS_PER_S};
    (void)state;

    memset(kek, 5, sizeof kek);
    memset(&keys, 0, sizeof keys);
    memset(&read_keys, 0, sizeof read_keys);
    ignore((int)ticket_keys_advance(&keys, &rules, &now));
    ignore((int)ticket_keys_rotate(&keys, &rules, &now));
    size = ticket_file_seal(bytes, &keys, 7, kek);
    assert_true(size > 0 && size < TICKET_FILE_MAX);
    return 0;
}

static int open_file(const uint8_t *data, size_t data_size, const uint8_t *key)
{
    struct error error = {0};
    uint64_t sequence = 0;

    return ticket_file_open(&read_keys, &sequence, data, data_size, key, &error);
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= (uint8_t)(1u << i % 8);
        int result = open_file(bytes, size, kek);
        assert_true(result == -ERROR_PROTOCOL || result == -ERROR_TLS);
        bytes[i] ^= (uint8_t)(1u << i % 8);
    }
    assert_int_equal(read_keys.count, 0); /* nothing of it was taken */
    assert_int_equal(open_file(bytes, size, kek), 0);
}

static void every_truncation_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < size; i++)
        assert_int_equal(open_file(bytes, i, kek), -ERROR_PROTOCOL);
    assert_int_equal(open_file(bytes, size + 1, kek), -ERROR_PROTOCOL);
    assert_int_equal(open_file(bytes, TICKET_FILE_MAX + 1, kek), -ERROR_PROTOCOL);
}

static void another_key_is_named(void **state)
{
    uint8_t foreign[KEY_ENCRYPTION_SIZE] = {6};
    struct error error = {0};
    uint64_t sequence;
    (void)state;

    assert_int_equal(ticket_file_open(&read_keys, &sequence, bytes, size, foreign, &error),
                     -ERROR_TLS);
    assert_non_null(strstr(error.message, "another key-encryption key"));
}

static void another_version_is_named(void **state)
{
    struct error error = {0};
    uint64_t sequence;
    (void)state;

    bytes[4] = 0;
    assert_int_equal(ticket_file_open(&read_keys, &sequence, bytes, size, kek, &error), -ERROR_TLS);
    assert_non_null(strstr(error.message, "found version 0; expected 1"));
}

static void nothing_secret_stands_in_it(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < keys.count; i++) {
        assert_null(memmem(bytes, size, keys.keys[i].cipher_key, 8));
        assert_null(memmem(bytes, size, keys.keys[i].mac_key, 8));
        assert_null(memmem(bytes, size, keys.keys[i].name, 8));
    }
}

static void the_same_comes_back(void **state)
{
    struct error error = {0};
    uint64_t sequence;
    uint8_t again[TICKET_FILE_MAX];
    (void)state;

    assert_int_equal(ticket_file_open(&read_keys, &sequence, bytes, size, kek, &error), 0);
    assert_int_equal(sequence, 7);
    assert_true(ticket_keys_same(&keys, &read_keys));
    for (uint32_t i = 0; i < keys.count; i++) {
        assert_memory_equal(read_keys.keys[i].cipher_key, keys.keys[i].cipher_key, 32);
        assert_memory_equal(read_keys.keys[i].mac_key, keys.keys[i].mac_key, 32);
        assert_string_equal(read_keys.keys[i].node, "here");
        assert_int_equal(read_keys.keys[i].since, keys.keys[i].since);
        assert_int_equal(read_keys.keys[i].retired_ns, 0);
    }
    assert_int_equal(ticket_file_seal(again, &keys, 7, kek), size);
    assert_memory_not_equal(again, bytes, size); /* another nonce */
}

static void a_full_ring_fits(void **state)
{
    struct error error = {0};
    uint64_t sequence;
    (void)state;

    while (keys.count < TICKET_KEYS_MAX) {
        keys.keys[keys.count] = keys.keys[0];
        keys.keys[keys.count].name[0] = (uint8_t)keys.count;
        keys.count++;
    }
    size = ticket_file_seal(bytes, &keys, 1, kek);
    assert_int_equal(size, TICKET_FILE_MAX);
    assert_int_equal(ticket_file_open(&read_keys, &sequence, bytes, size, kek, &error), 0);
    assert_true(ticket_keys_same(&keys, &read_keys));
}

/* ---- the key-encryption key ---- */

struct kek_case {
    const char *content;
    size_t size;
    mode_t mode;
    const char *fragment; /* of the message; NULL: it is taken */
    bool credential;
};

static void check_kek(const struct kek_case *test)
{
    char path[] = "/tmp/holdfast-kek-XXXXXX";
    uint8_t key[KEY_ENCRYPTION_SIZE];
    struct error error = {0};
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, test->content, test->size), test->size);
    assert_int_equal(fchmod(fd, test->mode), 0);
    int result = key_encryption_read(key, fd, path, getuid(), test->credential, &error);
    close(fd);
    unlink(path);
    if (test->fragment == NULL) {
        assert_int_equal(result, 0);
        return;
    }
    assert_int_equal(result, -ERROR_CONFIG);
    if (strstr(error.message, test->fragment) == NULL)
        fail_msg("wanted \"%s\" in: %s", test->fragment, error.message);
}

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"

static void keys_of_wrong_size_or_mode_are_refused(void **state)
{
    static const struct kek_case cases[] = {
        {"", 0, 0600, "found 0 bytes", false},
        {HEX, 31, 0600, "found 31 bytes", false},
        {HEX, 33, 0600, "expected 32 bytes or 64 hexadecimal digits; make one with", false},
        {HEX "\n\n", 66, 0600, "found 66 bytes", false},
        {HEX HEX, 128, 0600, "found 128 bytes", false},
        {"x" HEX, 64, 0600, "found 64 bytes that are no key", false},
        {HEX, 64, 0640, "found mode 0640", false},
        {HEX, 64, 0604, "chmod 0600", false},
        {HEX, 64, 0602, "found mode 0602", false},
        {HEX, 64, 0444, "found mode 0444", true},
        {HEX, 64, 0460, "found mode 0460", true},
        {HEX, 64, 0440, NULL, true}, /* how an access list of systemd shows */
        {HEX, 64, 0600, NULL, false},
        {HEX "\n", 65, 0400, NULL, false},
        {HEX, 32, 0400, NULL, false},
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        check_kek(&cases[i]);
}

static void a_key_must_be_a_file(void **state)
{
    uint8_t key[KEY_ENCRYPTION_SIZE];
    struct error error = {0};
    int ends[2];
    (void)state;

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(key_encryption_read(key, ends[0], "p", getuid(), false, &error),
                     -ERROR_CONFIG);
    assert_non_null(strstr(error.message, "regular file"));
    close(ends[0]);
    close(ends[1]);
}

static void digits_and_bytes_are_the_same_key(void **state)
{
    char path[] = "/tmp/holdfast-kek-XXXXXX";
    uint8_t key[KEY_ENCRYPTION_SIZE];
    struct error error = {0};
    int fd = mkstemp(path);
    (void)state;

    assert_int_equal(write(fd, HEX, 64), 64);
    assert_int_equal(key_encryption_read(key, fd, path, getuid(), false, &error), 0);
    for (unsigned i = 0; i < sizeof key; i++)
        assert_int_equal(key[i], i);
    close(fd);
    unlink(path);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_flipped_bit_is_found, set_up),
        cmocka_unit_test_setup(every_truncation_is_found, set_up),
        cmocka_unit_test_setup(another_key_is_named, set_up),
        cmocka_unit_test_setup(another_version_is_named, set_up),
        cmocka_unit_test_setup(nothing_secret_stands_in_it, set_up),
        cmocka_unit_test(keys_of_wrong_size_or_mode_are_refused),
        cmocka_unit_test(a_key_must_be_a_file),
        cmocka_unit_test_setup(the_same_comes_back, set_up),
        cmocka_unit_test_setup(a_full_ring_fits, set_up),
        cmocka_unit_test(digits_and_bytes_are_the_same_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
