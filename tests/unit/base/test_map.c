#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int values[5000];

static const char *key_of(int number)
{
    static char key[32];

    ignore(snprintf(key, sizeof key, "name-%d.example", number));
    return key;
}

static void empty_map(void **state)
{
    (void)state;
    struct map map;
    size_t at = 0;

    map_init(&map);
    assert_null(map_get(&map, "a"));
    assert_null(map_remove(&map, "a"));
    assert_null(map_next(&map, &at));
    map_fini(&map);
    map_fini(&map);
}

static void keys_are_copied_and_replaced(void **state)
{
    (void)state;
    struct map map;
    char key[] = "key";

    map_init(&map);
    assert_true(map_put(&map, key, &values[0]));
    key[0] = 'X';
    assert_ptr_equal(map_get(&map, "key"), &values[0]);
    assert_null(map_get(&map, key));
    assert_true(map_put(&map, "key", &values[1]));
    assert_ptr_equal(map_get(&map, "key"), &values[1]);
    assert_int_equal(map.count, 1);
    assert_true(map_put(&map, "", &values[2]));
    assert_ptr_equal(map_get(&map, ""), &values[2]);
    map_fini(&map);
}

/* The seed decides where keys lie; many seeds over a crowded table cover runs that collide and wrap
 * around its end. */
static void removal_keeps_colliding_keys(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 500; seed++) {
        struct map map;
        map_init(&map);
        map.seed = seed;
        for (int i = 0; i < 12; i++)
            assert_true(map_put(&map, key_of(i), &values[i]));
        assert_int_equal(map.capacity, 16);
        for (int gone = 0; gone < 12; gone++) {
            assert_ptr_equal(map_remove(&map, key_of(gone)), &values[gone]);
            for (int i = 0; i < 12; i++)
                assert_ptr_equal(map_get(&map, key_of(i)), i > gone ? &values[i] : NULL);
        }
        assert_int_equal(map.count, 0);
        map_fini(&map);
    }
}

static void many_keys(void **state)
{
    (void)state;
    struct map map;
    const struct map_entry *entry;
    size_t seen = 0;

    map_init(&map);
    for (int i = 0; i < 5000; i++)
        assert_true(map_put(&map, key_of(i), &values[i]));
    for (int i = 0; i < 5000; i += 2)
        assert_ptr_equal(map_remove(&map, key_of(i)), &values[i]);
    for (int i = 0; i < 5000; i++)
        assert_ptr_equal(map_get(&map, key_of(i)), i % 2 == 1 ? &values[i] : NULL);
    for (size_t at = 0; (entry = map_next(&map, &at)) != NULL; seen++)
        assert_int_equal(((int *)entry->value - values) % 2, 1);
    assert_int_equal(seen, 2500);
    map_fini(&map);
}

static void seeds_differ(void **state)
{
    (void)state;
    struct map a, b;

    map_init(&a);
    map_init(&b);
    assert_true(a.seed != b.seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_map),
        cmocka_unit_test(keys_are_copied_and_replaced),
        cmocka_unit_test(removal_keeps_colliding_keys),
        cmocka_unit_test(many_keys),
        cmocka_unit_test(seeds_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
