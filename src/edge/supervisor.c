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
#include "edge/supervisor_reload.h"
#include "ipc/memory.h"

#define BACKOFF_FIRST_NS (100 * NS_PER_MS) /* before the second restart; the first is at once */
#define BACKOFF_MAX_NS   (10 * NS_PER_S)
#define BACKOFF_RELAY_NS (NS_PER_S)
#define HEALTHY_AFTER_NS                                                                           \
    (10 * NS_PER_S) /* a process that lived this long is restarted at once again */
#define HUNG_AFTER_NS (15 * NS_PER_S) /* without a heartbeat */
#define TAG_ROLES     4

/* ---- telling ---- */

static PRINTF_LIKE(4, 0) void report(struct supervisor *supervisor, enum event_type type,
                                     unsigned subject, const char *format, va_list arguments)
{
    struct event *event = event_begin(&supervisor->events, type);

    if (event == NULL)
        return;
    event->worker = (uint16_t)subject;
    event->config = supervisor->house->config_generation;
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

void process_event(struct process *process, enum event_type type, const char *format, ...)
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
    ignore(sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
                  (struct sockaddr *)&address,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)));
    ignore(close(fd));
}

void life_kill(const struct house_life *life)
{
    if (life->pid > 0)
        ignore(kill(life->pid, SIGKILL));
}

struct process *supervisor_process(struct supervisor *supervisor, enum process_kind kind,
                                   unsigned index)
{
    for (unsigned i = 0; i < supervisor->process_count; i++) {
        struct process *process = &supervisor->processes[i];
        if (process->kind == kind && process->index == index)
            return process;
    }
    return NULL;
}

/* ---- starting ---- */

void life_watch(struct process *process, enum life_role role)
{
    struct supervisor *supervisor = process->supervisor;
    const struct house_life *life = life_of(process, role);
    uint64_t tag = (uint64_t)(process - supervisor->processes) * TAG_ROLES + (uint64_t)role;

    if (!loop_watch(supervisor->loop, life->channel, LOOP_READ, supervisor->channel_handler, tag))
        life_kill(life);
}

/* The board shows the current life. */
static void show_life(const struct process *process)
{
    struct board_process *board = &process->supervisor->board->processes[process->number];
    const struct house_life *life = life_of(process, LIFE_CURRENT);

    board->started_ns = life->started_ns;
    board->heartbeat_ns = clock_monotonic_ns();
    board->pid = (uint32_t)life->pid;
    board->starts++;
}

void life_start(struct process *process)
{
    struct supervisor *supervisor = process->supervisor;
    struct house_life *life = life_of(process, LIFE_CURRENT);
    struct message_go body = {.predecessor = PREDECESSOR_NONE};
    struct error error = {0};

    if (spawn_process(process, LIFE_CURRENT, &error) < 0 ||
        !spawn_tell(life, MESSAGE_GO, &body, sizeof body, NULL, 0)) {
        process_event(process, EVENT_WARNING, "cannot start: %s", error.message);
        if (life->pid > 0)
            life_kill(life); /* its death is noticed as any other */
        else
            timer_set(supervisor->loop, &process->restart, clock_monotonic_ns() + BACKOFF_MAX_NS);
        return;
    }
    show_life(process);
    life_watch(process, LIFE_CURRENT);
    process_event(process, EVENT_PROCESS_STARTED, "pid %d", (int)life->pid);
    if (process->kind != PROCESS_CONTROL &&
        supervisor->board->processes[process->number].starts > 1)
        spawn_announce(process);
}

/* A successor became the current life. */
void life_promoted(struct process *process)
{
    show_life(process);
    process_event(process, EVENT_PROCESS_STARTED, "pid %d",
                  (int)life_of(process, LIFE_CURRENT)->pid);
    spawn_announce(process);
}

