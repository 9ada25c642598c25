/* admin/ledger.h: what a session is superseded in, by kind and listener. The kind certificate needs
 * a vault: test_control.c. */
#include "world.h"

#include <string.h>

#include "admin/ledger.h"
#include "base/clock.h"

static int set_up(void **state)
{
    world_set_up(state);
    world.board->config_generation = 3;
    world.board->binary_generation = 2;
    world.board->ticket_key_generation = 5;
    return 0;
}

static struct slot *current_session(unsigned relay, uint32_t index)
{
    struct slot *slot = world_session(relay, index, index + 1);

    slot->generation.config = 3;
    slot->generation.binary = 2;
    slot->generation.ticket_key = 5;
    return slot;
}

static void names_and_bits(void **state)
{
    (void)state;
    assert_int_equal(superseded_bit(""), 0);
    assert_int_equal(superseded_bit("Certificate"), 0);
    for (unsigned kind = 0; kind < SUPERSEDED_COUNT; kind++)
        assert_int_equal(superseded_bit(superseded_name((enum superseded)kind)), 1u << kind);
    assert_string_equal(superseded_name(SUPERSEDED_COUNT), "unknown");
}

static void without_a_vault_nothing_is_said_of_certificates(void **state)
{
    struct slot *slot = current_session(0, 0);
    (void)state;

    slot->generation.certificate_version = 99;
    assert_false(ledger_knows(&world.view, SUPERSEDED_CERTIFICATE));
    assert_true(ledger_knows(&world.view, SUPERSEDED_CONFIG));
    assert_int_equal(ledger_judge(&world.view, 0, 0, slot), 0);
}

static void each_kind_for_itself(void **state)
{
    struct slot *slot = current_session(0, 0);
    (void)state;

    assert_int_equal(ledger_judge(&world.view, 0, 0, slot), 0);
    slot->generation.config = 2;
    assert_int_equal(ledger_judge(&world.view, 0, 0, slot), 1u << SUPERSEDED_CONFIG);
    slot->generation.config = 4; /* of a generation that is just coming */
    assert_int_equal(ledger_judge(&world.view, 0, 0, slot), 0);
    slot->generation.binary = 1;
    assert_int_equal(ledger_judge(&world.view, 0, 0, slot), 1u << SUPERSEDED_BINARY);
    slot->generation.binary = 2;
    slot->generation.ticket_key = 4;
    assert_int_equal(ledger_judge(&world.view, 0, 0, slot), 1u << SUPERSEDED_TICKET_KEY);
    slot->generation.ticket_key = 0; /* it has no tickets */
    assert_int_equal(ledger_judge(&world.view, 0, 0, slot), 0);
    slot->hot[1] = slot->hot[0];
    slot->hot[1].client.update_owed = 1;
    assert_int_equal(ledger_judge(&world.view, 0, 0, slot), 0); /* not committed */
    slot->current = 1;
    assert_int_equal(ledger_judge(&world.view, 0, 0, slot), 1u << SUPERSEDED_TRAFFIC_KEY);
    slot->hot[1].client.update_owed = 0;
    slot->hot[1].client.update_asked = 1;
    slot->generation.config = 1;
    assert_int_equal(ledger_judge(&world.view, 0, 0, slot),
                     1u << SUPERSEDED_TRAFFIC_KEY | 1u << SUPERSEDED_CONFIG);
    slot->hot[1].client.suite = 0; /* pass-through: what stands there is no leg */
    assert_int_equal(ledger_judge(&world.view, 0, 0, slot), 1u << SUPERSEDED_CONFIG);
}

static void counts_and_ages(void **state)
{
    static struct ledger ledger;
    (void)state;

    ledger_take(&world.view, WORLD_NOW, &ledger);
    assert_int_equal(ledger.sums[SUPERSEDED_CONFIG].sessions, 0);
    current_session(0, 0);
    current_session(0, 1)->generation.config = 1;
    struct slot *old = current_session(1, 5);
    old->generation.config = 2;
    old->accepted_ns = WORLD_NOW - 3600 * NS_PER_S;
    struct slot *mail = current_session(1, 6);
    mail->listener = 1;
    mail->generation.config = 2;
    mail->accepted_ns = WORLD_NOW + NS_PER_S; /* accepted while we read */
    struct slot *gone = current_session(1, 7);
    gone->listener = 5000;
    gone->generation.config = 2;
    current_session(1, 8)->state = SESSION_FREE;
    ledger_take(&world.view, WORLD_NOW, &ledger);
    assert_int_equal(ledger.entries[SUPERSEDED_CONFIG][0].sessions, 2);
    assert_int_equal(ledger.entries[SUPERSEDED_CONFIG][0].oldest_ns, 3600 * NS_PER_S);
    assert_int_equal(ledger.entries[SUPERSEDED_CONFIG][1].sessions, 1);
    assert_int_equal(ledger.entries[SUPERSEDED_CONFIG][1].oldest_ns, 0);
    assert_int_equal(ledger.sums[SUPERSEDED_CONFIG].sessions, 4);
    assert_int_equal(ledger.sums[SUPERSEDED_BINARY].sessions, 0);
    world.view.arenas[1].header->high_water = UINT32_MAX; /* a lying header leads nowhere */
    ledger_take(&world.view, WORLD_NOW, &ledger);
    assert_int_equal(ledger.sums[SUPERSEDED_CONFIG].sessions, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_and_bits, set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(without_a_vault_nothing_is_said_of_certificates, set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(each_kind_for_itself, set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(counts_and_ages, set_up, world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
