/* Another binary in place: same process, same sessions.
 *
 *   rehearsal    a child of the new binary, without privileges, reads state, arenas and
 * configuration execution    this process becomes the new binary; everything it needs is in the
 * house succession   relays, control and handshakers are replaced one after the other commitment
 * the old binary's descriptor is closed
 *
 * Until then whatever goes wrong leads back: the old binary is executed again by its descriptor, by
 * decision, by a signal handler (a crash) or by an alarm (a hang), and replaces what runs another
 * binary than itself, by the same succession. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/string.h"
#include "edge/supervisor_internal.h"
#include "ipc/memory.h"
#include "edge/supervisor_reload.h"

#define REHEARSAL_NS (10 * NS_PER_S)
#define STEP_NS      (30 * NS_PER_S) /* for one process to be replaced */
#define PATIENCE_NS  (5 * NS_PER_S)  /* with what the image before had begun */
#define ALARM_S      15u             /* the new image's loop stands still for so long: it hangs */

/* ---- telling ---- */

static void tell(struct supervisor *supervisor, enum upgrade_stage stage, enum event_type type,
                 const char *detail)
{
    struct board_upgrade *board = &supervisor->board->upgrade;

    ignore(string_copy(board->detail, sizeof board->detail, detail));
    __atomic_store_n(&board->stage, (uint32_t)stage, __ATOMIC_RELEASE);
    supervisor->upgrade.stage = (uint32_t)stage;
    supervisor_event(supervisor, type, "%s", detail);
}

static void refuse(struct supervisor *supervisor, const char *format, ...) PRINTF_LIKE(2, 3);
static void refuse(struct supervisor *supervisor, const char *format, ...)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    char text[256];
    va_list arguments;

    va_start(arguments, format);
    ignore(vsnprintf(text, sizeof text, format, arguments));
    va_end(arguments);
    if (upgrade->program >= 0)
        ignore(close(upgrade->program));
    upgrade->program = -1;
    timer_cancel(supervisor->loop, &upgrade->timer);
    board_add(&supervisor->board->processes[0].counters[COUNTER_UPGRADES_FAILED], 1);
    tell(supervisor, UPGRADE_REFUSED, EVENT_UPGRADE_REFUSED, text);
    upgrade->stage = UPGRADE_NONE;
}

/* ---- executing in place ---- */

/* Prepared beforehand: a signal handler may need it. */
static struct execution {
    struct house *house;
    int house_fd;
    char house_text[16], reason[64];
    char *arguments[8];
} execution;

static void prepare_execution(const struct supervisor *supervisor)
{
    static char program[] = "holdfast", verb[] = "run", option[] = "-c", house[] = "--house";

    execution.house = supervisor->house;
    execution.house_fd = supervisor->house_fd;
    ignore(snprintf(execution.house_text, sizeof execution.house_text, "%d", execution.house_fd));
    char *const arguments[] = {
        program,          verb, option, supervisor->house->config_path, house, execution.house_text,
        execution.reason, NULL};
    memcpy(execution.arguments, arguments, sizeof arguments);
}

/* Comes back only when it fails, with the reason. Async-signal-safe. */
static int execute(int program, bool returning)
{
    char *arguments[ARRAY_SIZE(execution.arguments)];

    memcpy(arguments, execution.arguments, sizeof arguments);
    if (!returning)
        arguments[6] = NULL; /* no reason */
    house_keep_descriptors(execution.house, execution.house_fd, true);
    ignore(execveat(program, "", arguments, environ, AT_EMPTY_PATH));
    int reason = errno;
    house_keep_descriptors(execution.house, execution.house_fd, false);
    return reason;
}

static void return_to_previous(void)
{
    struct house *house = execution.house;

    house->binary_generation = house->previous_binary;
    ignore(execute(house->descriptors[HOUSE_PREVIOUS_PROGRAM], true));
}

/* ---- the new image guards itself ---- */

static void on_fatal_signal(int number)
{
    char *at = execution.reason;
    const char *words = number == SIGALRM ? "the new program hung" : "the new program crashed";

    while (*words != '\0')
        *at++ = *words++;
    *at = '\0';
    return_to_previous();
    _exit(70);
}

static void guard_signals(void (*handler)(int))
{
    static uint8_t stack[65536];
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGALRM};
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_NODEFER};
    sigset_t fatal;

    ignore(sigaltstack(&other, NULL));
    ignore(sigemptyset(&fatal));
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        ignore(sigaction(numbers[i], &action, NULL));
        ignore(sigaddset(&fatal, numbers[i]));
    }
    ignore(sigprocmask(SIG_UNBLOCK, &fatal, NULL));
}

