/* The relay process: moves bytes between clients and upstream servers. One struct relay per
 * process, shared by
 *
 *   relay.c          the process: set-up, offers from handshakers, messages, drain, housekeeping
 *   relay_session.c  life of a session: begin, states, end
 *   relay_connect.c  its way to a server
 *   relay_attached.c the same of sessions that OpenSSL carries in a handshaker
 *   relay_flow.c     the data path, written once for both directions
 *   relay_turn.c     one turn of it: working copy, runs, writing (relay_turn.h)
 *   relay_memory.c   buffer memory, and what happens when it runs short
 *   relay_registration.c  what makes sessions outlive this relay; leaving them to a successor
 *   relay_succession.c    taking them from a predecessor
 *   relay_drain.c    sessions that a drain on the board ends
 *   relay_keys.c     traffic keys: renewed in time, or the session ends
 *   relay_reload.c   another configuration
 *   upstreams.c      which server; health
 *
 * A session's durable state is its slot (session/slot.h); what can be found again from the kernel
 * or is mere bookkeeping stands in struct relay_session, private to the process. */
#pragma once

#include "edge/upstreams.h"
#include "edge/worker.h"
#include "session/slot.h"
#include "tls/record.h"

enum relay_side { SIDE_CLIENT, SIDE_UPSTREAM, SIDE_COUNT };

/* Why a flow stopped for now. */
enum flow_status {
    FLOW_WAITING, /* for an event on one of its sockets */
    FLOW_BUSY,    /* its turn is over, there is more to do */
    FLOW_DEAD     /* the session was ended */
};

struct relay_session {
    int fds[SIDE_COUNT];             /* -1: none */
    uint32_t input_size[FLOW_COUNT]; /* unprocessed bytes in the input run */
    uint32_t written[FLOW_COUNT];    /* of the output run */
    uint32_t next_ready;             /* in the list of sessions with work left over */
    uint32_t next_waiting;           /* in the list of sessions that wait for memory */
    uint32_t stuck_since_s; /* second since which the session has held memory and given none back;
                               0: it holds none */
    uint8_t readable;       /* bit per side: reading may succeed */
    uint8_t writable;
    uint8_t hung_up;    /* end of stream is there or on its way, or urgent data: a read that gets
                           less than it asked for may have left some */
    uint8_t registered; /* bit per side: the supervisor may have a duplicate */
    bool queued : 1;    /* in the ready list */
    bool waiting : 1;   /* in the list of those that wait for memory */
    bool in_use : 1;
    bool linger : 1;                /* closing: waiting for the client's end of stream */
    bool settled : 1;               /* it has lasted: upstreams_settle() was called */
    bool register_again : 1;        /* … but not all that it was sent */
    bool counted : 1;               /* the session is counted at its server */
    uint8_t read_order[FLOW_COUNT]; /* size of the next input run: grows with the traffic */
    uint8_t tries;
    uint8_t reason;                     /* enum leg_reason: what was wrong with a leg's records */
    uint8_t alert_sent, alert_received; /* fatal ones; ALERT_NONE */
    uint32_t tried[2]; /* servers already tried (numbers within the upstream, modulo 64) */
    struct timer timer;
};

struct released {
    uint32_t slot;
    uint64_t serial;
};

/* Since when listeners and servers are retired, for sessions that are to be drained; 0: they are
 * not. */
struct relay_removal {
    uint64_t listeners[BOARD_LISTENERS_MAX], servers[BOARD_SERVERS_MAX];
    bool draining; /* some session may have to go */
    struct timer timer;
};

/* Suites that differ in how far their keys may be used. */
enum { KEYS_AES_GCM, KEYS_CHACHA20, KEYS_KINDS };

