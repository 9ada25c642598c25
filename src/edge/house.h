/* The house: what the supervisor knows that must outlive its own image. Plain values in shared
 * memory, like a session's slot: descriptor numbers, processes and their channels, generations. An
 * upgrade executes another binary in place (same process, same descriptors, same children), which
 * finds everything here; so does the old binary when the new one fails.
 *
 * Kept up to date at every change, never serialised: there is no moment at which an image could
 * die and leave its successor a stale list of processes.
 *
 * Compatible additions go to the end and into spare fields; anything else raises HOUSE_VERSION, and
 * the rehearsal of an upgrade between different versions is refused. */
#pragma once

#include <sys/types.h>

#include "conf/conf.h"
#include "session/messages.h"

#define HOUSE_VERSION 1
#define HOUSE_ROOM    (1u << 20) /* of the mapping: what a later version appends is zero at first */

/* What a process is to its place. */
enum life_role {
    LIFE_CURRENT,   /* does the work */
    LIFE_SUCCESSOR, /* prepares to take over */
    LIFE_RETIRING,  /* handshaker: finishes what it has begun, takes nothing new */
    LIFE_COUNT
};

enum life_stage {
    LIFE_ABSENT,
    LIFE_STARTING,
    LIFE_PREPARED, /* successor: waits for GO */
    LIFE_RUNNING,
    LIFE_HANDING_OVER, /* was told to leave its sessions to the successor */
    LIFE_LOCKED,       /* has left them: it can do nothing any more but end */
    LIFE_STOPPING
};

struct house_life {
    int32_t pid;     /* 0: absent */
    int32_t channel; /* our end; -1: none */
    uint32_t stage;  /* enum life_stage */
    uint32_t binary; /* generation of the binary that it runs */
    uint64_t started_ns;
    uint32_t hung;    /* killed by the watchdog */
    uint32_t carries; /* handshaker: it was stopped, and only attached sessions are left */
};

struct house_process {
    struct house_life lives[LIFE_COUNT];
    uint32_t failures;    /* deaths in a row, for the back-off */
    uint32_t predecessor; /* enum predecessor: what a successor will be told */
};

/* A session of a relay whose descriptors are kept here. By slot, in a memfd per relay. */
struct house_session {
    uint64_t serial; /* 0: none */
    uint64_t cookies[2];
    int32_t fds[2]; /* by side; -1: none */
};

struct house_arena {
    int32_t metadata, secrets, blocks;
    int32_t watches;  /* of the sessions, for one relay after the other (loop.h) */
    int32_t sessions; /* struct house_session [slot_capacity] */
};

struct house_socket {
    int32_t fd;
    uint32_t listener; /* index; unused for admin */
    struct address address;
};

enum house_descriptor {
    HOUSE_PROGRAM,          /* the running binary: processes execute it, never its path */
    HOUSE_PREVIOUS_PROGRAM, /* during an upgrade: the binary to return to */
    HOUSE_CONFIG,
    HOUSE_BOARD,
    HOUSE_EVENTS,
    HOUSE_NOTIFY,
    HOUSE_TICKET_KEYS,         /* struct ticket_ring */
    HOUSE_TICKET_KEYS_LOOKING, /* the same, for reading only */
    HOUSE_INOTIFY,
    HOUSE_CONTROL_SOCKET,
    HOUSE_STATE_FOLDER,
    HOUSE_HISTORY,
    HOUSE_SESSION_CACHE, /* -1: none is configured */
    HOUSE_DESCRIPTOR_COUNT,
    HOUSE_DESCRIPTORS_MAX = 32
};

#define HOUSE_PAIRS_MAX ((size_t)BOARD_WORKERS_MAX * BOARD_WORKERS_MAX)

struct house {
    uint32_t version;
    uint32_t size; /* of the struct, as its maker knew it */
    uint32_t arena_version, board_version, messages_version; /* of what the descriptors hold */
    uint32_t config_generation;
    uint32_t binary_generation, previous_binary, highest_binary;
    uint32_t workers, slot_capacity, block_count;
    uint32_t uid, gid; /* what the others run as; 0: unchanged */
    uint8_t drops_privileges;
    uint8_t ready;    /* the ready event was sent */
    uint8_t counters; /* the kernel's counters of streams can be believed */
    uint8_t spare_flags[5];
    char config_path[MESSAGE_PATH_MAX];
    int32_t descriptors[HOUSE_DESCRIPTORS_MAX];
    uint32_t listening_count, admin_count;
    struct house_socket listening[CONF_ADDRESSES_MAX], admin[CONF_ADDRESSES_MAX];
    struct house_arena arenas[BOARD_WORKERS_MAX];
    int32_t pairs[HOUSE_PAIRS_MAX][2]; /* handshaker h × relay r at [h * workers + r]:
                                          handshaker's end, relay's end */
    int32_t handshaker_control[BOARD_WORKERS_MAX][2]; /* handshaker's end, control's end */
    int32_t relay_control[BOARD_WORKERS_MAX][2];      /* relay's end, control's end */
    struct house_process processes[BOARD_PROCESSES];  /* by number, as on the board */
    uint32_t history_current, history_previous;       /* entries; 0: none (supervisor_history.h) */
    /* A stop under way goes on in another image. */
    uint32_t stop; /* enum supervisor_stop */
    int32_t exit_code;
    uint64_t stop_deadline_ns;
};

/* A new one in shared memory, every descriptor -1. NULL when the system refuses. */
struct house *house_new(int *ret_fd);
/* The one that an earlier image left, or a copy of it; NULL with a reason when it cannot be read.
 */
struct house *house_map(int fd, bool writable, struct error *error);
/* A sealed copy, for who may only look: writing to the house is being root. -1 on failure. */
int house_copy(const struct house *house);

/* Lets every descriptor of the house, and `house_fd`, survive the next execution (`wanted`), or
 * not.
 */
void house_keep_descriptors(const struct house *house, int house_fd, bool wanted);

/* The registry of a relay's sessions; NULL when the system refuses. */
struct house_session *house_sessions_map(const struct house *house, unsigned relay);
