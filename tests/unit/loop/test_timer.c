#include "loop/timer.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"

#define COUNT 2000

static struct timer_heap heap;
static struct timer timers[COUNT];
static unsigned fired;
static uint64_t last_deadline;

static int setup(void **state)
{
    (void)state;
    fired = 0;
    last_deadline = 0;
    return timer_heap_init(&heap) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    timer_heap_fini(&heap);
    timer_heap_fini(&heap);
    return 0;
}

static void in_order(void *context)
{
    const struct timer *timer = context;

    assert_true(timer->deadline_ns >= last_deadline);
    assert_int_equal(timer->position, 0);
    last_deadline = timer->deadline_ns;
    fired++;
}

static void never(void *context)
{
    (void)context;
    fail();
}

static void empty(void **state)
{
    (void)state;
    struct timer timer;

    timer_init(&timer, never, NULL);
    timer_heap_remove(&heap, &timer);
    timer_heap_run(&heap, UINT64_MAX);
    assert_int_equal(timer_heap_wait_ms(&heap, 0), -1);
}

static void not_before_its_time(void **state)
{
    (void)state;
    struct timer timer;

    timer_init(&timer, never, NULL);
    timer_heap_set(&heap, &timer, 1000);
    timer_heap_run(&heap, 999);
    assert_int_equal(heap.count, 1);
    timer_heap_remove(&heap, &timer);
    timer_heap_remove(&heap, &timer);
    timer_heap_run(&heap, 2000);
}

static void waiting_is_rounded_up(void **state)
{
    (void)state;
    struct timer timer;

    timer_init(&timer, never, NULL);
    timer_heap_set(&heap, &timer, 5 * NS_PER_MS);
    assert_int_equal(timer_heap_wait_ms(&heap, 5 * NS_PER_MS), 0);
    assert_int_equal(timer_heap_wait_ms(&heap, 6 * NS_PER_MS), 0);
    assert_int_equal(timer_heap_wait_ms(&heap, 5 * NS_PER_MS - 1), 1);
    assert_int_equal(timer_heap_wait_ms(&heap, 0), 5);
    timer_heap_set(&heap, &timer, UINT64_MAX);
    assert_int_equal(timer_heap_wait_ms(&heap, 0), INT_MAX);
}

/* Random arming, re-arming in both directions and cancelling; what remains fires in order. */
static void random_operations_keep_the_order(void **state)
{
    (void)state;
    unsigned seed = 1;
    unsigned armed = 0;

    for (unsigned i = 0; i < COUNT; i++)
        timer_init(&timers[i], in_order, &timers[i]);
    for (unsigned i = 0; i < 20 * COUNT; i++) {
        struct timer *timer = &timers[(unsigned)rand_r(&seed) % COUNT];
        if (rand_r(&seed) % 4 == 0)
            timer_heap_remove(&heap, timer);
        else
            timer_heap_set(&heap, timer, (uint64_t)rand_r(&seed) % 1000000);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        armed += timers[i].position != 0;
        if (timers[i].position != 0)
            assert_ptr_equal(heap.entries[timers[i].position - 1].timer, &timers[i]);
    }
    assert_int_equal(heap.count, armed);
    for (uint64_t now = 0; now <= 1000000; now += 50000)
        timer_heap_run(&heap, now);
    assert_int_equal(fired, armed);
    assert_int_equal(heap.count, 0);
}

static void rearm_at_once(void *context)
{
    fired++;
    timer_heap_set(&heap, context, 1);
}

static void rearming_for_the_past_does_not_spin(void **state)
{
    (void)state;
    struct timer timer;

    timer_init(&timer, rearm_at_once, &timer);
    timer_heap_set(&heap, &timer, 1);
    timer_heap_run(&heap, 100);
    assert_int_equal(fired, 1);
    timer_heap_run(&heap, 100);
    assert_int_equal(fired, 2);
    timer_heap_remove(&heap, &timer);
}

static void cancel_other(void *context)
{
    fired++;
    timer_heap_remove(&heap, context);
}

static void cancelled_by_an_earlier_one(void **state)
{
    (void)state;
    struct timer first, second;

    timer_init(&first, cancel_other, &second);
    timer_init(&second, never, NULL);
    timer_heap_set(&heap, &second, 20);
    timer_heap_set(&heap, &first, 10);
    timer_heap_run(&heap, 100);
    assert_int_equal(fired, 1);
    assert_int_equal(heap.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(empty, setup, teardown),
        cmocka_unit_test_setup_teardown(not_before_its_time, setup, teardown),
        cmocka_unit_test_setup_teardown(waiting_is_rounded_up, setup, teardown),
        cmocka_unit_test_setup_teardown(random_operations_keep_the_order, setup, teardown),
        cmocka_unit_test_setup_teardown(rearming_for_the_past_does_not_spin, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelled_by_an_earlier_one, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
