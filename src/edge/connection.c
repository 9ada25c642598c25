/* One client connection in a handshaker, from accept to hand-over:
 *
 *   proxy → hello → (certificate) → handshake → hand-over            or, at any point, → goodbye
 * (last bytes, then close)
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/secret.h"
#include "base/string.h"
#include "edge/attached.h"
#include "edge/connection_internal.h"
#include "edge/preamble.h"

#define INPUT_FIRST   4096u
#define GOODBYE_NS    NS_PER_S /* how long a refused client may take to read why */
#define GOODBYE_READS 8

/* ---- end ---- */

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

/* Takes the connection out of service; its memory goes after the batch. `fd` may have been handed
 * over (-1). */
static void retire(struct connection *connection)
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

/* Sends what is to be sent last; then waits for the client's end, so that the bytes are not lost to
 * a reset. */
static void run_goodbye(struct connection *connection)
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
    retire(connection);
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
    run_goodbye(connection);
}

/* Before any keys: a fatal alert in the clear. */
static void refuse(struct connection *connection, enum alert alert, const char *stage,
                   const char *detail)
{
    const uint8_t record[] = {RECORD_ALERT, 3, 3, 0, 2, 2, (uint8_t)alert};

    connection_report_failure(connection, stage, detail, (uint8_t)alert, ALERT_NONE);
    goodbye(connection, record, sizeof record);
}

static void refuse_http(struct connection *connection)
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

static void on_timeout(void *context)
{
    struct connection *connection = context;
    static const char *const stages[] = {[STAGE_PROXY] = "proxy_header",
                                         [STAGE_HELLO] = "client_hello",
                                         [STAGE_CERTIFICATE] = "certificate",
                                         [STAGE_HANDSHAKE] = "handshake",
                                         [STAGE_AUTHENTICATION] = "",
                                         [STAGE_GOODBYE] = "",
                                         [STAGE_CLOSED] = ""};

    connection->handshaker->now_ns = loop_now(connection->handshaker->worker.loop);
    if (connection->stage == STAGE_AUTHENTICATION) {
        connection_unanswered(connection);
        return;
    }
    if (connection->stage != STAGE_GOODBYE && connection->stage != STAGE_CLOSED) {
        worker_count(&connection->handshaker->worker, COUNTER_HANDSHAKE_TIMEOUTS, 1);
        connection_report_failure(connection, stages[connection->stage], "time-out", ALERT_NONE,
                                  ALERT_NONE);
    }
    retire(connection);
}

/* ---- hand-over ---- */

static void local_address(struct connection *connection, struct address *ret_address)
{
    *ret_address = connection->local;
    if (ret_address->size == 0) {
        ret_address->size = sizeof ret_address->un;
        if (getsockname(connection->fd, &ret_address->any, &ret_address->size) != 0)
            ret_address->size = 0;
    }
}

/* The PROXY header for the upstream, as far as it wants one. */
static size_t build_preamble(struct connection *connection, uint8_t *output)
{
    const struct conf *conf = connection->handshaker->worker.conf;
    struct address local;

    local_address(connection, &local);
    return preamble_build(&(struct preamble){.upstream = &conf->upstreams[connection->upstream],
                                             .client = connection->client,
                                             .client_port = connection->client_port,
                                             .local = &local,
                                             .server_name = connection->server_name,
                                             .handshake = connection->handshake,
                                             .asked = connection->asked},
                          output);
}

/* All that the offer says of the connection but for its legs. */
static void fill_offer(struct connection *connection, struct session_offer *offer,
                       uint8_t *preamble)
{
    const struct worker_setup *setup = &connection->handshaker->worker.setup;

    offer->listener = connection->listener;
    offer->upstream = connection->upstream;
    offer->generation.config = setup->config_generation;
    offer->generation.binary = setup->binary_generation;
    offer->accepted_ns = connection->accepted_ns;
    memcpy(offer->client_address, connection->client, sizeof offer->client_address);
    offer->client_port = connection->client_port;
    offer->flags |= connection->traced ? SLOT_TRACED : 0;
    ignore(string_copy(offer->server_name, sizeof offer->server_name, connection->server_name));
    offer->preamble_size = (uint32_t)build_preamble(connection, preamble);
}

/* `client`: who the client is by his certificate; NULL: he has shown none. */
static void hand_over(struct connection *connection, struct session_offer *offer,
                      const struct client_identity *client)
{
    struct handshaker *handshaker = connection->handshaker;
    uint8_t preamble[PROXY_PROTOCOL_V2_MAX];

    fill_offer(connection, offer, preamble);
    offer->surplus_size = (uint32_t)connection->input_size;
    connection_trace(connection, "handed to a relay");
    int fd = connection->fd;
    loop_unwatch(handshaker->worker.loop, fd);
    connection->fd = -1;
    dispatch_session(handshaker, offer, client, preamble, connection->input, fd);
    secret_wipe(&offer->keys, sizeof offer->keys);
    retire(connection);
}

