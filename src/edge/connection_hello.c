/* What comes before the handshake: a proxy's header, the ClientHello, and what follows from the
 * name in it: which upstream, which certificate. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/string.h"
#include "edge/connection_internal.h"

static uint32_t route(const struct connection *connection)
{
    const struct conf_listener *conf = connection_conf(connection);
    const char *name = connection->server_name;
    const char *dot = strchr(name, '.');

    for (size_t i = 0; i < conf->route_count; i++) {
        if (strcmp(conf->routes[i].name, name) == 0)
            return conf->routes[i].upstream;
    }
    for (size_t i = 0; dot != NULL && i < conf->route_count; i++) {
        if (strncmp(conf->routes[i].name, "*.", 2) == 0 &&
            strcmp(conf->routes[i].name + 1, dot) == 0)
            return conf->routes[i].upstream;
    }
    return conf->unknown_name == CONF_UNKNOWN_NAME_REFUSE && conf->route_count != 0
               ? CONF_NONE
               : conf->upstream;
}

bool connection_choose_certificate(struct connection *connection)
{
    struct handshaker *handshaker = connection->handshaker;

    switch (certificates_choose(handshaker->certificates, connection->listener,
                                connection->server_name, &connection->choice)) {
    case CERTIFICATE_FOUND:
        connection->handshake = handshake_new_server(connection->choice.server);
        if (connection->handshake == NULL) {
            connection_refuse(connection, ALERT_INTERNAL_ERROR, "client_hello", "out of memory");
            return false;
        }
        handshake_expect(connection->handshake, &connection->offer);
        connection->stage = STAGE_HANDSHAKE;
        connection_trace(connection, "ClientHello read, certificate chosen");
        return true;
    case CERTIFICATE_ASKED:
        connection->stage = STAGE_CERTIFICATE;
        return false;
    case CERTIFICATE_UNKNOWN:
        worker_count(&handshaker->worker, COUNTER_UNKNOWN_NAME, 1);
        connection_refuse(connection, ALERT_UNRECOGNIZED_NAME, "client_hello",
                          "no certificate for this name");
        return false;
    case CERTIFICATE_UNTRUSTED:
        connection_refuse(connection, ALERT_INTERNAL_ERROR, "client_hello",
                          "clients must show a certificate and client-ca could not be read");
        return false;
    case CERTIFICATE_MISSING:
        connection_refuse(connection, ALERT_INTERNAL_ERROR, "client_hello",
                          "no version of the certificate is loaded");
        return false;
    }
    return false;
}

static void keep_hello(struct connection *connection, size_t size)
{
    connection->hello = malloc(size);
    if (connection->hello != NULL) {
        memcpy(connection->hello, connection->input, size);
        connection->hello_size = size;
    }
}

static bool take_hello(struct connection *connection)
{
    struct client_hello *hello = &connection->handshaker->hello;

    ignore(
        string_copy(connection->server_name, sizeof connection->server_name, hello->server_name));
    resumption_offer(hello, &connection->offer);
    keep_hello(connection, hello->wire_size);
    connection->traced = connection_traced(connection);
    uint32_t upstream = route(connection);
    if (upstream == CONF_NONE) {
        worker_count(&connection->handshaker->worker, COUNTER_UNKNOWN_NAME, 1);
        connection_refuse(connection, ALERT_UNRECOGNIZED_NAME, "client_hello",
                          "no route for this name");
        return false;
    }
    connection->upstream = (uint16_t)upstream;
    if (connection_conf(connection)->mode == CONF_MODE_PASS_THROUGH) {
        connection_pass_through(connection);
        return false;
    }
    return connection_choose_certificate(connection);
}

bool connection_read_hello(struct connection *connection)
{
    if (connection->input_size == 0)
        return false;
    switch (client_hello_parse(connection->input, connection->input_size,
                               connection_conf(connection)->client_hello_max,
                               &connection->handshaker->hello)) {
    case CLIENT_HELLO_OK:
        return take_hello(connection);
    case CLIENT_HELLO_INCOMPLETE:
        return false;
    case CLIENT_HELLO_HTTP:
        connection_refuse_http(connection);
        return false;
    case CLIENT_HELLO_NOT_TLS:
        worker_count(&connection->handshaker->worker, COUNTER_NOT_TLS, 1);
        connection_refuse(connection, ALERT_UNEXPECTED_MESSAGE, "client_hello",
                          "the client does not speak TLS");
        return false;
    case CLIENT_HELLO_BAD:
        connection_refuse(connection, ALERT_DECODE_ERROR, "client_hello", "malformed ClientHello");
        return false;
    case CLIENT_HELLO_TOO_LARGE:
        connection_refuse(connection, ALERT_ILLEGAL_PARAMETER, "client_hello",
                          "the ClientHello exceeds client-hello-max");
        return false;
    }
    return false;
}

bool connection_read_proxy_header(struct connection *connection)
{
    struct proxy_protocol_header header;
    size_t consumed = 0;

    switch (proxy_protocol_parse(connection->input, connection->input_size, &header, &consumed)) {
    case PROXY_PROTOCOL_INCOMPLETE:
        return false;
    case PROXY_PROTOCOL_BAD:
        connection_report_failure(connection, "proxy_header",
                                  "a PROXY header was expected from this network", ALERT_NONE,
                                  ALERT_NONE);
        connection_retire(connection);
        return false;
    case PROXY_PROTOCOL_OK:
        break;
    }
    connection_consume(connection, consumed);
    if (!header.local && header.source.size != 0) {
        address_bytes(connection->client, &header.source);
        connection->client_port = address_port(&header.source);
        connection->local = header.destination;
    }
    if (!acceptor_admits(connection->handshaker, connection->listener, connection->client)) {
        connection_retire(connection);
        return false;
    }
    connection->stage = STAGE_HELLO;
    timer_set(connection->handshaker->worker.loop, &connection->timer,
              connection->handshaker->now_ns +
                  connection_conf(connection)->handshake_timeout * NS_PER_MS);
    return true;
}
