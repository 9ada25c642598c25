/* Starting a process: each is executed afresh (so that address layouts differ) from the running
 * image's descriptor, as an unprivileged user when we are root, and gets all it needs through its
 * channel. */
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "edge/scheduling.h"
#include "edge/supervisor_internal.h"
#include "edge/worker.h"

#define PROGRAM_FD    (WORKER_CHANNEL_FD + 1)
#define CHANNEL_QUEUE (1u << 20)

/* ---- privileges ---- */

int spawn_prepare(struct supervisor *supervisor, struct error *error)
{
    if (geteuid() != 0)
        return 0;
    errno = 0;
    const struct passwd *user = getpwnam(supervisor->conf->user);
    if (user == NULL)
        return error_set(error, ERROR_CONFIG, "there is no user '%s'; create it or set `user`",
                         supervisor->conf->user);
    supervisor->uid = user->pw_uid;
    supervisor->gid = user->pw_gid;
    supervisor->drops_privileges = user->pw_uid != 0;
    return 0;
}

int spawn_restrict(const struct supervisor *supervisor, struct error *error)
{
    if (!supervisor->drops_privileges)
        return 0;
    static const unsigned kept[] = {CAP_NET_BIND_SERVICE, CAP_SETUID,       CAP_SETGID, CAP_KILL,
                                    CAP_DAC_READ_SEARCH,  CAP_SYS_RESOURCE, CAP_SETPCAP};
    bool have[ARRAY_SIZE(kept)];

    if (capng_get_caps_process() != 0)
        return error_set(error, ERROR_IO, "cannot read our capabilities: %s", strerror(errno));
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) /* a container may have taken some already */
        have[i] = capng_have_capability(CAPNG_PERMITTED, kept[i]) != 0;
    capng_clear(CAPNG_SELECT_BOTH);
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        if (have[i] &&
            capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET,
                         kept[i]) != 0)
            return error_set(error, ERROR_IO, "cannot choose capabilities: %s", strerror(errno));
    }
    if (capng_apply(CAPNG_SELECT_BOTH) != 0)
        return error_set(error, ERROR_IO, "cannot give up capabilities: %s", strerror(errno));
    return 0;
}

/* In the child. Returns the step that failed, or NULL. */
static const char *drop_privileges(const struct supervisor *supervisor)
{
    if (supervisor->drops_privileges) {
        if (setgroups(0, NULL) != 0)
            return "setgroups";
        if (setresgid(supervisor->gid, supervisor->gid, supervisor->gid) != 0)
            return "setresgid";
        if (setresuid(supervisor->uid, supervisor->uid, supervisor->uid) != 0)
            return "setresuid";
    }
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ? "no_new_privs" : NULL;
}

/* ---- child ---- */

static NORETURN void become(const struct process *process, int channel)
{
    const struct supervisor *supervisor = process->supervisor;
    char kind[32];
    char program[] = "holdfast", verb[] = "worker";
    char *arguments[] = {program, verb, kind, NULL};
    sigset_t none;

    ignore(snprintf(kind, sizeof kind, "%s", process_kind_name(process->kind)));
    ignore(sigemptyset(&none));
    ignore(sigprocmask(SIG_SETMASK, &none, NULL));
    /* Both numbers could be taken by the other: first out of the way. */
    int program_fd = fcntl(supervisor->program, F_DUPFD, 16);
    int channel_fd = fcntl(channel, F_DUPFD, 16);
    if (program_fd < 0 || channel_fd < 0 || dup2(channel_fd, WORKER_CHANNEL_FD) < 0 ||
        dup3(program_fd, PROGRAM_FD, O_CLOEXEC) < 0)
        _exit(70);
    ignore(close_range(PROGRAM_FD + 1, ~0u, 0));
    scheduling_apply(process->kind, supervisor->conf->handshaker_nice);
    const char *failed = drop_privileges(supervisor);
    if (failed != NULL) {
        dprintf(STDERR_FILENO, "holdfast: %s: cannot drop privileges (%s): %s\n", kind, failed,
                strerror(errno));
        _exit(70);
    }
    ignore(fexecve(PROGRAM_FD, arguments, environ));
    dprintf(STDERR_FILENO, "holdfast: %s: cannot execute our own program: %s\n", kind,
            strerror(errno));
    _exit(70);
}

/* ---- what each kind is sent ---- */

