/* Clients of some names are asked who they are as soon as their handshake is over.
 *
 * Until they have said it they are no more than clients in a handshake: no relay has them, no
 * server hears of them. What they send meanwhile waits here, in the clear and up to a limit, and
 * goes on when they are known; so the server is not told who they are (preamble.h): what came
 * before is not to be taken for the word of whoever it turned out to be. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/secret.h"
#include "edge/attached.h"
#include "edge/connection_internal.h"

#define STAGE        "client_authentication"
#define REFUSALS_MAX 8 /* renegotiations that it begins by itself */

bool connection_must_ask(const struct connection *connection, const struct handshake_facts *facts)
{
    return facts->client_identity == NULL &&
           conf_authenticates_at_once(connection_conf(connection), connection->server_name);
}

static bool keeps(const struct connection *connection)
{
    return connection_conf(connection)->unauthenticated == CONF_UNAUTHENTICATED_KEEP;
}

static bool is_tls13(const struct connection *connection)
{
    struct handshake_facts facts;

    handshake_facts(connection->handshake, &facts);
    return facts.version == TLS_VERSION_1_3;
}

/* ---- outcome ---- */

static void count(struct connection *connection, enum counter counter)
{
    worker_count(&connection->handshaker->worker, counter, 1);
}

static void close_with(struct connection *connection, enum alert alert, const char *detail)
{
    struct handshake_failure failure;

    if (handshake_go_alone(connection->handshake))
        handshake_alert(connection->handshake, alert);
    handshake_failure(connection->handshake, &failure);
    count(connection, COUNTER_AUTHENTICATIONS_FAILED);
    connection_end(connection, STAGE, detail, &failure);
}

/* It does not say who it is. */
static void unknown(struct connection *connection, const char *detail)
{
    if (keeps(connection)) {
        count(connection, COUNTER_AUTHENTICATIONS_FAILED);
        connection_report_unknown(connection, detail);
        connection_settle(connection);
        return;
    }
    close_with(connection,
               is_tls13(connection) ? ALERT_CERTIFICATE_REQUIRED : ALERT_HANDSHAKE_FAILURE, detail);
}

static void known(struct connection *connection)
{
    struct handshake_facts facts;

    handshake_facts(connection->handshake, &facts);
    if (!connection_still_accepted(connection, facts.client_identity)) {
        count(connection, COUNTER_AUTHENTICATIONS_FAILED);
        return;
    }
    count(connection, COUNTER_AUTHENTICATIONS);
    connection_report_known(connection, facts.client_identity->subject);
    connection_settle(connection);
}

static void broke(struct connection *connection)
{
    struct handshake_failure failure;
    bool closed = handshake_close_received(connection->handshake);

    handshake_failure(connection->handshake, &failure);
    count(connection, COUNTER_AUTHENTICATIONS_FAILED);
    connection_end(connection, STAGE,
                   closed                                 ? "the client ended the session instead"
                   : failure.alert_received != ALERT_NONE ? "the client refused by an alert"
                                                          : failure.reason,
                   &failure);
}

void connection_left_unanswered(struct connection *connection, const char *detail)
{
    count(connection, COUNTER_AUTHENTICATIONS_FAILED);
    connection_report_failure(connection, STAGE, detail, ALERT_NONE, ALERT_NONE);
    connection_retire(connection);
}

void connection_unanswered(struct connection *connection)
{
    if (handshake_authentication(connection->handshake) == AUTHENTICATION_RUNNING ||
        handshake_renegotiation(connection->handshake) == RENEGOTIATION_RUNNING)
        close_with(connection, ALERT_CERTIFICATE_REQUIRED,
                   "the client did not finish its answer in time");
    else
        unknown(connection, "the client did not answer in time");
}

/* ---- asking ---- */

/* The client begins a renegotiation of its own. */
static bool refuses(void *context)
{
    (void)context;
    return false;
}

static bool can_be_asked(const struct connection *connection)
{
    return handshake_can_authenticate(connection->handshake) &&
           (is_tls13(connection) ||
            renegotiation_possible(connection_conf(connection), connection->handshake));
}

