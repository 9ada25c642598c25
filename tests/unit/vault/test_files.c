/* Certificates in files: settling, links, what is refused, and how fast a change is served. */
#include "fake_host.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAIR                                                                                       \
    "certificate shop { from = files names = {\"shop.example\"} chain = {\"~/shop.pem\"} key = "   \
    "{\"~/shop.key\"} }"
#define COMBINED                                                                                   \
    "certificate shop { from = files names = {\"shop.example\"} chain = {\"~/shop.pem\"} }"
#define DAY (24 * 3600)

static bool served(struct fake *fake)
{
    struct fake_shown shown;

    fake_show(fake, &shown);
    return shown.checks[0][0].result == VAULT_CHECK_SERVED && shown.entries[0].state == VAULT_LIVE;
}

static bool refused(struct fake *fake)
{
    return fake_event(fake, EVENT_CERTIFICATE_REFUSED) != NULL;
}

static uint32_t wanted_version;

static bool version_live(struct fake *fake)
{
    for (unsigned i = 0; i < FAKE_HANDSHAKERS; i++) {
        if (fake->handshakers[i].versions[KEY_TYPE_ECDSA] != wanted_version)
            return false;
    }
    return true;
}

static void put_pair(const struct fake *fake, const struct keypair *pair)
{
    put_file(fake, "files/shop.pem", pair, PEM_CHAIN);
    put_file(fake, "files/shop.key", pair, PEM_KEY);
}

/* A started vault that serves a first pair. */
static struct keypair *begin(struct fake *fake, const char *conf)
{
    struct keypair *first = make_pair("shop.example", KEY_TYPE_ECDSA, 10 * DAY);

    fake_init(fake, conf);
    put_pair(fake, first);
    fake_start(fake);
    fake_until(fake, served);
    assert_true(same_leaf(fake->handshakers[0].pairs[KEY_TYPE_ECDSA], first));
    assert_int_equal(fake->handshakers[1].versions[KEY_TYPE_ECDSA], 1);
    assert_int_equal(fake->handshakers[1].complete, 1);
    return first;
}

static void test_replaced(void **state)
{
    struct fake fake;
    struct keypair *first = begin(&fake, PAIR),
                   *second = make_pair("shop.example", KEY_TYPE_ECDSA, 20 * DAY);
    struct fake_shown shown;
    (void)state;

    put_pair(&fake, second);
    wanted_version = 2;
    assert_in_range(fake_until(&fake, version_live), 0, AT_ONCE);
    assert_true(same_leaf(fake.handshakers[1].pairs[KEY_TYPE_ECDSA], second));
    fake_until(&fake, served);
    fake_show(&fake, &shown);
    assert_int_equal(shown.count, 1);
    assert_int_equal(shown.entries[0].version, 2);
    assert_string_equal(shown.last_error[0], "");
    assert_memory_equal(shown.entries[0].fingerprint, keypair_fingerprint(second), 32);
    assert_int_equal(fake_event_count(&fake, EVENT_CERTIFICATE_LOADED), 2);
    fake_run(&fake, 100);
    assert_int_equal(fake.clean_ends, fake.dialled);
    keypair_unref(first);
    keypair_unref(second);
    fake_fini(&fake);
}

/* The key comes some time after the chain: in between nothing is served and nothing is said. */
static void test_settles(void **state)
{
    struct fake fake;
    struct keypair *first = begin(&fake, PAIR),
                   *second = make_pair("shop.example", KEY_TYPE_ECDSA, 20 * DAY);
    struct fake_shown shown;
    (void)state;

    put_file(&fake, "files/shop.pem", second, PEM_CHAIN);
    fake_run(&fake, 300);
    fake_show(&fake, &shown);
    assert_int_equal(shown.entries[0].state, VAULT_SETTLING);
    assert_int_equal(fake.handshakers[0].received, 1);
    put_text(&fake, "files/shop.key", "-----BEGIN PRIVATE KEY-----\n"); /* half a file */
    fake_run(&fake, 100);
    put_file(&fake, "files/shop.key", second, PEM_KEY);
    wanted_version = 2;
    assert_in_range(fake_until(&fake, version_live), 0, AT_ONCE);
    assert_false(refused(&fake));
    keypair_unref(first);
    keypair_unref(second);
    fake_fini(&fake);
}

