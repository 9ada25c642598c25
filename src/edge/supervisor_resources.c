/* What the house owns for its whole life. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/secret.h"
#include "edge/supervisor_internal.h"
#include "ipc/memory.h"
#include "ipc/ring.h"

#define CHANNEL_QUEUE (1u << 20)

static int out_of(struct error *error, const char *what)
{
    return error_set(error, ERROR_IO, "cannot create %s: %s", what, strerror(errno));
}

/* ---- limits ---- */

static int raise_limits(struct supervisor *supervisor, struct error *error)
{
    struct rlimit files, memory = {RLIM_INFINITY, RLIM_INFINITY};
    const struct conf *conf = supervisor->conf;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return error_set(error, ERROR_IO, "cannot read the descriptor limit: %s", strerror(errno));
    files.rlim_cur = files.rlim_max;
    ignore(setrlimit(RLIMIT_NOFILE, &files));
    if (setrlimit(RLIMIT_MEMLOCK, &memory) != 0) { /* not ours to raise: as far as allowed */
        ignore(getrlimit(RLIMIT_MEMLOCK, &memory));
        memory.rlim_cur = memory.rlim_max;
        ignore(setrlimit(RLIMIT_MEMLOCK, &memory));
    }
    if (files.rlim_cur < RESERVED_DESCRIPTORS + 64)
        return error_set(error, ERROR_LIMIT,
                         "the descriptor limit is %llu; at least %u are needed (ulimit -n)",
                         (unsigned long long)files.rlim_cur, RESERVED_DESCRIPTORS + 64);
    uint64_t sessions = (files.rlim_cur - RESERVED_DESCRIPTORS) / 2;
    if (sessions > 1u << 22)
        sessions = 1u << 22;
    if (conf->max_sessions != 0 && conf->max_sessions < sessions)
        sessions = conf->max_sessions;
    supervisor->slot_capacity = (uint32_t)((sessions + conf->workers - 1) / conf->workers);
    supervisor->block_count = (uint32_t)(conf->buffer_memory / conf->workers / BLOCK_SIZE);
    supervisor->block_count &= ~((1u << BLOCK_ORDER_MAX) - 1);
    if (supervisor->block_count == 0)
        return error_set(error, ERROR_CONFIG,
                         "buffer-memory is too small: each of %u relays needs %u KiB or more",
                         conf->workers, (BLOCK_SIZE << BLOCK_ORDER_MAX) / 1024);
    return 0;
}

/* ---- shared memory ---- */

static int create_board(struct supervisor *supervisor, struct error *error)
{
    supervisor->board_memory = memory_create("holdfast-board", sizeof *supervisor->board);
    supervisor->events_file = memory_create("holdfast-events", events_size());
    supervisor->notify = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (supervisor->board_memory < 0 || supervisor->events_file < 0 || supervisor->notify < 0)
        return out_of(error, "shared memory");
    supervisor->board = memory_map(supervisor->board_memory, sizeof *supervisor->board, true);
    supervisor->events_memory = memory_map(supervisor->events_file, events_size(), true);
    if (supervisor->board == NULL || supervisor->events_memory == NULL)
        return out_of(error, "shared memory");
    supervisor->board->version = BOARD_VERSION;
    supervisor->board->workers = supervisor->conf->workers;
    supervisor->board->relay_capacity = supervisor->slot_capacity;
    supervisor->board->started_wall_ns = clock_wall_ns();
    supervisor->board->config_generation = 1;
    supervisor->board->binary_generation = 1;
    supervisor->board->ticket_key_generation = 1;
    for (unsigned i = 0; i < BOARD_SERVERS_MAX; i++)
        supervisor->board->servers[i].healthy = 1;
    events_init(supervisor->events_memory);
    event_writer_init(&supervisor->events, supervisor->events_memory,
                      board_worker_number(PROCESS_SUPERVISOR, 0), supervisor->notify,
                      supervisor->board);
    struct board_process *self =
        &supervisor->board->processes[board_worker_number(PROCESS_SUPERVISOR, 0)];
    self->pid = (uint32_t)getpid();
    self->starts = 1;
    self->started_ns = clock_monotonic_ns();
    return 0;
}

