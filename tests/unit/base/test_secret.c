#include "base/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void nothing_is_not_allocated(void **state)
{
    (void)state;
    assert_null(secret_alloc(0));
    assert_null(secret_alloc(SIZE_MAX));
    secret_free(NULL, 100);
}

/* Exit code of a child that reports whether it sees `byte`. */
static int child_sees(const uint8_t *byte)
{
    int status;
    pid_t child = fork();

    if (child == 0)
        _exit(*byte);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void children_see_zeros(void **state)
{
    (void)state;
    uint8_t *secret = secret_alloc(5000);

    assert_non_null(secret);
    assert_int_equal(secret[0] | secret[4999], 0);
    memset(secret, 42, 5000);
    assert_int_equal(child_sees(&secret[4999]), 0);
    assert_int_equal(secret[4999], 42);
    secret_free(secret, 5000);
}

static void locking_refused_is_counted(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();

    if (child == 0) {
        const struct rlimit none = {0, 0};
        /* Root may lock whatever the limit: then this proves nothing, and says success. */
        bool bound = setrlimit(RLIMIT_MEMLOCK, &none) == 0 && getuid() != 0;
        void *secret = secret_alloc(4096);
        _exit(secret == NULL || (bound && secret_unlocked() != 4096));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void shared_memory_stays_out_of_children(void **state)
{
    (void)state;
    int status;
    uint8_t *arena = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(arena != MAP_FAILED);
    ignore(secret_protect(arena, 4096));
    pid_t child = fork();
    if (child == 0)
        _exit(msync(arena, 4096, MS_ASYNC) == 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    munmap(arena, 4096);
}

static void comparison(void **state)
{
    (void)state;
    assert_true(secret_equal("abc", "abc", 3));
    assert_false(secret_equal("abc", "abd", 3));
    assert_false(secret_equal("xbc", "abc", 3));
    assert_true(secret_equal("abc", "xyz", 0));
}

static void wipe(void **state)
{
    (void)state;
    uint8_t bytes[32];

    memset(bytes, 7, sizeof bytes);
    secret_wipe(bytes, 31);
    for (size_t i = 0; i < 31; i++)
        assert_int_equal(bytes[i], 0);
    assert_int_equal(bytes[31], 7);
}

static void hardened_process_is_undumpable(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();

    if (child == 0) {
        struct rlimit limit;
        secret_harden_process();
        _exit(prctl(PR_GET_DUMPABLE) != 0 || getrlimit(RLIMIT_CORE, &limit) != 0 ||
              limit.rlim_max != 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_not_allocated),
        cmocka_unit_test(children_see_zeros),
        cmocka_unit_test(locking_refused_is_counted),
        cmocka_unit_test(shared_memory_stays_out_of_children),
        cmocka_unit_test(comparison),
        cmocka_unit_test(wipe),
        cmocka_unit_test(hardened_process_is_undumpable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
