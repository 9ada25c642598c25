#include "admin/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAST_WAIT_MS 500
#define LAST_WAITS   1000u

static void on_room(void *context, uint64_t tag, unsigned events)
{
    struct log *log = context;
    (void)tag, (void)events;

    loop_unwatch(log->loop, log->fd);
    log->waiting = false;
    log_flush(log);
}

/* O_NONBLOCK belongs to the open file, which a terminal or pipe shares with the shell that started
 * us: take an open file of our own. Only where that is refused is the shared one changed. */
static void make_nonblocking(struct log *log)
{
    char path[32];

    ignore(snprintf(path, sizeof path, "/proc/self/fd/%d", log->fd));
    int own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (own >= 0) {
        log->fd = own;
        log->own_fd = true;
        return;
    }
    int flags = fcntl(log->fd, F_GETFL);
    if (flags >= 0)
        ignore(fcntl(log->fd, F_SETFL, flags | O_NONBLOCK));
}

void log_init(struct log *log, struct loop *loop, int fd, uint64_t *dropped)
{
    struct stat facts;

    *log = (struct log){.loop = loop, .fd = fd, .dropped = dropped};
    buffer_init(&log->pending, LOG_PENDING_MAX);
    log->handler = loop_handler(loop, on_room, log);
    if (fstat(fd, &facts) != 0)
        return;
    log->socket = S_ISSOCK(facts.st_mode);
    if (S_ISFIFO(facts.st_mode) || S_ISCHR(facts.st_mode))
        make_nonblocking(log);
}

void log_fini(struct log *log)
{
    if (log->loop == NULL)
        return;
    log_flush(log);
    /* A reader that is merely slow gets the rest, a stuck one does not hold us up. */
    for (unsigned i = 0; log->waiting && i < LAST_WAITS; i++) {
        struct pollfd room = {.fd = log->fd, .events = POLLOUT};
        if (poll(&room, 1, LAST_WAIT_MS) != 1 || (room.revents & POLLOUT) == 0)
            break;
        on_room(log, 0, 0);
    }
    if (log->waiting)
        loop_unwatch(log->loop, log->fd);
    if (log->own_fd)
        close(log->fd);
    buffer_fini(&log->pending);
}

static void count_dropped(struct log *log, uint64_t lines)
{
    __atomic_store_n(log->dropped, *log->dropped + lines, __ATOMIC_RELAXED);
}

void log_write(struct log *log, const char *line, size_t size)
{
    /* After a failure in mid-line the rest of that line is lost; its stump gets an end of its own.
     */
    size_t stump = log->mid_line && log->pending.size == 0 ? 1 : 0;

    if (log->pending.size + stump + size > log->pending.maximum) {
        count_dropped(log, 1);
        return;
    }
    if ((stump != 0 && !buffer_append(&log->pending, "\n", 1)) ||
        !buffer_append(&log->pending, line, size))
        count_dropped(log, 1);
}

static void warn_once(struct log *log, int code)
{
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (log->warned || poll(&room, 1, 0) != 1 || (room.revents & POLLOUT) == 0)
        return;
    log->warned = true;
    ignore(dprintf(STDERR_FILENO,
                   "holdfast: cannot write the event log to standard output: %s; lines are dropped "
                   "and counted "
                   "(log_lines_dropped_total) until it can be written again\n",
                   strerror(code)));
}

static void drop_pending(struct log *log)
{
    uint64_t lines = 0;

    for (size_t i = 0; i < log->pending.size; i++)
        lines += log->pending.data[i] == '\n';
    count_dropped(log, lines);
    buffer_consume(&log->pending, log->pending.size);
}

void log_flush(struct log *log)
{
    while (log->pending.size > 0 && !log->waiting) {
        ssize_t written = log->socket ? send(log->fd, log->pending.data, log->pending.size,
                                             MSG_DONTWAIT | MSG_NOSIGNAL)
                                      : write(log->fd, log->pending.data, log->pending.size);
        if (written > 0) {
            log->mid_line = log->pending.data[written - 1] != '\n';
            buffer_consume(&log->pending, (size_t)written);
        } else if (written < 0 && errno == EINTR) {
            continue;
        } else if (written < 0 && errno == EAGAIN &&
                   loop_watch(log->loop, log->fd, LOOP_WRITE, log->handler, 0)) {
            log->waiting = true;
        } else {
            warn_once(log, written < 0 ? errno : ENOSPC);
            drop_pending(log);
        }
    }
}