static int create_arenas(struct supervisor *supervisor, struct error *error)
{
    supervisor->arenas = calloc(supervisor->conf->workers, sizeof *supervisor->arenas);
    if (supervisor->arenas == NULL)
        return out_of(error, "arenas");
    for (unsigned i = 0; i < supervisor->conf->workers; i++) {
        struct arena_files *arena = &supervisor->arenas[i];
        arena->metadata =
            memory_create("holdfast-metadata", arena_metadata_size(supervisor->slot_capacity));
        arena->secrets =
            memory_create("holdfast-secrets", arena_secrets_size(supervisor->slot_capacity));
        arena->blocks =
            memory_create("holdfast-blocks", arena_blocks_size(supervisor->block_count));
        if (arena->metadata < 0 || arena->secrets < 0 || arena->blocks < 0)
            return out_of(error, "an arena");
    }
    return 0;
}

static int create_ticket_keys(struct supervisor *supervisor, struct error *error)
{
    uint8_t keys[80];

    if (getrandom(keys, sizeof keys, 0) != sizeof keys)
        return out_of(error, "ticket keys");
    supervisor->ticket_keys = memory_document("holdfast-ticket-keys", keys, sizeof keys);
    secret_wipe(keys, sizeof keys);
    return supervisor->ticket_keys < 0 ? out_of(error, "ticket keys") : 0;
}

/* The effective configuration as text: what every process parses, so that none asks the machine for
 * defaults again. */
