/* How a client connection in a handshaker ends there: handed on or not, it is retired; who is
 * refused is told why first. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/secret.h"
#include "edge/connection_internal.h"

#define GOODBYE_NS    NS_PER_S /* how long a refused client may take to read why */
#define GOODBYE_READS 8

/* ---- out of service ---- */

static void unlink_connection(struct connection *connection)
{
    struct handshaker *handshaker = connection->handshaker;

    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        handshaker->connections = connection->next;
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    connection->next = handshaker->graveyard;
    handshaker->graveyard = connection;
}

void connection_retire(struct connection *connection)
{
    struct handshaker *handshaker = connection->handshaker;

    if (connection->stage == STAGE_CLOSED)
        return;
    connection->stage = STAGE_CLOSED;
    if (connection->fd >= 0) {
        loop_unwatch(handshaker->worker.loop, connection->fd);
        ignore(close(connection->fd));
        connection->fd = -1;
    }
    timer_cancel(handshaker->worker.loop, &connection->timer);
    handshaker->under_way--;
    handshaker->worker.self->sessions = handshaker->under_way;
    if (!handshaker->retiring) /* else its place there is its successor's, who begins at 0 */
        handshaker->worker.board->listeners[connection->listener]
            .handshakes[handshaker->worker.setup.index]--;
    unlink_connection(connection);
}

void connections_bury(struct handshaker *handshaker)
{
    while (handshaker->graveyard != NULL) {
        struct connection *connection = handshaker->graveyard;
        handshaker->graveyard = connection->next;
        handshake_free(connection->handshake);
        if (connection->input != NULL)
            secret_wipe(connection->input, connection->input_capacity);
        free(connection->input);
        if (connection->early.data != NULL)
            secret_wipe(connection->early.data, connection->early.capacity);
        buffer_fini(&connection->early);
        free(connection->hello);
        free(connection);
    }
}

/* ---- last bytes ---- */

void connection_run_goodbye(struct connection *connection)
{
    uint8_t nowhere[4096];

    if (connection->last_size != 0) {
        ssize_t sent =
            send(connection->fd, connection->last_bytes, connection->last_size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            return;
        connection->last_size = 0;
        ignore(shutdown(connection->fd, SHUT_WR));
    }
    for (unsigned i = 0; i < GOODBYE_READS; i++) {
        ssize_t got = recv(connection->fd, nowhere, sizeof nowhere, 0);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0 && errno != EINTR)
            break;
    }
    connection_retire(connection);
}

static void goodbye(struct connection *connection, const void *bytes, size_t size)
{
    if (size > sizeof connection->last_bytes)
        size = sizeof connection->last_bytes;
    if (size != 0)
        memcpy(connection->last_bytes, bytes, size);
    connection->last_size = size;
    connection->stage = STAGE_GOODBYE;
    timer_set(connection->handshaker->worker.loop, &connection->timer,
              connection->handshaker->now_ns + GOODBYE_NS);
    connection_run_goodbye(connection);
}

void connection_refuse(struct connection *connection, enum alert alert, const char *stage,
                       const char *detail)
{
    const uint8_t record[] = {RECORD_ALERT, 3, 3, 0, 2, 2, (uint8_t)alert};

    connection_report_failure(connection, stage, detail, (uint8_t)alert, ALERT_NONE);
    goodbye(connection, record, sizeof record);
}

void connection_refuse_http(struct connection *connection)
{
    static const char body[] = "400: this port speaks TLS. Use https:// in front of the address.\n";
    char text[sizeof connection->last_bytes];
    int size = snprintf(text, sizeof text,
                        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: "
                        "close\r\nContent-Length: "
                        "%zu\r\n\r\n%s",
                        sizeof body - 1, body);

    worker_count(&connection->handshaker->worker, COUNTER_PLAIN_HTTP, 1);
    connection_report_failure(connection, "client_hello", "plain HTTP on a TLS port", ALERT_NONE,
                              ALERT_NONE);
    goodbye(connection, text, (size_t)size);
}

void connection_end(struct connection *connection, const char *stage, const char *detail,
                    const struct handshake_failure *failure)
{
    const uint8_t *data;

    connection_report_failure(connection, stage, detail, failure->alert_sent,
                              failure->alert_received);
    size_t size = handshake_output(connection->handshake, &data);
    goodbye(connection, data, size);
}