void connection_ask(struct connection *connection)
{
    struct handshaker *handshaker = connection->handshaker;
    const struct conf_listener *conf = connection_conf(connection);
    const struct handshake_carrying how = {.crypto = handshaker->crypto,
                                           .client_hello_max = conf->client_hello_max,
                                           .allows = refuses};
    struct handshake_asking asking;
    bool trusted = certificates_asking(handshaker->certificates, connection->listener, &asking);
    bool able = can_be_asked(connection);

    connection->asked = true;
    if (!able && keeps(connection)) {
        unknown(connection, "the client cannot be asked");
        return;
    }
    handshake_carry(connection->handshake, &how);
    connection->carried = true;
    if (!able || !trusted || !handshake_authenticate(connection->handshake, &asking)) {
        close_with(connection,
                   is_tls13(connection) ? ALERT_CERTIFICATE_REQUIRED : ALERT_HANDSHAKE_FAILURE,
                   !able      ? "the client cannot be asked"
                   : !trusted ? "client-ca could not be read"
                              : "OpenSSL could not ask");
        return;
    }
    buffer_init(&connection->early, ATTACHED_UP_MAX);
    connection->stage = STAGE_AUTHENTICATION;
    connection_trace(connection, "asked for its certificate");
    timer_set(handshaker->worker.loop, &connection->timer,
              handshaker->now_ns + conf->authenticate_timeout * NS_PER_MS);
    connection_read_answer(connection);
}

/* ---- the answer ---- */

/* What OpenSSL would let a client do without end. */
static bool is_flood(struct connection *connection)
{
    struct handshake_renegotiations counts;

    handshake_renegotiations(connection->handshake, &counts);
    return counts.refused > REFUSALS_MAX ||
           handshake_key_updates(connection->handshake) > LEG_UPDATE_BURST;
}

/* False when the connection has gone on, or is gone. */
static bool look(struct connection *connection)
{
    switch (handshake_renegotiation(connection->handshake)) {
    case RENEGOTIATION_NONE:
    case RENEGOTIATION_ASKED:
    case RENEGOTIATION_RUNNING:
        break;
    case RENEGOTIATION_DECLINED:
        if (handshake_go_alone(connection->handshake))
            unknown(connection, "the client declined");
        else
            close_with(connection, ALERT_HANDSHAKE_FAILURE, "the client declined");
        return false;
    case RENEGOTIATION_TOO_LARGE:
    case RENEGOTIATION_CHANGED:
        close_with(connection, ALERT_ILLEGAL_PARAMETER,
                   "its ClientHello exceeds client-hello-max, or it chose another protocol");
        return false;
    }
    switch (handshake_authentication(connection->handshake)) {
    case AUTHENTICATION_NONE:
    case AUTHENTICATION_ASKED:
    case AUTHENTICATION_RUNNING:
        break;
    case AUTHENTICATION_DONE:
        known(connection);
        return false;
    case AUTHENTICATION_EMPTY:
        unknown(connection, "the client has sent no certificate");
        return false;
    }
    return true;
}

void connection_read_answer(struct connection *connection)
{
    static uint8_t plain[RECORD_PLAINTEXT_MAX];
    size_t consumed;
    long got;

    ignore((long)handshake_feed(connection->handshake, connection->input, connection->input_size,
                                &consumed));
    connection_consume(connection, consumed);
    do {
        got = handshake_read(connection->handshake, plain, sizeof plain);
        if (got > 0 && !buffer_append(&connection->early, plain, (size_t)got)) {
            close_with(connection, ALERT_INTERNAL_ERROR, "out of memory");
            break;
        }
        if (!look(connection)) /* what came right behind the answer is kept, too */
            break;
        if (connection->early.size > ATTACHED_EARLY_MAX || is_flood(connection)) {
            close_with(connection, ALERT_UNEXPECTED_MESSAGE,
                       "the client sends too much else instead of its certificate");
            break;
        }
    } while (got > 0);
    secret_wipe(plain, sizeof plain);
    if (connection->stage != STAGE_AUTHENTICATION)
        return;
    if (got < 0)
        broke(connection);
    else
        ignore(connection_flush(connection));
}
