#include "admin/event_json.h"

#include <inttypes.h>
#include <stdio.h>

#include "admin/view.h"
#include "base/clock.h"
#include "base/json.h"
#include "loop/socket_json.h"

char *session_id_text(char text[SESSION_ID_TEXT_MAX], unsigned relay, uint64_t serial)
{
    ignore(snprintf(text, SESSION_ID_TEXT_MAX, "%u-%" PRIu64, relay, serial));
    return text;
}

static void set_process(json_t *object, unsigned worker)
{
    char text[32];
    unsigned index;

    if (worker >= BOARD_PROCESSES)
        return;
    enum process_kind kind = view_process_kind(worker, &index);
    if (kind != PROCESS_SUPERVISOR && kind != PROCESS_CONTROL)
        ignore(snprintf(text, sizeof text, "%s/%u", process_kind_name(kind), index));
    else
        ignore(snprintf(text, sizeof text, "%s", process_kind_name(kind)));
    json_set_text(object, "process", text);
}

static void set_objects(json_t *object, const struct event *event, const struct conf *conf)
{
    if (event->listener != EVENT_NO_INDEX)
        json_set_text(object, "listener", view_listener_name(conf, event->listener));
    if (event->upstream != EVENT_NO_INDEX)
        json_set_text(object, "upstream", view_upstream_name(conf, event->upstream));
    if (event->server != EVENT_NO_INDEX)
        json_set_text(object, "server", view_server_name(conf, event->upstream, event->server));
    if (event->certificate != CONF_NONE) {
        json_set_text(object, "certificate", view_certificate_name(conf, event->certificate));
        json_set_number(object, "certificate_version", event->certificate_version);
    }
}

static void set_alert(json_t *object, const char *key, unsigned alert)
{
    if (alert != ALERT_NONE)
        json_set_text(object, key, alert_name(alert));
}

static void set_handshake(json_t *object, const struct event *event)
{
    char number[VIEW_NUMBER_MAX];

    bool about_certificate = event->type == EVENT_CERTIFICATE_LOADED ||
                             event->type == EVENT_CERTIFICATE_REFUSED ||
                             event->type == EVENT_CERTIFICATE_ROLLED_BACK;

    json_set_field(object, about_certificate ? "host" : "sni", event->server_name,
                   sizeof event->server_name);
    json_set_text(object, "version", view_version_name(event->version, number));
    json_set_text(object, "suite", view_suite_name(event->version, event->suite, number));
    json_set_field(object, "group", event->group, sizeof event->group);
    json_set_field(object, "alpn", event->alpn, sizeof event->alpn);
    if (event->type == EVENT_HANDSHAKE_DONE) {
        json_set_flag(object, "resumed", (event->flags & EVENT_RESUMED) != 0);
        if (event->resumption_miss != RESUMPTION_MISS_NONE)
            json_set_text(object, "resumption_miss",
                          resumption_miss_name((enum resumption_miss)event->resumption_miss));
        json_set_text(object, "key_type", (event->flags & EVENT_KEY_RSA) != 0 ? "rsa" : "ecdsa");
    }
    if ((event->flags & EVENT_HELLO_RETRY) != 0)
        json_set_flag(object, "hello_retry", true);
    json_set_field(object, "stage", event->stage, sizeof event->stage);
    set_alert(object, "alert_sent", event->alert_sent);
    set_alert(object, "alert_received", event->alert_received);
    json_set_field(object, "ja4", event->fingerprint, sizeof event->fingerprint);
}

json_t *event_to_json(const struct event *event, const struct conf *conf)
{
    char text[40];
    json_t *object = json_object();

    if (object == NULL)
        return NULL;
    json_set_text(object, "time", clock_rfc3339(text, sizeof text, event->wall_ns));
    json_set_text(object, "event", event_name((enum event_type)event->type));
    set_process(object, event->worker);
    if (event->session != 0)
        json_set_text(object, "session",
                      session_id_text(text, SESSION_ID_RELAY(event->session),
                                      SESSION_ID_SERIAL(event->session)));
    json_set_address(object, "client", event->client, event->client_port);
    set_objects(object, event, conf);
    set_handshake(object, event);
    if (event->type == EVENT_CONFIG_LOADED)
        json_set_number(object, "config_generation", event->config);
    if (event->type == EVENT_SESSION_CLOSED) {
        json_set_text(object, "reason", session_end_name((enum session_end)event->reason));
        json_set_number(object, "bytes_in", event->bytes_in);
        json_set_number(object, "bytes_out", event->bytes_out);
    }
    if (event->duration_us != 0)
        json_set_number(object, "duration_us", event->duration_us);
    json_set_field(object, "detail", event->detail, sizeof event->detail);
    return object;
}
