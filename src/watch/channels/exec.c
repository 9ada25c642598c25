/* A program of the operator's: the message as JSON on its standard input, nothing on its command
 * line but what was configured, an environment of its own. Exit code 0 is a delivery. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "ipc/memory.h"
#include "watch/channels/channel_internal.h"

struct alert_channel_exec {
    struct alert_channel_exec *next;
    uint64_t serial; /* the tag of its descriptor */
    struct alert_channel_sending *sending;
    pid_t pid;
    int pidfd;
    struct timer timeout;
    bool late;
};

static NORETURN void run(const struct conf_channel *channel, int message_fd)
{
    static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *environment[] = {path, NULL};
    char *arguments[CONF_CHANNEL_COMMAND_MAX + 1] = {NULL};
    sigset_t none;

    for (size_t i = 0; i < channel->command.count && i < CONF_CHANNEL_COMMAND_MAX; i++)
        arguments[i] = channel->command.items[i];
    /* What control ignores, it would ignore, too: SIGTERM, and SIGPIPE, by which pipelines end. */
    for (int number = 1; number <= SIGRTMAX; number++)
        ignore(signal(number, SIG_DFL) == SIG_ERR);
    sigemptyset(&none);
    ignore(sigprocmask(SIG_SETMASK, &none, NULL));
    ignore(setpgid(0, 0));
    int nothing = open("/dev/null", O_WRONLY);
    if (nothing < 0 || dup2(message_fd, STDIN_FILENO) < 0 || dup2(nothing, STDOUT_FILENO) < 0 ||
        dup2(nothing, STDERR_FILENO) < 0 || close_range(STDERR_FILENO + 1, ~0u, 0) != 0)
        _exit(126);
    execve(arguments[0], arguments, environment);
    _exit(127);
}

void alert_channel_exec_end(struct alert_channel_exec *exec)
{
    if (exec == NULL)
        return;
    struct alert_channel_host *host = exec->sending->host;
    struct alert_channel_exec **link = &host->execs;
    while (*link != NULL && *link != exec)
        link = &(*link)->next;
    if (*link != NULL)
        *link = exec->next;
    if (exec->pid > 0) {
        ignore(kill(-exec->pid, SIGKILL));
        ignore(kill(exec->pid, SIGKILL));
        while (waitpid(exec->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    timer_cancel(host->loop, &exec->timeout);
    if (exec->pidfd >= 0) {
        loop_unwatch(host->loop, exec->pidfd);
        ignore(close(exec->pidfd));
    }
    free(exec);
}

static void explain(struct alert_channel_result *result, int status, bool late)
{
    if (late)
        ignore(snprintf(result->error, sizeof result->error,
                        "it did not end within its time and was killed"));
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        ignore(snprintf(result->error, sizeof result->error, "it cannot be executed"));
    else if (WIFEXITED(status))
        ignore(snprintf(result->error, sizeof result->error, "it ended with exit code %d",
                        WEXITSTATUS(status)));
    else
        ignore(snprintf(result->error, sizeof result->error, "it was ended by signal %d",
                        WTERMSIG(status)));
}

void alert_channel_exec_handler(void *context, uint64_t tag, unsigned events)
{
    const struct alert_channel_host *host = context;
    struct alert_channel_exec *exec = host->execs;
    struct alert_channel_result result = {.retry_after_s = -1};
    int status = 0;
    (void)events;

    while (exec != NULL && exec->serial != tag)
        exec = exec->next;
    if (exec == NULL || waitpid(exec->pid, &status, WNOHANG) != exec->pid)
        return;
    ignore(kill(-exec->pid, SIGKILL)); /* what it has left behind */
    exec->pid = 0;
    struct alert_channel_sending *sending = exec->sending;
    result.delivered = !exec->late && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!result.delivered)
        explain(&result, status, exec->late);
    alert_channel_exec_end(exec);
    sending->exec = NULL;
    alert_channel_finish(sending, &result);
}

static void on_timeout(void *context)
{
    struct alert_channel_exec *exec = context;

    exec->late = true;
    ignore(kill(-exec->pid, SIGKILL));
    ignore(kill(exec->pid, SIGKILL)); /* it may not have its group yet */
}

static int message_file(const json_t *message, struct error *error)
{
    char *text = json_dumps(message, JSON_COMPACT);
    int fd = text != NULL ? memory_document("message", text, strlen(text)) : -1;

    free(text);
    if (fd >= 0)
        ignore(lseek(fd, 0, SEEK_SET));
    return fd >= 0 ? fd : error_set(error, ERROR_IO, "no memory for the message");
}

int alert_channel_exec_start(struct alert_channel_sending *sending,
                             const struct alert_channel_order *order, struct error *error)
{
    struct alert_channel_host *host = sending->host;
    struct alert_channel_exec *exec = calloc(1, sizeof *exec);
    int message = exec != NULL ? message_file(order->message, error)
                               : error_set(error, ERROR_MEMORY, "out of memory");

    if (message < 0) {
        free(exec);
        return message;
    }
    *exec = (struct alert_channel_exec){
        .next = host->execs, .serial = ++host->exec_serial, .sending = sending, .pidfd = -1};
    host->execs = exec;
    timer_init(&exec->timeout, on_timeout, exec);
    exec->pid = fork();
    if (exec->pid == 0)
        run(order->channel, message);
    ignore(close(message));
    exec->pidfd = exec->pid > 0 ? pidfd_open(exec->pid, 0) : -1;
    if (exec->pidfd < 0 ||
        !loop_watch(host->loop, exec->pidfd, LOOP_READ, host->exec_handler, exec->serial)) {
        alert_channel_exec_end(exec);
        return error_set(error, ERROR_IO, "cannot start the program: %s", strerror(errno));
    }
    timer_set(host->loop, &exec->timeout,
              loop_now(host->loop) + order->channel->timeout * NS_PER_MS);
    sending->exec = exec;
    return 0;
}
