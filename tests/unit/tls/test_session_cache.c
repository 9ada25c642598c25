/* The cache of sessions: what it must not give, its bounds, who makes room, and writers that are
 * killed or stopped at any instant. */
#include "tls/session_cache.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW     1800000000
#define ENTRIES 64u
#define WAYS    8 /* places of one set */

static uint8_t *memory;
static struct session_cache *cache;
static uint8_t output[SESSION_CACHE_DATA_MAX];

static void open_cache(uint32_t entries)
{
    size_t size = session_cache_size(entries);

    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    session_cache_format(memory, entries);
    cache = session_cache_open(memory, size);
    assert_non_null(cache);
}

static int setup(void **state)
{
    (void)state;
    open_cache(ENTRIES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    session_cache_close(cache);
    munmap(memory, session_cache_size(ENTRIES));
    return 0;
}

/* An id as unpredictable as OpenSSL's, for the hash; the same for the same number. */
static const uint8_t *id_of(uint32_t number)
{
    static uint8_t id[32];

    for (size_t i = 0; i < sizeof id; i += 4) {
        number = number * 1664525u + 1013904223u;
        memcpy(id + i, &number, 4);
    }
    return id;
}

/* A session that says of which number it is, all over. */
static size_t session_of(uint32_t number, uint8_t data[SESSION_CACHE_DATA_MAX])
{
    size_t size = 100 + number * 7919u % (SESSION_CACHE_DATA_MAX - 100) / 4 * 4;

    for (size_t i = 0; i < size; i += 4)
        memcpy(data + i, &number, 4);
    return size;
}

static void put_until(uint32_t number, int64_t end)
{
    uint8_t data[SESSION_CACHE_DATA_MAX];
    size_t size = session_of(number, data);

    session_cache_put(cache, id_of(number), 32, data, size, NOW, end);
}

static void put(uint32_t number)
{
    put_until(number, NOW + 100);
}

/* Is it there? Fails the test when something else is. */
static bool has_at(uint32_t number, int64_t now)
{
    uint8_t data[SESSION_CACHE_DATA_MAX];
    size_t wanted = session_of(number, data);
    size_t size = session_cache_get(cache, id_of(number), 32, now, output);

    if (size == 0)
        return false;
    assert_int_equal(size, wanted);
    assert_memory_equal(output, data, size);
    return true;
}

static bool has(uint32_t number)
{
    return has_at(number, NOW);
}

static uint32_t entries_at(int64_t now)
{
    (void)session_cache_sweep(cache, now);
    return session_cache_sweep(cache, now);
}

/* How often the sixteen bytes stand anywhere in the memory. */
static unsigned traces_of(const uint8_t *bytes)
{
    const uint8_t *end = memory + session_cache_size(ENTRIES);
    unsigned count = 0;

    for (const uint8_t *at = memory; (at = memmem(at, (size_t)(end - at), bytes, 16)) != NULL; at++)
        count++;
    return count;
}

/* ---- what it must not give ---- */

static void gives_nothing_that_was_not_stored(void **state)
{
    (void)state;
    assert_false(has(1));
    put(1);
    assert_true(has(1));
    assert_false(has(2));
    assert_int_equal(session_cache_get(cache, id_of(1), 31, NOW, output), 0);
    assert_int_equal(session_cache_get(cache, id_of(1), 0, NOW, output), 0);
}

static void gives_nothing_that_has_ended(void **state)
{
    (void)state;
    put_until(1, NOW);
    assert_false(has(1));
    put_until(1, NOW + 1);
    assert_true(has_at(1, NOW));
    assert_false(has_at(1, NOW + 1));
}

static void removes(void **state)
{
    uint8_t data[SESSION_CACHE_DATA_MAX];

    (void)state;
    put(1);
    put(2);
    session_of(1, data);
    assert_true(traces_of(data) > 0);
    session_cache_remove(cache, id_of(1), 32, NOW);
    session_cache_remove(cache, id_of(3), 32, NOW);
    assert_false(has(1));
    assert_true(has(2));
    assert_int_equal(traces_of(data), 0);
}

static void refuses_what_is_too_large(void **state)
{
    uint8_t data[SESSION_CACHE_DATA_MAX + 1] = {1}, long_id[33] = {1};

    (void)state;
    session_cache_put(cache, id_of(1), 32, data, sizeof data, NOW, NOW + 9);
    session_cache_put(cache, long_id, sizeof long_id, data, 10, NOW, NOW + 9);
    session_cache_put(cache, id_of(1), 32, data, 0, NOW, NOW + 9);
    assert_int_equal(session_cache_get(cache, id_of(1), 32, NOW, output), 0);
    assert_int_equal(session_cache_counts(cache)->too_large, 3);
    session_cache_put(cache, id_of(1), 32, data, sizeof data - 1, NOW, NOW + 9);
    assert_int_equal(session_cache_get(cache, id_of(1), 32, NOW, output), sizeof data - 1);
}

static void refuses_memory_of_another_layout(void **state)
{
    size_t size = session_cache_size(ENTRIES);

    (void)state;
    assert_null(session_cache_open(memory, size - 1));
    assert_null(session_cache_open(memory, 4));
    memory[0]++;
    assert_null(session_cache_open(memory, size));
    memory[0]--;
}

/* A bit of every byte of the memory, turned over: what comes back is what was stored, or nothing.
 */
static void believes_no_damaged_memory(void **state)
{
    size_t size = session_cache_size(ENTRIES);
    unsigned damaged = 0;

    (void)state;
    put(1);
    for (size_t i = 0; i < size; i++) {
        memory[i] ^= 0x10;
        damaged += !has(1);
        memory[i] ^= 0x10;
    }
    uint8_t data[SESSION_CACHE_DATA_MAX];
    assert_in_range(damaged, session_of(1, data), session_of(1, data) + 80);
    assert_true(has(1));
}

/* ---- its bounds ---- */

static void replaces_the_same_session(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++)
        put_until(1, NOW + 100 + i);
    assert_true(has_at(1, NOW + 118));
    assert_int_equal(entries_at(NOW), 1);
    assert_int_equal(session_cache_counts(cache)->replaced, 0);
}

