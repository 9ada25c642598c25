#include "admin/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/control_internal.h"
#include "base/clock.h"
#include "base/string.h"
#include "ipc/memory.h"
#include "tls/handshake.h"

#define EVENTS_PER_BATCH 1024

/* ---- events ---- */

static void on_events(void *context, uint64_t tag, unsigned events)
{
    struct control *control = context;
    uint64_t count;
    (void)tag, (void)events;

    /* Reset the wake-up before looking: what is written meanwhile wakes again. */
    ignore(read(control->worker.descriptors[SETUP_NOTIFY], &count, sizeof count));
    control->events_left = true;
}

static void after_batch(void *context)
{
    struct control *control = context;

    if (control->events_left) {
        control->events_left = event_feed_drain(&control->feed, EVENTS_PER_BATCH);
        if (control->events_left)
            loop_again(control->worker.loop);
        control_trust_look(control);
    }
    log_flush(&control->log);
}

/* ---- workers ---- */

static void send_addresses(struct control *control, struct peer *relay)
{
    struct message_address body;

    for (size_t i = 0; i < control->resolver.count; i++) {
        if (!resolver_message(&control->resolver, i, &body))
            continue;
        board_address_set(control->view.board, body.server, body.bytes, body.size);
        ignore(peer_send(relay, MESSAGE_ADDRESS, &body, sizeof body, -1));
    }
}

static void peer_is_there(struct control *control, struct peer *peer)
{
    if (peer->fd < 0)
        return;
    if (peer->kind == PROCESS_RELAY)
        send_addresses(control, peer);
    else if (control->view.vault != NULL)
        vault_peer_started(control->view.vault, peer->index);
}

static void on_peer_ended(void *context, struct peer *peer)
{
    struct control *control = context;

    if (peer->kind == PROCESS_HANDSHAKER && control->view.vault != NULL)
        vault_peer_ended(control->view.vault, peer->index);
}

static void on_peer_message(void *context, struct peer *peer, struct message *message)
{
    struct control *control = context;

    if (peer->kind != PROCESS_HANDSHAKER || control->view.vault == NULL)
        return;
    if (message->type == MESSAGE_CERTIFICATE_LIVE &&
        message->size == sizeof(struct message_certificate_live))
        vault_certificate_live(control->view.vault, peer->index, (const void *)message->body);
    else if (message->type == MESSAGE_CERTIFICATE_WANTED &&
             message->size == sizeof(struct message_certificate_wanted))
        vault_wanted(control->view.vault, peer->index, (const void *)message->body);
}

static void on_address(void *context, unsigned server, const struct resolver_facts *facts)
{
    struct control *control = context;
    struct event *event = event_begin(&control->worker.events, EVENT_NAME_RESOLVED);
    char text[ADDRESS_TEXT_MAX];
    (void)server;

    if (event != NULL) {
        if (facts->resolved)
            ignore(snprintf(event->detail, sizeof event->detail, "%s of upstream %s is at %s",
                            facts->name, facts->upstream,
                            address_format(text, sizeof text, facts->address)));
        else
            ignore(snprintf(event->detail, sizeof event->detail,
                            "%s of upstream %s cannot be resolved: %s; %s", facts->name,
                            facts->upstream, facts->reason,
                            facts->address->size != 0 ? "its last address stays in use"
                                                      : "it gets no sessions"));
        event_end(&control->worker.events, EVENT_NAME_RESOLVED);
    }
    for (unsigned i = 0; facts->resolved && i < control->view.workers; i++)
        send_addresses(control, peers_find(&control->peers, PROCESS_RELAY, i));
}

/* ---- what the supervisor sends ---- */

/* Only the mapping: the relay that writes the header may not have begun yet. */
static void map_arena(struct control *control, unsigned relay, int fd)
{
    if (relay >= BOARD_WORKERS_MAX || control->view.arenas[relay].header != NULL)
        return;
    uint8_t *metadata = memory_map(fd, control->arena_size, false);
    if (metadata == NULL) {
        worker_warn(&control->worker, "cannot map the sessions of relay %u: %s", relay,
                    strerror(errno));
        return;
    }
    control->view.arenas[relay] =
        (struct arena){.header = (void *)metadata,
                       .slots = (void *)(metadata + sizeof(struct arena_header)),
                       .clients = arena_clients(metadata, control->view.slot_capacity)};
}

