#include "watch/alerts/message.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/string.h"

#define TEXT_MAX (64u << 10)

/* ---- in words ---- */

static void upper(char *destination, size_t size, const char *text)
{
    ignore(string_copy(destination, size, text));
    for (char *at = destination; *at != '\0'; at++)
        *at = (char)toupper((unsigned char)*at);
}

static void write_subject(char *subject, size_t size, const struct watch_alert *alert,
                          enum notice notice)
{
    char severity[16];

    upper(severity, sizeof severity, severity_name(alert->severity));
    ignore(snprintf(subject, size, "[holdfast] %s %s: %s",
                    notice == NOTICE_RECOVERED ? "RECOVERED" : severity, alert->subject,
                    alert->text));
}

static void write_places(struct buffer *text, const struct watch_alert *alert)
{
    size_t open = alert_open_places(alert), shown = 0;

    buffer_printf(text, "%zu place%s:\n", open, open == 1 ? "" : "s");
    for (size_t i = 0; i < alert->place_count && shown < MESSAGE_PLACES_SHOWN; i++) {
        if (alert->places[i].open) {
            bool other = strcmp(alert->places[i].certificate, alert->certificate) != 0;
            buffer_printf(text, "  %s%s\n", alert->places[i].text,
                          other ? " (by another certificate)" : "");
            shown++;
        }
    }
    if (open > shown)
        buffer_printf(text, "  and %zu more\n", open - shown);
}

static void write_line(struct buffer *text, const char *title, const char *value)
{
    if (value[0] != '\0')
        buffer_printf(text, "%s: %s\n", title, value);
}

static void write_time(struct buffer *text, const char *title, int64_t moment)
{
    char shown[32];

    if (moment > 0)
        write_line(text, title, clock_rfc3339(shown, sizeof shown, (uint64_t)moment * NS_PER_S));
}

static void write_text(struct buffer *text, const struct watch_alert *alert, enum notice notice)
{
    if (notice == NOTICE_RECOVERED)
        buffer_printf(text, "%s: this is over.\nIt was: %s\n", alert->subject, alert->text);
    else
        buffer_printf(text, "%s: %s\n", alert->subject, alert->text);
    if (notice == NOTICE_REMINDER)
        buffer_append_text(text, "This is a reminder: nobody has acknowledged it.\n");
    if (notice == NOTICE_WORSE && alert->level > 0)
        buffer_append_text(text, "It has become worse, and nobody had acknowledged it.\n");
    if (notice != NOTICE_RECOVERED) {
        write_places(text, alert);
        write_line(text, "Next step", alert->next);
    }
    write_line(text, "Finding", alert->finding);
    write_line(text, "Certificate (SHA-256)", alert->certificate);
    write_line(text, "Owner", alert->owner);
    write_line(text, "Service", alert->service);
    write_time(text, "Since", alert->since);
    write_time(text, "Over since", notice == NOTICE_RECOVERED ? alert->closed_at : 0);
    if (notice != NOTICE_RECOVERED)
        buffer_printf(text, "Acknowledge: holdfast alerts acknowledge %" PRIu64 "\n",
                      alert->number);
}

static json_t *make(const char *kind, const char *subject, struct buffer *text, int64_t now)
{
    json_t *message = json_object();

    json_set_text(message, "kind", kind);
    json_set_text(message, "subject", subject);
    json_set_text(message, "text", buffer_text(text));
    json_set_time(message, "at", now);
    return message;
}

json_t *message_new(const struct watch_alert *alert, enum notice notice, int64_t now)
{
    struct buffer text;
    char subject[sizeof alert->subject + sizeof alert->text + 40];

    buffer_init(&text, TEXT_MAX);
    write_subject(subject, sizeof subject, alert, notice);
    write_text(&text, alert, notice);
    json_t *message = make(notice_name(notice), subject, &text, now);
    buffer_fini(&text);
    ignore(json_object_set_new(message, "alert", alert_to_json(alert)));
    return message;
}

json_t *message_trial(const char *channel, int64_t now)
{
    struct buffer text;

    buffer_init(&text, TEXT_MAX);
    buffer_printf(&text,
                  "This is a trial of the channel %s: nothing is wrong.\nIf you can read this, "
                  "alerts reach you.\n",
                  channel);
    json_t *message = make("trial", "[holdfast] trial of a channel: nothing is wrong", &text, now);
    buffer_fini(&text);
    return message;
}

/* ---- Alertmanager's shape ---- */

static void set_labels(json_t *labels, const json_t *alert, const char *target)
{
    static const char *const keys[] = {"severity", "certificate", "owner", "service", "watch"};

    json_set_text(labels, "alertname", json_text(alert, "finding"));
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        json_set_text(labels, keys[i], json_text(alert, keys[i]));
    json_set_text(labels, "instance", target);
}

static void set_unix_time(json_t *object, const char *key, int64_t moment)
{
    /* Go's zero time: an end that is not known. */
    json_set_text(object, key, "0001-01-01T00:00:00Z");
    json_set_time(object, key, moment);
}

