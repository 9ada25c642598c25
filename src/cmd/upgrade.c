/* holdfast upgrade: another binary in place, sessions and all. */
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/control_client.h"
#include "base/clock.h"
#include "cmd/cmd.h"

#define POLL_MS    50
#define TIMEOUT_NS (180 * NS_PER_S)

static const char usage[] =
    "Usage: holdfast upgrade [BINARY] [--dry-run] [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "Replaces the running program by BINARY (default: what stands now at the path of\n"
    "the running one): same process number, same sockets, and every live session goes\n"
    "on. A child of the new program first shows that it can read all that the daemon\n"
    "has. If the new one crashes, hangs or cannot start its processes, the old one\n"
    "comes back by itself, sessions and all. A downgrade works the same way. Waits\n"
    "until it is decided.\n"
    "\n"
    "BINARY must belong to root or the daemon's user and be writable by nobody else.\n"
    "\n"
    "Options:\n"
    "      --dry-run       only rehearse: could it take over? changes nothing\n" CLIENT_OPTIONS_HELP
    "\n"
    "Exit codes: 0 the new program runs, 6 it was refused or rolled back, 2 wrong\n"
    "usage, 3 the daemon cannot be reached, 4 no decision in time, 70 internal error.\n";

enum { OPTION_DRY_RUN = CLIENT_OPTION_LAST };

/* One line of an answer, as a new reference; NULL with `error` filled when there was none. */
static json_t *ask(const struct client_options *options, json_t *request, struct error *error)
{
    struct client client = {.fd = -1};
    json_t *line = NULL, *more = NULL;

    int result = client_open(&client, options, request, NULL, 0, error);
    if (result == 0)
        result = client_next(&client, &line, error);
    while (result > 0 && (result = client_next(&client, &more, error)) > 0)
        json_decref(more);
    client_close(&client);
    if (result < 0) {
        json_decref(line);
        return NULL;
    }
    return line;
}

/* Control ends and begins anew meanwhile: that it cannot be asked for a moment means nothing. */
static json_t *follow(const struct client_options *options, uint64_t serial, struct error *error)
{
    uint64_t deadline_ns = clock_monotonic_ns() + TIMEOUT_NS;

    while (clock_monotonic_ns() < deadline_ns) {
        json_t *status = ask(options, json_pack("{s:s}", "verb", "upgrade-status"), error);
        if (status != NULL && client_number(status, "upgrade") >= serial &&
            !client_flag(status, "under_way"))
            return status;
        json_decref(status);
        ignore(poll(NULL, 0, POLL_MS));
    }
    ignore(error_set(error, ERROR_TIMEOUT, "no decision within %llu s; see the daemon's events",
                     (unsigned long long)(TIMEOUT_NS / NS_PER_S)));
    return NULL;
}

static int show(const struct client_options *options, const json_t *status)
{
    const char *stage = client_text(status, "stage");
    bool good = strcmp(stage, "done") == 0 || strcmp(stage, "rehearsed") == 0;

    if (options->json)
        client_print_json(stdout, status);
    else if (good)
        printf("upgrade %s: %s\n", stage, client_text(status, "detail"));
    else
        fprintf(stderr, "holdfast upgrade: %s: %s\n", stage, client_text(status, "detail"));
    return good ? 0 : 6;
}

static int upgrade(const struct client_options *options, const char *binary, bool dry_run)
{
    struct error error = {.code = ERROR_NONE};
    char *path = binary == NULL ? NULL : realpath(binary, NULL);

    if (binary != NULL && path == NULL) {
        ignore(error_set(&error, ERROR_USAGE, "there is no file %s", binary));
        return client_fail("upgrade", &error);
    }
    json_t *begun = ask(
        options, json_pack("{s:s, s:s*, s:b}", "verb", "upgrade", "path", path, "dry_run", dry_run),
        &error);
    free(path);
    if (begun == NULL)
        return client_fail("upgrade", &error);
    uint64_t serial = client_number(begun, "upgrade");
    json_decref(begun);
    json_t *status = follow(options, serial, &error);
    int code = status == NULL ? client_fail("upgrade", &error) : show(options, status);
    json_decref(status);
    return code;
}

int cmd_upgrade(int argc, char **argv)
{
    static const struct option long_options[] = {
        CLIENT_LONG_OPTIONS, {"dry-run", no_argument, NULL, OPTION_DRY_RUN}, {0}};
    struct client_options options = {.json = false};
    bool dry_run = false;
    int option;

    while ((option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1) {
        if (option == OPTION_DRY_RUN) {
            dry_run = true;
            continue;
        }
        int code = client_option(&options, option, usage);
        if (code >= 0)
            return code;
    }
    if (optind + 1 < argc) {
        fprintf(stderr, "holdfast upgrade: takes one program, found \"%s\" besides; see --help\n",
                argv[optind + 1]);
        return 2;
    }
    return upgrade(&options, argv[optind], dry_run);
}
