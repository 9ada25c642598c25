#include "demo/process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child: what it must not inherit. */
static void settle(pid_t parent)
{
    sigset_t none;

    ignore(setpgid(0, 0));
    ignore(prctl(PR_SET_PDEATHSIG, SIGTERM));
    if (getppid() != parent)
        _exit(1);
    sigemptyset(&none);
    ignore(sigprocmask(SIG_SETMASK, &none, NULL));
}

static int begin(struct process *process, const char *name, struct error *error)
{
    pid_t parent = getpid();

    process->name = name;
    process->status = 0;
    process->pid = fork();
    if (process->pid < 0) {
        process->pid = 0;
        return error_set(error, ERROR_IO, "cannot start the process \"%s\": %s", name,
                         strerror(errno));
    }
    if (process->pid == 0)
        settle(parent);
    return 0;
}

int process_start(struct process *process, const char *name, process_fn *fn, void *context,
                  struct error *error)
{
    int result = begin(process, name, error);

    if (result == 0 && process->pid == 0)
        exit(fn(context));
    return result;
}

int process_execute(struct process *process, const char *name, const char *path,
                    char *const *arguments, int output_fd, struct error *error)
{
    int result = begin(process, name, error);

    if (result != 0 || process->pid != 0)
        return result;
    if (dup2(output_fd, STDOUT_FILENO) >= 0 && dup2(output_fd, STDERR_FILENO) >= 0)
        ignore(execv(path, arguments));
    _exit(127);
}

bool process_ended(struct process *process)
{
    if (process->pid != 0 && waitpid(process->pid, &process->status, WNOHANG) == process->pid)
        process->pid = 0;
    return process->pid == 0;
}

bool process_wait(struct process *process)
{
    while (process->pid != 0) {
        if (waitpid(process->pid, &process->status, 0) == process->pid || errno != EINTR)
            process->pid = 0;
    }
    return WIFEXITED(process->status) && WEXITSTATUS(process->status) == 0;
}

bool process_stop(struct process *process, int timeout_ms)
{
    if (process->pid == 0)
        return WIFEXITED(process->status) && WEXITSTATUS(process->status) == 0;
    struct pollfd ended = {.fd = pidfd_open(process->pid, 0), .events = POLLIN};
    ignore(kill(process->pid, SIGTERM));
    if (ended.fd < 0 || poll(&ended, 1, timeout_ms) != 1)
        ignore(kill(process->pid, SIGKILL));
    if (ended.fd >= 0)
        ignore(close(ended.fd));
    return process_wait(process);
}
