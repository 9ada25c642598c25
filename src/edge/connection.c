/* One client connection in a handshaker, from accept to hand-over:
 *
 *   proxy → hello → (certificate) → handshake → hand-over            or, at any point, → goodbye
 * (last bytes, then close)
 *
 * Here is what drives it: its beginning, its bytes, its time, and which stage they go to. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "edge/connection_internal.h"

#define INPUT_FIRST       4096u
#define CONNECTION_EVENTS (LOOP_READ | LOOP_WRITE | LOOP_HANGUP | LOOP_URGENT | LOOP_EDGE)

/* ---- stages ---- */

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
    connection_retire(connection);
}

void connection_consume(struct connection *connection, size_t size)
{
    connection->input_size -= size;
    memmove(connection->input, connection->input + size, connection->input_size);
}

/* Runs the current stage on what has been read; true when the next stage can go on at once. */
static bool advance(struct connection *connection)
{
    switch (connection->stage) {
    case STAGE_PROXY:
        return connection_read_proxy_header(connection);
    case STAGE_HELLO:
        return connection_read_hello(connection);
    case STAGE_HANDSHAKE:
        connection_run_handshake(connection);
        return false;
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

/* The client's stream is over, or broken, before it was handed over. */
static void client_gone(struct connection *connection, bool closed)
{
    const char *detail = closed ? "the client closed the connection" : "the connection broke";

    if (connection->stage == STAGE_AUTHENTICATION) {
        connection_left_unanswered(connection, detail);
        return;
    }
    if (connection->stage == STAGE_HANDSHAKE)
        connection_report_failure(connection, "handshake", detail, ALERT_NONE, ALERT_NONE);
    else if (connection->stage != STAGE_HELLO || connection->input_size != 0 || !closed)
        connection_report_failure(connection, "client_hello", detail, ALERT_NONE, ALERT_NONE);
    connection_retire(connection); /* else it came and went: a port check, no failed handshake */
}

static void run(struct connection *connection)
{
    while (connection->stage != STAGE_CLOSED && connection->stage != STAGE_GOODBYE &&
           connection->stage != STAGE_CERTIFICATE) {
        if (connection->input_size == connection->input_capacity && !grow_input(connection)) {
            connection_refuse(connection, ALERT_ILLEGAL_PARAMETER, "client_hello",
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
            client_gone(connection, got == 0);
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
    connection->hung_up |= (events & (LOOP_HANGUP | LOOP_URGENT | LOOP_ERROR)) != 0;
    if (connection->stage == STAGE_GOODBYE) {
        connection_run_goodbye(connection);
        return;
    }
    if ((events & LOOP_WRITE) != 0 && connection->stage == STAGE_AUTHENTICATION)
        connection_read_answer(connection);
    if ((events & LOOP_WRITE) != 0 && connection->stage == STAGE_HANDSHAKE &&
        connection->handshake != NULL) {
        const uint8_t *data;
        if (handshake_output(connection->handshake, &data) != 0)
            connection_run_handshake(connection);
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
    connection->dial =
        board_is_dial(handshaker->worker.board, connection->client, connection->client_port);
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
    if (!loop_watch(handshaker->worker.loop, fd, CONNECTION_EVENTS, handshaker->connection_handler,
                    (uint64_t)(uintptr_t)connection)) {
        connection_retire(connection);
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
        if (connection_choose_certificate(it)) {
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
            connection_refuse(it, ALERT_INTERNAL_ERROR, "certificate",
                              "the process that looked for its certificate is being replaced");
    }
}

void connections_give_up(struct handshaker *handshaker)
{
    while (handshaker->connections != NULL)
        connection_retire(handshaker->connections);
}
