/* The board: one shared mapping with what all processes may know of each other and that holds no
 * secret: heartbeats, counters, hand-over credits, health and administrative state of upstream
 * servers, the trace filter. All fields are naturally aligned and accessed with relaxed atomics
 * through the helpers below; each has one writer unless said otherwise. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "session/event.h"
#include "tls/resumption.h"

#define BOARD_VERSION       4
#define BOARD_WORKERS_MAX   64 /* handshakers and relays each */
#define BOARD_PROCESSES     (3 * BOARD_WORKERS_MAX + 2)
#define BOARD_SERVERS_MAX   1024
#define BOARD_LISTENERS_MAX 256
#define BOARD_SOURCES       16384 /* sources with sessions at listeners that limit them */

/* Worker numbers: 0 supervisor, 1 control, then handshakers, then relays, then handshakers that
 * retire: while one finishes what it has begun, its successor has its number already. */
enum process_kind {
    PROCESS_SUPERVISOR,
    PROCESS_CONTROL,
    PROCESS_HANDSHAKER,
    PROCESS_RELAY,
    PROCESS_RETIRING_HANDSHAKER,
    PROCESS_KIND_COUNT
};
const char *process_kind_name(enum process_kind kind);
unsigned board_worker_number(enum process_kind kind, unsigned index);

