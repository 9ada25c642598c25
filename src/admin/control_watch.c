/* The watch in control: what it needs of its process. It begins with the first configuration that
 * has something to watch, and its store is there for all that has to be remembered. */
#include "admin/control_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/string.h"

static void host_event(void *context, enum event_type type, const char *text)
{
    control_report(context, type, CONF_NONE, text);
}

static bool host_open(void *context, uint32_t request, const char *path)
{
    struct control *control = context;
    struct message_open body = {.request = request};

    return string_copy(body.path, sizeof body.path, path) &&
           worker_tell(&control->worker, MESSAGE_OPEN, &body, sizeof body, NULL, 0);
}

static pid_t host_start(void *context, int fd)
{
    struct control *control = context;

    return prober_client_spawn(control->program, fd);
}

static bool is_watched(const void *context, const char *target)
{
    return watcher_find(context, target) != NULL;
}

static int begin(struct control *control, const struct conf *conf, struct error *error)
{
    const struct watcher_host host = {.context = control,
                                      .event = host_event,
                                      .open = host_open,
                                      .checked = control_alerts_checked,
                                      .forgotten = control_alerts_forgotten,
                                      .start = host_start};
    char path[PATH_MAX];

    control->program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (control->program < 0)
        return error_set(error, ERROR_IO, "cannot open our own program: %s", strerror(errno));
    ignore(snprintf(path, sizeof path, "%s/watch.db", conf->state_folder));
    int result = store_open(&control->store, path, error);
    if (result == 0)
        result = control_alerts_init(control, conf, error);
    if (result == 0)
        result = watcher_new(&control->watcher, control->worker.loop, conf, control->store, &host,
                             error);
    if (result == 0)
        alerting_keep(control->alerting, is_watched, control->watcher);
    return result;
}

bool control_watch_reload(struct control *control, const struct conf *conf)
{
    struct error error = {0};

    if (control->watcher != NULL) {
        control_alerts_reload(control, conf);
        return watcher_reload(control->watcher, conf);
    }
    if (conf->watch_count == 0 && !conf->exporter.present)
        return true;
    if (begin(control, conf, &error) == 0)
        return true;
    worker_warn(&control->worker, "cannot watch: %s", error.message);
    control_watch_fini(control);
    return error.code != ERROR_MEMORY;
}

bool control_watch_opened(struct control *control, struct message *message)
{
    const struct message_opened *body = (const void *)message->body;

    if (message->type != MESSAGE_OPENED || message->size != sizeof *body ||
        (body->request & WATCHER_REQUEST_BIT) == 0)
        return false;
    int fd = message->fd_count > 0 ? message->fds[0] : -1;
    if (fd >= 0)
        message->fds[0] = -1;
    if (control->watcher != NULL)
        watcher_opened(control->watcher, body->request, fd, body->result);
    else if (fd >= 0)
        ignore(close(fd));
    return true;
}

static json_t *store_to_json(const struct store_health *health)
{
    json_t *object = json_object();

    json_set_text(object, "state", health->troubled ? "failing" : "ok");
    if (health->troubled) {
        json_set_text(object, "trouble", health->trouble);
        json_set_time(object, "since", health->since);
    }
    json_set_text(object, "set_aside", health->aside);
    json_set_number(object, "waiting", health->waiting);
    json_set_number(object, "dropped", health->dropped);
    return object;
}

json_t *control_watch_status(const struct control *control)
{
    struct watcher_state state;
    json_t *object, *prober;

    if (control->watcher == NULL)
        return NULL;
    watcher_state(control->watcher, &state);
    object = json_object();
    json_set_number(object, "targets", state.targets);
    json_set_number(object, "pending", state.pending);
    json_set_number(object, "endpoints", state.endpoints);
    json_set_number(object, "ok", state.ok);
    json_set_number(object, "warning", state.warning);
    json_set_number(object, "critical", state.critical);
    json_set_number(object, "unknown", state.unknown);
    json_set_number(object, "discovered", state.discovered);
    json_set_number(object, "checks", state.checks);
    prober = json_object();
    json_set_number(prober, "pid", (uint64_t)state.prober.pid);
    json_set_number(prober, "starts", state.prober.starts);
    json_set_number(prober, "pending", state.prober.pending);
    ignore(json_object_set_new(object, "prober", prober));
    ignore(json_object_set_new(object, "store", store_to_json(&state.store)));
    return object;
}

void control_watch_fini(struct control *control)
{
    watcher_free(control->watcher);
    control->watcher = NULL;
    control_alerts_fini(control);
    store_free(control->store);
    control->store = NULL;
    if (control->program >= 0)
        ignore(close(control->program));
    control->program = -1;
}
