#include "demo/echo.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "loop/loop.h"
#include "loop/socket.h"

#define DATA_SIZE 4096

struct connection {
    size_t size, sent;
    uint8_t data[DATA_SIZE];
};

struct echo {
    struct loop *loop;
    int listening_fd;
    uint8_t handler;
    struct connection **connections; /* by descriptor */
    size_t limit;
};

static void end(struct echo *echo, int fd)
{
    loop_unwatch(echo->loop, fd);
    ignore(close(fd));
    free(echo->connections[fd]);
    echo->connections[fd] = NULL;
}

static void on_listening(void *context, uint64_t tag, unsigned events)
{
    struct echo *echo = context;
    (void)tag, (void)events;

    for (;;) {
        int fd = accept4(echo->listening_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        socket_tune(fd, &(struct socket_options){0});
        struct connection *connection =
            (size_t)fd < echo->limit ? calloc(1, sizeof *connection) : NULL;
        if (connection != NULL)
            echo->connections[fd] = connection;
        if (connection == NULL ||
            !loop_watch(echo->loop, fd, LOOP_READ, echo->handler, (uint64_t)fd)) {
            free(connection);
            if ((size_t)fd < echo->limit)
                echo->connections[fd] = NULL;
            ignore(close(fd));
        }
    }
}

static bool again(void)
{
    return errno == EAGAIN || errno == EINTR;
}

/* Sends what is held; false when the connection ended. */
static bool give_back(struct echo *echo, int fd, struct connection *connection)
{
    ssize_t done = send(fd, connection->data + connection->sent,
                        connection->size - connection->sent, MSG_NOSIGNAL);
    if (done < 0 && !again())
        return false;
    connection->sent += done > 0 ? (size_t)done : 0;
    unsigned events = connection->sent < connection->size ? LOOP_WRITE : LOOP_READ;
    return loop_change(echo->loop, fd, events, echo->handler, (uint64_t)fd);
}

static void on_connection(void *context, uint64_t tag, unsigned events)
{
    struct echo *echo = context;
    int fd = (int)tag;
    struct connection *connection = echo->connections[fd];
    (void)events;

    if (connection == NULL)
        return;
    if (connection->sent == connection->size) {
        ssize_t size = recv(fd, connection->data, sizeof connection->data, 0);
        if (size < 0 && again())
            return;
        if (size <= 0) {
            end(echo, fd);
            return;
        }
        connection->size = (size_t)size;
        connection->sent = 0;
    }
    if (!give_back(echo, fd, connection))
        end(echo, fd);
}

static void on_stop(void *context, int signal_number)
{
    struct echo *echo = context;
    (void)signal_number;

    loop_stop(echo->loop, 0);
}

int echo_run(int listening_fd)
{
    struct echo echo = {.loop = loop_new(), .listening_fd = listening_fd};
    struct rlimit limit;
    int code = 1;

    if (echo.loop == NULL || getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1;
    echo.limit = limit.rlim_cur < 1u << 20 ? limit.rlim_cur : 1u << 20;
    echo.connections = calloc(echo.limit, sizeof(struct connection *));
    uint8_t listening = loop_handler(echo.loop, on_listening, &echo);
    echo.handler = loop_handler(echo.loop, on_connection, &echo);
    if (echo.connections != NULL && loop_signal(echo.loop, SIGTERM, on_stop, &echo) &&
        loop_watch(echo.loop, listening_fd, LOOP_READ, listening, 0))
        code = loop_run(echo.loop);
    for (size_t fd = 0; echo.connections != NULL && fd < echo.limit; fd++) {
        if (echo.connections[fd] != NULL)
            end(&echo, (int)fd);
    }
    free(echo.connections);
    loop_free(echo.loop);
    return code;
}
