/* holdfast alerts: what is wrong, who has been told, and what is done about it. */
#include <inttypes.h>
#include <pwd.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin/control_client.h"
#include "base/json.h"
#include "base/string.h"
#include "base/table.h"
#include "cmd/cmd.h"

#define DATE_SHOWN 16 /* 2026-11-25T20:31 */

static const char usage[] =
    "Usage: holdfast alerts [--all] [-c FILE | --socket PATH] [--json]\n"
    "       holdfast alerts acknowledge NUMBER [--comment TEXT]\n"
    "       holdfast alerts silence [NUMBER] [SCOPE...] --for TIME [--comment TEXT]\n"
    "       holdfast alerts unsilence ID\n"
    "       holdfast alerts silences | deliveries\n"
    "       holdfast alerts test CHANNEL\n"
    "\n"
    "Lists the open alerts of the watch: one per certificate, or per cause, with its\n"
    "places.\n"
    "\n"
    "  acknowledge  Somebody is on it: no more reminders, and no escalation, until it\n"
    "               gets worse.\n"
    "  silence      Nobody is told of the alerts that it holds for, until it ends.\n"
    "               What is still true then is told.\n"
    "  unsilence    Ends a silence now.\n"
    "  deliveries   What was delivered where, what waits, and what was given up.\n"
    "  test         Sends a trial through a channel and says whether it arrived.\n"
    "\n"
    "Options:\n"
    "      --all           also alerts that are not open yet, or were closed within a\n"
    "                      day\n"
    "      --for TIME      how long a silence lasts: 30min, 2h, 3d\n"
    "      --comment TEXT  why\n"
    "      --target T      scope: a target; shop.example means all its ports, shop*\n"
    "                      all that begin so\n"
    "      --finding ID    scope: a kind of finding, such as revoked or\n"
    "                      certificate-ends\n"
    "      --certificate SHA256, --watch NAME, --owner NAME, --service NAME\n"
    "                      scope likewise; all that are given must fit\n" CLIENT_OPTIONS_HELP
    "\n" CLIENT_EXIT_HELP;

enum {
    OPTION_ALL = CLIENT_OPTION_LAST,
    OPTION_FOR,
    OPTION_COMMENT,
    OPTION_TARGET,
    OPTION_FINDING,
    OPTION_CERTIFICATE,
    OPTION_WATCH,
    OPTION_OWNER,
    OPTION_SERVICE
};

struct words {
    struct client_options options;
    bool all, scoped;
    uint64_t for_ms;
    json_t *request; /* scope and comment */
};

/* ---- lists ---- */

static int severity_style(const json_t *line)
{
    return strcmp(client_text(line, "severity"), "critical") == 0 ? CELL_BAD : CELL_WARN;
}

static const char *state_of(const json_t *line)
{
    const char *state = client_text(line, "state");

    if (strcmp(state, "open") != 0)
        return state;
    if (client_flag(line, "silenced"))
        return "silenced";
    return client_number(line, "acknowledged_at") != 0 ? "acknowledged" : "open";
}

static void date_cell(struct table *table, uint64_t unix_s)
{
    char text[32] = "-";
    time_t moment = (time_t)unix_s;
    struct tm parts;

    if (unix_s != 0)
        ignore((long)strftime(text, sizeof text, "%Y-%m-%dT%H:%M", gmtime_r(&moment, &parts)));
    table_cell(table, CELL_PLAIN, "%s", text);
}

static void alert_row(void *context, json_t *line)
{
    struct table *table = context;
    const json_t *places = json_object_get(line, "places");
    const char *first = client_text(json_array_get(places, 0), "place");
    const char *next = client_text(line, "next");
    size_t count = json_array_size(places);

    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(line, "number"));
    table_cell(table, severity_style(line), "%s", client_text(line, "severity"));
    table_cell(table, CELL_PLAIN, "%s", state_of(line));
    date_cell(table, client_number(line, "since"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "subject"));
    if (count > 1)
        table_cell(table, CELL_PLAIN, "%s and %zu more", first, count - 1);
    else
        table_cell(table, CELL_PLAIN, "%s", client_or_dash(first));
    table_cell(table, CELL_PLAIN, "%s%s%s", client_text(line, "text"),
               next[0] == '\0' ? "" : " -> ", next);
}