/* The session stays with OpenSSL; the relay gets the other end of a pair of sockets. */
static void attach(struct connection *connection, struct session_offer *offer,
                   const struct handshake_facts *facts, enum attached_reason reason)
{
    struct attached_new what = {.handshaker = connection->handshaker,
                                .handshake = connection->handshake,
                                .fd = connection->fd,
                                .listener = connection->listener,
                                .reason = reason,
                                .surplus = connection->input,
                                .surplus_size = connection->input_size,
                                .early = connection->early.data,
                                .early_size = connection->early.size,
                                .client_port = connection->client_port};
    uint8_t preamble[PROXY_PROTOCOL_V2_MAX];

    memcpy(what.client, connection->client, sizeof what.client);
    fill_offer(connection, offer, preamble);
    loop_unwatch(connection->handshaker->worker.loop, connection->fd);
    int fd = attached_begin(&what, offer);
    if (fd < 0) {
        connection_report_failure(connection, "established",
                                  "no room for a session that stays with OpenSSL", ALERT_NONE,
                                  ALERT_NONE);
    } else {
        connection_trace(connection, "stays with OpenSSL");
        connection->fd = -1;
        connection->handshake = NULL;
        dispatch_session(connection->handshaker, offer, facts->client_identity, preamble, NULL, fd);
    }
    retire(connection);
}

static void describe(const struct connection *connection, const struct handshake_facts *facts,
                     struct session_offer *offer)
{
    offer->certificate = connection->choice.certificate;
    offer->generation.certificate_version = connection->choice.versions[facts->key_type];
    if (connection_conf(connection)->tickets != 0) /* else it has nothing that a ticket key opens */
        offer->generation.ticket_key = __atomic_load_n(
            &connection->handshaker->worker.board->ticket_key_generation, __ATOMIC_RELAXED);
    if (facts->client_identity != NULL)
        offer->generation.trust = trust_set_generation(
            certificates_trust_of(connection->handshaker->certificates, connection->listener));
    offer->key_type = (uint8_t)facts->key_type;
    offer->flags = (uint8_t)((facts->resumed ? SLOT_RESUMED : 0) |
                             (facts->hello_retry ? SLOT_HELLO_RETRY : 0));
    if (facts->version == TLS_VERSION_1_3 &&
        unable_clients_have(connection->handshaker, connection->hello, connection->hello_size))
        offer->flags |= SLOT_KEY_UPDATE_UNABLE;
    (void)string_printable(offer->alpn, sizeof offer->alpn, facts->alpn, facts->alpn_size);
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
    retire(connection);
    return false;
}

static void handshake_done(struct connection *connection)
{
    struct handshaker *handshaker = connection->handshaker;
    struct handshake_facts facts;

    if (board_is_dial(handshaker->worker.board, connection->client, connection->client_port)) {
        retire(connection); /* control has seen what it wanted */
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

void connection_settle(struct connection *connection)
{
    struct handshaker *handshaker = connection->handshaker;
    const struct conf_listener *conf = connection_conf(connection);
    struct session_offer offer = {0};
    struct handshake_facts facts;
    struct error error = {0};
    enum attached_reason reason =
        connection->carried ? ATTACHED_AUTHENTICATION : ATTACHED_CROSS_CHECK;

    handshake_facts(connection->handshake, &facts);
    describe(connection, &facts, &offer);
    if (attached_wanted(conf, connection->handshake, &facts, &reason) || connection->carried) {
        attach(connection, &offer, &facts, reason);
    } else if (handshake_detach(connection->handshake, handshaker->crypto, &offer.leg, &offer.keys,
                                &error) == 0) {
        hand_over(connection, &offer, facts.client_identity);
    } else {
        connection_report_mismatch(connection, &facts, &error);
        if (conf->detach == CONF_DETACH_PREFER)
            attach(connection, &offer, &facts, ATTACHED_CROSS_CHECK);
        else
            retire(connection);
    }
}

static void pass_through(struct connection *connection)
{
    struct session_offer offer = {.certificate = CONF_NONE, .flags = SLOT_PASS_THROUGH};

    hand_over(connection, &offer, NULL);
}

/* ---- stages ---- */

void connection_consume(struct connection *connection, size_t size)
{
    connection->input_size -= size;
    memmove(connection->input, connection->input + size, connection->input_size);
}

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
                retire(connection);
            }
            return false;
        }
        handshake_sent(connection->handshake, (size_t)sent);
    }
    return true;
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

