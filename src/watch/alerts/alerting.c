#include "watch/alerts/alerting.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/secret.h"
#include "base/string.h"
#include "conf/merge.h"
#include "conf/window.h"
#include "watch/alerts/message.h"
#include "watch/alerts/route.h"

#define KIND_ALERT        "alert"
#define KIND_NUMBER       "alert-number" /* one document, LAST: the highest number given */
#define LAST              "last"
#define KIND_SILENCE      "silence"
#define TICK_NS           (30 * NS_PER_S)
#define FLAPS             4
#define SILENCES_MAX      1000
#define SECRET_MAX        1024
#define HEARTBEAT_TIME_MS 20000

/* What the files of a channel hold. */
struct channel_files {
    struct channel_files *next;
    char channel[CONF_NAME_MAX];
    bool secret_known, trust_known; /* perhaps that they cannot be read */
    char *secret;                   /* secret memory of SECRET_MAX bytes; NULL: cannot be read */
    char *trust;
};

struct alerting {
    struct loop *loop;
    struct http_client *http;
    struct store *store;
    const struct conf *conf;
    struct alerting_host host;
    struct alerts alerts;
    uint64_t number_kept;
    struct alert_channel_host channels;
    struct deliveries *deliveries;
    struct channel_files *files;
    struct silence *silences;
    size_t silence_count;
    uint64_t silence_serial;
    struct timer tick, heartbeat;
    struct http_request *heartbeat_request;
    bool heartbeat_failing;
    int64_t heartbeat_at;
};

/* ---- telling ---- */

static bool covers_alert(const struct conf_maintenance *maintenance,
                         const struct watch_alert *alert, int64_t now)
{
    struct silence silence = {.from = now, .until = now + 1};

    for (size_t i = 0; i < maintenance->targets.count; i++) {
        ignore(string_copy(silence.target, sizeof silence.target, maintenance->targets.items[i]));
        if (silence_matches(&silence, alert, now))
            return true;
    }
    return maintenance->targets.count == 0;
}

static bool in_maintenance(const struct alerting *alerting, const struct watch_alert *alert,
                           int64_t now)
{
    for (size_t i = 0; i < alerting->conf->maintenance_count; i++) {
        const struct conf_maintenance *maintenance = &alerting->conf->maintenances[i];
        for (size_t j = 0; j < maintenance->when.count; j++) {
            struct conf_window window;
            if (conf_window_parse(&window, maintenance->when.items[j]) &&
                conf_window_covers(&window, now) && covers_alert(maintenance, alert, now))
                return true;
        }
    }
    return false;
}

static bool silenced(const struct alerting *alerting, const struct watch_alert *alert, int64_t now)
{
    for (size_t i = 0; i < alerting->silence_count; i++) {
        if (silence_matches(&alerting->silences[i], alert, now))
            return true;
    }
    return in_maintenance(alerting, alert, now);
}

static bool notice(void *context, const struct watch_alert *alert, enum notice kind)
{
    static const enum event_type events[] = {[NOTICE_OPENED] = EVENT_ALERT_OPENED,
                                             [NOTICE_WORSE] = EVENT_ALERT_WORSE,
                                             [NOTICE_REMINDER] = EVENT_ALERT_REMINDER,
                                             [NOTICE_RECOVERED] = EVENT_ALERT_RECOVERED};
    struct alerting *alerting = context;
    struct route_channels channels;
    int64_t now = time(NULL);
    char text[sizeof alert->subject + sizeof alert->text + 64];

    if (silenced(alerting, alert, now))
        return false;
    ignore(snprintf(text, sizeof text, "#%" PRIu64 " %s: %s", alert->number, alert->subject,
                    alert->text));
    alerting->host.event(alerting->host.context, events[kind], text);
    AUTO(json_t_pointer) message = message_new(alert, kind, now);
    route_alert(alerting->conf, alert, &channels);
    for (size_t i = 0; i < channels.count; i++)
        ignore((long)deliveries_add(alerting->deliveries, channels.names[i], message));
    return true;
}

/* Alerts are forgotten, their numbers stay theirs: people have them in their mails. */
static void keep_number(struct alerting *alerting)
{
    if (alerting->alerts.last_number == alerting->number_kept)
        return;
    AUTO(json_t_pointer) object = json_object();
    json_set_number(object, "number", alerting->alerts.last_number);
    store_put(alerting->store, KIND_NUMBER, LAST, object);
    alerting->number_kept = alerting->alerts.last_number;
}

