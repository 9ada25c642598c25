/* The echoing upstream of the soak: plain TCP, a Unix socket and TLS in one epoll loop. Sends back
 * what arrives and passes the end of the stream on. Usage: soak-echo UNIX-PATH CHAIN KEY; prints
 * the plain and the TLS port (on 127.0.0.1). */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <netinet/tcp.h>

#define BUFFER_SIZE 65536u
#define EVENTS      64

struct connection {
    int fd;
    bool listens, ended;
    SSL *ssl;         /* NULL: plain */
    SSL_CTX *context; /* of a listener that speaks TLS */
    uint32_t watched;
    size_t begin, end; /* what is still to be sent back */
    char *buffer;
};

static int epoll;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "soak-echo: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(struct connection *connection, uint32_t events, int operation)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};

    if (connection->watched != events && epoll_ctl(epoll, operation, connection->fd, &event) != 0)
        die("epoll_ctl");
    connection->watched = events;
}

static void end(struct connection *connection)
{
    SSL_free(connection->ssl);
    close(connection->fd);
    free(connection->buffer);
    free(connection);
}

/* > 0 bytes; 0: the end; < 0: errno is EAGAIN or something worse. */
static ssize_t result_of(SSL *ssl, int result)
{
    int error = SSL_get_error(ssl, result);

    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
    return result > 0 ? result : error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static ssize_t receive(struct connection *connection)
{
    if (connection->ssl == NULL)
        return recv(connection->fd, connection->buffer, BUFFER_SIZE, 0);
    ERR_clear_error();
    return result_of(connection->ssl,
                     SSL_read(connection->ssl, connection->buffer, (int)BUFFER_SIZE));
}

static ssize_t send_back(struct connection *connection)
{
    const char *data = connection->buffer + connection->begin;
    size_t size = connection->end - connection->begin;

    if (connection->ssl == NULL)
        return send(connection->fd, data, size, MSG_NOSIGNAL);
    ERR_clear_error();
    return result_of(connection->ssl, SSL_write(connection->ssl, data, (int)size));
}

/* Passes the end on. The peer has ended its direction and nothing is left to be sent. */
static void pass_end(struct connection *connection)
{
    if (connection->ssl != NULL)
        SSL_shutdown(connection->ssl);
    end(connection);
}

/* Reads only when everything read has been sent back: no more memory, and back-pressure. */
static void serve(struct connection *connection)
{
    for (;;) {
        bool writes = connection->begin < connection->end;
        ssize_t done = writes ? send_back(connection) : receive(connection);
        if (done < 0 && errno == EAGAIN) {
            watch(connection, writes ? EPOLLIN * (connection->ssl != NULL) | EPOLLOUT : EPOLLIN,
                  EPOLL_CTL_MOD);
            return;
        }
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0) {
            end(connection);
            return;
        }
        if (writes) {
            connection->begin += (size_t)done;
        } else if (done == 0) {
            pass_end(connection);
            return;
        } else {
            connection->begin = 0;
            connection->end = (size_t)done;
        }
    }
}

static struct connection *connection_new(int fd)
{
    struct connection *connection = calloc(1, sizeof *connection);

    if (connection == NULL)
        die("memory");
    connection->fd = fd;
    return connection;
}

static void accept_all(struct connection *listener)
{
    int fd;

    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = connection_new(fd);
        connection->buffer = malloc(BUFFER_SIZE);
        if (listener->context != NULL)
            connection->ssl = SSL_new(listener->context);
        if (connection->buffer == NULL || (listener->context != NULL && connection->ssl == NULL))
            die("memory");
        if (connection->ssl != NULL) {
            SSL_set_fd(connection->ssl, fd);
            SSL_set_accept_state(connection->ssl);
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1},
                   sizeof(int)); /* fails on Unix sockets */
        watch(connection, EPOLLIN, EPOLL_CTL_ADD);
    }
    if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
        die("accept");
}

static uint16_t listen_on(int fd, struct sockaddr *address, socklen_t size, SSL_CTX *context)
{
    struct connection *listener = connection_new(fd);
    struct sockaddr_in bound = {0};

    listener->listens = true;
    listener->context = context;
    if (fd < 0 || bind(fd, address, size) != 0 || listen(fd, 4096) != 0)
        die("listen");
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    getsockname(fd, (struct sockaddr *)&bound, &(socklen_t){sizeof bound});
    return ntohs(bound.sin_port);
}

static uint16_t listen_tcp(SSL_CTX *context)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    return listen_on(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
                     (struct sockaddr *)&address, sizeof address, context);
}

static void listen_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path)
        die("the path is too long");
    strcpy(address.sun_path, path);
    listen_on(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
              (struct sockaddr *)&address, sizeof address, NULL);
    if (chmod(path, 0777) != 0)
        die(path);
}

static SSL_CTX *server_context(const char *chain, const char *key)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (context == NULL || SSL_CTX_use_certificate_chain_file(context, chain) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        die(chain);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
    return context;
}

int main(int count, char **arguments)
{
    if (count != 4) {
        fputs("usage: soak-echo UNIX-PATH CHAIN KEY\n", stderr);
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    listen_unix(arguments[1]);
    unsigned plain = listen_tcp(NULL);
    unsigned tls = listen_tcp(server_context(arguments[2], arguments[3]));
    printf("%u %u\n", plain, tls);
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int happened = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < happened; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection->listens)
                accept_all(connection);
            else
                serve(connection);
        }
    }
}
