#include "edge/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>

/* What every process needs: its loop, its memory, its channels, its end. */
#define SHARED_CALLS                                                                               \
    "read", "write", "readv", "writev", "pread64", "close", "fstat", "newfstatat", "lseek",        \
        "mmap", "munmap", "mremap", "mprotect", "madvise", "mlock", "mlock2", "munlock", "brk",    \
        "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "epoll_create1",          \
        "epoll_ctl", "epoll_wait", "epoll_pwait", "eventfd2", "sendmsg", "recvmsg", "sendto",      \
        "recvfrom", "shutdown", "getsockopt", "setsockopt", "getsockname", "getpeername", "fcntl", \
        "ioctl", "clock_gettime", "clock_nanosleep", "nanosleep", "gettimeofday", "getpid",        \
        "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getrandom", "futex",       \
        "poll", "ppoll", "exit", "exit_group", "restart_syscall", "sched_yield", "getrlimit",      \
        "setrlimit", "prlimit64", "sysinfo", "uname", "prctl", "rseq", "set_robust_list",          \
        "fallocate", "ftruncate", "tgkill", "rt_sigtimedwait", "timerfd_create",                   \
        "timerfd_settime", "dup", "getrusage", "sched_getaffinity"

static const char *const relay_calls[] = {SHARED_CALLS, "socket", "connect", "bind", "dup3"};
static const char *const handshaker_calls[] = {SHARED_CALLS, "accept4",    "listen",
                                               "open",       "openat",     "access",
                                               "readlink",   "getdents64", "socketpair"};

static const char *const prober_calls[] = {
    SHARED_CALLS,     "connect",    "bind",     "access",     "faccessat",
    "readlink",       "getdents64", "stat",     "lstat",      "statx",
    "pipe2",          "sendmmsg",   "recvmmsg", "socketpair", "sched_setaffinity",
    "set_tid_address"};

static const struct {
    const char *const *calls;
    size_t count;
} kinds[] = {
    [SANDBOX_RELAY] = {relay_calls, ARRAY_SIZE(relay_calls)},
    [SANDBOX_HANDSHAKER] = {handshaker_calls, ARRAY_SIZE(handshaker_calls)},
    [SANDBOX_PROBER] = {prober_calls, ARRAY_SIZE(prober_calls)},
};

/* What depends on the arguments of a call. glibc falls back to clone() where clone3(), whose flags
 * no filter can see, is not there. */
static int add_prober_rules(scmp_filter_ctx filter)
{
    static const int families[] = {AF_INET, AF_INET6, AF_NETLINK};
    const unsigned long writing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC;
    const unsigned long thread = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
    int result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                                  SCMP_A2(SCMP_CMP_MASKED_EQ, writing, 0));

    for (size_t i = 0; i < ARRAY_SIZE(families) && result == 0; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                                  SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]));
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, thread, thread));
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return result;
}

int sandbox_enter(enum sandbox_kind kind, struct error *error)
{
    const char *const *calls = kinds[kind].calls;
    size_t count = kinds[kind].count;
    scmp_filter_ctx filter;
    int result = 0;

#if defined(__SANITIZE_ADDRESS__)
    return 0; /* the sanitizers read /proc and start processes of their own when they report */
#endif
    filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL)
        return error_set(error, ERROR_IO, "cannot create the system call filter");
    for (size_t i = 0; i < count && result == 0; i++) {
        int call = seccomp_syscall_resolve_name(calls[i]);
        if (call != __NR_SCMP_ERROR)
            result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
    }
    if (result == 0 && kind == SANDBOX_HANDSHAKER)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(connect), 1,
                                  SCMP_A2(SCMP_CMP_EQ, SANDBOX_CONNECT_SIZE));
    if (result == 0 && kind == SANDBOX_PROBER)
        result = add_prober_rules(filter);
    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    return result == 0 ? 0
                       : error_set(error, ERROR_IO, "cannot load the system call filter: %s",
                                   strerror(-result));
}
