#include "cmd/server_row.h"

#include <inttypes.h>
#include <string.h>

#include "admin/control_client.h"

const char *const server_headings[] = {"UPSTREAM", "SERVER",   "STATE",    "HEALTH", "WEIGHT",
                                       "SESSIONS", "CONNECTS", "FAILURES", NULL};

void server_row(struct table *table, const json_t *server)
{
    const char *state = client_text(server, "state");
    bool healthy = client_flag(server, "healthy");

    table_cell(table, CELL_PLAIN, "%s", client_text(server, "upstream"));
    table_cell(table, CELL_PLAIN, "%s", client_text(server, "server"));
    table_cell(table, strcmp(state, "ready") == 0 ? CELL_PLAIN : CELL_WARN, "%s", state);
    if (client_flag(server, "checked"))
        table_cell(table, healthy ? CELL_GOOD : CELL_BAD, "%s", healthy ? "up" : "down");
    else
        table_cell(table, CELL_PLAIN, "unchecked");
    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(server, "weight"));
    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(server, "sessions"));
    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(server, "connects"));
    table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(server, "connect_failures"));
}
