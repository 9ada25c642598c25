#include "edge/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/secret.h"
#include "edge/supervisor_internal.h"

#define BACKOFF_FIRST_NS (100 * NS_PER_MS)
#define BACKOFF_MAX_NS   (10 * NS_PER_S)
#define HEALTHY_AFTER_NS                                                                           \
    (10 * NS_PER_S) /* a process that lived this long starts with the first back-off again */
#define HUNG_AFTER_NS (15 * NS_PER_S) /* without a heartbeat */
#define STOP_GRACE_NS (5 * NS_PER_S)  /* beyond the deadline, before what is left is killed */

/* ---- telling ---- */

static PRINTF_LIKE(4, 0) void report(struct supervisor *supervisor, enum event_type type,
                                     unsigned subject, const char *format, va_list arguments)
{
    struct event *event = event_begin(&supervisor->events, type);

    if (event == NULL)
        return;
    event->worker = (uint16_t)subject;
    ignore(vsnprintf(event->detail, sizeof event->detail, format, arguments));
    event_end(&supervisor->events, type);
}

void supervisor_event(struct supervisor *supervisor, enum event_type type, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    report(supervisor, type, board_worker_number(PROCESS_SUPERVISOR, 0), format, arguments);
    va_end(arguments);
}

/* An event whose subject is another process. */
static PRINTF_LIKE(3, 4) void process_event(struct process *process, enum event_type type,
                                            const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    report(process->supervisor, type, process->number, format, arguments);
    va_end(arguments);
}

void supervisor_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = path == NULL ? 0 : strlen(path);

    if (size == 0 || size >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, size);
    if (address.sun_path[0] == '@')
        address.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    ignore(sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)));
    ignore(close(fd));
}

static void kill_process(const struct process *process)
{
    if (process->pid > 0)
        ignore(kill(process->pid, SIGKILL));
}

/* ---- starting ---- */

static void start_process(struct process *process)
{
    struct supervisor *supervisor = process->supervisor;
    struct error error = {0};
    uint64_t tag = (uint64_t)(process - supervisor->processes);

    if (spawn_process(process, &error) < 0) {
        process_event(process, EVENT_WARNING, "cannot start: %s", error.message);
        if (process->pid > 0)
            kill_process(process); /* its death is noticed as any other */
        else
            timer_set(supervisor->loop, &process->restart, clock_monotonic_ns() + BACKOFF_MAX_NS);
        return;
    }
    if (!loop_watch(supervisor->loop, process->channel, LOOP_READ, supervisor->channel_handler,
                    tag))
        kill_process(process);
    process_event(process, EVENT_PROCESS_STARTED, "pid %d", (int)process->pid);
}

static void on_restart(void *context)
{
    struct process *process = context;

    if (process->supervisor->stop < STOP_HANDSHAKERS)
        start_process(process);
}

static bool all_ready(const struct supervisor *supervisor)
{
    for (unsigned i = 0; i < supervisor->process_count; i++) {
        if (supervisor->processes[i].stage != PROCESS_RUNNING)
            return false;
    }
    return true;
}

static void process_ready(struct process *process)
{
    struct supervisor *supervisor = process->supervisor;

    if (process->stage == PROCESS_STARTING)
        process->stage = PROCESS_RUNNING;
    if (supervisor->ready || !all_ready(supervisor))
        return;
    supervisor->ready = true;
    supervisor_event(supervisor, EVENT_READY, "holdfast " HOLDFAST_VERSION ": capacity %u sessions",
                     supervisor->slot_capacity * supervisor->conf->workers);
    supervisor_notify("READY=1");
}

/* ---- stopping ---- */

static bool any_alive(const struct supervisor *supervisor, enum process_kind kind)
{
    for (unsigned i = 0; i < supervisor->process_count; i++) {
        if (supervisor->processes[i].kind == kind && supervisor->processes[i].pid > 0)
            return true;
    }
    return false;
}

