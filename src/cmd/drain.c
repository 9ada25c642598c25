/* holdfast drain: bringing the sessions of the house or of a listener to an end. */
#include <string.h>
#include <unistd.h>

#include "admin/control_client.h"
#include "cmd/cmd.h"
#include "cmd/drain_line.h"

static const char usage[] =
    "Usage: holdfast drain [--listener NAME] [--over TIME] [--no-wait]\n"
    "                [-c FILE | --socket PATH] [--json]\n"
    "       holdfast drain --cancel [--listener NAME] [-c FILE | --socket PATH]\n"
    "                [--json]\n"
    "\n"
    "Takes no new connections and closes the sessions one after the other, spread\n"
    "over a time, so that their clients do not come back as one wave. Shows who is\n"
    "left and ends when nobody is. The daemon stays, draining, until that is\n"
    "cancelled or it is stopped. When all listeners are drained, /healthz says 503\n"
    "first, and accepting ends after drain-notice.\n"
    "\n"
    "Options:\n"
    "      --listener NAME only this listener (default: all)\n"
    "      --over TIME     the time, such as 90s, 10min, 2h; whoever is left then is\n"
    "                      closed (default: drain-timeout)\n"
    "      --no-wait       do not wait until nobody is left; the drain goes on by\n"
    "                      itself\n"
    "      --cancel        accept again; the sessions that are left stay\n" CLIENT_OPTIONS_HELP
    "\n" CLIENT_EXIT_HELP;

enum { OPTION_LISTENER = CLIENT_OPTION_LAST, OPTION_OVER, OPTION_NO_WAIT, OPTION_CANCEL };

static const struct option long_options[] = {CLIENT_LONG_OPTIONS,
                                             {"listener", required_argument, NULL, OPTION_LISTENER},
                                             {"over", required_argument, NULL, OPTION_OVER},
                                             {"no-wait", no_argument, NULL, OPTION_NO_WAIT},
                                             {"cancel", no_argument, NULL, OPTION_CANCEL},
                                             {0}};

/* 0: taken, negative: wrong, 1: a common option. */
static int take(json_t *request, int option, struct error *error)
{
    uint64_t over_ms;
    int result = 0;

    switch (option) {
    case OPTION_LISTENER: {
        json_t *name = json_string(optarg);
        return name != NULL && json_object_set_new(request, "listener", name) == 0
                   ? 0
                   : error_set(error, ERROR_USAGE, "--listener: not a text in UTF-8");
    }
    case OPTION_OVER:
        if ((result = client_duration(&over_ms, optarg, error)) < 0)
            return error_prepend(error, "--over");
        if (over_ms == 0)
            return error_set(error, ERROR_USAGE,
                             "--over %s: sessions need some time to end; 1s closes all almost at "
                             "once",
                             optarg);
        json_object_set_new(request, "over_ms", json_integer((json_int_t)over_ms));
        return 0;
    case OPTION_NO_WAIT:
        json_object_set_new(request, "wait", json_false());
        return 0;
    case OPTION_CANCEL:
        json_object_set_new(request, "cancel", json_true());
        return 0;
    default:
        return 1;
    }
}

struct progress {
    bool terminal, open; /* open: the line on the terminal has no end yet */
};

static void print_progress(void *context, json_t *line)
{
    struct progress *progress = context;

    if (progress->open)
        fputs("\r\033[K", stdout);
    drain_print(line);
    progress->open = progress->terminal;
    if (!progress->open)
        putchar('\n');
    ignore(fflush(stdout));
}

static int drain(const struct client_options *options, json_t *request)
{
    struct progress progress = {.terminal = isatty(STDOUT_FILENO) == 1};

    int code = client_each("drain", options, request,
                           options->json ? client_print_line : print_progress, &progress);
    if (progress.open)
        putchar('\n');
    return code;
}

int cmd_drain(int argc, char **argv)
{
    struct client_options options = {.json = false};
    struct error error = {.code = ERROR_NONE};
    json_t *request = json_pack("{s:s, s:b}", "verb", "drain", "wait", 1);
    int option, code = -1;

    while (code < 0 &&
           (option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1) {
        int result = take(request, option, &error);
        if (result > 0)
            code = client_option(&options, option, usage);
        else if (result < 0)
            code = client_fail("drain", &error);
    }
    if (code < 0)
        code = client_no_words("drain", argc, argv);
    if (code < 0 && json_is_true(json_object_get(request, "cancel")) &&
        json_object_get(request, "over_ms") != NULL) {
        fputs("holdfast drain: --cancel and --over exclude each other\n", stderr);
        code = 2;
    }
    if (code < 0)
        return drain(&options, request);
    json_decref(request);
    return code;
}