static void put_alert(struct alerting *alerting, uint64_t number, json_t *object)
{
    char key[24];

    ignore(snprintf(key, sizeof key, "%020" PRIu64, number));
    store_put(alerting->store, KIND_ALERT, key, object);
}

static void keep(void *context, const struct watch_alert *alert)
{
    AUTO(json_t_pointer) object = alert_to_json(alert);

    put_alert(context, alert->number, object);
    keep_number(context);
}

static void forget(void *context, const struct watch_alert *alert)
{
    put_alert(context, alert->number, NULL);
}

/* ---- channels ---- */

static const struct conf_channel *find_channel(const struct alerting *alerting, const char *name)
{
    uint32_t found = conf_find_channel(alerting->conf, name);

    return found == CONF_NONE ? NULL : &alerting->conf->channels[found];
}

static struct channel_files *find_files(const struct alerting *alerting, const char *channel)
{
    struct channel_files *files = alerting->files;

    while (files != NULL && strcmp(files->channel, channel) != 0)
        files = files->next;
    return files;
}

static enum delivery_way way(void *context, const char *name, struct alert_channel_order *order)
{
    static const struct channel_files nothing;
    const struct alerting *alerting = context;
    const struct conf_channel *channel = find_channel(alerting, name);
    const struct channel_files *files = find_files(alerting, name);

    if (channel == NULL)
        return DELIVERY_GONE;
    if (files == NULL)
        files = &nothing;
    order->channel = channel;
    order->secret = files->secret;
    order->trust = files->trust;
    if ((channel->secret_file != NULL && !files->secret_known) ||
        (channel->trust != NULL && !files->trust_known))
        return DELIVERY_WAIT;
    return (channel->secret_file != NULL && files->secret == NULL) ||
                   (channel->trust != NULL && files->trust == NULL)
               ? DELIVERY_UNREADABLE
               : DELIVERY_GO;
}

static void told(void *context, const char *channel, enum delivery_state state, const char *text)
{
    static const enum event_type events[] = {[DELIVERY_WAITING] = EVENT_DELIVERY_FAILING,
                                             [DELIVERY_DELIVERED] = EVENT_DELIVERY_WORKS,
                                             [DELIVERY_FAILED] = EVENT_DELIVERY_GIVEN_UP};
    struct alerting *alerting = context;
    char whole[400];

    ignore(snprintf(whole, sizeof whole, "channel %s: %s", channel, text));
    alerting->host.event(alerting->host.context, events[state], whole);
}

/* NULL: out of memory; the channel's deliveries go on waiting. */
static struct channel_files *make_files(struct alerting *alerting, const char *channel)
{
    struct channel_files *files = find_files(alerting, channel);

    if (files != NULL || (files = calloc(1, sizeof *files)) == NULL)
        return files;
    ignore(string_copy(files->channel, sizeof files->channel, channel));
    files->next = alerting->files;
    alerting->files = files;
    return files;
}

void alerting_set_secret(struct alerting *alerting, const char *channel, const char *secret,
                         size_t size)
{
    struct channel_files *files = make_files(alerting, channel);

    if (files == NULL)
        return;
    files->secret_known = true;
    secret_free(files->secret, SECRET_MAX);
    files->secret = NULL;
    while (secret != NULL && size > 0 && isspace((unsigned char)secret[size - 1]))
        size--;
    if (secret == NULL || size == 0 || size >= SECRET_MAX)
        return;
    files->secret = secret_alloc(SECRET_MAX);
    if (files->secret != NULL)
        memcpy(files->secret, secret, size);
}

bool alerting_knows(const struct alerting *alerting, const char *channel, bool trust)
{
    const struct channel_files *files = find_files(alerting, channel);

    return files != NULL && (trust ? files->trust_known : files->secret_known);
}

void alerting_set_trust(struct alerting *alerting, const char *channel, const char *pem)
{
    struct channel_files *files = make_files(alerting, channel);

    if (files == NULL)
        return;
    files->trust_known = true;
    free(files->trust);
    files->trust = pem != NULL ? strdup(pem) : NULL;
}

static void free_files(struct alerting *alerting)
{
    struct channel_files *next;

    for (struct channel_files *files = alerting->files; files != NULL; files = next) {
        next = files->next;
        secret_free(files->secret, SECRET_MAX);
        free(files->trust);
        free(files);
    }
    alerting->files = NULL;
}

/* ---- heartbeat ---- */

static bool same_heartbeat(const struct conf_alerts *a, const struct conf_alerts *b)
{
    if (a->heartbeat_url == NULL || b->heartbeat_url == NULL)
        return a->heartbeat_url == b->heartbeat_url;
    return strcmp(a->heartbeat_url, b->heartbeat_url) == 0 &&
           a->heartbeat_every == b->heartbeat_every;
}