static void test_never_settles(void **state)
{
    struct fake fake;
    struct keypair *first = begin(&fake, PAIR),
                   *second = make_pair("shop.example", KEY_TYPE_ECDSA, 20 * DAY);
    struct fake_shown shown;
    (void)state;

    put_file(&fake, "files/shop.pem", second, PEM_CHAIN);
    assert_in_range(fake_until(&fake, refused), PUT_OFF, FOR_EVER);
    assert_non_null(strstr(fake_event(&fake, EVENT_CERTIFICATE_REFUSED)->detail, "key-mismatch"));
    fake_show(&fake, &shown);
    assert_int_equal(shown.entries[0].state, VAULT_REFUSED);
    assert_int_equal(shown.entries[0].version, 1);
    assert_non_null(strstr(shown.last_error[0], "key-mismatch"));
    assert_true(same_leaf(fake.handshakers[0].pairs[KEY_TYPE_ECDSA], first));
    /* Put back what is live: the trouble is over, and nothing was replaced. */
    put_pair(&fake, first);
    fake_until(&fake, served);
    assert_int_equal(fake.handshakers[0].received, 1);
    keypair_unref(first);
    keypair_unref(second);
    fake_fini(&fake);
}

static void check_refused(const struct keypair *pair, enum pem_part part, const char *code)
{
    struct fake fake;
    struct keypair *first = begin(&fake, PAIR);

    put_file(&fake, "files/shop.key", pair, PEM_KEY);
    put_file(&fake, "files/shop.pem", pair, part);
    assert_in_range(fake_until(&fake, refused), 0, AT_ONCE);
    if (strstr(fake_event(&fake, EVENT_CERTIFICATE_REFUSED)->detail, code) == NULL)
        fail_msg("%s instead of %s", fake_event(&fake, EVENT_CERTIFICATE_REFUSED)->detail, code);
    assert_true(same_leaf(fake.handshakers[1].pairs[KEY_TYPE_ECDSA], first));
    assert_int_equal(fake.handshakers[1].received, 1);
    /* Looking again says nothing new. */
    put_file(&fake, "files/shop.pem", pair, part);
    fake_run(&fake, 100);
    assert_int_equal(fake_event_count(&fake, EVENT_CERTIFICATE_REFUSED), 1);
    keypair_unref(first);
    fake_fini(&fake);
}

static void test_refused(void **state)
{
    struct keypair *expired = make_pair("shop.example", KEY_TYPE_ECDSA, -60);
    struct keypair *good = make_pair("shop.example", KEY_TYPE_ECDSA, 30 * DAY);
    struct keypair *other = make_pair("other.example", KEY_TYPE_ECDSA, 30 * DAY);
    struct keypair *older = make_pair("shop.example", KEY_TYPE_ECDSA, DAY);
    (void)state;

    check_refused(expired, PEM_CHAIN, "expired: ");
    check_refused(good, PEM_LEAF, "leaf-only: ");
    check_refused(other, PEM_CHAIN, "name-missing: ");
    check_refused(older, PEM_CHAIN, "older-than-live: ");
    keypair_unref(expired);
    keypair_unref(good);
    keypair_unref(other);
    keypair_unref(older);
}

static void test_nothing_at_start(void **state)
{
    struct fake fake;
    struct keypair *first = make_pair("shop.example", KEY_TYPE_ECDSA, DAY);
    struct fake_shown shown;
    (void)state;

    fake_init(&fake, PAIR);
    fake_start(&fake);
    assert_non_null(
        strstr(fake_event(&fake, EVENT_CERTIFICATE_REFUSED)->detail, "io: cannot open"));
    assert_int_equal(fake.handshakers[0].complete, 1);
    fake_show(&fake, &shown);
    assert_int_equal(shown.entries[0].state, VAULT_REFUSED);
    assert_false(shown.entries[0].present);
    put_pair(&fake, first);
    fake_until(&fake, served);
    keypair_unref(first);
    fake_fini(&fake);
}

/* As certbot does: live/shop.pem is a link into archive/. And as Kubernetes does: ..data is a link
 * to a directory. */
