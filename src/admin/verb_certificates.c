/* `certs`: one line per pair; `cert-install`, `cert-renew`: commands to the vault, answered when
 * they are through. */
#include "admin/control_internal.h"

#include "admin/certificates.h"
#include "base/clock.h"
#include "base/json.h"

struct certs_state {
    struct control_request *request;
    size_t given; /* entries sent by earlier pumps */
    size_t at;
    int64_t now_s;
};

/* The vault's list cannot be entered in the middle; what was sent before is passed over. */
static int send_entry(void *context, const struct vault_entry *entry)
{
    struct certs_state *state = context;
    const struct control *control = state->request->context;

    if (state->at++ < state->given)
        return 0;
    if (!request_has_room(state->request))
        return 1;
    ignore(request_write(state->request,
                         certificate_to_json(control->view.conf, entry, state->now_s)));
    state->given++;
    return 0;
}

static int certs_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    struct certs_state *state = request->state;
    (void)object;

    state->request = request;
    state->now_s = (int64_t)(clock_wall_ns() / NS_PER_S);
    return control->view.vault != NULL
               ? 0
               : error_set(error, ERROR_BUSY, "the daemon is still starting; try again");
}

static enum verb_progress certs_pump(struct control_request *request, struct error *error)
{
    struct control *control = request->context;
    struct certs_state *state = request->state;
    (void)error;

    state->at = 0;
    return vault_each(control->view.vault, send_entry, state) != 0 ? VERB_AGAIN : VERB_DONE;
}

const struct control_verb verb_certs = {
    .name = "certs",
    .state_size = sizeof(struct certs_state),
    .begin = certs_begin,
    .pump = certs_pump,
};

struct command_state {
    bool answered;
    struct vault_outcome outcome;
};

static void on_done(void *context, const struct vault_outcome *outcome)
{
    struct control_request *request = context;
    struct command_state *state = request->state;

    state->outcome = *outcome;
    state->answered = true;
    request_wake(request);
}

/* "force" is a list of finding codes. */
static int parse_forced(const json_t *object, uint64_t *ret_forced, struct error *error)
{
    const json_t *list = json_object_get(object, "force");
    uint64_t forced = 0;

    if (list != NULL && !json_is_array(list))
        return error_set(error, ERROR_USAGE, "\"force\" is a list of finding codes");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        enum error_code code = name != NULL ? error_from_name(name) : ERROR_NONE;
        if (error_class(code) != ERROR_CLASS_FINDING)
            return error_set(error, ERROR_USAGE,
                             "\"force\" holds something that is no finding code (certs and cert "
                             "install name them)");
        forced |= 1ull << (code - ERROR_CERTIFICATE_UNPARSABLE);
    }
    *ret_forced = forced;
    return 0;
}

static int command_name(const struct control *control, const json_t *object, const char **ret_name,
                        struct error *error)
{
    bool wrong = false;
    const char *name = json_get_text(object, "name", &wrong);

    if (control->view.vault == NULL)
        return error_set(error, ERROR_BUSY, "the daemon is still starting; try again");
    if (name == NULL)
        return error_set(error, ERROR_USAGE, "\"name\" names the certificate");
    *ret_name = name;
    return 0;
}

static int take_descriptor(struct control_request *request, size_t at)
{
    if (at >= request->fd_count)
        return -1;
    int fd = request->fds[at];
    request->fds[at] = -1;
    return fd;
}

static int install_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    const char *name = NULL;
    uint64_t forced = 0;

    int result = command_name(control, object, &name, error);
    if (result == 0)
        result = parse_forced(object, &forced, error);
    if (result == 0 && (request->fd_count < 1 || request->fd_count > 2))
        result = error_set(error, ERROR_USAGE,
                           "one or two open files must come along: chain and key, or both in one");
    if (result < 0)
        return result;
    int chain = take_descriptor(request, 0), key = take_descriptor(request, 1);
    vault_install(control->view.vault, name, chain, key, forced, on_done, request);
    return 0;
}

static int renew_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    const char *name = NULL;

    int result = command_name(control, object, &name, error);
    if (result == 0)
        vault_renew(control->view.vault, name, on_done, request);
    return result;
}

static enum verb_progress command_pump(struct control_request *request, struct error *error)
{
    struct command_state *state = request->state;

    if (!state->answered)
        return VERB_WAITING;
    ignore(request_write(request, certificate_outcome_to_json(&state->outcome)));
    *error = state->outcome.error;
    return error->code == ERROR_NONE ? VERB_DONE : VERB_FAILED;
}

static void command_end(struct control_request *request)
{
    struct control *control = request->context;
    struct command_state *state = request->state;

    if (!state->answered && control->view.vault != NULL)
        vault_abandon(control->view.vault, request);
}

const struct control_verb verb_cert_install = {
    .name = "cert-install",
    .state_size = sizeof(struct command_state),
    .begin = install_begin,
    .pump = command_pump,
    .end = command_end,
};

const struct control_verb verb_cert_renew = {
    .name = "cert-renew",
    .state_size = sizeof(struct command_state),
    .begin = renew_begin,
    .pump = command_pump,
    .end = command_end,
};
