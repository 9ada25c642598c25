/* The handshaker process: accepts, runs TLS handshakes, detaches the sessions and hands them to
 * relays. One struct handshaker per process, shared by
 *
 *   handshaker.c   the process: set-up, messages of control, stop
 *   acceptor.c     listening sockets, limits, pausing
 *   acceptor_drain.c  the same in a drain: refusing, and accepting again
 *   admission.c    refusing what waited too long
 *   connection.c   one client connection from accept to hand-over (connection_internal.h)
 *   dispatch.c     hand-over to relays: credits, batches
 *   attached.c     sessions that stay with OpenSSL (attached.h)
 *   encryptor.c    client handshakes for relays with TLS upstreams
 */
#pragma once

#include "edge/admission.h"
#include "edge/certificates.h"
#include "edge/offer.h"
#include "edge/session_memory.h"
#include "edge/worker.h"
#include "session/proxy_protocol.h"
#include "tls/client_hello.h"
#include "tls/fingerprints.h"

struct attached;
struct connection;

struct acceptor_socket {
    int fd; /* -1: not there (yet) */
    uint16_t listener;
    bool watched;
    bool shut;              /* it does not listen: a drain */
    bool shut_told;         /* it could not listen again, which was told */
    struct address address; /* as configured */
    bool ready;             /* connections wait: accept after this batch */
};

struct relay_channel {
    int fd;       /* -1: none */
    bool blocked; /* its queue is full: waiting for room */
    struct offer_batch *batch;
};

struct encryptor;

struct handshaker {
    struct worker worker;
    struct certificates *certificates;
    struct session_memory sessions;
    struct record_crypto *crypto;
    struct acceptor_socket *sockets;
    size_t socket_count;
    struct acceptor_socket *next_sockets; /* of the configuration to come; NULL: none is prepared */
    size_t next_socket_count;
    struct relay_channel relays[BOARD_WORKERS_MAX];
    int control_fd; /* -1: none */
    uint8_t socket_handler, connection_handler, relay_handler, control_handler, attached_handler;
    struct connection *connections; /* all under way */
    struct connection *graveyard;   /* closed in this batch */
    uint32_t under_way;
    struct attached *attached;           /* all that are carried here */
    struct attached *attached_ready;     /* with work left over */
    struct attached *attached_graveyard; /* over in this batch */
    uint32_t attached_count;
    struct timer attached_words; /* looks at what relays say of them on the board */
    uint64_t carry_until_ns;     /* stopping: how long they may go on; 0: for ever */
    bool certificates_complete, go, stopping, retiring, paused;
    bool carrying_told; /* the supervisor knows that only attached sessions are left */
    bool prepared;      /* worker.next_conf is ready to come into force */
    struct timer resume, stop, drain;
    uint64_t pause_reported_ns;
    bool report_resume;
    struct admission admission;
    struct encryptor *encryptor;
    struct client_hello hello;           /* scratch: it is large */
    struct fingerprints *unable_clients; /* NULL: none are known */
    uint64_t now_ns;
    uint64_t log_counter;
};

/* ---- acceptor.c ---- */
bool acceptor_init(struct handshaker *handshaker);
/* Takes a socket by its number in the configuration that is prepared, if one is. */
void acceptor_take_socket(struct handshaker *handshaker, unsigned number, int fd);
/* For worker.next_conf: which sockets there will be. False when out of memory. */
MUST_CHECK bool acceptor_prepare(struct handshaker *handshaker);
/* It does not come after all, or another one. */
void acceptor_forget(struct handshaker *handshaker);
/* worker.conf is now what was prepared: addresses that are in both stay as they are, new ones are
 * listened on; what waits at those that went is accepted, then they are closed. */
