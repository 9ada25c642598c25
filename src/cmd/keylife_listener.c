/* `holdfast keylife --listener`: where the keys of the running sessions stand. */
#include "cmd/keylife.h"

#include <inttypes.h>
#include <math.h>

#include "base/quantity.h"
#include "base/string.h"
#include "base/table.h"

static double real(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : INFINITY;
}

static void add_row(void *context, json_t *line)
{
    struct table *table = context;
    char text[QUANTITY_TEXT_MAX];
    double share = real(line, "used");
    int style = share >= 1 ? CELL_BAD : share >= 0.5 ? CELL_WARN : CELL_GOOD;

    table_cell(table, CELL_PLAIN, "%s", client_text(line, "version"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "suite"));
    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(line, "sessions"));
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "session"));
    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(line, "records"));
    table_cell(table, CELL_RIGHT, "%s", quantity_show_bytes(text, real(line, "bytes")));
    if (isinf(share))
        table_cell(table, CELL_RIGHT, "no limit");
    else
        table_cell(table, CELL_RIGHT | style, "%.3g %%", share * 100);
    table_cell(table, CELL_PLAIN, "%s", client_text(line, "limit"));
    table_cell(table, CELL_RIGHT, "%s",
               isinf(share) ? "for ever" : quantity_show_time(text, real(line, "seconds_left")));
}

int keylife_listener(const char *listener, const struct client_options *options)
{
    static const char *const headings[] = {"VERSION",  "SUITE", "SESSIONS", "MOST USED",
                                           "RECORDS",  "DATA",  "OF LIMIT", "NEAREST",
                                           "LIMIT IN", NULL};
    json_t *request = json_pack("{s:s, s:s}", "verb", "key-usage", "listener", listener);

    return client_list("keylife", options, request, headings, add_row,
                       "no TLS session is open at this listener");
}
