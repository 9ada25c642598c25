/* holdfast keys resumption: who is resumed, and who is not. */
#include "cmd/keys.h"

#include <inttypes.h>
#include <string.h>

#include "admin/control_client.h"
#include "cmd/cmd.h"

static const char usage[] =
    "Usage: holdfast keys resumption show|forget [-c FILE | --socket PATH] [--json]\n"
    "\n"
    "  show    How many clients offered to resume, how many were resumed, and why the\n"
    "          others got a full handshake; what is in the cache of session ids.\n"
    "  forget  After a certificate was revoked, or whoever was let in should be asked\n"
    "          again: nothing given out so far resumes. Each client's next connection\n"
    "          is a full handshake. Live sessions stay, and so do the ticket keys.\n"
    "\n"
    "Options:\n" CLIENT_OPTIONS_HELP "\n" CLIENT_EXIT_HELP;

static void print_misses(const json_t *misses)
{
    const char *reason;
    json_t *count;

    json_object_foreach((json_t *)(uintptr_t)misses, reason, count)
    {
        if (json_integer_value(count) != 0)
            printf("  %-16s %" JSON_INTEGER_FORMAT "\n", reason, json_integer_value(count));
    }
}

static void print_cache(const json_t *cache)
{
    if (client_number(cache, "room") == 0) {
        puts("session ids: no cache (session-cache = none)");
        return;
    }
    printf("session ids: %" PRIu64 " in a cache for %" PRIu64 "; %" PRIu64 " resumed, %" PRIu64
           " unknown, %" PRIu64 " replaced before their end, %" PRIu64 " too large\n",
           client_number(cache, "entries"), client_number(cache, "room"),
           client_number(cache, "hits"), client_number(cache, "misses"),
           client_number(cache, "replaced"), client_number(cache, "too_large"));
}

static void print(void *context, json_t *line)
{
    uint64_t offered = client_number(line, "offered"), resumed = client_number(line, "resumed");
    const char *forgotten = client_text(line, "forgotten");

    (void)context;
    printf("%" PRIu64 " handshakes, %" PRIu64 " offered to resume, %" PRIu64 " resumed",
           client_number(line, "handshakes"), offered, resumed);
    if (offered > 0)
        printf(" (%.1f %%)", 100.0 * (double)resumed / (double)offered);
    puts("");
    print_misses(json_object_get(line, "misses"));
    print_cache(json_object_get(line, "session_cache"));
    if (forgotten[0] != '\0')
        printf("forgotten: what was given out before %s; live sessions stay as they are\n",
               forgotten);
}

int keys_resumption(int argc, char **argv)
{
    struct client_options options = {.json = false};
    int code = client_options(&options, argc, argv, usage);

    if (code >= 0)
        return code;
    const char *action = optind < argc ? argv[optind] : "";
    bool forget = strcmp(action, "forget") == 0;
    if ((!forget && strcmp(action, "show") != 0) || optind + 1 != argc) {
        fprintf(stderr,
                "holdfast keys resumption: expected show or forget, found \"%s\"; see --help\n",
                optind + 1 < argc ? argv[optind + 1] : action);
        return 2;
    }
    return client_each("keys resumption", &options,
                       json_pack("{s:s}", "verb", forget ? "resumption-forget" : "resumption"),
                       options.json ? client_print_line : print, NULL);
}
