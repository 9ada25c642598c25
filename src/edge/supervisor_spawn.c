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
#include "base/string.h"
#include "edge/scheduling.h"
#include "edge/supervisor_internal.h"
#include "edge/supervisor_reload.h"
#include "edge/worker.h"
#include "ipc/memory.h"

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
    supervisor->house->uid = user->pw_uid;
    supervisor->house->gid = user->pw_gid;
    supervisor->house->drops_privileges = user->pw_uid != 0;
    return 0;
}

int spawn_restrict(const struct supervisor *supervisor, struct error *error)
{
    if (!supervisor->house->drops_privileges)
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
static const char *drop_privileges(const struct supervisor *supervisor, bool drops)
{
    const struct house *house = supervisor->house;

    if (drops && house->drops_privileges) {
        if (setgroups(0, NULL) != 0)
            return "setgroups";
        if (setresgid(house->gid, house->gid, house->gid) != 0)
            return "setresgid";
        if (setresuid(house->uid, house->uid, house->uid) != 0)
            return "setresuid";
    }
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ? "no_new_privs" : NULL;
}

/* ---- child ---- */

void spawn_execute(const struct supervisor *supervisor, int program, char *const *arguments,
                   const int *fds, size_t count, bool drops)
{
    const char *name = arguments[2];
    sigset_t none;
    int moved[CHANNEL_FDS_MAX + 1];

    ignore(sigemptyset(&none));
    ignore(sigprocmask(SIG_SETMASK, &none, NULL));
    /* Any number could be taken by another: first all out of the way. */
    for (size_t i = 0; i <= count; i++) {
        moved[i] = fcntl(i < count ? fds[i] : program, F_DUPFD, CHANNEL_FDS_MAX + 16);
        if (moved[i] < 0)
            _exit(70);
    }
    int program_fd = WORKER_CHANNEL_FD + (int)count;
    for (size_t i = 0; i < count; i++) {
        if (dup2(moved[i], WORKER_CHANNEL_FD + (int)i) < 0)
            _exit(70);
    }
    if (dup3(moved[count], program_fd, O_CLOEXEC) < 0)
        _exit(70);
    ignore(close_range((unsigned)program_fd + 1, ~0u, 0));
    const char *failed = drop_privileges(supervisor, drops);
    if (failed != NULL) {
        dprintf(STDERR_FILENO, "holdfast: %s: cannot drop privileges (%s): %s\n", name, failed,
                strerror(errno));
        _exit(70);
    }
    ignore(fexecve(program_fd, arguments, environ));
    dprintf(STDERR_FILENO, "holdfast: %s: cannot execute the program: %s\n", name, strerror(errno));
    _exit(70);
}

static NORETURN void become(const struct process *process, int channel)
{
    const struct supervisor *supervisor = process->supervisor;
    char kind[32], program[] = "holdfast", verb[] = "worker";
    char *arguments[] = {program, verb, kind, NULL};

    ignore(snprintf(kind, sizeof kind, "%s", process_kind_name(process->kind)));
    scheduling_apply(process->kind, supervisor->conf->handshaker_nice);
    spawn_execute(supervisor, supervisor->house->descriptors[HOUSE_PROGRAM], arguments, &channel, 1,
                  true);
}

/* ---- what each kind is sent ---- */

bool spawn_tell(const struct house_life *life, uint32_t type, const void *body, size_t size,
                const int *fds, size_t count)
{
    return channel_send(life->channel, type, body, size, fds, count) == CHANNEL_DONE;
}

static bool send_descriptors(const struct house_life *life, enum descriptors_role role,
                             unsigned first, const int *fds, size_t count)
{
    for (size_t at = 0; at < count; at += CHANNEL_FDS_MAX) {
        struct message_descriptors body = {.role = role, .first = first + (unsigned)at};
        size_t some = count - at < CHANNEL_FDS_MAX ? count - at : CHANNEL_FDS_MAX;
        if (!spawn_tell(life, MESSAGE_DESCRIPTORS, &body, sizeof body, fds + at, some))
            return false;
    }
    return true;
}

static void choose_descriptors(const struct process *process, int fds[SETUP_DESCRIPTOR_COUNT])
{
    const struct house *house = process->supervisor->house;
    const struct house_arena *arena = &house->arenas[process->index];
    const int32_t *all = house->descriptors;

    for (unsigned i = 0; i < SETUP_DESCRIPTOR_COUNT; i++)
        fds[i] = -1;
    fds[SETUP_CONFIG] = all[HOUSE_CONFIG];
    fds[SETUP_BOARD] = all[HOUSE_BOARD];
    fds[SETUP_EVENTS] = all[HOUSE_EVENTS];
    fds[SETUP_NOTIFY] = all[HOUSE_NOTIFY];
    if (process->kind == PROCESS_RELAY) {
        fds[SETUP_METADATA] = arena->metadata;
        fds[SETUP_SECRETS] = arena->secrets;
        fds[SETUP_BLOCKS] = arena->blocks;
        fds[SETUP_WATCHES] = arena->watches;
    } else if (process->kind == PROCESS_HANDSHAKER) {
        fds[SETUP_TICKET_KEYS] = all[HOUSE_TICKET_KEYS_LOOKING];
        fds[SETUP_SESSION_CACHE] = all[HOUSE_SESSION_CACHE];
    } else {
        fds[SETUP_TICKET_KEYS] = all[HOUSE_TICKET_KEYS];
        fds[SETUP_INOTIFY] = all[HOUSE_INOTIFY];
        fds[SETUP_CONTROL_SOCKET] = all[HOUSE_CONTROL_SOCKET];
        fds[SETUP_STATE_FOLDER] = all[HOUSE_STATE_FOLDER];
    }
}

static bool send_setup(const struct process *process, enum life_role role)
{
    const struct house *house = process->supervisor->house;
    struct worker_setup setup = {.version = MESSAGES_VERSION,
                                 .kind = process->kind,
                                 .index = process->index,
                                 .workers = house->workers,
                                 .config_generation = house->config_generation,
                                 .binary_generation = house->binary_generation,
                                 .slot_capacity = house->slot_capacity,
                                 .block_count = house->block_count,
                                 .predecessor_lives = role == LIFE_SUCCESSOR &&
                                                      life_of(process, LIFE_CURRENT)->pid > 0};
    int all[SETUP_DESCRIPTOR_COUNT], fds[SETUP_DESCRIPTOR_COUNT];
    size_t count = 0;

    choose_descriptors(process, all);
    for (unsigned i = 0; i < SETUP_DESCRIPTOR_COUNT; i++) {
        if (all[i] >= 0) {
            setup.present |= 1u << i;
            fds[count++] = all[i];
        }
    }
    ignore(string_copy(setup.config_path, sizeof setup.config_path, house->config_path));
    ignore(string_copy(setup.config_source, sizeof setup.config_source,
                       reload_source(process->supervisor->reload)));
    return spawn_tell(life_of(process, role), MESSAGE_SETUP, &setup, sizeof setup, fds, count);
}

/* Trust store and client certificate of each TLS upstream, opened now. */
bool spawn_upstream_material(const struct process *process, const struct house_life *life)
{
    const struct conf *conf = process->supervisor->conf;

    for (unsigned i = 0; i < conf->upstream_count; i++) {
        const struct conf_upstream *upstream = &conf->upstreams[i];
        const char *paths[] = {upstream->tls_trust, upstream->tls_certificate, upstream->tls_key};
        struct message_descriptors body = {.role = DESCRIPTORS_UPSTREAM_TLS, .first = i};
        int fds[ARRAY_SIZE(paths)];
        size_t count = 0;
        bool sent;

        if (upstream->name == NULL || !upstream->tls)
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
        sent = spawn_tell(life, MESSAGE_DESCRIPTORS, &body, sizeof body, fds, count);
        for (size_t j = 0; j < count; j++)
            ignore(close(fds[j]));
        if (!sent)
            return false;
    }
    return true;
}

bool spawn_unable_clients(const struct process *process, const struct house_life *life)
{
    const char *path = process->supervisor->conf->key_update_unable;

    if (path == NULL)
        return true;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        supervisor_event(process->supervisor, EVENT_WARNING,
                         "key-update-unable: cannot open %s: %s", path, strerror(errno));
        return true;
    }
    bool sent = send_descriptors(life, DESCRIPTORS_KEY_UPDATE_UNABLE, 0, &fd, 1);
    ignore(close(fd));
    return sent;
}

