/* Alerting in control: it hears of every result of the watch. The files with its channels' secrets
 * are opened by the supervisor, which alone may read them. */
#include "admin/control_internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/secret.h"
#include "base/string.h"

/* Requests to the supervisor have this bit, and below it a round, whether it is the trust file, and
 * the channel's number. */
#define REQUEST_BIT  0x20000000u
#define TRUST_BIT    0x8000u
#define CHANNEL_BITS 16
#define TRUST_MAX    (4u << 20)
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

static uint32_t request_round(const struct control *control)
{
    return REQUEST_BIT | (control->alerts_request << CHANNEL_BITS & (REQUEST_BIT - 1));
}

static void ask_for(struct control *control, const char *path, uint32_t what)
{
    struct message_open body = {.request = request_round(control) | what};

    if (path != NULL && string_copy(body.path, sizeof body.path, path) &&
        !worker_tell(&control->worker, MESSAGE_OPEN, &body, sizeof body, NULL, 0))
        worker_warn(&control->worker, "the supervisor cannot be asked for %s just now", path);
}

static void ask_for_files(struct control *control, const struct conf *conf)
{
    control->alerts_request++;
    for (uint32_t i = 0; i < conf->channel_count && i < TRUST_BIT; i++) {
        ask_for(control, conf->channels[i].secret_file, i);
        ask_for(control, conf->channels[i].trust, i | TRUST_BIT);
    }
}

static void read_secret(struct control *control, const char *channel, int fd)
{
    char *secret = secret_alloc(SECRET_MAX);
    ssize_t size = secret != NULL ? read(fd, secret, SECRET_MAX) : -1;

    if (size > 0 && size < SECRET_MAX) {
        alerting_set_secret(control->alerting, channel, secret, (size_t)size);
    } else {
        alerting_set_secret(control->alerting, channel, NULL, 0);
        worker_warn(&control->worker,
                    "secret-file of channel %s: found %s; expected a short line of text", channel,
                    size > 0 ? "more than 1023 bytes" : "nothing");
    }
    secret_free(secret, SECRET_MAX);
}

static void read_trust(struct control *control, const char *channel, int fd)
{
    struct buffer text;
    ssize_t size = 1;

    buffer_init(&text, TRUST_MAX);
    while (size > 0 && !text.failed) {
        uint8_t piece[8192];
        size = read(fd, piece, sizeof piece);
        if (size > 0)
            buffer_append(&text, piece, (size_t)size);
    }
    if (size < 0 || text.failed)
        worker_warn(&control->worker, "trust file of channel %s cannot be read, or is too long",
                    channel);
    alerting_set_trust(control->alerting, channel,
                       size == 0 && !text.failed ? buffer_text(&text) : NULL);
    buffer_fini(&text);
}

static void take_file(struct control *control, const struct message_opened *body, int fd)
{
    uint32_t what = body->request & ((1u << CHANNEL_BITS) - 1), number = what & ~TRUST_BIT;
    bool trust = (what & TRUST_BIT) != 0;

    if (control->alerting == NULL || body->request != (request_round(control) | what) ||
        number >= control->worker.conf->channel_count)
        return; /* of a configuration that has gone */
    const char *channel = control->worker.conf->channels[number].name;
    if (fd >= 0) {
        (trust ? read_trust : read_secret)(control, channel, fd);
        return;
    }
    worker_warn(&control->worker, "cannot open the %s of channel %s: %s",
                trust ? "trust file" : "secret-file", channel,
                strerror(body->result < 0 ? -body->result : EIO));
    if (trust)
        alerting_set_trust(control->alerting, channel, NULL);
    else
        alerting_set_secret(control->alerting, channel, NULL, 0);
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
    take_file(control, body, fd);
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
    ask_for_files(control, conf);
    return 0;
}

void control_alerts_reload(struct control *control, const struct conf *conf)
{
    if (control->alerting == NULL)
        return;
    alerting_reload(control->alerting, conf);
    ask_for_files(control, conf);
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