/* X(symbol, metric name, help). Exported as holdfast_<name>{worker}. */
#define COUNTER_LIST(X)                                                                            \
    X(COUNTER_ACCEPTED, "connections_accepted_total", "Connections accepted")                      \
    X(COUNTER_REFUSED_ACL, "connections_refused_acl_total", "Refused by allow or deny list")       \
    X(COUNTER_REFUSED_LIMIT, "connections_refused_limit_total", "Refused by a connection limit")   \
    X(COUNTER_REFUSED_OVERLOAD, "connections_refused_overload_total",                              \
      "Refused because they had waited too long, or too many waited")                              \
    X(COUNTER_GONE, "connections_gone_total", "Clients that had left before they were accepted")   \
    X(COUNTER_ACCEPT_PAUSES, "accept_pauses_total",                                                \
      "Times accepting paused for want of descriptors or slots")                                   \
    X(COUNTER_HANDSHAKES, "handshakes_total", "Handshakes completed")                              \
    X(COUNTER_HANDSHAKES_RESUMED, "handshakes_resumed_total",                                      \
      "Handshakes completed by resumption")                                                        \
    X(COUNTER_RESUMPTIONS_OFFERED, "resumptions_offered_total",                                    \
      "Completed handshakes whose client offered to resume")                                       \
    X(COUNTER_SESSION_CACHE_HITS, "session_cache_hits_total", "Sessions resumed from the cache")   \
    X(COUNTER_SESSION_CACHE_MISSES, "session_cache_misses_total",                                  \
      "Session ids that the cache did not know")                                                   \
    X(COUNTER_SESSION_CACHE_STORED, "session_cache_stored_total", "Sessions put in the cache")     \
    X(COUNTER_SESSION_CACHE_REPLACED, "session_cache_replaced_total",                              \
      "Sessions that had to make room before their end: session-cache is too small")               \
    X(COUNTER_SESSION_CACHE_TOO_LARGE, "session_cache_too_large_total",                            \
      "Sessions too large for the cache")                                                          \
    X(COUNTER_HANDSHAKES_CLIENT, "handshakes_client_certificate_total",                            \
      "Handshakes completed with a client certificate")                                            \
    X(COUNTER_HANDSHAKES_TLS12, "handshakes_tls12_total", "Handshakes completed with TLS 1.2")     \
    X(COUNTER_HANDSHAKES_RSA, "handshakes_rsa_total",                                              \
      "Handshakes completed with the RSA certificate")                                             \
    X(COUNTER_HANDSHAKE_FAILURES, "handshake_failures_total", "Handshakes that failed")            \
    X(COUNTER_HANDSHAKE_TIMEOUTS, "handshake_timeouts_total", "Handshakes given up by time-out")   \
    X(COUNTER_PLAIN_HTTP, "plain_http_total", "Plain HTTP requests answered on a TLS port")        \
    X(COUNTER_NOT_TLS, "not_tls_total", "Connections that did not speak TLS")                      \
    X(COUNTER_UNKNOWN_NAME, "unknown_server_name_total",                                           \
      "Handshakes for a name that is not served")                                                  \
    X(COUNTER_DETACH_FAILURES, "detach_failures_total", "Sessions whose wire cross-check failed")  \
    X(COUNTER_ATTACHED, "sessions_attached_total", "Sessions that stayed with OpenSSL")            \
    X(COUNTER_RENEGOTIATIONS, "renegotiations_total", "TLS 1.2 renegotiations that succeeded")     \
    X(COUNTER_RENEGOTIATIONS_FAILED, "renegotiations_failed_total",                                \
      "TLS 1.2 renegotiations that were ignored, declined or not allowed to stand")                \
    X(COUNTER_AUTHENTICATIONS, "client_authentications_total",                                     \
      "Clients that showed a good certificate when they were asked after the handshake")           \
    X(COUNTER_AUTHENTICATIONS_FAILED, "client_authentications_failed_total",                       \
      "Clients that were asked after the handshake and did not")                                   \
    X(COUNTER_HANDED_OVER, "sessions_handed_over_total", "Sessions handed to a relay")             \
    X(COUNTER_SESSIONS_OPENED, "sessions_opened_total", "Sessions taken by a relay")               \
    X(COUNTER_SESSIONS_CLOSED, "sessions_closed_total", "Sessions ended")                          \
    X(COUNTER_SESSIONS_FAILED, "sessions_failed_total",                                            \
      "Sessions ended by a fault of a peer or of the edge")                                        \
    X(COUNTER_CLIENT_BYTES_IN, "client_received_bytes_total", "Bytes received from clients")       \
    X(COUNTER_CLIENT_BYTES_OUT, "client_sent_bytes_total", "Bytes sent to clients")                \
    X(COUNTER_UPSTREAM_BYTES_IN, "upstream_received_bytes_total",                                  \
      "Bytes received from upstream servers")                                                      \
    X(COUNTER_UPSTREAM_BYTES_OUT, "upstream_sent_bytes_total", "Bytes sent to upstream servers")   \
    X(COUNTER_KEY_UPDATES_RECEIVED, "key_updates_received_total", "KeyUpdate messages received")   \
    X(COUNTER_KEY_UPDATES_SENT, "key_updates_sent_total", "KeyUpdate messages sent")               \
    X(COUNTER_KEY_UPDATES_ANSWERS, "key_updates_answers_total",                                    \
      "KeyUpdates owed because the peer asked for one")                                            \
    X(COUNTER_KEY_UPDATES_RECORDS, "key_updates_records_total",                                    \
      "KeyUpdates begun for the records sealed under a key")                                       \
    X(COUNTER_KEY_UPDATES_BLOCKS, "key_updates_blocks_total",                                      \
      "KeyUpdates begun for the blocks sealed under a key")                                        \
    X(COUNTER_KEY_UPDATES_BYTES, "key_updates_bytes_total",                                        \
      "KeyUpdates begun for the bytes sealed under a key")                                         \
    X(COUNTER_KEY_UPDATES_AGE, "key_updates_age_total", "KeyUpdates begun for the age of a key")   \
    X(COUNTER_KEY_UPDATES_OPERATOR, "key_updates_operator_total",                                  \
      "KeyUpdates begun because an operator wanted them")                                          \
    X(COUNTER_KEY_UPDATES_PEER, "key_updates_peer_total",                                          \
      "KeyUpdates begun to ask for a key that the peer has used for too long")                     \
    X(COUNTER_KEY_REQUESTS, "key_update_requests_total", "KeyUpdates that ask for the peer's")     \
    X(COUNTER_KEY_REQUESTS_ANSWERED, "key_update_requests_answered_total",                         \
      "Peers' KeyUpdates after being asked")                                                       \
    X(COUNTER_KEY_REQUESTS_UNANSWERED, "key_update_requests_unanswered_total",                     \
      "Sessions that ended before the client's KeyUpdate came")                                    \
    X(COUNTER_KEY_LIMIT_ENDS, "sessions_closed_key_limit_total",                                   \
      "Sessions ended because their traffic key could not be renewed")                             \
    X(COUNTER_RENEGOTIATIONS_REFUSED, "renegotiations_refused_total",                              \
      "TLS 1.2 renegotiation attempts refused")                                                    \
    X(COUNTER_RECORD_ERRORS, "record_errors_total", "Sessions ended by a bad record")              \
    X(COUNTER_TRUNCATIONS, "truncations_total", "Clients that closed without close_notify")        \
    X(COUNTER_UPSTREAM_CONNECTS, "upstream_connects_total",                                        \
      "Connections made to upstream servers")                                                      \
    X(COUNTER_UPSTREAM_FAILURES, "upstream_connect_failures_total",                                \
      "Connections to upstream servers that failed")                                               \
    X(COUNTER_UPSTREAM_RETRIES, "upstream_retries_total",                                          \
      "Sessions tried again on another server")                                                    \
    X(COUNTER_UPSTREAM_NONE, "upstream_unavailable_total",                                         \
      "Sessions for which no server could be had")                                                 \
    X(COUNTER_BLOCKED, "sessions_blocked_total", "Times a session waited for a slow reader")       \
    X(COUNTER_BUFFER_EXHAUSTED, "buffer_memory_exhausted_total",                                   \
      "Times a session waited for buffer memory")                                                  \
    X(COUNTER_EVENTS_DROPPED, "events_dropped_total", "Events dropped because a ring was full")    \
    X(COUNTER_LOG_DROPPED, "log_lines_dropped_total",                                              \
      "Log lines dropped because the output was blocked or full")                                  \
    X(COUNTER_CERTIFICATES_LOADED, "certificates_loaded_total",                                    \
      "Certificate versions put in service")                                                       \
    X(COUNTER_CERTIFICATES_REFUSED, "certificates_refused_total",                                  \
      "Certificates refused by the pre-flight")                                                    \
    X(COUNTER_PROCESS_RESTARTS, "process_restarts_total", "Worker processes restarted")            \
    X(COUNTER_SESSIONS_ADOPTED, "sessions_adopted_total",                                          \
      "Sessions that a relay took over from its predecessor")                                      \
    X(COUNTER_SESSIONS_LOST, "sessions_lost_total", "Sessions that ended with their relay")        \
    X(COUNTER_TICKET_KEYS_ROTATED, "ticket_keys_rotated_total",                                    \
      "Times another ticket key became current")                                                   \
    X(COUNTER_TICKET_STORAGE_ERRORS, "ticket_keys_storage_errors_total",                           \
      "Times the ticket keys could not be stored or read")                                         \
    X(COUNTER_UPGRADES, "upgrades_total", "Upgrades that went through")                            \
    X(COUNTER_UPGRADES_FAILED, "upgrades_failed_total", "Upgrades refused or rolled back")