static int create_config(struct supervisor *supervisor, struct error *error)
{
    char *text = conf_show(supervisor->conf);

    if (text == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    supervisor->config_document = memory_document("holdfast-config", text, strlen(text));
    free(text);
    return supervisor->config_document < 0 ? out_of(error, "the configuration's memory") : 0;
}

/* ---- channels ---- */

static int create_channels(struct supervisor *supervisor, struct error *error)
{
    unsigned workers = supervisor->conf->workers;

    supervisor->pairs = calloc((size_t)workers * workers, sizeof *supervisor->pairs);
    supervisor->handshaker_control = calloc(workers, sizeof *supervisor->handshaker_control);
    supervisor->relay_control = calloc(workers, sizeof *supervisor->relay_control);
    if (supervisor->pairs == NULL || supervisor->handshaker_control == NULL ||
        supervisor->relay_control == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    for (unsigned i = 0; i < workers * workers; i++) {
        if (!channel_pair(supervisor->pairs[i], CHANNEL_QUEUE))
            return out_of(error, "a channel");
    }
    for (unsigned i = 0; i < workers; i++) {
        if (!channel_pair(supervisor->handshaker_control[i], CHANNEL_QUEUE) ||
            !channel_pair(supervisor->relay_control[i], CHANNEL_QUEUE))
            return out_of(error, "a channel");
    }
    return 0;
}

/* ---- sockets ---- */

static int listen_all(struct supervisor *supervisor, struct error *error)
{
    const struct conf *conf = supervisor->conf;
    int seconds = 1;

    for (size_t i = 0; i < conf->listener_count; i++)
        supervisor->listening_count += conf->listeners[i].bind.count;
    supervisor->listening =
        malloc((supervisor->listening_count + 1) * sizeof *supervisor->listening);
    supervisor->admin = malloc((conf->admin.bind.count + 1) * sizeof *supervisor->admin);
    if (supervisor->listening == NULL || supervisor->admin == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    size_t next = 0;
    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        for (size_t j = 0; j < listener->bind.count; j++, next++) {
            int result = socket_listen(&supervisor->listening[next], &listener->bind.items[j],
                                       listener->backlog, error);
            if (result < 0)
                return error_prepend(error, "listener %s", listener->name);
            /* Accepted sockets inherit these. */
            struct socket_options options = {.keepalive_s = listener->keepalive,
                                             .user_timeout_ms = listener->user_timeout};
            socket_tune(supervisor->listening[next], &options);
            /* A TLS client speaks first: wake nobody for a connection without a word. */
            ignore(setsockopt(supervisor->listening[next], IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds,
                              sizeof seconds));
        }
    }
    for (size_t i = 0; i < conf->admin.bind.count; i++) {
        if (socket_listen(&supervisor->admin[i], &conf->admin.bind.items[i], 64, error) < 0)
            return error_prepend(error, "admin");
    }
    return 0;
}

static int open_state_folder(struct supervisor *supervisor, struct error *error)
{
    const char *path = supervisor->conf->state_folder;
    struct stat facts;

    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return error_set(error, ERROR_IO, "cannot create state-folder %s: %s", path,
                         strerror(errno));
    supervisor->state_folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (supervisor->state_folder < 0 || fstat(supervisor->state_folder, &facts) != 0)
        return error_set(error, ERROR_IO, "cannot open state-folder %s: %s", path, strerror(errno));
    if (supervisor->drops_privileges && facts.st_uid != supervisor->uid &&
        fchown(supervisor->state_folder, supervisor->uid, supervisor->gid) != 0)
        return error_set(error, ERROR_IO, "cannot give state-folder %s to user %s: %s", path,
                         supervisor->conf->user, strerror(errno));
    return 0;
}

static int open_control_socket(struct supervisor *supervisor, struct error *error)
{
    struct address address = {0};
    char path[sizeof address.un.sun_path + 16];

    if (snprintf(path, sizeof path, "%s/control.sock", supervisor->conf->state_folder) >=
        (int)sizeof address.un.sun_path)
        return error_set(error, ERROR_CONFIG,
                         "state-folder %s is too long a path: its control.sock must fit in %zu "
                         "bytes; choose a shorter one",
                         supervisor->conf->state_folder, sizeof address.un.sun_path - 1);
    address.un.sun_family = AF_UNIX;
    memcpy(address.un.sun_path, path, strlen(path) + 1);
    address.size = sizeof address.un;
    mode_t mask = umask(0177);
    int result = socket_listen(&supervisor->control_socket, &address, 64, error);
    ignore((long)umask(mask));
    if (result < 0)
        return error_prepend(
            error, "control socket (is another holdfast running with this state-folder?)");
    if (supervisor->drops_privileges)
        ignore(chown(path, supervisor->uid, supervisor->gid));
    return 0;
}

int resources_create(struct supervisor *supervisor, struct error *error)
{
    int result;

    supervisor->program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (supervisor->program < 0)
        return error_set(error, ERROR_IO, "cannot open our own program: %s", strerror(errno));
    supervisor->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (supervisor->inotify < 0)
        return out_of(error, "the file watcher");
    if ((result = raise_limits(supervisor, error)) < 0 ||
        (result = create_board(supervisor, error)) < 0 ||
        (result = create_config(supervisor, error)) < 0 ||
        (result = create_ticket_keys(supervisor, error)) < 0 ||
        (result = create_arenas(supervisor, error)) < 0 ||
        (result = create_channels(supervisor, error)) < 0 ||
        (result = open_state_folder(supervisor, error)) < 0 ||
        (result = open_control_socket(supervisor, error)) < 0 ||
        (result = listen_all(supervisor, error)) < 0)
        return result;
    return 0;
}

/* Unix socket files would stay behind. */
static void unlink_socket(int fd)
{
    struct sockaddr_un address;
    socklen_t size = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 && address.sun_family == AF_UNIX &&
        address.sun_path[0] != 0)
        ignore(unlink(address.sun_path));
}

void resources_release(struct supervisor *supervisor)
{
    for (size_t i = 0; i < supervisor->listening_count; i++)
        unlink_socket(supervisor->listening[i]);
    for (size_t i = 0; i < supervisor->conf->admin.bind.count; i++)
        unlink_socket(supervisor->admin[i]);
    unlink_socket(supervisor->control_socket); /* as a rule control was quicker */
}
