/* Every message between our processes: its type, who sends it to whom, and its body. Bodies are
 * plain values. */
#pragma once

#include <stdint.h>

#include "session/board.h"
#include "session/slot.h"

#define MESSAGES_VERSION 5
#define MESSAGE_PATH_MAX 1024

enum message_type {
    /* supervisor → every process, first message after start; descriptors as said at struct
       worker_setup */
    MESSAGE_SETUP = 1,
    /* supervisor → process: more descriptors (struct message_descriptors): listening sockets,
     * channels to peers. Control is sent the channel of a handshaker or relay anew when that was
     * started again. */
    MESSAGE_DESCRIPTORS,
    /* supervisor → process: everything was sent, begin (struct message_go) */
    MESSAGE_GO,
    /* process → supervisor: serving (no body) */
    MESSAGE_READY,
    /* supervisor → process: stop (struct message_stop) */
    MESSAGE_STOP,
    /* control → supervisor: open a configured path (struct message_open); answer: MESSAGE_OPENED
       with the descriptor */
    MESSAGE_OPEN,
    MESSAGE_OPENED,
    /* control → supervisor: watch a configured path's directory (struct message_open) on the shared
     * inotify descriptor; answer: MESSAGE_WATCHED (struct message_opened, `result` = watch
     * descriptor) */
    MESSAGE_WATCH,
    MESSAGE_WATCHED,

    /* control → handshaker: a version of a certificate (struct message_certificate + one document:
     * combined PEM); put in service before the answer MESSAGE_CERTIFICATE_LIVE (struct
     * message_certificate_live). Without a document and without an answer: there is no pair of this
     * key type any more */
    MESSAGE_CERTIFICATE,
    MESSAGE_CERTIFICATE_LIVE,
    /* control → handshaker: the certificates known so far were all sent; accepting may begin, and a
     * prepared configuration of this generation comes into force (struct message_complete) */
    MESSAGE_CERTIFICATES_COMPLETE,
    /* handshaker → control: a name of a folder is wanted (struct message_certificate_wanted); the
     * answer is MESSAGE_CERTIFICATE for that name, or MESSAGE_CERTIFICATE_UNKNOWN (same body) */
    MESSAGE_CERTIFICATE_WANTED,
    MESSAGE_CERTIFICATE_UNKNOWN,
    /* control → handshaker: what clients of a listener are judged by from now on (struct
     * message_client_trust + one document of trust_set_export(); without one: nothing) */
    MESSAGE_CLIENT_TRUST,

    /* control → relay and handshaker: current address of a server with a name (struct
       message_address) */
    MESSAGE_ADDRESS,
    /* control → relay: end one session (struct message_session) */
    MESSAGE_CLOSE_SESSION,
    /* control → relay: another traffic key for one session (struct message_renew) */
    MESSAGE_RENEW_KEYS,
    /* control → relay and handshaker: a drain on the board has changed, look there (no body) */
    MESSAGE_DRAIN,

    /* handshaker → relay: up to MESSAGE_OFFERS_MAX sessions (struct session_offer each, with its
       data), one descriptor each */
    MESSAGE_SESSIONS,
    /* handshaker → relay: who the client of an attached session is, which it has shown after its
     * handshake (struct message_identity); it is told again until ATTACHED_IDENTIFIED is said */
    MESSAGE_IDENTITY,
    /* relay → handshaker: make TLS of this upstream connection (struct message_encrypt, one
       descriptor) */
    MESSAGE_ENCRYPT,
    /* handshaker → relay: it is done (struct message_encrypted, descriptor returned) */
    MESSAGE_ENCRYPTED,

    /* ---- succession (doc/internals.md) ---- */

    /* relay → supervisor: keep duplicates of these sessions' descriptors; supervisor → successor:
     * they are yours once you GO (struct message_sessions, the descriptors of all sides in order)
     */
    MESSAGE_REGISTER,
    /* relay → supervisor, and on to a successor: these have ended (struct message_sessions) */
    MESSAGE_RELEASE,
    /* supervisor → relay: a registration came incomplete: register everything again */
    MESSAGE_REGISTER_AGAIN,
    /* supervisor → successor: those registered so far were sent; answer MESSAGE_PREPARED when all
     * that can be done beforehand is done */
    MESSAGE_PREPARE,
    MESSAGE_PREPARED,
    /* supervisor → relay: register what is not registered yet, commit, take your hands off; answer
     * MESSAGE_HANDED_OVER when you can do nothing any more but end */
    MESSAGE_HAND_OVER,
    MESSAGE_HANDED_OVER,
    /* supervisor → handshaker: finish what you have begun, until a deadline (struct message_stop),
     * accept and receive nothing more; answer MESSAGE_RETIRED at once. After MESSAGE_STOP the same
     * answer says that nothing but attached sessions is left. */
    MESSAGE_RETIRE,
    MESSAGE_RETIRED,