static void arm_heartbeat(struct alerting *alerting)
{
    if (alerting->conf->alerts.heartbeat_url == NULL)
        timer_cancel(alerting->loop, &alerting->heartbeat);
    else
        timer_set(alerting->loop, &alerting->heartbeat,
                  loop_now(alerting->loop) + alerting->conf->alerts.heartbeat_every * NS_PER_MS);
}

static void heartbeat_over(struct alerting *alerting, const char *trouble)
{
    bool failing = trouble != NULL;

    if (!failing)
        alerting->heartbeat_at = time(NULL);
    if (failing != alerting->heartbeat_failing)
        alerting->host.event(alerting->host.context,
                             failing ? EVENT_HEARTBEAT_FAILING : EVENT_HEARTBEAT_WORKS,
                             failing ? trouble : "the outside hears again that the watch lives");
    alerting->heartbeat_failing = failing;
}

static void heartbeat_answered(void *context, const struct http_answer *answer)
{
    struct alerting *alerting = context;
    char text[64];

    alerting->heartbeat_request = NULL;
    ignore(snprintf(text, sizeof text, "it answered %u", answer->status));
    heartbeat_over(alerting, answer->failed          ? answer->error.message
                             : answer->status >= 400 ? text
                                                     : NULL);
}

/* Sent only while the watch really works, so that its silence means something. */
static void beat(void *context)
{
    struct alerting *alerting = context;
    const struct http_order order = {.url = alerting->conf->alerts.heartbeat_url,
                                     .timeout_ms = HEARTBEAT_TIME_MS,
                                     .answer_max = 64u << 10,
                                     .follow = true};
    struct error error = {0};

    arm_heartbeat(alerting);
    if (alerting->heartbeat_request != NULL || !alerting->host.alive(alerting->host.context))
        return;
    alerting->heartbeat_request =
        http_client_ask(alerting->http, &order, heartbeat_answered, alerting, &error);
    if (alerting->heartbeat_request == NULL)
        heartbeat_over(alerting, error.message);
}

/* ---- silences ---- */

static void drop_silence(struct alerting *alerting, size_t at)
{
    store_put(alerting->store, KIND_SILENCE, alerting->silences[at].id, NULL);
    memmove(&alerting->silences[at], &alerting->silences[at + 1],
            (alerting->silence_count - at - 1) * sizeof *alerting->silences);
    alerting->silence_count--;
}

static bool add_silence(struct alerting *alerting, const struct silence *silence)
{
    struct silence *larger =
        realloc(alerting->silences, (alerting->silence_count + 1) * sizeof *alerting->silences);

    if (larger == NULL)
        return false;
    alerting->silences = larger;
    alerting->silences[alerting->silence_count++] = *silence;
    return true;
}

static void drop_ended_silences(struct alerting *alerting, int64_t now)
{
    for (size_t i = alerting->silence_count; i-- > 0;) {
        if (alerting->silences[i].until <= now)
            drop_silence(alerting, i);
    }
}

int alerting_silence(struct alerting *alerting, struct silence *silence, struct error *error)
{
    if (alerting->silence_count == SILENCES_MAX)
        return error_set(error, ERROR_LIMIT,
                         "there are %d silences; end one that is no longer needed", SILENCES_MAX);
    ignore(snprintf(silence->id, sizeof silence->id, "s%" PRIu64, ++alerting->silence_serial));
    if (!add_silence(alerting, silence))
        return error_set(error, ERROR_MEMORY, "out of memory");
    AUTO(json_t_pointer) object = silence_to_json(silence);
    store_put(alerting->store, KIND_SILENCE, silence->id, object);
    return 0;
}

int alerting_unsilence(struct alerting *alerting, const char *id, struct error *error)
{
    for (size_t i = 0; i < alerting->silence_count; i++) {
        if (strcmp(alerting->silences[i].id, id) == 0) {
            drop_silence(alerting, i);
            alerts_tick(&alerting->alerts, time(NULL));
            return 0;
        }
    }
    return error_set(error, ERROR_NOT_FOUND,
                     "there is no silence of this id; see: holdfast alerts silences");
}

void alerting_each_silence(const struct alerting *alerting, alerting_each_fn *fn, void *context)
{
    for (size_t i = 0; i < alerting->silence_count; i++) {
        AUTO(json_t_pointer) object = silence_to_json(&alerting->silences[i]);
        fn(context, object);
    }
}

