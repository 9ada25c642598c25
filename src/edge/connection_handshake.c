/* The stage in which OpenSSL has the connection: bytes to and fro, and what follows from the
 * outcome. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "edge/connection_internal.h"

bool connection_flush(struct connection *connection)
{
    const uint8_t *data;
    size_t size;

    while ((size = handshake_output(connection->handshake, &data)) != 0) {
        ssize_t sent = send(connection->fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            if (errno != EAGAIN) {
                connection_report_failure(connection, "handshake", "the connection broke",
                                          ALERT_NONE, ALERT_NONE);
                connection_retire(connection);
            }
            return false;
        }
        handshake_sent(connection->handshake, (size_t)sent);
    }
    return true;
}

bool connection_still_accepted(struct connection *connection, const struct client_identity *client)
{
    const struct trust_set *now =
        certificates_trust_of(connection->handshaker->certificates, connection->listener);
    enum trust_verdict verdict = TRUST_UNKNOWN;
    char text[64];

    if (now != NULL && now == tls_server_trust(connection->choice.server))
        return true;
    if (now != NULL)
        verdict = trust_set_judge(now, client, (int64_t)(clock_wall_ns() / NS_PER_S));
    if (verdict == TRUST_ACCEPTED)
        return true;
    ignore(snprintf(text, sizeof text, "the client's certificate is %s by now",
                    trust_verdict_name(verdict)));
    connection_report_failure(connection, "certificate", text, ALERT_NONE, ALERT_NONE);
    connection_retire(connection);
    return false;
}

static void handshake_done(struct connection *connection)
{
    struct handshake_facts facts;

    if (connection->dial) {
        connection_retire(connection); /* control has seen what it wanted */
        return;
    }
    handshake_facts(connection->handshake, &facts);
    if (facts.client_identity != NULL &&
        !connection_still_accepted(connection, facts.client_identity))
        return;
    connection_report_done(connection, &facts);
    if (connection_must_ask(connection, &facts))
        connection_ask(connection);
    else
        connection_settle(connection);
}

static void handshake_failed(struct connection *connection)
{
    struct handshake_failure failure;

    handshake_failure(connection->handshake, &failure);
    connection_end(connection, failure.stage, failure.reason, &failure);
}

void connection_run_handshake(struct connection *connection)
{
    size_t consumed = 0;
    enum handshake_status status =
        handshake_feed(connection->handshake, connection->input, connection->input_size, &consumed);

    connection_consume(connection, consumed);
    switch (status) {
    case HANDSHAKE_WANT_READ:
        ignore(connection_flush(connection));
        break;
    case HANDSHAKE_DONE:
        if (connection_flush(connection))
            handshake_done(connection);
        break;
    case HANDSHAKE_FAILED:
        handshake_failed(connection);
        break;
    }
}
