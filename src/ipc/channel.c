#include "ipc/channel.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct header {
    uint32_t type;
    uint32_t size;
};

union control {
    struct cmsghdr align;
    char space[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))];
};

static void set_room(int fd, size_t queue_bytes)
{
    int room = queue_bytes < INT32_MAX ? (int)queue_bytes : INT32_MAX;

    /* The privileged form is not bound by net.core.wmem_max. */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) != 0)
        ignore(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room));
}

bool channel_pair(int ret_fds[2], size_t queue_bytes)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret_fds) != 0)
        return false;
    set_room(ret_fds[0], queue_bytes);
    set_room(ret_fds[1], queue_bytes);
    return true;
}

static enum channel_result result_of_errno(int number)
{
    switch (number) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
    case ETOOMANYREFS: /* too many descriptors in flight: they become fewer as the receiver reads */
        return CHANNEL_FULL;
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
        return CHANNEL_CLOSED;
    default:
        return CHANNEL_BAD;
    }
}

enum channel_result channel_send(int fd, uint32_t type, const void *body, size_t size,
                                 const int *fds, size_t fd_count)
{
    struct header header = {type, (uint32_t)size};
    /* sendmsg() reads only, but struct iovec has no const. */
    union {
        const void *read_only;
        void *base;
    } data = {.read_only = body};
    struct iovec parts[2] = {{&header, sizeof header}, {data.base, size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = size > 0 ? 2 : 1};
    union control control;
    ssize_t sent;

    assert(size <= CHANNEL_BODY_MAX && fd_count <= CHANNEL_FDS_MAX);
    if (fd_count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(rights), fds, fd_count * sizeof(int));
    }
    do
        sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent >= 0 ? CHANNEL_DONE : result_of_errno(errno);
}

/* Takes all descriptors of the message, whatever else is wrong with it, so that none leaks. */
static void take_descriptors(struct message *message, struct msghdr *received)
{
    struct cmsghdr *part;

    message->fd_count = 0;
    for (part = CMSG_FIRSTHDR(received); part != NULL; part = CMSG_NXTHDR(received, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        assert(count <= CHANNEL_FDS_MAX - message->fd_count);
        memcpy(message->fds + message->fd_count, CMSG_DATA(part), count * sizeof(int));
        message->fd_count += count;
    }
}

enum channel_result channel_receive(int fd, struct message *ret_message)
{
    struct header header;
    union control control;
    struct iovec parts[2] = {{&header, sizeof header},
                             {ret_message->body, sizeof ret_message->body}};
    struct msghdr received = {
        .msg_iov = parts,
        .msg_iovlen = 2,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    ssize_t size;

    do
        size = recvmsg(fd, &received, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (size < 0 && errno == EINTR);
    if (size < 0) /* no message was at fault: nothing will ever come where nothing can be read */
        return result_of_errno(errno) == CHANNEL_FULL ? CHANNEL_FULL : CHANNEL_CLOSED;
    take_descriptors(ret_message, &received);
    if (size == 0) {
        message_fini(ret_message);
        return CHANNEL_CLOSED;
    }
    if ((received.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0 || (size_t)size < sizeof header ||
        (size_t)size - sizeof header != header.size) {
        message_fini(ret_message);
        return CHANNEL_BAD;
    }
    ret_message->type = header.type;
    ret_message->size = header.size;
    return CHANNEL_DONE;
}

void message_fini(struct message *message)
{
    if (message == NULL)
        return;
    for (size_t i = 0; i < message->fd_count; i++) {
        if (message->fds[i] >= 0)
            ignore(close(message->fds[i]));
    }
    message->fd_count = 0;
}
