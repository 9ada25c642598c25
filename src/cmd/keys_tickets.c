/* holdfast keys tickets: the keys of session tickets. */
#include "cmd/keys.h"

#include <inttypes.h>
#include <string.h>

#include "admin/control_client.h"
#include "base/string.h"
#include "base/table.h"

static const char usage[] =
    "Usage: holdfast keys tickets list [-c FILE | --socket PATH] [--json]\n"
    "       holdfast keys tickets rotate [--drop-previous] [-c FILE | --socket PATH]\n"
    "                [--json]\n"
    "\n"
    "  list    The keys, newest first, and whether they are stored. An id is a hash\n"
    "          of the name that tickets carry in clear. The current key encrypts, the\n"
    "          others only decrypt.\n"
    "  rotate  The next key's turn is now. Tickets given so far go on resuming.\n"
    "\n"
    "Options:\n"
    "      --drop-previous when a key may be known to others: all keys are thrown\n"
    "      away, also the\n"
    "                      next one. Nothing given so far resumes, by ticket or by\n"
    "                      id; each\n"
    "                      client's next connection is a full handshake. Live\n"
    "                      sessions stay.\n"
    "                      Recorded TLS 1.2 traffic of sessions that were resumed or\n"
    "                      given a\n"
    "                      ticket can still be read with the old keys; TLS 1.3\n"
    "                      traffic cannot.\n" CLIENT_OPTIONS_HELP "\n" CLIENT_EXIT_HELP;

enum { OPTION_DROP_PREVIOUS = CLIENT_OPTION_LAST };

static const char *const headings[] = {"KEY", "ROLE", "FROM", "OPENS UNTIL", "MADE BY", "AT", NULL};

static void print_head(const json_t *head)
{
    const char *storage = client_text(head, "storage"), *done = client_text(head, "done");
    char lifetime[32], longest[32];

    if (done[0] != '\0')
        printf("%s; live sessions stay as they are\n",
               strcmp(done, "rotated") == 0 ? "rotated: the next key is current"
                                            : "replaced: no ticket given so far resumes");
    if (strcmp(storage, "memory") == 0)
        puts("stored: in memory only; set key-encryption-key to keep them over a restart");
    else if (strcmp(storage, "file") == 0)
        printf("stored: encrypted, %s\n", client_text(head, "file"));
    else
        printf("NOT STORED since %s: %s\n", client_text(head, "storage_failed_since"),
               client_text(head, "storage_error"));
    printf(
        "a key encrypts for %s; a ticket resumes for %s at most\n\n",
        string_duration(lifetime, sizeof lifetime, client_number(head, "key_lifetime_s") * 1000),
        string_duration(longest, sizeof longest, client_number(head, "longest_ticket_s") * 1000));
}

static void row(void *context, json_t *line)
{
    struct table *table = context;

    if (json_object_get(line, "storage") != NULL) {
        print_head(line);
        return;
    }
    const char *role = client_text(line, "role"), *until = client_text(line, "not_after");
    const char *since = client_text(line, "since");
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "id"));
    table_cell(table, strcmp(role, "current") == 0 ? CELL_GOOD : CELL_PLAIN, "%s", role);
    table_cell(table, CELL_PLAIN, "%s", since[0] != '\0' ? since : client_text(line, "not_before"));
    table_cell(table, CELL_PLAIN, "%s", until[0] != '\0' ? until : "-");
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "cause"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "node"));
}

static int ask(const struct client_options *options, json_t *request)
{

    return client_list("keys tickets", options, request, headings, row, NULL);
}

static int fail_usage(const char *expected, const char *found)
{
    fprintf(stderr, "holdfast keys tickets: expected %s, found \"%s\"; see --help\n", expected,
            found);
    return 2;
}

int keys_tickets(int argc, char **argv)
{
    static const struct option long_options[] = {
        CLIENT_LONG_OPTIONS, {"drop-previous", no_argument, NULL, OPTION_DROP_PREVIOUS}, {0}};
    struct client_options options = {.json = false};
    bool drop = false;
    int option;

    while ((option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1) {
        if (option == OPTION_DROP_PREVIOUS) {
            drop = true;
            continue;
        }
        int code = client_option(&options, option, usage);
        if (code >= 0)
            return code;
    }
    const char *action = optind < argc ? argv[optind] : "";
    bool rotate = strcmp(action, "rotate") == 0;
    if (!rotate && strcmp(action, "list") != 0)
        return fail_usage("list or rotate", action);
    if (optind + 1 != argc)
        return fail_usage("nothing more", argv[optind + 1]);
    if (drop && !rotate)
        return fail_usage("rotate with --drop-previous", action);
    return ask(&options, rotate ? json_pack("{s:s, s:b}", "verb", "tickets-rotate", "drop_previous",
                                            (int)drop)
                                : json_pack("{s:s}", "verb", "tickets"));
}