static void silence_row(void *context, json_t *line)
{
    static const char *const scopes[] = {"target", "finding", "certificate",
                                         "watch",  "owner",   "service"};
    struct table *table = context;
    char scope[512] = "";
    size_t used = 0;

    if (client_number(line, "alert") != 0)
        used +=
            (size_t)snprintf(scope, sizeof scope, "alert %" PRIu64, client_number(line, "alert"));
    for (size_t i = 0; i < ARRAY_SIZE(scopes) && used < sizeof scope; i++) {
        const char *text = client_text(line, scopes[i]);
        if (text[0] != '\0')
            used += (size_t)snprintf(scope + used, sizeof scope - used, "%s%s %.80s",
                                     used > 0 ? ", " : "", scopes[i], text);
    }
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "id"));
    table_cell(table, CELL_PLAIN, "%.*s", DATE_SHOWN, client_text(line, "until"));
    table_cell(table, CELL_PLAIN, "%s", scope);
    table_cell(table, CELL_PLAIN, "%s", client_or_dash(client_text(line, "by")));
    table_cell(table, CELL_PLAIN, "%s", client_or_dash(client_text(line, "comment")));
}

static void delivery_row(void *context, json_t *line)
{
    struct table *table = context;
    const char *state = client_text(line, "state"), *finished = client_text(line, "finished_at");

    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(line, "number"));
    table_cell(table, CELL_PLAIN, "%.*s", DATE_SHOWN, client_text(line, "created_at"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "channel"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "kind"));
    table_cell(table,
               strcmp(state, "delivered") == 0 ? CELL_GOOD
               : strcmp(state, "failed") == 0  ? CELL_BAD
                                               : CELL_WARN,
               "%s", state);
    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(line, "attempts"));
    table_cell(table, CELL_PLAIN, "%.*s", DATE_SHOWN,
               finished[0] != '\0' ? finished : client_or_dash(client_text(line, "next_try")));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "subject"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "reason"));
}

static int list(const struct words *words)
{
    static const char *const headings[] = {"ALERT",   "SEVERITY", "STATE", "SINCE",
                                           "SUBJECT", "PLACES",   "WHAT",  NULL};
    json_t *request = json_pack("{s:s}", "verb", "alerts");

    json_set_flag(request, "all", words->all);
    return client_list("alerts", &words->options, request, headings, alert_row, "no alert is open");
}

static int list_silences(const struct words *words)
{
    static const char *const headings[] = {"SILENCE", "UNTIL", "HOLDS FOR", "BY", "WHY", NULL};

    return client_list("alerts", &words->options, json_pack("{s:s}", "verb", "alerts-silences"),
                       headings, silence_row, "there is no silence");
}

static int list_deliveries(const struct words *words)
{
    static const char *const headings[] = {"NUMBER", "MADE AT", "CHANNEL",           "NOTICE",
                                           "STATE",  "TRIES",   "DONE, OR NEXT TRY", "SUBJECT",
                                           "ERROR",  NULL};

    return client_list("alerts", &words->options, json_pack("{s:s}", "verb", "alerts-deliveries"),
                       headings, delivery_row, "nothing was ever to be delivered");
}

/* ---- what people do ---- */

static const char *user_name(void)
{
    const struct passwd *user = getpwuid(getuid());

    return user != NULL ? user->pw_name : "somebody";
}

static int fail(const struct error *error)
{
    return client_fail("alerts", error);
}

static int acknowledge(struct words *words, const char *number_text)
{
    struct error error = {0};
    uint64_t number;

    if (client_count(&number, number_text, UINT32_MAX, &error) != 0)
        return fail(&error);
    json_set_text(words->request, "verb", "alerts-acknowledge");
    json_set_text(words->request, "by", user_name());
    json_set_number(words->request, "number", number);
    int code = client_each("alerts", &words->options, json_incref(words->request),
                           client_print_line, NULL);
    if (code == 0 && !words->options.json)
        printf("alert %" PRIu64 " is acknowledged: it is told again only when it gets worse\n",
               number);
    return code;
}

static void print_silence(void *context, json_t *line)
{
    (void)context;
    printf("silence %s holds until %s\n", client_text(line, "id"), client_text(line, "until"));
}

static int silence(struct words *words, const char *number_text)
{
    struct error error = {0};
    uint64_t number;

    if (number_text != NULL) {
        if (client_count(&number, number_text, UINT32_MAX, &error) != 0)
            return fail(&error);
        json_set_number(words->request, "alert", number);
    } else if (!words->scoped) {
        error_set(&error, ERROR_USAGE,
                  "expected what the silence is to hold for: an alert's number, or --target and "
                  "its like");
        return fail(&error);
    }
    if (words->for_ms == 0) {
        error_set(&error, ERROR_USAGE, "expected an end: --for 2h");
        return fail(&error);
    }
    json_set_text(words->request, "verb", "alerts-silence");
    json_set_text(words->request, "by", user_name());
    json_set_time(words->request, "until", time(NULL) + (int64_t)(words->for_ms / 1000));
    return client_each("alerts", &words->options, json_incref(words->request),
                       words->options.json ? client_print_line : print_silence, NULL);
}

