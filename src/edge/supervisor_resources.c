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
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/string.h"
#include "edge/key_encryption.h"
#include "edge/supervisor_history.h"
#include "edge/supervisor_internal.h"
#include "ipc/memory.h"
#include "ipc/ring.h"
#include "loop/descriptors.h"
#include "loop/socket_counters.h"
#include "tls/session_cache.h"
#include "tls/ticket_ring.h"

#define CHANNEL_QUEUE (1u << 20)

static int out_of(struct error *error, const char *what)
{
    return error_set(error, ERROR_IO, "cannot create %s: %s", what, strerror(errno));
}

/* ---- limits ---- */

static int raise_limits(struct supervisor *supervisor, struct error *error)
{
    struct rlimit memory = {RLIM_INFINITY, RLIM_INFINITY};
    const struct conf *conf = supervisor->conf;
    struct house *house = supervisor->house;
    /* We keep duplicates of all sessions' descriptors, and both ends of every channel. */
    uint64_t reserved =
        RESERVED_DESCRIPTORS + 2ull * conf->workers * conf->workers + 16ull * conf->workers;

    uint64_t files = descriptors_raise();
    if (files == 0)
        return error_set(error, ERROR_IO, "cannot read the descriptor limit: %s", strerror(errno));
    if (setrlimit(RLIMIT_MEMLOCK, &memory) != 0) { /* not ours to raise: as far as allowed */
        ignore(getrlimit(RLIMIT_MEMLOCK, &memory));
        memory.rlim_cur = memory.rlim_max;
        ignore(setrlimit(RLIMIT_MEMLOCK, &memory));
    }
    if (files < reserved + 64)
        return error_set(error, ERROR_LIMIT,
                         "the descriptor limit is %llu; at least %llu are needed (ulimit -n)",
                         (unsigned long long)files, (unsigned long long)reserved + 64);
    uint64_t sessions = (files - reserved) / 2;
    if (sessions > 1u << 22)
        sessions = 1u << 22;
    if (conf->max_sessions != 0 && conf->max_sessions < sessions)
        sessions = conf->max_sessions;
    house->workers = conf->workers;
    if (conf->workers == 0) /* it only watches */
        return 0;
    house->slot_capacity = (uint32_t)((sessions + conf->workers - 1) / conf->workers);
    house->block_count = (uint32_t)(conf->buffer_memory / conf->workers / BLOCK_SIZE);
    house->block_count &= ~((1u << BLOCK_ORDER_MAX) - 1);
    if (house->block_count == 0)
        return error_set(error, ERROR_CONFIG,
                         "buffer-memory is too small: each of %u relays needs %u KiB or more",
                         conf->workers, (BLOCK_SIZE << BLOCK_ORDER_MAX) / 1024);
    return 0;
}

/* ---- shared memory ---- */

static int create_board(struct supervisor *supervisor, struct error *error)
{
    int32_t *fds = supervisor->house->descriptors;

    fds[HOUSE_BOARD] = memory_create("holdfast-board", sizeof *supervisor->board);
    fds[HOUSE_EVENTS] = memory_create("holdfast-events", events_size());
    fds[HOUSE_NOTIFY] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fds[HOUSE_BOARD] < 0 || fds[HOUSE_EVENTS] < 0 || fds[HOUSE_NOTIFY] < 0)
        return out_of(error, "shared memory");
    return 0;
}

static void init_board(struct supervisor *supervisor)
{
    struct board *board = supervisor->board;
    struct board_process *self = &board->processes[board_worker_number(PROCESS_SUPERVISOR, 0)];

    board->version = BOARD_VERSION;
    board->workers = supervisor->house->workers;
    board->relay_capacity = supervisor->house->slot_capacity;
    board->config_generation = supervisor->house->config_generation;
    board->binary_generation = supervisor->house->binary_generation;
    board->ticket_key_generation = 1;
    board->crash_survival = supervisor->house->counters;
    board->started_wall_ns = clock_wall_ns();
    for (unsigned i = 0; i < BOARD_SERVERS_MAX; i++)
        board->servers[i].healthy = 1;
    events_init(supervisor->events_memory);
    self->pid = (uint32_t)getpid();
    self->starts = 1;
    self->started_ns = clock_monotonic_ns();
}

static int create_arenas(struct supervisor *supervisor, struct error *error)
{
    struct house *house = supervisor->house;

    for (unsigned i = 0; i < house->workers; i++) {
        struct house_arena *arena = &house->arenas[i];
        arena->metadata =
            memory_create("holdfast-metadata", arena_metadata_size(house->slot_capacity));
        arena->secrets =
            memory_create("holdfast-secrets", arena_secrets_size(house->slot_capacity));
        arena->blocks = memory_create("holdfast-blocks", arena_blocks_size(house->block_count));
        arena->sessions =
            memory_create("holdfast-sessions", house->slot_capacity * sizeof(struct house_session));
        arena->watches = loop_watches_new();
        if (arena->metadata < 0 || arena->secrets < 0 || arena->blocks < 0 || arena->sessions < 0 ||
            arena->watches < 0)
            return out_of(error, "an arena");
    }
    return 0;
}

