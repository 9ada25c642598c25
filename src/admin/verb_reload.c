/* `reload`, `config-rollback`, `config-confirm`, `config-history`: the supervisor is asked and does
 * it; here its answer becomes lines. */
#include <stdlib.h>
#include <string.h>

#include "admin/control_internal.h"
#include "admin/reload_plan.h"
#include "base/json.h"
#include "conf/merge.h"
#include "ipc/memory.h"

#define DOCUMENT_MAX (64u << 20)
#define CONFIRM_MAX  (7ull * 24 * 3600 * 1000)

struct reload_request {
    struct reload_request *next;
    struct control_request *request;
    struct message_reload body;
    bool answered;
    struct message_reloaded answer;
    char *text;
    json_t *lines;
    size_t written;
};

/* ---- asking ---- */

static int ask(struct control_request *request, const struct message_reload *body,
               struct error *error)
{
    struct control *control = request->context;
    struct reload_request *state = request->state;

    *state = (struct reload_request){.request = request, .body = *body};
    state->body.request = ++control->reload_serial;
    if (!worker_tell(&control->worker, MESSAGE_RELOAD, &state->body, sizeof state->body, NULL, 0))
        return error_set(error, ERROR_BUSY, "the supervisor takes no message now; try again");
    state->next = control->reloads;
    control->reloads = state;
    return 0;
}

static int reload_begin(struct control_request *request, const json_t *object, struct error *error)
{
    bool wrong = false;
    struct message_reload body = {
        .action = RELOAD_LOAD,
        .dry_run = json_get_flag(object, "dry_run", &wrong),
        .confirm_ms = json_get_number(object, "confirm_ms", 0, &wrong),
    };

    if (wrong || body.confirm_ms > CONFIRM_MAX)
        return error_set(error, ERROR_USAGE,
                         "\"dry_run\" is true or false, \"confirm_ms\" a number up to %llu",
                         CONFIRM_MAX);
    return ask(request, &body, error);
}

static int rollback_begin(struct control_request *request, const json_t *object,
                          struct error *error)
{
    bool wrong = false;
    uint64_t entry = json_get_number(object, "entry", 0, &wrong);
    struct message_reload body = {.action = RELOAD_ROLLBACK, .entry = (uint32_t)entry};

    if (wrong || entry > UINT32_MAX)
        return error_set(error, ERROR_USAGE,
                         "\"entry\" is a number that `holdfast config history` shows");
    return ask(request, &body, error);
}

static int confirm_begin(struct control_request *request, const json_t *object, struct error *error)
{
    (void)object;
    return ask(request, &(struct message_reload){.action = RELOAD_CONFIRM}, error);
}

static int history_begin(struct control_request *request, const json_t *object, struct error *error)
{
    (void)object;
    return ask(request, &(struct message_reload){.action = RELOAD_HISTORY}, error);
}

/* ---- the answer ---- */

static char *read_document(struct message *message, size_t at)
{
    size_t size;

    return at < message->fd_count ? memory_document_read(message->fds[at], DOCUMENT_MAX, &size)
                                  : NULL;
}

static void add_object(json_t *lines, json_t *object)
{
    ignore(json_array_append_new(lines, object));
}

/* The plan of a configuration that was only looked at. */
static json_t *dry_plan(struct control *control, const char *text)
{
    struct error error = {0};
    struct conf *next = NULL;

    if (text == NULL ||
        conf_parse_internal(&next, control->worker.setup.config_path, text, &error) != 0)
        return NULL;
    json_t *plan = reload_plan(&control->view, next);
    conf_free(next);
    return plan;
}

/* "FINDINGS or warnings, one a line" */
static void add_texts(json_t *lines, const char *kind, const char *text)
{
    while (text != NULL && *text != '\0') {
        size_t size = strcspn(text, "\n");
        json_t *object = json_object();
        json_set_text(object, "kind", kind);
        ignore(json_object_set_new(object, "text", json_field(text, size)));
        add_object(lines, object);
        text += size + (text[size] == '\n');
    }
}

/* NUMBER TIME SIZE FLAG, tabs between. */
static void add_history(json_t *lines, const char *text)
{
    while (text != NULL && *text != '\0') {
        unsigned number, current;
        unsigned long long size;
        long long at;
        if (sscanf(text, "%u\t%lld\t%llu\t%u", &number, &at, &size, &current) == 4) {
            json_t *object = json_object();
            json_set_number(object, "entry", number);
            json_set_time(object, "time", at);
            json_set_number(object, "bytes", size);
            json_set_flag(object, "in_force", current != 0);
            add_object(lines, object);
        }
        text += strcspn(text, "\n");
        text += *text == '\n';
    }
}

