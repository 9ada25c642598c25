/* `watch`: what is known, one line per endpoint; `watch-history`: which certificate was seen where,
 * and when; `watch-check`, `watch-discover`: look now. */
#include "admin/control_internal.h"

#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/string.h"
#include "watch/difference.h"
#include "watch/target.h"

static int watching(const struct control *control, struct error *error)
{
    return control->watcher != NULL
               ? 0
               : error_set(error, ERROR_NOT_FOUND,
                           "nothing is watched: the configuration has no section watch");
}

/* ---- watch ---- */

struct list_state {
    struct watcher_cursor cursor;
    char watch[CONF_NAME_MAX], host[TARGET_HOST_MAX];
    bool discovered;
};

/* A section of the configuration in force; without a name: all of them. */
static int known_watch(const struct control *control, const char *name, struct error *error)
{
    char shown[CONF_NAME_MAX + 16];

    if (name == NULL || name[0] == '\0' || conf_find_watch(control->view.conf, name) != CONF_NONE)
        return 0;
    return error_set(error, ERROR_NOT_FOUND,
                     "there is no watch \"%s\"; `holdfast watch` lists what is watched",
                     string_printable(shown, sizeof shown, name, strlen(name)));
}

static int list_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct list_state *state = request->state;
    bool wrong = false;
    const char *watch = json_get_text(object, "watch", &wrong);
    const char *host = json_get_text(object, "host", &wrong);

    state->discovered = json_get_flag(object, "discovered", &wrong);
    if (wrong || (watch != NULL && !string_copy(state->watch, sizeof state->watch, watch)) ||
        (host != NULL && !string_copy(state->host, sizeof state->host, host)))
        return error_set(error, ERROR_USAGE,
                         "\"watch\" is a name, \"host\" a name, \"discovered\" true or false");
    string_lower(state->host);
    string_lower(state->watch);
    int result = watching(request->context, error);
    return result < 0 ? result : known_watch(request->context, state->watch, error);
}

static bool wanted(const struct list_state *state, const struct watcher_place *place)
{
    return (state->watch[0] == '\0' || strcmp(state->watch, place->watch) == 0) &&
           (state->host[0] == '\0' || target_has_host(place->target, state->host)) &&
           (!state->discovered || place->discovered);
}

static json_t *place_to_json(const struct watcher_place *place, int64_t now)
{
    json_t *line = json_object();

    json_set_text(line, "watch", place->watch);
    json_set_text(line, "target", place->target);
    json_set_text(line, "address", place->address);
    json_set_text(line, "name", place->name);
    json_set_text(line, "key_type", place->key_type);
    json_set_text(line, "vantage", place->vantage);
    json_set_text(line, "verdict", place->verdict);
    json_set_text(line, "text", place->text);
    json_set_text(line, "next", place->next);
    json_set_text(line, "owner", place->owner);
    json_set_text(line, "service", place->service);
    json_set_text(line, "sha256", place->sha256);
    json_set_time(line, "not_after", place->not_after);
    if (place->not_after != 0)
        ignore(json_object_set_new(line, "days_left",
                                   json_real((double)(place->not_after - now) / 86400)));
    json_set_time(line, "breaks_at", place->breaks_at);
    json_set_time(line, "checked_at", place->checked_at);
    json_set_time(line, "changed_at", place->changed_at);
    json_set_time(line, "next_check", place->next_check);
    json_set_flag(line, "critical", place->critical);
    json_set_flag(line, "in_turn", place->in_turn);
    json_set_flag(line, "discovered", place->discovered);
    return line;
}

static enum verb_progress list_pump(struct control_request *request, struct error *error)
{
    struct control *control = request->context;
    struct list_state *state = request->state;
    struct watcher_place place;
    (void)error;

    while (request_has_room(request)) {
        if (control->watcher == NULL || !watcher_next(control->watcher, &state->cursor, &place))
            return VERB_DONE;
        if (wanted(state, &place))
            ignore(request_write(request, place_to_json(&place, time(NULL))));
    }
    return VERB_AGAIN;
}

const struct control_verb verb_watch = {.name = "watch",
                                        .state_size = sizeof(struct list_state),
                                        .begin = list_begin,
                                        .pump = list_pump};

/* ---- watch-history ---- */

struct history_state {
    struct verb_lines answer; /* first: the state of verb_lines_pump() */
    json_t *before;           /* the endpoint of the line before */
};

static bool same_place(const json_t *a, const json_t *b)
{
    static const char *const keys[] = {"address", "name", "key_type", "vantage"};

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const char *one = json_string_value(json_object_get(a, keys[i])),
                   *other = json_string_value(json_object_get(b, keys[i]));
        if (strcmp(one == NULL ? "" : one, other == NULL ? "" : other) != 0)
            return false;
    }
    return true;
}

