#include "admin/event_feed.h"

#include <string.h>

#include "admin/event_json.h"
#include "base/json.h"
#include "ipc/ring.h"

#define LINE_MAX_BYTES 8192

bool event_feed_logs(struct event_feed *feed, const struct event *event)
{
    const struct conf *conf = feed->view->conf;

    switch ((enum event_type)event->type) {
    case EVENT_HANDSHAKE_DONE:
        if (conf->log_handshakes == CONF_LOG_FAILURES)
            return false;
        return conf->log_handshakes == CONF_LOG_ALL || conf->log_sample <= 1 ||
               feed->done_seen++ % conf->log_sample == 0;
    case EVENT_SESSION_CLOSED:
    case EVENT_RENEGOTIATED:
        return conf->log_sessions;
    case EVENT_TRACE:
        return false;
    case EVENT_PROCESS_STARTED:
    case EVENT_PROCESS_ENDED:
    case EVENT_SESSIONS_ADOPTED:
    case EVENT_UPGRADE_BEGUN:
    case EVENT_UPGRADE_REHEARSED:
    case EVENT_UPGRADED:
    case EVENT_UPGRADE_REFUSED:
    case EVENT_UPGRADE_ROLLED_BACK:
    case EVENT_READY:
    case EVENT_STOPPING:
    case EVENT_HANDSHAKE_FAILED:
    case EVENT_DETACH_FAILED:
    case EVENT_RENEGOTIATION_FAILED:
    case EVENT_CLIENT_AUTHENTICATED:
    case EVENT_AUTHENTICATION_FAILED:
    case EVENT_CERTIFICATE_LOADED:
    case EVENT_CERTIFICATE_REFUSED:
    case EVENT_CERTIFICATE_ROLLED_BACK:
    case EVENT_CLIENT_TRUST_LOADED:
    case EVENT_CLIENT_TRUST_REFUSED:
    case EVENT_CLIENT_TRUST_STALE:
    case EVENT_SESSIONS_JUDGED:
    case EVENT_ACCEPT_PAUSED:
    case EVENT_ACCEPT_RESUMED:
    case EVENT_OVERLOAD_BEGAN:
    case EVENT_OVERLOAD_ENDED:
    case EVENT_CONNECTION_REFUSED:
    case EVENT_UPSTREAM_DOWN:
    case EVENT_UPSTREAM_UP:
    case EVENT_UPSTREAM_FAILED:
    case EVENT_UPSTREAM_CHANGED:
    case EVENT_DRAIN_BEGUN:
    case EVENT_DRAIN_ENDED:
    case EVENT_DRAIN_CANCELLED:
    case EVENT_NAME_RESOLVED:
    case EVENT_CONFIG_LOADED:
    case EVENT_CONFIG_REFUSED:
    case EVENT_CONFIG_RETURNED:
    case EVENT_CONFIG_CONFIRMED:
    case EVENT_TRAFFIC_KEY_EXHAUSTING:
    case EVENT_RESUMPTION_FORGOTTEN:
    case EVENT_TICKET_KEYS_READY:
    case EVENT_TICKET_KEYS_ROTATED:
    case EVENT_TICKET_KEYS_STORAGE_FAILED:
    case EVENT_TICKET_KEYS_STORAGE_HEALED:
    case EVENT_WATCH_VERDICT:
    case EVENT_WATCH_CERTIFICATE:
    case EVENT_WATCH_IN_TURN:
    case EVENT_WATCH_DISCOVERED:
    case EVENT_WATCH_STORE_FAILED:
    case EVENT_WATCH_STORE_HEALED:
    case EVENT_ALERT_OPENED:
    case EVENT_ALERT_WORSE:
    case EVENT_ALERT_REMINDER:
    case EVENT_ALERT_RECOVERED:
    case EVENT_DELIVERY_FAILING:
    case EVENT_DELIVERY_WORKS:
    case EVENT_DELIVERY_GIVEN_UP:
    case EVENT_HEARTBEAT_FAILING:
    case EVENT_HEARTBEAT_WORKS:
    case EVENT_WARNING:
        return true;
    case EVENT_TYPE_COUNT:
        break;
    }
    return false;
}

static void handle(struct event_feed *feed, const struct event *event)
{
    bool logged = event_feed_logs(feed, event);

    feed->authenticated_seen += event->type == EVENT_CLIENT_AUTHENTICATED;
    if (!logged && feed->listener == NULL)
        return;
    json_t *object = event_to_json(event, feed->view->conf);
    if (object == NULL)
        return;
    if (feed->listener != NULL)
        feed->listener(feed->listener_context, event, object);
    if (!logged) {
        json_decref(object);
        return;
    }
    struct buffer line;
    buffer_init(&line, LINE_MAX_BYTES);
    if (json_line(object, &line))
        log_write(feed->log, (const char *)line.data, line.size);
    buffer_fini(&line);
}

static size_t drain_ring(struct event_feed *feed, unsigned worker, bool rare, size_t maximum)
{
    struct ring *ring = events_ring(feed->events, worker, rare);
    uint32_t capacity = rare ? EVENT_RARE_CAPACITY : EVENT_BULK_CAPACITY;
    const void *record;
    size_t count = 0;

    while (count < maximum && (record = ring_peek(ring, sizeof(struct event), capacity)) != NULL) {
        /* A copy: the writer could change the record while it is looked at. */
        struct event event;
        memcpy(&event, record, sizeof event);
        ring_release(ring);
        if (worker != board_worker_number(PROCESS_SUPERVISOR, 0))
            event.worker = (uint16_t)worker; /* the supervisor alone may speak for others */
        handle(feed, &event);
        count++;
    }
    return count;
}

bool event_feed_drain(struct event_feed *feed, size_t maximum)
{
    size_t count = 0;

    for (int rare = 1; rare >= 0; rare--) {
        for (unsigned worker = 0; worker < BOARD_PROCESSES && count < maximum; worker++)
            count += drain_ring(feed, worker, rare != 0, maximum - count);
    }
    return count >= maximum;
}