static void connect_peer(struct control *control, enum process_kind kind, unsigned index, int *fd)
{
    struct peer *peer = peers_find(&control->peers, kind, index);

    if (peer == NULL)
        return;
    if (!peer_connect(peer, *fd))
        worker_warn(&control->worker, "cannot watch the channel to %s %u: %s",
                    process_kind_name(kind), index, strerror(errno));
    *fd = -1;
    if (control->serving)
        peer_is_there(control, peer);
}

static void on_descriptors(void *context, const struct message_descriptors *body, int *fds,
                           size_t count)
{
    struct control *control = context;

    for (size_t i = 0; i < count; i++) {
        unsigned index = body->first + (unsigned)i;
        switch ((enum descriptors_role)body->role) {
        case DESCRIPTORS_HANDSHAKER:
            connect_peer(control, PROCESS_HANDSHAKER, index, &fds[i]);
            break;
        case DESCRIPTORS_RELAY:
            connect_peer(control, PROCESS_RELAY, index, &fds[i]);
            break;
        case DESCRIPTORS_ARENA:
            map_arena(control, index, fds[i]);
            break;
        case DESCRIPTORS_ADMIN:
            control_take_admin(control, index, fds[i]);
            fds[i] = -1;
            break;
        case DESCRIPTORS_LISTENING:
        case DESCRIPTORS_CONTROL:
        case DESCRIPTORS_UPSTREAM_TLS:
        case DESCRIPTORS_KEY_UPDATE_UNABLE:
            break;
        }
    }
}

void control_report(struct control *control, enum event_type type, uint32_t listener,
                    const char *text)
{
    struct event *event = event_begin(&control->worker.events, type);

    if (event == NULL)
        return;
    if (listener != CONF_NONE)
        event->listener = (uint16_t)listener;
    event->config = control->feed.config;
    (void)string_printable(event->detail, sizeof event->detail, text, strlen(text));
    event_end(&control->worker.events, type);
}

void control_serve(struct control *control)
{
    struct vault_host host;

    control_vault_host(control, &host);
    control->view.vault =
        vault_new(control->worker.conf, control->worker.setup.config_generation, &host);
    if (control->view.vault == NULL) {
        fprintf(stderr, "holdfast: control: out of memory\n");
        loop_stop(control->worker.loop, 3);
        return;
    }
    control->serving = true;
    vault_start(control->view.vault);
    for (unsigned i = 0; i < control->view.workers; i++)
        peer_is_there(control, peers_find(&control->peers, PROCESS_HANDSHAKER, i));
    resolver_start(&control->resolver);
    if (!control_watch_reload(control, control->worker.conf)) {
        fprintf(stderr, "holdfast: control: out of memory\n");
        loop_stop(control->worker.loop, 3);
        return;
    }
    worker_ready(&control->worker);
}

static void on_go(void *context, enum predecessor predecessor)
{
    (void)predecessor; /* everything is read again */
    control_tickets_start(context);
}

static void on_message(void *context, struct message *message)
{
    struct control *control = context;
    const struct message_opened *opened = (const void *)message->body;

    if (control_reload_message(control, message) || control_tickets_opened(control, message) ||
        control_watch_opened(control, message) || control_alerts_opened(control, message))
        return;
    if (message->type == MESSAGE_RELOADED) {
        control_reloaded(control, message);
        return;
    }
    if (control->view.vault == NULL || message->size != sizeof *opened)
        return;
    if (message->type == MESSAGE_OPENED) {
        int fd = message->fd_count > 0 ? message->fds[0] : -1;
        if (fd >= 0)
            message->fds[0] = -1;
        control_vault_answered(control);
        vault_opened(control->view.vault, opened->request, fd, opened->result);
    } else if (message->type == MESSAGE_WATCHED) {
        control_vault_answered(control);
        vault_watched(control->view.vault, opened->request, opened->result);
    }
}

/* The supervisor stops control last, when no session is left to tell of: the events so far are
 * printed and that is all. */
static void on_stop(void *context, const struct message_stop *body)
{
    struct control *control = context;

    /* The folder is ours; the supervisor may no longer change it. */
    if (!body->replaced)
        ignore(unlinkat(control->worker.descriptors[SETUP_STATE_FOLDER], "control.sock", 0));
    loop_stop(control->worker.loop, 0);
}