static bool send_listening(const struct house *house, const struct house_life *life)
{
    int fds[CONF_ADDRESSES_MAX];

    for (uint32_t i = 0; i < house->listening_count; i++)
        fds[i] = house->listening[i].fd;
    return send_descriptors(life, DESCRIPTORS_LISTENING, 0, fds, house->listening_count);
}

static bool send_handshaker(const struct process *process, const struct house_life *life)
{
    const struct house *house = process->supervisor->house;
    unsigned index = process->index;

    for (unsigned i = 0; i < house->workers; i++) {
        if (!send_descriptors(life, DESCRIPTORS_RELAY, i,
                              &house->pairs[index * house->workers + i][0], 1))
            return false;
    }
    return spawn_upstream_material(process, life) && spawn_unable_clients(process, life) &&
           send_listening(house, life) &&
           send_descriptors(life, DESCRIPTORS_CONTROL, 0, &house->handshaker_control[index][0], 1);
}

static bool send_relay(const struct process *process, const struct house_life *life)
{
    const struct house *house = process->supervisor->house;
    unsigned index = process->index;

    for (unsigned i = 0; i < house->workers; i++) {
        if (!send_descriptors(life, DESCRIPTORS_HANDSHAKER, i,
                              &house->pairs[i * house->workers + index][1], 1))
            return false;
    }
    return send_descriptors(life, DESCRIPTORS_CONTROL, 0, &house->relay_control[index][0], 1);
}

