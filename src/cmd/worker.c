/* The hidden verb that the supervisor executes: one of its processes. */
#include <stdio.h>
#include <string.h>

#include "admin/control.h"
#include "cmd/cmd.h"
#include "cmd/worker_check.h"
#include "edge/rehearsal.h"
#include "edge/worker.h"
#include "watch/prober_process.h"

int cmd_worker(int argc, char **argv)
{
    static const struct {
        const char *kind;
        int (*main)(int first_fd);
    } mains[] = {{"handshaker", handshaker_main},
                 {"relay", relay_main},
                 {"control", control_main},
                 {"rehearsal", rehearsal_main},
                 {"prober", prober_main}};

    if (argc > 2 && strcmp(argv[1], "check") == 0)
        return worker_check(argc, argv);
    for (size_t i = 0; argc == 2 && i < ARRAY_SIZE(mains); i++) {
        if (strcmp(argv[1], mains[i].kind) == 0)
            return mains[i].main(WORKER_CHANNEL_FD);
    }
    fputs("holdfast worker: only the supervisor starts these\n", stderr);
    return 2;
}
