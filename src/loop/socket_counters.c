#include "loop/socket_counters.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TRIES   64
#define WAIT_MS 2000

/* Of include/net/tcp_states.h, which user space does not get without a clash of headers. */
enum {
    STATE_TIME_WAIT = 6,
    STATE_CLOSE = 7,
    STATE_CLOSE_WAIT = 8,
    STATE_LAST_ACK,
    STATE_CLOSING = 11
};

static bool info(int fd, struct tcp_info *ret_info)
{
    socklen_t size = sizeof *ret_info;

    memset(ret_info, 0, sizeof *ret_info);
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret_info, &size) == 0 &&
           size >= offsetof(struct tcp_info, tcpi_bytes_received) +
                       sizeof ret_info->tcpi_bytes_received;
}

static bool ended(unsigned state)
{
    return state == STATE_TIME_WAIT || state == STATE_CLOSE_WAIT || state == STATE_LAST_ACK ||
           state == STATE_CLOSING;
}

bool socket_counters(int fd, struct socket_counters *ret_counters)
{
    struct tcp_info before, after;

    /* Packets come and go meanwhile: only what was the same before and after is one moment. */
    for (int i = 0; i < TRIES; i++) {
        int unread, unacknowledged;
        if (!info(fd, &before) || ioctl(fd, SIOCINQ, &unread) != 0 ||
            ioctl(fd, SIOCOUTQ, &unacknowledged) != 0 || !info(fd, &after))
            return false;
        if (before.tcpi_bytes_received != after.tcpi_bytes_received ||
            before.tcpi_bytes_acked != after.tcpi_bytes_acked ||
            before.tcpi_state != after.tcpi_state)
            continue;
        /* A FIN counts as a byte received, but not as one that waits. */
        *ret_counters = (struct socket_counters){
            .received = (uint32_t)after.tcpi_bytes_received - (uint32_t)unread -
                        (ended(after.tcpi_state) ? 1u : 0u),
            .sent = (uint32_t)after.tcpi_bytes_acked + (uint32_t)unacknowledged,
            .closed = after.tcpi_state == STATE_CLOSE,
        };
        return true;
    }
    return false;
}

/* ---- trial ---- */

/* A connection over loopback: [0] connected, [1] accepted. */
static bool connect_pair(int ret_fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ret_fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ret_fds[1] = -1;
    if (listening >= 0 && ret_fds[0] >= 0 &&
        bind(listening, (struct sockaddr *)&address, sizeof address) == 0 &&
        listen(listening, 1) == 0 &&
        getsockname(listening, (struct sockaddr *)&address, &size) == 0 &&
        connect(ret_fds[0], (struct sockaddr *)&address, size) == 0)
        ret_fds[1] = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    if (listening >= 0)
        ignore(close(listening));
    return ret_fds[1] >= 0;
}

static bool arrives(int fd, short events)
{
    struct pollfd wait = {.fd = fd, .events = events};

    return poll(&wait, 1, WAIT_MS) == 1 && (wait.revents & events) == events;
}

/* Everything that fd has sent was acknowledged. */
static bool acknowledged(int fd)
{
    int left = 1;

    for (int i = 0; i < WAIT_MS && ioctl(fd, SIOCOUTQ, &left) == 0 && left != 0; i++)
        ignore(poll(NULL, 0, 1));
    return left == 0;
}

static bool moved(int fd, const struct socket_counters *from, uint32_t received, uint32_t sent)
{
    struct socket_counters now;

    return socket_counters(fd, &now) && now.received - from->received == received &&
           now.sent - from->sent == sent;
}

static bool try_pair(int writer, int reader)
{
    struct socket_counters written, read_so_far;
    char bytes[100] = {0};

    return socket_counters(writer, &written) && socket_counters(reader, &read_so_far) &&
           send(writer, bytes, sizeof bytes, MSG_NOSIGNAL) == sizeof bytes &&
           moved(writer, &written, 0, 100) && arrives(reader, POLLIN) &&
           moved(reader, &read_so_far, 0, 0) && recv(reader, bytes, 60, 0) == 60 &&
           moved(reader, &read_so_far, 60, 0) && acknowledged(writer) &&
           moved(writer, &written, 0, 100) && shutdown(writer, SHUT_WR) == 0 &&
           arrives(reader, POLLIN | POLLRDHUP) && moved(reader, &read_so_far, 60, 0) &&
           recv(reader, bytes, sizeof bytes, 0) == 40 && moved(reader, &read_so_far, 100, 0) &&
           recv(reader, bytes, sizeof bytes, 0) == 0 && moved(reader, &read_so_far, 100, 0);
}

bool socket_counters_work(void)
{
    bool work = true;

    for (int writer = 0; writer < 2 && work; writer++) {
        int fds[2];
        work = connect_pair(fds) && try_pair(fds[writer], fds[writer ^ 1]);
        for (int i = 0; i < 2; i++) {
            if (fds[i] >= 0)
                ignore(close(fds[i]));
        }
    }
    return work;
}
