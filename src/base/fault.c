/* Not part of the program: see fault.h. */
#include "base/fault.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/attributes.h"

bool fault_point(const char *name)
{
    const char *wanted = getenv("HOLDFAST_FAULT");
    size_t size = strlen(name);

    if (wanted == NULL || strncmp(wanted, name, size) != 0 || wanted[size] != ':')
        return false;
    const char *action = wanted + size + 1;
    if (strcmp(action, "crash") == 0) {
        ignore(raise(SIGILL));
    } else if (strcmp(action, "abort") == 0) {
        abort();
    } else if (strcmp(action, "exit") == 0) {
        _exit(1);
    }
    while (strcmp(action, "hang") == 0)
        ignore(poll(NULL, 0, -1));
    return strcmp(action, "yes") == 0;
}

void fault_input(const void *bytes, size_t size)
{
    const char *poison = getenv("HOLDFAST_FAULT_INPUT");

    if (poison != NULL && memmem(bytes, size, poison, strlen(poison)) != NULL)
        ignore(raise(SIGILL));
}
