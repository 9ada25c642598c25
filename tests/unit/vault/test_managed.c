/* Managed and internal certificates: commands, the road to live, and the way back. */
#include "fake_host.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANAGED "certificate shop { from = managed names = {\"shop.example\"} }"
#define INTERNAL                                                                                   \
    "certificate shop { from = internal names = {\"shop.example\", \"*.shop.example\"} }"
#define BOTH                                                                                       \
    "certificate shop { from = internal names = {\"shop.example\"} key-types = {\"ecdsa\", "       \
    "\"rsa\"} }"
#define DAY (24 * 3600)

static uint64_t forced_bit(enum error_code code)
{
    return 1ull << (code - ERROR_CERTIFICATE_UNPARSABLE);
}

static void begin_install(struct fake *fake, const struct keypair *pair, enum pem_part part,
                          uint64_t forced)
{
    put_file(fake, "chain", pair, part);
    put_file(fake, "key", pair, PEM_KEY);
    fake->done = false;
    vault_install(fake->vault, "shop", open(fake_path(fake, "chain"), O_RDONLY | O_CLOEXEC),
                  part == PEM_ALL ? -1 : open(fake_path(fake, "key"), O_RDONLY | O_CLOEXEC), forced,
                  fake_done, fake);
}

static void install(struct fake *fake, const struct keypair *pair, enum pem_part part,
                    uint64_t forced)
{
    begin_install(fake, pair, part, forced);
    fake_until(fake, fake_is_done);
}

static const struct fake_handshaker *handshaker(const struct fake *fake)
{
    return &fake->handshakers[FAKE_HANDSHAKERS - 1];
}

static bool exists(const struct fake *fake, const char *name)
{
    return access(fake_path(fake, name), F_OK) == 0;
}

/* ---- managed ---- */