static bool tell(const struct process *process, uint32_t type, const void *body, size_t size,
                 const int *fds, size_t count)
{
    return channel_send(process->channel, type, body, size, fds, count) == CHANNEL_DONE;
}

static bool send_descriptors(const struct process *process, enum descriptors_role role,
                             unsigned first, const int *fds, size_t count)
{
    for (size_t at = 0; at < count; at += CHANNEL_FDS_MAX) {
        struct message_descriptors body = {.role = role, .first = first + (unsigned)at};
        size_t some = count - at < CHANNEL_FDS_MAX ? count - at : CHANNEL_FDS_MAX;
        if (!tell(process, MESSAGE_DESCRIPTORS, &body, sizeof body, fds + at, some))
            return false;
    }
    return true;
}

static bool send_setup(const struct process *process)
{
    const struct supervisor *supervisor = process->supervisor;
    struct worker_setup setup = {.version = MESSAGES_VERSION,
                                 .kind = process->kind,
                                 .index = process->index,
                                 .workers = supervisor->conf->workers,
                                 .config_generation = 1,
                                 .binary_generation = 1,
                                 .slot_capacity = supervisor->slot_capacity,
                                 .block_count = supervisor->block_count};
    int all[SETUP_DESCRIPTOR_COUNT];
    int fds[SETUP_DESCRIPTOR_COUNT];
    size_t count = 0;

    for (unsigned i = 0; i < SETUP_DESCRIPTOR_COUNT; i++)
        all[i] = -1;
    all[SETUP_CONFIG] = supervisor->config_document;
    all[SETUP_BOARD] = supervisor->board_memory;
    all[SETUP_EVENTS] = supervisor->events_file;
    all[SETUP_NOTIFY] = supervisor->notify;
    if (process->kind == PROCESS_RELAY) {
        all[SETUP_METADATA] = supervisor->arenas[process->index].metadata;
        all[SETUP_SECRETS] = supervisor->arenas[process->index].secrets;
        all[SETUP_BLOCKS] = supervisor->arenas[process->index].blocks;
    } else if (process->kind == PROCESS_HANDSHAKER) {
        all[SETUP_TICKET_KEYS] = supervisor->ticket_keys;
    } else {
        all[SETUP_INOTIFY] = supervisor->inotify;
        all[SETUP_CONTROL_SOCKET] = supervisor->control_socket;
        all[SETUP_STATE_FOLDER] = supervisor->state_folder;
    }
    for (unsigned i = 0; i < SETUP_DESCRIPTOR_COUNT; i++) {
        if (all[i] >= 0) {
            setup.present |= 1u << i;
            fds[count++] = all[i];
        }
    }
    ignore(snprintf(setup.config_path, sizeof setup.config_path, "%s", supervisor->conf->path));
    return tell(process, MESSAGE_SETUP, &setup, sizeof setup, fds, count);
}

/* Trust store and client certificate of each TLS upstream, opened now. */
static bool send_upstream_material(const struct process *process)
{
    const struct conf *conf = process->supervisor->conf;

    for (unsigned i = 0; i < conf->upstream_count; i++) {
        const struct conf_upstream *upstream = &conf->upstreams[i];
        const char *paths[] = {upstream->tls_trust, upstream->tls_certificate, upstream->tls_key};
        struct message_descriptors body = {.role = DESCRIPTORS_UPSTREAM_TLS, .first = i};
        int fds[ARRAY_SIZE(paths)];
        size_t count = 0;
        bool sent;

        if (!upstream->tls)
            continue;
        for (size_t j = 0; j < ARRAY_SIZE(paths); j++) {
            int fd = paths[j] == NULL ? -1 : open(paths[j], O_RDONLY | O_CLOEXEC);
            if (paths[j] != NULL && fd < 0) {
                supervisor_event(process->supervisor, EVENT_WARNING,
                                 "upstream %s: cannot open %s: %s", upstream->name, paths[j],
                                 strerror(errno));
                fd = open("/dev/null",
                          O_RDONLY | O_CLOEXEC); /* an empty file: refused with a reason */
            }
            if (fd >= 0)
                fds[count++] = fd;
        }
        sent = tell(process, MESSAGE_DESCRIPTORS, &body, sizeof body, fds, count);
        for (size_t j = 0; j < count; j++)
            ignore(close(fds[j]));
        if (!sent)
            return false;
    }
    return true;
}