enum counter {
#define X(symbol, name, help) symbol,
    COUNTER_LIST(X)
#undef X
        COUNTER_COUNT
};
extern const struct counter_facts {
    const char *name, *help;
} counter_facts[COUNTER_COUNT];

/* X(symbol, metric name, help). Seconds; buckets are powers of two from 64 µs. */
#define HISTOGRAM_LIST(X)                                                                          \
    X(HISTOGRAM_HANDSHAKE, "handshake_duration_seconds",                                           \
      "From accept to the end of the handshake")                                                   \
    X(HISTOGRAM_HANDSHAKE_RESUMED, "handshake_resumed_duration_seconds",                           \
      "The same for resumed handshakes")                                                           \
    X(HISTOGRAM_CONNECT, "upstream_connect_duration_seconds",                                      \
      "Time to connect to an upstream server")                                                     \
    X(HISTOGRAM_SESSION, "session_duration_seconds", "Age of sessions at their end")

enum histogram {
#define X(symbol, name, help) symbol,
    HISTOGRAM_LIST(X)
#undef X
        HISTOGRAM_COUNT
};
extern const struct counter_facts histogram_facts[HISTOGRAM_COUNT];
#define HISTOGRAM_BUCKETS 32 /* bucket i: ≤ 64 µs × 2^i; the last: everything */

struct board_histogram {
    uint64_t buckets[HISTOGRAM_BUCKETS];
    uint64_t sum_us;
    uint64_t count;
};

struct board_process {
    uint64_t heartbeat_ns; /* CLOCK_MONOTONIC, at least every second */
    uint64_t started_ns;
    uint32_t pid;        /* 0: not running; written by the supervisor */
    uint32_t starts;     /* by the supervisor */
    uint32_t sessions;   /* relay: sessions held; handshaker: handshakes under way */
    uint32_t config;     /* generation in force */
    uint32_t overloaded; /* handshaker: it refuses connections that waited too long */
    uint64_t credits[BOARD_WORKERS_MAX];  /* relay: sessions granted to handshaker i so far;
                                             handshaker: sent to relay i so far */
    uint64_t received[BOARD_WORKERS_MAX]; /* relay: sessions taken from handshaker i so far */
    uint64_t counters[COUNTER_COUNT];
    uint64_t resumption_misses[RESUMPTION_MISS_COUNT]; /* handshaker: by reason */
    struct board_histogram histograms[HISTOGRAM_COUNT];
};