void upgrade_guard(struct supervisor *supervisor, const char *returned)
{
    struct house *house = supervisor->house;

    /* The signals of the loop are still blocked, as the image before left them: what comes now
     * waits for ours. */
    prepare_execution(supervisor);
    supervisor->upgrade.returning = returned != NULL;
    if (returned == NULL) {
        house->previous_binary = house->binary_generation;
        house->binary_generation = ++house->highest_binary;
        guard_signals(on_fatal_signal);
        ignore((long)alarm(ALARM_S));
    } else {
        ignore((long)alarm(0));
        ignore(string_copy(execution.reason, sizeof execution.reason, returned));
    }
    house_keep_descriptors(house, supervisor->house_fd, false);
    ignore(fault_point("upgrade-resumed"));
}

void upgrade_give_up(struct supervisor *supervisor, const char *why)
{
    if (!supervisor->upgrade.returning) {
        ignore(string_copy(execution.reason, sizeof execution.reason, why));
        return_to_previous();
    }
    ignore(fprintf(stderr, "holdfast: cannot go on after an upgrade that failed: %s\n", why));
    _exit(70);
}

/* ---- rehearsal ---- */

static int open_program(struct supervisor *supervisor, const char *path)
{
    struct stat facts;
    char own[MESSAGE_PATH_MAX];

    if (path[0] == '\0') { /* what stands now where ours stood when it was started */
        ssize_t size = readlink("/proc/self/exe", own, sizeof own - 1);
        own[size > 0 ? size : 0] = '\0';
        static const char gone[] = " (deleted)";
        if (string_ends_with(own, gone))
            own[strlen(own) - strlen(gone)] = '\0';
        path = own;
    }
    if (path[0] != '/') {
        refuse(supervisor, "%s: expected an absolute path", path);
        return -1;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &facts) != 0)
        refuse(supervisor, "cannot open %s: %s", path, strerror(errno));
    else if (!S_ISREG(facts.st_mode) || (facts.st_mode & 0111) == 0)
        refuse(supervisor, "%s is no executable file", path);
    else if ((facts.st_uid != 0 && facts.st_uid != geteuid()) || (facts.st_mode & 022) != 0)
        refuse(supervisor, "%s could be written by others than root and user %u: not executed",
               path, (unsigned)geteuid());
    else
        return fd;
    if (fd >= 0)
        ignore(close(fd));
    return -1;
}

/* What the rehearsal says comes as lines; the last one counts. */
static void read_output(struct upgrade *upgrade)
{
    char piece[512];
    ssize_t size;

    while ((size = read(upgrade->rehearsal_output, piece, sizeof piece)) > 0) {
        size_t room = sizeof upgrade->said - 1 - upgrade->said_size;
        size_t some = (size_t)size < room ? (size_t)size : room;
        memcpy(upgrade->said + upgrade->said_size, piece, some);
        upgrade->said_size += some;
    }
}

static void on_rehearsal_output(void *context, uint64_t tag, unsigned events)
{
    struct supervisor *supervisor = context;
    (void)tag;

    read_output(&supervisor->upgrade);
    if ((events & LOOP_ERROR) != 0)
        loop_unwatch(supervisor->loop, supervisor->upgrade.rehearsal_output);
}

/* It may look at everything and change nothing: the house is a copy, the arena is for reading only.
 */
static NORETURN void become_rehearsal(const struct supervisor *supervisor, int output)
{
    char program[] = "holdfast", verb[] = "worker", kind[] = "rehearsal";
    char *arguments[] = {program, verb, kind, NULL};
    const struct house *house = supervisor->house;
    const int fds[] = {output, house_copy(house), house->descriptors[HOUSE_CONFIG],
                       house->workers == 0 ? -1 : memory_reopen(house->arenas[0].metadata)};
    size_t count = ARRAY_SIZE(fds) - (house->workers == 0); /* the arena is the last */
    int nowhere = open("/dev/null", O_WRONLY);

    if (nowhere < 0 || dup2(nowhere, STDOUT_FILENO) < 0) /* where events go is not for it */
        _exit(70);
    spawn_execute(supervisor, supervisor->upgrade.program, arguments, fds, count, true);
}

