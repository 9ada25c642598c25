/* holdfast keys: the table of what can be asked about keys. */
#include "cmd/keys.h"

#include <stdio.h>
#include <string.h>

#include "base/attributes.h"
#include "cmd/cmd.h"

static const struct topic {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} topics[] = {
    {"traffic", keys_traffic, "how far the keys of live sessions are used; renewing them"},
    {"tickets", keys_tickets, "the keys of session tickets: list, rotate"},
    {"resumption", keys_resumption, "who is resumed and who is not, and why; forget all sessions"},
    {"exposure", keys_exposure, "for each secret where it is, and what it decrypts until when"},
    {NULL, NULL, NULL},
};

static void usage(FILE *to)
{
    fputs("Usage: holdfast keys TOPIC [options]      (holdfast keys TOPIC --help says more)\n\n",
          to);
    for (const struct topic *it = topics; it->name != NULL; it++)
        fprintf(to, "  %-10s %s\n", it->name, it->help);
}

int cmd_keys(int argc, char **argv)
{
    char name[64];

    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        usage(stdout);
        return 0;
    }
    for (const struct topic *it = topics; argc >= 2 && it->name != NULL; it++) {
        if (strcmp(argv[1], it->name) != 0)
            continue;
        ignore(snprintf(name, sizeof name, "holdfast keys %s", it->name));
        argv[1] = name; /* by which getopt complains */
        return it->run(argc - 1, argv + 1);
    }
    if (argc >= 2)
        fprintf(stderr, "holdfast keys: there is no topic '%s'\n\n", argv[1]);
    usage(stderr);
    return 2;
}
