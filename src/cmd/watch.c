/* holdfast watch: what the daemon watches, and what it has seen. */
#include <string.h>

#include "admin/control_client.h"
#include "base/json.h"
#include "base/string.h"
#include "base/table.h"
#include "cmd/cmd.h"

#define DAYS_SOON         14
#define FINGERPRINT_SHOWN 16
#define DATE_SHOWN        16 /* 2026-11-25T20:31 */

static const char usage[] =
    "Usage: holdfast watch [NAME] [-c FILE | --socket PATH] [--json]\n"
    "       holdfast watch history TARGET\n"
    "       holdfast watch check [NAME | TARGET]\n"
    "       holdfast watch discover [NAME]\n"
    "\n"
    "Lists what the running daemon watches (all, or one section `watch`), with the\n"
    "days left of each certificate, the verdict and what to do.\n"
    "\n"
    "  history   When which certificate was seen where, and how it differs from the\n"
    "            one before.\n"
    "  check     Checks now: all, the targets of a section, or one target; exits with\n"
    "            6 if something is not as it should be.\n"
    "  discover  Looks now for endpoints that nobody watches, and lists those known\n"
    "            so far.\n"
    "\n"
    "Options:\n" CLIENT_OPTIONS_HELP "\n" CLIENT_EXIT_HELP;

/* ---- the list ---- */

static int style_of(const char *verdict)
{
    return strcmp(verdict, "ok") == 0         ? CELL_GOOD
           : strcmp(verdict, "critical") == 0 ? CELL_BAD
           : strcmp(verdict, "warning") == 0  ? CELL_WARN
                                              : CELL_PLAIN;
}

static void days_cell(struct table *table, const json_t *line)
{
    const json_t *days = json_object_get(line, "days_left");
    double left = json_number_value(days);

    if (days == NULL)
        table_cell(table, CELL_RIGHT, "-");
    else
        table_cell(table,
                   CELL_RIGHT | (left < 0           ? CELL_BAD
                                 : left < DAYS_SOON ? CELL_WARN
                                                    : CELL_PLAIN),
                   "%.1f", left);
}

static void place_row(void *context, json_t *line)
{
    struct table *table = context;
    const char *verdict = client_text(line, "verdict"), *next = client_text(line, "next");
    const char *vantage = client_text(line, "vantage");
    bool elsewhere = vantage[0] != '\0' && strcmp(vantage, "public") != 0;

    table_cell(table, CELL_PLAIN, "%s", client_text(line, "watch"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "target"));
    table_cell(table, CELL_PLAIN, "%s%s%s", client_or_dash(client_text(line, "address")),
               elsewhere ? " " : "", elsewhere ? vantage : "");
    table_cell(table, CELL_PLAIN, "%s", client_or_dash(client_text(line, "key_type")));
    days_cell(table, line);
    table_cell(table, CELL_PLAIN, "%.*s", DATE_SHOWN,
               client_or_dash(client_text(line, "breaks_at")));
    table_cell(table, style_of(verdict), "%s", verdict);
    table_cell(table, CELL_PLAIN, "%.*s", DATE_SHOWN,
               client_or_dash(client_text(line, "next_check")));
    table_cell(table, CELL_PLAIN, "%s%s%s", client_text(line, "text"),
               next[0] == '\0' ? "" : " -> ", next);
}

static int list(const struct client_options *options, const char *watch, bool discovered)
{
    static const char *const headings[] = {"WATCH",     "TARGET",    "ADDRESS", "KEY",
                                           "DAYS LEFT", "BREAKS AT", "VERDICT", "NEXT CHECK",
                                           "WHAT",      NULL};
    json_t *request = json_pack("{s:s}", "verb", "watch");

    json_set_text(request, "watch", watch);
    json_set_flag(request, "discovered", discovered);
    return client_list("watch", options, request, headings, place_row,
                       discovered ? "nothing was found that nobody watches" : "nothing is watched");
}

/* ---- history ---- */

static void sighting_row(void *context, json_t *line)
{
    struct table *table = context;
    const json_t *differences = json_object_get(line, "differences");
    char text[400] = "";
    size_t used = 0;
    bool graver = false;

    for (size_t i = 0; i < json_array_size(differences) && used < sizeof text; i++) {
        const json_t *difference = json_array_get(differences, i);
        graver |= strcmp(client_text(difference, "severity"), "warning") == 0;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used == 0 ? "" : "; ",
                                 client_text(difference, "text"));
    }
    table_cell(table, CELL_PLAIN, "%s", client_or_dash(client_text(line, "address")));
    table_cell(table, CELL_PLAIN, "%s", client_or_dash(client_text(line, "key_type")));
    table_cell(table, CELL_PLAIN, "%.*s", DATE_SHOWN, client_text(line, "first_seen"));
    table_cell(table, CELL_PLAIN, "%.*s", DATE_SHOWN, client_text(line, "last_seen"));
    table_cell(table, CELL_RIGHT, "%llu", (unsigned long long)client_number(line, "checks"));
    table_cell(table, CELL_PLAIN, "%.*s", FINGERPRINT_SHOWN, client_text(line, "sha256"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "issuer_cn"));
    table_cell(table, CELL_PLAIN, "%.10s", client_text(line, "not_after"));
    table_cell(table, graver ? CELL_WARN : CELL_PLAIN, "%s%s",
               client_number(line, "arrivals") > 1 ? "came back; " : "", text);
}

