/* `key-exposure`: for each secret where it is, what it decrypts and until when. */
#include "admin/control_internal.h"

#include "admin/exposure.h"

#define SLOTS_PER_PUMP 4096

struct exposure_state {
    struct key_usage_survey survey;
    json_t *lines; /* NULL until the survey is complete */
    size_t given;
};

static int exposure_begin(struct control_request *request, const json_t *object,
                          struct error *error)
{
    struct exposure_state *state = request->state;
    (void)object, (void)error;

    state->survey.listener = CONF_NONE;
    return 0;
}

static enum verb_progress exposure_pump(struct control_request *request, struct error *error)
{
    struct control *control = request->context;
    struct exposure_state *state = request->state;
    (void)error;

    if (state->lines == NULL) {
        if (!key_usage_survey(&control->view, &state->survey, SLOTS_PER_PUMP))
            return VERB_AGAIN;
        state->lines = exposure_to_json(&control->view, &state->survey);
    }
    for (; state->given < json_array_size(state->lines); state->given++) {
        if (!request_has_room(request))
            return VERB_AGAIN;
        ignore(request_write(request, json_incref(json_array_get(state->lines, state->given))));
    }
    return VERB_DONE;
}

static void exposure_end(struct control_request *request)
{
    struct exposure_state *state = request->state;

    json_decref(state->lines);
}

const struct control_verb verb_key_exposure = {
    .name = "key-exposure",
    .state_size = sizeof(struct exposure_state),
    .begin = exposure_begin,
    .pump = exposure_pump,
    .end = exposure_end,
};
