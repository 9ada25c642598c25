/* The event log: lines to standard output that never make the process wait.
 *
 * Lines gather in a bounded buffer and go out after each batch of the loop. While the output is
 * stuck (full pipe) or broken (full disk) new lines are dropped and counted; a line is written
 * whole or cut off visibly at its end, never mixed with the next. */
#pragma once

#include "base/buffer.h"
#include "loop/loop.h"

#define LOG_PENDING_MAX (256u << 10)

struct log {
    struct loop *loop;
    int fd;
    bool own_fd; /* reopened, to be closed here */
    bool socket;
    bool waiting;  /* watched for room */
    bool mid_line; /* the last byte written was not the end of a line */
    bool warned;   /* the failure was told on standard error once */
    uint8_t handler;
    struct buffer pending;
    uint64_t *dropped; /* COUNTER_LOG_DROPPED of this process */
};

/* Prepares `fd` (not closed here) without changing the mode of what its other holders share, where
 * the system allows that. */
void log_init(struct log *log, struct loop *loop, int fd, uint64_t *dropped);
void log_fini(struct log *log); /* one last attempt to write; accepts zeroed */

/* Takes a line with its newline, or drops and counts it. */
void log_write(struct log *log, const char *line, size_t size);
/* Writes what can be written now. */
void log_flush(struct log *log);