struct relay {
    struct worker worker;
    struct arena arena;
    struct blocks *blocks;
    struct record_crypto *crypto;
    struct upstreams *upstreams;
    struct relay_session *sessions; /* by slot */
    uint32_t *free_slots;           /* stack */
    uint32_t free_count;
    uint8_t *scratch; /* plaintext between two TLS legs */
    size_t scratch_size;
    uint32_t ready_first, ready_last, ready_count;
    uint32_t busy;                      /* turns in this batch that moved much */
    uint64_t turn_bytes;                /* what a session may move in one turn */
    int handshakers[BOARD_WORKERS_MAX]; /* channels; -1: none yet */
    int control_fd;
    uint64_t received[BOARD_WORKERS_MAX]; /* sessions taken from each */
    struct timer housekeeping, drain;
    uint64_t now_ns;
    bool stopping;
    uint64_t stop_deadline_ns;
    uint32_t waiting_first, waiting_last; /* sessions waiting for buffer memory */
    bool memory_returned;      /* some was given back since the last session had to wait */
    struct released *released; /* sessions that the supervisor is still to hear of */
    uint32_t released_count;
    struct inherited *inherited; /* by slot, while a predecessor's sessions are taken over */
    bool secrets_unlocked;       /* to be warned about */
    struct relay_removal removal;
    struct key_limits key_limits[BOARD_LISTENERS_MAX][KEYS_KINDS];
};

/* Both sockets of a session are watched once, for its life, whoever serves it: the watches go from
 * relay to relay, and with them these numbers. So do the numbers of the channels' descriptors:
 * watched again by a successor they replace what the one before has left there. */
#define SIDE_EVENTS        (LOOP_READ | LOOP_WRITE | LOOP_HANGUP | LOOP_URGENT | LOOP_EDGE)
#define SIDE_HANDLER       (LOOP_HANDLER_FIXED + 0)
#define HANDSHAKER_HANDLER (LOOP_HANDLER_FIXED + 1)
#define CONTROL_HANDLER    (LOOP_HANDLER_FIXED + 2)
#define CONTROL_FD         127
#define HANDSHAKER_FD      128 /* of handshaker 0, and so on */
static inline uint64_t side_tag(uint64_t serial, uint32_t index, enum relay_side side)
{
    return (serial & 0x7fffff) << 25 | (uint64_t)side << 24 | index;
}

/* The session being worked on, for a successor to know: one that kills its relay must not kill
 * every successor, too. */
static inline void hand_take(struct relay *relay, uint32_t index)
{
    __atomic_store_n(&relay->arena.header->in_hand, index, __ATOMIC_RELAXED);
}
static inline void hand_empty(struct relay *relay)
{
    hand_take(relay, SLOT_NONE);
}
/* ---- relay_drain.c ---- */

void relay_drain_init(struct relay *relay);
/* Looks at the board and ends the sessions whose time has come; while there is a drain it comes
 * back by itself, else call it once a second. */
void relay_drain(struct relay *relay);

/* ---- relay_session.c ---- */

/* Takes a session from a handshaker; owns `client_fd` from then on. `data`: preamble then surplus.
 */
void session_begin(struct relay *relay, const struct session_offer *offer,
                   const struct client_identity *client, const uint8_t *data, int client_fd);
void session_event(struct relay *relay, uint32_t index, enum relay_side side, unsigned events);
/* Runs both flows, a turn each. */
void session_run(struct relay *relay, uint32_t index);
/* Ends a session gracefully: alert (ALERT_NONE: nothing) to the client, wait until it is taken,
 * close. */
void session_close(struct relay *relay, uint32_t index, enum session_end end, enum alert alert);
/* The same when control asks for it: the alert follows from the reason, and the upstream gets an
 * orderly end. */
void session_close_for(struct relay *relay, uint32_t index, enum session_end end);
/* Ends it at once. `reset`: the client is to see a reset, not an orderly end. The one function that
 * ends descriptors. */
