#include "demo/client_session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "loop/socket.h"

#define SERVER_NAME "localhost"
#define READ_SIZE   32768
#define INPUT_MAX   (128u << 10)
#define ANSWER_NS   (10 * NS_PER_S)
#define PAUSE_NS    (200 * NS_PER_MS)

static void on_socket(void *context, uint64_t tag, unsigned events);
static void on_timer(void *context);

bool client_pool_init(struct client_pool *pool, struct loop *loop, struct tls_client *tls,
                      uint32_t count)
{
    pool->loop = loop;
    pool->tls = tls;
    pool->count = count;
    pool->sessions = calloc(count, sizeof *pool->sessions);
    if (pool->sessions == NULL)
        return false;
    pool->handler = loop_handler(loop, on_socket, pool);
    for (uint32_t i = 0; i < count; i++) {
        struct client_session *session = &pool->sessions[i];
        session->pool = pool;
        session->number = i;
        session->fd = -1;
        buffer_init(&session->input, INPUT_MAX);
        timer_init(&session->timer, on_timer, session);
    }
    return true;
}

static void release(struct client_session *session)
{
    timer_cancel(session->pool->loop, &session->timer);
    if (session->fd >= 0) {
        loop_unwatch(session->pool->loop, session->fd);
        ignore(close(session->fd));
    }
    session->fd = -1;
    session->waiting = false;
    handshake_free(session->handshake);
    session->handshake = NULL;
    buffer_fini(&session->input);
    buffer_init(&session->input, INPUT_MAX);
}

void client_pool_fini(struct client_pool *pool)
{
    for (uint32_t i = 0; pool->sessions != NULL && i < pool->count; i++)
        release(&pool->sessions[i]);
    free(pool->sessions);
}

static void lose(struct client_session *session, const char *why)
{
    bool was_open = session->phase == CLIENT_OPEN;

    release(session);
    session->phase = CLIENT_LOST;
    session->pool->events.lost(session->pool->context, session, was_open, why);
}