static void on_orphaned(void *context)
{
    /* The socket is left alone: it may be that of the next daemon already. */
    loop_stop(((struct control *)context)->worker.loop, 0);
}

/* ---- start ---- */

static int control_init(struct control *control, struct error *error)
{
    const struct resolver_host resolver_host = {.context = control, .changed = on_address};
    struct worker *worker = &control->worker;
    struct stat facts = {.st_uid = (uid_t)-1};

    control->view = (struct admin_view){.conf = worker->conf,
                                        .board = worker->board,
                                        .slot_capacity = worker->setup.slot_capacity,
                                        .workers = worker->setup.workers < BOARD_WORKERS_MAX
                                                       ? worker->setup.workers
                                                       : BOARD_WORKERS_MAX};
    control->arena_size = arena_metadata_size(worker->setup.slot_capacity);
    log_init(&control->log, worker->loop, STDOUT_FILENO,
             &worker->self->counters[COUNTER_LOG_DROPPED]);
    control->feed = (struct event_feed){.view = &control->view,
                                        .events = worker->events_memory,
                                        .config = worker->setup.config_generation,
                                        .log = &control->log};
    trace_init(&control->trace, worker->board, &control->feed);
    peers_init(&control->peers, worker->loop, worker->message, on_peer_message, on_peer_ended,
               control);
    control_drain_init(control);
    control_trust_init(control);
    control_reload_init(control);
    int result = control_tickets_init(control, error);
    if (result < 0)
        return result;
    control_http_init(control);
    if (control->http == NULL ||
        !resolver_init(&control->resolver, worker->loop, worker->conf, &resolver_host))
        return error_set(error, ERROR_MEMORY, "out of memory at start");

    uint8_t handler = loop_handler(worker->loop, on_events, control);
    if (!loop_watch(worker->loop, worker->descriptors[SETUP_NOTIFY], LOOP_READ, handler, 0) ||
        !control_vault_watch(control))
        return error_set(error, ERROR_IO, "cannot watch for events: %s", strerror(errno));
    control->events_left = true; /* what an earlier control process did not get to */
    if (worker->descriptors[SETUP_CONTROL_SOCKET] < 0)
        return 0;
    ignore(fstat(worker->descriptors[SETUP_STATE_FOLDER], &facts));
    control->server = server_new(worker->loop, worker->descriptors[SETUP_CONTROL_SOCKET],
                                 facts.st_uid, control_verbs, control);
    return control->server != NULL ? 0 : error_set(error, ERROR_MEMORY, "out of memory at start");
}

static void control_fini(struct control *control)
{
    if (control->worker.loop != NULL) {
        server_free(control->server);
        http_free(control->http);
        control_watch_fini(control);
        control_reload_fini(control);
        rejudge_fini(&control->rejudge);
        vault_free(control->view.vault);
        control->view.vault = NULL;
        control_tickets_fini(control);
        resolver_fini(&control->resolver);
        peers_fini(&control->peers);
        if (control->log.loop != NULL) {
            event_flush(&control->worker.events);
            while (event_feed_drain(&control->feed, EVENTS_PER_BATCH))
                log_flush(&control->log);
        }
        log_fini(&control->log);
        for (unsigned i = 0; i < BOARD_WORKERS_MAX; i++) {
            if (control->view.arenas[i].header != NULL)
                memory_unmap(control->view.arenas[i].header, control->arena_size);
        }
    }
    worker_fini(&control->worker);
    free(control);
}

int control_main(int channel_fd)
{
    static const struct worker_role role = {
        .kind = PROCESS_CONTROL,
        .descriptors = on_descriptors,
        .go = on_go,
        .stop = on_stop,
        .message = on_message,
        .orphaned = on_orphaned,
        .after_batch = after_batch,
    };
    struct error error = {.code = ERROR_NONE};
    struct control *control = calloc(1, sizeof *control);

    if (control == NULL)
        return 3;
    control->program = -1;
    tls_process_init();
    int result = worker_init(&control->worker, channel_fd, &role, control, &error);
    if (result == 0)
        result = control_init(control, &error);
    int code = 0;
    if (result < 0) {
        fprintf(stderr, "holdfast: control: %s\n", error.message);
        code = error_exit_code(&error);
    } else {
        code = worker_run(&control->worker);
    }
    control_fini(control);
    return code;
}
