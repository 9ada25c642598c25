/* What stands behind the pages, the metrics of the watch, and the probes of the exporter. */
#include "admin/control_internal.h"

#include <stdlib.h>
#include <time.h>

#include "admin/countdown.h"
#include "watch/export.h"
#include "watch/report.h"

#define PROBE_MAX (16u << 20) /* bytes */

static bool exports(void *context, int number)
{
    const struct control *control = context;
    const struct conf_addresses *bind = &control->worker.conf->exporter.bind;

    for (size_t i = 0; i < control->admin_count; i++) {
        if (control->admin[i].number != number)
            continue;
        for (size_t j = 0; j < bind->count; j++) {
            if (address_equal(&bind->items[j], &control->admin[i].address))
                return true;
        }
    }
    return false;
}

static bool countdown(void *context, struct buffer *html, const char *host)
{
    const struct control *control = context;

    return countdown_page(html, control->watcher, host, time(NULL));
}

static void metrics(void *context, struct buffer *output)
{
    const struct control *control = context;

    export_metrics(output, control->watcher, control->alerting, control->worker.conf);
}

/* ---- probes ---- */

struct control_probe {
    struct control_probe *next;
    struct control *control;
    struct http_probe *who;
};

static void drop_probe(struct control_probe *probe)
{
    struct control_probe **link = &probe->control->probes;

    while (*link != probe)
        link = &(*link)->next;
    *link = probe->next;
    probe->control->probe_count--;
    free(probe);
}

static void probed(void *context, const json_t *endpoints, const char *trouble)
{
    struct control_probe *probe = context;
    struct http_probe *who = probe->who;
    struct buffer text;

    drop_probe(probe);
    if (trouble != NULL) {
        http_probed(who, NULL);
        return;
    }
    buffer_init(&text, PROBE_MAX);
    report_prometheus(&text, endpoints, false);
    http_probed(who, &text);
}

static int probe(void *context, struct http_probe *who, const char *target, const char *module,
                 struct error *error)
{
    struct control *control = context;
    const struct conf *conf = control->worker.conf;
    json_t *request;

    if (control->watcher == NULL || control->probe_count >= conf->exporter.probes)
        return error_set(error, ERROR_BUSY, "too many probes are under way; try again");
    int result = export_request(&request, conf, control->watcher, target, module, error);
    if (result < 0)
        return result;
    struct control_probe *made = calloc(1, sizeof *made);
    if (made == NULL) {
        json_decref(request);
        return error_set(error, ERROR_MEMORY, "out of memory");
    }
    *made = (struct control_probe){.next = control->probes, .control = control, .who = who};
    control->probes = made;
    control->probe_count++;
    if (watcher_probe(control->watcher, request, probed, made))
        return 0;
    drop_probe(made);
    return error_set(error, ERROR_MEMORY, "out of memory");
}

static void forget(void *context, struct http_probe *who)
{
    struct control *control = context;
    struct control_probe *probe = control->probes;

    while (probe != NULL && probe->who != who)
        probe = probe->next;
    if (probe == NULL)
        return;
    watcher_forget(control->watcher, probe);
    drop_probe(probe);
}

void control_http_init(struct control *control)
{
    control->http_host = (struct http_host){.context = control,
                                            .exports = exports,
                                            .countdown = countdown,
                                            .metrics = metrics,
                                            .probe = probe,
                                            .forget = forget};
    control->http = http_new(control->worker.loop, &control->view, &control->http_host);
}
