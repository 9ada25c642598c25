#include "watch/alerts/alert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/string.h"

static const char *const state_names[] = {
    [ALERT_PENDING] = "pending", [ALERT_OPEN] = "open", [ALERT_CLOSED] = "closed"};

const char *alert_state_name(enum alert_state state)
{
    return state_names[state];
}

void alert_free(struct watch_alert *alert)
{
    if (alert == NULL)
        return;
    free(alert->places);
    free(alert);
}

size_t alert_open_places(const struct watch_alert *alert)
{
    size_t count = 0;

    for (size_t i = 0; i < alert->place_count; i++)
        count += alert->places[i].open;
    return count;
}

struct alert_place *alert_find_place(struct watch_alert *alert, const char *text,
                                     const char *target)
{
    for (size_t i = 0; i < alert->place_count; i++) {
        if (strcmp(alert->places[i].text, text) == 0 &&
            strcmp(alert->places[i].target, target) == 0)
            return &alert->places[i];
    }
    return NULL;
}

void alert_place_name(char text[ALERT_PLACE_MAX], const char *target, const json_t *endpoint)
{
    const char *key_type = json_text(endpoint, "key_type");

    ignore(snprintf(text, ALERT_PLACE_MAX, "%s %s%s%s", target, json_text(endpoint, "address"),
                    key_type[0] != '\0' ? " " : "", key_type));
}

/* ---- every field once, for both directions ---- */

#define FIELD(member)                                                                              \
    {                                                                                              \
#member, offsetof(struct watch_alert, member), sizeof(((struct watch_alert *)0)->member)   \
    }

struct field {
    const char *key;
    size_t offset, size;
};

static const struct field text_fields[] = {
    FIELD(cause),       FIELD(key),     FIELD(last_place), FIELD(finding),
    FIELD(certificate), FIELD(subject), FIELD(text),       FIELD(next),
    FIELD(watch),       FIELD(owner),   FIELD(service),    FIELD(acknowledged_by),
    FIELD(comment)};

static const struct field time_fields[] = {FIELD(not_after),      FIELD(since),  FIELD(opened_at),
                                           FIELD(closed_at),      FIELD(bad_at), FIELD(noticed_at),
                                           FIELD(acknowledged_at)};

static const struct field flag_fields[] = {FIELD(critical), FIELD(hard), FIELD(expiring),
                                           FIELD(silenced)};

static const void *field_of(const struct watch_alert *alert, const struct field *field)
{
    return (const char *)alert + field->offset;
}

static void *field_to_fill(struct watch_alert *alert, const struct field *field)
{
    return (char *)alert + field->offset;
}

static json_t *places_to_json(const struct watch_alert *alert)
{
    json_t *places = json_array();

    for (size_t i = 0; i < alert->place_count; i++) {
        const struct alert_place *place = &alert->places[i];
        json_t *object = json_object();
        json_set_text(object, "place", place->text);
        json_set_text(object, "target", place->target);
        json_set_text(object, "certificate", place->certificate);
        if (place->certificate[0] != '\0')
            ignore(json_object_set_new(object, "position", json_integer(place->position)));
        json_set_number(object, "bad", place->bad);
        json_set_number(object, "good", place->good);
        json_set_flag(object, "open", place->open);
        json_set_flag(object, "over", place->over);
        json_set_flag(object, "reached", place->reached);
        ignore(json_array_append_new(places, object));
    }
    return places;
}

static json_t *changes_to_json(const struct watch_alert *alert)
{
    json_t *changes = json_array();

    for (size_t i = 0; i < ALERT_CHANGES_MAX && alert->changes[i] != 0; i++)
        ignore(json_array_append_new(changes, json_integer(alert->changes[i])));
    return changes;
}

json_t *alert_to_json(const struct watch_alert *alert)
{
    json_t *object = json_object();
    int64_t moment;
    bool flag;

    json_set_number(object, "number", alert->number);
    json_set_text(object, "state", alert_state_name(alert->state));
    json_set_text(object, "severity", severity_name(alert->severity));
    json_set_number(object, "step", alert->step);
    json_set_text(object, "step_name", expiry_step_name(alert->step));
    json_set_number(object, "level", alert->level);
    for (size_t i = 0; i < ARRAY_SIZE(text_fields); i++)
        json_set_text(object, text_fields[i].key, field_of(alert, &text_fields[i]));
    for (size_t i = 0; i < ARRAY_SIZE(time_fields); i++) {
        memcpy(&moment, field_of(alert, &time_fields[i]), sizeof moment);
        if (moment != 0)
            ignore(json_object_set_new(object, time_fields[i].key, json_integer(moment)));
    }
    for (size_t i = 0; i < ARRAY_SIZE(flag_fields); i++) {
        memcpy(&flag, field_of(alert, &flag_fields[i]), sizeof flag);
        json_set_flag(object, flag_fields[i].key, flag);
    }
    ignore(json_object_set_new(object, "places", places_to_json(alert)));
    json_set_number(object, "places_dropped", alert->places_dropped);
    json_set_number(object, "successions", alert->successions);
    ignore(json_object_set_new(object, "last_position", json_integer(alert->last_position)));
    ignore(json_object_set_new(object, "changes", changes_to_json(alert)));
    return object;
}