/* ---- as time goes by ---- */

static void on_tick(void *context)
{
    struct alerting *alerting = context;
    int64_t now = time(NULL);

    drop_ended_silences(alerting, now);
    alerts_tick(&alerting->alerts, now);
    timer_set(alerting->loop, &alerting->tick, loop_now(alerting->loop) + TICK_NS);
}

/* ---- beginning and end ---- */

static int restore_number(void *context, const char *key, const json_t *document)
{
    struct alerting *alerting = context;
    bool wrong = false;
    (void)key;

    alerting->alerts.last_number = json_get_number(document, "number", 0, &wrong);
    alerting->number_kept = alerting->alerts.last_number;
    return 0;
}

static int restore_alert(void *context, const char *key, const json_t *document)
{
    struct alerting *alerting = context;
    struct watch_alert *alert = alert_from_json(document);

    if (alert == NULL)
        store_put(alerting->store, KIND_ALERT, key, NULL);
    else
        alerts_restore(&alerting->alerts, alert, time(NULL));
    return 0;
}

static int restore_silence(void *context, const char *key, const json_t *document)
{
    struct alerting *alerting = context;
    struct silence silence;
    uint64_t serial = strtoull(key + 1, NULL, 10);

    if (serial > alerting->silence_serial)
        alerting->silence_serial = serial;
    if (silence_from_json(&silence, document, time(NULL), NULL) == 0)
        ignore(add_silence(alerting, &silence));
    else
        store_put(alerting->store, KIND_SILENCE, key, NULL);
    return 0;
}

static void restore(struct alerting *alerting)
{
    struct error error;

    /* A store that cannot be read is in trouble, and says so itself. */
    ignore(store_each_document(alerting->store, KIND_NUMBER, restore_number, alerting, &error));
    ignore(store_each_document(alerting->store, KIND_ALERT, restore_alert, alerting, &error));
    ignore(store_each_document(alerting->store, KIND_SILENCE, restore_silence, alerting, &error));
    keep_number(alerting);
}

static void take_rules(struct alerting *alerting)
{
    const struct conf_alerts *alerts = &alerting->conf->alerts;

    alerting->alerts.rules = (struct alerts_rules){.open_after = alerts->open_after,
                                                   .close_after = alerts->close_after,
                                                   .reminder_s = (int64_t)alerts->reminder / 1000,
                                                   .quiet_s = (int64_t)alerts->quiet / 1000,
                                                   .flaps = FLAPS};
}

struct alerting *alerting_new(struct loop *loop, struct http_client *http, struct store *store,
                              const struct conf *conf, const struct alerting_host *host)
{
    struct alerting *alerting = calloc(1, sizeof *alerting);
    const struct deliveries_host deliveries = {.context = alerting, .way = way, .told = told};
    const struct alerts_host alerts = {
        .context = alerting, .notice = notice, .keep = keep, .forget = forget};

    if (alerting == NULL)
        return NULL;
    *alerting =
        (struct alerting){.loop = loop, .http = http, .store = store, .conf = conf, .host = *host};
    alerts_init(&alerting->alerts, &(struct alerts_rules){.open_after = 1}, &alerts);
    take_rules(alerting);
    timer_init(&alerting->tick, on_tick, alerting);
    timer_init(&alerting->heartbeat, beat, alerting);
    alert_channel_host_init(&alerting->channels, loop, http);
    alerting->deliveries = deliveries_new(loop, &alerting->channels, store, &deliveries);
    if (alerting->deliveries == NULL) {
        alerting_free(alerting);
        return NULL;
    }
    restore(alerting);
    timer_set(loop, &alerting->tick, loop_now(loop) + TICK_NS);
    if (conf->alerts.heartbeat_url != NULL)
        timer_set(loop, &alerting->heartbeat, loop_now(loop));
    return alerting;
}

void alerting_free(struct alerting *alerting)
{
    if (alerting == NULL)
        return;
    timer_cancel(alerting->loop, &alerting->tick);
    timer_cancel(alerting->loop, &alerting->heartbeat);
    http_client_cancel(alerting->heartbeat_request);
    deliveries_free(alerting->deliveries);
    alerts_fini(&alerting->alerts);
    free_files(alerting);
    free(alerting->silences);
    free(alerting);
}

struct reloading {
    const struct conf *before, *after;
};

static bool same_channel(const void *context, const char *name)
{
    const struct reloading *reloading = context;

    return conf_same_channel(reloading->before, reloading->after, name);
}

