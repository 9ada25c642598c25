/* holdfast sessions: which sessions live, and ending one of them. */
#include <inttypes.h>
#include <string.h>

#include "admin/control_client.h"
#include "base/string.h"
#include "base/table.h"
#include "cmd/cmd.h"

static const char usage[] =
    "Usage: holdfast sessions [filters] [-c FILE | --socket PATH] [--json]\n"
    "       holdfast sessions close ID [-c FILE | --socket PATH] [--json]\n"
    "       holdfast sessions authenticate ID|filters [-c FILE | --socket PATH]\n"
    "                [--json]\n"
    "\n"
    "Lists live sessions, or ends one: its client gets a close_notify. Or asks the\n"
    "clients of sessions for a certificate, where client-certificate = later, and\n"
    "says of whom it cannot be asked, and why; what they answer is told by events.\n"
    "\n"
    "Filters (all that are given must hold):\n"
    "      --listener NAME             of this listener\n"
    "      --certificate NAME[@N]      made with this certificate (version N of it)\n"
    "      --older AGE, --younger AGE  age, such as 90s, 15min, 1h, 3d\n"
    "      --client ADDRESS|NETWORK    from there, such as 192.0.2.1 or 10.0.0.0/8\n"
    "      --sni NAME                  asked for this name; *.example.org matches one\n"
    "                                  label\n"
    "      --superseded [KIND]         hangs on something that was replaced:\n"
    "                                  certificate, config, binary, ticket-key,\n"
    "                                  traffic-key or ca (default: any of them)\n"
    "      --limit N                   at most N\n"
    "\n"
    "Options:\n" CLIENT_OPTIONS_HELP "\n" CLIENT_EXIT_HELP;

enum {
    OPTION_LISTENER = CLIENT_OPTION_LAST,
    OPTION_CERTIFICATE,
    OPTION_OLDER,
    OPTION_YOUNGER,
    OPTION_CLIENT,
    OPTION_SNI,
    OPTION_SUPERSEDED,
    OPTION_LIMIT
};

static const struct option long_options[] = {
    CLIENT_LONG_OPTIONS,
    {"listener", required_argument, NULL, OPTION_LISTENER},
    {"certificate", required_argument, NULL, OPTION_CERTIFICATE},
    {"older", required_argument, NULL, OPTION_OLDER},
    {"younger", required_argument, NULL, OPTION_YOUNGER},
    {"client", required_argument, NULL, OPTION_CLIENT},
    {"sni", required_argument, NULL, OPTION_SNI},
    {"superseded", optional_argument, NULL, OPTION_SUPERSEDED},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {0}};

static int set_certificate(json_t *request, const char *text, struct error *error)
{
    const char *at = strrchr(text, '@');
    uint64_t version;

    if (at == NULL)
        return client_set_text(request, "certificate", text, strlen(text), error);
    int result = client_count(&version, at + 1, UINT32_MAX, error);
    if (result == 0 && client_set_number(request, "certificate_version", version) == 0)
        result = client_set_text(request, "certificate", text, (size_t)(at - text), error);
    return result;
}

/* The kind may stand in a word of its own: the next one, unless that is an option. */
static int set_superseded(json_t *request, int argc, char **argv, struct error *error)
{
    const char *kind = optarg;

    if (kind == NULL && optind < argc && argv[optind][0] != '-')
        kind = argv[optind++];
    if (kind != NULL)
        return client_set_text(request, "superseded", kind, strlen(kind), error);
    return json_object_set_new(request, "superseded", json_true());
}

/* 0: taken, negative: wrong, 1: not a filter. */
static int take_filter(json_t *request, int option, struct error *error)
{
    uint64_t number;
    int result;

    switch (option) {
    case OPTION_LISTENER:
        return client_set_text(request, "listener", optarg, strlen(optarg), error);
    case OPTION_CERTIFICATE:
        return set_certificate(request, optarg, error);
    case OPTION_CLIENT:
        return client_set_text(request, "client", optarg, strlen(optarg), error);
    case OPTION_SNI:
        return client_set_text(request, "sni", optarg, strlen(optarg), error);
    case OPTION_OLDER:
    case OPTION_YOUNGER:
        result = client_duration(&number, optarg, error);
        return result < 0
                   ? result
                   : client_set_number(request, option == OPTION_OLDER ? "older_ms" : "younger_ms",
                                       number);
    case OPTION_LIMIT:
        result = client_count(&number, optarg, UINT32_MAX, error);
        return result < 0 ? result : client_set_number(request, "limit", number);
    default:
        return 1;
    }
}

/* "certificate, config" */
static void superseded_cell(struct table *table, const json_t *kinds)
{
    char text[96] = "";
    size_t used = 0;

    for (size_t i = 0; i < json_array_size(kinds) && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i == 0 ? "" : ", ",
                                 json_string_value(json_array_get(kinds, i)));
    table_cell(table, CELL_PLAIN, "%s", text[0] != '\0' ? text : "-");
}

