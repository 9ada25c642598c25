/* holdfast keys traffic: how far the keys of live sessions are used, and renewing them. */
#include "cmd/keys.h"

#include <inttypes.h>
#include <string.h>

#include "admin/control_client.h"
#include "base/string.h"
#include "base/table.h"
#include "cmd/cmd.h"

static const char usage[] =
    "Usage: holdfast keys traffic list [--listener NAME] [--limit N]\n"
    "                [-c FILE | --socket PATH] [--json]\n"
    "       holdfast keys traffic renew --session ID | --listener NAME | --all\n"
    "                [--request] [--now] [--over TIME]\n"
    "                                   [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "  list   The sessions whose key is nearest to a limit: the key that data to the\n"
    "         client is sealed with, how far it was used, and how often it was\n"
    "         renewed.\n"
    "  renew  Another key for sessions of TLS 1.3, with the next data to the client;\n"
    "         none that is younger than two seconds.\n"
    "\n"
    "Options:\n"
    "      --listener NAME  sessions of this listener\n"
    "      --limit N        so many at most, up to 1000 (default 20)\n"
    "      --session ID     this session\n"
    "      --all            all sessions\n"
    "      --request        ask the client for another key, too\n"
    "      --now            at once, also where no data is to be sent\n"
    "      --over TIME      spread over this time, such as 10min; ends with this\n"
    "                       command\n" CLIENT_OPTIONS_HELP "\n" CLIENT_EXIT_HELP;

enum {
    OPTION_LISTENER = CLIENT_OPTION_LAST,
    OPTION_LIMIT,
    OPTION_SESSION,
    OPTION_ALL,
    OPTION_REQUEST,
    OPTION_NOW,
    OPTION_OVER
};

static const struct option long_options[] = {CLIENT_LONG_OPTIONS,
                                             {"listener", required_argument, NULL, OPTION_LISTENER},
                                             {"limit", required_argument, NULL, OPTION_LIMIT},
                                             {"session", required_argument, NULL, OPTION_SESSION},
                                             {"all", no_argument, NULL, OPTION_ALL},
                                             {"request", no_argument, NULL, OPTION_REQUEST},
                                             {"now", no_argument, NULL, OPTION_NOW},
                                             {"over", required_argument, NULL, OPTION_OVER},
                                             {0}};

/* 0: taken, negative: wrong, 1: another option. */
static int take_option(json_t *request, int option, struct error *error)
{
    uint64_t number;
    int result;

    switch (option) {
    case OPTION_LISTENER:
        return client_set_text(request, "listener", optarg, strlen(optarg), error);
    case OPTION_SESSION:
        return client_set_text(request, "session", optarg, strlen(optarg), error);
    case OPTION_LIMIT:
        result = client_count(&number, optarg, 1000, error);
        return result < 0 ? result : client_set_number(request, "limit", number);
    case OPTION_OVER:
        result = client_duration(&number, optarg, error);
        return result < 0 ? result : client_set_number(request, "over_ms", number);
    case OPTION_ALL:
        return json_object_set_new(request, "all", json_true());
    case OPTION_REQUEST:
        return json_object_set_new(request, "request", json_true());
    case OPTION_NOW:
        return json_object_set_new(request, "now", json_true());
    default:
        return 1;
    }
}

static void session_row(void *context, json_t *line)
{
    struct table *table = context;
    char age[32], bytes[32];
    uint64_t used = client_number(line, "used_permille");
    int style = used >= 750 ? CELL_BAD : used >= 500 ? CELL_WARN : CELL_GOOD;

    table_cell(table, CELL_PLAIN, "%s", client_text(line, "session"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "listener"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "client"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "version"));
    table_cell(table, CELL_RIGHT | style, "%" PRIu64 ".%" PRIu64 " %% %s", used / 10, used % 10,
               client_text(line, "limit"));
    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(line, "records"));
    table_cell(table, CELL_RIGHT, "%s",
               string_bytes(bytes, sizeof bytes, client_number(line, "bytes")));
    table_cell(table, CELL_RIGHT, "%s",
               string_duration(age, sizeof age, client_number(line, "age_ms")));
    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(line, "epoch"));
    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(line, "client_epoch"));
    table_cell(table, CELL_PLAIN, "%s",
               client_flag(line, "asked")    ? "client asked"
               : client_flag(line, "wanted") ? "to be renewed"
               : client_flag(line, "unable") ? "no KeyUpdate"
                                             : "-");
}

static int list(const struct client_options *options, json_t *request)
{
    static const char *const headings[] = {"SESSION",       "LISTENER",  "CLIENT", "TLS",
                                           "OF HARD LIMIT", "RECORDS",   "DATA",   "AGE",
                                           "RENEWED",       "BY CLIENT", "STATE",  NULL};

    ignore(json_object_set_new(request, "verb", json_string("keys-traffic")));
    return client_list("keys", options, request, headings, session_row, "no TLS session is open");
}

static void print_renewed(void *context, json_t *line)
{
    (void)context;
    printf("another key is on its way for %" PRIu64 " sessions", client_number(line, "sessions"));
    if (client_number(line, "skipped") != 0)
        printf("; %" PRIu64 " without TLS 1.3 cannot have one", client_number(line, "skipped"));
    putchar('\n');
}

static int renew(const struct client_options *options, json_t *request)
{
    ignore(json_object_set_new(request, "verb", json_string("keys-traffic-renew")));
    return client_each("keys", options, request, options->json ? client_print_line : print_renewed,
                       NULL);
}

static int fail_usage(const char *expected, const char *found)
{
    fprintf(stderr, "holdfast keys traffic: expected %s, found \"%s\"; see --help\n", expected,
            found);
    return 2;
}

/* Nothing that was asked for is passed over in silence. */
static int check_words(int argc, char **argv, json_t *request)
{
    const char *action = optind < argc ? argv[optind] : "";
    bool renews = strcmp(action, "renew") == 0;
    const char *key;
    json_t *value;

    if (!renews && strcmp(action, "list") != 0)
        return fail_usage("list or renew", action);
    if (optind + 1 != argc)
        return fail_usage("nothing more", argv[optind + 1]);
    json_object_foreach(request, key, value)
    {
        if (renews && strcmp(key, "limit") == 0)
            return fail_usage("list with --limit", action);
        if (!renews && strcmp(key, "limit") != 0 && strcmp(key, "listener") != 0)
            return fail_usage("renew with --session, --all, --request, --now and --over", action);
    }
    return -1;
}

int keys_traffic(int argc, char **argv)
{
    struct client_options options = {.json = false};
    struct error error = {.code = ERROR_NONE};
    json_t *request = json_object();
    int option, code = -1;

    while (code < 0 &&
           (option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1) {
        int result = take_option(request, option, &error);
        if (result > 0)
            code = client_option(&options, option, usage);
        else if (result < 0)
            code = client_fail("keys", &error);
    }
    if (code < 0)
        code = check_words(argc, argv, request);
    if (code >= 0) {
        json_decref(request);
        return code;
    }
    return strcmp(argv[optind], "list") == 0 ? list(&options, request) : renew(&options, request);
}
