/* holdfast keys exposure: who could read what, and until when. */
#include "cmd/keys.h"

#include <inttypes.h>
#include <string.h>

#include "admin/control_client.h"

static const char usage[] =
    "Usage: holdfast keys exposure [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "For each secret of the running daemon: in which processes it is, where it lies\n"
    "on disk, until when recorded traffic can be decrypted with it, and what is left\n"
    "of it after a stop.\n"
    "\n"
    "Options:\n" CLIENT_OPTIONS_HELP "\n" CLIENT_EXIT_HELP;

static void print_processes(const json_t *processes)
{
    printf("  in          ");
    for (size_t i = 0; i < json_array_size(processes); i++) {
        const json_t *process = json_array_get(processes, i);
        const json_t *pids = json_object_get(process, "pids");
        printf("%s%s (", i == 0 ? "" : ", ", client_text(process, "kind"));
        for (size_t p = 0; p < json_array_size(pids); p++)
            printf("%s%" JSON_INTEGER_FORMAT, p == 0 ? "" : " ",
                   json_integer_value(json_array_get(pids, p)));
        putchar(')');
    }
    putchar('\n');
}

static void print_disk(const json_t *disk)
{
    if (json_array_size(disk) == 0)
        puts("  on disk     no");
    for (size_t i = 0; i < json_array_size(disk); i++) {
        const json_t *entry = json_array_get(disk, i);
        printf("  on disk     %s%s\n", client_text(entry, "path"),
               client_flag(entry, "encrypted") ? " (encrypted)" : "");
    }
}

static void print_secret(void *context, json_t *line)
{
    const char *name = client_text(line, "name"), *until = client_text(line, "until");
    (void)context;

    printf("%s%s%s\n", client_text(line, "secret"), name[0] != '\0' ? " " : "", name);
    print_processes(json_object_get(line, "processes"));
    print_disk(json_object_get(line, "disk"));
    printf("  decrypts    %s%s%s\n", client_text(line, "decrypts"),
           until[0] != '\0' ? "; until " : "", until);
    printf("  after stop  %s\n\n", client_text(line, "after_stop"));
}

int keys_exposure(int argc, char **argv)
{
    struct client_options options = {.json = false};
    int code = client_options(&options, argc, argv, usage);

    if (code < 0)
        code = client_no_words("keys exposure", argc, argv);
    if (code >= 0)
        return code;
    return client_each("keys exposure", &options, json_pack("{s:s}", "verb", "key-exposure"),
                       options.json ? client_print_line : print_secret, NULL);
}
