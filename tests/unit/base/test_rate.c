/* base/rate.h: never more than the burst, whoever takes; what is used up comes back with time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rate.h"

#define NOW       (1000 * NS_PER_S)
#define PROCESSES 4
#define TAKEN_MAX 1000000u

/* How many can be had at that time. */
static unsigned take_all(uint64_t *point, uint64_t now_ns, uint64_t step_ns, uint64_t burst)
{
    unsigned taken = 0;

    while (taken < TAKEN_MAX && rate_take(point, now_ns, step_ns, burst))
        taken++;
    return taken;
}

static void no_more_than_the_burst(void **state)
{
    uint64_t point = 0;

    (void)state;
    assert_int_equal(take_all(&point, NOW, NS_PER_S / 20, 20), 20);
    uint64_t before = point;
    assert_false(rate_take(&point, NOW, NS_PER_S / 20, 20));
    assert_int_equal(point, before);
}

static void it_comes_back_step_by_step(void **state)
{
    const uint64_t step = NS_PER_S / 20;
    uint64_t point = 0;

    (void)state;
    assert_int_equal(take_all(&point, NOW, step, 20), 20);
    assert_false(rate_take(&point, NOW + step - 1, step, 20));
    assert_true(rate_take(&point, NOW + step, step, 20));
    assert_false(rate_take(&point, NOW + step, step, 20));
    assert_int_equal(take_all(&point, NOW + 3600 * NS_PER_S, step, 20), 20);
}

static void a_burst_of_one(void **state)
{
    uint64_t point = 0;

    (void)state;
    assert_int_equal(take_all(&point, NOW, NS_PER_S, 1), 1);
    assert_int_equal(take_all(&point, NOW + NS_PER_S, NS_PER_S, 1), 1);
}

/* A reload: what was used up under the old rate is over after its time, not after that of the new
 * one. */
static void another_rate_comes_into_force(void **state)
{
    uint64_t point = 0;

    (void)state;
    assert_int_equal(take_all(&point, NOW, NS_PER_S / 20, 20), 20); /* a second's worth */
    assert_int_equal(take_all(&point, NOW, NS_PER_S / 1000, 1000), 0);
    assert_int_equal(take_all(&point, NOW + NS_PER_S / 2, NS_PER_S / 1000, 1000), 500);
    assert_false(rate_take(&point, NOW + NS_PER_S / 2, NS_PER_S, 1));
    assert_int_equal(take_all(&point, NOW + 2 * NS_PER_S, NS_PER_S, 1), 1);
}

/* A process whose clock is behind finds less, never more. */
static void clocks_differ(void **state)
{
    uint64_t point = 0;

    (void)state;
    assert_int_equal(take_all(&point, NOW, NS_PER_S / 10, 10), 10);
    assert_false(rate_take_shared(&point, NOW - NS_PER_S, NS_PER_S / 10, 10));
    assert_true(rate_take_shared(&point, NOW + NS_PER_S / 10, NS_PER_S / 10, 10));
}

struct shared {
    uint64_t point;
    uint32_t ready, taken[PROCESSES];
};

/* Takes what it can get, beside the others, and does not live to give anything back. */
static void take_and_die(struct shared *shared, unsigned self)
{
    const uint64_t step = NS_PER_S / 100000;

    __atomic_add_fetch(&shared->ready, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&shared->ready, __ATOMIC_ACQUIRE) != PROCESSES)
        ;
    while (rate_take_shared(&shared->point, NOW, step, 100000))
        shared->taken[self]++;
    raise(SIGKILL);
}

static void processes_share_it(void **state)
{
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint32_t sum = 0;

    (void)state;
    assert_ptr_not_equal(shared, MAP_FAILED);
    for (unsigned i = 0; i < PROCESSES; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            take_and_die(shared, i);
    }
    while (wait(NULL) > 0)
        ;
    for (unsigned i = 0; i < PROCESSES; i++)
        sum += shared->taken[i];
    assert_int_equal(sum, 100000);
    /* All is there again when the time that was taken is over. */
    assert_int_equal(take_all(&shared->point, NOW + NS_PER_S, NS_PER_S / 100000, 100000), 100000);
    assert_int_equal(munmap(shared, sizeof *shared), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_than_the_burst), cmocka_unit_test(it_comes_back_step_by_step),
        cmocka_unit_test(a_burst_of_one),         cmocka_unit_test(another_rate_comes_into_force),
        cmocka_unit_test(clocks_differ),          cmocka_unit_test(processes_share_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
