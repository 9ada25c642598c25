/* A folder of many certificates: names at start, files when asked for, changes while in use. */
#include "fake_host.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/string.h"
#include "vault/folder_index.h"

#define FOLDER "certificate shop { from = files folder = \"~\" }"
#define MANY   100000u
#define DAY    (24 * 3600)

static unsigned answers_before;

static bool answered(struct fake *fake)
{
    return fake->handshakers[0].received + fake->handshakers[0].unknown > answers_before;
}

static void want(struct fake *fake, const char *name)
{
    struct message_certificate_wanted wanted = {.certificate = 0};

    string_copy(wanted.name, sizeof wanted.name, name);
    answers_before = fake->handshakers[0].received + fake->handshakers[0].unknown;
    vault_wanted(fake->vault, 0, &wanted);
    fake_until(fake, answered);
}

static bool second_handshaker_has_one(struct fake *fake)
{
    return fake->handshakers[1].received > 0;
}

static bool taken_back(struct fake *fake)
{
    return fake->handshakers[1].unknown > 0;
}

static bool refused(struct fake *fake)
{
    return fake_event(fake, EVENT_CERTIFICATE_REFUSED) != NULL;
}

static void test_names(void **state)
{
    enum folder_spelling spelling;
    char host[HOST_MAX];
    (void)state;

    assert_true(folder_host_of_file("shop.example.pem", host, &spelling));
    assert_string_equal(host, "shop.example");
    assert_true(folder_host_of_file("_wildcard.example.org.pem", host, &spelling));
    assert_string_equal(host, "*.example.org");
    assert_int_equal(spelling, SPELLING_UNDERSCORE);
    assert_true(folder_host_of_file("*.example.org.pem", host, &spelling));
    assert_string_equal(host, "*.example.org");
    static const char *const bad[] = {
        ".pem",    "pem",     "shop.key",  "Shop.pem", "a..b.pem", "..pem",
        ".a.pem",  "a b.pem", "a/b.pem",   "*.pem",    "*a.pem",   "_wildcard..pem",
        "*.*.pem", "a\n.pem", "a.pem.new", "a..pem",   "shop.pem~"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (folder_host_of_file(bad[i], host, &spelling))
            fail_msg("taken for a host: %s", bad[i]);
    }
}

static void test_wanted(void **state)
{
    struct fake fake;
    struct keypair *shop = make_pair("shop.example", KEY_TYPE_ECDSA, DAY),
                   *wildcard = make_pair("*.example.org", KEY_TYPE_ECDSA, DAY);
    struct fake_shown shown;
    (void)state;

    fake_init(&fake, FOLDER);
    put_file(&fake, "files/shop.example.pem", shop, PEM_ALL);
    put_file(&fake, "files/_wildcard.example.org.pem", wildcard, PEM_ALL);
    put_file(&fake, "files/wrong.example.pem", shop, PEM_ALL);
    put_text(&fake, "files/README", "not a certificate");
    fake_start(&fake);
    unsigned opens = fake.opens;
    assert_int_equal(opens, 1); /* nothing but the folder */
    want(&fake, "shop.example");
    assert_true(same_leaf(fake.handshakers[0].pairs[KEY_TYPE_ECDSA], shop));
    assert_string_equal(fake.handshakers[0].last_name, "shop.example");
    assert_int_equal(fake.handshakers[1].received, 0);
    want(&fake, "a.example.org");
    fake_run(&fake, 20);
    assert_string_equal(fake.handshakers[0].last_name, "*.example.org");
    assert_string_equal(fake.handshakers[0].last_unknown,
                        "a.example.org"); /* it has no file of its own */
    /* Asked for under many names, the wildcard's file is not read for each. */
    opens = fake.opens;
    for (unsigned i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "x%u.example.org", i);
        want(&fake, name);
    }
    assert_in_range(fake.opens - opens, 0, 1);
    vault_peer_started(fake.vault, 0); /* a new one has nothing */
    want(&fake, "b.example.org");
    fake_run(&fake, 20);
    assert_string_equal(fake.handshakers[0].last_unknown, "b.example.org");
    assert_true(fake.opens > opens);
    /* What is not there, or is no name, is unknown without a look at the disk. */
    static const char *const unknown[] = {"nobody.example",
                                          "a.b.example.org",
                                          "",
                                          "..",
                                          "../shop.example",
                                          "*.example.org",
                                          "shop.example/",
                                          "Shop.example",
                                          ".example.org"};
    opens = fake.opens;
    for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
        want(&fake, unknown[i]);
        assert_string_equal(fake.handshakers[0].last_unknown, unknown[i]);
    }
    assert_int_equal(fake.opens, opens);
    /* Refused once, it is not read again and again. */
    want(&fake, "wrong.example");
    assert_non_null(strstr(fake_event(&fake, EVENT_CERTIFICATE_REFUSED)->detail, "name-missing"));
    opens = fake.opens;
    want(&fake, "wrong.example");
    assert_int_equal(fake.opens, opens);
    fake_show(&fake, &shown);
    assert_int_equal(shown.count, 4);
    assert_int_equal(shown.entries[0].folder_files, 3);
    assert_int_equal(shown.entries[0].folder_used, 3);
    keypair_unref(shop);
    keypair_unref(wildcard);
    fake_fini(&fake);
}