void life_begin_again(struct process *process)
{
    struct error error = {0};

    if (process->kind != PROCESS_RELAY || process->durable->predecessor == PREDECESSOR_NONE) {
        life_start(process);
        return;
    }
    /* Its sessions wait for it. */
    process->go_pending = true;
    if (succession_begin(process, &error) < 0) {
        process_event(process, EVENT_WARNING, "cannot start: %s", error.message);
        timer_set(process->supervisor->loop, &process->restart,
                  clock_monotonic_ns() + BACKOFF_MAX_NS);
    }
}

static void on_restart(void *context)
{
    struct process *process = context;
    bool wanted =
        process->supervisor->stop < STOP_HANDSHAKERS || process->kind != PROCESS_HANDSHAKER;

    if (wanted && life_of(process, LIFE_CURRENT)->pid <= 0 &&
        life_of(process, LIFE_SUCCESSOR)->pid <= 0)
        life_begin_again(process);
}

static bool all_ready(const struct supervisor *supervisor)
{
    for (unsigned i = 0; i < supervisor->process_count; i++) {
        if (life_of(&supervisor->processes[i], LIFE_CURRENT)->stage != LIFE_RUNNING)
            return false;
    }
    return true;
}

static void process_ready(struct process *process)
{
    struct supervisor *supervisor = process->supervisor;
    struct house_life *life = life_of(process, LIFE_CURRENT);

    if (life->stage != LIFE_STARTING)
        return;
    life->stage = LIFE_RUNNING;
    process->durable->predecessor = PREDECESSOR_NONE; /* what it left was dealt with */
    stop_newcomer(process);
    upgrade_advance(supervisor);
    if (supervisor->house->ready || !all_ready(supervisor))
        return;
    supervisor->house->ready = true;
    supervisor_event(supervisor, EVENT_READY, "holdfast " HOLDFAST_VERSION ": capacity %u sessions",
                     supervisor->house->slot_capacity * supervisor->house->workers);
    supervisor_notify("READY=1");
}

/* ---- deaths ---- */

static void describe_death(const struct house_life *life, int status, char *text, size_t size)
{
    if (life->hung)
        ignore(snprintf(text, size, "killed: it hung (no heartbeat)"));
    else if (WIFSIGNALED(status))
        ignore(snprintf(text, size, "killed by signal %d (%s)", WTERMSIG(status),
                        strsignal(WTERMSIG(status))));
    else
        ignore(snprintf(text, size, "exited with code %d", WEXITSTATUS(status)));
}

static enum predecessor predecessor_of(const struct house_life *life, int status)
{
    return !life->hung && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? PREDECESSOR_KILLED
                                                                             : PREDECESSOR_CRASHED;
}

/* Who was shot can go on at once; who fails by itself, again and again, waits longer and longer.
 * Relays not as long as others: sessions wait with them. */
static uint64_t backoff(struct process *process, const struct house_life *life, int status,
                        uint64_t now)
{
    uint64_t longest = process->kind == PROCESS_RELAY ? BACKOFF_RELAY_NS : BACKOFF_MAX_NS;

    if (now - life->started_ns >= HEALTHY_AFTER_NS)
        process->durable->failures = 0;
    if (life->stage == LIFE_RUNNING && predecessor_of(life, status) == PREDECESSOR_KILLED)
        return 0;
    uint32_t failures = process->durable->failures++;
    if (failures == 0)
        return 0;
    uint64_t delay = BACKOFF_FIRST_NS << (failures < 8 ? failures - 1 : 7);
    return delay < longest ? delay : longest;
}

/* What is left of a life: nothing but what it did. */
static struct house_life bury(struct process *process, enum life_role role)
{
    struct house_life *life = life_of(process, role), dead = *life;

    if (life->channel >= 0) {
        loop_unwatch(process->supervisor->loop, life->channel);
        ignore(close(life->channel));
    }
    *life = (struct house_life){.channel = -1};
    return dead;
}

