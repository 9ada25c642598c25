/* holdfast status: the daemon at a glance. */
#include <inttypes.h>
#include <string.h>

#include "admin/control_client.h"
#include "base/string.h"
#include "base/table.h"
#include "cmd/cmd.h"
#include "cmd/drain_line.h"
#include "cmd/server_row.h"

#define DAYS_SOON 14

static const char usage[] = "Usage: holdfast status [-c FILE | --socket PATH] [--json]\n"
                            "\n"
                            "Shows processes, listeners, upstream servers, certificates and what\n"
                            "was counted since the start.\n"
                            "\n"
                            "Options:\n" CLIENT_OPTIONS_HELP "\n" CLIENT_EXIT_HELP;

/* "superseded: certificate 12 (oldest 3h)"; nothing when nobody is. */
static void print_superseded(const json_t *status)
{
    const char *kind, *separator = "superseded: ";
    json_t *entry, *kinds = json_object_get(status, "superseded");
    char age[32];

    json_object_foreach(kinds, kind, entry)
    {
        if (client_number(entry, "sessions") == 0)
            continue;
        printf("%s%s %" PRIu64 " (oldest %s)", separator, kind, client_number(entry, "sessions"),
               string_duration(age, sizeof age, client_number(entry, "oldest_ms")));
        separator = ", ";
    }
    if (separator[0] == ',')
        putchar('\n');
}

/* "attached to OpenSSL: renegotiation 3, suite 1"; nothing when nobody is. */
static void print_attached(const json_t *status)
{
    const char *reason, *separator = "attached to OpenSSL: ";
    json_t *count, *reasons = json_object_get(status, "attached");

    json_object_foreach(reasons, reason, count)
    {
        if (json_integer_value(count) == 0)
            continue;
        printf("%s%s %lld", separator, reason, (long long)json_integer_value(count));
        separator = ", ";
    }
    if (separator[0] == ',')
        putchar('\n');
}

static void print_drains(const json_t *status)
{
    const json_t *drains = json_object_get(status, "drains");

    for (size_t i = 0; i < json_array_size(drains); i++) {
        drain_print(json_array_get(drains, i));
        putchar('\n');
    }
}

/* What is wrong with what clients are judged by, until it is mended. */
static void print_client_trust(const json_t *status)
{
    const json_t *listeners = json_object_get(status, "listeners");

    for (size_t i = 0; i < json_array_size(listeners); i++) {
        const json_t *listener = json_array_get(listeners, i);
        const json_t *trust = json_object_get(listener, "client_trust");
        const char *trouble = client_text(trust, "trouble");
        if (trouble[0] != '\0')
            printf(
                "client CAs of listener %s: %s; %s\n", client_text(listener, "listener"), trouble,
                client_flag(trust, "in_force") ? "what was in force stays" : "nothing is in force");
        if (client_flag(trust, "stale"))
            printf("client CAs of listener %s: the time of a revocation list is over\n",
                   client_text(listener, "listener"));
    }
}

static void print_alerts(const json_t *alerts)
{
    if (alerts == NULL)
        return;
    printf("alerts: %" PRIu64 " open (%" PRIu64 " critical, %" PRIu64 " acknowledged, %" PRIu64
           " silenced), %" PRIu64 " messages wait\n",
           client_number(alerts, "open"), client_number(alerts, "critical"),
           client_number(alerts, "acknowledged"), client_number(alerts, "silenced"),
           client_number(alerts, "deliveries_waiting"));
}

/* Nothing where nothing is watched. */
static void print_watch(const json_t *watch)
{
    const json_t *store = json_object_get(watch, "store");

    if (watch == NULL)
        return;
    printf("watch: %" PRIu64 " targets, %" PRIu64 " endpoints: %" PRIu64 " ok, %" PRIu64
           " warning, %" PRIu64 " critical, %" PRIu64 " unknown; %" PRIu64
           " targets not seen yet\n",
           client_number(watch, "targets"), client_number(watch, "endpoints"),
           client_number(watch, "ok"), client_number(watch, "warning"),
           client_number(watch, "critical"), client_number(watch, "unknown"),
           client_number(watch, "pending"));
    if (client_number(watch, "discovered") > 0)
        printf("endpoints that nobody watches: %" PRIu64 " (holdfast watch discover)\n",
               client_number(watch, "discovered"));
    if (strcmp(client_text(store, "state"), "failing") == 0)
        printf("WATCH NOT REMEMBERED since %s: %s; %" PRIu64 " results wait in memory\n",
               client_text(store, "since"), client_text(store, "trouble"),
               client_number(store, "waiting"));
    if (client_text(store, "set_aside")[0] != '\0')
        printf("a damaged database of the watch lies in %s; remove it when you need it no more\n",
               client_text(store, "set_aside"));
}