/* A name that is not terminated, a certificate that is no folder or does not exist: no answer, no
 * harm. */
static void test_bad_message(void **state)
{
    struct fake fake;
    struct message_certificate_wanted wanted = {.certificate = 0};
    (void)state;

    fake_init(&fake, FOLDER " certificate other { from = managed names = {\"other.example\"} }");
    fake_start(&fake);
    memset(wanted.name, 'a', sizeof wanted.name);
    vault_wanted(fake.vault, 0, &wanted);
    wanted = (struct message_certificate_wanted){.certificate = 1, .name = "other.example"};
    vault_wanted(fake.vault, 0, &wanted);
    wanted.certificate = 2;
    vault_wanted(fake.vault, 0, &wanted);
    wanted.certificate = 0;
    vault_wanted(fake.vault, 9999, &wanted);
    fake_run(&fake, 20);
    assert_int_equal(fake.handshakers[0].unknown + fake.handshakers[0].received, 0);
    fake_fini(&fake);
}

static void test_changes(void **state)
{
    struct fake fake;
    struct keypair *first = make_pair("shop.example", KEY_TYPE_ECDSA, DAY),
                   *second = make_pair("shop.example", KEY_TYPE_ECDSA, 2 * DAY);
    struct keypair *fresh = make_pair("new.example", KEY_TYPE_ECDSA, DAY);
    (void)state;

    fake_init(&fake, FOLDER);
    put_file(&fake, "files/shop.example.pem", first, PEM_ALL);
    fake_start(&fake);
    want(&fake, "shop.example");
    assert_int_equal(fake.handshakers[0].versions[KEY_TYPE_ECDSA], 1);
    /* A file in use changes: everybody gets it. */
    put_file(&fake, "files/shop.example.pem", second, PEM_ALL);
    assert_in_range(fake_until(&fake, second_handshaker_has_one), 0, AT_ONCE);
    assert_true(same_leaf(fake.handshakers[0].pairs[KEY_TYPE_ECDSA], second));
    assert_int_equal(fake.handshakers[1].versions[KEY_TYPE_ECDSA], 2);
    /* A new file is known. */
    want(&fake, "new.example");
    assert_string_equal(fake.handshakers[0].last_unknown, "new.example");
    put_file(&fake, "files/new.example.pem", fresh, PEM_ALL);
    fake_run(&fake, 50);
    want(&fake, "new.example");
    assert_string_equal(fake.handshakers[0].last_name, "new.example");
    assert_int_equal(fake.handshakers[0].versions[KEY_TYPE_ECDSA], 3);
    /* An older one is refused at once, half of one after a while. */
    put_file(&fake, "files/shop.example.pem", first, PEM_ALL);
    fake_until(&fake, refused);
    assert_non_null(
        strstr(fake_event(&fake, EVENT_CERTIFICATE_REFUSED)->detail, "older-than-live"));
    fake.event_count = 0;
    put_file(&fake, "files/shop.example.pem", second, PEM_CHAIN);
    assert_in_range(fake_until(&fake, refused), PUT_OFF, FOR_EVER);
    assert_non_null(strstr(fake_event(&fake, EVENT_CERTIFICATE_REFUSED)->detail, "key-unparsable"));
    assert_string_equal(fake_event(&fake, EVENT_CERTIFICATE_REFUSED)->host, "shop.example");
    /* Removed: taken back. */
    assert_int_equal(unlink(fake_path(&fake, "files/shop.example.pem")), 0);
    fake_until(&fake, taken_back);
    assert_string_equal(fake.handshakers[1].last_unknown, "shop.example");
    want(&fake, "shop.example");
    assert_string_equal(fake.handshakers[0].last_unknown, "shop.example");
    keypair_unref(first);
    keypair_unref(second);
    keypair_unref(fresh);
    fake_fini(&fake);
}