enum server_admin { SERVER_READY, SERVER_DRAIN, SERVER_DOWN };

struct board_server {
    uint32_t admin;                       /* enum server_admin; by control */
    uint32_t weight;                      /* by control; 0 = as configured */
    uint32_t healthy;                     /* by the relay that probes it: 1 up, 0 down */
    uint32_t failures;                    /* consecutive */
    uint32_t sessions[BOARD_WORKERS_MAX]; /* by relay i */
    uint64_t connects, connect_failures;  /* all relays (atomic add) */
};

/* A time in which sessions are brought to an end (CLOCK_MONOTONIC). */
struct drain {
    uint64_t begin_ns;        /* 0: there is none */
    uint64_t accept_until_ns; /* new connections are taken until then; sessions end from then on */
    uint64_t end_ns;          /* who is left then is closed */
};

/* The drain of the house or of one listener; by control, read and written by the functions below.
 * It stands until it is cancelled, also when nobody is left. */
struct board_drain {
    struct drain copies[2];
    uint32_t current; /* which copy is valid: changed last */
    uint32_t over;    /* nobody is left, and that was told */
};

/* What a relay has sealed for clients, all keys together. */
struct board_sealed {
    uint64_t blocks, records;
};

/* What clients of a listener are judged by; by control. */
struct board_trust {
    uint32_t generation; /* 0: nothing yet */
    uint32_t reserved;
    uint8_t digest[32];
};

struct board_listener {
    struct board_drain drain;
    struct board_trust trust;
    struct board_sealed sealed[BOARD_WORKERS_MAX]; /* by relay; grows for ever */
    uint32_t connections[BOARD_WORKERS_MAX];       /* sessions of relay i */
    uint32_t handshakes[BOARD_WORKERS_MAX];        /* under way in handshaker i */
    uint64_t accepted, refused;                    /* atomic add */
};

struct board_trace {
    uint32_t generation; /* 0: no trace; changed last */
    uint8_t by_client;
    uint8_t client[16];
    char server_name[96]; /* "": any */
};

/* The address of a server that is configured by name, for relays that start later. Written by
 * control; `size` 0 while it changes, and as long as the name was never resolved. */
struct board_address {
    uint32_t size;
    uint8_t bytes[28];
};

enum upgrade_stage {
    UPGRADE_NONE,
    UPGRADE_REHEARSING, /* a child of the new binary tries whether it can read everything */
    UPGRADE_REHEARSED,  /* it can; nothing more was asked for */
    UPGRADE_SUCCEEDING, /* the new binary runs; processes are replaced one after the other */
    UPGRADE_DONE,
    UPGRADE_REFUSED,    /* nothing was changed */
    UPGRADE_ROLLED_BACK /* the new binary ran and was left again */
};

/* The last upgrade. Written by the supervisor, `serial` by control when it asks for one. */
struct board_upgrade {
    uint32_t serial;
    uint32_t stage;
    char detail[256];
};

/* A connection by which control looks at our own listener: it ends after the handshake and is no
 * client of anybody. */
struct board_dial {
    uint32_t port; /* 0: not in use; written last */
    uint8_t address[16];
};
#define BOARD_DIALS 64

/* Why a session stays with OpenSSL: X(symbol, name). */
#define ATTACHED_REASON_LIST(X)                                                                    \
    X(ATTACHED_POLICY, "policy")                                                                   \
    X(ATTACHED_RENEGOTIATION, "renegotiation")                                                     \
    X(ATTACHED_SUITE, "suite")                                                                     \
    X(ATTACHED_CROSS_CHECK, "cross-check")                                                         \
    X(ATTACHED_AUTHENTICATION, "post-handshake-authentication")

enum attached_reason {
#define X(symbol, name) symbol,
    ATTACHED_REASON_LIST(X)
#undef X
        ATTACHED_REASON_COUNT
};
const char *attached_reason_name(enum attached_reason reason);

/* What the two sides of an attached session, its handshaker and its relay, tell each other besides
 * the bytes between them: how each stream ended. Said before the descriptor is shut. */
