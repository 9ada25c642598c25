/* Client certificates in control: what the vault says of the CAs, and the sessions that end by it.
 */
#include "admin/control_internal.h"

static void end_session(void *context, unsigned relay, const struct message_session *body)
{
    struct control *control = context;

    /* What does not get through is told again. */
    ignore(peer_send(peers_find(&control->peers, PROCESS_RELAY, relay), MESSAGE_CLOSE_SESSION, body,
                     sizeof *body, -1));
}

static void judged(void *context, const char *detail)
{
    control_report(context, EVENT_SESSIONS_JUDGED, CONF_NONE, detail);
}

void control_trust_init(struct control *control)
{
    const struct rejudge_host host = {.context = control, .end = end_session, .done = judged};

    rejudge_init(&control->rejudge, &control->view, control->worker.loop, &host);
}

void control_trust_look(struct control *control)
{
    if (control->feed.authenticated_seen == control->authenticated_judged)
        return;
    control->authenticated_judged = control->feed.authenticated_seen;
    rejudge_joined(&control->rejudge);
}

void control_trust_event(void *context, enum event_type type, uint32_t listener, const char *detail)
{
    struct control *control = context;

    control_report(control, type, listener, detail);
    if (type == EVENT_CLIENT_TRUST_LOADED)
        rejudge_changed(&control->rejudge, listener);
}