/* Empty: control makes the first keys, or reads those of before (admin/tickets.h). Handshakers look
 * at them, they have nothing to write there. */
static int create_ticket_keys(struct supervisor *supervisor, struct error *error)
{
    int32_t *fds = supervisor->house->descriptors;

    fds[HOUSE_TICKET_KEYS] = memory_create("holdfast-ticket-keys", sizeof(struct ticket_ring));
    if (fds[HOUSE_TICKET_KEYS] >= 0)
        fds[HOUSE_TICKET_KEYS_LOOKING] = memory_reopen(fds[HOUSE_TICKET_KEYS]);
    return fds[HOUSE_TICKET_KEYS_LOOKING] < 0 ? out_of(error, "ticket keys") : 0;
}

static int create_session_cache(struct supervisor *supervisor, struct error *error)
{
    int32_t *fd = &supervisor->house->descriptors[HOUSE_SESSION_CACHE];
    uint32_t entries = supervisor->conf->session_cache;
    size_t size = session_cache_size(entries);

    if (entries == 0)
        return 0;
    *fd = memory_create("holdfast-session-cache", size);
    void *memory = *fd < 0 ? NULL : memory_map(*fd, size, true);
    if (memory == NULL)
        return out_of(error, "the cache of sessions");
    session_cache_format(memory, entries);
    memory_unmap(memory, size);
    return 0;
}

/* The effective configuration as text: what every process parses, so that none asks the machine for
 * defaults again. */
static int create_config(struct supervisor *supervisor, struct error *error)
{
    int32_t *fd = &supervisor->house->descriptors[HOUSE_CONFIG];
    char *text = conf_show_internal(supervisor->conf);

    if (text == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    *fd = memory_document("holdfast-config", text, strlen(text));
    free(text);
    return *fd < 0 ? out_of(error, "the configuration's memory") : 0;
}

/* ---- channels ---- */

static int create_channels(struct supervisor *supervisor, struct error *error)
{
    struct house *house = supervisor->house;
    unsigned workers = house->workers;

    for (unsigned i = 0; i < workers * workers; i++) {
        if (!channel_pair(house->pairs[i], CHANNEL_QUEUE))
            return out_of(error, "a channel");
    }
    for (unsigned i = 0; i < workers; i++) {
        if (!channel_pair(house->handshaker_control[i], CHANNEL_QUEUE) ||
            !channel_pair(house->relay_control[i], CHANNEL_QUEUE))
            return out_of(error, "a channel");
    }
    return 0;
}

/* ---- sockets ---- */

int resources_listen(int *ret_fd, const struct conf_listener *listener,
                     const struct address *address, struct error *error)
{
    /* Accepted sockets inherit these. */
    struct socket_options options = {.keepalive_s = listener->keepalive,
                                     .user_timeout_ms = listener->user_timeout};
    int seconds = 1, fd;

    int result = socket_listen(&fd, address, listener->backlog, error);
    if (result < 0)
        return error_prepend(error, "listener %s", listener->name);
    socket_tune(fd, &options);
    /* A TLS client speaks first: wake nobody for a connection without a word. */
    ignore(setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds));
    *ret_fd = fd;
    return 0;
}

static int listen_all(struct supervisor *supervisor, struct error *error)
{
    const struct conf *conf = supervisor->conf;
    struct house *house = supervisor->house;
    int fd;

    for (uint32_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        for (size_t j = 0; j < listener->bind.count; j++) {
            int result = resources_listen(&fd, listener, &listener->bind.items[j], error);
            if (result < 0)
                return result;
            house->listening[house->listening_count++] =
                (struct house_socket){.fd = fd, .listener = i, .address = listener->bind.items[j]};
        }
    }
    for (size_t i = 0; i < conf_http_count(conf); i++) {
        const struct address *address = conf_http_address(conf, i);
        if (socket_listen(&fd, address, 64, error) < 0)
            return error_prepend(error, i < conf->admin.bind.count ? "admin" : "exporter");
        house->admin[house->admin_count++] = (struct house_socket){.fd = fd, .address = *address};
    }
    return 0;
}

/* Before privileges go: afterwards we may not write into the folder. */
static void open_history(struct supervisor *supervisor)
{
    int32_t *fds = supervisor->house->descriptors;
    struct error error = {0};

    fds[HOUSE_HISTORY] = history_open(fds[HOUSE_STATE_FOLDER], &error);
    if (fds[HOUSE_HISTORY] < 0)
        ignore(string_copy(supervisor->no_history, sizeof supervisor->no_history, error.message));
}

