/* session/slot.h: the buddy allocator over an arena's blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/memory.h"
#include "session/slot.h"

#define COUNT   256u
#define LARGEST (1u << BLOCK_ORDER_MAX)

static void test_refuses_when_used_up(void **state)
{
    struct blocks *blocks = blocks_new(NULL, -1, COUNT);
    (void)state;

    for (uint32_t i = 0; i < COUNT / LARGEST; i++)
        assert_int_not_equal(blocks_take(blocks, BLOCK_ORDER_MAX), BLOCK_NONE);
    assert_int_equal(blocks_take(blocks, BLOCK_ORDER_MAX), BLOCK_NONE);
    assert_int_equal(blocks_take(blocks, 0), BLOCK_NONE);
    assert_int_equal(blocks_available(blocks), 0);
    assert_int_equal(blocks_used(blocks), COUNT);
    blocks_free(blocks);
}

static void test_too_few_blocks_for_a_run(void **state)
{
    struct blocks *blocks = blocks_new(NULL, -1, LARGEST - 1);
    (void)state;

    assert_int_equal(blocks_total(blocks), 0);
    assert_int_equal(blocks_take(blocks, 0), BLOCK_NONE);
    blocks_free(blocks);
}

static void test_is_scarce_beyond_half(void **state)
{
    struct blocks *blocks = blocks_new(NULL, -1, COUNT);
    (void)state;

    for (uint32_t i = 0; i < COUNT / 2; i++)
        assert_int_not_equal(blocks_take(blocks, 0), BLOCK_NONE);
    assert_false(blocks_scarce(blocks));
    uint32_t one = blocks_take(blocks, 0);
    assert_true(blocks_scarce(blocks));
    blocks_give(blocks, one, 0);
    assert_false(blocks_scarce(blocks));
    blocks_free(blocks);
}

/* Single blocks that were given back in any order are one large run again. */
static void test_buddies_join(void **state)
{
    struct blocks *blocks = blocks_new(NULL, -1, COUNT);
    uint32_t taken[COUNT];
    (void)state;

    for (uint32_t i = 0; i < COUNT; i++)
        taken[i] = blocks_take(blocks, 0);
    for (uint32_t i = 0; i < COUNT; i++)
        blocks_give(blocks, taken[i * 89 % COUNT], 0);
    assert_int_equal(blocks_used(blocks), 0);
    for (uint32_t i = 0; i < COUNT / LARGEST; i++)
        assert_int_not_equal(blocks_take(blocks, BLOCK_ORDER_MAX), BLOCK_NONE);
    blocks_free(blocks);
}

struct run {
    uint32_t first;
    unsigned order;
};

/* Marks the blocks of a run as owned, or no longer. */
static void mark(bool *owned, struct run run, bool value)
{
    for (uint32_t i = run.first; i < run.first + (1u << run.order); i++) {
        assert_true(i < COUNT);
        assert_int_equal(owned[i], !value);
        owned[i] = value;
    }
}

/* Thousands of takes and gives of all sizes: no two runs overlap, none is lost. */
static void test_runs_never_overlap(void **state)
{
    struct blocks *blocks = blocks_new(NULL, -1, COUNT);
    struct run runs[COUNT];
    bool owned[COUNT] = {false};
    unsigned held = 0;
    (void)state;

    srandom(7);
    for (unsigned i = 0; i < 100000; i++) {
        struct run run = {.order = (unsigned)random() % (BLOCK_ORDER_MAX + 1)};
        if (random() % 2 == 0 && (run.first = blocks_take(blocks, run.order)) != BLOCK_NONE) {
            assert_int_equal(run.first % (1u << run.order), 0);
            mark(owned, run, true);
            runs[held++] = run;
        } else if (held != 0) {
            unsigned victim = (unsigned)random() % held;
            mark(owned, runs[victim], false);
            blocks_give(blocks, runs[victim].first, runs[victim].order);
            runs[victim] = runs[--held];
        }
    }
    while (held-- > 0)
        blocks_give(blocks, runs[held].first, runs[held].order);
    assert_int_equal(blocks_used(blocks), 0);
    assert_int_equal(blocks_available(blocks), COUNT);
    blocks_free(blocks);
}

static uint64_t allocated(int fd)
{
    struct stat facts;

    assert_int_equal(fstat(fd, &facts), 0);
    return (uint64_t)facts.st_blocks * 512;
}

/* Trimming gives the pages of free runs back and leaves those in use alone. */
static void test_trims_free_pages(void **state)
{
    int fd = memory_create("test-blocks", arena_blocks_size(COUNT));
    uint8_t *memory = memory_map(fd, arena_blocks_size(COUNT), true);
    struct blocks *blocks = blocks_new(memory, fd, COUNT);
    (void)state;

    assert_non_null(memory);
    uint32_t kept = blocks_take(blocks, 0), gone = blocks_take(blocks, 3);
    memset(memory + (size_t)kept * BLOCK_SIZE, 1, BLOCK_SIZE);
    memset(memory + (size_t)gone * BLOCK_SIZE, 2, BLOCK_SIZE << 3);
    blocks_give(blocks, gone, 3);
    blocks_trim(blocks);
    assert_int_equal(allocated(fd), BLOCK_SIZE);
    assert_int_equal(memory[(size_t)kept * BLOCK_SIZE + BLOCK_SIZE - 1], 1);
    blocks_give(blocks, kept, 0);
    blocks_trim(blocks);
    assert_int_equal(allocated(fd), 0);
    blocks_free(blocks);
    memory_unmap(memory, arena_blocks_size(COUNT));
    close(fd);
}

/* A successor claims the runs of its predecessor: each at its place, none twice. */
static void test_claims_what_a_predecessor_held(void **state)
{
    struct blocks *blocks = blocks_new(NULL, -1, COUNT);
    (void)state;

    assert_false(blocks_claim(blocks, COUNT, 0));
    assert_false(blocks_claim(blocks, BLOCK_NONE, 0));
    assert_false(blocks_claim(blocks, 1, 1)); /* not where a run of two begins */
    assert_false(blocks_claim(blocks, 0, BLOCK_ORDER_MAX + 1));
    assert_true(blocks_claim(blocks, 37, 0));
    assert_false(blocks_claim(blocks, 37, 0));
    assert_false(blocks_claim(blocks, 36, 1));
    assert_false(blocks_claim(blocks, 0, BLOCK_ORDER_MAX));
    assert_true(blocks_claim(blocks, 36, 0));
    assert_true(blocks_claim(blocks, 40, 3));
    assert_true(blocks_claim(blocks, LARGEST, BLOCK_ORDER_MAX));
    assert_int_equal(blocks_used(blocks), 1 + 1 + 8 + LARGEST);
    while (blocks_take(blocks, 0) != BLOCK_NONE)
        ;
    assert_int_equal(blocks_used(blocks), COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        blocks_give(blocks, i, 0); /* whole again: nothing was lost or doubled */
    for (uint32_t i = 0; i < COUNT / LARGEST; i++)
        assert_int_not_equal(blocks_take(blocks, BLOCK_ORDER_MAX), BLOCK_NONE);
    blocks_free(blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses_when_used_up),
        cmocka_unit_test(test_too_few_blocks_for_a_run),
        cmocka_unit_test(test_is_scarce_beyond_half),
        cmocka_unit_test(test_buddies_join),
        cmocka_unit_test(test_runs_never_overlap),
        cmocka_unit_test(test_trims_free_pages),
        cmocka_unit_test(test_claims_what_a_predecessor_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