void alerting_reload(struct alerting *alerting, const struct conf *conf)
{
    const struct reloading reloading = {.before = alerting->conf, .after = conf};

    alerting->conf = conf;
    free_files(alerting);
    take_rules(alerting);
    deliveries_reload(alerting->deliveries, same_channel, &reloading);
    if (same_heartbeat(&reloading.before->alerts, &conf->alerts))
        return;
    http_client_cancel(alerting->heartbeat_request);
    alerting->heartbeat_request = NULL;
    arm_heartbeat(alerting);
}

/* ---- results ---- */

void alerting_result(struct alerting *alerting, const struct conf_watch *watch, const char *target,
                     const json_t *endpoints)
{
    const struct alert_subject subject = {
        .watch = watch->name,
        .target = target,
        .owner = watch->owner != NULL ? watch->owner : "",
        .service = watch->service != NULL ? watch->service : "",
        .critical = watch->critical,
        .renewal = {.manual = watch->renewal == CONF_RENEWAL_MANUAL,
                    .grace_s = (int64_t)watch->renewal_grace / 1000}};

    alerts_result(&alerting->alerts, &subject, endpoints, time(NULL));
}

void alerting_forget(struct alerting *alerting, const char *target)
{
    alerts_forget(&alerting->alerts, target, time(NULL));
}

void alerting_keep(struct alerting *alerting, alerts_watched_fn *watched, const void *context)
{
    alerts_keep(&alerting->alerts, watched, context, time(NULL));
}

/* ---- for the verbs ---- */

static json_t *describe(const struct alerting *alerting, const struct watch_alert *alert,
                        int64_t now)
{
    json_t *object = alert_to_json(alert), *names = json_array();
    struct route_channels channels;

    route_alert(alerting->conf, alert, &channels);
    for (size_t i = 0; i < channels.count; i++)
        ignore(json_array_append_new(names, json_name(channels.names[i])));
    ignore(json_object_set_new(object, "channels", names));
    json_set_flag(object, "silenced", silenced(alerting, alert, now));
    return object;
}

void alerting_each(const struct alerting *alerting, bool all, alerting_each_fn *fn, void *context)
{
    const struct map_entry *entry;

    for (size_t at = 0; (entry = map_next(&alerting->alerts.by_cause, &at)) != NULL;) {
        const struct watch_alert *alert = entry->value;
        if (!all && alert->state != ALERT_OPEN)
            continue;
        AUTO(json_t_pointer) object = describe(alerting, alert, time(NULL));
        fn(context, object);
    }
}

int alerting_acknowledge(struct alerting *alerting, uint64_t number, const char *by,
                         const char *comment, struct error *error)
{
    struct watch_alert *alert = alerts_find(&alerting->alerts, number);

    if (alert == NULL || number == 0)
        return error_set(error, ERROR_NOT_FOUND,
                         "there is no alert of number %" PRIu64 "; see: holdfast alerts", number);
    if (alert->state != ALERT_OPEN)
        return error_set(error, ERROR_USAGE, "alert %" PRIu64 " is not open", number);
    alerts_acknowledge(&alerting->alerts, alert, by, comment, time(NULL));
    return 0;
}

int alerting_test(struct alerting *alerting, const char *channel, uint64_t *ret_number,
                  struct error *error)
{
    if (find_channel(alerting, channel) == NULL)
        return error_set(error, ERROR_NOT_FOUND, "there is no channel of this name");
    AUTO(json_t_pointer) message = message_trial(channel, time(NULL));
    uint64_t number = deliveries_add(alerting->deliveries, channel, message);
    if (number == 0)
        return error_set(error, ERROR_MEMORY, "out of memory");
    *ret_number = number;
    return 0;
}

const struct deliveries *alerting_deliveries(const struct alerting *alerting)
{
    return alerting->deliveries;
}

void alerting_counts(const struct alerting *alerting, struct alerting_counts *ret_counts)
{
    struct alerting_counts counts = {.waiting = deliveries_waiting(alerting->deliveries),
                                     .heartbeat_at = alerting->heartbeat_at};
    const struct map_entry *entry;
    int64_t now = time(NULL);

    for (size_t at = 0; (entry = map_next(&alerting->alerts.by_cause, &at)) != NULL;) {
        const struct watch_alert *alert = entry->value;
        if (alert->state != ALERT_OPEN)
            continue;
        counts.open++;
        counts.critical += alert->severity == SEVERITY_CRITICAL;
        counts.acknowledged += alert->acknowledged_at != 0;
        counts.silenced += silenced(alerting, alert, now);
    }
    *ret_counts = counts;
}