static int open_state_folder(struct supervisor *supervisor, struct error *error)
{
    const char *path = supervisor->conf->state_folder;
    const struct house *house = supervisor->house;
    int32_t *fd = &supervisor->house->descriptors[HOUSE_STATE_FOLDER];
    struct stat facts;

    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return error_set(error, ERROR_IO, "cannot create state-folder %s: %s", path,
                         strerror(errno));
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0 || fstat(*fd, &facts) != 0)
        return error_set(error, ERROR_IO, "cannot open state-folder %s: %s", path, strerror(errno));
    if (house->drops_privileges && facts.st_uid != house->uid &&
        fchown(*fd, house->uid, house->gid) != 0)
        return error_set(error, ERROR_IO, "cannot give state-folder %s to user %s: %s", path,
                         supervisor->conf->user, strerror(errno));
    open_history(supervisor);
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
    int fd = -1, result = socket_listen(&fd, &address, 64, error);
    ignore((long)umask(mask));
    supervisor->house->descriptors[HOUSE_CONTROL_SOCKET] = fd;
    if (result < 0)
        return error_prepend(
            error, "control socket (is another holdfast running with this state-folder?)");
    if (supervisor->house->drops_privileges)
        ignore(chown(path, supervisor->house->uid, supervisor->house->gid));
    return 0;
}

static int map_sessions(struct supervisor *supervisor, struct error *error)
{
    for (unsigned i = 0; i < supervisor->house->workers; i++) {
        supervisor->sessions[i] = house_sessions_map(supervisor->house, i);
        if (supervisor->sessions[i] == NULL)
            return out_of(error, "the registry of sessions");
    }
    return 0;
}

int resources_map(struct supervisor *supervisor, struct error *error)
{
    const int32_t *fds = supervisor->house->descriptors;

    supervisor->board = memory_map(fds[HOUSE_BOARD], sizeof *supervisor->board, true);
    supervisor->events_memory = memory_map(fds[HOUSE_EVENTS], events_size(), true);
    if (supervisor->board == NULL || supervisor->events_memory == NULL)
        return out_of(error, "shared memory");
    event_writer_init(&supervisor->events, supervisor->events_memory,
                      board_worker_number(PROCESS_SUPERVISOR, 0), fds[HOUSE_NOTIFY],
                      supervisor->board);
    return map_sessions(supervisor, error);
}

int resources_create(struct supervisor *supervisor, struct error *error)
{
    struct house *house = supervisor->house;
    int result;

    house->descriptors[HOUSE_PROGRAM] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (house->descriptors[HOUSE_PROGRAM] < 0)
        return error_set(error, ERROR_IO, "cannot open our own program: %s", strerror(errno));
    house->descriptors[HOUSE_INOTIFY] = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (house->descriptors[HOUSE_INOTIFY] < 0)
        return out_of(error, "the file watcher");
    ignore(string_copy(house->config_path, sizeof house->config_path, supervisor->conf->path));
    house->counters = socket_counters_work();
    if ((result = key_encryption_check(supervisor->conf, house->uid, error)) < 0 ||
        (result = raise_limits(supervisor, error)) < 0 ||
        (result = create_board(supervisor, error)) < 0 ||
        (result = create_config(supervisor, error)) < 0 ||
        (result = create_ticket_keys(supervisor, error)) < 0 ||
        (result = create_session_cache(supervisor, error)) < 0 ||
        (result = create_arenas(supervisor, error)) < 0 ||
        (result = create_channels(supervisor, error)) < 0 ||
        (result = open_state_folder(supervisor, error)) < 0 ||
        (result = open_control_socket(supervisor, error)) < 0 ||
        (result = listen_all(supervisor, error)) < 0 ||
        (result = resources_map(supervisor, error)) < 0)
        return result;
    init_board(supervisor);
    return 0;
}

void resources_unlink_socket(int fd)
{
    struct sockaddr_un address;
    socklen_t size = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 && address.sun_family == AF_UNIX &&
        address.sun_path[0] != 0)
        ignore(unlink(address.sun_path));
}

void resources_release(struct supervisor *supervisor)
{
    const struct house *house = supervisor->house;

    for (size_t i = 0; i < house->listening_count; i++)
        resources_unlink_socket(house->listening[i].fd);
    for (size_t i = 0; i < house->admin_count; i++)
        resources_unlink_socket(house->admin[i].fd);
    resources_unlink_socket(
        house->descriptors[HOUSE_CONTROL_SOCKET]); /* as a rule control was quicker */
}
