/* session/slot.h: the arena's header and the commit of a slot's hot part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "session/slot.h"

#define CAPACITY 4u
#define BLOCKS   64u

static void *zeroed(size_t size)
{
    void *memory = aligned_alloc(4096, (size + 4095) & ~(size_t)4095);
    memset(memory, 0, (size + 4095) & ~(size_t)4095);
    return memory;
}

static void test_observer_refuses_an_empty_arena(void **state)
{
    void *metadata = zeroed(arena_metadata_size(CAPACITY));
    struct arena arena;
    (void)state;

    assert_false(arena_attach(&arena, metadata, arena_metadata_size(CAPACITY), NULL, NULL, 0, 0));
    free(metadata);
}

static void test_refuses_another_geometry(void **state)
{
    size_t size = arena_metadata_size(CAPACITY);
    void *metadata = zeroed(size);
    struct arena arena;
    (void)state;

    assert_true(arena_attach(&arena, metadata, size, NULL, NULL, CAPACITY, BLOCKS));
    assert_false(arena_attach(&arena, metadata, size, NULL, NULL, CAPACITY + 1, BLOCKS));
    assert_false(arena_attach(&arena, metadata, size, NULL, NULL, CAPACITY, BLOCKS * 2));
    assert_false(arena_attach(&arena, metadata, size - 1, NULL, NULL, 0, 0));
    arena.header->version++;
    assert_false(arena_attach(&arena, metadata, size, NULL, NULL, CAPACITY, BLOCKS));
    free(metadata);
}

static void test_parts_do_not_overlap(void **state)
{
    void *metadata = zeroed(arena_metadata_size(CAPACITY)),
         *secrets = zeroed(arena_secrets_size(CAPACITY));
    struct arena arena;
    (void)state;

    assert_true(arena_attach(&arena, metadata, arena_metadata_size(CAPACITY), secrets, NULL,
                             CAPACITY, BLOCKS));
    assert_true((uint8_t *)(arena.slots + CAPACITY) <= (uint8_t *)arena.clients);
    assert_true((uint8_t *)(arena.clients + CAPACITY) <=
                (uint8_t *)metadata + arena_metadata_size(CAPACITY));
    assert_true((uint8_t *)(arena.change + 1) <= (uint8_t *)arena.secrets);
    assert_true((uint8_t *)(arena.secrets + CAPACITY) <= (uint8_t *)arena.upstream_secrets);
    assert_true((uint8_t *)(arena.upstream_secrets + CAPACITY) <=
                (uint8_t *)secrets + arena_secrets_size(CAPACITY));
    assert_int_equal(((uintptr_t)arena.upstream_secrets - (uintptr_t)secrets) % 4096, 0);
    free(metadata);
    free(secrets);
}

/* What lies beside a slot is of one session only, and nonsense is of none. */
static void test_client(void **state)
{
    size_t size = arena_metadata_size(CAPACITY);
    void *metadata = zeroed(size);
    struct client_identity identity = {.chain_count = 2, .subject = "CN=somebody"}, found;
    struct arena arena;
    (void)state;

    assert_true(arena_attach(&arena, metadata, size, NULL, NULL, CAPACITY, BLOCKS));
    arena.slots[3].serial = 7;
    assert_false(slot_client(&arena, 3, 7, &found));
    slot_set_client(&arena, 3, &identity);
    assert_true(slot_client(&arena, 3, 7, &found));
    assert_memory_equal(&found, &identity, sizeof identity);
    assert_false(slot_client(&arena, 3, 8, &found)); /* the slot's next session */
    assert_false(slot_client(&arena, 2, 7, &found));
    identity.chain_count = CLIENT_CHAIN_MAX + 1;
    slot_set_client(&arena, 3, &identity);
    assert_false(slot_client(&arena, 3, 7, &found));
    free(metadata);
}

/* Who it was is gone with the session. */
static void test_client_is_wiped(void **state)
{
    static const struct slot_client none;
    size_t size = arena_metadata_size(CAPACITY);
    void *metadata = zeroed(size), *secrets = zeroed(arena_secrets_size(CAPACITY));
    struct client_identity identity = {.chain_count = 2, .subject = "CN=somebody"};
    struct arena arena;
    (void)state;

    assert_true(arena_attach(&arena, metadata, size, secrets, NULL, CAPACITY, BLOCKS));
    arena.slots[3].serial = 7;
    arena.slots[3].generation.trust = 1;
    slot_set_client(&arena, 3, &identity);
    slot_wipe(&arena, 3);
    assert_memory_equal(&arena.clients[3], &none, sizeof none);
    free(secrets);
    free(metadata);
}