static void print_head(const json_t *status)
{
    const json_t *counters = json_object_get(status, "counters");
    char uptime[32];

    printf("holdfast %s, up %s%s\nconfiguration %s, generation %" PRIu64 " (%s)\n",
           client_text(status, "version"),
           string_duration(uptime, sizeof uptime, client_number(status, "uptime_s") * 1000),
           client_flag(status, "draining") ? ", DRAINING" : "", client_text(status, "config"),
           client_number(status, "config_generation"), client_text(status, "config_source"));
    printf("sessions %" PRIu64 " of %" PRIu64 ", opened %" PRIu64 ", failed %" PRIu64 "\n",
           client_number(status, "sessions"), client_number(status, "capacity"),
           client_number(counters, "sessions_opened"), client_number(counters, "sessions_failed"));
    printf("handshakes %" PRIu64 " (%" PRIu64 " resumed), failed %" PRIu64 "\n",
           client_number(counters, "handshakes"), client_number(counters, "handshakes_resumed"),
           client_number(counters, "handshake_failures"));
    if (client_number(counters, "refused_overload") > 0)
        printf("refused for overload %" PRIu64 "\n", client_number(counters, "refused_overload"));
    if (client_number(counters, "events_dropped") > 0 ||
        client_number(counters, "log_lines_dropped") > 0)
        printf("dropped: %" PRIu64 " events, %" PRIu64 " log lines\n",
               client_number(counters, "events_dropped"),
               client_number(counters, "log_lines_dropped"));
    if (json_is_false(json_object_get(status, "crash_survival")))
        printf("sessions do not survive their relay's crash: this kernel's counters do not "
               "behave\n");
    const json_t *tickets = json_object_get(status, "ticket_keys");
    if (strcmp(client_text(tickets, "storage"), "failed") == 0)
        printf("TICKET KEYS NOT STORED since %s: %s\n",
               client_text(tickets, "storage_failed_since"), client_text(tickets, "storage_error"));
    print_watch(json_object_get(status, "watch"));
    print_alerts(json_object_get(status, "alerts"));
    print_attached(status);
    print_superseded(status);
    print_drains(status);
    print_client_trust(status);
}

typedef void row_fn(struct table *table, const json_t *item);

static void print_list(const json_t *status, const char *key, const char *const *headings,
                       row_fn *row)
{
    const json_t *list = json_object_get(status, key);
    struct table table;

    table_init(&table, headings);
    for (size_t i = 0; i < json_array_size(list); i++)
        row(&table, json_array_get(list, i));
    if (table_rows(&table) > 0)
        putchar('\n');
    table_print(&table, stdout);
    table_fini(&table);
}

static void process_row(struct table *table, const json_t *process)
{
    char text[32];
    bool alive = client_flag(process, "alive"), overloaded = client_flag(process, "overloaded");

    table_cell(table, CELL_PLAIN, "%s/%" PRIu64, client_text(process, "kind"),
               client_number(process, "index"));
    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(process, "pid"));
    table_cell(table, alive && !overloaded ? CELL_GOOD : CELL_BAD, "%s",
               !alive       ? "not alive"
               : overloaded ? "overloaded"
                            : "alive");
    table_cell(table, CELL_PLAIN, "%s",
               string_duration(text, sizeof text, client_number(process, "uptime_s") * 1000));
    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(process, "starts"));
    table_cell(table, CELL_RIGHT, "%" PRIu64 " ms", client_number(process, "heartbeat_age_ms"));
    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(process, "sessions"));
}

static void listener_row(struct table *table, const json_t *listener)
{
    const json_t *addresses = json_object_get(listener, "addresses");

    for (size_t i = 0; i < json_array_size(addresses); i++) {
        table_cell(table, CELL_PLAIN, "%s", i == 0 ? client_text(listener, "listener") : "");
        table_cell(table, CELL_PLAIN, "%s", json_string_value(json_array_get(addresses, i)));
        table_cell(table, CELL_PLAIN, "%s", i == 0 ? client_text(listener, "mode") : "");
        static const char *const counts[] = {"sessions", "handshakes_under_way", "accepted",
                                             "refused"};
        for (size_t c = 0; c < ARRAY_SIZE(counts); c++) {
            if (i == 0)
                table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(listener, counts[c]));
            else
                table_cell(table, CELL_RIGHT, "%s", "");
        }
    }
}

static void certificate_row(struct table *table, const json_t *certificate)
{
    const char *host = client_text(certificate, "host"), *state = client_text(certificate, "state");
    json_int_t left = json_integer_value(json_object_get(certificate, "days_left"));
    bool present = json_object_get(certificate, "version") != NULL;

    table_cell(table, CELL_PLAIN, "%s%s%s", client_text(certificate, "name"),
               host[0] != '\0' ? "/" : "", host);
    table_cell(table, CELL_PLAIN, "%s", client_text(certificate, "key_type"));
    table_cell(table, strcmp(state, "live") == 0 ? CELL_GOOD : CELL_WARN, "%s", state);
    if (present) {
        table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(certificate, "version"));
        table_cell(table,
                   CELL_RIGHT | (left < 0           ? CELL_BAD
                                 : left < DAYS_SOON ? CELL_WARN
                                                    : CELL_PLAIN),
                   "%lld", (long long)left);
    } else {
        table_cell(table, CELL_RIGHT, "-");
        table_cell(table, CELL_RIGHT, "-");
    }
    table_cell(table, CELL_PLAIN, "%s", client_text(certificate, "last_error"));
}

static void print_status(void *context, json_t *status)
{
    static const char *const processes[] = {"PROCESS", "PID",       "STATE",    "UP",
                                            "STARTS",  "HEARTBEAT", "SESSIONS", NULL};
    static const char *const listeners[] = {"LISTENER",   "ADDRESS",  "MODE",    "SESSIONS",
                                            "HANDSHAKES", "ACCEPTED", "REFUSED", NULL};
    static const char *const certificates[] = {"CERTIFICATE", "KEY",        "STATE", "VERSION",
                                               "DAYS LEFT",   "LAST ERROR", NULL};
    (void)context;

    print_head(status);
    print_list(status, "processes", processes, process_row);
    print_list(status, "listeners", listeners, listener_row);
    print_list(status, "servers", server_headings, server_row);
    print_list(status, "certificates", certificates, certificate_row);
}

int cmd_status(int argc, char **argv)
{
    struct client_options options = {.json = false};
    int code = client_options(&options, argc, argv, usage);

    if (code < 0)
        code = client_no_words("status", argc, argv);
    if (code >= 0)
        return code;
    return client_each("status", &options, json_pack("{s:s}", "verb", "status"),
                       options.json ? client_print_line : print_status, NULL);
}
