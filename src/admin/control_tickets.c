/* The ticket keys' keeper: looks once a second what is due, publishes what has changed to the
 * handshakers through the ring, and keeps the stored keys up to date. Rotation waits for nothing:
 * what cannot be stored is told, and tried again. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "admin/control_internal.h"
#include "admin/tickets.h"
#include "base/clock.h"
#include "base/secret.h"
#include "base/string.h"
#include "ipc/memory.h"

#define TICK_NS       NS_PER_S
#define BUSY_TICK_NS  (50 * NS_PER_MS)
#define BUSY_TRIES    100 /* 5 s */
#define RETRY_LONGEST 60u /* s */
/* Of our questions to the supervisor; the vault counts its own from 1. */
#define REQUEST_BIT 0x80000000u

struct tickets {
    struct ticket_keys keys; /* as published */
    struct ticket_ring *ring;
    struct ticket_store *store; /* NULL: memory only, or no key-encryption key yet */
    struct ticket_view view;
    struct timer tick;
    uint32_t request; /* the last one to the supervisor */
    bool waiting;     /* for its answer */
    bool kek_read;    /* the store has the key that is configured */
    bool found;       /* keys of an earlier control were there */
    unsigned busy;    /* tries at a lock in a row */
    unsigned failures;
    uint64_t retry_ns;
    char node[TICKET_NODE_MAX];
};

static PRINTF_LIKE(3, 4) void report(struct control *control, enum event_type type,
                                     const char *format, ...)
{
    struct event *event = event_begin(&control->worker.events, type);
    va_list arguments;

    if (event == NULL)
        return;
    event->config = control->feed.config;
    va_start(arguments, format);
    ignore(vsnprintf(event->detail, sizeof event->detail, format, arguments));
    va_end(arguments);
    event_end(&control->worker.events, type);
}

/* ---- storage, as it is told ---- */

static void storage_failed(struct control *control, const struct error *error)
{
    struct tickets *tickets = control->tickets;
    unsigned delay_s = tickets->failures < 6 ? 1u << tickets->failures : RETRY_LONGEST;

    tickets->failures++;
    tickets->retry_ns = clock_monotonic_ns() + delay_s * NS_PER_S;
    worker_count(&control->worker, COUNTER_TICKET_STORAGE_ERRORS, 1);
    ignore(snprintf(tickets->view.trouble, sizeof tickets->view.trouble, "%.*s",
                    (int)sizeof tickets->view.trouble - 1, error->message));
    if (tickets->view.storage == TICKETS_STORAGE_FAILED)
        return;
    tickets->view.storage = TICKETS_STORAGE_FAILED;
    tickets->view.failed_since_s = clock_wall_ns() / NS_PER_S;
    report(control, EVENT_TICKET_KEYS_STORAGE_FAILED, "%s", error->message);
}

static void storage_works(struct control *control)
{
    struct tickets *tickets = control->tickets;

    tickets->failures = 0;
    tickets->retry_ns = 0;
    if (tickets->view.storage == TICKETS_STORAGE_FAILED)
        report(control, EVENT_TICKET_KEYS_STORAGE_HEALED, "the ticket keys are stored again");
    tickets->view.storage = TICKETS_STORED;
}

/* ---- the work ---- */

static void publish(struct control *control, unsigned done)
{
    struct tickets *tickets = control->tickets;
    const struct ticket_keys *keys = &tickets->keys;
    char id[TICKET_ID_MAX];

    if (done == 0 || keys->count == 0)
        return;
    ticket_ring_publish(tickets->ring, keys);
    __atomic_store_n(&control->worker.board->ticket_key_generation, keys->generation,
                     __ATOMIC_RELAXED);
    if ((done & TICKET_KEYS_PROMOTED) == 0 || !control->serving)
        return;
    const struct ticket_key *current = &keys->keys[keys->current];
    worker_count(&control->worker, COUNTER_TICKET_KEYS_ROTATED, 1);
    report(control, EVENT_TICKET_KEYS_ROTATED,
           "%s is current (made by %s at %s), %u earlier ones still open tickets",
           ticket_key_id(current, id), ticket_cause_name(current->cause), current->node,
           keys->current);
}