static void test_commit_keeps_the_other_copy(void **state)
{
    struct slot slot = {0};
    struct slot_hot next = {.client.write_sequence = 7};
    (void)state;

    slot.hot[0].client.write_sequence = 6;
    slot_commit(&slot, &next);
    assert_int_equal(slot_hot(&slot)->client.write_sequence, 7);
    assert_int_equal(slot.hot[(slot.current ^ 1) & 1].client.write_sequence, 6);
}

static void test_commit_takes_the_upstream_leg_along(void **state)
{
    struct slot_upstream_secrets secrets = {0};
    struct slot slot = {0};
    struct slot_hot next = {0};
    struct leg upstream = {.read_sequence = 3};
    (void)state;

    slot_commit_upstream(&slot, &next, &secrets, &upstream);
    assert_int_equal(secrets.leg[slot.current & 1].read_sequence, 3);
    assert_int_equal(secrets.leg[(slot.current ^ 1) & 1].read_sequence, 0);
}

/* Every field of a copy says the same number, so that a torn one shows. */
static void fill(struct slot_hot *hot, uint64_t number)
{
    hot->client.read_sequence = hot->client.write_sequence = number;
    for (unsigned i = 0; i < FLOW_COUNT; i++) {
        hot->flows[i].read_position = hot->flows[i].write_position = number;
        hot->flows[i].input = hot->flows[i].output = (uint32_t)number;
    }
}

static void assert_whole(const struct slot_hot *hot)
{
    struct slot_hot expected;

    memcpy(&expected, hot, sizeof expected);
    fill(&expected, hot->client.read_sequence);
    assert_memory_equal(&expected, hot, sizeof expected);
}

static void test_what_was_not_committed_shows(void **state)
{
    struct slot_upstream_secrets secrets = {0};
    struct slot slot = {.serial = 5};
    struct slot_hot next = {.client.write_sequence = 7};
    struct leg upstream = {.write_sequence = 9};
    (void)state;

    assert_false(slot_intact(&slot, &secrets)); /* zeroed memory is nobody's session */
    slot_commit(&slot, &next);
    assert_true(slot_intact(&slot, &secrets));
    secrets.leg[slot.current].write_sequence++;
    assert_true(slot_intact(&slot, &secrets)); /* it has none */
    slot.hot[slot.current ^ 1].client.write_sequence++;
    assert_true(slot_intact(&slot, &secrets));
    for (size_t at = 0; at < sizeof(struct slot_hot); at++) {
        ((uint8_t *)&slot.hot[slot.current])[at] ^= 0x10;
        assert_false(slot_intact(&slot, &secrets));
        ((uint8_t *)&slot.hot[slot.current])[at] ^= 0x10;
    }
    slot.serial++; /* the copy of an earlier session */
    assert_false(slot_intact(&slot, &secrets));
    slot_commit_upstream(&slot, &next, &secrets, &upstream);
    assert_true(slot_intact(&slot, &secrets));
    secrets.leg[slot.current].write_sequence++;
    assert_false(slot_intact(&slot, &secrets));
    secrets.leg[slot.current].write_sequence--;
    slot.current = 2;
    assert_false(slot_intact(&slot, &secrets));
}

/* A process that does some work instruction by instruction. */
static pid_t traced(void (*work)(void *), void *context)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        raise(SIGSTOP);
        work(context);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status))
        skip(); /* not allowed to trace here */
    return pid;
}

/* False when it has ended. */
static bool step(pid_t pid, int *ret_status)
{
    return ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0 && waitpid(pid, ret_status, 0) == pid &&
           WIFSTOPPED(*ret_status);
}

struct shared {
    struct slot slot;
    struct slot_upstream_secrets secrets;
};

struct commit {
    struct shared *shared;
    struct slot_hot next;
    struct leg upstream;
};

static void commit_the_next(void *context)
{
    struct commit *it = context;

    fill(&it->next, 2);
    it->upstream.read_sequence = 2;
    slot_commit_upstream(&it->shared->slot, &it->next, &it->shared->secrets, &it->upstream);
}

/* Between every two instructions of a commit, not only between its stores: the process is stepped
 * and, after each step, what a successor would find is looked at. */
