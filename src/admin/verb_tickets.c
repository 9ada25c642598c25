/* `tickets`: the ticket keys; `tickets-rotate`: the next one's turn, or all anew. */
#include "admin/control_internal.h"

#include "admin/tickets.h"
#include "base/clock.h"
#include "base/json.h"

#define BUSY_POLL_NS (50 * NS_PER_MS)

static void write_list(struct control_request *request, const char *done)
{
    struct control *control = request->context;
    const struct ticket_keys *keys = control->view.tickets->keys;
    int64_t wall_s = (int64_t)(clock_wall_ns() / NS_PER_S);
    json_t *head = tickets_to_json(&control->view, wall_s);

    json_set_text(head, "done", done);
    ignore(request_write(request, head));
    for (uint32_t i = keys->count; i-- > 0;)
        ignore(request_write(request, ticket_key_to_json(keys, i, wall_s)));
}

static int list_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    (void)object;

    return control->serving ? 0 : error_set(error, ERROR_BUSY, "the ticket keys are not read yet");
}

static enum verb_progress list_pump(struct control_request *request, struct error *error)
{
    (void)error;
    write_list(request, NULL);
    return VERB_DONE;
}

const struct control_verb verb_tickets = {
    .name = "tickets", .begin = list_begin, .pump = list_pump};

struct rotate_state {
    enum ticket_action action;
    struct timer poll;
};

static void wake(void *context)
{
    request_wake(context);
}

static int rotate_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct rotate_state *state = request->state;
    bool wrong = false;
    bool drop = json_get_flag(object, "drop_previous", &wrong);

    if (wrong)
        return error_set(error, ERROR_USAGE, "\"drop_previous\" is true or false");
    state->action = drop ? TICKET_REPLACE : TICKET_ROTATE;
    timer_init(&state->poll, wake, request);
    return list_begin(request, object, error);
}

static enum verb_progress rotate_pump(struct control_request *request, struct error *error)
{
    struct control *control = request->context;
    struct rotate_state *state = request->state;

    if (control_tickets_act(control, state->action, error) < 0) {
        timer_set(control->worker.loop, &state->poll,
                  loop_now(control->worker.loop) + BUSY_POLL_NS);
        return VERB_WAITING;
    }
    write_list(request, state->action == TICKET_REPLACE ? "replaced" : "rotated");
    return VERB_DONE;
}

static void rotate_end(struct control_request *request)
{
    struct control *control = request->context;
    struct rotate_state *state = request->state;

    timer_cancel(control->worker.loop, &state->poll);
}

const struct control_verb verb_tickets_rotate = {
    .name = "tickets-rotate",
    .state_size = sizeof(struct rotate_state),
    .begin = rotate_begin,
    .pump = rotate_pump,
    .end = rotate_end,
};
