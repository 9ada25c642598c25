/* What is told and counted of a connection. */
#include <string.h>

#include "base/clock.h"
#include "base/string.h"
#include "edge/connection_internal.h"

bool connection_traced(const struct connection *connection)
{
    const struct board_trace *trace = &connection->handshaker->worker.board->trace;

    if (__atomic_load_n(&trace->generation, __ATOMIC_ACQUIRE) == 0)
        return false;
    if (trace->by_client && memcmp(trace->client, connection->client, sizeof trace->client) != 0)
        return false;
    return trace->server_name[0] == 0 ||
           strncmp(trace->server_name, connection->server_name, sizeof trace->server_name) == 0;
}

static struct event *begin_event(struct connection *connection, enum event_type type)
{
    struct handshaker *handshaker = connection->handshaker;
    struct event *event = event_begin(&handshaker->worker.events, type);

    if (event == NULL)
        return NULL;
    event->listener = connection->listener;
    memcpy(event->client, connection->client, sizeof event->client);
    event->client_port = connection->client_port;
    event->duration_us = (handshaker->now_ns - connection->accepted_ns) / NS_PER_US;
    event->flags = connection->traced ? EVENT_TRACED : 0;
    ignore(string_copy(event->server_name, sizeof event->server_name, connection->server_name));
    return event;
}

static void add_fingerprint(struct connection *connection, struct event *event)
{
    struct client_hello *hello = &connection->handshaker->hello;

    if (connection->hello != NULL &&
        client_hello_parse(connection->hello, connection->hello_size, connection->hello_size,
                           hello) == CLIENT_HELLO_OK)
        ignore(client_hello_ja4(hello, event->fingerprint));
}

void connection_trace(struct connection *connection, const char *text)
{
    struct event *event;

    if (!connection->traced || (event = begin_event(connection, EVENT_TRACE)) == NULL)
        return;
    ignore(string_copy(event->detail, sizeof event->detail, text));
    event_end(&connection->handshaker->worker.events, EVENT_TRACE);
}

void connection_report_failure(struct connection *connection, const char *stage, const char *detail,
                               uint8_t alert_sent, uint8_t alert_received)
{
    struct handshaker *handshaker = connection->handshaker;
    struct event *event;

    if (connection->dial)
        return; /* control reports what its own dials find */
    worker_count(&handshaker->worker, COUNTER_HANDSHAKE_FAILURES, 1);
    if ((event = begin_event(connection, EVENT_HANDSHAKE_FAILED)) == NULL)
        return;
    event->alert_sent = alert_sent;
    event->alert_received = alert_received;
    ignore(string_copy(event->stage, sizeof event->stage, stage));
    ignore(string_copy(event->detail, sizeof event->detail, detail));
    add_fingerprint(connection, event);
    event_end(&handshaker->worker.events, EVENT_HANDSHAKE_FAILED);
}

void connection_report_done(struct connection *connection, const struct handshake_facts *facts)
{
    struct handshaker *handshaker = connection->handshaker;
    struct worker *worker = &handshaker->worker;
    uint64_t duration_us = (handshaker->now_ns - connection->accepted_ns) / NS_PER_US;
    const struct conf *conf = worker->conf;

    worker_count(worker, COUNTER_HANDSHAKES, 1);
    worker_count(worker, COUNTER_HANDSHAKES_RESUMED, facts->resumed);
    worker_count(worker, COUNTER_RESUMPTIONS_OFFERED, facts->resumption_offered);
    if (facts->miss != RESUMPTION_MISS_NONE)
        board_add(&worker->self->resumption_misses[facts->miss], 1);
    worker_count(worker, COUNTER_HANDSHAKES_CLIENT, facts->client_identity != NULL);
    worker_count(worker, COUNTER_HANDSHAKES_TLS12, facts->version == TLS_VERSION_1_2);
    worker_count(worker, COUNTER_HANDSHAKES_RSA,
                 !facts->resumed && facts->key_type == KEY_TYPE_RSA);
    board_observe(&worker->self->histograms[facts->resumed ? HISTOGRAM_HANDSHAKE_RESUMED
                                                           : HISTOGRAM_HANDSHAKE],
                  duration_us);
    bool wanted =
        conf->log_handshakes == CONF_LOG_ALL || (conf->log_handshakes == CONF_LOG_SAMPLE &&
                                                 handshaker->log_counter++ % conf->log_sample == 0);
    struct event *event;
    if ((!wanted && !connection->traced) ||
        (event = begin_event(connection, EVENT_HANDSHAKE_DONE)) == NULL)
        return;
    event->version = facts->version;
    event->suite = facts->suite;
    event->resumption_miss = (uint8_t)facts->miss;
    event->certificate = connection->choice.certificate;
    event->certificate_version = connection->choice.versions[facts->key_type];
    event->flags |= (uint8_t)((facts->resumed ? EVENT_RESUMED : 0) |
                              (facts->hello_retry ? EVENT_HELLO_RETRY : 0) |
                              (facts->key_type == KEY_TYPE_RSA ? EVENT_KEY_RSA : 0));
    ignore(
        string_copy(event->group, sizeof event->group, facts->group == NULL ? "" : facts->group));
    (void)string_printable(event->alpn, sizeof event->alpn, facts->alpn, facts->alpn_size);
    add_fingerprint(connection, event);
    event_end(&worker->events, EVENT_HANDSHAKE_DONE);
}

static void report(struct connection *connection, enum event_type type, const char *detail)
{
    struct event *event = begin_event(connection, type);

    if (event == NULL)
        return;
    ignore(string_copy(event->detail, sizeof event->detail, detail));
    event_end(&connection->handshaker->worker.events, type);
}

void connection_report_known(struct connection *connection, const char *subject)
{
    report(connection, EVENT_CLIENT_AUTHENTICATED, subject);
}

void connection_report_unknown(struct connection *connection, const char *detail)
{
    report(connection, EVENT_AUTHENTICATION_FAILED, detail);
}

void connection_report_mismatch(struct connection *connection, const struct handshake_facts *facts,
                                const struct error *error)
{
    struct worker *worker = &connection->handshaker->worker;
    struct event *event;

    worker_count(worker, COUNTER_DETACH_FAILURES, 1);
    if ((event = begin_event(connection, EVENT_DETACH_FAILED)) == NULL)
        return;
    event->version = facts->version;
    event->suite = facts->suite;
    ignore(string_copy(event->detail, sizeof event->detail, error->message));
    event_end(&worker->events, EVENT_DETACH_FAILED);
}
