/* `policy-facts`: what the policy document and its lint are made from: the configuration in force
 * with all defaults, in pieces of whole lines, and what history the board has. */
#include "admin/control_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define PIECE_SIZE 65536

struct policy_facts_state {
    char *text;
    size_t size, given;
};

static int policy_facts_begin(struct control_request *request, const json_t *object,
                              struct error *error)
{
    struct control *control = request->context;
    struct policy_facts_state *state = request->state;
    (void)object;

    state->text = conf_show(control->view.conf);
    if (state->text == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    state->size = strlen(state->text);
    return 0;
}

/* Whole lines, so that no character is cut; one line at least. */
static json_t *next_piece(struct policy_facts_state *state)
{
    const char *from = state->text + state->given;
    size_t size = 0;

    while (state->given + size < state->size) {
        size_t line = strcspn(from + size, "\n") + 1;
        if (size > 0 && size + line > PIECE_SIZE)
            break;
        size += line;
    }
    if (state->given + size > state->size)
        size = state->size - state->given;
    state->given += size;
    return json_pack("{s:s%}", "text", from, size);
}

static json_t *histogram_to_json(const struct board *board, enum histogram histogram)
{
    uint64_t sums[HISTOGRAM_BUCKETS] = {0};
    json_t *buckets = json_array();

    for (unsigned i = 0; i < BOARD_PROCESSES; i++) {
        const uint64_t *counted = board->processes[i].histograms[histogram].buckets;
        for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++)
            sums[bucket] += __atomic_load_n(&counted[bucket], __ATOMIC_RELAXED);
    }
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++)
        ignore(json_array_append_new(buckets, json_integer((json_int_t)sums[bucket])));
    return buckets;
}

static json_t *facts(const struct control *control)
{
    json_t *object = json_object(), *histograms = json_object();

    for (unsigned i = 0; i < HISTOGRAM_COUNT; i++)
        ignore(json_object_set_new(histograms, histogram_facts[i].name,
                                   histogram_to_json(control->view.board, (enum histogram)i)));
    json_set_text(object, "config", control->worker.setup.config_path);
    ignore(json_object_set_new(object, "histograms", histograms));
    return object;
}

static enum verb_progress policy_facts_pump(struct control_request *request, struct error *error)
{
    struct policy_facts_state *state = request->state;

    while (state->given < state->size) {
        if (!request_has_room(request))
            return VERB_AGAIN;
        json_t *piece = next_piece(state);
        if (piece == NULL || !request_write(request, piece)) {
            error_set(error, ERROR_LIMIT, "the configuration cannot be sent whole");
            return VERB_FAILED;
        }
    }
    ignore(request_write(request, facts(request->context)));
    return VERB_DONE;
}

static void policy_facts_end(struct control_request *request)
{
    struct policy_facts_state *state = request->state;

    free(state->text);
}

const struct control_verb verb_policy_facts = {
    .name = "policy-facts",
    .state_size = sizeof(struct policy_facts_state),
    .begin = policy_facts_begin,
    .pump = policy_facts_pump,
    .end = policy_facts_end,
};
