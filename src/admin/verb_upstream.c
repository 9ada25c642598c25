/* `upstream`: list servers; ready, drain, down or weigh one; wait until its sessions are gone. */
#include "admin/control_internal.h"

#include <stdio.h>
#include <string.h>

#include "admin/status.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/string.h"

#define WAIT_POLL_NS (200 * NS_PER_MS)

struct upstream_state {
    bool list, wait;
    uint32_t upstream, server; /* list: the next one to show */
    unsigned number;           /* on the board */
    uint32_t shown;            /* sessions last reported while waiting */
    bool reported;
    struct timer poll;
};

static void wake(void *context)
{
    request_wake(context);
}

static int find_server(const struct conf *conf, const char *target, struct upstream_state *state,
                       struct error *error)
{
    const char *slash = strchr(target, '/');
    char name[CONF_NAME_MAX], shown[128];

    string_printable(shown, sizeof shown, target, strlen(target));
    if (slash == NULL || slash == target || (size_t)(slash - target) >= sizeof name)
        return error_set(error, ERROR_USAGE,
                         "\"%s\" is no server; one is named UPSTREAM/SERVER, as `holdfast upstream "
                         "list` shows it",
                         shown);
    memcpy(name, target, (size_t)(slash - target));
    name[slash - target] = '\0';
    state->upstream = conf_find_upstream(conf, name);
    if (state->upstream == CONF_NONE || conf->upstreams[state->upstream].retired)
        return error_set(error, ERROR_NOT_FOUND, "there is no upstream \"%.*s\"",
                         (int)strcspn(shown, "/"), shown);
    const struct conf_upstream *upstream = &conf->upstreams[state->upstream];
    for (uint32_t i = 0; i < upstream->server_count; i++) {
        if (conf_server_in_force(&upstream->servers[i]) &&
            strcmp(upstream->servers[i].name, slash + 1) == 0) {
            state->server = i;
            state->number = upstream->servers[i].number;
            return 0;
        }
    }
    return error_set(error, ERROR_NOT_FOUND, "upstream %s has no server \"%s\"", upstream->name,
                     shown + strcspn(shown, "/") + 1);
}

static void report_change(struct control *control, const struct upstream_state *state,
                          const char *what)
{
    struct event *event = event_begin(&control->worker.events, EVENT_UPSTREAM_CHANGED);

    if (event == NULL)
        return;
    event->upstream = (uint16_t)state->upstream;
    event->server = (uint16_t)state->server;
    event->config = control->feed.config;
    ignore(snprintf(event->detail, sizeof event->detail, "set to %s by the operator", what));
    event_end(&control->worker.events, EVENT_UPSTREAM_CHANGED);
}

static int apply(struct control *control, const struct upstream_state *state, const char *action,
                 uint64_t weight, struct error *error)
{
    static const enum server_admin all[] = {SERVER_READY, SERVER_DRAIN, SERVER_DOWN};
    struct board_server *server = &control->view.board->servers[state->number];
    char text[32];

    if (strcmp(action, "weight") == 0) {
        if (weight < 1 || weight > CONF_WEIGHT_MAX)
            return error_set(error, ERROR_USAGE, "a weight is a number from 1 to %d",
                             CONF_WEIGHT_MAX);
        __atomic_store_n(&server->weight, (uint32_t)weight, __ATOMIC_RELAXED);
        ignore(snprintf(text, sizeof text, "weight %u", (unsigned)weight));
        report_change(control, state, text);
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (strcmp(action, server_admin_name(all[i])) == 0) {
            __atomic_store_n(&server->admin, (uint32_t)all[i], __ATOMIC_RELAXED);
            report_change(control, state, action);
            return 0;
        }
    }
    return error_set(error, ERROR_USAGE, "\"action\" is list, ready, drain, down or weight");
}

static int upstream_begin(struct control_request *request, const json_t *object,
                          struct error *error)
{
    struct control *control = request->context;
    struct upstream_state *state = request->state;
    bool wrong = false;
    const char *action = json_get_text(object, "action", &wrong);
    const char *target = json_get_text(object, "target", &wrong);
    uint64_t weight = json_get_number(object, "weight", 0, &wrong);

    state->wait = json_get_flag(object, "wait", &wrong);
    if (wrong || action == NULL)
        return error_set(error, ERROR_USAGE,
                         "\"action\" and \"target\" are texts, \"weight\" is a number, \"wait\" is "
                         "true or false");
    timer_init(&state->poll, wake, request);
    state->list = strcmp(action, "list") == 0;
    if (state->list)
        return 0;
    if (target == NULL)
        return error_set(error, ERROR_USAGE, "\"target\" names the server as UPSTREAM/SERVER");
    int result = find_server(control->view.conf, target, state, error);
    return result < 0 ? result : apply(control, state, action, weight, error);
}

static enum verb_progress list_pump(struct control_request *request)
{
    struct control *control = request->context;
    struct upstream_state *state = request->state;
    const struct conf *conf = control->view.conf;

    while (state->upstream < conf->upstream_count) {
        if (state->server >= conf->upstreams[state->upstream].server_count) {
            state->upstream++;
            state->server = 0;
            continue;
        }
        if (view_server(conf, state->upstream, state->server) == NULL) {
            state->server++;
            continue;
        }
        if (!request_has_room(request))
            return VERB_AGAIN;
        ignore(request_write(
            request, status_server_to_json(&control->view, state->upstream, state->server++)));
    }
    return VERB_DONE;
}

static enum verb_progress upstream_pump(struct control_request *request, struct error *error)
{
    struct control *control = request->context;
    struct upstream_state *state = request->state;
    (void)error;

    if (state->list)
        return list_pump(request);
    if (view_server(control->view.conf, state->upstream, state->server) == NULL)
        return VERB_DONE; /* a reload removed it, and nobody is left there */
    uint32_t sessions = board_server_sessions(control->view.board, state->number);
    if (!state->reported || sessions != state->shown) {
        ignore(request_write(
            request, status_server_to_json(&control->view, state->upstream, state->server)));
        state->reported = true;
        state->shown = sessions;
    }
    if (!state->wait || sessions == 0)
        return VERB_DONE;
    timer_set(control->worker.loop, &state->poll, loop_now(control->worker.loop) + WAIT_POLL_NS);
    return VERB_WAITING;
}

static void upstream_end(struct control_request *request)
{
    struct control *control = request->context;
    struct upstream_state *state = request->state;

    timer_cancel(control->worker.loop, &state->poll);
}

const struct control_verb verb_upstream = {
    .name = "upstream",
    .state_size = sizeof(struct upstream_state),
    .begin = upstream_begin,
    .pump = upstream_pump,
    .end = upstream_end,
};