static void rules_and_clock(const struct control *control, struct ticket_rules *ret_rules,
                            struct ticket_clock *ret_clock)
{
    const struct conf *conf = control->worker.conf;

    *ret_rules = (struct ticket_rules){.lifetime_s = conf->ticket_key_lifetime / 1000,
                                       .window_s = conf_longest_ticket(conf) / 1000 + 1,
                                       .node = control->tickets->node};
    *ret_clock = (struct ticket_clock){.wall_s = clock_wall_ns() / NS_PER_S,
                                       .monotonic_ns = clock_monotonic_ns()};
}

/* The board's goes to the file and to other instances, theirs comes to the board. */
static void share_resumption_epoch(struct control *control)
{
    uint64_t *ours = &control->worker.board->resumption_epoch;
    uint64_t *kept = &control->tickets->keys.resumption_epoch;
    uint64_t raised = __atomic_load_n(ours, __ATOMIC_RELAXED);

    if (raised > *kept)
        *kept = raised;
    else if (raised < *kept)
        __atomic_store_n(ours, *kept, __ATOMIC_RELAXED);
}

/* -ERROR_BUSY: nothing was done. */
static int work(struct control *control, enum ticket_action action, struct error *error)
{
    struct tickets *tickets = control->tickets;
    struct ticket_rules rules;
    struct ticket_clock clock;
    unsigned done = 0;
    int result = 0;

    share_resumption_epoch(control);
    rules_and_clock(control, &rules, &clock);
    bool storing = tickets->store != NULL &&
                   (action != TICKET_ADVANCE || clock.monotonic_ns >= tickets->retry_ns);
    if (storing)
        result =
            ticket_store_sync(tickets->store, &tickets->keys, action, &rules, &clock, &done, error);
    if (result == -ERROR_BUSY && tickets->busy++ < BUSY_TRIES)
        return result;
    tickets->busy = 0;
    if (!storing || result == -ERROR_BUSY)
        done = ticket_store_act(&tickets->keys, action, &rules, &clock);
    if (result < 0)
        storage_failed(control, error);
    else if (storing)
        storage_works(control);
    share_resumption_epoch(control);
    publish(control, done);
    return 0;
}

int control_tickets_act(struct control *control, enum ticket_action action, struct error *error)
{
    if (!control->serving)
        return error_set(error, ERROR_BUSY, "the ticket keys are being read; try again");
    return work(control, action, error);
}

/* ---- the key-encryption key ---- */

/* Asks the supervisor for the file, which only it may read. */
static int ask(struct control *control, struct error *error)
{
    struct tickets *tickets = control->tickets;
    struct message_open body = {.request = (tickets->request + 1) | REQUEST_BIT};

    int result = conf_key_encryption_path(body.path, sizeof body.path, control->worker.conf, error);
    if (result < 0)
        return result;
    if (!worker_tell(&control->worker, MESSAGE_OPEN, &body, sizeof body, NULL, 0))
        return error_set(error, ERROR_IO, "the supervisor cannot be asked for %s just now",
                         body.path);
    tickets->request = body.request;
    tickets->waiting = true;
    return 0;
}

