#include "base/fault.h"

#ifdef HOLDFAST_FAULTS

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/attributes.h"

void fault_point(const char *name)
{
    const char *wanted = getenv("HOLDFAST_FAULT");
    size_t size = strlen(name);

    if (wanted == NULL || strncmp(wanted, name, size) != 0 || wanted[size] != ':')
        return;
    const char *action = wanted + size + 1;
    if (strcmp(action, "crash") == 0)
        ignore(raise(SIGSEGV));
    else if (strcmp(action, "abort") == 0)
        abort();
    else if (strcmp(action, "exit") == 0)
        _exit(1);
    else if (strcmp(action, "hang") == 0)
        for (;;)
            ignore(poll(NULL, 0, -1));
}

#else

/* A translation unit may not be empty. */
extern int fault_points_are_left_out;

#endif
