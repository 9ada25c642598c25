/* holdfast certs: which certificate is in service where, and for how long. */
#include <inttypes.h>
#include <string.h>

#include "admin/control_client.h"
#include "base/table.h"
#include "cmd/cmd.h"

#define DAYS_SOON         14
#define FINGERPRINT_SHOWN 16

static const char usage[] =
    "Usage: holdfast certs [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "Lists every certificate with its version in service, how long it is valid,\n"
    "whether each address was seen serving it, and why the newest was refused, if it\n"
    "was. --json has everything.\n"
    "\n"
    "Options:\n" CLIENT_OPTIONS_HELP "\n" CLIENT_EXIT_HELP;

/* "2 of 3" addresses that were seen serving it; skipped ones do not count. */
static void served_cell(struct table *table, const json_t *certificate)
{
    const json_t *checks = json_object_get(certificate, "served");
    size_t served = 0, all = 0, pending = 0;

    for (size_t i = 0; i < json_array_size(checks); i++) {
        const char *result = client_text(json_array_get(checks, i), "result");
        served += strcmp(result, "served") == 0;
        pending += strcmp(result, "pending") == 0;
        all += strcmp(result, "skipped") != 0;
    }
    if (all == 0)
        table_cell(table, CELL_PLAIN, "-");
    else
        table_cell(table,
                   served == all             ? CELL_GOOD
                   : served + pending == all ? CELL_PLAIN
                                             : CELL_BAD,
                   "%zu of %zu", served, all);
}

static void certificate_row(void *context, json_t *certificate)
{
    struct table *table = context;
    const char *host = client_text(certificate, "host"), *state = client_text(certificate, "state");
    json_int_t left = json_integer_value(json_object_get(certificate, "days_left"));

    table_cell(table, CELL_PLAIN, "%s%s%s", client_text(certificate, "name"),
               host[0] != '\0' ? "/" : "", host);
    table_cell(table, CELL_PLAIN, "%s", client_text(certificate, "from"));
    table_cell(table, strcmp(state, "live") == 0 ? CELL_GOOD : CELL_WARN, "%s", state);
    if (json_object_get(certificate, "version") == NULL) {
        for (int i = 0; i < 6; i++)
            table_cell(table, CELL_PLAIN, "-");
    } else {
        table_cell(table, CELL_RIGHT, "%" PRIu64, client_number(certificate, "version"));
        table_cell(table, CELL_PLAIN, "%s-%" PRIu64, client_text(certificate, "key_type"),
                   client_number(certificate, "key_bits"));
        table_cell(table,
                   CELL_RIGHT | (left < 0           ? CELL_BAD
                                 : left < DAYS_SOON ? CELL_WARN
                                                    : CELL_PLAIN),
                   "%lld", (long long)left);
        table_cell(table, CELL_PLAIN, "%.10s", client_text(certificate, "not_after"));
        served_cell(table, certificate);
        table_cell(table, CELL_PLAIN, "%.*s", FINGERPRINT_SHOWN,
                   client_text(certificate, "fingerprint"));
    }
    table_cell(table, CELL_BAD, "%s", client_text(certificate, "last_error"));
}

int cmd_certs(int argc, char **argv)
{
    static const char *const headings[] = {"CERTIFICATE", "FROM",       "STATE",     "VERSION",
                                           "KEY",         "DAYS LEFT",  "NOT AFTER", "SERVED",
                                           "SHA-256",     "LAST ERROR", NULL};
    struct client_options options = {.json = false};
    int code = client_options(&options, argc, argv, usage);

    if (code < 0)
        code = client_no_words("certs", argc, argv);
    if (code >= 0)
        return code;
    return client_list("certs", &options, json_pack("{s:s}", "verb", "certs"), headings,
                       certificate_row, "no certificates are configured");
}