static void handshake_failed(struct connection *connection)
{
    struct handshake_failure failure;

    handshake_failure(connection->handshake, &failure);
    connection_end(connection, failure.stage, failure.reason, &failure);
}

static bool run_handshake(struct connection *connection)
{
    size_t consumed = 0;

    enum handshake_status status =
        handshake_feed(connection->handshake, connection->input, connection->input_size, &consumed);
    connection_consume(connection, consumed);
    switch (status) {
    case HANDSHAKE_WANT_READ:
        ignore(connection_flush(connection));
        return false;
    case HANDSHAKE_DONE:
        if (connection_flush(connection))
            handshake_done(connection);
        return false;
    case HANDSHAKE_FAILED:
        handshake_failed(connection);
        return false;
    }
    return false;
}

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

/* True when there is more to do at once. */
static bool choose_certificate(struct connection *connection)
{
    struct handshaker *handshaker = connection->handshaker;

    switch (certificates_choose(handshaker->certificates, connection->listener,
                                connection->server_name, &connection->choice)) {
    case CERTIFICATE_FOUND:
        connection->handshake = handshake_new_server(connection->choice.server);
        if (connection->handshake == NULL) {
            refuse(connection, ALERT_INTERNAL_ERROR, "client_hello", "out of memory");
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
        refuse(connection, ALERT_UNRECOGNIZED_NAME, "client_hello", "no certificate for this name");
        return false;
    case CERTIFICATE_UNTRUSTED:
        refuse(connection, ALERT_INTERNAL_ERROR, "client_hello",
               "clients must show a certificate and client-ca could not be read");
        return false;
    case CERTIFICATE_MISSING:
        refuse(connection, ALERT_INTERNAL_ERROR, "client_hello",
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
        refuse(connection, ALERT_UNRECOGNIZED_NAME, "client_hello", "no route for this name");
        return false;
    }
    connection->upstream = (uint16_t)upstream;
    if (connection_conf(connection)->mode == CONF_MODE_PASS_THROUGH) {
        pass_through(connection);
        return false;
    }
    return choose_certificate(connection);
}

static bool read_hello(struct connection *connection)
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
        refuse_http(connection);
        return false;
    case CLIENT_HELLO_NOT_TLS:
        worker_count(&connection->handshaker->worker, COUNTER_NOT_TLS, 1);
        refuse(connection, ALERT_UNEXPECTED_MESSAGE, "client_hello",
               "the client does not speak TLS");
        return false;
    case CLIENT_HELLO_BAD:
        refuse(connection, ALERT_DECODE_ERROR, "client_hello", "malformed ClientHello");
        return false;
    case CLIENT_HELLO_TOO_LARGE:
        refuse(connection, ALERT_ILLEGAL_PARAMETER, "client_hello",
               "the ClientHello exceeds client-hello-max");
        return false;
    }
    return false;
}

static bool read_proxy_header(struct connection *connection)
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
        retire(connection);
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
        retire(connection);
        return false;
    }
    connection->stage = STAGE_HELLO;
    timer_set(connection->handshaker->worker.loop, &connection->timer,
              connection->handshaker->now_ns +
                  connection_conf(connection)->handshake_timeout * NS_PER_MS);
    return true;
}

/* Runs the current stage on what has been read; true when the next stage can go on at once. */
static bool advance(struct connection *connection)
{
    switch (connection->stage) {
    case STAGE_PROXY:
        return read_proxy_header(connection);
    case STAGE_HELLO:
        return read_hello(connection);
    case STAGE_HANDSHAKE:
        return run_handshake(connection);
    case STAGE_AUTHENTICATION:
        connection_read_answer(connection);
        return false;
    case STAGE_CERTIFICATE:
    case STAGE_GOODBYE:
    case STAGE_CLOSED:
        return false;
    }
    return false;
}

static bool grow_input(struct connection *connection)
{
    size_t capacity =
        connection->input_capacity == 0 ? INPUT_FIRST : connection->input_capacity * 2;
    uint8_t *grown;

    if (capacity > connection->input_maximum)
        capacity = connection->input_maximum;
    if (capacity <= connection->input_capacity ||
        (grown = realloc(connection->input, capacity)) == NULL)
        return false;
    connection->input = grown;
    connection->input_capacity = capacity;
    return true;
}

