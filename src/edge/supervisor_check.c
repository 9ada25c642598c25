/* The process that examines the files of a configuration (cmd/worker_check.h): executed like any
 * other, but with our privileges, which it gives up between opening and parsing. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "edge/supervisor_reload_internal.h"
#include "edge/worker.h"
#include "ipc/memory.h"

#define CHECK_TIMEOUT_NS (30 * NS_PER_S)

static NORETURN void become_check(const struct reload *reload, const int fds[3])
{
    const struct supervisor *supervisor = reload->supervisor;
    const struct house *house = supervisor->house;
    char program[] = "holdfast", verb[] = "worker", kind[] = "check", user[16] = "-",
         group[16] = "-", path[MESSAGE_PATH_MAX];
    char *arguments[] = {program, verb, kind, user, group, path, NULL};

    if (house->drops_privileges) {
        ignore(snprintf(user, sizeof user, "%u", (unsigned)house->uid));
        ignore(snprintf(group, sizeof group, "%u", (unsigned)house->gid));
    }
    ignore(snprintf(path, sizeof path, "%s", house->config_path));
    spawn_execute(supervisor, house->descriptors[HOUSE_PROGRAM], arguments, fds, 3, false);
}

static void finish(struct reload *reload)
{
    struct reload_check *check = &reload->check;
    int code = WIFEXITED(check->status) ? WEXITSTATUS(check->status) : -1;

    timer_cancel(reload->supervisor->loop, &check->timer);
    check->pid = 0;
    if (check->timed_out)
        reload_note(reload, "the files could not be examined within %d s",
                    (int)(CHECK_TIMEOUT_NS / NS_PER_S));
    else if (code != 0 && reload->notes.size == 0)
        reload_note(reload, "the process that examines the files failed (%s %d)",
                    code < 0 ? "signal" : "code", code < 0 ? WTERMSIG(check->status) : code);
    reload_checked(reload, check->timed_out ? ERROR_TIMEOUT
                           : code == 0      ? ERROR_NONE
                           : code == 6      ? ERROR_CERTIFICATE_UNPARSABLE
                           : code == 3      ? ERROR_IO
                                            : ERROR_INTERNAL);
}

static void finish_if_done(struct reload *reload)
{
    if (reload->check.pid != 0 && reload->check.ended && reload->check.output < 0)
        finish(reload);
}

static void close_output(struct reload *reload)
{
    if (reload->check.output < 0)
        return;
    loop_unwatch(reload->supervisor->loop, reload->check.output);
    ignore(close(reload->check.output));
    reload->check.output = -1;
}

static void on_output(void *context, uint64_t tag, unsigned events)
{
    struct reload *reload = context;
    char text[4096];
    (void)tag, (void)events;

    while (reload->check.output >= 0) {
        ssize_t got = read(reload->check.output, text, sizeof text);
        if (got > 0)
            ignore(buffer_append(&reload->notes, text, (size_t)got)); /* it has a limit */
        else if (got < 0 && errno == EAGAIN)
            return;
        else if (got == 0 || errno != EINTR)
            close_output(reload);
    }
    finish_if_done(reload);
}

static void on_timeout(void *context)
{
    struct reload *reload = context;

    reload->check.timed_out = true;
    ignore(kill(reload->check.pid, SIGKILL));
}

bool reload_child_ended(struct reload *reload, pid_t pid, int status)
{
    if (reload->check.pid != pid)
        return false;
    reload->check.ended = true;
    reload->check.status = status;
    if (reload->check.timed_out)
        close_output(reload); /* somebody else may hold its other end */
    finish_if_done(reload);
    return true;
}

void check_init(struct reload *reload)
{
    reload->check.output = -1;
    reload->check_handler = loop_handler(reload->supervisor->loop, on_output, reload);
    timer_init(&reload->check.timer, on_timeout, reload);
}

int check_begin(struct reload *reload, struct error *error)
{
    struct supervisor *supervisor = reload->supervisor;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(error, ERROR_IO, "cannot make a pipe: %s", strerror(errno));
    ignore(fcntl(ends[0], F_SETFL, O_NONBLOCK));
    int fds[3] = {ends[1], reload->document, supervisor->house->descriptors[HOUSE_CONFIG]};
    pid_t pid = fork();
    if (pid == 0)
        become_check(reload, fds);
    ignore(close(ends[1]));
    if (pid < 0 || !loop_watch(supervisor->loop, ends[0], LOOP_READ, reload->check_handler, 0)) {
        int code = error_set(error, ERROR_IO, "cannot start a process: %s", strerror(errno));
        ignore(close(ends[0]));
        return code;
    }
    reload->check.pid = pid;
    reload->check.output = ends[0];
    reload->check.ended = reload->check.timed_out = false;
    timer_set(supervisor->loop, &reload->check.timer,
              loop_now(supervisor->loop) + CHECK_TIMEOUT_NS);
    return 0;
}