static int make_store(struct control *control, int fd, int reason, struct error *error)
{
    const struct conf *conf = control->worker.conf;
    struct tickets *tickets = control->tickets;
    uint8_t *kek = secret_alloc(KEY_ENCRYPTION_SIZE);
    bool credential = string_starts_with(conf->key_encryption_key, CONF_CREDENTIAL);
    int result;

    if (kek == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    if (fd < 0)
        result = error_set(error, ERROR_IO, "cannot open the key-encryption key %s: %s",
                           conf->key_encryption_key, strerror(reason));
    else
        result =
            key_encryption_read(kek, fd, conf->key_encryption_key, geteuid(), credential, error);
    if (result == 0) {
        tickets->store =
            ticket_store_renew(tickets->store, control->worker.descriptors[SETUP_STATE_FOLDER],
                               conf->ticket_keys_file, kek);
        if (tickets->store == NULL)
            result = error_set(error, ERROR_MEMORY, "out of memory");
    }
    secret_free(kek, KEY_ENCRYPTION_SIZE);
    return result;
}

static void begin_serving(struct control *control)
{
    struct tickets *tickets = control->tickets;

    if (control->serving)
        return;
    if (!tickets->found && tickets->view.storage == TICKETS_IN_MEMORY)
        report(control, EVENT_TICKET_KEYS_READY,
               "in memory only: a restart ends resumption; key-encryption-key keeps them");
    else if (!tickets->found)
        report(control, EVENT_TICKET_KEYS_READY, "%u keys, stored encrypted", tickets->keys.count);
    control_serve(control);
}

static void on_tick(void *context)
{
    struct control *control = context;
    struct tickets *tickets = control->tickets;
    struct error error = {0};
    uint64_t now = clock_monotonic_ns();

    if (control->worker.conf->key_encryption_key != NULL && !tickets->kek_read &&
        !tickets->waiting && now >= tickets->retry_ns && ask(control, &error) < 0)
        storage_failed(control, &error);
    bool ready = control->serving || !tickets->waiting;
    bool busy = ready && work(control, TICKET_ADVANCE, &error) < 0;
    if (ready && !busy)
        begin_serving(control);
    timer_set(control->worker.loop, &tickets->tick,
              loop_now(control->worker.loop) + (busy ? BUSY_TICK_NS : TICK_NS));
}

bool control_tickets_opened(struct control *control, struct message *message)
{
    struct tickets *tickets = control->tickets;
    const struct message_opened *body = (const void *)message->body;
    struct error error = {0};

    if (message->type != MESSAGE_OPENED || message->size != sizeof *body ||
        (body->request & REQUEST_BIT) == 0)
        return false;
    if (body->request != tickets->request || !tickets->waiting)
        return true; /* the configuration has changed since */
    tickets->waiting = false;
    int fd = message->fd_count > 0 ? message->fds[0] : -1;
    tickets->kek_read = make_store(control, fd, -body->result, &error) == 0;
    if (!tickets->kek_read)
        storage_failed(control, &error);
    on_tick(control);
    return true;
}

/* ---- life ---- */

void control_tickets_reload(struct control *control)
{
    struct tickets *tickets = control->tickets;

    tickets->kek_read = tickets->waiting = false;
    tickets->retry_ns = 0;
    tickets->failures = 0;
    if (control->worker.conf->key_encryption_key == NULL) {
        ticket_store_free(tickets->store);
        tickets->store = NULL;
        tickets->view.storage = TICKETS_IN_MEMORY;
    }
    on_tick(control);
}

void control_tickets_start(struct control *control)
{
    on_tick(control);
}

static void name_node(struct tickets *tickets)
{
    char host[256] = "";

    ignore(gethostname(host, sizeof host - 1));
    string_printable(tickets->node, sizeof tickets->node, host, strlen(host));
}

int control_tickets_init(struct control *control, struct error *error)
{
    struct tickets *tickets = secret_alloc(sizeof *tickets);

    if (tickets == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory at start");
    control->tickets = tickets;
    timer_init(&tickets->tick, on_tick, control);
    name_node(tickets);
    tickets->ring =
        memory_map(control->worker.descriptors[SETUP_TICKET_KEYS], sizeof *tickets->ring, true);
    if (tickets->ring == NULL)
        return error_set(error, ERROR_IO, "cannot map the ticket keys: %s", strerror(errno));
    ignore(secret_protect(tickets->ring, sizeof *tickets->ring));
    tickets->found = ticket_ring_read(tickets->ring, &tickets->keys);
    if (tickets->found) /* the one before may have been killed before all was wiped */
        ticket_ring_publish(tickets->ring, &tickets->keys);
    tickets->view.keys = &tickets->keys;
    tickets->view.storage =
        control->worker.conf->key_encryption_key != NULL ? TICKETS_STORED : TICKETS_IN_MEMORY;
    control->view.tickets = &tickets->view;
    return 0;
}

void control_tickets_fini(struct control *control)
{
    struct tickets *tickets = control->tickets;

    if (tickets == NULL)
        return;
    timer_cancel(control->worker.loop, &tickets->tick);
    ticket_store_free(tickets->store);
    memory_unmap(tickets->ring, sizeof *tickets->ring);
    secret_free(tickets, sizeof *tickets);
    control->tickets = NULL;
    control->view.tickets = NULL;
}
