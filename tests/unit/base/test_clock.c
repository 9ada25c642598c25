#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void never_backwards(void **state)
{
    (void)state;
    uint64_t before = clock_monotonic_ns();

    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_monotonic_ns();
        assert_true(now >= before);
        before = now;
    }
    assert_true(clock_wall_ns() > 1600000000 * NS_PER_S);
}

static void text(void **state)
{
    (void)state;
    char destination[25];

    assert_string_equal(clock_rfc3339(destination, sizeof destination, 0),
                        "1970-01-01T00:00:00.000Z");
    assert_string_equal(
        clock_rfc3339(destination, sizeof destination, 1795233961 * NS_PER_S + 123999999),
        "2026-11-21T04:06:01.123Z");
    assert_string_equal(clock_rfc3339(destination, 5, 0), "1970");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_backwards),
        cmocka_unit_test(text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
