/* holdfast upstream: upstream servers and taking them out of service and back. */
#include <inttypes.h>
#include <string.h>

#include "admin/control_client.h"
#include "base/table.h"
#include "cmd/cmd.h"
#include "cmd/server_row.h"
#include "conf/conf.h"

static const char usage[] =
    "Usage: holdfast upstream list [-c FILE | --socket PATH] [--json]\n"
    "       holdfast upstream ready|drain|down UPSTREAM/SERVER [--wait]\n"
    "                [-c FILE | --socket PATH] [--json]\n"
    "       holdfast upstream weight UPSTREAM/SERVER N [-c FILE | --socket PATH]\n"
    "                [--json]\n"
    "\n"
    "  ready   The server gets new sessions again.\n"
    "  drain   It gets no new sessions; those it has go on.\n"
    "  down    It gets no new sessions, whatever the health check says; those it has\n"
    "          go on.\n"
    "  weight  Its share of new sessions, from 1 to 1000.\n"
    "\n"
    "What is set here lasts until the daemon ends.\n"
    "\n"
    "Options:\n"
    "      --wait          end only when the server has no session left; shows how\n"
    "                      many are\n" CLIENT_OPTIONS_HELP "\n" CLIENT_EXIT_HELP;

enum { OPTION_WAIT = CLIENT_OPTION_LAST };

static void list_row(void *context, json_t *server)
{
    server_row(context, server);
}

static int list(const struct client_options *options, json_t *request)
{

    return client_list("upstream", options, request, server_headings, list_row,
                       "no upstream servers are configured");
}

static void print_change(void *context, json_t *server)
{
    (void)context;
    printf("%s/%s: %s, weight %" PRIu64 ", %" PRIu64 " sessions\n", client_text(server, "upstream"),
           client_text(server, "server"), client_text(server, "state"),
           client_number(server, "weight"), client_number(server, "sessions"));
    ignore(fflush(stdout));
}

static int change(const struct client_options *options, json_t *request, int argc, char **argv)
{
    struct error error = {.code = ERROR_NONE};
    bool weigh = strcmp(argv[0], "weight") == 0;
    uint64_t weight = 0;

    if (argc != (weigh ? 3 : 2)) {
        json_decref(request);
        fprintf(stderr, "holdfast upstream: %s takes %s; see --help\n", argv[0],
                weigh ? "UPSTREAM/SERVER and a number" : "UPSTREAM/SERVER");
        return 2;
    }
    if (weigh && client_count(&weight, argv[2], CONF_WEIGHT_MAX, &error) < 0) {
        json_decref(request);
        return client_fail("upstream", &error);
    }
    if (weigh)
        json_object_set_new(request, "weight", json_integer((json_int_t)weight));
    json_object_set_new(request, "target", json_string(argv[1]));
    return client_each("upstream", options, request,
                       options->json ? client_print_line : print_change, NULL);
}

static bool is_change(const char *word)
{
    static const char *const words[] = {"ready", "drain", "down", "weight"};

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strcmp(word, words[i]) == 0)
            return true;
    }
    return false;
}

int cmd_upstream(int argc, char **argv)
{
    static const struct option long_options[] = {
        CLIENT_LONG_OPTIONS, {"wait", no_argument, NULL, OPTION_WAIT}, {0}};
    struct client_options options = {.json = false};
    bool wait = false;
    int option;

    while ((option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1) {
        if (option == OPTION_WAIT) {
            wait = true;
            continue;
        }
        int code = client_option(&options, option, usage);
        if (code >= 0)
            return code;
    }
    const char *action = optind < argc ? argv[optind] : "";
    bool listing = strcmp(action, "list") == 0 && optind + 1 == argc;
    if (!listing && !is_change(action)) {
        fprintf(stderr,
                "holdfast upstream: expected list, ready, drain, down or weight, found \"%s\"; see "
                "--help\n",
                action);
        return 2;
    }
    json_t *request =
        json_pack("{s:s, s:s, s:b}", "verb", "upstream", "action", action, "wait", (int)wait);
    return listing ? list(&options, request)
                   : change(&options, request, argc - optind, argv + optind);
}
