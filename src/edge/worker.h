/* What handshaker, relay and control have in common: start as a freshly executed process, take the
 * set-up from the supervisor, run one event loop with a heartbeat, and stop when told to or when
 * the supervisor is gone.
 *
 * Start: MESSAGE_SETUP, any number of MESSAGE_DESCRIPTORS, MESSAGE_GO; the process answers
 * MESSAGE_READY when it serves. Until GO another process may have the same place on the board and
 * the same event rings, sockets and channels: nothing of that is touched before. */
#pragma once

#include <sys/types.h>

#include "conf/conf.h"
#include "ipc/channel.h"
#include "loop/loop.h"
#include "session/messages.h"

#define WORKER_CHANNEL_FD 3 /* where a new process finds its channel to the supervisor */
/* Where the process that checks a configuration (cmd/worker_check.h) finds its documents. */
#define WORKER_CHECK_NEXT_FD    4
#define WORKER_CHECK_CURRENT_FD 5

/* What a kind of process does with what the supervisor sends. Callbacks get worker->context. */
struct worker_role {
    enum process_kind kind;
    /* Descriptors arrived; those taken are set to -1. Also called for channels of restarted peers.
     */
    void (*descriptors)(void *context, const struct message_descriptors *body, int *fds,
                        size_t count);
    /* Everything is there; call worker_ready() once serving. */
    void (*go)(void *context, enum predecessor predecessor);
    void (*stop)(void *context, const struct message_stop *body);
    /* Any other message of the supervisor, also before GO; may be NULL. */
    void (*message)(void *context, struct message *message);
    void (*orphaned)(void *context);    /* the supervisor is gone; must lead to loop_stop() */
    void (*after_batch)(void *context); /* may be NULL */
};

struct worker {
    const struct worker_role *role;
    void *context;
    struct worker_setup setup;
    int descriptors[SETUP_DESCRIPTOR_COUNT]; /* -1: not sent; owned */
    int supervisor_fd;
    struct loop *loop;
    uint8_t supervisor_handler;
    struct conf *conf;
    struct conf *next_conf; /* of a reload under way; NULL: none */
    struct message_config next_config;
    struct board *board;
    struct board_process *self;
    void *events_memory;
    struct event_writer events;
    struct timer heartbeat;
    struct message *message; /* receive buffer; shared by all channels of the process */
    pid_t supervisor_pid;
    bool begun;        /* MESSAGE_GO came */
    bool ready_untold; /* the supervisor could not be told so far: again with the next heartbeat */
};

/* Receives the set-up (blocking), maps what it names, parses the configuration. */
MUST_CHECK int worker_init(struct worker *worker, int channel_fd, const struct worker_role *role,
                           void *context, struct error *error);
/* Waits for GO, then runs the loop; returns the exit code. */
int worker_run(struct worker *worker);
void worker_fini(struct worker *worker);

void worker_ready(struct worker *worker);

/* ---- reload (worker_config.c) ---- */

/* MESSAGE_CONFIG: parses the document into `next_conf`; one that was there is dropped. Warns and
 * returns false when that fails. */
MUST_CHECK bool worker_take_config(struct worker *worker, struct message *message);
/* Puts `next_conf` in the place of `conf`, which is returned: nothing of it may be used any more,
 * and the caller frees it. */
MUST_CHECK struct conf *worker_swap_config(struct worker *worker);
/* Tells the supervisor. */
void worker_config_loaded(struct worker *worker, uint32_t generation, bool in_force);

/* Sends to the supervisor; a full queue counts as failure (it is sized never to fill in ordinary
 * life). */
bool worker_tell(struct worker *worker, uint32_t type, const void *body, size_t size,
                 const int *fds, size_t fd_count);

/* From now on the process has this place on the board, and its rings. */
void worker_take_place(struct worker *worker, enum process_kind kind);

/* One-line warning as an event; before GO on standard error. */
void worker_warn(struct worker *worker, const char *format, ...) PRINTF_LIKE(2, 3);

static inline void worker_count(struct worker *worker, enum counter counter, uint64_t value)
{
    /* One writer per page: a plain addition that other processes may read at any time. */
    uint64_t *place = &worker->self->counters[counter];
    __atomic_store_n(place, *place + value, __ATOMIC_RELAXED);
}

/* The mains of the processes (control's is in admin/control.h). */
int handshaker_main(int channel_fd);
int relay_main(int channel_fd);
