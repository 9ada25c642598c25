#include "watch/alerts/alerts_internal.h"

#include <string.h>

#include "base/json.h"
#include "base/string.h"

/* Is the certificate sent at this place, by what the result says? */
static bool is_sent(const struct observation *seen, const char *sha256)
{
    const json_t *endpoint, *certificate;
    char place[ALERT_PLACE_MAX];
    size_t i, j;

    json_array_foreach(seen->endpoints, i, endpoint)
    {
        alert_place_name(place, seen->subject->target, endpoint);
        if (strcmp(place, seen->place) != 0)
            continue;
        json_array_foreach(json_object_get(endpoint, "certificates"), j, certificate)
        {
            if (strcmp(json_text(certificate, "sha256"), sha256) == 0)
                return true;
        }
    }
    return false;
}

static bool is_bad(const struct alert_place *place)
{
    return place->open || place->bad != 0;
}

/* The place, if it is, or was, in the alert because of this certificate, or of one that it sends no
 * more. */
static struct alert_place *held_place(struct watch_alert *alert, const struct observation *seen)
{
    struct alert_place *place = alert_find_place(alert, seen->place, seen->subject->target);

    if (place == NULL || place->certificate[0] == '\0' || !(is_bad(place) || place->over))
        return NULL;
    if (strcmp(place->certificate, seen->certificate) == 0)
        return place;
    return place->seen || place->position != seen->position || is_sent(seen, place->certificate)
               ? NULL
               : place;
}

/* Does another place still send what the alert speaks of? */
static bool others_remain(const struct watch_alert *alert, const struct alert_place *place)
{
    for (size_t i = 0; i < alert->place_count; i++) {
        const struct alert_place *other = &alert->places[i];
        if (other != place && is_bad(other) && strcmp(other->certificate, alert->certificate) == 0)
            return true;
    }
    return false;
}

/* Closed with this place, lately. */
static bool was_last_place(const struct watch_alert *alert, const struct observation *seen)
{
    return alert->state == ALERT_CLOSED && alert->last_position == seen->position &&
           strcmp(alert->last_place, seen->place) == 0 && !others_remain(alert, NULL);
}

static bool may_precede(const struct watch_alert *alert, const struct observation *seen)
{
    return alert->certificate[0] != '\0' && strcmp(alert->finding, seen->finding) == 0;
}

/* The latest that closed with this place. */
static struct watch_alert *find_closed(const struct alerts *alerts, const struct observation *seen)
{
    const struct alert_list *list = alert_index_get(&alerts->by_last_place, seen->place);
    struct watch_alert *latest = NULL;

    for (size_t i = 0; list != NULL && i < list->count; i++) {
        struct watch_alert *alert = list->items[i];
        if (may_precede(alert, seen) && was_last_place(alert, seen) &&
            (latest == NULL || alert->closed_at > latest->closed_at))
            latest = alert;
    }
    return latest;
}

static struct watch_alert *find_predecessor(const struct alerts *alerts,
                                            const struct observation *seen,
                                            struct alert_place **ret_place)
{
    const struct alert_list *list = alert_index_get(&alerts->at_target, seen->subject->target);

    *ret_place = NULL;
    for (size_t i = 0; list != NULL && i < list->count; i++) {
        struct watch_alert *alert = list->items[i];
        *ret_place = may_precede(alert, seen) ? held_place(alert, seen) : NULL;
        if (*ret_place != NULL)
            return alert;
    }
    return find_closed(alerts, seen);
}

static bool is_graver(const struct observation *seen, const struct watch_alert *alert)
{
    return severity_weight(seen->severity) > severity_weight(alert->severity) ||
           seen->step > alert->step;
}

/* By its present certificate it is found from now on, unless that has an alert already. */
static void take_name(struct alerts *alerts, struct watch_alert *alert, const char *cause)
{
    if (map_get(&alerts->by_cause, cause) != NULL || !map_put(&alerts->by_cause, cause, alert))
        return;
    ignore(map_remove(&alerts->by_cause, alert->key) != NULL);
    ignore(string_copy(alert->key, sizeof alert->key, cause));
}

/* The place is clear at the end of this result. Returns how often in a row it was bad. */
static unsigned leave(const struct alerts *alerts, struct alert_place *place)
{
    place->good = alerts->rules.close_after;
    return place->open ? alerts->rules.open_after : place->bad;
}

void alert_succession(struct alerts *alerts, const struct observation *seen,
                      struct succession *ret_succession)
{
    struct watch_alert *own = map_get(&alerts->by_cause, seen->cause), *before = NULL;
    struct alert_place *place = NULL;

    *ret_succession = (struct succession){.alert = own};
    if (seen->position < 0 ||
        (own != NULL && alert_find_place(own, seen->place, seen->subject->target) != NULL))
        return;
    before = find_predecessor(alerts, seen, &place);
    if (before == NULL || before == own)
        return;
    bool remain = others_remain(before, place);
    if ((own != NULL && own->state == ALERT_OPEN) || (remain && is_graver(seen, before))) {
        if (place != NULL)
            ret_succession->bad = leave(alerts, place);
        return;
    }
    ret_succession->alert = before;
    ret_succession->successor = !remain && strcmp(before->certificate, seen->certificate) != 0;
    if (!remain)
        take_name(alerts, before, seen->cause);
}
