/* Alerting in control: it hears of every result of the watch. The files with its channels' secrets
 * are opened by the supervisor, which alone may read them. */
#include "admin/control_internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/string.h"

/* Requests to the supervisor have this bit, and below it a round, whether it is the trust file, and
 * the channel's number. */
#define REQUEST_BIT  0x20000000u
#define TRUST_BIT    0x8000u
#define CHANNEL_BITS 16
#define TRUST_MAX    (4u << 20)
#define SECRET_MAX   1024
#define LATE_S       300 /* a check that is due for so long: the watch does not live */
/* Questions and answers have to fit into queues: few are asked at once, and those without an answer
 * again. */
#define ASKED_MAX    16
#define ASK_AGAIN_NS NS_PER_S

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

/* False: not now. */
static bool ask_for(struct control *control, const char *path, uint32_t what)
{
    struct message_open body = {.request = request_round(control) | what};

    ignore(string_copy(body.path, sizeof body.path, path)); /* cut, it is none of ours: refused */
    return worker_tell(&control->worker, MESSAGE_OPEN, &body, sizeof body, NULL, 0);
}

/* What is not known yet, some of it; the answers and the timer ask for more. */
static void ask_for_files(struct control *control, const struct conf *conf)
{
    bool told = true;

    control->alerts_asked = 0;
    for (uint32_t i = 0; told && i < 2 * conf->channel_count && i / 2 < TRUST_BIT; i++) {
        const struct conf_channel *channel = &conf->channels[i / 2];
        bool trust = i % 2 != 0;
        const char *path = trust ? channel->trust : channel->secret_file;
        if (path == NULL || alerting_knows(control->alerting, channel->name, trust))
            continue;
        told = control->alerts_asked < ASKED_MAX &&
               ask_for(control, path, i / 2 | (trust ? TRUST_BIT : 0));
        control->alerts_asked += told;
    }
    if (control->alerts_asked > 0 || !told)
        timer_set(control->worker.loop, &control->alerts_files,
                  loop_now(control->worker.loop) + ASK_AGAIN_NS);
    else
        timer_cancel(control->worker.loop, &control->alerts_files);
}

static void on_ask_again(void *context)
{
    struct control *control = context;

    ask_for_files(control, control->worker.conf);
}

/* That nothing can be sent is said when it is configured, not when something has happened. */
static void load_client(struct control *control, const struct conf *conf)
{
    bool needed = conf->alerts.heartbeat_url != NULL;
    struct error error;

    for (size_t i = 0; i < conf->channel_count && !needed; i++)
        needed = conf->channels[i].type != CONF_CHANNEL_EXEC;
    if (needed && http_client_load(&error) < 0)
        worker_warn(&control->worker, "alerts cannot be sent: %s", error.message);
}

/* What was asked for another configuration is no answer. */
static void begin_asking(struct control *control, const struct conf *conf)
{
    control->alerts_request++;
    ask_for_files(control, conf);
}

static void read_secret(struct control *control, const char *channel, int fd)
{
    struct error error = {0};
    struct buffer secret;

    buffer_init_secret(&secret, SECRET_MAX - 1);
    int result = file_read(&secret, fd, "it", &error);
    if (result == 0 && secret.size > 0) {
        alerting_set_secret(control->alerting, channel, buffer_text(&secret), secret.size);
    } else {
        alerting_set_secret(control->alerting, channel, NULL, 0);
        worker_warn(&control->worker,
                    "secret-file of channel %s: %s; expected a short line of text", channel,
                    result == 0 ? "it is empty" : error.message);
    }
    buffer_fini(&secret);
}

static void read_trust(struct control *control, const char *channel, int fd)
{
    struct error error = {0};
    struct buffer text;

    buffer_init(&text, TRUST_MAX);
    int result = file_read(&text, fd, "it", &error);
    if (result < 0)
        worker_warn(&control->worker, "trust file of channel %s: %s", channel, error.message);
    alerting_set_trust(control->alerting, channel, result == 0 ? buffer_text(&text) : NULL);
    buffer_fini(&text);
}

static void take_file(struct control *control, const char *channel, bool trust, int fd, int result)
{
    if (fd >= 0) {
        (trust ? read_trust : read_secret)(control, channel, fd);
        return;
    }
    worker_warn(&control->worker, "cannot open the %s of channel %s: %s",
                trust ? "trust file" : "secret-file", channel,
                strerror(result < 0 ? -result : EIO));
    if (trust)
        alerting_set_trust(control->alerting, channel, NULL);
    else
        alerting_set_secret(control->alerting, channel, NULL, 0);
}

static void take_answer(struct control *control, const struct message_opened *body, int fd)
{
    const struct conf *conf = control->worker.conf;
    uint32_t what = body->request & ((1u << CHANNEL_BITS) - 1), number = what & ~TRUST_BIT;

    if (control->alerting == NULL || body->request != (request_round(control) | what) ||
        number >= conf->channel_count)
        return; /* of a configuration that has gone */
    take_file(control, conf->channels[number].name, (what & TRUST_BIT) != 0, fd, body->result);
    if (control->alerts_asked > 0 && --control->alerts_asked == 0)
        ask_for_files(control, conf);
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
    take_answer(control, body, fd);
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
    timer_init(&control->alerts_files, on_ask_again, control);
    load_client(control, conf);
    begin_asking(control, conf);
    return 0;
}

void control_alerts_reload(struct control *control, const struct conf *conf)
{
    if (control->alerting == NULL)
        return;
    alerting_reload(control->alerting, conf);
    load_client(control, conf);
    begin_asking(control, conf);
}

void control_alerts_fini(struct control *control)
{
    timer_cancel(control->worker.loop, &control->alerts_files);
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