static void test_links(void **state)
{
    struct fake fake;
    struct keypair *pairs[4];
    (void)state;

    fake_init(&fake, "certificate shop { from = files names = {\"shop.example\"} chain = "
                     "{\"~/live/shop.pem\"} }");
    for (unsigned i = 0; i < 4; i++)
        pairs[i] = make_pair("shop.example", KEY_TYPE_ECDSA, (10 + i) * DAY);
    mkdir(fake_path(&fake, "files/live"), 0700);
    mkdir(fake_path(&fake, "files/live/..1"), 0700);
    mkdir(fake_path(&fake, "files/archive"), 0700);
    put_file(&fake, "files/archive/shop1.pem", pairs[0], PEM_ALL);
    assert_int_equal(symlink("../archive/shop1.pem", fake_path(&fake, "files/live/shop.pem")), 0);
    fake_start(&fake);
    fake_until(&fake, served);
    /* another file, the link replaced */
    put_file(&fake, "files/archive/shop2.pem", pairs[1], PEM_ALL);
    assert_int_equal(symlink("../archive/shop2.pem", fake_path(&fake, "files/live/new")), 0);
    assert_int_equal(
        rename(fake_path(&fake, "files/live/new"), fake_path(&fake, "files/live/shop.pem")), 0);
    wanted_version = 2;
    assert_in_range(fake_until(&fake, version_live), 0, AT_ONCE);
    fake_until(&fake, served);
    /* the file behind the link rewritten in place */
    put_file(&fake, "files/archive/shop2.pem", pairs[2], PEM_ALL);
    wanted_version = 3;
    assert_in_range(fake_until(&fake, version_live), 0, AT_ONCE);
    fake_until(&fake, served);
    /* a directory behind a link swapped */
    put_file(&fake, "files/live/..1/shop.pem", pairs[2], PEM_ALL);
    assert_int_equal(symlink("..1", fake_path(&fake, "files/live/..data")), 0);
    assert_int_equal(symlink("..data/shop.pem", fake_path(&fake, "files/live/new")), 0);
    assert_int_equal(
        rename(fake_path(&fake, "files/live/new"), fake_path(&fake, "files/live/shop.pem")), 0);
    fake_run(&fake, 100);
    assert_int_equal(fake.handshakers[0].received, 3);
    mkdir(fake_path(&fake, "files/live/..2"), 0700);
    put_file(&fake, "files/live/..2/shop.pem", pairs[3], PEM_ALL);
    assert_int_equal(symlink("..2", fake_path(&fake, "files/live/new")), 0);
    assert_int_equal(
        rename(fake_path(&fake, "files/live/new"), fake_path(&fake, "files/live/..data")), 0);
    wanted_version = 4;
    assert_in_range(fake_until(&fake, version_live), 0, AT_ONCE);
    for (unsigned i = 0; i < 4; i++)
        keypair_unref(pairs[i]);
    fake_fini(&fake);
}

static void test_two_key_types(void **state)
{
    struct fake fake;
    struct keypair *ecdsa = make_pair("shop.example", KEY_TYPE_ECDSA, DAY),
                   *rsa = make_pair("shop.example", KEY_TYPE_RSA, DAY);
    struct fake_shown shown;
    (void)state;

    fake_init(&fake, "certificate shop { from = files names = {\"shop.example\"} chain = "
                     "{\"~/a.pem\", \"~/b.pem\"} }");
    put_file(&fake, "files/a.pem", ecdsa, PEM_ALL);
    put_file(&fake, "files/b.pem", rsa, PEM_ALL);
    fake_start(&fake);
    fake_run(&fake, 500);
    fake_show(&fake, &shown);
    assert_int_equal(shown.count, 2);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(shown.checks[i][0].result, VAULT_CHECK_SERVED);
    assert_int_equal(fake.handshakers[0].versions[KEY_TYPE_ECDSA] +
                         fake.handshakers[0].versions[KEY_TYPE_RSA],
                     3);
    /* Twice the same type is a mistake. */
    put_file(&fake, "files/b.pem", ecdsa, PEM_ALL);
    fake_until(&fake, refused);
    assert_non_null(strstr(fake_event(&fake, EVENT_CERTIFICATE_REFUSED)->detail, "both pairs"));
    keypair_unref(ecdsa);
    keypair_unref(rsa);
    fake_fini(&fake);
}

/* The only pair changes its key type: the old one must not go on being shown to those who prefer
 * it. */
