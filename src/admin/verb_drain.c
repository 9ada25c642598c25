/* `drain`: stop accepting, end the sessions over a time, tell who is left; and back. */
#include "admin/control_internal.h"

#include <stdio.h>
#include <string.h>

#include "admin/drain.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/string.h"

#define WAIT_POLL_NS (200 * NS_PER_MS)
#define OVER_MAX_MS  (7 * 86400000ull) /* as drain-timeout */

struct drain_state {
    uint32_t listener; /* CONF_NONE: the house */
    bool wait, reported;
    struct drain_rest shown;
    bool shown_accepting;
    struct timer poll;
};

static void wake(void *context)
{
    request_wake(context);
}

static int find_listener(const struct conf *conf, const char *name, uint32_t *ret_listener,
                         struct error *error)
{
    char shown[CONF_NAME_MAX + 1], hint[CONF_NAME_MAX + 32] = "";
    unsigned least = UINT32_MAX;

    *ret_listener = conf_find_listener(conf, name);
    if (*ret_listener != CONF_NONE && *ret_listener < BOARD_LISTENERS_MAX)
        return 0;
    for (uint32_t i = 0; i < conf->listener_count; i++) {
        const char *known = view_listener_name(conf, i);
        unsigned distance = known != NULL ? string_distance(name, known) : UINT32_MAX;
        if (distance >= least)
            continue;
        least = distance;
        ignore(snprintf(hint, sizeof hint, "; the nearest is \"%s\"", known));
    }
    return error_set(error, ERROR_NOT_FOUND,
                     "there is no listener \"%s\" in the configuration in force%s",
                     string_printable(shown, sizeof shown, name, strlen(name)), hint);
}

static int parse(struct drain_state *state, const struct conf *conf, const json_t *object,
                 uint64_t *ret_over_ms, bool *ret_cancel, struct error *error)
{
    bool wrong = false;
    const char *listener = json_get_text(object, "listener", &wrong);

    *ret_cancel = json_get_flag(object, "cancel", &wrong);
    *ret_over_ms = json_get_number(object, "over_ms", conf->drain_timeout, &wrong);
    state->wait = json_get_flag(object, "wait", &wrong);
    if (wrong)
        return error_set(error, ERROR_USAGE,
                         "\"listener\" is a text, \"over_ms\" a number, \"cancel\" and \"wait\" "
                         "are true or false");
    bool given = json_object_get(object, "over_ms") != NULL;
    if (given && *ret_cancel)
        return error_set(error, ERROR_USAGE, "a drain that is cancelled takes no time");
    if (given && (*ret_over_ms == 0 || *ret_over_ms > OVER_MAX_MS))
        return error_set(error, ERROR_USAGE, "the time of a drain is from 1ms to 7d, found %llu ms",
                         (unsigned long long)*ret_over_ms);
    state->listener = CONF_NONE;
    return listener == NULL ? 0 : find_listener(conf, listener, &state->listener, error);
}

static int drain_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    struct drain_state *state = request->state;
    uint64_t over_ms;
    bool cancel;

    timer_init(&state->poll, wake, request);
    int result = parse(state, control->view.conf, object, &over_ms, &cancel, error);
    if (result < 0)
        return result;
    if (!cancel)
        return control_drain_begin(control, state->listener, over_ms, error);
    state->wait = false;
    return control_drain_cancel(control, state->listener, error);
}

/* One line whenever something has changed. */
static void report(struct control_request *request, const struct drain_rest *rest, bool accepting,
                   uint64_t now)
{
    struct control *control = request->context;
    struct drain_state *state = request->state;

    if (state->reported && state->shown_accepting == accepting &&
        state->shown.sessions == rest->sessions && state->shown.handshakes == rest->handshakes)
        return;
    ignore(request_write(request, drain_to_json(&control->view, state->listener, now,
                                                (int64_t)(clock_wall_ns() / NS_PER_S))));
    state->reported = true;
    state->shown = *rest;
    state->shown_accepting = accepting;
}

static enum verb_progress drain_pump(struct control_request *request, struct error *error)
{
    struct control *control = request->context;
    struct drain_state *state = request->state;
    uint64_t now = loop_now(control->worker.loop);
    struct drain_rest rest = drain_rest(&control->view, state->listener);
    struct drain drain;

    if (!board_drain_read(drain_place(&control->view, state->listener), &drain) && state->wait) {
        error_set(error, ERROR_BUSY, "the drain was cancelled; %llu sessions stay",
                  (unsigned long long)rest.sessions);
        return VERB_FAILED;
    }
    bool accepting = now < drain.accept_until_ns;
    report(request, &rest, accepting, now);
    if (!state->wait || (!accepting && rest.sessions + rest.handshakes == 0))
        return VERB_DONE;
    timer_set(control->worker.loop, &state->poll, now + WAIT_POLL_NS);
    return VERB_WAITING;
}

static void drain_end(struct control_request *request)
{
    struct control *control = request->context;
    struct drain_state *state = request->state;

    timer_cancel(control->worker.loop, &state->poll);
}

const struct control_verb verb_drain = {
    .name = "drain",
    .state_size = sizeof(struct drain_state),
    .begin = drain_begin,
    .pump = drain_pump,
    .end = drain_end,
};