    /* control → supervisor: execute another binary in place (struct message_upgrade); how it goes
     * on stands on the board */
    MESSAGE_UPGRADE,

    /* ---- reload (doc/internals.md) ---- */

    /* supervisor → process: another configuration (struct message_config + one document, as
     * SETUP_CONFIG); what descriptors are new follows as MESSAGE_DESCRIPTORS, then
     * MESSAGE_CONFIG_GO. */
    MESSAGE_CONFIG,
    MESSAGE_CONFIG_GO,
    /* process → supervisor: done (struct message_config_loaded). A handshaker answers twice: when
     * it is prepared, and when the configuration is in force. */
    MESSAGE_CONFIG_LOADED,
    /* supervisor → control: the configuration is in force everywhere (struct message_config) */
    MESSAGE_CONFIG_SETTLED,
    /* control → supervisor: an operator's wish about the configuration (struct message_reload) */
    MESSAGE_RELOAD,
    /* supervisor → control: its answer (struct message_reloaded), with as many documents as it
     * says */
    MESSAGE_RELOADED,
};

/* How the process before ended. */
enum predecessor {
    PREDECESSOR_NONE,        /* there was none */
    PREDECESSOR_HANDED_OVER, /* in order: what it left is exact */
    PREDECESSOR_KILLED,      /* from outside: at any instant */
    PREDECESSOR_CRASHED      /* by its own fault: what it had in hand may be the cause */
};

struct message_go {
    uint32_t predecessor;
};

/* One session towards the supervisor or a successor; descriptors come for each bit of `sides`. */
struct session_reference {
    uint32_t slot;
    uint32_t sides; /* bit per side */
    uint64_t serial;
    uint64_t cookies[2];
};
#define MESSAGE_SESSIONS_MAX 32
struct message_sessions {
    uint32_t count;
    uint32_t reserved;
    struct session_reference sessions[MESSAGE_SESSIONS_MAX];
};

struct message_upgrade {
    uint32_t serial; /* on the board, where its outcome will stand */
    uint32_t rehearse_only;
    char path[MESSAGE_PATH_MAX]; /* "": the program's own path */
};

/* Descriptors of MESSAGE_SETUP in this order; a kind takes what its need says (-1 entries are not
 * sent: see `present`). */
enum setup_descriptor {
    SETUP_CONFIG, /* document: the configuration's text */
    SETUP_BOARD,
    SETUP_EVENTS,
    SETUP_NOTIFY,   /* eventfd: "events are there" */
    SETUP_METADATA, /* relay: its arena */
    SETUP_SECRETS,
    SETUP_BLOCKS,
    SETUP_WATCHES,        /* relay: what watches its sessions (loop_use_watches) */
    SETUP_TICKET_KEYS,    /* struct ticket_ring; control writes it, handshakers look at it */
    SETUP_INOTIFY,        /* control */
    SETUP_CONTROL_SOCKET, /* control: listening Unix socket */
    SETUP_STATE_FOLDER,   /* control: directory */
    SETUP_SESSION_CACHE,  /* handshaker; unless session-cache = none */
    SETUP_DESCRIPTOR_COUNT
};

#define CONFIG_SOURCE_MAX 96

struct worker_setup {
    uint32_t version; /* MESSAGES_VERSION */
    uint32_t kind;    /* enum process_kind */
    uint32_t index;   /* among its kind */
    uint32_t workers; /* handshakers and relays each */
    uint32_t config_generation, binary_generation;
    uint32_t slot_capacity, block_count; /* of each relay's arena */
    uint32_t predecessor_lives; /* the place on the board and the rings are another's until GO */
    uint32_t present;           /* bit per setup_descriptor that was sent, in order */
    char config_path[MESSAGE_PATH_MAX];
    char config_source[CONFIG_SOURCE_MAX]; /* as in struct message_config */
};

enum descriptors_role {
    DESCRIPTORS_LISTENING, /* handshaker: bind address number first, first + 1, … counted over all
                              listeners in force */
    DESCRIPTORS_HANDSHAKER, /* channel to handshaker number first, … */
    DESCRIPTORS_RELAY,
    DESCRIPTORS_CONTROL,      /* channel to control (one) */
    DESCRIPTORS_ARENA,        /* control: metadata of relay first, … */
    DESCRIPTORS_ADMIN,        /* control: listening admin socket number first, … */
    DESCRIPTORS_UPSTREAM_TLS, /* handshaker: trust, certificate, key of upstream `first`, as far as
                                 configured */
    DESCRIPTORS_KEY_UPDATE_UNABLE /* handshaker: the file of fingerprints, if one is configured */
};
struct message_descriptors {
    uint32_t role;
    uint32_t first;
};

