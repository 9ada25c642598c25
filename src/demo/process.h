/* The processes of the demo: started by the first one, ended with it. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

struct process {
    const char *name;
    pid_t pid;  /* 0: not running */
    int status; /* as of waitpid(), once it has ended */
};

typedef int process_fn(void *context);

/* Runs `fn` in a new process, whose exit code is what it returns. The process is in a group of its
 * own (a Ctrl-C reaches the first process alone) and gets SIGTERM when the first one dies. */
MUST_CHECK int process_start(struct process *process, const char *name, process_fn *fn,
                             void *context, struct error *error);

/* The same for a program; its standard output and error go to `output_fd`. `arguments[0]` is for
 * show: what runs is `path`. */
MUST_CHECK int process_execute(struct process *process, const char *name, const char *path,
                               char *const *arguments, int output_fd, struct error *error);

/* Has it ended? Never waits. */
bool process_ended(struct process *process);
/* SIGTERM, then at most `timeout_ms`, then SIGKILL. Returns whether it ended by itself with exit
 * code 0. */
bool process_stop(struct process *process, int timeout_ms);
/* Waits for its end; returns whether the exit code was 0. */
bool process_wait(struct process *process);
