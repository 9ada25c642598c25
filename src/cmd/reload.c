/* holdfast reload: puts the configuration file, as it is now, in force. */
#include <string.h>

#include "admin/control_client.h"
#include "cmd/cmd.h"
#include "cmd/reload_lines.h"

static const char usage[] =
    "Usage: holdfast reload [--dry-run] [--confirm DURATION]\n"
    "                [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "The daemon reads its configuration file again, checks it whole, and puts it in\n"
    "force in all processes; none is replaced, and sessions go on. What is refused\n"
    "changes nothing.\n"
    "\n"
    "Options:\n"
    "      --dry-run           check it and say what would change, for which sessions\n"
    "      --confirm DURATION  go back by itself after DURATION (10m), or as soon as\n"
    "                          handshakes fail, unless `holdfast config confirm`\n"
    "                          comes first\n" CLIENT_OPTIONS_HELP "\n" CLIENT_EXIT_HELP;

enum { OPTION_DRY_RUN = CLIENT_OPTION_LAST, OPTION_CONFIRM };

int cmd_reload(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
        {"confirm", required_argument, NULL, OPTION_CONFIRM},
        CLIENT_LONG_OPTIONS,
        {0}};
    struct client_options options = {.json = false};
    struct error error = {0};
    uint64_t confirm_ms = 0;
    bool dry_run = false;
    int option;

    while ((option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1) {
        int code = -1;
        if (option == OPTION_DRY_RUN)
            dry_run = true;
        else if (option == OPTION_CONFIRM)
            code = client_duration(&confirm_ms, optarg, &error) < 0 ? client_fail("reload", &error)
                                                                    : -1;
        else
            code = client_option(&options, option, usage);
        if (code >= 0)
            return code;
    }
    if (client_no_words("reload", argc, argv) >= 0)
        return 2;
    return client_each("reload", &options,
                       json_pack("{s:s, s:b, s:I}", "verb", "reload", "dry_run", dry_run,
                                 "confirm_ms", (json_int_t)confirm_ms),
                       options.json ? client_print_line : reload_print_line, NULL);
}
