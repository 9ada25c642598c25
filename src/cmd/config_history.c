#include "cmd/config_history.h"

#include <inttypes.h>
#include <string.h>

#include "base/table.h"
#include "cmd/reload_lines.h"

#define VERB "config"

bool config_history_knows(const char *word)
{
    return strcmp(word, "history") == 0 || strcmp(word, "rollback") == 0 ||
           strcmp(word, "confirm") == 0;
}

static void add_row(void *context, json_t *line)
{
    struct table *table = context;

    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(line, "entry"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "time"));
    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(line, "bytes"));
    table_cell(table, CELL_GOOD, "%s", client_flag(line, "in_force") ? "in force" : "");
}

static int history(const struct client_options *options)
{
    static const char *const headings[] = {"ENTRY", "ACCEPTED", "BYTES", "", NULL};
    json_t *request = json_pack("{s:s}", "verb", "config-history");

    return client_list(VERB, options, request, headings, add_row, NULL);
}

static int rollback(const struct client_options *options, const char *text)
{
    struct error error = {0};
    uint64_t entry = 0;

    if (text != NULL && client_count(&entry, text, UINT32_MAX, &error) < 0)
        return client_fail(VERB, &error);
    return client_each(
        VERB, options,
        json_pack("{s:s, s:I}", "verb", "config-rollback", "entry", (json_int_t)entry),
        options->json ? client_print_line : reload_print_line, NULL);
}

int config_history(int count, char **arguments, const struct client_options *options)
{
    bool rolls_back = strcmp(arguments[0], "rollback") == 0;

    if (count > (rolls_back ? 2 : 1)) {
        fprintf(stderr, "holdfast config: found too many words behind %s; see --help\n",
                arguments[0]);
        return 2;
    }
    if (rolls_back)
        return rollback(options, count == 2 ? arguments[1] : NULL);
    if (strcmp(arguments[0], "history") == 0)
        return history(options);
    return client_each(VERB, options, json_pack("{s:s}", "verb", "config-confirm"),
                       options->json ? client_print_line : reload_print_line, NULL);
}