enum attached_word {
    ATTACHED_CLIENT_CLOSED = 1,    /* the client's stream ended in order */
    ATTACHED_CLIENT_TRUNCATED = 2, /* … without close_notify */
    ATTACHED_CLIENT_RESET = 4,     /* … by a reset */
    ATTACHED_CLIENT_FAULT = 8,     /* the client broke the protocol, or sent a fatal alert */
    ATTACHED_RENEGOTIATION_FAILED = 16,
    ATTACHED_RETIRED = 32,       /* its handshaker was replaced, and the time to finish is over */
    ATTACHED_SERVER_CLOSED = 64, /* relay: the server's stream ended in order */
    ATTACHED_LET_GO = 128,       /* relay: it looks at this no more */
    ATTACHED_RENEWAL = 256,      /* relay: an operator wants other keys; taken back when seen */
    ATTACHED_KEY_LIMIT = 512,    /* our key is worn and cannot be renewed */
    ATTACHED_ASKABLE = 1024,     /* its client can be asked for a certificate */
    ATTACHED_ASK = 2048,         /* control: an operator wants that; taken back when seen */
    ATTACHED_IDENTIFIED = 4096,  /* relay: the slot has the identity that was gained later */
    /* relay, with SERVER_CLOSED: why, so that the client gets the alert that says it */
    ATTACHED_CERTIFICATE_REVOKED = 8192,
    ATTACHED_CERTIFICATE_EXPIRED = 16384,
    ATTACHED_CERTIFICATE_UNTRUSTED = 32768,
    ATTACHED_AUTHENTICATION_FAILED = 65536 /* the client was asked who it is, in vain */
};

/* The place of a session that OpenSSL carries. Taken and given back by its handshaker. */
struct board_attached {
    uint64_t state; /* serial number << 20 | enum attached_word; 0: not in use */
    /* By the relay: where its slot is, with the serial number; and SESSION_ID. */
    uint64_t home, session;
    uint32_t owner; /* process */
    uint16_t suite;
    uint8_t listener;
    uint8_t reason; /* enum attached_reason */
};
#define BOARD_ATTACHED 32768

struct board {
    uint32_t version;
    uint32_t workers;
    uint32_t draining; /* by the supervisor, when it stops: health says 503 */
    uint32_t relay_capacity;
    uint32_t crash_survival; /* 1: the kernel's counters behave, see loop/socket_counters.h */
    uint64_t started_wall_ns;
    struct board_upgrade upgrade;
    struct board_address addresses[BOARD_SERVERS_MAX];
    /* What new sessions are made with; by the supervisor, that of the ticket key by control.
     * Sessions made with less are superseded. */
    uint32_t config_generation, binary_generation, ticket_key_generation;
    uint32_t session_cache_entries;       /* by handshakers, each second */
    uint64_t resumption_epoch;            /* resumption.h; by control, only ever raised */
    uint32_t trust_generation;            /* given last, of all listeners; by control */
    struct board_drain drain;             /* of the house; by control */
    struct board_trace trace;             /* by control */
    struct board_dial dials[BOARD_DIALS]; /* by control */
    struct board_process processes[BOARD_PROCESSES];
    struct board_listener listeners[BOARD_LISTENERS_MAX];
    struct board_server servers[BOARD_SERVERS_MAX]; /* of all upstreams, by conf_server.number */
    uint64_t sources[BOARD_SOURCES];                /* board_sources.c */
    uint64_t renegotiation_ns; /* up to which the budget for renegotiations is used up
                                  (base/rate.h); by all handshakers */
    uint64_t attached_serial;  /* the last one given */
    struct board_attached attached[BOARD_ATTACHED]; /* board_attached.c */
};

static inline void board_add(uint64_t *counter, uint64_t value)
{
    __atomic_fetch_add(counter, value, __ATOMIC_RELAXED);
}
void board_observe(struct board_histogram *histogram, uint64_t duration_us);

/* Sums over all processes. */
uint64_t board_sum(const struct board *board, enum counter counter);
uint64_t board_resumption_misses(const struct board *board, enum resumption_miss miss);
uint32_t board_server_sessions(const struct board *board, unsigned server);
uint32_t board_listener_connections(const struct board *board, unsigned listener);
struct board_sealed board_listener_sealed(const struct board *board, unsigned listener);