static int history(const struct client_options *options, const char *target)
{
    static const char *const headings[] = {"ADDRESS", "KEY",    "FIRST SEEN", "LAST SEEN", "CHECKS",
                                           "SHA-256", "ISSUER", "NOT AFTER",  "CHANGED",   NULL};

    return client_list("watch", options,
                       json_pack("{s:s, s:s}", "verb", "watch-history", "target", target), headings,
                       sighting_row, NULL);
}

/* ---- check ---- */

struct checking {
    struct table table;
    bool json, defect;
};

static const json_t *first_grave(const json_t *endpoint)
{
    const json_t *findings = json_object_get(endpoint, "findings");

    for (size_t i = 0; i < json_array_size(findings); i++) {
        const json_t *finding = json_array_get(findings, i);
        if (strcmp(client_text(finding, "severity"), client_text(endpoint, "verdict")) == 0)
            return finding;
    }
    return NULL;
}

static void endpoint_row(void *context, json_t *endpoint)
{
    struct checking *checking = context;
    const char *verdict = client_text(endpoint, "verdict");
    const json_t *finding = first_grave(endpoint);

    checking->defect |= strcmp(verdict, "ok") != 0;
    if (checking->json) {
        client_print_line(NULL, endpoint);
        return;
    }
    table_cell(&checking->table, CELL_PLAIN, "%s", client_text(endpoint, "target"));
    table_cell(&checking->table, CELL_PLAIN, "%s",
               client_or_dash(client_text(endpoint, "address")));
    table_cell(&checking->table, CELL_PLAIN, "%s",
               client_or_dash(client_text(endpoint, "key_type")));
    days_cell(&checking->table, json_array_get(json_object_get(endpoint, "certificates"), 0));
    table_cell(&checking->table, style_of(verdict), "%s", verdict);
    table_cell(&checking->table, CELL_PLAIN, "%s%s%s",
               finding == NULL ? client_text(endpoint, "reason") : client_text(finding, "text"),
               client_text(finding, "next")[0] == '\0' ? "" : " -> ", client_text(finding, "next"));
}

static int check(const struct client_options *options, const char *what)
{
    static const char *const headings[] = {"TARGET",  "ADDRESS", "KEY", "DAYS LEFT",
                                           "VERDICT", "WHAT",    NULL};
    struct checking checking = {.json = options->json};

    table_init(&checking.table, headings);
    int code =
        client_each("watch", options, json_pack("{s:s, s:s}", "verb", "watch-check", "what", what),
                    endpoint_row, &checking);
    table_print(&checking.table, stdout);
    table_fini(&checking.table);
    return code != 0 ? code : checking.defect ? 6 : 0;
}

/* ---- discover ---- */

static void print_begun(void *context, json_t *line)
{
    (void)context;
    fprintf(stderr, "%llu addresses and names are being looked at\n",
            (unsigned long long)client_number(line, "begun"));
}

static int discover(const struct client_options *options, const char *watch)
{
    json_t *request = json_pack("{s:s}", "verb", "watch-discover");

    json_set_text(request, "watch", watch);
    int code = client_each("watch", options, request,
                           options->json ? client_print_line : print_begun, NULL);
    return code != 0 ? code : list(options, watch, true);
}

/* ---- words ---- */

static int fail_words(void)
{
    fputs("holdfast watch: expected nothing, the name of a watch, `history TARGET`, `check [NAME | "
          "TARGET]` or `discover [NAME]`; see --help\n",
          stderr);
    return 2;
}

int cmd_watch(int argc, char **argv)
{
    struct client_options options = {.json = false};
    int code = client_options(&options, argc, argv, usage);

    if (code >= 0)
        return code;
    int words = argc - optind;
    const char *first = words > 0 ? argv[optind] : NULL,
               *second = words > 1 ? argv[optind + 1] : "";
    if (words == 0 || words > 2)
        return words == 0 ? list(&options, NULL, false) : fail_words();
    if (strcmp(first, "history") == 0)
        return words == 2 ? history(&options, second) : fail_words();
    if (strcmp(first, "check") == 0)
        return check(&options, second);
    if (strcmp(first, "discover") == 0)
        return discover(&options, second);
    return words == 1 ? list(&options, first, false) : fail_words();
}