static void never_holds_more_than_it_has_room_for(void **state)
{
    unsigned there = 0;

    (void)state;
    for (uint32_t i = 0; i < 10 * ENTRIES; i++) {
        put(i);
        assert_true(has(i)); /* whoever comes last is in */
    }
    for (uint32_t i = 0; i < 10 * ENTRIES; i++)
        there += has(i);
    assert_int_equal(there, entries_at(NOW));
    assert_true(there <= ENTRIES);
    assert_int_equal(session_cache_counts(cache)->stored, 10 * ENTRIES);
    assert_int_equal(session_cache_counts(cache)->replaced, 10 * ENTRIES - there);
}

static void who_was_used_least_lately_makes_room(void **state)
{
    (void)state;
    teardown(NULL);
    open_cache(1); /* one set */
    for (uint32_t i = 0; i < WAYS; i++)
        put(i);
    assert_true(has(0)); /* used again: now 1 is the oldest */
    put(100);
    assert_false(has(1));
    assert_true(has(0));
    put_until(2, NOW + 50);
    assert_int_equal(entries_at(NOW + 60), WAYS - 1);
    put(101); /* the free place is taken first */
    assert_true(has(3) && has(0) && has(100) && has(101));
    session_cache_close(cache);
    munmap(memory, session_cache_size(1));
    open_cache(ENTRIES);
}

static void what_has_ended_is_wiped(void **state)
{
    uint8_t data[SESSION_CACHE_DATA_MAX];

    (void)state;
    put_until(1, NOW + 10);
    put_until(2, NOW + 20);
    session_of(1, data);
    assert_int_equal(entries_at(NOW + 9), 2);
    assert_true(traces_of(data) > 0);
    assert_int_equal(entries_at(NOW + 10), 1);
    assert_int_equal(traces_of(data), 0);
    assert_int_equal(entries_at(NOW + 20), 0);
}

/* ---- several processes ---- */

#define NUMBERS 200u /* sessions that all write and read: three for each place */