static void start_failed(struct process *process, const char *why)
{
    struct supervisor *supervisor = process->supervisor;

    ignore(fprintf(stderr, "holdfast: %s %u could not start: %s\n",
                   process_kind_name(process->kind), process->index, why));
    if (supervisor->stop == STOP_NONE)
        stop_begin(supervisor, 70);
    stop_listening(supervisor);
}

/* Nobody expected this death: what it held is taken up by the next. */
static void current_died(struct process *process, const struct house_life *dead, int status)
{
    struct supervisor *supervisor = process->supervisor;
    struct board_process *board = &supervisor->board->processes[process->number];
    uint64_t now = loop_now(supervisor->loop), delay = 0;
    char why[96];

    describe_death(dead, status, why, sizeof why);
    if (dead->stage != LIFE_RUNNING && !supervisor->house->ready) {
        start_failed(process, why);
        return;
    }
    board_add(&supervisor->board->processes[0].counters[COUNTER_PROCESS_RESTARTS], 1);
    /* A relay is succeeded also now: its sessions have until the deadline. */
    if ((supervisor->stop >= STOP_HANDSHAKERS && process->kind == PROCESS_HANDSHAKER) ||
        (supervisor->stop >= STOP_RELAYS && process->kind == PROCESS_RELAY &&
         now >= supervisor->stop_deadline_ns)) {
        process_event(process, EVENT_PROCESS_ENDED, "%s", why);
        return;
    }
    if (process->kind != PROCESS_CONTROL &&
        succession_after_death(process, predecessor_of(dead, status))) {
        process_event(process, EVENT_PROCESS_ENDED, "%s; its successor is there already", why);
        return;
    }
    delay = supervisor->stop >= STOP_RELAYS ? 0 : backoff(process, dead, status, now);
    if (process->kind == PROCESS_RELAY && board->sessions != 0)
        process_event(process, EVENT_PROCESS_ENDED,
                      "%s; %u sessions wait for its successor, starting in %llu ms", why,
                      board->sessions, (unsigned long long)(delay / NS_PER_MS));
    else
        process_event(process, EVENT_PROCESS_ENDED, "%s; restarting in %llu ms", why,
                      (unsigned long long)(delay / NS_PER_MS));
    if (delay == 0)
        life_begin_again(process);
    else
        timer_set(supervisor->loop, &process->restart, now + delay);
}

static void process_died(struct process *process, enum life_role role, int status)
{
    struct supervisor *supervisor = process->supervisor;
    struct house_life dead = bury(process, role);
    bool fault = predecessor_of(&dead, status) == PREDECESSOR_CRASHED;
    char why[96];

    describe_death(&dead, status, why, sizeof why);
    if (process->kind == PROCESS_HANDSHAKER)
        board_attached_forget(supervisor->board, (uint32_t)dead.pid);
    if (role == LIFE_CURRENT)
        supervisor->board->processes[process->number].pid = 0;
    if (dead.stage == LIFE_STOPPING && (process->kind != PROCESS_RELAY || WIFEXITED(status))) {
        process_event(process, EVENT_PROCESS_ENDED, "stopped");
    } else if (role == LIFE_RETIRING || dead.stage == LIFE_LOCKED) {
        process_event(process, EVENT_PROCESS_ENDED, "replaced");
        if (role == LIFE_CURRENT && life_of(process, LIFE_SUCCESSOR)->pid <= 0)
            life_begin_again(process); /* its successor had ended before it */
    } else if (process->kind == PROCESS_CONTROL && dead.stage == LIFE_HANDING_OVER) {
        process_event(process, EVENT_PROCESS_ENDED, "replaced");
        life_start(process);
    } else if (role == LIFE_SUCCESSOR) {
        process_event(process, EVENT_WARNING, "its successor %s", why);
        succession_abandoned(process);
    } else {
        current_died(process, &dead, status);
    }
    if (fault && dead.binary == supervisor->house->binary_generation &&
        dead.stage != LIFE_STOPPING && dead.stage != LIFE_LOCKED)
        upgrade_failed(supervisor, "%s %u of the new binary %s", process_kind_name(process->kind),
                       process->index, why);
    else
        upgrade_advance(supervisor);
    stop_advance(supervisor);
}

