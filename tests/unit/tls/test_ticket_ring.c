/* The ring of ticket keys under clocks that run, stop and jump: what must never happen first. */
#include "tls/ticket_ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

#define LIFETIME 100u
#define WINDOW   250u
#define START    1800000000u /* wall clock, s */

static const struct ticket_rules rules = {
    .lifetime_s = LIFETIME, .window_s = WINDOW, .node = "here"};
static struct ticket_clock now;
static struct ticket_keys keys, other;

static int set_up(void **state)
{
    (void)state;
    now = (struct ticket_clock){.wall_s = START, .monotonic_ns = 5000 * NS_PER_S};
    memset(&keys, 0, sizeof keys);
    memset(&other, 0, sizeof other);
    return 0;
}

static unsigned pass(uint64_t seconds)
{
    now.wall_s += seconds;
    now.monotonic_ns += seconds * NS_PER_S;
    return ticket_keys_advance(&keys, &rules, &now);
}

static const struct ticket_key *current(void)
{
    return &keys.keys[keys.current];
}

static bool knows(const struct ticket_keys *ring, const struct ticket_key *key)
{
    for (uint32_t i = 0; i < ring->count; i++) {
        if (memcmp(ring->keys[i].name, key->name, sizeof key->name) == 0)
            return memcmp(ring->keys[i].cipher_key, key->cipher_key, sizeof key->cipher_key) == 0;
    }
    return false;
}

/* ---- what must not happen ---- */

static void a_ring_without_keys_gives_none(void **state)
{
    static struct ticket_ring ring;
    struct ticket_key key;
    bool is_current;
    (void)state;

    assert_false(ticket_ring_current(&ring, &key));
    assert_false(ticket_ring_find(&ring, current()->name, &key, &is_current));
    assert_false(ticket_ring_read(&ring, &other));
}

static void a_clock_that_jumps_back_brings_no_older_key(void **state)
{
    (void)state;
    pass(0);
    pass(LIFETIME);
    struct ticket_key before = *current();

    now.wall_s -= 10 * LIFETIME;
    assert_int_equal(ticket_keys_advance(&keys, &rules, &now), 0);
    assert_memory_equal(current()->name, before.name, sizeof before.name);
}

static void a_clock_that_jumps_back_does_not_stop_rotation(void **state)
{
    (void)state;
    pass(0);
    now.wall_s -= 1000 * LIFETIME;
    for (unsigned i = 0; i < 5; i++) {
        struct ticket_key before = *current(), next = keys.keys[keys.current + 1];
        assert_int_equal(pass(LIFETIME - 1) & TICKET_KEYS_PROMOTED, 0);
        assert_int_equal(pass(1) & TICKET_KEYS_PROMOTED, TICKET_KEYS_PROMOTED);
        assert_memory_equal(current()->name, next.name, sizeof next.name);
        assert_true(knows(&keys, &before));
    }
}

/* The old keys' ends lie a thousand lifetimes ahead: they end after their window all the same. */
static void a_clock_that_jumps_back_keeps_no_key_for_ever(void **state)
{
    (void)state;
    pass(0);
    struct ticket_key first = *current();
    pass(LIFETIME);
    now.wall_s -= 1000 * LIFETIME;
    pass(WINDOW - 1);
    assert_true(knows(&keys, &first));
    pass(1);
    assert_false(knows(&keys, &first));
}

static void a_clock_that_jumps_forward_empties_nothing(void **state)
{
    (void)state;
    pass(0);
    struct ticket_key next = keys.keys[keys.current + 1];
    now.wall_s += 1000000 * LIFETIME;
    assert_true((ticket_keys_advance(&keys, &rules, &now) & TICKET_KEYS_PROMOTED) != 0);
    assert_memory_equal(current()->name, next.name, sizeof next.name);
    assert_int_equal(keys.count, keys.current + 2);
    /* And back: what encrypted goes on, and its successor's turn comes by the time it was used. */
    now.wall_s = START;
    assert_int_equal(pass(LIFETIME - 1) & TICKET_KEYS_PROMOTED, 0);
    assert_int_equal(pass(1) & TICKET_KEYS_PROMOTED, TICKET_KEYS_PROMOTED);
}

static void a_full_ring_loses_only_its_oldest(void **state)
{
    (void)state;
    pass(0);
    for (unsigned i = 0; i < 3 * TICKET_KEYS_MAX; i++) {
        struct ticket_key before = *current();
        assert_true((ticket_keys_rotate(&keys, &rules, &now) & TICKET_KEYS_PROMOTED) != 0);
        assert_true(keys.count <= TICKET_KEYS_MAX);
        assert_int_equal(keys.count, keys.current + 2);
        assert_true(knows(&keys, &before));
    }
    assert_int_equal(keys.count, TICKET_KEYS_MAX);
}

