#include "edge/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/secret.h"
#include "ipc/memory.h"

/* Blocks until the next message of the supervisor is there. */
static int receive_blocking(struct worker *worker, struct error *error)
{
    for (;;) {
        switch (channel_receive(worker->supervisor_fd, worker->message)) {
        case CHANNEL_DONE:
            return 0;
        case CHANNEL_FULL: {
            struct pollfd wait = {.fd = worker->supervisor_fd, .events = POLLIN};
            if (poll(&wait, 1, -1) < 0 && errno != EINTR)
                return error_set(error, ERROR_IO, "cannot wait for the supervisor: %s",
                                 strerror(errno));
            continue;
        }
        case CHANNEL_CLOSED:
            return error_set(error, ERROR_IO, "the supervisor closed the channel during start");
        case CHANNEL_BAD:
            return error_set(error, ERROR_INTERNAL,
                             "malformed message from the supervisor during start");
        }
    }
}

static int take_setup(struct worker *worker, struct error *error)
{
    struct message *message = worker->message;
    size_t next = 0;

    int result = receive_blocking(worker, error);
    if (result < 0)
        return result;
    if (message->type != MESSAGE_SETUP || message->size != sizeof worker->setup) {
        message_fini(message);
        return error_set(error, ERROR_INTERNAL, "expected the set-up, got message %u",
                         message->type);
    }
    memcpy(&worker->setup, message->body, sizeof worker->setup);
    for (int i = 0; i < SETUP_DESCRIPTOR_COUNT; i++) {
        if ((worker->setup.present & (1u << i)) != 0 && next < message->fd_count) {
            worker->descriptors[i] = message->fds[next];
            message->fds[next++] = -1;
        }
    }
    message_fini(message);
    if (worker->setup.version != MESSAGES_VERSION || worker->setup.kind != worker->role->kind)
        return error_set(error, ERROR_INTERNAL, "set-up is for version %u, kind %u",
                         worker->setup.version, worker->setup.kind);
    return 0;
}

static int map_shared(struct worker *worker, struct error *error)
{
    size_t size;

    worker->board = memory_map(worker->descriptors[SETUP_BOARD], sizeof *worker->board, true);
    worker->events_memory = memory_map(worker->descriptors[SETUP_EVENTS], events_size(), true);
    if (worker->board == NULL || worker->events_memory == NULL)
        return error_set(error, ERROR_IO, "cannot map shared memory: %s", strerror(errno));
    worker_take_place(worker, worker->role->kind);
    worker->events.muted = worker->setup.predecessor_lives;
    char *text = memory_document_read(worker->descriptors[SETUP_CONFIG], CONF_TEXT_MAX, &size);
    if (text == NULL)
        return error_set(error, ERROR_IO, "cannot read the configuration passed on");
    int result = conf_parse_internal(&worker->conf, worker->setup.config_path, text, error);
    free(text);
    return result;
}

void worker_take_place(struct worker *worker, enum process_kind kind)
{
    unsigned number = board_worker_number(kind, worker->setup.index);

    worker->self = &worker->board->processes[number];
    event_writer_init(&worker->events, worker->events_memory, number,
                      worker->descriptors[SETUP_NOTIFY], worker->board);
}

static void tell_ready(struct worker *worker)
{
    worker->ready_untold = !worker_tell(worker, MESSAGE_READY, NULL, 0, NULL, 0);
}

static void beat(void *context)
{
    struct worker *worker = context;
    uint64_t now = loop_now(worker->loop);

    __atomic_store_n(&worker->self->heartbeat_ns, now, __ATOMIC_RELAXED);
    if (worker->ready_untold)
        tell_ready(worker);
    timer_set(worker->loop, &worker->heartbeat, now + NS_PER_S);
}

/* The place is ours. */
static void go(struct worker *worker, const struct message *message)
{
    const struct message_go *body = (const void *)message->body;

    worker->begun = true;
    worker->events.muted = false;
    if (worker->descriptors[SETUP_WATCHES] >= 0) {
        loop_use_watches(worker->loop, worker->descriptors[SETUP_WATCHES]);
        worker->descriptors[SETUP_WATCHES] = -1;
    }
    if (!loop_watch(worker->loop, worker->supervisor_fd, LOOP_READ, worker->supervisor_handler, 0))
        worker_warn(worker, "cannot watch the supervisor's channel: %s", strerror(errno));
    __atomic_store_n(&worker->self->config, worker->setup.config_generation, __ATOMIC_RELAXED);
    beat(worker);
    worker->role->go(worker->context, message->size == sizeof *body
                                          ? (enum predecessor)body->predecessor
                                          : PREDECESSOR_CRASHED);
}

static void dispatch(struct worker *worker)
{
    struct message *message = worker->message;

    switch (message->type) {
    case MESSAGE_DESCRIPTORS:
        if (message->size == sizeof(struct message_descriptors))
            worker->role->descriptors(worker->context, (const void *)message->body, message->fds,
                                      message->fd_count);
        break;
    case MESSAGE_GO:
        go(worker, message);
        break;
    case MESSAGE_STOP:
        if (message->size == sizeof(struct message_stop))
            worker->role->stop(worker->context, (const void *)message->body);
        break;
    default:
        if (worker->role->message != NULL)
            worker->role->message(worker->context, message);
        break;
    }
    message_fini(message);
}

