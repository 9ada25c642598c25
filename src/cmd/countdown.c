/* holdfast countdown: the one number, for a wall, a script or a glance. */
#include <math.h>
#include <string.h>

#include "admin/control_client.h"
#include "base/json.h"
#include "cmd/cmd.h"

static const char usage[] =
    "Usage: holdfast countdown HOST [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "Prints how many days the certificate of a watched host has left: the fewest of\n"
    "all its endpoints. Exits with 6 when it has ended or the host's verdict is\n"
    "critical.\n"
    "\n"
    "Options:\n" CLIENT_OPTIONS_HELP "\n" CLIENT_EXIT_HELP;

struct countdown {
    json_t *least; /* the line with the fewest days */
    bool critical, seen;
};

static void take(void *context, json_t *line)
{
    struct countdown *countdown = context;
    const json_t *days = json_object_get(line, "days_left");

    countdown->seen = true;
    countdown->critical |= strcmp(client_text(line, "verdict"), "critical") == 0;
    if (days == NULL || (countdown->least != NULL &&
                         json_number_value(days) >=
                             json_number_value(json_object_get(countdown->least, "days_left"))))
        return;
    json_decref(countdown->least);
    countdown->least = json_incref(line);
}

/* In days, near the end in hours. */
static void print(const struct countdown *countdown, const char *host)
{
    double days = json_number_value(json_object_get(countdown->least, "days_left"));
    const char *until = client_text(countdown->least, "not_after");
    bool hours = fabs(days) < 2;
    double left = floor(fabs(days) * (hours ? 24 : 1));
    const char *unit = hours ? (left == 1 ? "hour" : "hours") : "days";

    if (countdown->least == NULL) {
        printf("%s: not known yet\n", host);
        return;
    }
    printf(days < 0 ? "%s: ended %.0f %s ago, on " : "%s: %.0f %s left, until ", host, left, unit);
    printf("%.*s%s\n", hours ? 16 : 10, until, hours ? " UTC" : "");
}

int cmd_countdown(int argc, char **argv)
{
    struct client_options options = {.json = false};
    struct countdown countdown = {0};
    int code = client_options(&options, argc, argv, usage);

    if (code >= 0)
        return code;
    if (optind + 1 != argc) {
        fputs("holdfast countdown: expected one HOST; see --help\n", stderr);
        return 2;
    }
    const char *host = argv[optind];
    code = client_each("countdown", &options,
                       json_pack("{s:s, s:s}", "verb", "watch", "host", host), take, &countdown);
    if (code == 0 && !countdown.seen) {
        fprintf(stderr, "holdfast countdown: %s is not watched; `holdfast watch` lists what is\n",
                host);
        code = 2;
    } else if (code == 0) {
        if (options.json && countdown.least != NULL)
            client_print_line(NULL, countdown.least);
        else
            print(&countdown, host);
        bool ended = json_number_value(json_object_get(countdown.least, "days_left")) < 0;
        code = ended || countdown.critical ? 6 : 0;
    }
    json_decref(countdown.least);
    return code;
}