static void on_watchdog(void *context)
{
    struct supervisor *supervisor = context;
    uint64_t now = loop_now(supervisor->loop);

    __atomic_store_n(&supervisor->board->processes[0].heartbeat_ns, now, __ATOMIC_RELAXED);
    upgrade_alive(supervisor);
    reload_tick(supervisor->reload);
    for (unsigned i = 0; i < supervisor->process_count; i++) {
        struct process *process = &supervisor->processes[i];
        struct house_life *life = life_of(process, LIFE_CURRENT);
        uint64_t beat = __atomic_load_n(&supervisor->board->processes[process->number].heartbeat_ns,
                                        __ATOMIC_RELAXED);
        if (life->pid > 0 && now > beat && now - beat > HUNG_AFTER_NS && !life->hung) {
            life->hung = true;
            life_kill(life);
        }
    }
    timer_set(supervisor->loop, &supervisor->watchdog, now + NS_PER_S);
}

/* ---- messages ---- */

static void on_control_message(struct process *process, const struct message *message)
{
    if (message->type == MESSAGE_OPEN && message->size == sizeof(struct message_open)) {
        files_open(process, (const void *)message->body);
    } else if (message->type == MESSAGE_WATCH && message->size == sizeof(struct message_open)) {
        files_watch(process, (const void *)message->body);
    } else if (message->type == MESSAGE_UPGRADE &&
               message->size == sizeof(struct message_upgrade)) {
        const struct message_upgrade *body = (const void *)message->body;
        if (memchr(body->path, 0, sizeof body->path) != NULL)
            upgrade_begin(process->supervisor, body);
    } else if (message->type == MESSAGE_RELOAD && message->size == sizeof(struct message_reload)) {
        reload_requested(process->supervisor->reload, (const void *)message->body);
    }
}

/* Each message only from the life whose business it is. */
static void on_message(struct process *process, enum life_role role, struct message *message)
{
    bool current = role == LIFE_CURRENT;

    if (message->type == MESSAGE_PREPARED && role == LIFE_SUCCESSOR)
        succession_prepared(process);
    else if (message->type == MESSAGE_READY && current)
        process_ready(process);
    else if (message->type == MESSAGE_REGISTER && current)
        registry_add(process, message);
    else if (message->type == MESSAGE_RELEASE && current)
        registry_remove(process, message);
    else if (message->type == MESSAGE_HANDED_OVER && current)
        succession_handed_over(process);
    else if (message->type == MESSAGE_RETIRED && life_of(process, role)->stage == LIFE_STOPPING)
        stop_carries(process->supervisor, life_of(process, role));
    else if (message->type == MESSAGE_RETIRED && current)
        succession_retired(process);
    else if (message->type == MESSAGE_CONFIG_LOADED &&
             message->size == sizeof(struct message_config_loaded))
        reload_loaded(process->supervisor->reload, life_of(process, role)->pid,
                      (const void *)message->body);
    else if (process->kind == PROCESS_CONTROL && current)
        on_control_message(process, message);
}

/* What the life has said so far. A message may change who has this role. */
static void listen_to(struct process *process, enum life_role role)
{
    struct supervisor *supervisor = process->supervisor;
    int channel = life_of(process, role)->channel;

    while (channel >= 0 && life_of(process, role)->channel == channel) {
        switch (channel_receive(channel, supervisor->message)) {
        case CHANNEL_DONE:
            on_message(process, role, supervisor->message);
            message_fini(supervisor->message);
            break;
        case CHANNEL_BAD: /* as when descriptors have run out */
            process_event(process, EVENT_WARNING, "a message from it came incomplete");
            if (process->kind == PROCESS_RELAY)
                ignore(
                    spawn_tell(life_of(process, role), MESSAGE_REGISTER_AGAIN, NULL, 0, NULL, 0));
            break;
        case CHANNEL_FULL:
            return;
        case CHANNEL_CLOSED:
            loop_unwatch(supervisor->loop, channel); /* its death will be reported by the system */
            return;
        }
    }
}

