/* holdfast explain: from what somebody's client says to what is wrong, and back. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "admin/control_client.h"
#include "base/json.h"
#include "base/string.h"
#include "base/table.h"
#include "base/terminal.h"
#include "cmd/cmd.h"
#include "watch/explain.h"

#define TEXT_MAX 4096

static const char usage[] =
    "Usage: holdfast explain ERROR... [--json]\n"
    "       holdfast explain --list [--json]\n"
    "\n"
    "Says what an error of a browser, library or tool means: what happened, which\n"
    "certificate is to blame, what to do, and what holdfast check calls it. And back:\n"
    "of a finding of holdfast check, what each client calls it. ERROR:\n"
    "NET::ERR_CERT_DATE_INVALID, SEC_ERROR_UNKNOWN_ISSUER, \"alert 45\", \"curl 60\",\n"
    "X509_V_ERR_CERT_HAS_EXPIRED, chain-incomplete, or a whole message as it was\n"
    "printed.\n"
    "\n"
    "Options:\n"
    "      --list   all findings that are known\n"
    "      --json   machine-readable output: one JSON object per line\n"
    "  -h, --help   this text\n"
    "\n"
    "Exit codes: 0 explained, 2 wrong usage, or nothing of it is known.\n";

/* ---- for people ---- */

static void print_name(const struct explain_error *error)
{
    if (error->code >= 0)
        printf("%s (%d)", error->name, error->code);
    else
        fputs(error->name, stdout);
}

static bool has_cause(const struct explain_error *error, const struct explain_cause *cause)
{
    for (size_t i = 0; i < EXPLAIN_CAUSES_MAX && error->causes[i] != NULL; i++) {
        if (strcmp(error->causes[i], cause->id) == 0)
            return true;
    }
    return false;
}

/* One line per client. */
static void print_names(const struct explain_cause *cause)
{
    const char *client = "";

    for (size_t i = 0; i < explain_error_count; i++) {
        const struct explain_error *error = &explain_errors[i];
        if (!has_cause(error, cause))
            continue;
        if (strcmp(client, error->client) != 0)
            printf("%s    %-10s  ", client[0] != '\0' ? "\n" : "  clients call it\n",
                   error->client);
        else
            fputs(", ", stdout);
        client = error->client;
        print_name(error);
    }
    if (client[0] != '\0')
        putchar('\n');
}

static void print_words(const char *label, const char *text)
{
    printf("  %-14s  ", label);
    terminal_wrap(stdout, text, 18, terminal_reading_width(stdout, 0));
    putchar('\n');
}

static void print_cause(const struct explain_cause *cause, bool names)
{
    puts(cause->id);
    print_words("what happened", cause->what);
    if (cause->which != NULL)
        print_words("which one", cause->which);
    print_words("what to do", cause->next);
    if (names)
        print_names(cause);
}

static void print_answer(const struct explain_answer *answer)
{
    for (size_t i = 0; i < answer->error_count; i++) {
        printf("%s: ", answer->errors[i]->client);
        print_name(answer->errors[i]);
        putchar('\n');
    }
    if (answer->cause_count > 1)
        puts("It has more than one possible cause, the likeliest first; holdfast check tells "
             "which.");
    for (size_t i = 0; i < answer->cause_count; i++) {
        if (i > 0 || answer->error_count > 0)
            putchar('\n');
        print_cause(answer->causes[i], answer->cause_count == 1);
    }
}

/* ---- for machines ---- */

static json_t *error_to_json(const struct explain_error *error)
{
    json_t *object = json_object();

    json_set_text(object, "client", error->client);
    json_set_text(object, "name", error->name);
    if (error->code >= 0)
        json_set_number(object, "code", (uint64_t)error->code);
    return object;
}

static json_t *cause_to_json(const struct explain_cause *cause)
{
    json_t *object = json_object(), *names = json_array();

    json_set_text(object, "id", cause->id);
    json_set_text(object, "what", cause->what);
    json_set_text(object, "which", cause->which);
    json_set_text(object, "next", cause->next);
    for (size_t i = 0; i < explain_error_count; i++) {
        if (has_cause(&explain_errors[i], cause))
            ignore(json_array_append_new(names, error_to_json(&explain_errors[i])));
    }
    ignore(json_object_set_new(object, "clients", names));
    return object;
}

static void print_json(json_t *object)
{
    client_print_json(stdout, object);
    json_decref(object);
}

static void print_answer_json(const char *text, const struct explain_answer *answer)
{
    json_t *object = json_object(), *errors = json_array(), *causes = json_array();

    json_set_text(object, "text", text);
    for (size_t i = 0; i < answer->error_count; i++)
        ignore(json_array_append_new(errors, error_to_json(answer->errors[i])));
    for (size_t i = 0; i < answer->cause_count; i++)
        ignore(json_array_append_new(causes, cause_to_json(answer->causes[i])));
    ignore(json_object_set_new(object, "errors", errors));
    ignore(json_object_set_new(object, "causes", causes));
    print_json(object);
}

/* ---- the verb ---- */

static int list(bool json)
{
    static const char *const headings[] = {"FINDING", "WHAT HAPPENED", NULL};
    struct table table;

    table_init(&table, headings);
    for (size_t i = 0; i < explain_cause_count; i++) {
        if (json)
            print_json(cause_to_json(&explain_causes[i]));
        table_cell(&table, CELL_PLAIN, "%s", explain_causes[i].id);
        table_cell(&table, CELL_PLAIN, "%s", explain_causes[i].what);
    }
    if (!json)
        table_print(&table, stdout);
    table_fini(&table);
    return 0;
}

static int explain_text(const char *text, bool json)
{
    struct explain_answer answer;
    char shown[160];

    if (!explain(&answer, text)) {
        fprintf(stderr,
                "holdfast explain: nothing is known of \"%s\"; the nearest that is: \"%s\"; "
                "--list shows all findings\n",
                string_printable(shown, sizeof shown, text, strlen(text)), explain_nearest(text));
        return 2;
    }
    if (json)
        print_answer_json(text, &answer);
    else
        print_answer(&answer);
    return 0;
}

/* The words as one text: quotes around a message are easily forgotten. */
static bool join(char text[TEXT_MAX], char **words, int count)
{
    size_t used = 0;

    for (int i = 0; i < count; i++) {
        size_t length = strlen(words[i]);
        if (used + length + 2 > TEXT_MAX)
            return false;
        if (i > 0)
            text[used++] = ' ';
        memcpy(text + used, words[i], length);
        used += length;
    }
    text[used] = '\0';
    return true;
}

int cmd_explain(int argc, char **argv)
{
    static const struct option long_options[] = {{"list", no_argument, NULL, 'l'},
                                                 {"json", no_argument, NULL, 'j'},
                                                 {"help", no_argument, NULL, 'h'},
                                                 {0}};
    bool json = false, all = false;
    char text[TEXT_MAX];
    int option;

    while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (option == '?')
            return 2;
        json = json || option == 'j';
        all = all || option == 'l';
    }
    if (all && optind == argc)
        return list(json);
    if (all || optind == argc) {
        fputs("holdfast explain: expected an ERROR, or --list; see --help\n", stderr);
        return 2;
    }
    if (!join(text, argv + optind, argc - optind)) {
        fprintf(stderr, "holdfast explain: the text is longer than %d bytes\n", TEXT_MAX - 2);
        return 2;
    }
    return explain_text(text, json);
}