static void on_supervisor(void *context, uint64_t tag, unsigned events)
{
    struct worker *worker = context;
    (void)tag, (void)events;

    for (;;) {
        switch (channel_receive(worker->supervisor_fd, worker->message)) {
        case CHANNEL_DONE:
            dispatch(worker);
            continue;
        case CHANNEL_FULL:
            return;
        case CHANNEL_BAD: /* nobody knows what was said; a successor will be told everything */
            loop_stop(worker->loop, 3);
            return;
        case CHANNEL_CLOSED:
            loop_unwatch(worker->loop, worker->supervisor_fd);
            worker->role->orphaned(worker->context);
            return;
        }
    }
}

static void on_batch_end(void *context)
{
    struct worker *worker = context;
    if (worker->role->after_batch != NULL)
        worker->role->after_batch(worker->context);
    event_flush(&worker->events);
}

int worker_init(struct worker *worker, int channel_fd, const struct worker_role *role,
                void *context, struct error *error)
{
    memset(worker, 0, sizeof *worker);
    worker->role = role;
    worker->context = context;
    worker->supervisor_fd = channel_fd;
    worker->supervisor_pid = getppid();
    for (int i = 0; i < SETUP_DESCRIPTOR_COUNT; i++)
        worker->descriptors[i] = -1;
    secret_harden_process();
    /* The supervisor alone decides when to stop; a Ctrl-C at its terminal reaches the whole group.
     */
    ignore(signal(SIGINT, SIG_IGN) == SIG_ERR);
    ignore(signal(SIGTERM, SIG_IGN) == SIG_ERR);
    ignore(signal(SIGHUP, SIG_IGN) == SIG_ERR);
    ignore(signal(SIGPIPE, SIG_IGN) == SIG_ERR);

    worker->message = malloc(sizeof *worker->message);
    worker->loop = loop_new();
    if (worker->message == NULL || worker->loop == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory at start");
    int result = take_setup(worker, error);
    if (result == 0)
        result = map_shared(worker, error);
    if (result < 0)
        return result;
    worker->supervisor_handler = loop_handler(worker->loop, on_supervisor, worker);
    loop_after_batch(worker->loop, on_batch_end, worker);
    timer_init(&worker->heartbeat, beat, worker);
    return 0;
}

/* Before GO only the supervisor is listened to: whatever else is ready may be another's still. */
static bool await_go(struct worker *worker)
{
    struct error error = {0};

    while (!worker->begun) {
        if (receive_blocking(worker, &error) < 0) {
            ignore(fprintf(stderr, "holdfast: %s: %s\n", process_kind_name(worker->role->kind),
                           error.message));
            return false;
        }
        if (worker->message->type == MESSAGE_STOP)
            return false; /* nothing was begun */
        dispatch(worker);
    }
    return true;
}

int worker_run(struct worker *worker)
{
    return await_go(worker) ? loop_run(worker->loop) : 3;
}

void worker_fini(struct worker *worker)
{
    for (int i = 0; i < SETUP_DESCRIPTOR_COUNT; i++) {
        if (worker->descriptors[i] >= 0)
            close(worker->descriptors[i]);
    }
    conf_free(worker->conf);
    memory_unmap(worker->board, sizeof *worker->board);
    memory_unmap(worker->events_memory, events_size());
    loop_free(worker->loop);
    free(worker->message);
}

/* Once: what the limit did not allow to be locked may reach the swap. Relays know better how much
 * they need and say so themselves. */
static void tell_unlocked(struct worker *worker)
{
    struct rlimit limit = {0, 0};

    if (secret_unlocked() == 0 || worker->role->kind == PROCESS_RELAY)
        return;
    ignore(getrlimit(RLIMIT_MEMLOCK, &limit));
    worker_warn(worker,
                "%zu KiB of secrets are not locked in memory and may reach the swap: "
                "RLIMIT_MEMLOCK is %llu KiB; set LimitMEMLOCK=infinity",
                secret_unlocked() / 1024, (unsigned long long)limit.rlim_cur / 1024);
}

void worker_ready(struct worker *worker)
{
    tell_unlocked(worker);
    tell_ready(worker);
}

bool worker_tell(struct worker *worker, uint32_t type, const void *body, size_t size,
                 const int *fds, size_t fd_count)
{
    return channel_send(worker->supervisor_fd, type, body, size, fds, fd_count) == CHANNEL_DONE;
}

void worker_warn(struct worker *worker, const char *format, ...)
{
    char text[sizeof((struct event *)NULL)->detail];
    va_list arguments;

    va_start(arguments, format);
    ignore(vsnprintf(text, sizeof text, format, arguments));
    va_end(arguments);
    if (worker->events.muted)
        ignore(fprintf(stderr, "holdfast: %s: %s\n", process_kind_name(worker->role->kind), text));
    struct event *event = event_begin(&worker->events, EVENT_WARNING);
    if (event == NULL)
        return;
    memcpy(event->detail, text, sizeof text);
    event_end(&worker->events, EVENT_WARNING);
}