/* Sends what stands in the handshake's output; false when the connection broke. */
static bool flush(struct client_session *session)
{
    const uint8_t *data;
    size_t size;

    while ((size = handshake_output(session->handshake, &data)) > 0) {
        ssize_t done = send(session->fd, data, size, MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (done < 0)
            break;
        handshake_sent(session->handshake, (size_t)done);
    }
    unsigned events = LOOP_READ | (size > 0 ? LOOP_WRITE : 0u);
    if (events == session->watched)
        return true;
    session->watched = events;
    return loop_change(session->pool->loop, session->fd, events, session->pool->handler,
                       session->number);
}

/* ---- messages ---- */

/* Message `sequence` of this session: its number in words, then a pattern that is its own. Returns
 * the size. */
static size_t compose(const struct client_session *session, uint64_t sequence,
                      uint8_t message[MESSAGE_MAX])
{
    size_t size = 64 + (size_t)(sequence * 37 + session->number * 11) % (MESSAGE_MAX - 64);
    int head = snprintf((char *)message, MESSAGE_MAX, "session %u message %llu ", session->number,
                        (unsigned long long)sequence);

    for (size_t i = (size_t)head; i < size; i++)
        message[i] = (uint8_t)(i * 7 + sequence * 13 + session->number);
    return size;
}

static void send_message(struct client_session *session)
{
    uint8_t message[MESSAGE_MAX];
    uint64_t now = clock_monotonic_ns();

    session->sequence++;
    session->size = (uint16_t)compose(session, session->sequence, message);
    session->received = 0;
    session->waiting = true;
    session->sent_ns = now;
    timer_set(session->pool->loop, &session->timer, now + ANSWER_NS);
    if (handshake_write(session->handshake, message, session->size) != session->size ||
        !flush(session))
        lose(session, "a message could not be sent");
}

static void on_timer(void *context)
{
    struct client_session *session = context;

    if (session->phase == CLIENT_OPEN && !session->waiting)
        send_message(session);
    else
        lose(session, session->waiting ? "a message did not come back within 10 s"
                                       : "no handshake within 10 s");
}

/* Compares what came back; false when it is not what was sent. */
static bool compare(struct client_session *session, const uint8_t *data, size_t size)
{
    uint8_t message[MESSAGE_MAX];

    if (!session->waiting || size > (size_t)(session->size - session->received))
        return false;
    ignore((long)compose(session, session->sequence, message));
    if (memcmp(message + session->received, data, size) != 0)
        return false;
    session->received = (uint16_t)(session->received + size);
    if (session->received < session->size)
        return true;
    uint64_t now = clock_monotonic_ns();
    session->waiting = false;
    timer_set(session->pool->loop, &session->timer, now + PAUSE_NS);
    session->pool->events.answered(session->pool->context, session, now - session->sent_ns);
    return true;
}

static void read_messages(struct client_session *session)
{
    uint8_t data[MESSAGE_MAX];
    long size;

    while ((size = handshake_read(session->handshake, data, sizeof data)) > 0) {
        if (!compare(session, data, (size_t)size)) {
            lose(session, "a message came back altered");
            return;
        }
    }
    if (size < 0)
        lose(session, "the edge ended the session");
}

/* ---- handshake ---- */

static void opened(struct client_session *session)
{
    session->phase = CLIENT_OPEN;
    timer_cancel(session->pool->loop, &session->timer);
    /* Spread over the pause, so that sessions do not speak in chorus. */
    if (!session->quiet)
        timer_set(session->pool->loop, &session->timer,
                  clock_monotonic_ns() + PAUSE_NS * (session->number % 64 + 1) / 64);
    session->pool->events.opened(session->pool->context, session);
}

/* Feeds what was read. During the handshake a partial record stays in `input`, afterwards OpenSSL
 * takes everything. */
static bool feed(struct client_session *session)
{
    size_t consumed;

    do {
        bool was_open = session->phase == CLIENT_OPEN;
        enum handshake_status status =
            handshake_feed(session->handshake, session->input.data, session->input.size, &consumed);
        buffer_consume(&session->input, consumed);
        if (status == HANDSHAKE_FAILED)
            return false;
        if (!flush(session))
            return false;
        if (status == HANDSHAKE_DONE && !was_open)
            opened(session);
    } while (consumed > 0 && session->input.size > 0 && session->handshake != NULL);
    return true;
}

static void take(struct client_session *session)
{
    uint8_t *room = buffer_reserve(&session->input, READ_SIZE);
    ssize_t size = room == NULL ? -1 : recv(session->fd, room, READ_SIZE, 0);

    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size <= 0) {
        lose(session, session->phase == CLIENT_OPEN ? "the connection broke"
                                                    : "the connection broke in the handshake");
        return;
    }
    session->input.size += (size_t)size;
    if (!feed(session)) {
        lose(session, "a handshake failed");
        return;
    }
    if (session->phase == CLIENT_OPEN)
        read_messages(session);
}

static void on_socket(void *context, uint64_t tag, unsigned events)
{
    struct client_pool *pool = context;
    struct client_session *session = &pool->sessions[tag];

    if (session->fd < 0)
        return;
    if ((events & LOOP_WRITE) != 0 && !flush(session)) {
        lose(session, "the connection broke");
        return;
    }
    if ((events & (LOOP_READ | LOOP_ERROR)) != 0)
        take(session);
}

bool client_start(struct client_session *session, uint16_t port)
{
    struct address address = {.in = {.sin_family = AF_INET,
                                     .sin_port = htons(port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
                              .size = sizeof address.in};
    struct client_pool *pool = session->pool;
    size_t consumed;

    session->port = port;
    session->phase = CLIENT_HANDSHAKING;
    session->handshake = handshake_new_client(pool->tls, SERVER_NAME);
    session->fd = socket_connect(&address, NULL);
    bool begun =
        session->handshake != NULL && session->fd >= 0 &&
        handshake_feed(session->handshake, NULL, 0, &consumed) == HANDSHAKE_WANT_READ &&
        loop_watch(pool->loop, session->fd, LOOP_READ | LOOP_WRITE, pool->handler, session->number);
    if (!begun) {
        release(session);
        session->phase = CLIENT_LOST;
        return false;
    }
    session->watched = LOOP_READ | LOOP_WRITE;
    socket_tune(session->fd, &(struct socket_options){0});
    timer_set(pool->loop, &session->timer, clock_monotonic_ns() + ANSWER_NS);
    return true;
}

void client_end(struct client_session *session)
{
    if (session->phase == CLIENT_OPEN) {
        handshake_shutdown(session->handshake);
        ignore(flush(session));
    }
    release(session);
    if (session->phase != CLIENT_LOST)
        session->phase = CLIENT_IDLE;
}