void session_end(struct relay *relay, uint32_t index, enum session_end end, bool reset);
void session_set_state(struct relay *relay, uint32_t index, enum session_state state);
/* Also where the state was entered before: its time begins anew. */
void session_enter_state(struct relay *relay, uint32_t index, enum session_state state);
/* One side's descriptor; for relay_session.c and relay_connect.c alone. */
void side_close(struct relay *relay, uint32_t index, enum relay_side side, bool reset);
MUST_CHECK bool side_watch(struct relay *relay, uint32_t index, enum relay_side side);
uint64_t session_id(const struct relay *relay, uint32_t index);
/* A session that has lasted (or is to, by `now`) gets what short ones do without. */
void session_settle(struct relay *relay, uint32_t index, bool now);
/* Goes on with a predecessor's session, whose runs are claimed; owns the descriptors. */
void session_adopt(struct relay *relay, uint32_t index, const int fds[SIDE_COUNT],
                   const struct slot_rest *rest);
/* Takes the session off the count of its source, if it stands there. */
void session_uncount_source(struct relay *relay, uint32_t index);
/* The event and the counters of a session's end. */
void session_report_end(struct relay *relay, uint32_t index, enum session_end end);
/* Puts the session into the list of those with work left over. */
void session_queue(struct relay *relay, uint32_t index);
/* The configuration is another one: its time-outs begin to count for this session, too. */
void session_rearm(struct relay *relay, uint32_t index);

/* What identifies the session, into an event; and a line of its trace, if it is traced. */
void session_identify(const struct relay *relay, uint32_t index, struct event *event);
void session_trace(struct relay *relay, uint32_t index, const char *text);

/* ---- relay_keys.c ---- */

/* The configuration is another one. */
void keys_configure(struct relay *relay);
/* MESSAGE_RENEW_KEYS */
void keys_renew_wanted(struct relay *relay, const struct message_renew *body);
/* A key that cannot be renewed has come so far that the session is to end. */
MUST_CHECK bool keys_worn_out(struct relay *relay, uint32_t index);
/* When that will be for its age alone, or is to be announced before; 0: never. */
uint64_t keys_age_end(const struct relay *relay, uint32_t index);
/* False when it was announced already. */
bool keys_announce_age(struct relay *relay, uint32_t index);
/* The session has ended. */
void keys_ended(struct relay *relay, uint32_t index);
/* ---- relay_attached.c ---- */

/* Of an attached session (edge/attached.h), for others nothing: its client is to get an orderly
 * end. Say it before the descriptor is shut. */
void session_end_client(struct relay *relay, uint32_t index);
/* … we look at its place on the board no more. */
void session_let_go(struct relay *relay, uint32_t index);
/* … an operator wants other keys: its handshaker sees to it. */
void session_renew_attached(struct relay *relay, uint32_t index);
/* … where its slot is. */
void session_tell_home(struct relay *relay, uint32_t index);
/* … who its client is, as its handshaker knows by now. */
void session_take_identity(struct relay *relay, const struct message_identity *body);
/* … how its client's stream ended; SESSION_END_NONE: in order. */
enum session_end session_attached_end(struct relay *relay, uint32_t index);
/* Why the client's socket of a session, attached or not, does not work as it should. */
enum session_end session_broken_end(struct relay *relay, uint32_t index);

/* ---- relay_connect.c ---- */

/* Begins to connect to the next server; ends the session when there is none. */
void session_connect(struct relay *relay, uint32_t index);
/* The connection is there, or `broken`. */
void session_connected(struct relay *relay, uint32_t index, bool broken);
/* A handshaker has made TLS of it. */
void session_encrypted(struct relay *relay, const struct message_encrypted *body,
                       const uint8_t *surplus);
/* The upstream connection failed: the next server, or the end. */
void session_retry(struct relay *relay, uint32_t index, const char *why);
/* Takes the session off the count of its server, if it stands there. */
void session_uncount_server(struct relay *relay, uint32_t index);

/* ---- relay_reload.c ---- */

void reload_init(struct relay *relay);
/* The sessions are ours: those that a predecessor had to drain, or to move, are seen to. */
void reload_take_over(struct relay *relay);
/* MESSAGE_CONFIG and MESSAGE_CONFIG_GO, also before GO; others are ignored. */
void reload_message(struct relay *relay, struct message *message);