static void test_every_instruction_of_a_commit(void **state)
{
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct slot_hot next = {0};
    struct leg upstream = {.read_sequence = 1};
    unsigned steps = 0, flips = 0;
    int status;
    (void)state;

    assert_true(shared != MAP_FAILED);
    fill(&next, 1);
    slot_commit_upstream(&shared->slot, &next, &shared->secrets, &upstream);
    struct commit work = {shared, next, upstream};
    pid_t writer = traced(commit_the_next, &work);
    uint8_t before = shared->slot.current;
    while (step(writer, &status)) {
        const struct slot_hot *hot = slot_hot(&shared->slot);
        assert_true(slot_intact(&shared->slot, &shared->secrets));
        assert_whole(hot);
        uint64_t number = hot->client.read_sequence;
        assert_int_equal(shared->secrets.leg[shared->slot.current].read_sequence, number);
        assert_int_equal(number, shared->slot.current == before ? 1 : 2);
        flips += shared->slot.current != before;
        steps++;
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(steps > 100 && flips > 0 && flips < steps);
    munmap(shared, sizeof *shared);
}

/* A process that commits without end is killed at any instant: the valid copy is whole each time.
 */
static void test_a_killed_commit_leaves_a_whole_copy(void **state)
{
    struct slot *slot =
        mmap(NULL, sizeof *slot, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    (void)state;

    assert_true(slot != MAP_FAILED);
    for (unsigned round = 0; round < 100; round++) {
        uint64_t before = slot_hot(slot)->client.read_sequence;
        pid_t writer = fork();
        assert_true(writer >= 0);
        if (writer == 0) {
            struct slot_hot next = *slot_hot(slot);
            for (uint64_t number = before;; number++) {
                fill(&next, number);
                slot_commit(slot, &next);
            }
        }
        while (__atomic_load_n(&slot->hot[0].client.read_sequence, __ATOMIC_RELAXED) <
               before + 100 + round)
            ;
        assert_int_equal(kill(writer, SIGKILL), 0);
        assert_int_equal(waitpid(writer, NULL, 0), writer);
        assert_whole(slot_hot(slot));
    }
    munmap(slot, sizeof *slot);
}

static void test_a_note_covers_connections(void **state)
{
    struct slot slot = {.serial = 7, .client_cookie = 8, .upstream_cookie = 9};
    uint8_t *covered[] = {
        (uint8_t *)&slot.serial,          (uint8_t *)&slot.client_cookie,
        (uint8_t *)&slot.upstream_cookie, (uint8_t *)&slot.streams[0].received,
        (uint8_t *)&slot.streams[0].sent, (uint8_t *)&slot.streams[1].received,
        (uint8_t *)&slot.streams[1].sent, &slot.by_hand,
    };
    (void)state;

    assert_false(slot_noted(&slot));
    slot_note(&slot);
    for (size_t i = 0; i < sizeof covered / sizeof covered[0]; i++) {
        *covered[i] ^= 1;
        assert_false(slot_noted(&slot));
        *covered[i] ^= 1;
        assert_true(slot_noted(&slot));
    }
    for (unsigned side = 0; side < 2; side++) {
        slot.by_hand = (uint8_t)(1u << side);
        slot_note(&slot);
        slot.streams[side].received += 100; /* with every call */
        assert_true(slot_noted(&slot));
        slot.streams[side ^ 1].sent++;
        assert_false(slot_noted(&slot));
    }
}

/* ---- keys that change ---- */

enum { KEY_SLOT = 2, KEY_STEPS_MIN = 100 };

/* The keys of an epoch. */
static struct record_key key_of(uint32_t epoch)
{
    struct record_key key = {.epoch = epoch};

    memset(key.secret, (int)epoch + 1, sizeof key.secret);
    memset(key.key, (int)epoch + 2, sizeof key.key);
    memset(key.iv, (int)epoch + 3, sizeof key.iv);
    return key;
}

static struct arena shared_arena(size_t *ret_metadata_size, size_t *ret_secrets_size)
{
    struct arena arena;

    *ret_metadata_size = arena_metadata_size(CAPACITY);
    *ret_secrets_size = arena_secrets_size(CAPACITY);
    void *metadata = mmap(NULL, *ret_metadata_size, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0),
         *secrets = mmap(NULL, *ret_secrets_size, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(metadata != MAP_FAILED && secrets != MAP_FAILED);
    assert_true(
        arena_attach(&arena, metadata, *ret_metadata_size, secrets, NULL, CAPACITY, BLOCKS));
    return arena;
}

static void begin_with_keys(struct arena *arena)
{
    struct slot_upstream_secrets *secrets = &arena->upstream_secrets[KEY_SLOT];
    struct slot_hot first = {0};
    struct leg upstream = {0};

    arena->slots[KEY_SLOT].serial = 9;
    arena->secrets[KEY_SLOT].client = secrets->keys = (struct leg_keys){key_of(0), key_of(0)};
    slot_commit_upstream(&arena->slots[KEY_SLOT], &first, secrets, &upstream);
}

/* As a turn does it: the peer's key of one leg and ours of the other. */
static void change_keys(void *context)
{
    struct arena *arena = context;
    struct slot *slot = &arena->slots[KEY_SLOT];
    struct slot_upstream_secrets *secrets = &arena->upstream_secrets[KEY_SLOT];
    struct slot_hot next = *slot_hot(slot);
    struct leg upstream = secrets->leg[slot->current & 1];

    slot_client_keys(arena, KEY_SLOT).of[1]->read = key_of(1);
    next.client.read_bank = 1;
    next.client.read_epoch = 1;
    slot_upstream_keys(arena, KEY_SLOT).of[1]->write = key_of(1);
    upstream.write_bank = 1;
    upstream.write_epoch = 1;
    slot_commit_upstream(slot, &next, secrets, &upstream);
    slot_settle(arena, KEY_SLOT);
}

/* What a successor makes of the arena as it stands: the keys that the legs speak of, and no others.
 * Returns how often they have changed. */
static uint32_t assert_keys_are_found(const struct arena *left, size_t metadata_size,
                                      size_t secrets_size)
{
    static const struct slot_change nothing;
    void *metadata = zeroed(metadata_size), *secrets = zeroed(secrets_size);
    struct arena arena;

    memcpy(metadata, left->header, metadata_size);
    memcpy(secrets, left->change, secrets_size);
    assert_true(arena_attach(&arena, metadata, metadata_size, secrets, NULL, CAPACITY, BLOCKS));
    slot_settle_left(&arena, KEY_SLOT);
    const struct slot *slot = &arena.slots[KEY_SLOT];
    const struct slot_upstream_secrets *at = &arena.upstream_secrets[KEY_SLOT];
    assert_true(slot_intact(slot, at) && slot_settled(slot, at));
    uint32_t epoch = slot_hot(slot)->client.read_epoch;
    assert_int_equal(at->leg[slot->current].write_epoch, epoch);
    const struct leg_keys client = {key_of(epoch), key_of(0)}, up = {key_of(0), key_of(epoch)};
    assert_memory_equal(&arena.secrets[KEY_SLOT].client, &client, sizeof client);
    assert_memory_equal(&at->keys, &up, sizeof up);
    assert_memory_equal(arena.change, &nothing, sizeof nothing);
    free(metadata);
    free(secrets);
    return epoch;
}

static void test_every_instruction_of_a_key_change(void **state)
{
    size_t metadata_size, secrets_size;
    struct arena arena = shared_arena(&metadata_size, &secrets_size);
    uint32_t epoch = 0, changes = 0;
    unsigned steps = 0;
    int status;
    (void)state;

    begin_with_keys(&arena);
    pid_t writer = traced(change_keys, &arena);
    while (step(writer, &status)) {
        uint32_t now = assert_keys_are_found(&arena, metadata_size, secrets_size);
        changes += now != epoch;
        epoch = now;
        steps++;
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(steps > KEY_STEPS_MIN);
    assert_int_equal(changes, 1);
    assert_int_equal(assert_keys_are_found(&arena, metadata_size, secrets_size), 1);
    munmap(arena.header, metadata_size);
    munmap(arena.change, secrets_size);
}

/* Without a successor: the old keys are gone at once. */
static void test_old_keys_end_with_the_change(void **state)
{
    static const struct slot_change nothing;
    size_t metadata_size, secrets_size;
    struct arena arena = shared_arena(&metadata_size, &secrets_size);
    const struct record_key old = key_of(0), new = key_of(1);
    (void)state;

    begin_with_keys(&arena);
    change_keys(&arena);
    assert_true(slot_settled(&arena.slots[KEY_SLOT], &arena.upstream_secrets[KEY_SLOT]));
    assert_memory_equal(&arena.secrets[KEY_SLOT].client.read, &new, sizeof new);
    assert_memory_equal(&arena.secrets[KEY_SLOT].client.write, &old, sizeof old);
    assert_memory_equal(arena.change, &nothing, sizeof nothing);
    munmap(arena.header, metadata_size);
    munmap(arena.change, secrets_size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_observer_refuses_an_empty_arena),
        cmocka_unit_test(test_refuses_another_geometry),
        cmocka_unit_test(test_parts_do_not_overlap),
        cmocka_unit_test(test_client),
        cmocka_unit_test(test_client_is_wiped),
        cmocka_unit_test(test_commit_keeps_the_other_copy),
        cmocka_unit_test(test_commit_takes_the_upstream_leg_along),
        cmocka_unit_test(test_what_was_not_committed_shows),
        cmocka_unit_test(test_every_instruction_of_a_commit),
        cmocka_unit_test(test_every_instruction_of_a_key_change),
        cmocka_unit_test(test_old_keys_end_with_the_change),
        cmocka_unit_test(test_a_note_covers_connections),
        cmocka_unit_test(test_a_killed_commit_leaves_a_whole_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