void acceptor_swap(struct handshaker *handshaker);
/* Watches or unwatches the listening sockets as state, credits and stop demand. */
void acceptor_update(struct handshaker *handshaker);
void acceptor_event(struct handshaker *handshaker, unsigned number);
/* In regular ticks: the one that the kernel has told of a connection may not have come to accept it
 * (it had no descriptors left, or died), and nobody else was told. */
void acceptor_look(struct handshaker *handshaker);
/* Accepts a few at this socket now. */
void acceptor_accept(struct handshaker *handshaker, unsigned number);
/* After each batch of events: handshakes under way go before new ones, so that what was admitted is
 * finished. */
void acceptor_run(struct handshaker *handshaker);
/* Is this source allowed and below the limits of the listener? Counts a refusal. */
bool acceptor_admits(struct handshaker *handshaker, unsigned listener, const uint8_t client[16]);

/* ---- acceptor_drain.c ---- */
void acceptor_drain_init(struct handshaker *handshaker);
/* Looks at the board: sockets are shut or listen again, as drains say. Comes back by itself. */
void acceptor_drain_look(struct handshaker *handshaker);
/* accept() says that the socket does not listen: another process was quicker. */
void acceptor_drain_shut(struct handshaker *handshaker, unsigned number);
/* Unix sockets cannot be shut for a while: is this client to be turned away? */
bool acceptor_drain_refuses(const struct handshaker *handshaker, unsigned listener,
                            const struct address *client);

/* ---- connection.c ---- */
/* Takes the descriptor. */
void connection_begin(struct handshaker *handshaker, unsigned listener, int fd,
                      const struct address *client);
void connection_event(struct handshaker *handshaker, struct connection *connection,
                      unsigned events);
/* A name of a folder was answered: those waiting for it go on. NULL: all that wait look again. */
void connections_resume(struct handshaker *handshaker, const char *name);
/* Those that wait for an answer of control will not get one here. */
void connections_retire(struct handshaker *handshaker);
/* Closes all that are under way. */
void connections_give_up(struct handshaker *handshaker);
/* Frees what was closed in this batch (connection_end.c). */
void connections_bury(struct handshaker *handshaker);

/* ---- unable_clients.c ---- */
/* The file was opened; one that cannot be used is warned about, and what was known before stays. */
void unable_clients_take(struct handshaker *handshaker, int fd);
/* Is the client with this ClientHello (as on the wire) known not to implement KeyUpdate? Costs
 * nothing unless a file is configured. */
bool unable_clients_have(struct handshaker *handshaker, const uint8_t *hello, size_t size);

/* ---- dispatch.c ---- */
/* Sessions that relays are ready to take, less those under way here. */
int64_t dispatch_credits(const struct handshaker *handshaker);
/* Hands a session over; owns `fd` from then on. `client` as in offer_append(). */
void dispatch_session(struct handshaker *handshaker, const struct session_offer *offer,
                      const struct client_identity *client, const uint8_t *preamble,
                      const uint8_t *surplus, int fd);
void dispatch_flush(struct handshaker *handshaker);
bool dispatch_idle(const struct handshaker *handshaker); /* nothing waits for a relay to take it */
void dispatch_writable(struct handshaker *handshaker, unsigned relay);

/* ---- encryptor.c ---- */
struct encryptor *encryptor_new(struct handshaker *handshaker);
bool encryptor_idle(const struct encryptor *encryptor); /* no handshake is under way */
/* Material of upstream `upstream`: trust, certificate, key; -1 where not configured. Takes the
 * descriptors. */
MUST_CHECK int encryptor_configure(struct encryptor *encryptor, unsigned upstream, int trust_fd,
                                   int certificate_fd, int key_fd, struct error *error);
/* For worker.next_conf: material that comes from now on is that of its upstreams. False when out of
 * memory. */
MUST_CHECK bool encryptor_prepare(struct encryptor *encryptor);
void encryptor_swap(struct encryptor *encryptor);
void encryptor_begin(struct encryptor *encryptor, unsigned relay,
                     const struct message_encrypt *body, int fd);