static bool start_rehearsal(struct supervisor *supervisor)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    upgrade->rehearsal = fork();
    if (upgrade->rehearsal == 0)
        become_rehearsal(supervisor, ends[1]);
    ignore(close(ends[1]));
    upgrade->rehearsal_output = ends[0];
    upgrade->said_size = 0;
    ignore(fcntl(ends[0], F_SETFL, O_NONBLOCK));
    if (upgrade->rehearsal < 0) {
        ignore(close(ends[0]));
        return false;
    }
    /* Else what it says is read at its end, as far as the pipe holds it. */
    ignore(loop_watch(supervisor->loop, ends[0], LOOP_READ, supervisor->rehearsal_handler, 0));
    return true;
}

void upgrade_begin(struct supervisor *supervisor, const struct message_upgrade *order)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    struct board_upgrade *board = &supervisor->board->upgrade;

    if (upgrade->stage != UPGRADE_NONE) {
        supervisor_event(supervisor, EVENT_WARNING, "an upgrade is under way already");
        return; /* whose outcome the second one will see, too */
    }
    /* Who follows it knows it by the serial and may look at any moment. */
    __atomic_store_n(&board->stage, (uint32_t)UPGRADE_REHEARSING, __ATOMIC_RELAXED);
    __atomic_store_n(&board->serial, order->serial, __ATOMIC_RELEASE);
    upgrade->rehearse_only = order->rehearse_only != 0;
    upgrade->program = -1;
    if (supervisor->stop != STOP_NONE || !supervisor->house->ready) {
        refuse(supervisor, "the daemon is %s",
               supervisor->stop != STOP_NONE ? "stopping" : "not ready yet");
        return;
    }
    const char *busy = reload_busy(supervisor->reload);
    if (busy != NULL) {
        refuse(supervisor, "%s: finish that first", busy);
        return;
    }
    upgrade->program = open_program(supervisor, order->path);
    if (upgrade->program < 0)
        return;
    if (!start_rehearsal(supervisor)) {
        refuse(supervisor, "cannot start the rehearsal: %s", strerror(errno));
        return;
    }
    tell(supervisor, UPGRADE_REHEARSING, EVENT_UPGRADE_BEGUN,
         order->path[0] != '\0' ? order->path : "the program at its own path");
    timer_set(supervisor->loop, &upgrade->timer, loop_now(supervisor->loop) + REHEARSAL_NS);
}

static void execute_new(struct supervisor *supervisor)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    int32_t *fds = supervisor->house->descriptors;
    int old = fds[HOUSE_PROGRAM];

    event_flush(&supervisor->events);
    fds[HOUSE_PREVIOUS_PROGRAM] = old;
    fds[HOUSE_PROGRAM] = upgrade->program;
    execution.reason[0] = '\0';
    prepare_execution(supervisor);
    int reason = execute(upgrade->program, false);
    fds[HOUSE_PROGRAM] = old;
    fds[HOUSE_PREVIOUS_PROGRAM] = -1;
    refuse(supervisor, "cannot execute it: %s", strerror(reason));
}

static void end_rehearsal(struct supervisor *supervisor)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    uint64_t sessions = 0;
    char text[160];

    for (unsigned i = 0; i < supervisor->house->workers; i++)
        sessions += supervisor->board->processes[board_worker_number(PROCESS_RELAY, i)].sessions;
    ignore(close(upgrade->program));
    upgrade->program = -1;
    ignore(
        snprintf(text, sizeof text,
                 "it can read everything; %llu sessions would move to it, none would be drained, "
                 "and resumption would go on",
                 (unsigned long long)sessions));
    tell(supervisor, UPGRADE_REHEARSED, EVENT_UPGRADE_REHEARSED, text);
    upgrade->stage = UPGRADE_NONE;
}

bool upgrade_child_ended(struct supervisor *supervisor, pid_t pid, int status)
{
    static const char good[] = "ok\n";
    struct upgrade *upgrade = &supervisor->upgrade;

    if (upgrade->rehearsal <= 0 || pid != upgrade->rehearsal)
        return false;
    upgrade->rehearsal = 0;
    read_output(upgrade);
    upgrade->said[upgrade->said_size] = '\0';
    loop_unwatch(supervisor->loop, upgrade->rehearsal_output);
    ignore(close(upgrade->rehearsal_output));
    timer_cancel(supervisor->loop, &upgrade->timer);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && strcmp(upgrade->said, good) == 0) {
        if (supervisor->stop != STOP_NONE)
            refuse(supervisor, "the daemon is stopping");
        else if (upgrade->rehearse_only)
            end_rehearsal(supervisor);
        else
            execute_new(supervisor);
        return true;
    }
    char shown[sizeof upgrade->said + 1];
    (void)string_printable(shown, sizeof shown, upgrade->said, strcspn(upgrade->said, "\n"));
    if (WIFSIGNALED(status))
        refuse(supervisor, "its rehearsal %s",
               WTERMSIG(status) == SIGKILL ? "did not end in time" : strsignal(WTERMSIG(status)));
    else
        refuse(supervisor, "its rehearsal failed (exit code %d): %s", WEXITSTATUS(status),
               shown[0] != '\0' ? shown : "it said nothing; is it a holdfast?");
    return true;
}

