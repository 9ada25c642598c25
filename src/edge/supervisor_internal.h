/* Shared by the files of the supervisor:
 *
 *   supervisor.c            main loop: messages, deaths and restarts, watchdog, stop
 *   supervisor_resources.c  sockets, shared memory, channels: made once
 *   supervisor_spawn.c      a process: fork, privileges, execute, send what it needs
 *   supervisor_files.c      opening and watching configured paths for control
 */
#pragma once

#include <sys/types.h>

#include "conf/conf.h"
#include "ipc/channel.h"
#include "loop/loop.h"
#include "session/messages.h"

#define RESERVED_DESCRIPTORS 256 /* per process, for all that is not a session */

enum process_stage { PROCESS_ABSENT, PROCESS_STARTING, PROCESS_RUNNING, PROCESS_STOPPING };

struct process {
    struct supervisor *supervisor;
    enum process_kind kind;
    unsigned index, number; /* number: on the board */
    enum process_stage stage;
    pid_t pid;
    int channel; /* our end; -1 while absent */
    uint64_t started_ns;
    uint32_t failures; /* deaths in a row, for the back-off */
    bool hung;         /* killed by the watchdog */
    struct timer restart;
};

struct arena_files {
    int metadata, secrets, blocks;
};

struct supervisor {
    const struct conf *conf;
    struct loop *loop;
    struct message *message;
    struct board *board;
    void *events_memory;
    struct event_writer events;
    struct process processes[2 * BOARD_WORKERS_MAX + 1];
    unsigned process_count;
    int program; /* the running binary: restarts execute it, never its path */
    int config_document, board_memory, events_file, notify, ticket_keys, inotify;
    int control_socket, state_folder;
    int *listening; /* all bind addresses of all listeners, in order */
    size_t listening_count;
    int *admin;
    struct arena_files *arenas; /* by relay */
    int (
        *pairs)[2]; /* handshaker h × relay r at [h * workers + r]: handshaker's end, relay's end */
    int (*handshaker_control)[2]; /* handshaker's end, control's end */
    int (*relay_control)[2];      /* relay's end, control's end */
    uint32_t slot_capacity, block_count;
    uid_t uid; /* what the others run as; 0: unchanged */
    gid_t gid;
    bool drops_privileges;
    bool ready; /* the ready event was sent */
    enum { STOP_NONE, STOP_NOTICE, STOP_HANDSHAKERS, STOP_RELAYS, STOP_CONTROL } stop;
    uint64_t stop_deadline_ns;
    struct timer stop_timer, watchdog;
    uint8_t channel_handler;
    int exit_code;
};

/* ---- supervisor_resources.c ---- */
MUST_CHECK int resources_create(struct supervisor *supervisor, struct error *error);
void resources_release(struct supervisor *supervisor);

/* ---- supervisor_spawn.c ---- */
/* Looks the user up and prepares our own privileges. */
MUST_CHECK int spawn_prepare(struct supervisor *supervisor, struct error *error);
/* Keeps only the capabilities that the supervisor itself needs. */
MUST_CHECK int spawn_restrict(const struct supervisor *supervisor, struct error *error);
MUST_CHECK int spawn_process(struct process *process, struct error *error);

/* ---- supervisor_files.c ---- */
void files_open(struct process *control, const struct message_open *body);
void files_watch(struct process *control, const struct message_open *body);

/* ---- supervisor.c ---- */
void supervisor_event(struct supervisor *supervisor, enum event_type type, const char *format, ...)
    PRINTF_LIKE(3, 4);
void supervisor_notify(const char *state); /* sd_notify(3) */
