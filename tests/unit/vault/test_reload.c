/* Another configuration in the vault: what stays untouched, what is read anew, what is taken back.
 */
#include "fake_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAIR "certificate shop { from = files names = {\"shop.example\"} chain = {\"~/shop.pem\"} }"
#define OTHER_FILES                                                                                \
    "certificate shop { from = files names = {\"shop.example\"} chain = {\"~/other.pem\"} }"
#define DAY (24 * 3600)

static bool served(struct fake *fake)
{
    struct fake_shown shown;

    fake_show(fake, &shown);
    return shown.checks[0][0].result == VAULT_CHECK_SERVED;
}

/* The server's side of the dial ends a moment later than ours. */
static bool dialled(struct fake *fake)
{
    return fake->dialled > 0;
}

static unsigned wanted;

static bool completed(struct fake *fake)
{
    return fake->handshakers[0].complete == wanted && fake->handshakers[1].complete == wanted;
}

static struct keypair *begin(struct fake *fake, const char *conf)
{
    struct keypair *first = make_pair("shop.example", KEY_TYPE_ECDSA, 10 * DAY);

    fake_init(fake, conf);
    put_file(fake, "files/shop.pem", first, PEM_ALL);
    fake_start(fake);
    fake_until(fake, served);
    fake_until(fake, dialled);
    return first;
}

static void reload(struct fake *fake, const char *conf)
{
    wanted = fake->handshakers[0].complete + 1;
    fake_reload(fake, conf);
    fake_until(fake, completed);
}

static void an_unchanged_section_is_not_touched(void **state)
{
    struct fake fake;
    struct keypair *first = begin(&fake, PAIR);
    struct fake_shown shown;
    (void)state;

    unsigned received = fake.handshakers[0].received, opens = fake.opens, dials = fake.dialled;
    reload(&fake, PAIR);
    vault_settled(fake.vault);
    fake_run(&fake, 50);
    assert_int_equal(fake.handshakers[0].received, received);
    assert_int_equal(fake.opens, opens);
    assert_int_equal(fake.dialled, dials);
    fake_show(&fake, &shown);
    assert_int_equal(shown.entries[0].version, 1);
    assert_int_equal(shown.checks[0][0].result, VAULT_CHECK_SERVED);
    /* It follows its files as before. */
    struct keypair *second = make_pair("shop.example", KEY_TYPE_ECDSA, 20 * DAY);
    put_file(&fake, "files/shop.pem", second, PEM_ALL);
    wanted = 1;
    fake_until(&fake, served);
    keypair_unref(second);
    keypair_unref(first);
    fake_fini(&fake);
}

static void a_changed_section_is_read_anew(void **state)
{
    struct fake fake;
    struct keypair *first = begin(&fake, PAIR),
                   *other = make_pair("shop.example", KEY_TYPE_ECDSA, 20 * DAY);
    struct fake_shown shown;
    (void)state;

    put_file(&fake, "files/other.pem", other, PEM_ALL);
    unsigned dials = fake.dialled;
    reload(&fake, OTHER_FILES);
    assert_true(same_leaf(fake.handshakers[0].pairs[KEY_TYPE_ECDSA], other));
    assert_int_equal(fake.handshakers[1].versions[KEY_TYPE_ECDSA], 2);
    fake_run(&fake, 50);
    assert_int_equal(fake.dialled, dials); /* not before it is in force everywhere */
    vault_settled(fake.vault);
    fake_until(&fake, served);
    fake_show(&fake, &shown);
    assert_int_equal(shown.entries[0].version, 2);
    keypair_unref(first);
    keypair_unref(other);
    fake_fini(&fake);
}

static void what_was_live_stays_when_nothing_else_can_be_had(void **state)
{
    struct fake fake;
    struct keypair *first = begin(&fake, PAIR);
    struct fake_shown shown;
    (void)state;

    reload(&fake, OTHER_FILES);
    assert_true(same_leaf(fake.handshakers[0].pairs[KEY_TYPE_ECDSA], first));
    assert_int_equal(fake.handshakers[0].withdrawn, 0);
    fake_show(&fake, &shown);
    assert_true(shown.entries[0].present);
    assert_int_equal(shown.entries[0].version, 1);
    assert_non_null(strstr(shown.last_error[0], "other.pem"));
    keypair_unref(first);
    fake_fini(&fake);
}