static bool serves(const struct fake *fake, uint32_t version, const char *name)
{
    return vault_serves(fake->vault, 0, KEY_TYPE_ECDSA, version, name);
}

/* A version is in service while the file that answers for the name, its own or the wildcard's, has
 * it. */
static void test_serves(void **state)
{
    struct fake fake;
    struct keypair *shop = make_pair("shop.example", KEY_TYPE_ECDSA, DAY),
                   *other = make_pair("*.many.example", KEY_TYPE_ECDSA, DAY),
                   *newer = make_pair("shop.example", KEY_TYPE_ECDSA, 2 * DAY);
    char cut[SLOT_NAME_MAX];
    (void)state;

    fake_init(&fake, FOLDER);
    put_file(&fake, "files/shop.example.pem", shop, PEM_ALL);
    put_file(&fake, "files/_wildcard.many.example.pem", other, PEM_ALL);
    fake_start(&fake);
    assert_false(serves(&fake, 1, "shop.example")); /* never asked for */
    assert_false(serves(&fake, 0, "shop.example"));
    want(&fake, "shop.example");
    want(&fake, "x.many.example");
    assert_true(serves(&fake, 1, "shop.example"));
    assert_false(serves(&fake, 2, "shop.example"));
    assert_true(serves(&fake, 2, "x.many.example"));
    assert_false(serves(&fake, 2, "many.example"));
    assert_false(serves(&fake, 1, ""));
    memset(cut, 'a', sizeof cut - 1); /* a name that a session could not remember whole */
    cut[sizeof cut - 1] = '\0';
    assert_true(serves(&fake, 2, cut));
    assert_false(serves(&fake, 3, cut));
    put_file(&fake, "files/shop.example.pem", newer, PEM_ALL);
    fake_until(&fake, second_handshaker_has_one);
    assert_false(serves(&fake, 1, "shop.example"));
    assert_true(serves(&fake, 3, "shop.example"));
    assert_int_equal(unlink(fake_path(&fake, "files/shop.example.pem")), 0);
    fake_until(&fake, taken_back);
    assert_false(serves(&fake, 3, "shop.example"));
    keypair_unref(shop);
    keypair_unref(other);
    keypair_unref(newer);
    fake_fini(&fake);
}

/* Written in two steps: nothing is refused, the whole file is taken. */
static void test_settles(void **state)
{
    struct fake fake;
    struct keypair *first = make_pair("shop.example", KEY_TYPE_ECDSA, DAY),
                   *second = make_pair("shop.example", KEY_TYPE_ECDSA, 2 * DAY);
    (void)state;

    fake_init(&fake, FOLDER);
    put_file(&fake, "files/shop.example.pem", first, PEM_ALL);
    fake_start(&fake);
    want(&fake, "shop.example");
    put_file(&fake, "files/shop.example.pem", second, PEM_CHAIN);
    fake_run(&fake, 200);
    put_file(&fake, "files/shop.example.pem", second, PEM_ALL);
    assert_in_range(fake_until(&fake, second_handshaker_has_one), 0, AT_ONCE);
    assert_false(refused(&fake));
    keypair_unref(first);
    keypair_unref(second);
    fake_fini(&fake);
}

