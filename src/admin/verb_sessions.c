/* `sessions`: one line per live session; `session-close`: end one. */
#include "admin/control_internal.h"

#include "admin/event_json.h"
#include "admin/sessions.h"
#include "base/clock.h"
#include "base/json.h"

#define SLOTS_PER_PUMP 4096
#define CLOSE_POLL_NS  (20 * NS_PER_MS)
#define CLOSE_POLLS    250 /* 5 s */

struct sessions_state {
    struct session_filter filter;
    struct session_cursor cursor;
};

static int sessions_begin(struct control_request *request, const json_t *object,
                          struct error *error)
{
    struct control *control = request->context;
    struct sessions_state *state = request->state;

    return session_filter_parse(&state->filter, object, control->view.conf, error);
}

static enum verb_progress sessions_pump(struct control_request *request, struct error *error)
{
    struct control *control = request->context;
    struct sessions_state *state = request->state;
    bool end = false;

    while (request_has_room(request)) {
        json_t *line = session_next(&control->view, &state->filter, &state->cursor,
                                    clock_monotonic_ns(), SLOTS_PER_PUMP, &end);
        if (end)
            return VERB_DONE;
        if (line == NULL)
            break;
        if (!request_write(request, line)) {
            error_set(error, ERROR_MEMORY, "out of memory");
            return VERB_FAILED;
        }
    }
    return VERB_AGAIN;
}

const struct control_verb verb_sessions = {
    .name = "sessions",
    .state_size = sizeof(struct sessions_state),
    .begin = sessions_begin,
    .pump = sessions_pump,
};

static void wake(void *context)
{
    request_wake(context);
}

struct close_state {
    unsigned relay;
    uint32_t slot;
    uint64_t serial;
    struct timer poll;
    unsigned polls;
};

static int close_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    struct close_state *state = request->state;
    bool wrong = false;
    const char *id = json_get_text(object, "id", &wrong);

    if (id == NULL)
        return error_set(error, ERROR_USAGE, "\"id\" names the session to close");
    int result =
        session_find(&control->view, id, &state->relay, &state->slot, &state->serial, error);
    if (result < 0)
        return result;
    struct message_session body = {
        .slot = state->slot, .reason = SESSION_END_ADMIN, .serial = state->serial};
    struct peer *relay = peers_find(&control->peers, PROCESS_RELAY, state->relay);
    if (relay == NULL || !peer_send(relay, MESSAGE_CLOSE_SESSION, &body, sizeof body, -1))
        return error_set(error, ERROR_BUSY, "relay %u cannot be reached just now; try again",
                         state->relay);
    timer_init(&state->poll, wake, request);
    return 0;
}

static enum verb_progress close_pump(struct control_request *request, struct error *error)
{
    struct control *control = request->context;
    struct close_state *state = request->state;
    char id[SESSION_ID_TEXT_MAX];
    struct slot slot;

    session_id_text(id, state->relay, state->serial);
    if (session_read(&control->view.arenas[state->relay], state->slot, &slot) &&
        slot.serial == state->serial) {
        if (state->polls++ == CLOSE_POLLS) {
            error_set(error, ERROR_TIMEOUT,
                      "session %s was told to close but is still there after 5 s", id);
            return VERB_FAILED;
        }
        timer_set(control->worker.loop, &state->poll,
                  loop_now(control->worker.loop) + CLOSE_POLL_NS);
        return VERB_WAITING;
    }
    json_t *line = json_object();
    json_set_text(line, "closed", id);
    ignore(request_write(request, line));
    return VERB_DONE;
}

static void close_end(struct control_request *request)
{
    struct control *control = request->context;
    struct close_state *state = request->state;

    timer_cancel(control->worker.loop, &state->poll);
}

const struct control_verb verb_session_close = {
    .name = "session-close",
    .state_size = sizeof(struct close_state),
    .begin = close_begin,
    .pump = close_pump,
    .end = close_end,
};
