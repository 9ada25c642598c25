/* `alerts`: what is wrong now; `alerts-acknowledge`, `alerts-silence` and their like: what people
 * do about it; `alerts-deliveries`, `alerts-test`: whether messages really arrive. */
#include "admin/control_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "watch/report_words.h"

#define POLL_NS (100 * NS_PER_MS)

static int alerting(const struct control *control, struct error *error)
{
    return control->alerting != NULL
               ? 0
               : error_set(error, ERROR_NOT_FOUND,
                           "nothing is watched: the configuration has no section watch");
}

/* ---- lists ---- */

static void add_line(void *context, json_t *object)
{
    ignore(json_array_append(context, object));
}

static int compare(const void *a, const void *b)
{
    const json_t *const *left = a, *const *right = b;
    int code = report_verdict_code(json_text(*left, "severity"));
    int other = report_verdict_code(json_text(*right, "severity"));
    double age = json_real_or(*left, "number", 0) - json_real_or(*right, "number", 0);

    if (code >= 0 && other >= 0 && code != other)
        return report_worse(code, other) == code ? -1 : 1;
    return age < 0 ? -1 : age > 0;
}

/* The gravest first, then the oldest. */
static json_t *sorted(json_t *lines)
{
    size_t count = json_array_size(lines);
    json_t *list = json_array(), **order = calloc(count + 1, sizeof(json_t *));

    for (size_t i = 0; order != NULL && i < count; i++)
        order[i] = json_array_get(lines, i);
    if (order == NULL || list == NULL) {
        free(order);
        json_decref(list);
        return lines;
    }
    qsort(order, count, sizeof(json_t *), compare);
    for (size_t i = 0; i < count; i++)
        ignore(json_array_append(list, order[i]));
    free(order);
    json_decref(lines);
    return list;
}

static int alerts_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    struct verb_lines *state = request->state;
    bool wrong = false, all = json_get_flag(object, "all", &wrong);

    if (wrong)
        return error_set(error, ERROR_USAGE, "\"all\" is true or false");
    if (alerting(control, error) < 0)
        return -(int)error->code;
    state->lines = json_array();
    alerting_each(control->alerting, all, add_line, state->lines);
    state->lines = sorted(state->lines);
    return 0;
}

const struct control_verb verb_alerts = {.name = "alerts",
                                         .state_size = sizeof(struct verb_lines),
                                         .begin = alerts_begin,
                                         .pump = verb_lines_pump,
                                         .end = verb_lines_end};

static int silences_begin(struct control_request *request, const json_t *object,
                          struct error *error)
{
    struct control *control = request->context;
    struct verb_lines *state = request->state;
    (void)object;

    if (alerting(control, error) < 0)
        return -(int)error->code;
    state->lines = json_array();
    alerting_each_silence(control->alerting, add_line, state->lines);
    return 0;
}

const struct control_verb verb_alerts_silences = {.name = "alerts-silences",
                                                  .state_size = sizeof(struct verb_lines),
                                                  .begin = silences_begin,
                                                  .pump = verb_lines_pump,
                                                  .end = verb_lines_end};

static int deliveries_begin(struct control_request *request, const json_t *object,
                            struct error *error)
{
    struct control *control = request->context;
    struct verb_lines *state = request->state;
    (void)object;

    if (alerting(control, error) < 0)
        return -(int)error->code;
    state->lines = json_array();
    deliveries_each(alerting_deliveries(control->alerting), add_line, state->lines);
    return 0;
}

const struct control_verb verb_alerts_deliveries = {.name = "alerts-deliveries",
                                                    .state_size = sizeof(struct verb_lines),
                                                    .begin = deliveries_begin,
                                                    .pump = verb_lines_pump,
                                                    .end = verb_lines_end};

/* ---- what people do ---- */

static int acknowledge_begin(struct control_request *request, const json_t *object,
                             struct error *error)
{
    struct control *control = request->context;
    bool wrong = false;
    uint64_t number = json_get_number(object, "number", 0, &wrong);
    const char *by = json_get_text(object, "by", &wrong);
    const char *comment = json_get_text(object, "comment", &wrong);

    if (wrong || by == NULL)
        return error_set(error, ERROR_USAGE,
                         "\"number\" is an alert's, \"by\" a name, \"comment\" a text");
    if (alerting(control, error) < 0)
        return -(int)error->code;
    return alerting_acknowledge(control->alerting, number, by, comment != NULL ? comment : "",
                                error);
}

const struct control_verb verb_alerts_acknowledge = {.name = "alerts-acknowledge",
                                                     .begin = acknowledge_begin};

static int silence_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    struct silence silence;

    if (alerting(control, error) < 0 ||
        silence_from_json(&silence, object, time(NULL), error) < 0 ||
        alerting_silence(control->alerting, &silence, error) < 0)
        return -(int)error->code;
    ignore(request_write(request, silence_to_json(&silence)));
    return 0;
}

const struct control_verb verb_alerts_silence = {.name = "alerts-silence", .begin = silence_begin};

static int unsilence_begin(struct control_request *request, const json_t *object,
                           struct error *error)
{
    struct control *control = request->context;
    bool wrong = false;
    const char *id = json_get_text(object, "id", &wrong);

    if (wrong || id == NULL)
        return error_set(error, ERROR_USAGE, "\"id\" is a silence's");
    if (alerting(control, error) < 0)
        return -(int)error->code;
    return alerting_unsilence(control->alerting, id, error);
}

const struct control_verb verb_alerts_unsilence = {.name = "alerts-unsilence",
                                                   .begin = unsilence_begin};

/* ---- a trial of a channel; answered when its first try is over ---- */

struct test_state {
    uint64_t number;
    struct timer poll;
};

static void wake(void *context)
{
    request_wake(context);
}

static int test_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    struct test_state *state = request->state;
    bool wrong = false;
    const char *channel = json_get_text(object, "channel", &wrong);

    if (wrong || channel == NULL)
        return error_set(error, ERROR_USAGE, "\"channel\" is the name of a channel");
    if (alerting(control, error) < 0)
        return -(int)error->code;
    timer_init(&state->poll, wake, request);
    return alerting_test(control->alerting, channel, &state->number, error);
}

static enum verb_progress test_pump(struct control_request *request, struct error *error)
{
    struct control *control = request->context;
    struct test_state *state = request->state;
    json_t *delivery = deliveries_find(alerting_deliveries(control->alerting), state->number);

    if (delivery != NULL && json_integer_value(json_object_get(delivery, "attempts")) == 0 &&
        json_object_get(delivery, "finished_at") == NULL) {
        json_decref(delivery);
        timer_set(control->worker.loop, &state->poll, loop_now(control->worker.loop) + POLL_NS);
        return VERB_WAITING;
    }
    if (delivery == NULL) {
        error_set(error, ERROR_BUSY, "the trial was given up for others");
        return VERB_FAILED;
    }
    ignore(request_write(request, delivery));
    return VERB_DONE;
}

static void test_end(struct control_request *request)
{
    struct control *control = request->context;
    struct test_state *state = request->state;

    timer_cancel(control->worker.loop, &state->poll);
}

const struct control_verb verb_alerts_test = {.name = "alerts-test",
                                              .state_size = sizeof(struct test_state),
                                              .begin = test_begin,
                                              .pump = test_pump,
                                              .end = test_end};