static void add_result(json_t *lines, const struct reload_request *state)
{
    json_t *object = json_object();
    char fixed[128];

    if (state->answer.fixed != 0) {
        json_t *restart = json_object();
        json_set_text(restart, "kind", "restart");
        json_set_text(restart, "settings",
                      conf_fixed_text(state->answer.fixed, fixed, sizeof fixed));
        add_object(lines, restart);
    }
    json_set_text(object, "kind", "result");
    json_set_flag(object, "dry_run", state->body.dry_run != 0);
    json_set_number(object, "generation", state->answer.generation);
    if (state->body.confirm_ms != 0)
        json_set_number(object, "confirm_ms", state->body.confirm_ms);
    add_object(lines, object);
}

static void make_lines(struct control *control, struct reload_request *state,
                       const char *config_text)
{
    bool dry = state->body.dry_run != 0;

    state->lines = json_array();
    if (state->answer.result != 0) { /* the first line is the error itself */
        const char *rest = state->text == NULL ? NULL : strchr(state->text, '\n');
        add_texts(state->lines, "finding", rest == NULL ? NULL : rest + 1);
        return;
    }
    if (state->body.action == RELOAD_HISTORY) {
        add_history(state->lines, state->text);
        return;
    }
    json_t *plan = dry                                    ? dry_plan(control, config_text)
                   : state->body.action == RELOAD_CONFIRM ? NULL
                                                          : json_incref(control->plan);
    if (plan != NULL)
        ignore(json_array_extend(state->lines, plan));
    json_decref(plan);
    add_texts(state->lines, "warning", state->text);
    add_result(state->lines, state);
}

void control_reloaded(struct control *control, struct message *message)
{
    const struct message_reloaded *body = (const void *)message->body;
    struct reload_request *state = control->reloads;

    if (message->size != sizeof *body)
        return;
    while (state != NULL && (state->answered || state->body.request != body->request))
        state = state->next;
    if (state == NULL)
        return; /* the one who asked is gone */
    state->answered = true;
    state->answer = *body;
    size_t next = 0;
    if ((body->documents & RELOADED_TEXT) != 0)
        state->text = read_document(message, next++);
    char *config = (body->documents & RELOADED_CONFIG) != 0 ? read_document(message, next) : NULL;
    make_lines(control, state, config);
    free(config);
    request_wake(state->request);
}

static int fail(const struct reload_request *state, struct error *error)
{
    enum error_code code = (enum error_code) - state->answer.result;

    if (code <= ERROR_NONE || code >= ERROR_CODE_COUNT)
        code = ERROR_INTERNAL;
    return error_set(error, code, "%.*s", state->text == NULL ? 0 : (int)strcspn(state->text, "\n"),
                     state->text == NULL ? "" : state->text);
}

static enum verb_progress reload_pump(struct control_request *request, struct error *error)
{
    struct reload_request *state = request->state;

    if (!state->answered)
        return VERB_WAITING;
    for (; state->written < json_array_size(state->lines); state->written++) {
        if (!request_has_room(request))
            return VERB_AGAIN;
        ignore(request_write(request, json_incref(json_array_get(state->lines, state->written))));
    }
    if (state->answer.result == 0)
        return VERB_DONE;
    ignore(fail(state, error));
    return VERB_FAILED;
}

static void reload_end(struct control_request *request)
{
    struct control *control = request->context;
    struct reload_request *state = request->state, **place = &control->reloads;

    while (*place != NULL && *place != state)
        place = &(*place)->next;
    if (*place != NULL)
        *place = state->next;
    json_decref(state->lines);
    free(state->text);
}

#define RELOAD_VERB(symbol, verb, begins)                                                          \
    const struct control_verb symbol = {                                                           \
        .name = (verb),                                                                            \
        .state_size = sizeof(struct reload_request),                                               \
        .begin = (begins),                                                                         \
        .pump = reload_pump,                                                                       \
        .end = reload_end,                                                                         \
    }

RELOAD_VERB(verb_reload, "reload", reload_begin);
RELOAD_VERB(verb_config_rollback, "config-rollback", rollback_begin);
RELOAD_VERB(verb_config_confirm, "config-confirm", confirm_begin);
RELOAD_VERB(verb_config_history, "config-history", history_begin);
