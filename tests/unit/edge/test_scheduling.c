/* What the kernel says about a process after scheduling_apply(); each case in a child of its own,
 * because nobody but root can take it back. */
#include "edge/scheduling.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct attributes { /* struct sched_attr */
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static struct attributes after(enum process_kind kind, int own_nice, int handshaker_nice)
{
    struct attributes attributes = {0};
    int ends[2], status;

    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        ignore(setpriority(PRIO_PROCESS, 0, own_nice));
        scheduling_apply(kind, handshaker_nice);
        ignore(syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0));
        _exit(write(ends[1], &attributes, sizeof attributes) != sizeof attributes);
    }
    assert_int_equal(read(ends[0], &attributes, sizeof attributes), sizeof attributes);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    ignore(close(ends[0]));
    ignore(close(ends[1]));
    return attributes;
}

/* Slices can be chosen since Linux 6.12. */
static bool slices(void)
{
    struct utsname name;
    int major = 0, minor = 0;

    return uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 12));
}

static void test_others_stay_as_they_are(void **state)
{
    (void)state;
    struct attributes before = after(PROCESS_SUPERVISOR, 3, 10);
    struct attributes control = after(PROCESS_CONTROL, 3, 10);
    assert_int_equal(before.nice, 3);
    assert_memory_equal(&before, &control, sizeof before);
}

static void test_a_handshaker_steps_back(void **state)
{
    (void)state;
    struct attributes handshaker = after(PROCESS_HANDSHAKER, 0, 7);
    assert_int_equal(handshaker.policy, SCHED_BATCH);
    assert_int_equal(handshaker.nice, 7);
}

static void test_a_relay_has_the_shorter_slice(void **state)
{
    (void)state;
    struct attributes relay = after(PROCESS_RELAY, 2, 10);
    assert_int_equal(relay.policy, SCHED_OTHER);
    assert_int_equal(relay.nice, 2);
    if (!slices())
        skip();
    assert_int_equal(relay.runtime, 100 * 1000);
    assert_true(after(PROCESS_HANDSHAKER, 0, 10).runtime > relay.runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_others_stay_as_they_are),
        cmocka_unit_test(test_a_handshaker_steps_back),
        cmocka_unit_test(test_a_relay_has_the_shorter_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
