/* The plain upstream behind every contestant: HTTP/1.1 with keep-alive, a 100-byte body for any
 * path and 10 MB for /10m.
 *
 * It has to be so fast that it never decides a comparison: one epoll loop, answers built once,
 * edge-triggered events that are never re-armed, no parsing beyond the end of the head. Usage:
 * upstream PORT (on 127.0.0.1; prints "ready"). */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SMALL_BODY  100u
#define LARGE_BODY  10000000u
#define HEAD_MAX    4096u
#define DESCRIPTORS 65536
#define EVENTS      256

struct answer {
    char *bytes;
    size_t length;
};

struct client {
    size_t head_length;
    const struct answer *answer; /* being written; NULL: waiting for a request */
    size_t written;
    char head[HEAD_MAX];
};

static struct client *clients[DESCRIPTORS]; /* by descriptor; made at its first use and kept */
static struct answer small_answer, large_answer;

static void answer_build(struct answer *answer, size_t body)
{
    char head[128];
    int head_length =
        snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", body);

    answer->length = (size_t)head_length + body;
    answer->bytes = malloc(answer->length);
    if (!answer->bytes)
        abort();
    memcpy(answer->bytes, head, (size_t)head_length);
    memset(answer->bytes + head_length, 'h', body);
}

/* Returns false when the connection is at its end. */
static bool client_write(int fd, struct client *client)
{
    while (client->answer) {
        ssize_t n = send(fd, client->answer->bytes + client->written,
                         client->answer->length - client->written, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        client->written += (size_t)n;
        if (client->written == client->answer->length)
            client->answer = NULL;
    }
    return true;
}

/* Takes one request out of the head buffer when it is whole. */
static void client_take_request(struct client *client)
{
    const char *end = memmem(client->head, client->head_length, "\r\n\r\n", 4);

    if (!end)
        return;
    size_t used = (size_t)(end - client->head) + 4;
    bool large = used > 9 && memcmp(client->head, "GET /10m ", 9) == 0;
    client->answer = large ? &large_answer : &small_answer;
    client->written = 0;
    client->head_length -= used;
    memmove(client->head, client->head + used, client->head_length);
}

static bool client_serve(int fd, struct client *client)
{
    for (;;) {
        if (!client_write(fd, client))
            return false;
        if (client->answer)
            return true; /* the socket is full; the next edge goes on */
        client_take_request(client);
        if (client->answer)
            continue;
        if (client->head_length == HEAD_MAX)
            return false;
        ssize_t n = recv(fd, client->head + client->head_length, HEAD_MAX - client->head_length, 0);
        if (n == 0)
            return false;
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        client->head_length += (size_t)n;
    }
}

static void accept_all(int epoll, int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (fd >= DESCRIPTORS || (!clients[fd] && !(clients[fd] = malloc(sizeof(struct client))))) {
            close(fd);
            continue;
        }
        clients[fd]->head_length = 0;
        clients[fd]->answer = NULL;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP,
                                    .data.fd = fd};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
            close(fd);
    }
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 4096) != 0) {
        perror("upstream: listen");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: upstream PORT\n", stderr);
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    answer_build(&small_answer, SMALL_BODY);
    answer_build(&large_answer, LARGE_BODY);

    int listener = listen_on((uint16_t)atoi(argv[1]));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0)
        return 1;
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(epoll, listener);
            else if (!client_serve(fd, clients[fd]))
                close(fd);
        }
    }
}