static void what_was_thrown_away_does_not_come_back(void **state)
{
    (void)state;
    pass(0);
    other = keys;
    struct ticket_key old = *current(), next = keys.keys[1];

    assert_true((ticket_keys_replace(&keys, &rules, &now) & TICKET_KEYS_PROMOTED) != 0);
    assert_false(knows(&keys, &old) || knows(&keys, &next));
    assert_int_equal(ticket_keys_merge(&keys, &other, &rules, &now), 0);
    assert_false(knows(&keys, &old) || knows(&keys, &next));
    /* And the node that still has them loses them. */
    assert_true((ticket_keys_merge(&other, &keys, &rules, &now) & TICKET_KEYS_PROMOTED) != 0);
    assert_true(ticket_keys_same(&keys, &other));
    assert_memory_equal(other.keys[other.current].name, current()->name, sizeof old.name);
}

/* Every byte of the two copies is looked at. */
static void nothing_removed_remains_in_the_ring(void **state)
{
    static struct ticket_ring ring;
    (void)state;
    pass(0);
    ticket_ring_publish(&ring, &keys);
    struct ticket_key old = *current();
    assert_non_null(memmem(&ring, sizeof ring, old.mac_key, sizeof old.mac_key));
    ticket_keys_replace(&keys, &rules, &now);
    ticket_ring_publish(&ring, &keys);
    assert_null(memmem(&ring, sizeof ring, old.mac_key, sizeof old.mac_key));
    assert_null(memmem(&ring, sizeof ring, old.cipher_key, sizeof old.cipher_key));
}

static void an_ended_key_is_wiped(void **state)
{
    (void)state;
    pass(0);
    struct ticket_key first = *current();
    pass(LIFETIME);
    pass(WINDOW);
    assert_false(knows(&keys, &first));
    assert_null(memmem(&keys, sizeof keys, first.cipher_key, sizeof first.cipher_key));
}

/* ---- the ordinary life ---- */

static void next_is_known_a_lifetime_before_its_use(void **state)
{
    (void)state;
    assert_int_equal(pass(0), TICKET_KEYS_CHANGED | TICKET_KEYS_PROMOTED);
    assert_int_equal(keys.count, 2);
    assert_int_equal(keys.current, 0);
    assert_string_equal(ticket_key_role(&keys, 0), "current");
    assert_string_equal(ticket_key_role(&keys, 1), "next");
    assert_int_equal(keys.keys[1].not_before, START + LIFETIME);
    assert_int_equal(pass(LIFETIME - 1), 0);
    assert_int_equal(pass(1), TICKET_KEYS_CHANGED | TICKET_KEYS_PROMOTED);
    assert_string_equal(ticket_key_role(&keys, 0), "previous");
    assert_int_equal(keys.keys[0].not_after, START + LIFETIME + WINDOW);
    assert_int_equal(keys.generation, 2);
    assert_int_equal(current()->generation, 2);
}

static void a_key_opens_as_long_as_a_ticket_lives(void **state)
{
    (void)state;
    pass(0);
    struct ticket_key first = *current();
    pass(LIFETIME);
    for (unsigned i = 0; i < WINDOW - 1; i++) {
        pass(1);
        assert_true(knows(&keys, &first));
    }
    pass(1);
    assert_false(knows(&keys, &first));
}

/* A ticket given before lifetimes were made shorter lives as long as it was promised. */
static void a_shorter_window_counts_from_the_next_key_on(void **state)
{
    struct ticket_rules shorter = {.lifetime_s = LIFETIME, .window_s = 10, .node = "here"};
    (void)state;
    pass(0);
    struct ticket_key first = *current();
    now.wall_s += LIFETIME;
    now.monotonic_ns += LIFETIME * NS_PER_S;
    ticket_keys_advance(&keys, &shorter, &now);
    assert_true(knows(&keys, &first));
    assert_int_equal(keys.keys[0].not_after, START + LIFETIME + WINDOW);
}

/* A key whose turn was brought forward is as old as its use, not as its plan. */
static void a_forced_rotation_counts_from_itself(void **state)
{
    (void)state;
    pass(0);
    pass(10);
    ignore((int)ticket_keys_rotate(&keys, &rules, &now));
    assert_int_equal(current()->since, START + 10);
    assert_int_equal(current()->not_before, START + LIFETIME);
    assert_int_equal(pass(LIFETIME - 1) & TICKET_KEYS_PROMOTED, 0);
    other = keys;
    memset(&keys, 0, sizeof keys);
    ignore((int)ticket_keys_merge(&keys, &other, &rules, &now)); /* a restart */
    assert_int_equal(current()->since, START + 10);
    assert_int_equal(pass(1) & TICKET_KEYS_PROMOTED, TICKET_KEYS_PROMOTED);
}