static void stop_kind(struct supervisor *supervisor, enum process_kind kind)
{
    struct message_stop body = {.deadline_ns = supervisor->stop_deadline_ns};

    for (unsigned i = 0; i < supervisor->process_count; i++) {
        struct process *process = &supervisor->processes[i];
        if (process->kind != kind)
            continue;
        timer_cancel(supervisor->loop, &process->restart);
        if (process->pid <= 0)
            continue;
        process->stage = PROCESS_STOPPING;
        if (channel_send(process->channel, MESSAGE_STOP, &body, sizeof body, NULL, 0) !=
            CHANNEL_DONE)
            kill_process(process);
    }
}

/* Goes on to the next phase of stopping when nobody of this one is left. */
static void stop_advance(struct supervisor *supervisor)
{
    if (supervisor->stop == STOP_HANDSHAKERS && !any_alive(supervisor, PROCESS_HANDSHAKER)) {
        supervisor->stop = STOP_RELAYS;
        stop_kind(supervisor, PROCESS_RELAY);
    }
    if (supervisor->stop == STOP_RELAYS && !any_alive(supervisor, PROCESS_RELAY)) {
        supervisor->stop = STOP_CONTROL;
        event_flush(&supervisor->events);
        stop_kind(supervisor, PROCESS_CONTROL);
    }
    if (supervisor->stop == STOP_CONTROL && !any_alive(supervisor, PROCESS_CONTROL))
        loop_stop(supervisor->loop, supervisor->exit_code);
}

static void stop_listening(struct supervisor *supervisor)
{
    supervisor->stop = STOP_HANDSHAKERS;
    for (size_t i = 0; i < supervisor->listening_count; i++) {
        ignore(close(supervisor->listening[i]));
    }
    supervisor->listening_count = 0;
    stop_kind(supervisor, PROCESS_HANDSHAKER);
    timer_set(supervisor->loop, &supervisor->stop_timer,
              supervisor->stop_deadline_ns + STOP_GRACE_NS);
    stop_advance(supervisor);
}

static void on_stop_timer(void *context)
{
    struct supervisor *supervisor = context;

    if (supervisor->stop == STOP_NOTICE) {
        stop_listening(supervisor);
        return;
    }
    for (unsigned i = 0; i < supervisor->process_count; i++) {
        struct process *process = &supervisor->processes[i];
        if (process->pid > 0 &&
            (process->kind != PROCESS_CONTROL || supervisor->stop == STOP_CONTROL))
            kill_process(process);
    }
    timer_set(supervisor->loop, &supervisor->stop_timer,
              loop_now(supervisor->loop) + STOP_GRACE_NS);
}

static void stop_begin(struct supervisor *supervisor, int exit_code)
{
    uint64_t now = loop_now(supervisor->loop);

    supervisor->stop = STOP_NOTICE;
    supervisor->exit_code = exit_code;
    supervisor->stop_deadline_ns =
        now + (supervisor->conf->drain_notice + supervisor->conf->drain_timeout) * NS_PER_MS;
    __atomic_store_n(&supervisor->board->draining, 1, __ATOMIC_RELAXED);
    supervisor_event(supervisor, EVENT_STOPPING, "sessions may finish within %llu s",
                     (unsigned long long)(supervisor->conf->drain_timeout / 1000));
    supervisor_notify("STOPPING=1");
    timer_set(supervisor->loop, &supervisor->stop_timer,
              now + supervisor->conf->drain_notice * NS_PER_MS);
}

/* The first signal drains; another one means now. */
static void on_stop_signal(void *context, int signal_number)
{
    struct supervisor *supervisor = context;
    (void)signal_number;

    if (supervisor->stop == STOP_NONE) {
        stop_begin(supervisor, 0);
        return;
    }
    supervisor->stop_deadline_ns = loop_now(supervisor->loop);
    if (supervisor->stop == STOP_NOTICE) {
        timer_set(supervisor->loop, &supervisor->stop_timer, supervisor->stop_deadline_ns);
        return;
    }
    if (supervisor->stop == STOP_HANDSHAKERS) {
        for (unsigned i = 0; i < supervisor->process_count; i++) {
            if (supervisor->processes[i].kind == PROCESS_HANDSHAKER)
                kill_process(&supervisor->processes[i]);
        }
    }
    if (supervisor->stop == STOP_RELAYS)
        stop_kind(supervisor, PROCESS_RELAY);
}