static void run(struct connection *connection)
{
    while (connection->stage != STAGE_CLOSED && connection->stage != STAGE_GOODBYE &&
           connection->stage != STAGE_CERTIFICATE) {
        if (connection->input_size == connection->input_capacity && !grow_input(connection)) {
            refuse(connection, ALERT_ILLEGAL_PARAMETER, "client_hello",
                   "too many bytes before the end of the handshake");
            return;
        }
        size_t room = connection->input_capacity - connection->input_size;
        ssize_t got = recv(connection->fd, connection->input + connection->input_size, room, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            if (connection->stage == STAGE_HELLO && connection->input_size == 0 && got == 0) {
                retire(connection); /* came and went: a port check, not a failed handshake */
                return;
            }
            connection_report_failure(
                connection,
                connection->stage == STAGE_HANDSHAKE        ? "handshake"
                : connection->stage == STAGE_AUTHENTICATION ? "client_authentication"
                                                            : "client_hello",
                got == 0 ? "the client closed the connection" : "the connection broke", ALERT_NONE,
                ALERT_NONE);
            retire(connection);
            return;
        }
        connection->input_size += (size_t)got;
        while (advance(connection))
            ;
        if ((size_t)got < room && !connection->hung_up)
            return; /* edge-triggered: more will be announced */
    }
}

void connection_event(struct handshaker *handshaker, struct connection *connection, unsigned events)
{
    handshaker->now_ns = loop_now(handshaker->worker.loop);
    if (connection->stage == STAGE_CLOSED)
        return;
    connection->hung_up |= (events & (LOOP_HANGUP | LOOP_ERROR)) != 0;
    if (connection->stage == STAGE_GOODBYE) {
        run_goodbye(connection);
        return;
    }
    if ((events & LOOP_WRITE) != 0 && connection->stage == STAGE_AUTHENTICATION)
        connection_read_answer(connection);
    if ((events & LOOP_WRITE) != 0 && connection->stage == STAGE_HANDSHAKE &&
        connection->handshake != NULL) {
        const uint8_t *data;
        if (handshake_output(connection->handshake, &data) != 0 && !run_handshake(connection) &&
            connection->stage == STAGE_CLOSED)
            return;
    }
    run(connection);
}

/* ---- begin ---- */

void connection_begin(struct handshaker *handshaker, unsigned listener, int fd,
                      const struct address *client)
{
    const struct conf_listener *conf = &handshaker->worker.conf->listeners[listener];
    struct connection *connection = calloc(1, sizeof *connection);

    if (connection == NULL) {
        ignore(close(fd));
        return;
    }
    connection->handshaker = handshaker;
    connection->fd = fd;
    connection->listener = (uint16_t)listener;
    connection->accepted_ns = handshaker->now_ns;
    connection->input_maximum = conf->client_hello_max + RECORD_WIRE_MAX_TLS12;
    address_bytes(connection->client, client);
    connection->client_port = address_port(client);
    bool behind_proxy =
        network_list_contains(conf->proxy_from.items, conf->proxy_from.count, connection->client);
    connection->stage = behind_proxy ? STAGE_PROXY : STAGE_HELLO;
    connection->next = handshaker->connections;
    if (connection->next != NULL)
        connection->next->previous = connection;
    handshaker->connections = connection;
    handshaker->under_way++;
    handshaker->worker.self->sessions = handshaker->under_way;
    handshaker->worker.board->listeners[listener].handshakes[handshaker->worker.setup.index]++;
    timer_init(&connection->timer, on_timeout, connection);
    timer_set(handshaker->worker.loop, &connection->timer,
              handshaker->now_ns +
                  (behind_proxy ? conf->proxy_timeout : conf->handshake_timeout) * NS_PER_MS);
    if (!loop_watch(handshaker->worker.loop, fd, LOOP_READ | LOOP_WRITE | LOOP_HANGUP | LOOP_EDGE,
                    handshaker->connection_handler, (uint64_t)(uintptr_t)connection)) {
        retire(connection);
        return;
    }
    run(connection);
}

/* `name` may be a folder's wildcard. */
static bool answers(const char *name, const char *server_name)
{
    const char *dot = strchr(server_name, '.');

    return strcmp(name, server_name) == 0 ||
           (strncmp(name, "*.", 2) == 0 && dot != NULL && strcmp(name + 1, dot) == 0);
}

void connections_resume(struct handshaker *handshaker, const char *name)
{
    struct connection *next;

    handshaker->now_ns = loop_now(handshaker->worker.loop);
    for (struct connection *it = handshaker->connections; it != NULL; it = next) {
        next = it->next;
        if (it->stage != STAGE_CERTIFICATE || (name != NULL && !answers(name, it->server_name)))
            continue;
        if (choose_certificate(it)) {
            while (advance(it))
                ;
            run(it);
        }
    }
}

void connections_retire(struct handshaker *handshaker)
{
    struct connection *next;

    for (struct connection *it = handshaker->connections; it != NULL; it = next) {
        next = it->next;
        if (it->stage == STAGE_CERTIFICATE)
            refuse(it, ALERT_INTERNAL_ERROR, "certificate",
                   "the process that looked for its certificate is being replaced");
    }
}

void connections_give_up(struct handshaker *handshaker)
{
    while (handshaker->connections != NULL)
        retire(handshaker->connections);
}
