/* The inside of a client connection in a handshaker, shared by connection.c (its stages) and
 * connection_report.c (events and counters about it). */
#pragma once

#include "edge/handshaker.h"

enum stage {
    STAGE_PROXY,
    STAGE_HELLO,
    STAGE_CERTIFICATE,
    STAGE_HANDSHAKE,
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
    bool hung_up; /* the client's end of stream is there: read until it is seen */
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
    uint8_t last_bytes[256]; /* goodbye */
    size_t last_size;
};

static inline const struct conf_listener *connection_conf(const struct connection *connection)
{
    return &connection->handshaker->worker.conf->listeners[connection->listener];
}

/* ---- connection_report.c ---- */

/* Does the trace that an operator has asked for cover it? */
bool connection_traced(const struct connection *connection);
void connection_trace(struct connection *connection, const char *text);
/* Counted and told, but for control's own dials. */
void connection_report_failure(struct connection *connection, const char *stage, const char *detail,
                               uint8_t alert_sent, uint8_t alert_received);
void connection_report_done(struct connection *connection, const struct handshake_facts *facts);
void connection_report_mismatch(struct connection *connection, const struct handshake_facts *facts,
                                const struct error *error);