static int unsilence(const struct words *words, const char *id)
{
    int code = client_each("alerts", &words->options,
                           json_pack("{s:s, s:s}", "verb", "alerts-unsilence", "id", id),
                           client_print_line, NULL);
    if (code == 0 && !words->options.json)
        printf("silence %s has ended\n", id);
    return code;
}

struct trial {
    bool json, delivered;
};

static void trial_over(void *context, json_t *line)
{
    struct trial *trial = context;

    trial->delivered = strcmp(client_text(line, "state"), "delivered") == 0;
    if (trial->json)
        client_print_json(stdout, line);
    else if (trial->delivered)
        printf("delivered through %s\n", client_text(line, "channel"));
    else
        printf("not delivered through %s: %s\n", client_text(line, "channel"),
               client_text(line, "reason"));
}

static int test(const struct words *words, const char *channel)
{
    struct trial trial = {.json = words->options.json};

    int code = client_each("alerts", &words->options,
                           json_pack("{s:s, s:s}", "verb", "alerts-test", "channel", channel),
                           trial_over, &trial);
    return code != 0 || trial.delivered ? code : 4;
}

/* ---- words ---- */

static int fail_words(void)
{
    fputs("holdfast alerts: expected nothing, `acknowledge NUMBER`, `silence [NUMBER] --for TIME`, "
          "`unsilence ID`, `silences`, `deliveries` or `test CHANNEL`; see --help\n",
          stderr);
    return 2;
}

/* -1, or the exit code. */
static int take_option(struct words *words, int option)
{
    static const char *const keys[] = {[OPTION_COMMENT - OPTION_COMMENT] = "comment",
                                       [OPTION_TARGET - OPTION_COMMENT] = "target",
                                       [OPTION_FINDING - OPTION_COMMENT] = "finding",
                                       [OPTION_CERTIFICATE - OPTION_COMMENT] = "certificate",
                                       [OPTION_WATCH - OPTION_COMMENT] = "watch",
                                       [OPTION_OWNER - OPTION_COMMENT] = "owner",
                                       [OPTION_SERVICE - OPTION_COMMENT] = "service"};
    struct error error = {0};

    if (option == OPTION_ALL) {
        words->all = true;
    } else if (option == OPTION_FOR) {
        if (client_duration(&words->for_ms, optarg, &error) != 0)
            return fail(&error);
    } else if (option >= OPTION_COMMENT && option <= OPTION_SERVICE) {
        json_set_text(words->request, keys[option - OPTION_COMMENT], optarg);
        words->scoped = words->scoped || option != OPTION_COMMENT;
    } else {
        return client_option(&words->options, option, usage);
    }
    return -1;
}

static int run(struct words *words, int count, char **argv)
{
    const char *verb = count > 0 ? argv[0] : "", *word = count > 1 ? argv[1] : NULL;

    if (count == 0)
        return list(words);
    if (count > 2)
        return fail_words();
    if (strcmp(verb, "silence") == 0)
        return silence(words, word);
    if (word != NULL && strcmp(verb, "acknowledge") == 0)
        return acknowledge(words, word);
    if (word != NULL && strcmp(verb, "unsilence") == 0)
        return unsilence(words, word);
    if (word != NULL && strcmp(verb, "test") == 0)
        return test(words, word);
    if (word == NULL && strcmp(verb, "silences") == 0)
        return list_silences(words);
    if (word == NULL && strcmp(verb, "deliveries") == 0)
        return list_deliveries(words);
    return fail_words();
}

int cmd_alerts(int argc, char **argv)
{
    static const struct option long_options[] = {
        CLIENT_LONG_OPTIONS,
        {"all", no_argument, NULL, OPTION_ALL},
        {"for", required_argument, NULL, OPTION_FOR},
        {"comment", required_argument, NULL, OPTION_COMMENT},
        {"target", required_argument, NULL, OPTION_TARGET},
        {"finding", required_argument, NULL, OPTION_FINDING},
        {"certificate", required_argument, NULL, OPTION_CERTIFICATE},
        {"watch", required_argument, NULL, OPTION_WATCH},
        {"owner", required_argument, NULL, OPTION_OWNER},
        {"service", required_argument, NULL, OPTION_SERVICE},
        {0}};
    AUTO(json_t_pointer) request = json_object();
    struct words words = {.request = request};
    int option;

    while ((option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1) {
        int code = take_option(&words, option);
        if (code >= 0)
            return code;
    }
    return run(&words, argc - optind, argv + optind);
}