/* Versions are kept; what changed while control was away reaches everybody. */
static void test_restart(void **state)
{
    struct fake fake;
    struct keypair *first = make_pair("shop.example", KEY_TYPE_ECDSA, DAY),
                   *second = make_pair("shop.example", KEY_TYPE_ECDSA, 2 * DAY);
    (void)state;

    fake_init(&fake, FOLDER);
    put_file(&fake, "files/shop.example.pem", first, PEM_ALL);
    fake_start(&fake);
    want(&fake, "shop.example");
    fake_restart(&fake);
    want(&fake, "shop.example");
    assert_int_equal(fake.handshakers[0].versions[KEY_TYPE_ECDSA], 1);
    put_file(&fake, "files/shop.example.pem", second, PEM_ALL);
    fake_restart(&fake);
    fake_until(&fake, second_handshaker_has_one);
    assert_int_equal(fake.handshakers[1].versions[KEY_TYPE_ECDSA], 2);
    keypair_unref(first);
    keypair_unref(second);
    fake_fini(&fake);
}

static void test_no_folder(void **state)
{
    struct fake fake;
    (void)state;

    fake_init(&fake, FOLDER);
    assert_int_equal(rmdir(fake_path(&fake, "files")), 0);
    fake_start(&fake);
    assert_non_null(strstr(fake_event(&fake, EVENT_CERTIFICATE_REFUSED)->detail, "cannot list"));
    want(&fake, "shop.example");
    assert_string_equal(fake.handshakers[0].last_unknown, "shop.example");
    /* By command it is looked for again. */
    assert_int_equal(mkdir(fake_path(&fake, "files"), 0700), 0);
    struct keypair *pair = make_pair("shop.example", KEY_TYPE_ECDSA, DAY);
    put_file(&fake, "files/shop.example.pem", pair, PEM_ALL);
    vault_renew(fake.vault, "shop", fake_done, &fake);
    assert_true(fake.done);
    fake_run(&fake, 50);
    want(&fake, "shop.example");
    assert_string_equal(fake.handshakers[0].last_name, "shop.example");
    keypair_unref(pair);
    fake_fini(&fake);
}

/* 100,000 certificates: only their names are read, in well under two seconds of the processor's
 * time and a hundred bytes each. */
static void test_many(void **state)
{
    struct fake fake;
    struct keypair *pair = make_pair("host-77777.example", KEY_TYPE_ECDSA, DAY);
    char name[64];
    (void)state;

    fake_init(&fake, FOLDER);
    int folder = open(fake_path(&fake, "files"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "host-%05u.example.pem", i);
        int fd = openat(folder, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
    }
    close(folder);
    put_file(&fake, "files/host-77777.example.pem", pair, PEM_ALL);
    struct mallinfo2 before = mallinfo2();
    clock_t begin = clock();
    fake_start(&fake);
    unsigned took_ms = (unsigned)((clock() - begin) * 1000 / CLOCKS_PER_SEC);
    struct mallinfo2 after = mallinfo2();
    assert_in_range(took_ms, 0, 1999);
    size_t memory = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    print_message("%u names in %u ms and %zu bytes each\n", MANY, took_ms, memory / MANY);
    assert_in_range(memory, 0, 100 * MANY); /* sanitizers count nothing */
    want(&fake, "host-77777.example");
    assert_true(same_leaf(fake.handshakers[0].pairs[KEY_TYPE_ECDSA], pair));
    keypair_unref(pair);
    fake_fini(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),   cmocka_unit_test(test_bad_message),
        cmocka_unit_test(test_wanted),  cmocka_unit_test(test_changes),
        cmocka_unit_test(test_serves),  cmocka_unit_test(test_settles),
        cmocka_unit_test(test_restart), cmocka_unit_test(test_no_folder),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