static void test_install(void **state)
{
    struct fake fake;
    struct keypair *first = make_pair("shop.example", KEY_TYPE_ECDSA, DAY),
                   *second = make_pair("shop.example", KEY_TYPE_ECDSA, 2 * DAY);
    struct keypair *rsa = make_pair("shop.example", KEY_TYPE_RSA, DAY);
    struct stat status;
    (void)state;

    fake_init(&fake, MANAGED);
    fake_start(&fake);
    install(&fake, first, PEM_CHAIN, 0);
    assert_int_equal(fake.outcome.error.code, ERROR_NONE);
    assert_int_equal(fake.outcome.version, 1);
    assert_string_equal(fake.outcome.check, "1 of 1 addresses serve it");
    assert_true(same_leaf(handshaker(&fake)->pairs[KEY_TYPE_ECDSA], first));
    assert_true(vault_serves(fake.vault, 0, KEY_TYPE_ECDSA, 1, ""));
    assert_false(vault_serves(fake.vault, 0, KEY_TYPE_RSA, 1, ""));
    assert_false(vault_serves(fake.vault, 0, KEY_TYPE_ECDSA, 2, ""));
    assert_false(vault_serves(fake.vault, 5, KEY_TYPE_ECDSA, 1, ""));
    install(&fake, second, PEM_ALL, 0);
    assert_int_equal(fake.outcome.version, 2);
    assert_false(vault_serves(fake.vault, 0, KEY_TYPE_ECDSA, 1, ""));
    assert_true(vault_serves(fake.vault, 0, KEY_TYPE_ECDSA, 2, ""));
    install(&fake, rsa, PEM_CHAIN, 0);
    assert_int_equal(fake.outcome.version, 3);
    assert_int_equal(fake.outcome.key_type, KEY_TYPE_RSA);
    assert_true(same_leaf(handshaker(&fake)->pairs[KEY_TYPE_ECDSA], second));
    assert_int_equal(stat(fake_path(&fake, "state/managed/shop/2.pem"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(stat(fake_path(&fake, "state/managed/shop"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    fake_restart(&fake);
    assert_int_equal(handshaker(&fake)->versions[KEY_TYPE_ECDSA], 2);
    assert_int_equal(handshaker(&fake)->versions[KEY_TYPE_RSA], 3);
    assert_true(vault_complete(fake.vault));
    assert_true(vault_serves(fake.vault, 0, KEY_TYPE_ECDSA, 2, ""));
    assert_true(vault_serves(fake.vault, 0, KEY_TYPE_RSA, 3, ""));
    assert_false(vault_serves(fake.vault, 0, KEY_TYPE_ECDSA, 1, ""));
    assert_null(fake_event(&fake, EVENT_WARNING));
    keypair_unref(first);
    keypair_unref(second);
    keypair_unref(rsa);
    fake_fini(&fake);
}

static void check_refused(const struct keypair *pair, enum pem_part part, enum error_code code)
{
    struct fake fake;
    struct keypair *live = make_pair("shop.example", KEY_TYPE_ECDSA, 10 * DAY);

    fake_init(&fake, MANAGED);
    fake_start(&fake);
    install(&fake, live, PEM_CHAIN, 0);
    install(&fake, pair, part, forced_bit(code) << 1); /* forcing another finding does not help */
    assert_int_equal(fake.outcome.error.code, code);
    assert_int_equal(fake.outcome.report.findings[0].code, code);
    assert_non_null(strstr(fake_event(&fake, EVENT_CERTIFICATE_REFUSED)->detail, error_name(code)));
    assert_true(same_leaf(handshaker(&fake)->pairs[KEY_TYPE_ECDSA], live));
    assert_false(exists(&fake, "state/managed/shop/2.pem"));
    install(&fake, pair, part, forced_bit(code));
    assert_int_equal(fake.outcome.error.code, ERROR_NONE);
    assert_true(fake.outcome.report.findings[0].forced);
    assert_true(same_leaf(handshaker(&fake)->pairs[KEY_TYPE_ECDSA], pair));
    fake_restart(&fake); /* and it stays */
    assert_true(same_leaf(handshaker(&fake)->pairs[KEY_TYPE_ECDSA], pair));
    keypair_unref(live);
    fake_fini(&fake);
}

static void test_refused_and_forced(void **state)
{
    struct keypair *good = make_pair("shop.example", KEY_TYPE_ECDSA, 20 * DAY);
    struct keypair *other = make_pair("other.example", KEY_TYPE_ECDSA, 20 * DAY);
    struct keypair *older = make_pair("shop.example", KEY_TYPE_ECDSA, DAY);
    (void)state;

    check_refused(good, PEM_LEAF, ERROR_CERTIFICATE_LEAF_ONLY);
    check_refused(other, PEM_CHAIN, ERROR_CERTIFICATE_NAME_MISSING);
    check_refused(older, PEM_CHAIN, ERROR_CERTIFICATE_OLDER_THAN_LIVE);
    keypair_unref(good);
    keypair_unref(other);
    keypair_unref(older);
}

static void install_texts(struct fake *fake, const char *chain, const char *key)
{
    put_text(fake, "chain", chain);
    put_text(fake, "key", key);
    fake->done = false;
    vault_install(fake->vault, "shop", open(fake_path(fake, "chain"), O_RDONLY | O_CLOEXEC),
                  open(fake_path(fake, "key"), O_RDONLY | O_CLOEXEC), ~0ull, fake_done, fake);
    fake_until(fake, fake_is_done);
}

static void test_garbage(void **state)
{
    struct fake fake;
    int pipe_fds[2];
    (void)state;

    fake_init(&fake, MANAGED);
    fake_start(&fake);
    install_texts(&fake, "", "");
    assert_int_equal(fake.outcome.error.code, ERROR_CERTIFICATE_UNPARSABLE);
    install_texts(&fake, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "x");
    assert_int_equal(fake.outcome.error.code, ERROR_CERTIFICATE_UNPARSABLE);
    /* A pipe could block us. */
    assert_int_equal(pipe(pipe_fds), 0);
    fake.done = false;
    vault_install(fake.vault, "shop", pipe_fds[0], -1, 0, fake_done, &fake);
    assert_true(fake.done);
    assert_int_equal(fake.outcome.error.code, ERROR_IO);
    close(pipe_fds[1]);
    /* Names */
    fake.done = false;
    vault_install(fake.vault, "nobody", -1, -1, 0, fake_done, &fake);
    assert_int_equal(fake.outcome.error.code, ERROR_NOT_FOUND);
    fake.done = false;
    vault_renew(fake.vault, "shop", fake_done, &fake);
    assert_int_equal(fake.outcome.error.code, ERROR_USAGE);
    fake_fini(&fake);
}

/* The state folder cannot be written: the command says so, what is live stays. */
static void test_full_disk(void **state)
{
    struct fake fake;
    struct keypair *pair = make_pair("shop.example", KEY_TYPE_ECDSA, DAY);
    (void)state;

    fake_init(&fake, MANAGED);
    assert_int_equal(rmdir(fake_path(&fake, "state")), 0);
    fake_start(&fake);
    install(&fake, pair, PEM_CHAIN, 0);
    assert_int_equal(fake.outcome.error.code, ERROR_IO);
    assert_non_null(strstr(fake.outcome.error.message, "survive"));
    keypair_unref(pair);
    fake_fini(&fake);
}

static void test_kept_versions(void **state)
{
    struct fake fake;
    (void)state;

    fake_init(&fake, MANAGED);
    fake_start(&fake);
    for (int i = 1; i <= 6; i++) {
        struct keypair *pair = make_pair("shop.example", KEY_TYPE_ECDSA, i * DAY);
        install(&fake, pair, PEM_CHAIN, 0);
        keypair_unref(pair);
    }
    assert_int_equal(fake.outcome.version, 6);
    assert_false(exists(&fake, "state/managed/shop/2.pem"));
    assert_true(exists(&fake, "state/managed/shop/3.pem"));
    /* The newest is damaged: the one before is served, and its number is not given again. */
    put_text(&fake, "state/managed/shop/6.pem", "damaged");
    fake_restart(&fake);
    assert_int_equal(handshaker(&fake)->versions[KEY_TYPE_ECDSA], 5);
    assert_non_null(fake_event(&fake, EVENT_WARNING));
    struct keypair *next = make_pair("shop.example", KEY_TYPE_ECDSA, 7 * DAY);
    install(&fake, next, PEM_CHAIN, 0);
    assert_int_equal(fake.outcome.version, 7);
    keypair_unref(next);
    fake_fini(&fake);
}

/* ---- the road ---- */

static void test_rolled_back(void **state)
{
    struct fake fake;
    struct keypair *first = make_pair("shop.example", KEY_TYPE_ECDSA, DAY),
                   *second = make_pair("shop.example", KEY_TYPE_ECDSA, 2 * DAY);
    struct fake_shown shown;
    (void)state;

    fake_init(&fake, MANAGED);
    fake_start(&fake);
    install(&fake, first, PEM_CHAIN, 0);
    fake.stale = true; /* the server goes on with the first */
    install(&fake, second, PEM_CHAIN, 0);
    assert_int_equal(fake.outcome.error.code, ERROR_CERTIFICATE_NOT_SERVED);
    const struct fake_event *event = fake_event(&fake, EVENT_CERTIFICATE_ROLLED_BACK);
    assert_non_null(strstr(event->detail, "not-served"));
    assert_int_equal(event->version, 1);
    fake_show(&fake, &shown);
    assert_int_equal(shown.entries[0].state, VAULT_ROLLED_BACK);
    assert_int_equal(shown.entries[0].version, 1);
    assert_true(vault_serves(fake.vault, 0, KEY_TYPE_ECDSA, 1, ""));
    assert_false(vault_serves(fake.vault, 0, KEY_TYPE_ECDSA, 2, ""));
    assert_false(exists(&fake, "state/managed/shop/2.pem"));
    assert_int_equal(handshaker(&fake)->received, 3);
    fake.stale = false;
    install(&fake, second, PEM_CHAIN, 0);
    assert_int_equal(fake.outcome.error.code, ERROR_NONE);
    assert_int_equal(fake.outcome.version, 3);
    keypair_unref(first);
    keypair_unref(second);
    fake_fini(&fake);
}

static void test_refused_by_handshaker(void **state)
{
    struct fake fake;
    struct keypair *first = make_pair("shop.example", KEY_TYPE_ECDSA, DAY),
                   *second = make_pair("shop.example", KEY_TYPE_ECDSA, 2 * DAY);
    (void)state;

    fake_init(&fake, MANAGED);
    fake_start(&fake);
    install(&fake, first, PEM_CHAIN, 0);
    fake.live_result = -ERROR_TLS;
    install(&fake, second, PEM_CHAIN, 0);
    assert_int_equal(fake.outcome.error.code, ERROR_TLS);
    assert_true(same_leaf(handshaker(&fake)->pairs[KEY_TYPE_ECDSA], first));
    assert_int_equal(handshaker(&fake)->versions[KEY_TYPE_ECDSA], 1);
    keypair_unref(first);
    keypair_unref(second);
    fake_fini(&fake);
}

/* A handshaker that died is not waited for; its successor gets what is on its way. */
static void test_handshaker_dies(void **state)
{
    struct fake fake;
    struct keypair *pair = make_pair("shop.example", KEY_TYPE_ECDSA, DAY);
    (void)state;

    fake_init(&fake, MANAGED);
    fake_start(&fake);
    fake.silent = true;
    begin_install(&fake, pair, PEM_CHAIN, 0);
    fake_run(&fake, 50);
    assert_false(fake.done);
    vault_peer_ended(fake.vault, 0);
    unsigned complete = handshaker(&fake)->complete, received = handshaker(&fake)->received;
    vault_peer_started(fake.vault, 1);
    assert_int_equal(handshaker(&fake)->complete, complete + 1);
    assert_int_equal(handshaker(&fake)->received, received + 1);
    fake_until(&fake, fake_is_done);
    assert_int_equal(fake.outcome.error.code, ERROR_NONE);
    keypair_unref(pair);
    fake_fini(&fake);
}

/* One that hangs is waited for for a while only. */
static void test_handshaker_hangs(void **state)
{
    struct fake fake;
    struct keypair *pair = make_pair("shop.example", KEY_TYPE_ECDSA, DAY);
    (void)state;

    fake_init(&fake, MANAGED);
    fake_start(&fake);
    fake.silent = true;
    begin_install(&fake, pair, PEM_CHAIN, 0);
    assert_in_range(fake_until(&fake, fake_is_done), PUT_OFF, FOR_EVER);
    assert_non_null(strstr(fake_event(&fake, EVENT_WARNING)->detail, "have not answered"));
    keypair_unref(pair);
    fake_fini(&fake);
}

/* Two at once go one after the other; one who went away is not called. */
static void test_queue(void **state)
{
    struct fake fake;
    struct keypair *first = make_pair("shop.example", KEY_TYPE_ECDSA, DAY),
                   *second = make_pair("shop.example", KEY_TYPE_ECDSA, 2 * DAY);
    (void)state;

    fake_init(&fake, MANAGED);
    fake_start(&fake);
    begin_install(&fake, first, PEM_CHAIN, 0);
    vault_abandon(fake.vault, &fake);
    install(&fake, second, PEM_CHAIN, 0);
    assert_int_equal(fake.outcome.version, 2);
    assert_int_equal(fake_event_count(&fake, EVENT_CERTIFICATE_LOADED), 2);
    keypair_unref(first);
    keypair_unref(second);
    fake_fini(&fake);
}

static void test_unreachable_is_no_mismatch(void **state)
{
    struct fake fake;
    struct keypair *pair = make_pair("shop.example", KEY_TYPE_ECDSA, DAY);
    struct fake_shown shown;
    (void)state;

    fake_init(&fake, MANAGED);
    loop_unwatch(fake.loop, fake.listening_fd);
    close(fake.listening_fd);
    fake.listening_fd = -1;
    fake_start(&fake);
    install(&fake, pair, PEM_CHAIN, 0);
    assert_int_equal(fake.outcome.error.code, ERROR_NONE);
    assert_non_null(strstr(fake.outcome.check, "0 of 1 addresses serve it; cannot connect"));
    fake_show(&fake, &shown);
    assert_int_equal(shown.checks[0][0].result, VAULT_CHECK_UNREACHABLE);
    keypair_unref(pair);
    fake_fini(&fake);
}

static void test_proxy_header(void **state)
{
    struct fake fake;
    struct keypair *pair = make_pair("shop.example", KEY_TYPE_ECDSA, DAY);
    (void)state;

    fake_init(&fake, "proxy-from = {\"127.0.0.0/8\"} | " MANAGED);
    fake.expect_proxy = true;
    fake_start(&fake);
    install(&fake, pair, PEM_CHAIN, 0);
    assert_string_equal(fake.outcome.check, "1 of 1 addresses serve it");
    keypair_unref(pair);
    fake_fini(&fake);
}

static void test_denied_is_skipped(void **state)
{
    struct fake fake;
    struct keypair *pair = make_pair("shop.example", KEY_TYPE_ECDSA, DAY);
    struct fake_shown shown;
    (void)state;

    fake_init(&fake, "allow = {\"192.0.2.0/24\"} | " MANAGED);
    fake_start(&fake);
    install(&fake, pair, PEM_CHAIN, 0);
    assert_int_equal(fake.outcome.error.code, ERROR_NONE);
    fake_show(&fake, &shown);
    assert_int_equal(shown.checks[0][0].result, VAULT_CHECK_SKIPPED);
    assert_int_equal(fake.dialled, 0);
    keypair_unref(pair);
    fake_fini(&fake);
}

/* ---- internal ---- */

static bool served(struct fake *fake)
{
    struct fake_shown shown;

    fake_show(fake, &shown);
    return shown.checks[0][0].result == VAULT_CHECK_SERVED;
}

static void test_internal(void **state)
{
    struct fake fake;
    struct fake_shown shown;
    struct stat status;
    (void)state;

    fake_init(&fake, INTERNAL);
    fake_start(&fake);
    fake_until(&fake, served);
    fake_show(&fake, &shown);
    int64_t life = shown.entries[0].not_after - shown.entries[0].not_before;
    assert_in_range(life, 90ll * DAY, 90ll * DAY + 3600);
    assert_in_range(shown.entries[0].next_attempt, shown.entries[0].not_before + life / 2,
                    shown.entries[0].not_after);
    assert_true(keypair_covers(handshaker(&fake)->pairs[KEY_TYPE_ECDSA], "x.shop.example"));
    assert_int_equal(stat(fake_path(&fake, "state/internal-ca.key"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    vault_renew(fake.vault, "shop", fake_done, &fake);
    fake_until(&fake, fake_is_done);
    assert_int_equal(fake.outcome.error.code, ERROR_NONE);
    assert_int_equal(fake.outcome.version, 2);
    struct keypair *second = keypair_ref(handshaker(&fake)->pairs[KEY_TYPE_ECDSA]);
    fake_restart(&fake);
    assert_true(same_leaf(handshaker(&fake)->pairs[KEY_TYPE_ECDSA], second));
    assert_int_equal(handshaker(&fake)->versions[KEY_TYPE_ECDSA], 2);
    /* Without its key the CA is broken, not replaced; the leaf goes on. */
    unlink(fake_path(&fake, "state/internal-ca.key"));
    fake_restart(&fake);
    assert_int_equal(handshaker(&fake)->versions[KEY_TYPE_ECDSA], 2);
    assert_non_null(strstr(fake_event(&fake, EVENT_CERTIFICATE_REFUSED)->detail, "internal CA"));
    /* A new CA makes new leaves. */
    unlink(fake_path(&fake, "state/internal-ca.pem"));
    fake_restart(&fake);
    assert_int_equal(handshaker(&fake)->versions[KEY_TYPE_ECDSA], 3);
    assert_false(same_leaf(handshaker(&fake)->pairs[KEY_TYPE_ECDSA], second));
    keypair_unref(second);
    fake_fini(&fake);
}

static void test_internal_full_disk(void **state)
{
    struct fake fake;
    (void)state;

    fake_init(&fake, BOTH);
    assert_int_equal(rmdir(fake_path(&fake, "state")), 0);
    fake_start(&fake);
    fake_until(&fake, served);
    assert_non_null(fake_event(&fake, EVENT_WARNING));
    vault_renew(fake.vault, "shop", fake_done, &fake);
    fake_until(&fake, fake_is_done);
    assert_int_equal(fake.outcome.error.code, ERROR_NONE);
    assert_int_equal(
        handshaker(&fake)->versions[KEY_TYPE_ECDSA] + handshaker(&fake)->versions[KEY_TYPE_RSA], 7);
    fake_fini(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_refused_and_forced),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_install),
        cmocka_unit_test(test_kept_versions),
        cmocka_unit_test(test_rolled_back),
        cmocka_unit_test(test_refused_by_handshaker),
        cmocka_unit_test(test_handshaker_dies),
        cmocka_unit_test(test_handshaker_hangs),
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_unreachable_is_no_mismatch),
        cmocka_unit_test(test_proxy_header),
        cmocka_unit_test(test_denied_is_skipped),
        cmocka_unit_test(test_internal),
        cmocka_unit_test(test_internal_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
