#include "watch/alerts/silence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/string.h"

#define LONGEST_S (366 * INT64_C(86400))

/* ---- matching ---- */

static bool text_matches(const char *pattern, const char *text)
{
    size_t size = strlen(pattern);

    if (size == 0)
        return true;
    if (pattern[size - 1] == '*')
        return strncmp(pattern, text, size - 1) == 0;
    return strcmp(pattern, text) == 0;
}

/* "shop.example" also means its ports. */
static bool target_matches(const char *pattern, const char *target)
{
    size_t size = strlen(pattern);

    return text_matches(pattern, target) ||
           (strncmp(pattern, target, size) == 0 && target[size] == ':');
}

/* All open places; where none is left, those that were the last. */
static bool places_match(const struct silence *silence, const struct watch_alert *alert)
{
    bool all = alert_open_places(alert) == 0;

    for (size_t i = 0; i < alert->place_count; i++) {
        if ((all || alert->places[i].open) &&
            !target_matches(silence->target, alert->places[i].target))
            return false;
    }
    return alert->place_count != 0 || silence->target[0] == '\0';
}

bool silence_matches(const struct silence *silence, const struct watch_alert *alert, int64_t now)
{
    return now >= silence->from && now < silence->until &&
           (silence->alert == 0 || silence->alert == alert->number) &&
           text_matches(silence->finding, alert->finding) &&
           text_matches(silence->certificate, alert->certificate) &&
           text_matches(silence->watch, alert->watch) &&
           text_matches(silence->owner, alert->owner) &&
           text_matches(silence->service, alert->service) && places_match(silence, alert);
}

/* ---- as JSON ---- */

static const struct field {
    const char *key;
    size_t offset, size;
} fields[] = {
#define FIELD(member)                                                                              \
    {                                                                                              \
#member, offsetof(struct silence, member), sizeof(((struct silence *)0)->member)           \
    }
    FIELD(id),    FIELD(target),  FIELD(finding), FIELD(certificate), FIELD(watch),
    FIELD(owner), FIELD(service), FIELD(by),      FIELD(comment),
#undef FIELD
};

json_t *silence_to_json(const struct silence *silence)
{
    json_t *object = json_object();

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        json_set_text(object, fields[i].key, (const char *)silence + fields[i].offset);
    if (silence->alert != 0)
        json_set_number(object, "alert", silence->alert);
    json_set_time(object, "from", silence->from);
    json_set_time(object, "until", silence->until);
    return object;
}

static bool has_scope(const struct silence *silence)
{
    return silence->alert != 0 || silence->target[0] != '\0' || silence->finding[0] != '\0' ||
           silence->certificate[0] != '\0' || silence->watch[0] != '\0' ||
           silence->owner[0] != '\0' || silence->service[0] != '\0';
}

int silence_from_json(struct silence *ret_silence, const json_t *object, int64_t now,
                      struct error *error)
{
    struct silence silence = {.from = json_get_time(object, "from"),
                              .until = json_get_time(object, "until")};
    bool wrong = false;

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const char *text = json_get_text(object, fields[i].key, &wrong);
        if (text != NULL && !string_copy((char *)&silence + fields[i].offset, fields[i].size, text))
            return error_set(error, ERROR_USAGE, "%s: found more than %zu characters",
                             fields[i].key, fields[i].size - 1);
    }
    silence.alert = json_get_number(object, "alert", 0, &wrong);
    if (wrong)
        return error_set(error, ERROR_USAGE,
                         "a silence has texts, a number of an alert, and times");
    if (!has_scope(&silence))
        return error_set(error, ERROR_USAGE,
                         "found nothing that the silence is to hold for; expected an alert's "
                         "number, --target, --finding, --certificate, --watch, --owner or "
                         "--service");
    if (silence.from == 0)
        silence.from = now;
    if (silence.until <= now || silence.until <= silence.from || silence.until - now > LONGEST_S)
        return error_set(error, ERROR_USAGE, "a silence needs an end in the future, within a year");
    *ret_silence = silence;
    return 0;
}