static json_t *one_alert(const json_t *message, const json_t *alert, const char *target,
                         bool resolved)
{
    json_t *object = json_object(), *labels = json_object(), *annotations = json_object();
    char fingerprint[17];

    set_labels(labels, alert, target);
    json_set_text(annotations, "summary", json_text(message, "subject"));
    json_set_text(annotations, "description", json_text(message, "text"));
    json_set_text(annotations, "next_step", json_text(alert, "next"));
    json_set_text(object, "status", resolved ? "resolved" : "firing");
    ignore(json_object_set_new(object, "labels", labels));
    ignore(json_object_set_new(object, "annotations", annotations));
    set_unix_time(object, "startsAt", json_integer_value(json_object_get(alert, "opened_at")));
    set_unix_time(object, "endsAt",
                  resolved ? json_integer_value(json_object_get(alert, "closed_at")) : 0);
    ignore(json_object_set_new(object, "generatorURL", json_string("")));
    ignore(snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64,
                    string_hash(json_text(alert, "cause")) ^ string_hash(target)));
    json_set_text(object, "fingerprint", fingerprint);
    return object;
}

/* One of Alertmanager's for each target, so that those that were firing are resolved; one for the
 * cause when no place is known. */
static json_t *alert_list(const json_t *message, bool resolved)
{
    const json_t *alert = json_object_get(message, "alert"), *place;
    const char *last = "";
    json_t *list = json_array();
    size_t i;

    json_array_foreach(json_object_get(alert, "places"), i, place)
    {
        const char *target = json_text(place, "target");
        if (!json_is_true(json_object_get(place, resolved ? "over" : "open")) ||
            strcmp(target, last) == 0)
            continue;
        ignore(json_array_append_new(list, one_alert(message, alert, target, resolved)));
        last = target;
    }
    if (json_array_size(list) == 0)
        ignore(json_array_append_new(
            list, one_alert(message, alert, json_text(alert, "subject"), resolved)));
    return list;
}

json_t *message_alertmanager(const json_t *message, const char *receiver)
{
    const json_t *alert = json_object_get(message, "alert");
    bool resolved = strcmp(json_text(message, "kind"), notice_name(NOTICE_RECOVERED)) == 0;
    json_t *body = json_object(), *group = json_object(), *labels = json_object(),
           *annotations = json_object();

    json_set_text(body, "version", "4");
    json_set_text(body, "groupKey", alert != NULL ? json_text(alert, "cause") : "trial");
    json_set_number(body, "truncatedAlerts", 0);
    json_set_text(body, "status", resolved ? "resolved" : "firing");
    json_set_text(body, "receiver", receiver);
    json_set_text(group, "alertname", alert != NULL ? json_text(alert, "finding") : "trial");
    set_labels(labels, alert, "");
    json_set_text(annotations, "summary", json_text(message, "subject"));
    ignore(json_object_set_new(body, "groupLabels", group));
    ignore(json_object_set_new(body, "commonLabels", labels));
    ignore(json_object_set_new(body, "commonAnnotations", annotations));
    ignore(json_object_set_new(body, "externalURL", json_string("")));
    ignore(json_object_set_new(body, "alerts", alert_list(message, resolved)));
    return body;
}

/* ---- mail ---- */

/* A header's value: one line, ASCII; the rest of a long one is in the text. */
static void write_header(struct buffer *output, const char *name, const char *value)
{
    char clean[200];
    size_t used = 0;

    for (; *value != '\0' && used + 1 < sizeof clean; value++)
        clean[used++] = *value >= 0x20 && *value < 0x7f ? *value : '?';
    clean[used] = '\0';
    buffer_printf(output, "%s: %s\r\n", name, clean);
}

/* By alert and opening: the first mail of a thread bears it, later ones refer to it. */
static void thread_id(char *id, size_t size, const json_t *message)
{
    const json_t *alert = json_object_get(message, "alert");

    ignore(snprintf(id, size, "alert-%lld-%lld@holdfast.invalid",
                    (long long)json_integer_value(json_object_get(alert, "number")),
                    (long long)json_integer_value(json_object_get(alert, "opened_at"))));
}

static void write_thread(struct buffer *output, const json_t *message, int64_t now)
{
    char id[96], reference[112];

    thread_id(id, sizeof id, message);
    if (strcmp(json_text(message, "kind"), notice_name(NOTICE_OPENED)) == 0) {
        buffer_printf(output, "Message-ID: <%s>\r\n", id);
        return;
    }
    buffer_printf(output, "Message-ID: <%s-%lld-%s>\r\n", json_text(message, "kind"),
                  (long long)now, id);
    ignore(snprintf(reference, sizeof reference, "<%s>", id));
    buffer_printf(output, "In-Reply-To: %s\r\nReferences: %s\r\n", reference, reference);
}

static void write_body(struct buffer *output, const char *text)
{
    for (const char *line = text; *line != '\0';) {
        size_t size = strcspn(line, "\n");
        /* libcurl stuffs dots; lines stay below the 998 of RFC 5322 because the texts are short. */
        buffer_append(output, line, size);
        buffer_append_text(output, "\r\n");
        line += size + (line[size] == '\n');
    }
}

void message_mail(struct buffer *output, const json_t *message, const char *from,
                  const char *const *to, size_t to_count, int64_t now)
{
    char date[48];
    struct tm parts;
    time_t moment = now;

    ignore((long)strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000",
                          gmtime_r(&moment, &parts)));
    write_header(output, "Date", date);
    write_header(output, "From", from);
    buffer_append_text(output, "To: ");
    for (size_t i = 0; i < to_count; i++)
        buffer_printf(output, "%s%s", i > 0 ? ",\r\n " : "", to[i]);
    buffer_append_text(output, "\r\n");
    write_header(output, "Subject", json_text(message, "subject"));
    write_thread(output, message, now);
    buffer_append_text(output, "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
                               "Content-Type: text/plain; charset=utf-8\r\n"
                               "Content-Transfer-Encoding: 8bit\r\n\r\n");
    write_body(output, json_text(message, "text"));
}