static bool send_control(const struct house *house, const struct house_life *life)
{
    for (unsigned i = 0; i < house->workers; i++) {
        /* Control looks at sessions, it has nothing to write there. */
        int looking = memory_reopen(house->arenas[i].metadata);
        bool sent = send_descriptors(life, DESCRIPTORS_ARENA, i, &looking, 1);
        if (looking >= 0)
            ignore(close(looking));
        if (!sent ||
            !send_descriptors(life, DESCRIPTORS_HANDSHAKER, i, &house->handshaker_control[i][1],
                              1) ||
            !send_descriptors(life, DESCRIPTORS_RELAY, i, &house->relay_control[i][1], 1))
            return false;
    }
    for (unsigned i = 0; i < house->admin_count; i++) {
        if (!send_descriptors(life, DESCRIPTORS_ADMIN, i, &house->admin[i].fd, 1))
            return false;
    }
    return true;
}

void spawn_announce(const struct process *process)
{
    struct supervisor *supervisor = process->supervisor;
    const struct house *house = supervisor->house;
    const struct house_life *control =
        life_of(supervisor_process(supervisor, PROCESS_CONTROL, 0), LIFE_CURRENT);
    bool handshaker = process->kind == PROCESS_HANDSHAKER;

    if (control->channel >= 0 &&
        !send_descriptors(control, handshaker ? DESCRIPTORS_HANDSHAKER : DESCRIPTORS_RELAY,
                          process->index,
                          handshaker ? &house->handshaker_control[process->index][1]
                                     : &house->relay_control[process->index][1],
                          1))
        supervisor_event(supervisor, EVENT_WARNING,
                         "control could not be told of a restarted process");
}

static bool send_everything(const struct process *process, enum life_role role)
{
    const struct house_life *life = life_of(process, role);

    if (!send_setup(process, role))
        return false;
    switch (process->kind) {
    case PROCESS_HANDSHAKER:
        return send_handshaker(process, life);
    case PROCESS_RELAY:
        return send_relay(process, life);
    case PROCESS_CONTROL:
        return send_control(process->supervisor->house, life);
    case PROCESS_SUPERVISOR:
    case PROCESS_RETIRING_HANDSHAKER:
    case PROCESS_KIND_COUNT:
        break;
    }
    return false;
}

int spawn_process(struct process *process, enum life_role role, struct error *error)
{
    struct house *house = process->supervisor->house;
    struct house_life *life = life_of(process, role);
    int ends[2];

    if (!channel_pair(ends, CHANNEL_QUEUE))
        return error_set(error, ERROR_IO, "cannot create a channel: %s", strerror(errno));
    if (life->pid > 0) { /* it would be forgotten */
        ignore(close(ends[0]));
        ignore(close(ends[1]));
        return error_set(error, ERROR_INTERNAL, "there is one already");
    }
    pid_t pid = fork();
    if (pid == 0)
        become(process, ends[1]);
    ignore(close(ends[1]));
    if (pid < 0) {
        ignore(close(ends[0]));
        return error_set(error, ERROR_IO, "cannot fork: %s", strerror(errno));
    }
    *life = (struct house_life){.pid = pid,
                                .channel = ends[0],
                                .stage = LIFE_STARTING,
                                .binary = house->binary_generation,
                                .started_ns = clock_monotonic_ns()};
    if (!send_everything(process, role))
        return error_set(error, ERROR_IO, "cannot send the set-up: %s", strerror(errno));
    return 0;
}