/* ---- succession ---- */

static const char *other_image(const struct supervisor *supervisor)
{
    return supervisor->upgrade.returning ? "returning" : "upgrading";
}

void upgrade_failed(struct supervisor *supervisor, const char *format, ...)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    char text[256];
    va_list arguments;

    if (upgrade->stage != UPGRADE_SUCCEEDING || upgrade->returning ||
        supervisor->stop != STOP_NONE) /* what is about to end need not be mended */
        return;
    va_start(arguments, format);
    ignore(vsnprintf(text, sizeof text, format, arguments));
    va_end(arguments);
    event_flush(&supervisor->events);
    upgrade_give_up(supervisor, text);
}

static bool replaced(const struct supervisor *supervisor, const struct process *process)
{
    const struct house_life *life = life_of(process, LIFE_CURRENT);

    return life->binary == supervisor->house->binary_generation && life->stage == LIFE_RUNNING;
}

/* Control reads what others write to it and holds nothing that cannot be read again: the old one
 * ends before the new one begins. */
static void replace_control(struct process *control)
{
    struct house_life *life = life_of(control, LIFE_CURRENT);
    struct message_stop body = {.replaced = true};

    if (life->pid <= 0) {
        life_start(control);
        return;
    }
    life->stage = LIFE_HANDING_OVER;
    if (!spawn_tell(life, MESSAGE_STOP, &body, sizeof body, NULL, 0))
        life_kill(life);
}

/* Does what the process still needs to run this image's binary, one step at a time. */
static void replace(struct supervisor *supervisor, struct process *process)
{
    const struct house_life *current = life_of(process, LIFE_CURRENT);
    struct house_life *successor = life_of(process, LIFE_SUCCESSOR);
    struct error error = {0};

    if ((current->binary == supervisor->house->binary_generation && current->pid > 0) ||
        process->restart.position != 0 || process->go_pending)
        return; /* it starts, or will */
    if (current->pid <= 0 && successor->pid <= 0) {
        life_begin_again(process);
        return;
    }
    if (successor->pid > 0 && successor->binary != supervisor->house->binary_generation)
        return; /* of the other image: its end is on its way */
    if (current->stage == LIFE_HANDING_OVER || current->stage == LIFE_LOCKED)
        return;
    if (process->kind == PROCESS_CONTROL) {
        replace_control(process);
    } else if (successor->pid <= 0) {
        if (succession_begin(process, &error) < 0)
            upgrade_failed(supervisor, "%s %u: %s", process_kind_name(process->kind),
                           process->index, error.message);
        else if (process->kind == PROCESS_HANDSHAKER)
            succession_hand_over(process);
    } else if (successor->stage == LIFE_PREPARED) {
        succession_hand_over(process);
    }
}

static void commit(struct supervisor *supervisor)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    int32_t *previous = &supervisor->house->descriptors[HOUSE_PREVIOUS_PROGRAM];
    char text[96 + sizeof execution.reason];

    timer_cancel(supervisor->loop, &upgrade->timer);
    ignore((long)alarm(0));
    guard_signals(SIG_DFL);
    if (upgrade->returning) {
        ignore(snprintf(text, sizeof text, "%s; the program before runs again", execution.reason));
        board_add(&supervisor->board->processes[0].counters[COUNTER_UPGRADES_FAILED], 1);
        tell(supervisor, UPGRADE_ROLLED_BACK, EVENT_UPGRADE_ROLLED_BACK, text);
    } else {
        if (*previous >= 0)
            ignore(close(*previous));
        *previous = -1;
        board_add(&supervisor->board->processes[0].counters[COUNTER_UPGRADES], 1);
        tell(supervisor, UPGRADE_DONE, EVENT_UPGRADED,
             "holdfast " HOLDFAST_VERSION " runs; every process was replaced");
    }
    upgrade->stage = UPGRADE_NONE;
    upgrade->returning = false;
}