/* The address last resolved for a server; false when there is none. */
void board_address_set(struct board *board, unsigned server, const void *bytes, uint32_t size);
bool board_address_get(const struct board *board, unsigned server, void *ret_bytes,
                       uint32_t *ret_size);
/* ---- board_attached.c ---- */

/* A place for a session, if there is room. */
MUST_CHECK bool board_attached_take(struct board *board, const struct board_attached *what,
                                    uint16_t *ret_place, uint64_t *ret_serial);
/* Adds a word; nothing if the place is another's by now. */
void board_attached_say(struct board *board, uint16_t place, uint64_t serial,
                        enum attached_word word);
void board_attached_unsay(struct board *board, uint16_t place, uint64_t serial,
                          enum attached_word word);
/* All words said; 0 also when the place is another's by now. */
unsigned board_attached_said(const struct board *board, uint16_t place, uint64_t serial);
/* What stands there; false when the place is another's by now. */
bool board_attached_read(const struct board *board, uint16_t place, uint64_t serial,
                         struct board_attached *ret_attached);
/* Where the slot of such a session is: its relay says it, its handshaker asks. */
struct attached_home {
    unsigned relay;
    uint32_t slot;
    uint64_t session; /* SESSION_ID */
};
void board_attached_set_home(struct board *board, uint16_t place, uint64_t serial,
                             const struct attached_home *home);
/* False: nowhere (yet). */
MUST_CHECK bool board_attached_home(const struct board *board, uint16_t place, uint64_t serial,
                                    struct attached_home *ret_home);
void board_attached_give(struct board *board, uint16_t place, uint64_t serial);
/* A handshaker died: its places are free. */
void board_attached_forget(struct board *board, uint32_t owner);
/* Sessions by reason. */
void board_attached_count(const struct board *board, uint32_t ret_counts[ATTACHED_REASON_COUNT]);

/* The drain that stands there; false: none. A writer does not disturb. */
bool board_drain_read(const struct board_drain *place, struct drain *ret_drain);
/* Puts one there, or changes its times; NULL: none any more. */
void board_drain_write(struct board_drain *place, const struct drain *drain);
/* Does the listener take new connections, as far as drains are concerned? */
bool board_accepts(const struct board *board, unsigned listener, uint64_t now_ns);
/* When a drain closes a session (SESSION_ID) that is open since `open_ns`: spread evenly over its
 * time by a hash, so that clients do not come back as one wave; anew when the times change. */
uint64_t drain_due(const struct drain *drain, uint64_t session, uint64_t open_ns);

/* Control announces its dials by their local address; the handshaker asks whether a client is one.
 */
void board_dial_begin(struct board *board, const uint8_t address[16], uint16_t port);
void board_dial_end(struct board *board, const uint8_t address[16], uint16_t port);
bool board_is_dial(const struct board *board, const uint8_t address[16], uint16_t port);

/* Sessions of one source address at a listener, all relays together. Acquire refuses at `limit`, or
 * when the table is crowded. */
uint32_t board_source_count(struct board *board, unsigned listener, const uint8_t client[16]);
MUST_CHECK bool board_source_acquire(struct board *board, unsigned listener,
                                     const uint8_t client[16], uint32_t limit);
void board_source_release(struct board *board, unsigned listener, const uint8_t client[16]);

/* ---- events ---- */

#define EVENT_RARE_CAPACITY 64
#define EVENT_BULK_CAPACITY 256

/* Each process has two rings (rare, bulk) in the events mapping. */
size_t events_size(void);
void events_init(void *events); /* by the supervisor, once */
struct ring *events_ring(void *events, unsigned worker, bool rare);

/* The event writer of a process. */
struct event_writer {
    struct ring *rare, *bulk;
    int notify_fd; /* eventfd that wakes control */
    uint16_t worker;
    uint64_t *dropped; /* this process's COUNTER_EVENTS_DROPPED */
    bool pending;
    bool muted; /* the ring is another's for now */
};
void event_writer_init(struct event_writer *writer, void *events, unsigned worker, int notify_fd,
                       struct board *board);
/* A zeroed event with type, time, worker and "none" values filled in, or NULL (dropped and
 * counted). */
struct event *event_begin(struct event_writer *writer, enum event_type type);
void event_end(struct event_writer *writer, enum event_type type);
/* Wakes control if events were written since the last call; call after each batch of the loop. */
void event_flush(struct event_writer *writer);
