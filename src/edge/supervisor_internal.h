/* Shared by the files of the supervisor:
 *
 *   supervisor.c             main loop: messages, deaths and restarts, watchdog
 *   supervisor_stop.c        stopping the house, phase by phase
 *   supervisor_resources.c   sockets, shared memory, channels: made once
 *   supervisor_spawn.c       a process: fork, privileges, execute, send what it needs
 *   supervisor_succession.c  sessions kept for relays, and relays that take over from each other
 *   supervisor_upgrade.c     another binary in place
 *   supervisor_files.c       opening and watching configured paths for control
 *   supervisor_reload.c      another configuration (supervisor_reload.h)
 *
 * What must outlive this image of the supervisor stands in struct house (house.h); the rest here.
 */
#pragma once

#include <sys/types.h>

#include "conf/conf.h"
#include "edge/house.h"
#include "ipc/channel.h"
#include "loop/loop.h"
#include "session/messages.h"

#define RESERVED_DESCRIPTORS 256 /* per process, for all that is not a session */

/* A place in the house: what of it is durable stands in house->processes[number]. */
struct process {
    struct supervisor *supervisor;
    enum process_kind kind;
    unsigned index, number; /* number: on the board */
    struct house_process *durable;
    struct timer restart;
    /* Relay: how far its successor was sent the sessions. */
    uint32_t sent;
    bool sending;
    bool go_pending; /* the successor gets GO as soon as everything was sent */
    struct timer send_again;
    struct timer patience; /* with a hand-over or a retirement under way */
};

enum supervisor_stop { STOP_NONE, STOP_NOTICE, STOP_HANDSHAKERS, STOP_RELAYS, STOP_CONTROL };

/* An upgrade under way in this image (supervisor_upgrade.c). */
struct upgrade {
    uint32_t stage; /* enum upgrade_stage; UPGRADE_NONE: none */
    int program;    /* the binary to be rehearsed and executed; -1 */
    pid_t rehearsal;
    int rehearsal_output;
    size_t said_size;
    char said[200]; /* by the rehearsal */
    unsigned next;  /* the process that is being replaced */
    bool rehearse_only;
    bool returning; /* this image is the old one again */
    struct timer timer;
};

struct supervisor {
    const struct conf *conf;
    struct loop *loop;
    struct message *message;
    struct house *house;
    int house_fd;
    struct board *board;
    void *events_memory;
    struct event_writer events;
    struct house_session *sessions[BOARD_WORKERS_MAX]; /* of each relay, by slot */
    struct process processes[2 * BOARD_WORKERS_MAX + 1];
    unsigned process_count;
    enum supervisor_stop stop;
    uint64_t stop_deadline_ns;
    struct timer stop_timer, watchdog;
    uint8_t channel_handler, rehearsal_handler;
    struct upgrade upgrade;
    struct reload *reload;
    char no_history[160]; /* why the history is kept in memory; "" */
    int exit_code;
};

static inline struct house_life *life_of(const struct process *process, enum life_role role)
{
    return &process->durable->lives[role];
}

/* ---- supervisor_resources.c ---- */
MUST_CHECK int resources_create(struct supervisor *supervisor, struct error *error);
/* Maps what the house names: after resources_create(), or of an earlier image. */
MUST_CHECK int resources_map(struct supervisor *supervisor, struct error *error);
void resources_release(struct supervisor *supervisor);
/* Binds an address of a listener. */
MUST_CHECK int resources_listen(int *ret_fd, const struct conf_listener *listener,
                                const struct address *address, struct error *error);
/* The file of a Unix socket would stay behind. */
void resources_unlink_socket(int fd);

/* ---- supervisor_spawn.c ---- */
/* Looks the user up and prepares our own privileges. */
MUST_CHECK int spawn_prepare(struct supervisor *supervisor, struct error *error);
/* Keeps only the capabilities that the supervisor itself needs. */
MUST_CHECK int spawn_restrict(const struct supervisor *supervisor, struct error *error);
/* Starts the process as LIFE_CURRENT or LIFE_SUCCESSOR, sends everything but sessions and GO. */
MUST_CHECK int spawn_process(struct process *process, enum life_role role, struct error *error);
bool spawn_tell(const struct house_life *life, uint32_t type, const void *body, size_t size,
                const int *fds, size_t count);
/* Control is told of a handshaker or relay that took its place anew by being sent its channel once
 * more. */