/* ---- relay_flow.c ---- */

/* Moves data of one direction until it must wait or its turn is over. */
enum flow_status flow_run(struct relay *relay, uint32_t index, unsigned direction);
/* Appends what a TLS leg owes by itself (KeyUpdate, alerts) to the output towards `side`, if there
 * is room now. */
void flow_send_owed(struct relay *relay, uint32_t index, enum relay_side side);
/* Puts bytes that came with the hand-over into a run: as input (ciphertext read) or output
 * (preamble). */
bool flow_preload_input(struct relay *relay, uint32_t index, unsigned direction,
                        const uint8_t *data, size_t size);
bool flow_preload_output(struct relay *relay, uint32_t index, unsigned direction,
                         const uint8_t *data, size_t size);
/* Writes what stands in the output run; false when it must wait or failed (see `ret_failed`). While
 * the session is still connecting the run is kept: the next server needs the preamble, too. */
bool flow_flush(struct relay *relay, uint32_t index, unsigned direction, bool *ret_failed);
/* Does a leg have something to say by itself? */
bool flow_owes(struct relay *relay, uint32_t index);
/* An open session in which nothing is under way and nothing held. */
bool flow_idle(struct relay *relay, uint32_t index);
/* Ends our direction of a socket (FIN), for a closing session. */
void flow_end_sink(struct relay *relay, uint32_t index, unsigned direction);
/* Releases the runs of both directions. */
void flow_drop(struct relay *relay, uint32_t index);

/* ---- relay_memory.c ---- */

/* A run of 2^order blocks, or a smaller one, down to 2^least, when memory is short. */
bool memory_take(struct relay *relay, unsigned order, unsigned least, uint32_t *ret_run,
                 uint8_t *ret_order);
void memory_give(struct relay *relay, uint32_t run, unsigned order);
/* While memory is short: can what is written to this side leave at once? Else room will be
 * announced by an event. */
bool memory_allows_write(struct relay *relay, struct relay_session *session, enum relay_side sink);
/* How much may be read from this side now. While memory is short: no more than can leave again at
 * once, and at most the rest of one record where it comes in `records` (`held`: the beginning of
 * one that is there already); 0: an event will tell when. */
size_t memory_read_limit(struct relay *relay, struct relay_session *session, enum relay_side source,
                         bool records, const uint8_t *held, size_t held_size);
/* The session goes on when memory was given back. */
void memory_await(struct relay *relay, uint32_t index);
/* Queues sessions that wait, if memory was given back. */
void memory_wake(struct relay *relay);
/* After a session's turn: does it keep memory? */
void memory_note(struct relay *relay, uint32_t index);
/* Once a second: where little memory is left, ends the sessions that have held theirs longest
 * without giving any back. */
void memory_relieve(struct relay *relay);

/* ---- relay_registration.c ---- */

/* In regular ticks: sessions that have lasted are registered with the supervisor. */
void registration_protect(struct relay *relay);
/* The supervisor lost some: all are registered again. */
void registration_renew(struct relay *relay);
/* The session ends: duplicates elsewhere are to be closed. */
void registration_release(struct relay *relay, uint32_t index);
/* The same for what a predecessor had registered. */
void registration_queue_release(struct relay *relay, uint32_t index, uint64_t serial);
/* Tells the supervisor of those; false when it must be tried again. */
bool registration_flush(struct relay *relay);
/* Leaves every session to the successor and ends the process. */
NORETURN void registration_leave(struct relay *relay);

/* ---- relay_succession.c ---- */

/* MESSAGE_REGISTER and MESSAGE_RELEASE towards a successor. */
void succession_inherit(struct relay *relay, struct message *message);
void succession_disinherit(struct relay *relay, const struct message *message);
/* With GO: every slot goes on or ends. False when out of memory. */
MUST_CHECK bool succession_take_over(struct relay *relay, enum predecessor predecessor);
