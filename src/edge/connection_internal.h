/* The inside of a client connection in a handshaker, shared by its files:
 *
 *   connection.c                 what drives it: its beginning, bytes, time
 *   connection_hello.c           what comes before the handshake: which upstream, which certificate
 *   connection_handshake.c       OpenSSL has it
 *   connection_authentication.c  it is asked who it is
 *   connection_handover.c        to a relay, or to an attached session
 *   connection_end.c             or it ends here
 *   connection_report.c          events and counters about it
 *
 * Whatever may retire it says so; after that it must not be touched but for its stage. */
#pragma once

#include "base/buffer.h"
#include "edge/handshaker.h"

enum stage {
    STAGE_PROXY,
    STAGE_HELLO,
    STAGE_CERTIFICATE,
    STAGE_HANDSHAKE,
    STAGE_AUTHENTICATION, /* the handshake is over; who is it? */
    STAGE_GOODBYE,
    STAGE_CLOSED
};

struct connection {
    struct handshaker *handshaker;
    struct connection *next, *previous;
    int fd;
    uint16_t listener, upstream;
    enum stage stage;
    bool traced;
    bool dial;    /* control's own, also when control does not wait for its end any more */
    bool hung_up; /* the client's end of stream is there, or urgent data: read until it is seen */
    uint8_t client[16];
    uint16_t client_port;
    struct address local; /* from a PROXY header; size 0: ask the socket */
    uint64_t accepted_ns;
    struct timer timer;
    uint8_t *input;
    size_t input_size, input_capacity, input_maximum;
    uint8_t *hello; /* copy of the ClientHello, for the fingerprint of an event */
    size_t hello_size;
    char server_name[CLIENT_HELLO_NAME_MAX];
    struct resumption_offer offer;
    struct handshake *handshake;
    struct certificate_choice choice;
    bool asked;              /* … after the handshake */
    bool carried;            /* OpenSSL has to keep it */
    struct buffer early;     /* plaintext that came before the answer */
    uint8_t last_bytes[256]; /* goodbye */
    size_t last_size;
};

static inline const struct conf_listener *connection_conf(const struct connection *connection)
{
    return &connection->handshaker->worker.conf->listeners[connection->listener];
}

/* ---- connection.c ---- */

/* So much of the input has been used. */
void connection_consume(struct connection *connection, size_t size);

/* ---- connection_hello.c ----
 *
 * All return true when the next stage can go on at once; the connection may be gone by then. */

bool connection_read_proxy_header(struct connection *connection);
bool connection_read_hello(struct connection *connection);
/* … for the name that it has asked for; again, when control has answered. */
bool connection_choose_certificate(struct connection *connection);

/* ---- connection_handshake.c ---- */

/* Gives OpenSSL the input, and the client the output. */
void connection_run_handshake(struct connection *connection);
/* Writes the handshake's output; false when it must wait or the connection is gone. */
MUST_CHECK bool connection_flush(struct connection *connection);
/* What clients are judged by may have changed since it was asked. False: the client is not accepted
 * any more; the connection is gone. */
MUST_CHECK bool connection_still_accepted(struct connection *connection,
                                          const struct client_identity *client);

/* ---- connection_handover.c ---- */

/* Who the client is is known as far as it will be: a relay takes over, or OpenSSL keeps it. */
void connection_settle(struct connection *connection);
/* A relay takes it as it is; the server makes the handshake. */
void connection_pass_through(struct connection *connection);

/* ---- connection_end.c ---- */

/* Takes the connection out of service; its memory goes after the batch. `fd` may have been handed
 * over (-1). */
void connection_retire(struct connection *connection);
/* Before any keys: a fatal alert in the clear. */
void connection_refuse(struct connection *connection, enum alert alert, const char *stage,
                       const char *detail);
void connection_refuse_http(struct connection *connection);
/* The client gets what is left of the output, then the connection ends; this is told. */
void connection_end(struct connection *connection, const char *stage, const char *detail,
                    const struct handshake_failure *failure);
/* Sends what is to be sent last; then waits for the client's end, so that the bytes are not lost to
 * a reset. */
void connection_run_goodbye(struct connection *connection);

/* ---- connection_authentication.c ---- */

/* The handshake is over: is the client to be asked before anything else? */
bool connection_must_ask(const struct connection *connection, const struct handshake_facts *facts);
void connection_ask(struct connection *connection);
/* There is input, or room for output. */
void connection_read_answer(struct connection *connection);
/* The client is gone. */
void connection_left_unanswered(struct connection *connection, const char *detail);
/* Its time is over. */
void connection_unanswered(struct connection *connection);

/* ---- connection_report.c ---- */

/* Does the trace that an operator has asked for cover it? */
bool connection_traced(const struct connection *connection);
void connection_trace(struct connection *connection, const char *text);
/* Counted and told, but for control's own dials. */
void connection_report_failure(struct connection *connection, const char *stage, const char *detail,
                               uint8_t alert_sent, uint8_t alert_received);
/* It was asked after the handshake, and has said who it is, or not. */
void connection_report_known(struct connection *connection, const char *subject);
void connection_report_unknown(struct connection *connection, const char *detail);
void connection_report_done(struct connection *connection, const struct handshake_facts *facts);
void connection_report_mismatch(struct connection *connection, const struct handshake_facts *facts,
                                const struct error *error);