static void on_channel(void *context, uint64_t tag, unsigned events)
{
    struct supervisor *supervisor = context;
    (void)events;

    listen_to(&supervisor->processes[tag / TAG_ROLES], (enum life_role)(tag % TAG_ROLES));
}

/* The place and the role of a process; false when it has none. */
static bool find_life(struct supervisor *supervisor, pid_t pid, struct process **ret_process,
                      enum life_role *ret_role)
{
    for (unsigned i = 0; i < supervisor->process_count; i++) {
        for (enum life_role role = 0; role < LIFE_COUNT; role++) {
            if (life_of(&supervisor->processes[i], role)->pid != pid)
                continue;
            *ret_process = &supervisor->processes[i];
            *ret_role = role;
            return true;
        }
    }
    return false;
}

static void child_ended(struct supervisor *supervisor, pid_t pid, int status)
{
    struct process *process;
    enum life_role role;

    if (upgrade_child_ended(supervisor, pid, status) ||
        reload_child_ended(supervisor->reload, pid, status) ||
        !find_life(supervisor, pid, &process, &role))
        return;
    listen_to(process, role); /* its last words: sessions, or that it has handed them over */
    if (find_life(supervisor, pid, &process, &role))
        process_died(process, role, status);
    reload_life_ended(supervisor->reload, pid);
}

static void on_child(void *context, int signal_number)
{
    struct supervisor *supervisor = context;
    int status;
    pid_t pid;
    (void)signal_number;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        child_ended(supervisor, pid, status);
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
    process->durable = &supervisor->house->processes[process->number];
    timer_init(&process->restart, on_restart, process);
    succession_init(process);
}

static void add_processes(struct supervisor *supervisor)
{
    unsigned workers = supervisor->house->workers;

    for (unsigned i = 0; i < workers; i++)
        add_process(supervisor, PROCESS_RELAY, i);
    add_process(supervisor, PROCESS_CONTROL, 0);
    for (unsigned i = 0; i < workers; i++)
        add_process(supervisor, PROCESS_HANDSHAKER, i);
}

static void on_upgrade_signal(void *context, int signal_number)
{
    struct supervisor *supervisor = context;
    struct message_upgrade order = {.serial = supervisor->board->upgrade.serial + 1};
    (void)signal_number;

    upgrade_begin(supervisor, &order);
}