static uint32_t *writes; /* of all writers, in shared memory */

/* Puts and removes until it is killed. */
static void write_for_ever(uint32_t seed)
{
    for (uint32_t n = seed;; n = n * 1664525u + 1013904223u) {
        __atomic_add_fetch(writes, 1, __ATOMIC_RELAXED);
        if (n >> 28 == 0)
            session_cache_remove(cache, id_of(n >> 8 & 127), 32, NOW);
        else
            put((n >> 8) % NUMBERS);
    }
}

static uint32_t written(void)
{
    return __atomic_load_n(writes, __ATOMIC_RELAXED);
}

/* Returns when it writes. */
static pid_t start_writer(uint32_t seed)
{
    uint32_t before = written();
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody behind */
        write_for_ever(seed);
    }
    while (written() == before)
        sched_yield();
    return pid;
}

static void end_writer(pid_t pid)
{
    int status;

    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Reads everything; has() fails the test when a session is not the one that was asked for. */
static unsigned read_all(void)
{
    unsigned there = 0;

    for (uint32_t i = 0; i < NUMBERS; i++)
        there += has(i);
    return there;
}

static void writers_may_be_killed_at_any_instant(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        pid_t writers[2] = {start_writer(round), start_writer(~round)};
        for (unsigned i = 0; i < 1 + round % 5; i++)
            (void)read_all();
        end_writer(writers[0]);
        (void)read_all();
        end_writer(writers[1]);
        (void)read_all();
    }
    /* What the dead were writing comes back into use when it is known that they are dead. */
    (void)entries_at(NOW + 60);
    for (uint32_t i = 0; i < 10 * ENTRIES; i++)
        put(i);
    assert_int_equal(entries_at(NOW), ENTRIES);
}

/* Stopped in the middle, its place taken by others: what it writes when it goes on is not believed.
 */
static void a_stopped_writer_does_no_harm(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 100; round++) {
        pid_t writer = start_writer(round);
        (void)read_all();
        kill(writer, SIGSTOP);
        int status;
        assert_int_equal(waitpid(writer, &status, WUNTRACED), writer);
        (void)entries_at(NOW + 11); /* who writes for so long is dead */
        for (uint32_t i = 0; i < NUMBERS; i++)
            put(i);
        kill(writer, SIGCONT);
        (void)read_all();
        end_writer(writer);
        (void)read_all();
    }
}

static size_t pages_in_use(size_t size)
{
    unsigned char pages[1024];
    size_t count = (size + 4095) / 4096, used = 0;

    assert_true(count <= sizeof pages);
    assert_int_equal(mincore(memory, size, pages), 0);
    for (size_t i = 0; i < count; i++)
        used += pages[i] & 1;
    return used;
}

/* Nor does looking after one that nobody uses. */
static void takes_memory_as_it_comes_into_use(void **state)
{
    enum { LARGE = 1000 };
    size_t size = session_cache_size(LARGE);

    session_cache_close(cache);
    munmap(memory, session_cache_size(ENTRIES));
    open_cache(LARGE);
    for (int i = 0; i < 3; i++)
        assert_int_equal(session_cache_sweep(cache, NOW), 0);
    assert_int_equal(pages_in_use(size), 1);
    put(1);
    assert_true(pages_in_use(size) <= 4);
    session_cache_close(cache);
    munmap(memory, size);
    assert_int_equal(setup(state), 0);
}

int main(void)
{
    writes = mmap(NULL, sizeof *writes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(gives_nothing_that_was_not_stored),
        TEST(gives_nothing_that_has_ended),
        TEST(removes),
        TEST(refuses_what_is_too_large),
        TEST(refuses_memory_of_another_layout),
        TEST(believes_no_damaged_memory),
        TEST(replaces_the_same_session),
        TEST(never_holds_more_than_it_has_room_for),
        TEST(who_was_used_least_lately_makes_room),
        TEST(what_has_ended_is_wiped),
        TEST(writers_may_be_killed_at_any_instant),
        TEST(a_stopped_writer_does_no_harm),
        TEST(takes_memory_as_it_comes_into_use),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
