/* `session-authenticate`: clients of live sessions are asked who they are, as far as they can be.
 *
 * The wish is said on the board, where the handshaker that carries a session looks once a second;
 * what comes of it is told by events. A session that cannot be asked stays as it is. */
#include "admin/control_internal.h"

#include "admin/event_json.h"
#include "admin/sessions.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/string.h"
#include "loop/socket_json.h"

#define SLOTS_PER_PUMP 4096

struct authenticate_state {
    bool single;
    struct session_found found; /* of `single` */
    struct session_filter filter;
    struct session_cursor cursor;
};

static int begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    struct authenticate_state *state = request->state;
    struct session_found *found = &state->found;
    bool wrong = false;
    const char *id = json_get_text(object, "id", &wrong);
    uint64_t serial;

    if (wrong || json_object_size(object) < 2 || (id != NULL && json_object_size(object) != 2))
        return error_set(error, ERROR_USAGE,
                         "expected \"id\", or what sessions are listed by, such as \"listener\" or "
                         "\"sni\"");
    if (id == NULL)
        return session_filter_parse(&state->filter, object, control->view.conf, error);
    state->single = true;
    int result = session_find(&control->view, id, &found->relay, &found->index, &serial, error);
    if (result < 0)
        return result;
    if (session_read(&control->view.arenas[found->relay], found->index, &found->slot) &&
        found->slot.serial == serial)
        return 0;
    return error_set(error, ERROR_NOT_FOUND, "session %s has just ended", id);
}

static bool asked_later(const struct conf *conf, const struct slot *slot)
{
    char name[SLOT_NAME_MAX];

    ignore(string_copy(name, sizeof name, slot->server_name));
    return slot->listener < conf->listener_count && conf->listeners[slot->listener].name != NULL &&
           conf_client_certificate(&conf->listeners[slot->listener], name) ==
               CONF_CLIENT_CERTIFICATE_LATER;
}

/* NULL: it can. */
static const char *why_not(const struct control *control, const struct slot *slot)
{
    const struct board *board = control->view.board;
    bool attached = (slot->flags & SLOT_ATTACHED) != 0;
    unsigned said =
        attached ? board_attached_said(board, slot->attached, slot_attached_serial(slot)) : 0;

    if ((slot->flags & SLOT_PASS_THROUGH) != 0)
        return "its TLS is passed through";
    if (slot->generation.trust != 0)
        return "it has shown a certificate already";
    if (!asked_later(control->view.conf, slot))
        return "client-certificate is not later for its name";
    if ((said & ATTACHED_ASKABLE) != 0)
        return NULL;
    if (slot_hot(slot)->client.version != TLS_VERSION_1_3)
        return attached ? "it declined or did not answer before, or does not bind renegotiations"
                        : "renegotiation does not allow it, or was not allowed when it came";
    return attached ? "it does not offer post-handshake authentication, or did not answer before"
                    : "it does not offer post-handshake authentication, or came before it was "
                      "looked for";
}

static json_t *ask(const struct control *control, const struct session_found *found)
{
    const struct slot *slot = &found->slot;
    const char *reason = why_not(control, slot);
    char id[SESSION_ID_TEXT_MAX];
    json_t *line = json_object();

    json_set_text(line, "session", session_id_text(id, found->relay, slot->serial));
    json_set_address(line, "client", slot->client_address, slot->client_port);
    json_set_field(line, "sni", slot->server_name, sizeof slot->server_name);
    json_set_text(line, "result", reason == NULL ? "asked" : "cannot");
    if (reason != NULL)
        json_set_text(line, "reason", reason);
    else
        board_attached_say(control->view.board, slot->attached, slot_attached_serial(slot),
                           ATTACHED_ASK);
    return line;
}

static enum verb_progress pump(struct control_request *request, struct error *error)
{
    struct control *control = request->context;
    struct authenticate_state *state = request->state;
    bool end = false;
    (void)error;

    if (state->single) {
        ignore(request_write(request, ask(control, &state->found)));
        return VERB_DONE;
    }
    while (request_has_room(request)) {
        if (session_seek(&control->view, &state->filter, &state->cursor, clock_monotonic_ns(),
                         SLOTS_PER_PUMP, &state->found, &end))
            ignore(request_write(request, ask(control, &state->found)));
        else
            return end ? VERB_DONE : VERB_AGAIN;
    }
    return VERB_AGAIN;
}

const struct control_verb verb_session_authenticate = {
    .name = "session-authenticate",
    .state_size = sizeof(struct authenticate_state),
    .begin = begin,
    .pump = pump,
};
