#include "cmd/reload_lines.h"

#include <inttypes.h>
#include <string.h>

#include "base/string.h"

static void print_change(const char *kind, const json_t *line)
{
    const char *name = client_text(line, "name"), *options = client_text(line, "options");

    printf("%s%s%s: %s%s%s%s\n", strcmp(kind, "global") == 0 ? "global options" : kind,
           name[0] == '\0' ? "" : " ", name, client_text(line, "change"),
           options[0] == '\0' ? "" : " (", options, options[0] == '\0' ? "" : ")");
}

static void print_result(const json_t *line)
{
    uint64_t confirm_ms = client_number(line, "confirm_ms");
    char time[32];

    if (client_flag(line, "dry_run")) {
        puts("dry run: the configuration is right; nothing was changed");
        return;
    }
    printf("generation %" PRIu64 " is in force\n", client_number(line, "generation"));
    if (confirm_ms != 0)
        printf("it goes back by itself in %s unless you run `holdfast config confirm`\n",
               string_duration(time, sizeof time, confirm_ms));
}

void reload_print_line(void *context, json_t *line)
{
    const char *kind = client_text(line, "kind");
    (void)context;

    if (strcmp(kind, "finding") == 0)
        fprintf(stderr, "%s\n", client_text(line, "text"));
    else if (strcmp(kind, "warning") == 0)
        fprintf(stderr, "warning: %s\n", client_text(line, "text"));
    else if (strcmp(kind, "sessions") == 0)
        printf("sessions of listener %s: %" PRIu64 " moved, %" PRIu64 " kept, %" PRIu64
               " drained\n",
               client_text(line, "listener"), client_number(line, "moved"),
               client_number(line, "kept"), client_number(line, "drained"));
    else if (strcmp(kind, "resumption") == 0)
        printf("resumption at listener %s: %s (%s changed)\n", client_text(line, "listener"),
               client_text(line, "effect"), client_text(line, "because"));
    else if (strcmp(kind, "restart") == 0)
        printf("takes a restart: %s (what runs keeps its value)\n", client_text(line, "settings"));
    else if (strcmp(kind, "result") == 0)
        print_result(line);
    else
        print_change(kind, line);
}
