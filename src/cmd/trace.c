/* holdfast trace: follow a client live. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "admin/control_client.h"
#include "cmd/cmd.h"

static const char usage[] =
    "Usage: holdfast trace [--client ADDRESS|NETWORK] [--sni NAME]\n"
    "                [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "Prints what happens to matching clients as it happens, until interrupted\n"
    "(Ctrl-C): connections, each stage of their handshakes, sessions and their ends.\n"
    "Without a filter, everybody.\n"
    "\n"
    "Options:\n"
    "      --client WHO    from this address or network, such as 192.0.2.1 or\n"
    "                      10.0.0.0/8\n"
    "      --sni NAME      asking for this name\n" CLIENT_OPTIONS_HELP "\n" CLIENT_EXIT_HELP;

enum { OPTION_CLIENT = CLIENT_OPTION_LAST, OPTION_SNI };

/* Time, client, event, then everything else as key=value in the order in which the daemon gives it.
 */
static void print_event(void *context, json_t *event)
{
    static const char *const first[] = {"time", "client", "event"};
    const char *key;
    json_t *value;
    (void)context;

    printf("%s  %-21s  %-18s", client_text(event, "time"), client_text(event, "client"),
           client_text(event, "event"));
    json_object_foreach(event, key, value)
    {
        bool shown = false;
        for (size_t i = 0; i < ARRAY_SIZE(first); i++)
            shown = shown || strcmp(key, first[i]) == 0;
        if (shown)
            continue;
        if (json_is_string(value))
            printf(strchr(json_string_value(value), ' ') != NULL ? "  %s=\"%s\"" : "  %s=%s", key,
                   json_string_value(value));
        else if (json_is_integer(value))
            printf("  %s=%lld", key, (long long)json_integer_value(value));
        else if (json_is_true(value))
            printf("  %s", key);
    }
    putchar('\n');
    ignore(fflush(stdout));
}

int cmd_trace(int argc, char **argv)
{
    static const struct option long_options[] = {CLIENT_LONG_OPTIONS,
                                                 {"client", required_argument, NULL, OPTION_CLIENT},
                                                 {"sni", required_argument, NULL, OPTION_SNI},
                                                 {0}};
    struct client_options options = {.json = false};
    const char *client = NULL, *server_name = NULL;
    int option;

    while ((option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1) {
        if (option == OPTION_CLIENT) {
            client = optarg;
        } else if (option == OPTION_SNI) {
            server_name = optarg;
        } else {
            int code = client_option(&options, option, usage);
            if (code >= 0)
                return code;
        }
    }
    if (client_no_words("trace", argc, argv) >= 0)
        return 2;
    json_t *request =
        json_pack("{s:s, s:s*, s:s*}", "verb", "trace", "client", client, "sni", server_name);
    if (!options.json && isatty(STDERR_FILENO))
        fputs("following; Ctrl-C ends it\n", stderr);
    return client_each("trace", &options, request, options.json ? client_print_line : print_event,
                       NULL);
}