/* The number of a name in a table of names; -1: none. */
static int number_of(const char *name, const char *(*name_of)(unsigned number), unsigned count)
{
    for (unsigned i = 0; name != NULL && i < count; i++) {
        if (strcmp(name_of(i), name) == 0)
            return (int)i;
    }
    return -1;
}

static const char *severity_name_of(unsigned number)
{
    return severity_name((enum severity)number);
}

static const char *state_name_of(unsigned number)
{
    return alert_state_name((enum alert_state)number);
}

static bool places_from_json(struct watch_alert *alert, const json_t *places)
{
    size_t count = json_array_size(places);
    bool wrong = false;

    if (count > ALERT_PLACES_MAX)
        return false;
    if (count > 0 && (alert->places = calloc(count, sizeof *alert->places)) == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        const json_t *object = json_array_get(places, i);
        struct alert_place *place = &alert->places[alert->place_count++];
        const char *text = json_get_text(object, "place", &wrong);
        const char *target = json_get_text(object, "target", &wrong);
        if (text == NULL || target == NULL)
            return false;
        string_copy(place->text, sizeof place->text, text);
        string_copy(place->target, sizeof place->target, target);
        string_copy(place->certificate, sizeof place->certificate,
                    json_text(object, "certificate"));
        place->position = (int)json_integer_value(json_object_get(object, "position"));
        place->bad = (unsigned)json_get_number(object, "bad", 0, &wrong);
        place->good = (unsigned)json_get_number(object, "good", 0, &wrong);
        place->open = json_get_flag(object, "open", &wrong);
        place->over = json_get_flag(object, "over", &wrong);
        place->reached = json_get_flag(object, "reached", &wrong);
    }
    return !wrong;
}

static void fields_from_json(struct watch_alert *alert, const json_t *object, bool *ret_wrong)
{
    for (size_t i = 0; i < ARRAY_SIZE(text_fields); i++) {
        const char *text = json_get_text(object, text_fields[i].key, ret_wrong);
        if (text != NULL)
            string_copy(field_to_fill(alert, &text_fields[i]), text_fields[i].size, text);
    }
    for (size_t i = 0; i < ARRAY_SIZE(time_fields); i++) {
        int64_t moment = json_integer_value(json_object_get(object, time_fields[i].key));
        memcpy(field_to_fill(alert, &time_fields[i]), &moment, sizeof moment);
    }
    for (size_t i = 0; i < ARRAY_SIZE(flag_fields); i++) {
        bool flag = json_get_flag(object, flag_fields[i].key, ret_wrong);
        memcpy(field_to_fill(alert, &flag_fields[i]), &flag, sizeof flag);
    }
}

struct watch_alert *alert_from_json(const json_t *object)
{
    struct watch_alert *alert = calloc(1, sizeof *alert);
    const json_t *changes = json_object_get(object, "changes");
    bool wrong = false;

    if (alert == NULL)
        return NULL;
    int state =
        number_of(json_get_text(object, "state", &wrong), state_name_of, ARRAY_SIZE(state_names));
    int severity =
        number_of(json_get_text(object, "severity", &wrong), severity_name_of, SEVERITY_COUNT);
    uint64_t step = json_get_number(object, "step", 0, &wrong);
    fields_from_json(alert, object, &wrong);
    if (wrong || state < 0 || severity < 0 || step > EXPIRY_OVER || alert->cause[0] == '\0' ||
        !places_from_json(alert, json_object_get(object, "places"))) {
        alert_free(alert);
        return NULL;
    }
    alert->state = (enum alert_state)state;
    alert->severity = (enum severity)severity;
    alert->step = (enum expiry_step)step;
    alert->number = json_get_number(object, "number", 0, &wrong);
    alert->level = (unsigned)json_get_number(object, "level", 0, &wrong);
    alert->places_dropped = json_get_number(object, "places_dropped", 0, &wrong);
    alert->successions = (unsigned)json_get_number(object, "successions", 0, &wrong);
    alert->last_position = (int)json_integer_value(json_object_get(object, "last_position"));
    if (alert->key[0] == '\0') /* written by a version that knew one name only */
        string_copy(alert->key, sizeof alert->key, alert->cause);
    for (size_t i = 0; i < ALERT_CHANGES_MAX && i < json_array_size(changes); i++)
        alert->changes[i] = json_integer_value(json_array_get(changes, i));
    return alert;
}
