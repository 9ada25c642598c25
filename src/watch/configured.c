#include "watch/configured.h"

#include <stdlib.h>
#include <string.h>

#include "base/string.h"
#include "watch/target.h"
#include "watch/watcher_internal.h"

struct asking {
    const struct conf *conf;
    FILE *report;
    bool lines;
    size_t refused;
    struct target target;
};

/* The daemon's working folder says nothing to whoever wrote it. */
static int check_target(struct asking *asking, const char *text, struct error *error)
{
    const char *path = conf_target_path(text);
    char shown[160];

    if (path != NULL && path[0] != '/' && path[0] != '\0')
        return error_set(error, ERROR_CONFIG,
                         "found \"%s\"; expected an absolute path behind file:",
                         string_printable(shown, sizeof shown, text, strlen(text)));
    return target_parse(&asking->target, text, error);
}

static int ask(void *context, const struct conf_watch *watch, const char *text, unsigned line,
               bool discover)
{
    struct asking *asking = context;
    struct error error = {0};
    char number[16] = "";

    if ((discover ? discover_check(text, &error) : check_target(asking, text, &error)) == 0)
        return 0;
    if (asking->lines && line != 0)
        ignore(snprintf(number, sizeof number, "%u:", line));
    fprintf(asking->report, "%s:%s %s in watch '%s': %s\n", asking->conf->path, number,
            discover ? "discover" : "targets", watch->name, error.message);
    asking->refused++;
    return 0;
}

/* As `check` says it of --require-hsts. */
static void check_hsts(struct asking *asking, const struct conf_watch *watch)
{
    bool any = !watch->require_hsts;

    for (size_t i = 0; i < watch->targets.count && !any; i++)
        any = target_parse(&asking->target, watch->targets.items[i].text, NULL) == 0 &&
              asking->target.https;
    if (any)
        return;
    fprintf(asking->report,
            "%s: require-hsts in watch '%s': no target is asked by HTTP; expected "
            "https://shop.example\n",
            asking->conf->path, watch->name);
    asking->refused++;
}

size_t configured_check(const struct conf *conf, bool lines, FILE *report)
{
    struct asking *asking = calloc(1, sizeof *asking);

    if (asking == NULL)
        return 1;
    *asking = (struct asking){.conf = conf, .report = report, .lines = lines};
    ignore(conf_each_target(conf, ask, asking));
    for (size_t i = 0; i < conf->watch_count; i++)
        check_hsts(asking, &conf->watches[i]);
    size_t refused = asking->refused;
    free(asking);
    return refused;
}