static void a_restart_finds_the_current_key_again(void **state)
{
    (void)state;
    pass(0);
    pass(LIFETIME + 40);
    other = keys;
    other.generation = 0;
    memset(&keys, 0, sizeof keys);
    now.monotonic_ns = 60 * NS_PER_S; /* the machine was started anew */
    now.wall_s += 30;
    assert_true((ticket_keys_merge(&keys, &other, &rules, &now) & TICKET_KEYS_PROMOTED) != 0);
    assert_int_equal(ticket_keys_advance(&keys, &rules, &now), 0);
    assert_true(ticket_keys_same(&keys, &other));
    assert_int_equal(keys.generation, 1);
    assert_int_equal(pass(LIFETIME) & TICKET_KEYS_PROMOTED, TICKET_KEYS_PROMOTED);
}

/* Two that could not talk for some rotations know each other's keys afterwards, and agree. */
static void a_merge_is_a_union_and_both_agree(void **state)
{
    static struct ticket_keys mine, theirs;
    (void)state;
    pass(0);
    other = keys;
    pass(LIFETIME);
    ticket_keys_advance(&other, &rules, &now);
    pass(LIFETIME / 2);
    ticket_keys_rotate(&other, &rules, &now);
    mine = keys;
    theirs = other;
    ignore((int)ticket_keys_merge(&keys, &theirs, &rules, &now));
    ignore((int)ticket_keys_merge(&other, &mine, &rules, &now));
    ignore((int)ticket_keys_merge(&keys, &other, &rules, &now));
    ignore((int)ticket_keys_merge(&other, &keys, &rules, &now));
    for (uint32_t i = 0; i < mine.count; i++)
        assert_true(knows(&other, &mine.keys[i]));
    for (uint32_t i = 0; i < theirs.count; i++)
        assert_true(knows(&keys, &theirs.keys[i]));
    assert_true(ticket_keys_same(&keys, &other));
    assert_memory_equal(current()->name, theirs.keys[theirs.current].name, 16);
    assert_int_equal(ticket_keys_merge(&keys, &other, &rules, &now), 0);
}

static void the_ring_shows_what_was_published(void **state)
{
    static struct ticket_ring ring;
    struct ticket_key key;
    bool is_current;
    (void)state;
    pass(0);
    pass(LIFETIME);
    ticket_ring_publish(&ring, &keys);
    assert_true(ticket_ring_current(&ring, &key));
    assert_memory_equal(key.cipher_key, current()->cipher_key, sizeof key.cipher_key);
    assert_true(ticket_ring_find(&ring, keys.keys[0].name, &key, &is_current));
    assert_false(is_current);
    assert_true(ticket_ring_find(&ring, keys.keys[2].name, &key, &is_current)); /* next */
    assert_false(is_current);
    assert_true(ticket_ring_find(&ring, current()->name, &key, &is_current));
    assert_true(is_current);
    assert_false(ticket_ring_find(&ring, (const uint8_t *)"no such key here", &key, &is_current));
    assert_true(ticket_ring_read(&ring, &other));
    assert_memory_equal(&other, &keys, sizeof keys);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_ring_without_keys_gives_none, set_up),
        cmocka_unit_test_setup(a_clock_that_jumps_back_brings_no_older_key, set_up),
        cmocka_unit_test_setup(a_clock_that_jumps_back_does_not_stop_rotation, set_up),
        cmocka_unit_test_setup(a_clock_that_jumps_back_keeps_no_key_for_ever, set_up),
        cmocka_unit_test_setup(a_clock_that_jumps_forward_empties_nothing, set_up),
        cmocka_unit_test_setup(a_full_ring_loses_only_its_oldest, set_up),
        cmocka_unit_test_setup(what_was_thrown_away_does_not_come_back, set_up),
        cmocka_unit_test_setup(nothing_removed_remains_in_the_ring, set_up),
        cmocka_unit_test_setup(an_ended_key_is_wiped, set_up),
        cmocka_unit_test_setup(next_is_known_a_lifetime_before_its_use, set_up),
        cmocka_unit_test_setup(a_key_opens_as_long_as_a_ticket_lives, set_up),
        cmocka_unit_test_setup(a_shorter_window_counts_from_the_next_key_on, set_up),
        cmocka_unit_test_setup(a_forced_rotation_counts_from_itself, set_up),
        cmocka_unit_test_setup(a_restart_finds_the_current_key_again, set_up),
        cmocka_unit_test_setup(a_merge_is_a_union_and_both_agree, set_up),
        cmocka_unit_test_setup(the_ring_shows_what_was_published, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
