#include "ipc/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CAPACITY 8

struct record {
    uint64_t number;
    uint32_t check;
};

static struct ring *ring;

static int setup(void **state)
{
    (void)state;
    ring = mmap(NULL, ring_size(sizeof(struct record), CAPACITY), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ring == MAP_FAILED)
        return -1;
    ring_init(ring, sizeof(struct record), CAPACITY);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return munmap(ring, ring_size(sizeof(struct record), CAPACITY));
}

static bool put(uint64_t number)
{
    struct record *record = ring_claim(ring);

    if (record == NULL)
        return false;
    record->number = number;
    record->check = (uint32_t)(number * 2654435761u);
    ring_publish(ring);
    return true;
}

static const struct record *peek(void)
{
    return ring_peek(ring, sizeof(struct record), CAPACITY);
}

static void empty_gives_nothing(void **state)
{
    (void)state;
    assert_null(peek());
    assert_non_null(ring_claim(ring)); /* claimed, not yet published */
    assert_null(peek());
}

static void full_drops_and_counts(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < CAPACITY; i++)
        assert_true(put(i));
    assert_false(put(100));
    assert_false(put(101));
    assert_int_equal(ring->dropped, 2);
    /* What was there first stays. */
    for (uint64_t i = 0; i < CAPACITY; i++) {
        assert_int_equal(peek()->number, i);
        ring_release(ring);
    }
    assert_null(peek());
    assert_true(put(102));
}

static void wraps(void **state)
{
    (void)state;
    uint64_t written = 0, read = 0;

    while (read < 1000) {
        for (unsigned i = 0; i < 5 && put(written); i++)
            written++;
        for (unsigned i = 0; i < 3 && peek() != NULL; i++) {
            assert_int_equal(peek()->number, read++);
            ring_release(ring);
        }
    }
    assert_int_equal(ring->head - ring->tail, written - read);
}

static void indices_overflow(void **state)
{
    (void)state;
    ring->head = ring->tail = UINT64_MAX - 2;
    for (uint64_t i = 0; i < CAPACITY; i++)
        assert_true(put(i));
    assert_false(put(8));
    for (uint64_t i = 0; i < CAPACITY; i++) {
        assert_int_equal(peek()->number, i);
        ring_release(ring);
    }
    assert_null(peek());
}

/* Whatever a broken producer writes into the header, the consumer stays inside. */
static void broken_producer(void **state)
{
    (void)state;
    static const uint64_t heads[] = {1, 7, 8, 1ull << 32, UINT64_MAX, 0x123456789abcdefull};

    ring->capacity = UINT32_MAX;
    ring->record_size = UINT32_MAX;
    for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
        ring->head = heads[i];
        ring->tail = heads[i] - 1;
        const struct record *record = peek();
        assert_non_null(record);
        size_t offset = (size_t)((const uint8_t *)record - ring->records);
        assert_true(offset <= (CAPACITY - 1) * sizeof(struct record));
    }
}

static void between_processes(void **state)
{
    (void)state;
    const uint64_t total = 200000;
    int status;
    pid_t producer = fork();

    if (producer == 0) {
        for (uint64_t i = 0; i < total;)
            i += put(i);
        _exit(0);
    }
    for (uint64_t i = 0; i < total;) {
        const struct record *record = peek();
        if (record == NULL)
            continue;
        assert_int_equal(record->number, i);
        assert_int_equal(record->check, (uint32_t)(i * 2654435761u));
        ring_release(ring);
        i++;
    }
    assert_int_equal(waitpid(producer, &status, 0), producer);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(empty_gives_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(full_drops_and_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(wraps, setup, teardown),
        cmocka_unit_test_setup_teardown(indices_overflow, setup, teardown),
        cmocka_unit_test_setup_teardown(broken_producer, setup, teardown),
        cmocka_unit_test_setup_teardown(between_processes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
