/* Alerting in control: it hears of every result of the watch. The files with its channels' secrets
 * are opened by the supervisor, which alone may read them. */
#include "admin/control_internal.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/secret.h"
#include "base/string.h"

/* Requests to the supervisor have this bit, and below it the channel's number. */
#define REQUEST_BIT  0x20000000u
#define CHANNEL_BITS 16
#define SECRET_MAX   1024
#define LATE_S       300 /* a check that is due for so long: the watch does not live */

static void host_event(void *context, enum event_type type, const char *text)
{
    control_report(context, type, CONF_NONE, text);
}

/* Every check comes about when it is due, or soon after. */
static bool host_alive(void *context)
{
    const struct control *control = context;
    struct watcher_cursor cursor = {0};
    struct watcher_place place;
    int64_t now = time(NULL);

    if (control->watcher == NULL)
        return false;
    while (watcher_next(control->watcher, &cursor, &place)) {
        if (place.next_check != 0 && now - place.next_check > LATE_S)
            return false;
    }
    return true;
}

/* A channel whose file cannot be asked for has no secret, and says so when it is to deliver. */
static void ask_for_secrets(struct control *control, const struct conf *conf)
{
    control->alerts_request++;
    for (size_t i = 0; i < conf->channel_count && i < 1u << CHANNEL_BITS; i++) {
        struct message_open body = {
            .request = REQUEST_BIT | (control->alerts_request << CHANNEL_BITS & (REQUEST_BIT - 1)) |
                       (uint32_t)i};
        if (conf->channels[i].secret_file != NULL &&
            string_copy(body.path, sizeof body.path, conf->channels[i].secret_file))
            ignore(worker_tell(&control->worker, MESSAGE_OPEN, &body, sizeof body, NULL, 0));
    }
}

static void read_secret(struct control *control, const char *channel, int fd)
{
    char *secret = secret_alloc(SECRET_MAX);

    if (secret == NULL)
        return;
    ssize_t size = read(fd, secret, SECRET_MAX);
    if (size > 0 && size < SECRET_MAX)
        alerting_set_secret(control->alerting, channel, secret, (size_t)size);
    else
        worker_warn(&control->worker,
                    "secret-file of channel %s: found %s; expected a short line of text", channel,
                    size > 0 ? "more than 1023 bytes" : "nothing");
    secret_free(secret, SECRET_MAX);
}

bool control_alerts_opened(struct control *control, struct message *message)
{
    const struct message_opened *body = (const void *)message->body;

    if (message->type != MESSAGE_OPENED || message->size != sizeof *body ||
        (body->request & REQUEST_BIT) == 0 || (body->request & WATCHER_REQUEST_BIT) != 0)
        return false;
    int fd = message->fd_count > 0 ? message->fds[0] : -1;
    if (fd >= 0)
        message->fds[0] = -1;
    uint32_t round = control->alerts_request << CHANNEL_BITS & (REQUEST_BIT - 1);
    uint32_t number = body->request & ((1u << CHANNEL_BITS) - 1);
    bool current = (body->request & (REQUEST_BIT - 1)) == (round | number) &&
                   control->alerting != NULL && number < control->worker.conf->channel_count;
    const char *channel = current ? control->worker.conf->channels[number].name : "";
    if (current && fd >= 0)
        read_secret(control, channel, fd);
    else if (current)
        worker_warn(&control->worker, "cannot open the secret-file of channel %s: %s", channel,
                    strerror(body->result < 0 ? -body->result : 0));
    if (fd >= 0)
        ignore(close(fd));
    return true;
}

int control_alerts_init(struct control *control, const struct conf *conf, struct error *error)
{
    const struct alerting_host host = {
        .context = control, .event = host_event, .alive = host_alive};
    int result = http_client_new(&control->http_client, control->worker.loop, error);

    if (result < 0)
        return result;
    control->alerting =
        alerting_new(control->worker.loop, control->http_client, control->store, conf, &host);
    if (control->alerting == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    ask_for_secrets(control, conf);
    return 0;
}

void control_alerts_reload(struct control *control, const struct conf *conf)
{
    if (control->alerting == NULL)
        return;
    alerting_reload(control->alerting, conf);
    ask_for_secrets(control, conf);
}

void control_alerts_fini(struct control *control)
{
    alerting_free(control->alerting);
    control->alerting = NULL;
    http_client_free(control->http_client);
    control->http_client = NULL;
}

void control_alerts_checked(void *context, const struct conf_watch *watch, const char *target,
                            const json_t *endpoints)
{
    const struct control *control = context;

    if (control->alerting != NULL)
        alerting_result(control->alerting, watch, target, endpoints);
}

void control_alerts_forgotten(void *context, const char *target)
{
    const struct control *control = context;

    if (control->alerting != NULL)
        alerting_forget(control->alerting, target);
}

json_t *control_alerts_status(const struct control *control)
{
    struct alerting_counts counts;

    if (control->alerting == NULL)
        return NULL;
    alerting_counts(control->alerting, &counts);
    json_t *object = json_object();
    json_set_number(object, "open", counts.open);
    json_set_number(object, "critical", counts.critical);
    json_set_number(object, "acknowledged", counts.acknowledged);
    json_set_number(object, "silenced", counts.silenced);
    json_set_number(object, "deliveries_waiting", counts.waiting);
    json_set_time(object, "heartbeat_at", counts.heartbeat_at);
    return object;
}