struct message_config {
    uint32_t generation;
    char source[CONFIG_SOURCE_MAX]; /* where it came from, for people */
};
struct message_config_loaded {
    uint32_t generation;
    uint32_t in_force; /* handshaker: 0 prepared, 1 in force; others: 1 */
};
struct message_complete {
    uint32_t generation;
};

enum reload_action { RELOAD_LOAD, RELOAD_ROLLBACK, RELOAD_CONFIRM, RELOAD_HISTORY };
struct message_reload {
    uint32_t request; /* chosen by the sender, comes back */
    uint32_t action;
    uint32_t dry_run;
    uint32_t entry;      /* rollback: number in the history; 0: the one before */
    uint64_t confirm_ms; /* 0: no confirmation is asked for */
};
/* Documents, in this order, as far as the bit is set. */
enum { RELOADED_TEXT = 1, RELOADED_CONFIG = 2 };
struct message_reloaded {
    uint32_t request;
    int32_t result; /* 0 or a negative error code; the text says why */
    uint32_t fixed; /* settings that take a restart: CONF_FIXED_* */
    uint32_t documents;
    uint32_t generation;
    uint32_t reserved;
};

struct message_stop {
    uint64_t deadline_ns; /* CLOCK_MONOTONIC: sessions may finish until then */
    uint64_t carry_ns;    /* handshaker: attached sessions until then */
    uint32_t replaced;    /* another process takes this place: leave everything as it is */
    uint32_t reserved;
};

struct message_open {
    uint32_t request;            /* chosen by the sender, comes back */
    uint32_t folder;             /* open as a directory */
    char path[MESSAGE_PATH_MAX]; /* a configured path, or one file name below a configured folder */
};
struct message_opened {
    uint32_t request;
    int32_t result; /* 0 or -errno (watch: descriptor number or -errno) */
};

struct message_certificate {
    uint32_t certificate; /* index in the configuration */
    uint32_t version;
    uint32_t key_type;
    uint32_t request; /* ≠ 0: answer with MESSAGE_CERTIFICATE_LIVE */
    char name[256];   /* folder certificates: the host name it answers for; else "" */
};
struct message_certificate_live {
    uint32_t request;
    int32_t result; /* 0 or negative error code */
};
struct message_certificate_wanted {
    uint32_t certificate; /* the folder */
    char name[256];
};

struct message_client_trust {
    uint32_t listener; /* index in the configuration */
    uint32_t config;   /* of this generation */
};

struct message_address {
    uint32_t server; /* number over all upstreams, as on the board */
    uint32_t
        size; /* of the socket address; 0: the name no longer resolves (the last address stays) */
    uint8_t bytes[128];
};

struct message_session {
    uint32_t slot;
    uint32_t reason; /* enum session_end */
    uint64_t serial;
};

enum {
    RENEW_REQUEST = 1, /* ask for the peer's, too */
    RENEW_NOW = 2      /* not with the next data but at once, if the key is not too young */
};
struct message_renew {
    uint32_t slot;
    uint32_t flags; /* RENEW_* */
    uint64_t serial;
};

#define MESSAGE_OFFERS_MAX 32

/* A session on its way from handshaker to relay. When generation.trust is not 0, a struct
 * client_identity follows; then `preamble_size` bytes for the upstream (PROXY header) and
 * `surplus_size` bytes already read from the client; the next offer begins at the next multiple of
 * 16. */
struct session_offer {
    uint32_t size; /* of this offer with its data */
    uint32_t preamble_size, surplus_size;
    uint16_t listener, upstream;
    uint32_t certificate;
    struct slot_generations generation;
    uint64_t accepted_ns;
    uint8_t client_address[16];
    uint16_t client_port;
    uint16_t group;
    uint8_t flags; /* SLOT_* */
    uint8_t key_type;
    uint16_t attached; /* SLOT_ATTACHED: place on the board; its serial number is the leg's nonce */
    char server_name[SLOT_NAME_MAX];
    char alpn[SLOT_ALPN_MAX];
    struct leg leg; /* suite 0: pass-through, or attached */
    struct leg_keys keys;
};

struct message_identity {
    uint32_t slot;
    uint32_t trust;           /* generation of what it was judged by */
    uint64_t attached_serial; /* of the session's place on the board */
    struct client_identity identity;
};

struct message_encrypt {
    uint32_t slot;
    uint32_t upstream, server; /* configuration indices */
    uint64_t serial;
};
struct message_encrypted {
    uint32_t slot;
    int32_t result; /* 0 or negative error code */
    uint64_t serial;
    uint32_t server;       /* as asked: the session may be trying another one by now */
    uint32_t surplus_size; /* bytes already read from the upstream follow */
    char detail[136];
    struct leg leg;
    struct leg_keys keys;
};