/* ---- deaths ---- */

static void describe_death(const struct process *process, int status, char *text, size_t size)
{
    if (process->hung)
        ignore(snprintf(text, size, "killed: it hung (no heartbeat)"));
    else if (WIFSIGNALED(status))
        ignore(snprintf(text, size, "killed by signal %d (%s)", WTERMSIG(status),
                        strsignal(WTERMSIG(status))));
    else
        ignore(snprintf(text, size, "exited with code %d", WEXITSTATUS(status)));
}

static uint64_t backoff(struct process *process, uint64_t now)
{
    if (now - process->started_ns >= HEALTHY_AFTER_NS)
        process->failures = 0;
    uint64_t delay = BACKOFF_FIRST_NS << (process->failures < 7 ? process->failures : 7);
    process->failures++;
    return delay < BACKOFF_MAX_NS ? delay : BACKOFF_MAX_NS;
}

static void process_died(struct process *process, int status)
{
    struct supervisor *supervisor = process->supervisor;
    struct board_process *board = &supervisor->board->processes[process->number];
    uint64_t now = loop_now(supervisor->loop);
    bool expected = process->stage == PROCESS_STOPPING;
    bool started = process->stage == PROCESS_RUNNING;
    char why[96];

    describe_death(process, status, why, sizeof why);
    if (process->channel >= 0) {
        loop_unwatch(supervisor->loop, process->channel);
        ignore(close(process->channel));
        process->channel = -1;
    }
    process->pid = 0;
    process->stage = PROCESS_ABSENT;
    board->pid = 0;
    if (expected) {
        process_event(process, EVENT_PROCESS_ENDED, "stopped");
        stop_advance(supervisor);
        return;
    }
    if (!started && !supervisor->ready) {
        ignore(fprintf(stderr, "holdfast: %s %u could not start: %s\n",
                       process_kind_name(process->kind), process->index, why));
        if (supervisor->stop == STOP_NONE)
            stop_begin(supervisor, 70);
        stop_listening(supervisor);
        return;
    }
    uint64_t delay = backoff(process, now);
    board_add(&supervisor->board->processes[0].counters[COUNTER_PROCESS_RESTARTS], 1);
    if (process->kind == PROCESS_RELAY && board->sessions != 0)
        process_event(process, EVENT_PROCESS_ENDED,
                      "%s; %u sessions went with it; restarting in %llu ms", why, board->sessions,
                      (unsigned long long)(delay / NS_PER_MS));
    else
        process_event(process, EVENT_PROCESS_ENDED, "%s; restarting in %llu ms", why,
                      (unsigned long long)(delay / NS_PER_MS));
    board->sessions = 0;
    if (supervisor->stop >= STOP_HANDSHAKERS && process->kind != PROCESS_CONTROL)
        stop_advance(supervisor);
    else
        timer_set(supervisor->loop, &process->restart, now + delay);
}

static void on_child(void *context, int signal_number)
{
    struct supervisor *supervisor = context;
    int status;
    pid_t pid;
    (void)signal_number;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (unsigned i = 0; i < supervisor->process_count; i++) {
            if (supervisor->processes[i].pid == pid)
                process_died(&supervisor->processes[i], status);
        }
    }
}

static void on_watchdog(void *context)
{
    struct supervisor *supervisor = context;
    uint64_t now = loop_now(supervisor->loop);

    __atomic_store_n(&supervisor->board->processes[0].heartbeat_ns, now, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < supervisor->process_count; i++) {
        struct process *process = &supervisor->processes[i];
        uint64_t beat = __atomic_load_n(&supervisor->board->processes[process->number].heartbeat_ns,
                                        __ATOMIC_RELAXED);
        if (process->pid > 0 && now > beat && now - beat > HUNG_AFTER_NS && !process->hung) {
            process->hung = true;
            kill_process(process);
        }
    }
    timer_set(supervisor->loop, &supervisor->watchdog, now + NS_PER_S);
}