static void test_key_type_changes(void **state)
{
    struct fake fake;
    struct keypair *rsa = make_pair("shop.example", KEY_TYPE_RSA, DAY),
                   *ecdsa = make_pair("shop.example", KEY_TYPE_ECDSA, 2 * DAY);
    (void)state;

    fake_init(&fake, COMBINED);
    put_file(&fake, "files/shop.pem", rsa, PEM_ALL);
    fake_start(&fake);
    fake_until(&fake, served);
    put_file(&fake, "files/shop.pem", ecdsa, PEM_ALL);
    wanted_version = 2;
    fake_until(&fake, version_live);
    fake_until(&fake, served);
    assert_null(fake.handshakers[0].pairs[KEY_TYPE_RSA]);
    assert_int_equal(fake.handshakers[1].withdrawn, 1);
    keypair_unref(rsa);
    keypair_unref(ecdsa);
    fake_fini(&fake);
}

/* The same content keeps its number, a new one gets the next; what was in service is not judged
 * again. */
static void test_restart(void **state)
{
    struct fake fake;
    struct keypair *first = begin(&fake, PAIR),
                   *second = make_pair("shop.example", KEY_TYPE_ECDSA, 20 * DAY);
    (void)state;

    put_pair(&fake, second);
    wanted_version = 2;
    fake_until(&fake, version_live);
    fake_until(&fake, served);
    fake_restart(&fake);
    assert_int_equal(fake_event(&fake, EVENT_CERTIFICATE_LOADED)->version, 2);
    assert_int_equal(fake.handshakers[0].complete, 2);
    /* Other files while it was away. */
    put_pair(&fake, first);
    fake_restart(&fake);
    assert_int_equal(fake_event(&fake, EVENT_CERTIFICATE_LOADED)->version, 3);
    keypair_unref(first);
    keypair_unref(second);
    fake_fini(&fake);
}

static void test_restart_with_expired(void **state)
{
    struct fake fake;
    struct keypair *brief = make_pair("shop.example", KEY_TYPE_ECDSA, 1);
    (void)state;

    fake_init(&fake, COMBINED);
    put_file(&fake, "files/shop.pem", brief, PEM_ALL);
    fake_start(&fake);
    assert_int_equal(fake.handshakers[0].versions[KEY_TYPE_ECDSA], 1);
    fake_run(&fake, 2100); /* it expires */
    fake_restart(&fake);
    assert_int_equal(fake_event(&fake, EVENT_CERTIFICATE_LOADED)->version, 1);
    assert_non_null(strstr(fake_event(&fake, EVENT_WARNING)->detail, "expired: "));
    assert_int_equal(fake.handshakers[0].received, 2);
    keypair_unref(brief);
    fake_fini(&fake);
}

/* A device or pipe in place of a file must not block. */
static void test_not_a_file(void **state)
{
    struct fake fake;
    (void)state;

    fake_init(&fake, COMBINED);
    assert_int_equal(mkfifo(fake_path(&fake, "files/shop.pem"), 0600), 0);
    fake_start(&fake);
    assert_non_null(
        strstr(fake_event(&fake, EVENT_CERTIFICATE_REFUSED)->detail, "no regular file"));
    fake_fini(&fake);
}

static void test_renew(void **state)
{
    struct fake fake;
    struct keypair *first = begin(&fake, PAIR);
    (void)state;

    vault_renew(fake.vault, "shop", fake_done, &fake);
    fake_until(&fake, fake_is_done);
    assert_int_equal(fake.outcome.error.code, ERROR_NONE);
    assert_int_equal(fake.outcome.version, 1);
    unlink(fake_path(&fake, "files/shop.key"));
    fake.done = false;
    vault_renew(fake.vault, "shop", fake_done, &fake);
    assert_in_range(fake_until(&fake, fake_is_done), 0, AT_ONCE);
    assert_int_equal(fake.outcome.error.code, ERROR_IO);
    keypair_unref(first);
    fake_fini(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_a_file),
        cmocka_unit_test(test_nothing_at_start),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_never_settles),
        cmocka_unit_test(test_settles),
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_two_key_types),
        cmocka_unit_test(test_key_type_changes),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_restart_with_expired),
        cmocka_unit_test(test_renew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