static bool send_handshaker(const struct process *process)
{
    const struct supervisor *supervisor = process->supervisor;
    unsigned workers = supervisor->conf->workers;

    for (unsigned i = 0; i < workers; i++) {
        if (!send_descriptors(process, DESCRIPTORS_RELAY, i,
                              &supervisor->pairs[process->index * workers + i][0], 1))
            return false;
    }
    return send_upstream_material(process) &&
           send_descriptors(process, DESCRIPTORS_LISTENING, 0, supervisor->listening,
                            supervisor->listening_count) &&
           send_descriptors(process, DESCRIPTORS_CONTROL, 0,
                            &supervisor->handshaker_control[process->index][0], 1);
}

static bool send_relay(const struct process *process)
{
    const struct supervisor *supervisor = process->supervisor;
    unsigned workers = supervisor->conf->workers;

    for (unsigned i = 0; i < workers; i++) {
        if (!send_descriptors(process, DESCRIPTORS_HANDSHAKER, i,
                              &supervisor->pairs[i * workers + process->index][1], 1))
            return false;
    }
    return send_descriptors(process, DESCRIPTORS_CONTROL, 0,
                            &supervisor->relay_control[process->index][0], 1);
}

static bool send_control(const struct process *process)
{
    const struct supervisor *supervisor = process->supervisor;

    for (unsigned i = 0; i < supervisor->conf->workers; i++) {
        if (!send_descriptors(process, DESCRIPTORS_ARENA, i, &supervisor->arenas[i].metadata, 1) ||
            !send_descriptors(process, DESCRIPTORS_HANDSHAKER, i,
                              &supervisor->handshaker_control[i][1], 1) ||
            !send_descriptors(process, DESCRIPTORS_RELAY, i, &supervisor->relay_control[i][1], 1))
            return false;
    }
    return send_descriptors(process, DESCRIPTORS_ADMIN, 0, supervisor->admin,
                            supervisor->conf->admin.bind.count);
}

/* Control is told of a handshaker or relay that was started again by being sent its channel once
 * more. */
static void announce(const struct process *process)
{
    struct supervisor *supervisor = process->supervisor;
    bool handshaker = process->kind == PROCESS_HANDSHAKER;

    for (unsigned i = 0; i < supervisor->process_count; i++) {
        const struct process *control = &supervisor->processes[i];
        if (control->kind == PROCESS_CONTROL && control->channel >= 0 &&
            !send_descriptors(control, handshaker ? DESCRIPTORS_HANDSHAKER : DESCRIPTORS_RELAY,
                              process->index,
                              handshaker ? &supervisor->handshaker_control[process->index][1]
                                         : &supervisor->relay_control[process->index][1],
                              1))
            supervisor_event(supervisor, EVENT_WARNING,
                             "control could not be told of a restarted process");
    }
}

static bool send_everything(const struct process *process)
{
    bool sent = send_setup(process);

    switch (process->kind) {
    case PROCESS_HANDSHAKER:
        sent = sent && send_handshaker(process);
        break;
    case PROCESS_RELAY:
        sent = sent && send_relay(process);
        break;
    case PROCESS_CONTROL:
        sent = sent && send_control(process);
        break;
    case PROCESS_SUPERVISOR:
    case PROCESS_KIND_COUNT:
        return false;
    }
    return sent && tell(process, MESSAGE_GO, NULL, 0, NULL, 0);
}

int spawn_process(struct process *process, struct error *error)
{
    struct supervisor *supervisor = process->supervisor;
    struct board_process *board = &supervisor->board->processes[process->number];
    int ends[2];

    if (!channel_pair(ends, CHANNEL_QUEUE))
        return error_set(error, ERROR_IO, "cannot create a channel: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0)
        become(process, ends[1]);
    ignore(close(ends[1]));
    if (pid < 0) {
        ignore(close(ends[0]));
        return error_set(error, ERROR_IO, "cannot fork: %s", strerror(errno));
    }
    process->pid = pid;
    process->channel = ends[0];
    process->stage = PROCESS_STARTING;
    process->hung = false;
    process->started_ns = clock_monotonic_ns();
    board->started_ns = process->started_ns;
    board->heartbeat_ns = process->started_ns;
    board->pid = (uint32_t)pid;
    board->starts++;
    if (!send_everything(process))
        return error_set(error, ERROR_IO, "cannot send the set-up: %s", strerror(errno));
    if (process->kind != PROCESS_CONTROL && board->starts > 1)
        announce(process);
    return 0;
}