/* ---- messages ---- */

static void on_message(struct process *process, const struct message *message)
{
    switch (message->type) {
    case MESSAGE_READY:
        process_ready(process);
        break;
    case MESSAGE_OPEN:
        if (process->kind == PROCESS_CONTROL && message->size == sizeof(struct message_open))
            files_open(process, (const void *)message->body);
        break;
    case MESSAGE_WATCH:
        if (process->kind == PROCESS_CONTROL && message->size == sizeof(struct message_open))
            files_watch(process, (const void *)message->body);
        break;
    default:
        break;
    }
}

static void on_channel(void *context, uint64_t tag, unsigned events)
{
    struct supervisor *supervisor = context;
    struct process *process = &supervisor->processes[tag];
    (void)events;

    while (process->channel >= 0) {
        enum channel_result result = channel_receive(process->channel, supervisor->message);
        if (result == CHANNEL_FULL)
            return;
        if (result != CHANNEL_DONE) {
            loop_unwatch(supervisor->loop,
                         process->channel); /* its death will be reported by the system */
            return;
        }
        on_message(process, supervisor->message);
        message_fini(supervisor->message);
    }
}

static void after_batch(void *context)
{
    event_flush(&((struct supervisor *)context)->events);
}

/* ---- life ---- */

static void add_process(struct supervisor *supervisor, enum process_kind kind, unsigned index)
{
    struct process *process = &supervisor->processes[supervisor->process_count++];

    process->supervisor = supervisor;
    process->kind = kind;
    process->index = index;
    process->number = board_worker_number(kind, index);
    process->channel = -1;
    timer_init(&process->restart, on_restart, process);
}

static int prepare(struct supervisor *supervisor, struct error *error)
{
    int result;

    supervisor->loop = loop_new();
    supervisor->message = malloc(sizeof *supervisor->message);
    if (supervisor->loop == NULL || supervisor->message == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    if ((result = spawn_prepare(supervisor, error)) < 0 ||
        (result = resources_create(supervisor, error)) < 0 ||
        (result = spawn_restrict(supervisor, error)) < 0)
        return result;
    supervisor->channel_handler = loop_handler(supervisor->loop, on_channel, supervisor);
    loop_after_batch(supervisor->loop, after_batch, supervisor);
    timer_init(&supervisor->stop_timer, on_stop_timer, supervisor);
    timer_init(&supervisor->watchdog, on_watchdog, supervisor);
    if (!loop_signal(supervisor->loop, SIGCHLD, on_child, supervisor) ||
        !loop_signal(supervisor->loop, SIGTERM, on_stop_signal, supervisor) ||
        !loop_signal(supervisor->loop, SIGINT, on_stop_signal, supervisor))
        return error_set(error, ERROR_IO, "cannot take signals: %s", strerror(errno));
    return 0;
}

int supervisor_run(const struct conf *conf)
{
    static struct supervisor supervisor;
    struct error error = {0};

    supervisor.conf = conf;
    secret_harden_process();
    ignore(signal(SIGPIPE, SIG_IGN) == SIG_ERR);
    if (prepare(&supervisor, &error) < 0) {
        ignore(fprintf(stderr, "holdfast: %s\n", error.message));
        return error_exit_code(&error);
    }
    for (unsigned i = 0; i < conf->workers; i++)
        add_process(&supervisor, PROCESS_RELAY, i);
    add_process(&supervisor, PROCESS_CONTROL, 0);
    for (unsigned i = 0; i < conf->workers; i++)
        add_process(&supervisor, PROCESS_HANDSHAKER, i);
    for (unsigned i = 0; i < supervisor.process_count; i++)
        start_process(&supervisor.processes[i]);
    on_watchdog(&supervisor);
    int code = loop_run(supervisor.loop);
    resources_release(&supervisor);
    return code;
}
