/* The journal of versions and the files of the state folder, above all when they are damaged or the
 * disk is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/string.h"
#include "vault/store.h"
#include "vault/versions.h"

static char folder[64];
static int directory;

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/holdfast-store-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return directory >= 0 ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    close(directory);
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct seen {
    unsigned count;
    uint32_t version;
    char host[64];
};

static void see(void *context, uint32_t version, enum key_type type, const uint8_t fingerprint[32],
                const char *host)
{
    struct seen *seen = context;
    (void)type, (void)fingerprint;

    seen->count++;
    seen->version = version;
    string_copy(seen->host, sizeof seen->host, host);
}

static struct seen read_journal(struct versions *versions)
{
    struct seen seen = {0};
    struct error error = {0};

    if (versions_open(versions, directory, "shop", see, &seen, &error) != 0)
        fail_msg("%s", error.message);
    return seen;
}

static const uint8_t fingerprint[32] = {1, 2, 0xfe};

static void test_journal(void **state)
{
    struct versions versions;
    (void)state;

    assert_int_equal(read_journal(&versions).count, 0);
    assert_int_equal(versions_note(&versions, 1, KEY_TYPE_ECDSA, fingerprint, "", NULL), 0);
    assert_int_equal(versions_note(&versions, 7, KEY_TYPE_RSA, fingerprint, "a.example", NULL), 0);
    assert_int_equal(versions_note(&versions, 3, KEY_TYPE_ECDSA, fingerprint, "b.example", NULL),
                     0);
    versions_fini(&versions);
    struct seen seen = read_journal(&versions);
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.version, 3);
    assert_string_equal(seen.host, "b.example");
    assert_int_equal(versions.last, 7);
    versions_fini(&versions);
}

static void test_damaged_lines(void **state)
{
    static const char text[] =
        "\n"
        "1 ecdsa 00 -\n"
        "x\n"
        "0 ecdsa 0102030405060708091011121314151617181920212223242526272829303132 -\n"
        "9 dsa 0102030405060708091011121314151617181920212223242526272829303132 -\n"
        "9 ecdsa 01020304050607080910111213141516171819202122232425262728293031zz -\n"
        "9 ecdsa 0102030405060708091011121314151617181920212223242526272829303132\n"
        "5 ecdsa 0102030405060708091011121314151617181920212223242526272829303132 -\n"
        "6 ecdsa 01020304";
    struct versions versions;
    struct error error = {0};
    int sub;
    (void)state;

    assert_int_equal(store_folder(&sub, directory, "versions", NULL, &error), 0);
    assert_int_equal(store_write(sub, "shop", text, strlen(text), &error), 0);
    close(sub);
    struct seen seen = read_journal(&versions);
    assert_int_equal(seen.count, 1);
    assert_int_equal(versions.last, 5);
    assert_true(versions.torn);
    /* The next line does not hang on to the torn one. */
    assert_int_equal(versions_note(&versions, 6, KEY_TYPE_ECDSA, fingerprint, "", NULL), 0);
    versions_fini(&versions);
    assert_int_equal(read_journal(&versions).version, 6);
    versions_fini(&versions);
}

static void test_full_disk(void **state)
{
    struct versions versions;
    struct error error = {0};
    (void)state;

    read_journal(&versions);
    int good = versions.fd;
    versions.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(versions_note(&versions, 1, KEY_TYPE_ECDSA, fingerprint, "", &error),
                     -ERROR_IO);
    assert_int_equal(versions.last, 1); /* given all the same */
    close(versions.fd);
    versions.fd = good;
    assert_int_equal(versions_note(&versions, 2, KEY_TYPE_ECDSA, fingerprint, "", &error), 0);
    versions_fini(&versions);
    assert_int_equal(versions_note(&versions, 3, KEY_TYPE_ECDSA, fingerprint, "", &error),
                     -ERROR_IO);
    assert_int_equal(versions.last, 3);
}

static void test_replace(void **state)
{
    struct versions versions;
    struct buffer lines;
    (void)state;

    read_journal(&versions);
    for (uint32_t i = 1; i <= 5; i++)
        assert_int_equal(
            versions_note(&versions, i, KEY_TYPE_ECDSA, fingerprint, "a.example", NULL), 0);
    buffer_init(&lines, 1000);
    assert_true(versions_line(&lines, 5, KEY_TYPE_ECDSA, fingerprint, "a.example"));
    assert_int_equal(versions_replace(&versions, directory, "shop", &lines, NULL), 0);
    buffer_fini(&lines);
    assert_int_equal(versions_note(&versions, 6, KEY_TYPE_ECDSA, fingerprint, "a.example", NULL),
                     0);
    versions_fini(&versions);
    assert_int_equal(read_journal(&versions).count, 2);
    versions_fini(&versions);
}

static void test_write_is_whole(void **state)
{
    struct error error = {0};
    struct buffer text;
    struct stat status;
    (void)state;

    buffer_init_secret(&text, KEYPAIR_PEM_MAX);
    assert_int_equal(store_read(&text, directory, "file", &error), -ERROR_NOT_FOUND);
    assert_int_equal(store_write(directory, "file", "one", 3, &error), 0);
    assert_int_equal(fstatat(directory, "file", &status, 0), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    /* Neither a link nor a folder in its way is written through. */
    assert_int_equal(symlinkat("elsewhere", directory, "file.new"), 0);
    assert_int_equal(store_write(directory, "file", "two", 3, &error), -ERROR_IO);
    assert_int_equal(unlinkat(directory, "file.new", 0), 0);
    assert_int_equal(mkdirat(directory, "taken", 0700), 0);
    assert_int_equal(store_write(directory, "taken", "two", 3, &error), -ERROR_IO);
    assert_int_equal(faccessat(directory, "taken.new", F_OK, 0), -1);
    assert_int_equal(store_read(&text, directory, "file", &error), 0);
    assert_string_equal(buffer_text(&text), "one");
    assert_int_equal(symlinkat("file", directory, "link"), 0);
    assert_int_equal(store_read(&text, directory, "link", &error), -ERROR_IO);
    buffer_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_damaged_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_journal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_write_is_whole, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