static int add_sighting(void *context, const struct store_sighting *sighting)
{
    struct history_state *state = context;
    const json_t *leaf = json_array_get(json_object_get(sighting->endpoint, "certificates"), 0);
    static const char *const copied[] = {"subject", "issuer_cn", "common_name",
                                         "serial",  "not_after", "not_before",
                                         "key",     "key_bits",  "validation"};
    json_t *line = json_object();

    json_set_text(line, "watch", sighting->watch);
    json_set_text(line, "target", sighting->target);
    json_set_text(line, "address", sighting->address);
    json_set_text(line, "name", sighting->name);
    json_set_flag(line, "sni", sighting->sni);
    json_set_text(line, "key_type", sighting->key_type);
    json_set_text(line, "vantage", sighting->vantage);
    json_set_text(line, "sha256", sighting->sha256);
    json_set_time(line, "first_seen", sighting->first_seen);
    json_set_time(line, "last_seen", sighting->last_seen);
    json_set_number(line, "checks", sighting->checks);
    json_set_number(line, "arrivals", sighting->arrivals);
    for (size_t i = 0; i < ARRAY_SIZE(copied); i++) {
        json_t *value = json_object_get(leaf, copied[i]);
        if (value != NULL)
            ignore(json_object_set(line, copied[i], value));
    }
    if (state->before != NULL && same_place(state->before, sighting->endpoint))
        ignore(json_object_set_new(line, "differences",
                                   difference_of(state->before, sighting->endpoint)));
    json_decref(state->before);
    state->before = json_deep_copy(sighting->endpoint);
    return json_array_append_new(state->answer.lines, line);
}

static int history_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    struct history_state *state = request->state;
    struct target target;
    bool wrong = false;
    const char *text = json_get_text(object, "target", &wrong);

    if (watching(control, error) < 0)
        return -(int)error->code;
    if (text == NULL)
        return error_set(error, ERROR_USAGE, "\"target\" says whose history");
    int result = target_parse(&target, text, error);
    if (result < 0)
        return result;
    state->answer.lines = json_array();
    result = store_each_sighting(control->store, target.text, add_sighting, state, error);
    json_decref(state->before);
    state->before = NULL;
    if (result == 0 && json_array_size(state->answer.lines) == 0)
        result =
            error_set(error, ERROR_NOT_FOUND, "no certificate was ever seen at %s", target.text);
    if (result != 0)
        json_decref(state->answer.lines);
    return result < 0 ? result : result > 0 ? error_set(error, ERROR_MEMORY, "out of memory") : 0;
}

const struct control_verb verb_watch_history = {.name = "watch-history",
                                                .state_size = sizeof(struct history_state),
                                                .begin = history_begin,
                                                .pump = verb_lines_pump,
                                                .end = verb_lines_end};

/* ---- watch-check ---- */

struct check_state {
    size_t open;
    json_t *lines; /* not written yet */
};

static void on_checked(void *context, const char *target, const json_t *endpoints,
                       const char *error)
{
    struct control_request *request = context;
    struct check_state *state = request->state;
    (void)target, (void)error; /* what went wrong stands in the endpoint */

    for (size_t i = 0; i < json_array_size(endpoints); i++)
        ignore(json_array_append(state->lines, json_array_get(endpoints, i)));
    state->open--;
    request_wake(request);
}

static int check_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    struct check_state *state = request->state;
    struct target target;
    bool wrong = false;
    const char *what = json_get_text(object, "what", &wrong);

    if (watching(control, error) < 0)
        return -(int)error->code;
    if (wrong || what == NULL)
        return error_set(error, ERROR_USAGE, "\"what\" names a watch or a target; \"\": all");
    state->lines = json_array();
    state->open = watcher_check(control->watcher, what, on_checked, request);
    if (state->open == 0 && target_parse(&target, what, error) == 0)
        state->open = watcher_check(control->watcher, target.text, on_checked, request);
    if (state->open != 0)
        return 0;
    json_decref(state->lines);
    return error_set(error, ERROR_NOT_FOUND,
                     "there is no watch and no watched target of this name (`holdfast watch` lists "
                     "them; `holdfast check` takes any target)");
}

static enum verb_progress check_pump(struct control_request *request, struct error *error)
{
    struct check_state *state = request->state;
    (void)error;

    while (json_array_size(state->lines) != 0) {
        if (!request_has_room(request))
            return VERB_AGAIN;
        ignore(request_write(request, json_incref(json_array_get(state->lines, 0))));
        ignore(json_array_remove(state->lines, 0));
    }
    return state->open == 0 ? VERB_DONE : VERB_WAITING;
}

static void check_end(struct control_request *request)
{
    struct control *control = request->context;
    struct check_state *state = request->state;

    if (control->watcher != NULL)
        watcher_forget(control->watcher, request);
    json_decref(state->lines);
}

const struct control_verb verb_watch_check = {.name = "watch-check",
                                              .state_size = sizeof(struct check_state),
                                              .begin = check_begin,
                                              .pump = check_pump,
                                              .end = check_end};

/* ---- watch-discover ---- */

static int discover_begin(struct control_request *request, const json_t *object,
                          struct error *error)
{
    struct control *control = request->context;
    bool wrong = false;
    const char *watch = json_get_text(object, "watch", &wrong);

    if (watching(control, error) < 0)
        return -(int)error->code;
    if (wrong)
        return error_set(error, ERROR_USAGE, "\"watch\" is a name");
    if (known_watch(control, watch, error) < 0)
        return -(int)error->code;
    size_t count = watcher_discover(control->watcher, watch == NULL ? "" : watch);
    json_t *line = json_object();
    json_set_number(line, "begun", count);
    ignore(request_write(request, line));
    return 0;
}

const struct control_verb verb_watch_discover = {.name = "watch-discover", .begin = discover_begin};