static void session_row(void *context, json_t *session)
{
    struct table *table = context;
    char age[32], idle[32], in[32], out[32];
    const char *certificate = client_text(session, "certificate");

    table_cell(table, CELL_PLAIN, "%s", client_text(session, "id"));
    table_cell(table, CELL_RIGHT, "%s",
               string_duration(age, sizeof age, client_number(session, "age_ms")));
    table_cell(table, CELL_RIGHT, "%s",
               string_duration(idle, sizeof idle, client_number(session, "idle_s") * 1000));
    table_cell(table, CELL_PLAIN, "%s", client_text(session, "listener"));
    const char *subject = client_text(json_object_get(session, "client_certificate"), "subject");
    table_cell(table, CELL_PLAIN, "%s%s%s", client_text(session, "client"),
               subject[0] != '\0' ? " " : "", subject);
    table_cell(table, CELL_PLAIN, "%s", client_text(session, "sni"));
    table_cell(table, CELL_PLAIN, "%s",
               client_flag(session, "pass_through") ? "pass-through"
                                                    : client_text(session, "version"));
    table_cell(table, CELL_PLAIN, "%s", client_text(session, "state"));
    table_cell(table, CELL_PLAIN, "%s%s%s", client_text(session, "upstream"),
               client_text(session, "server")[0] != '\0' ? "/" : "",
               client_text(session, "server"));
    table_cell(table, CELL_RIGHT, "%s",
               string_bytes(in, sizeof in, client_number(session, "bytes_in")));
    table_cell(table, CELL_RIGHT, "%s",
               string_bytes(out, sizeof out, client_number(session, "bytes_out")));
    if (certificate[0] != '\0')
        table_cell(table, CELL_PLAIN, "%s@%" PRIu64, certificate,
                   client_number(session, "certificate_version"));
    else
        table_cell(table, CELL_PLAIN, "-");
    superseded_cell(table, json_object_get(session, "superseded"));
}

static int list(const struct client_options *options, json_t *request)
{
    static const char *const headings[] = {
        "SESSION", "AGE",    "IDLE",     "LISTENER", "CLIENT",      "SNI",        "TLS",
        "STATE",   "SERVER", "RECEIVED", "SENT",     "CERTIFICATE", "SUPERSEDED", NULL};

    json_object_set_new(request, "verb", json_string("sessions"));
    return client_list("sessions", options, request, headings, session_row, "no sessions");
}

static void print_closed(void *context, json_t *line)
{
    (void)context;
    printf("session %s is closed\n", client_text(line, "closed"));
}

static int close_session(const struct client_options *options, json_t *request, const char *id)
{
    json_object_set_new(request, "verb", json_string("session-close"));
    json_object_set_new(request, "id", json_string(id));
    return client_each("sessions", options, request,
                       options->json ? client_print_line : print_closed, NULL);
}

static void authenticate_row(void *context, json_t *line)
{
    struct table *table = context;
    const char *reason = client_text(line, "reason");

    table_cell(table, CELL_PLAIN, "%s", client_text(line, "session"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "client"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "sni"));
    table_cell(table, reason[0] == '\0' ? CELL_GOOD : CELL_WARN, "%s%s%s",
               client_text(line, "result"), reason[0] != '\0' ? ": " : "", reason);
}

static int authenticate(const struct client_options *options, json_t *request, const char *id)
{
    static const char *const headings[] = {"SESSION", "CLIENT", "SNI", "CERTIFICATE", NULL};

    json_object_set_new(request, "verb", json_string("session-authenticate"));
    if (id != NULL)
        json_object_set_new(request, "id", json_string(id));
    return client_list("sessions", options, request, headings, authenticate_row, "no sessions");
}

int cmd_sessions(int argc, char **argv)
{
    struct client_options options = {.json = false};
    struct error error = {.code = ERROR_NONE};
    json_t *request = json_object();
    int option, code = -1;

    while (code < 0 &&
           (option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1) {
        int result = option == OPTION_SUPERSEDED ? set_superseded(request, argc, argv, &error)
                                                 : take_filter(request, option, &error);
        if (result > 0)
            code = client_option(&options, option, usage);
        else if (result < 0)
            code = client_fail("sessions", &error);
    }
    if (code < 0 && optind == argc)
        return list(&options, request);
    if (code < 0 && optind + 2 == argc && strcmp(argv[optind], "close") == 0)
        return close_session(&options, request, argv[optind + 1]);
    if (code < 0 && optind < argc && optind + 2 >= argc &&
        strcmp(argv[optind], "authenticate") == 0)
        return authenticate(&options, request, argv[optind + 1]);
    json_decref(request);
    if (code < 0) {
        fprintf(stderr,
                "holdfast sessions: expected nothing, `close ID` or `authenticate [ID]`, found "
                "\"%s\"; see --help\n",
                argv[optind]);
        code = 2;
    }
    return code;
}
