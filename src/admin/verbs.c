/* The small verbs, and the table of all. */
#include "admin/control_internal.h"

#include "admin/status.h"
#include "base/clock.h"
#include "base/json.h"

static int nothing_to_check(struct control_request *request, const json_t *object,
                            struct error *error)
{
    (void)request, (void)object, (void)error;
    return 0;
}

static enum verb_progress status_pump(struct control_request *request, struct error *error)
{
    struct control *control = request->context;
    (void)error;

    json_t *object =
        status_to_json(&control->view, control->worker.setup.config_path, clock_monotonic_ns());
    json_set_text(object, "config_source", control->worker.setup.config_source);
    json_t *watch = control_watch_status(control), *alerts = control_alerts_status(control);
    if (watch != NULL)
        ignore(json_object_set_new(object, "watch", watch));
    if (alerts != NULL)
        ignore(json_object_set_new(object, "alerts", alerts));
    ignore(request_write(request, object));
    return VERB_DONE;
}

static const struct control_verb verb_status = {
    .name = "status", .begin = nothing_to_check, .pump = status_pump};

static int trace_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    struct trace_filter filter;

    int result = trace_filter_parse(&filter, object, error);
    return result < 0 ? result : trace_add(&control->trace, request, &filter, error);
}

/* The lines come from trace.c as events happen. */
static enum verb_progress trace_pump(struct control_request *request, struct error *error)
{
    (void)request, (void)error;
    return VERB_WAITING;
}

static void trace_end(struct control_request *request)
{
    struct control *control = request->context;

    trace_remove(&control->trace, request);
}

static const struct control_verb verb_trace = {
    .name = "trace",
    .begin = trace_begin,
    .pump = trace_pump,
    .end = trace_end,
};

enum verb_progress verb_lines_pump(struct control_request *request, struct error *error)
{
    struct verb_lines *state = request->state;
    (void)error;

    for (; state->given < json_array_size(state->lines); state->given++) {
        if (!request_has_room(request))
            return VERB_AGAIN;
        ignore(request_write(request, json_incref(json_array_get(state->lines, state->given))));
    }
    return VERB_DONE;
}

void verb_lines_end(struct control_request *request)
{
    struct verb_lines *state = request->state;

    json_decref(state->lines);
}

const struct control_verb *const control_verbs[] = {
    &verb_status,
    &verb_sessions,
    &verb_session_close,
    &verb_session_authenticate,
    &verb_certs,
    &verb_cert_install,
    &verb_cert_renew,
    &verb_upstream,
    &verb_upgrade,
    &verb_keys_traffic,
    &verb_keys_traffic_renew,
    &verb_upgrade_status,
    &verb_drain,
    &verb_trace,
    &verb_reload,
    &verb_config_rollback,
    &verb_config_confirm,
    &verb_config_history,
    &verb_key_usage,
    &verb_key_exposure,
    &verb_policy_facts,
    &verb_tickets,
    &verb_tickets_rotate,
    &verb_resumption,
    &verb_resumption_forget,
    &verb_watch,
    &verb_watch_history,
    &verb_watch_check,
    &verb_watch_discover,
    &verb_alerts,
    &verb_alerts_acknowledge,
    &verb_alerts_silences,
    &verb_alerts_silence,
    &verb_alerts_unsilence,
    &verb_alerts_deliveries,
    &verb_alerts_test,
    NULL,
};