/* The loop and what it drives, once the house stands. */
static int begin(struct supervisor *supervisor, const char *text, struct error *error)
{
    supervisor->reload = reload_new(supervisor, text);
    if (supervisor->reload == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    supervisor->channel_handler = loop_handler(supervisor->loop, on_channel, supervisor);
    loop_after_batch(supervisor->loop, after_batch, supervisor);
    timer_init(&supervisor->stop_timer, stop_timer_fired, supervisor);
    timer_init(&supervisor->watchdog, on_watchdog, supervisor);
    upgrade_init(supervisor);
    if (!loop_signal(supervisor->loop, SIGCHLD, on_child, supervisor) ||
        !loop_signal(supervisor->loop, SIGTERM, stop_signalled, supervisor) ||
        !loop_signal(supervisor->loop, SIGINT, stop_signalled, supervisor) ||
        !loop_signal(supervisor->loop, SIGHUP, reload_signalled, supervisor->reload) ||
        !loop_signal(supervisor->loop, SIGUSR2, on_upgrade_signal, supervisor))
        return error_set(error, ERROR_IO, "cannot take signals: %s", strerror(errno));
    add_processes(supervisor);
    return 0;
}

static int allocate(struct supervisor *supervisor, struct error *error)
{
    secret_harden_process();
    ignore(signal(SIGPIPE, SIG_IGN) == SIG_ERR);
    supervisor->loop = loop_new();
    supervisor->message = malloc(sizeof *supervisor->message);
    return supervisor->loop != NULL && supervisor->message != NULL
               ? 0
               : error_set(error, ERROR_MEMORY, "out of memory");
}

static int live(struct supervisor *supervisor)
{
    on_watchdog(supervisor);
    int code = loop_run(supervisor->loop);
    resources_release(supervisor);
    reload_free(supervisor->reload);
    return code;
}

static int fail(const struct error *error)
{
    ignore(fprintf(stderr, "holdfast: %s\n", error->message));
    return error_exit_code(error);
}

int supervisor_run(const struct conf *conf, const char *text)
{
    static struct supervisor supervisor;
    struct error error = {0};

    supervisor.conf = conf;
    supervisor.house = house_new(&supervisor.house_fd);
    if (supervisor.house == NULL)
        return fail(&(struct error){.code = ERROR_IO, .message = "cannot create shared memory"});
    if (allocate(&supervisor, &error) < 0 || spawn_prepare(&supervisor, &error) < 0 ||
        resources_create(&supervisor, &error) < 0 || spawn_restrict(&supervisor, &error) < 0 ||
        begin(&supervisor, text, &error) < 0)
        return fail(&error);
    if (!supervisor.house->counters)
        supervisor_event(&supervisor, EVENT_WARNING,
                         "this kernel's TCP counters do not behave: sessions survive upgrades, but "
                         "not the crash of their relay");
    if (supervisor.no_history[0] != '\0')
        supervisor_event(&supervisor, EVENT_WARNING,
                         "the history of configurations is kept in memory only: %s",
                         supervisor.no_history);
    for (unsigned i = 0; i < supervisor.process_count; i++)
        life_start(&supervisor.processes[i]);
    return live(&supervisor);
}

/* The configuration in force, as the image before read it. */
static int read_conf(struct supervisor *supervisor, struct conf **ret_conf, struct error *error)
{
    size_t size;
    char *text =
        memory_document_read(supervisor->house->descriptors[HOUSE_CONFIG], CONF_TEXT_MAX, &size);

    if (text == NULL)
        return error_set(error, ERROR_IO, "cannot read the configuration passed on");
    int result = conf_parse_internal(ret_conf, supervisor->house->config_path, text, error);
    free(text);
    return result;
}

int supervisor_resume(int house_fd, const char *returned)
{
    static struct supervisor supervisor;
    struct conf *conf = NULL;
    struct error error = {0};

    supervisor.house_fd = house_fd;
    supervisor.house = house_map(house_fd, true, &error);
    if (supervisor.house == NULL)
        return fail(&error);
    upgrade_guard(&supervisor, returned);
    if (allocate(&supervisor, &error) < 0 || read_conf(&supervisor, &conf, &error) < 0)
        upgrade_give_up(&supervisor, error.message);
    supervisor.conf = conf;
    if (resources_map(&supervisor, &error) < 0 || spawn_restrict(&supervisor, &error) < 0 ||
        begin(&supervisor, NULL, &error) < 0)
        upgrade_give_up(&supervisor, error.message);
    for (unsigned i = 0; i < supervisor.process_count; i++) {
        for (enum life_role role = 0; role < LIFE_COUNT; role++) {
            if (life_of(&supervisor.processes[i], role)->channel >= 0)
                life_watch(&supervisor.processes[i], role);
        }
    }
    upgrade_resume(&supervisor);
    stop_resume(&supervisor);
    on_child(&supervisor, SIGCHLD); /* who died in between told nobody */
    int code = live(&supervisor);
    conf_free(conf);
    return code;
}