void upgrade_advance(struct supervisor *supervisor)
{
    struct upgrade *upgrade = &supervisor->upgrade;

    if (upgrade->stage != UPGRADE_SUCCEEDING || supervisor->stop != STOP_NONE)
        return;
    while (upgrade->next < supervisor->process_count &&
           replaced(supervisor, &supervisor->processes[upgrade->next])) {
        upgrade->next++;
        timer_set(supervisor->loop, &upgrade->timer, clock_monotonic_ns() + STEP_NS);
    }
    if (upgrade->next == supervisor->process_count)
        commit(supervisor);
    else
        replace(supervisor, &supervisor->processes[upgrade->next]);
}

static void on_upgrade_timer(void *context)
{
    struct supervisor *supervisor = context;
    struct upgrade *upgrade = &supervisor->upgrade;

    if (upgrade->stage == UPGRADE_REHEARSING && upgrade->rehearsal > 0) {
        ignore(kill(upgrade->rehearsal, SIGKILL));
    } else if (upgrade->stage == UPGRADE_SUCCEEDING) {
        const struct process *process = &supervisor->processes[upgrade->next];
        if (upgrade->returning) {
            supervisor_event(supervisor, EVENT_WARNING, "%s %u is not replaced yet",
                             process_kind_name(process->kind), process->index);
            timer_set(supervisor->loop, &upgrade->timer, loop_now(supervisor->loop) + STEP_NS);
        }
        upgrade_failed(supervisor, "%s %u of the new binary was not ready in time",
                       process_kind_name(process->kind), process->index);
    }
}

void upgrade_init(struct supervisor *supervisor)
{
    supervisor->upgrade.program = -1;
    supervisor->rehearsal_handler = loop_handler(supervisor->loop, on_rehearsal_output, supervisor);
    timer_init(&supervisor->upgrade.timer, on_upgrade_timer, supervisor);
}

void upgrade_alive(const struct supervisor *supervisor)
{
    if (supervisor->upgrade.stage == UPGRADE_SUCCEEDING && !supervisor->upgrade.returning)
        ignore((long)alarm(ALARM_S));
}

/* The image before was in the middle of something, and its timers are gone. */
static void take_up(struct process *process)
{
    const struct house_life *current = life_of(process, LIFE_CURRENT);
    const struct house_life *successor = life_of(process, LIFE_SUCCESSOR);

    process->go_pending =
        process->kind == PROCESS_RELAY && (current->pid <= 0 || current->stage == LIFE_LOCKED);
    if (current->stage == LIFE_HANDING_OVER)
        timer_set(process->supervisor->loop, &process->patience,
                  clock_monotonic_ns() + PATIENCE_NS);
    else if (life_of(process, LIFE_RETIRING)->pid > 0)
        timer_set(process->supervisor->loop, &process->patience,
                  clock_monotonic_ns() + succession_finish_ns(process));
    if (successor->pid > 0)
        life_kill(successor); /* nobody knows how far it was told; its end is noticed */
    else if (current->pid <= 0)
        life_begin_again(process);
}

void upgrade_resume(struct supervisor *supervisor)
{
    struct house *house = supervisor->house;

    __atomic_store_n(&supervisor->board->binary_generation, house->binary_generation,
                     __ATOMIC_RELAXED);
    if (supervisor->upgrade.returning) {
        int32_t *fds = house->descriptors;
        ignore(close(fds[HOUSE_PROGRAM]));
        fds[HOUSE_PROGRAM] = fds[HOUSE_PREVIOUS_PROGRAM];
        fds[HOUSE_PREVIOUS_PROGRAM] = -1;
    }
    supervisor->upgrade.stage = UPGRADE_SUCCEEDING;
    __atomic_store_n(&supervisor->board->upgrade.stage, (uint32_t)UPGRADE_SUCCEEDING,
                     __ATOMIC_RELEASE);
    supervisor_event(supervisor, EVENT_WARNING, "%s: holdfast " HOLDFAST_VERSION " takes over",
                     other_image(supervisor));
    timer_set(supervisor->loop, &supervisor->upgrade.timer, clock_monotonic_ns() + STEP_NS);
    for (unsigned i = 0; i < supervisor->process_count; i++)
        take_up(&supervisor->processes[i]);
    upgrade_advance(supervisor);
}