static void a_key_type_that_is_gone_is_taken_back(void **state)
{
    struct fake fake;
    struct keypair *first = begin(&fake, PAIR),
                   *other = make_pair("shop.example", KEY_TYPE_RSA, 20 * DAY);
    (void)state;

    put_file(&fake, "files/other.pem", other, PEM_ALL);
    reload(&fake, OTHER_FILES);
    fake_run(&fake, 20);
    assert_null(fake.handshakers[0].pairs[KEY_TYPE_ECDSA]);
    assert_true(same_leaf(fake.handshakers[0].pairs[KEY_TYPE_RSA], other));
    keypair_unref(first);
    keypair_unref(other);
    fake_fini(&fake);
}

static void who_waits_for_a_pair_is_answered(void **state)
{
    struct fake fake;
    struct keypair *first = begin(&fake, PAIR),
                   *second = make_pair("shop.example", KEY_TYPE_ECDSA, 20 * DAY);
    (void)state;

    fake.silent = true;
    put_file(&fake, "files/shop.pem", second, PEM_ALL);
    fake.done = false;
    vault_renew(fake.vault, "shop", fake_done, &fake);
    fake_run(&fake, 50);
    assert_false(fake.done);
    reload(&fake, OTHER_FILES);
    assert_true(fake.done);
    assert_int_equal(fake.outcome.error.code, ERROR_BUSY);
    keypair_unref(first);
    keypair_unref(second);
    fake_fini(&fake);
}

static void a_rollout_goes_on_over_a_reload(void **state)
{
    struct fake fake;
    struct keypair *first = begin(&fake, PAIR),
                   *second = make_pair("shop.example", KEY_TYPE_ECDSA, 20 * DAY);
    (void)state;

    put_file(&fake, "files/shop.pem", second, PEM_ALL);
    fake.done = false;
    vault_renew(fake.vault, "shop", fake_done, &fake);
    reload(&fake, PAIR);
    vault_settled(fake.vault);
    fake_until(&fake, fake_is_done);
    assert_int_equal(fake.outcome.error.code, ERROR_NONE);
    assert_int_equal(fake.outcome.version, 2);
    keypair_unref(first);
    keypair_unref(second);
    fake_fini(&fake);
}

static void a_removed_certificate_is_not_shown_and_a_new_one_is_read(void **state)
{
    struct fake fake;
    struct keypair *first = begin(&fake, PAIR),
                   *more = make_pair("more.example", KEY_TYPE_ECDSA, 20 * DAY);
    struct fake_shown shown;
    (void)state;

    put_file(&fake, "files/more.pem", more, PEM_ALL);
    reload(&fake, PAIR "\ncertificate more { from = files names = {\"more.example\"} chain = "
                       "{\"~/more.pem\"} }");
    fake_show(&fake, &shown);
    assert_int_equal(shown.count, 2);
    assert_int_equal(shown.entries[1].certificate, 1);
    assert_true(shown.entries[1].present);
    reload(&fake, PAIR);
    fake_show(&fake, &shown);
    assert_int_equal(shown.count, 1);
    keypair_unref(first);
    keypair_unref(more);
    fake_fini(&fake);
}

static void a_handshaker_that_starts_meanwhile_gets_everything(void **state)
{
    struct fake fake;
    struct keypair *first = begin(&fake, PAIR),
                   *other = make_pair("shop.example", KEY_TYPE_ECDSA, 20 * DAY);
    (void)state;

    put_file(&fake, "files/other.pem", other, PEM_ALL);
    wanted = fake.handshakers[0].complete + 1;
    fake_reload(&fake, OTHER_FILES);
    vault_peer_ended(fake.vault, 1);
    vault_peer_started(fake.vault, 1);
    fake_until(&fake, completed);
    assert_true(same_leaf(fake.handshakers[1].pairs[KEY_TYPE_ECDSA], other));
    keypair_unref(first);
    keypair_unref(other);
    fake_fini(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unchanged_section_is_not_touched),
        cmocka_unit_test(a_changed_section_is_read_anew),
        cmocka_unit_test(what_was_live_stays_when_nothing_else_can_be_had),
        cmocka_unit_test(a_key_type_that_is_gone_is_taken_back),
        cmocka_unit_test(who_waits_for_a_pair_is_answered),
        cmocka_unit_test(a_rollout_goes_on_over_a_reload),
        cmocka_unit_test(a_removed_certificate_is_not_shown_and_a_new_one_is_read),
        cmocka_unit_test(a_handshaker_that_starts_meanwhile_gets_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
