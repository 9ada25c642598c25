/* `key-usage`: where the sending keys of a listener's sessions stand, a line for each suite. */
#include "admin/control_internal.h"

#include <string.h>

#include "admin/key_usage.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/string.h"

#define SLOTS_PER_PUMP 4096

static int key_usage_begin(struct control_request *request, const json_t *object,
                           struct error *error)
{
    struct control *control = request->context;
    struct key_usage_survey *survey = request->state;
    char shown[CONF_NAME_MAX + 1];
    bool wrong = false;
    const char *listener = json_get_text(object, "listener", &wrong);

    if (wrong || listener == NULL)
        return error_set(error, ERROR_USAGE, "\"listener\" is the name of a listener");
    survey->listener = conf_find_listener(control->view.conf, listener);
    if (survey->listener == CONF_NONE)
        return error_set(error, ERROR_NOT_FOUND,
                         "there is no listener \"%s\" in the configuration in force",
                         string_printable(shown, sizeof shown, listener, strlen(listener)));
    return 0;
}

static enum verb_progress key_usage_pump(struct control_request *request, struct error *error)
{
    struct control *control = request->context;
    struct key_usage_survey *survey = request->state;
    (void)error;

    if (!key_usage_survey(&control->view, survey, SLOTS_PER_PUMP))
        return VERB_AGAIN;
    for (size_t i = 0; i < survey->count; i++)
        ignore(request_write(request, key_usage_to_json(&control->view, survey, &survey->entries[i],
                                                        clock_monotonic_ns())));
    return VERB_DONE;
}

const struct control_verb verb_key_usage = {
    .name = "key-usage",
    .state_size = sizeof(struct key_usage_survey),
    .begin = key_usage_begin,
    .pump = key_usage_pump,
};