void spawn_announce(const struct process *process);
/* In a child: executes `program` (a descriptor) as a process that finds `fds` at 3, 4, … and
 * nothing else but standard input, output and error; as an unprivileged one if it `drops` what it
 * has. `arguments[2]` is its name in messages. */
NORETURN void spawn_execute(const struct supervisor *supervisor, int program,
                            char *const *arguments, const int *fds, size_t count, bool drops);
/* What TLS to upstream servers needs, opened now. */
bool spawn_upstream_material(const struct process *process, const struct house_life *life);
/* The file of `key-update-unable`, opened now, if one is configured. */
bool spawn_unable_clients(const struct process *process, const struct house_life *life);

/* ---- supervisor_files.c ---- */
void files_open(struct process *control, const struct message_open *body);
void files_watch(struct process *control, const struct message_open *body);

/* ---- supervisor_succession.c ---- */
void succession_init(struct process *process);
void registry_add(struct process *relay, struct message *message);
void registry_remove(struct process *relay, const struct message *message);
/* A successor said that it is prepared. */
void succession_prepared(struct process *process);
/* Starts a successor; what was registered so far follows it. */
MUST_CHECK int succession_begin(struct process *process, struct error *error);
/* The relay is told to leave its sessions to the prepared successor. */
void succession_hand_over(struct process *relay);
/* The relay has left them: it is harmless from here on. */
void succession_handed_over(struct process *relay);
/* The current life of a relay ended without having handed over. Its sessions wait; true when a
 * successor has been started or had been there already. */
bool succession_after_death(struct process *relay, enum predecessor predecessor);
/* A successor died before its turn. */
void succession_abandoned(struct process *process);
/* The successor becomes the current life. */
void succession_promote(struct process *process);
/* The handshaker has stopped receiving: its successor may begin. */
void succession_retired(struct process *handshaker);
/* How long a retiring life may take to end. */
uint64_t succession_finish_ns(const struct process *process);

/* ---- supervisor_stop.c ---- */
void stop_begin(struct supervisor *supervisor, int exit_code);
void stop_listening(struct supervisor *supervisor);
/* Goes on to the next phase of stopping when nobody of this one is left. */
void stop_advance(struct supervisor *supervisor);
/* A stopped handshaker has nothing left but attached sessions. */
void stop_carries(struct supervisor *supervisor, struct house_life *handshaker);
void stop_timer_fired(void *context);
void stop_signalled(void *context, int signal_number);
/* A relay that was started for the sessions left over is told to stop as the others were. */
void stop_newcomer(struct process *process);
/* A stop that the image before had begun goes on. */
void stop_resume(struct supervisor *supervisor);

/* ---- supervisor_upgrade.c ---- */
void upgrade_begin(struct supervisor *supervisor, const struct message_upgrade *order);
/* A process came to run, was prepared, or ended: the upgrade may go on, or must go back. */
void upgrade_advance(struct supervisor *supervisor);
void upgrade_failed(struct supervisor *supervisor, const char *format, ...) PRINTF_LIKE(2, 3);
/* The rehearsal's process ended. */
bool upgrade_child_ended(struct supervisor *supervisor, pid_t pid, int status);
void upgrade_init(struct supervisor *supervisor);
/* First thing in a resumed image: from here on a crash or a hang of this image returns to the one
 * before (not when this one is it). */
void upgrade_guard(struct supervisor *supervisor, const char *returned);
/* This image cannot go on: back to the one before, or, when this is it, the end. */
NORETURN void upgrade_give_up(struct supervisor *supervisor, const char *why);
/* This image was executed by another one: what is to be done first. */
void upgrade_resume(struct supervisor *supervisor);
/* The loop turns: the alarm for a hanging image is put off. */
void upgrade_alive(const struct supervisor *supervisor);

/* ---- supervisor.c ---- */
void supervisor_event(struct supervisor *supervisor, enum event_type type, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* An event whose subject is another process. */
void process_event(struct process *process, enum event_type type, const char *format, ...)
    PRINTF_LIKE(3, 4);
void supervisor_notify(const char *state); /* sd_notify(3) */
struct process *supervisor_process(struct supervisor *supervisor, enum process_kind kind,
                                   unsigned index);
void life_kill(const struct house_life *life);
/* Watches the channel of a life just begun. */
void life_watch(struct process *process, enum life_role role);
/* Begins LIFE_CURRENT afresh; what fails is reported and tried again. */
void life_start(struct process *process);
/* The same, or a successor where there is something to take over. */
void life_begin_again(struct process *process);
/* A successor became LIFE_CURRENT: tell those who want to know. */
void life_promoted(struct process *process);
