/* The verbs' side of the control socket: one request, then its answer line by line
 * (doc/control-protocol.md). Blocking. */
#pragma once

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>

#include "base/buffer.h"
#include "base/error.h"
#include "conf/conf.h"

/* ---- options that all verbs talking to the daemon have ---- */

struct client_options {
    const char *config_path; /* -c FILE: the daemon's configuration, whose state folder holds
                                control.sock */
    const char *socket_path; /* --socket PATH */
    bool json;
};

enum { CLIENT_OPTION_SOCKET = 0x1000, CLIENT_OPTION_JSON, CLIENT_OPTION_LAST };

/* For the getopt_long table of a verb; its short options begin with CLIENT_SHORT_OPTIONS. */
#define CLIENT_SHORT_OPTIONS "c:h"
#define CLIENT_LONG_OPTIONS                                                                        \
    {"config", required_argument, NULL, 'c'},                                                      \
        {"socket", required_argument, NULL, CLIENT_OPTION_SOCKET},                                 \
        {"json", no_argument, NULL, CLIENT_OPTION_JSON},                                           \
    {                                                                                              \
        "help", no_argument, NULL, 'h'                                                             \
    }
#define CLIENT_OPTIONS_HELP                                                                        \
    "  -c, --config FILE   configuration of the daemon\n"                                          \
    "                      (default " CONF_PATH_DEFAULT ")\n"                                      \
    "      --socket PATH   its control socket, instead of the one in its state folder\n"           \
    "      --json          machine-readable output: one JSON object per line\n"                    \
    "  -h, --help          this text\n"
#define CLIENT_EXIT_HELP                                                                           \
    "Exit codes: 0 done, 2 wrong usage or no such object, 3 the daemon cannot be\n"                \
    "reached or the system refused, 4 a peer failed or time ran out, 5 protocol\n"                 \
    "error, 6 a check found a defect, 70 internal error.\n"

/* Takes a common option. Returns -1 when that is done, else the exit code with which to end now
 * (help shown: 0; unknown option: 2). */
int client_option(struct client_options *options, int option, const char *usage);

/* The whole command line of a verb without options of its own: words are left at `optind`. -1, or
 * the exit code. */
int client_options(struct client_options *options, int argc, char **argv, const char *usage);
/* -1, or 2 when there is a word at `optind`: `verb` takes none. */
int client_no_words(const char *verb, int argc, char **argv);

/* ---- one request ---- */

struct client {
    int fd;
    struct buffer input;
    size_t taken; /* bytes of the input already given out */
};

/* Connects and sends `request` (taken over) with up to 4 descriptors (they stay open here). On
 * failure the error says what to do. */
MUST_CHECK int client_open(struct client *ret_client, const struct client_options *options,
                           json_t *request, const int *fds, size_t fd_count, struct error *error);
/* The next line of the answer: 1 and a new reference, 0 at the end of a complete answer, negative
 * when the daemon answered with an error (carried over with its code) or the connection broke. */
MUST_CHECK int client_next(struct client *client, json_t **ret_line, struct error *error);
void client_close(struct client *client); /* accepts zeroed */

/* Prints "holdfast VERB: message" on standard error and returns the exit code. */
int client_fail(const char *verb, const struct error *error);

/* Requests and gives each line (borrowed) to `fn`; prints what goes wrong. Returns the exit code.
 */
typedef void client_line_fn(void *context, json_t *line);
int client_each(const char *verb, const struct client_options *options, json_t *request,
                client_line_fn *fn, void *context);

/* The same as a table, one or more rows a line (`fn`, whose context is the struct table), or `none`
 * (NULL: nothing) where there is no row; the lines as they are with --json. */
int client_list(const char *verb, const struct client_options *options, json_t *request,
                const char *const *headings, client_line_fn *fn, const char *none);

/* A client_line_fn that prints the line as it is (--json); needs no context. */
void client_print_line(void *context, json_t *line);

/* Prints one object as a compact line. */
void client_print_json(FILE *stream, const json_t *object);

/* ---- filling requests ---- */

/* 0, or -1: out of memory. */
int client_set_number(json_t *request, const char *key, uint64_t number);
/* The value of the option that is named like `key`, `size` bytes. */
MUST_CHECK int client_set_text(json_t *request, const char *key, const char *text, size_t size,
                               struct error *error);

/* ---- reading answers ---- */

const char *client_text(const json_t *object, const char *key); /* "" when absent */
const char *client_or_dash(const char *text);                   /* "-" for "" */
uint64_t client_number(const json_t *object, const char *key);
bool client_flag(const json_t *object, const char *key);

/* "90s", "15min", "2h", "3d" → milliseconds. */
MUST_CHECK int client_duration(uint64_t *ret_ms, const char *text, struct error *error);
/* A decimal number up to `maximum`. */
MUST_CHECK int client_count(uint64_t *ret_number, const char *text, uint64_t maximum,
                            struct error *error);
