/* `resumption`: what became of offers to resume; `resumption-forget`: all sessions given so far are
 * refused from now on. */
#include <stdio.h>

#include "admin/control_internal.h"

#include "base/clock.h"
#include "base/json.h"

static uint64_t epoch_of(const struct board *board)
{
    return __atomic_load_n(&board->resumption_epoch, __ATOMIC_RELAXED);
}

static json_t *misses_to_json(const struct board *board)
{
    json_t *object = json_object();

    for (int miss = RESUMPTION_MISS_NONE + 1; miss < RESUMPTION_MISS_COUNT; miss++)
        json_set_number(object, resumption_miss_name((enum resumption_miss)miss),
                        board_resumption_misses(board, (enum resumption_miss)miss));
    return object;
}

static json_t *cache_to_json(const struct control *control)
{
    const struct board *board = control->view.board;
    json_t *object = json_object();

    json_set_number(object, "room", control->worker.conf->session_cache);
    json_set_number(object, "entries",
                    __atomic_load_n(&board->session_cache_entries, __ATOMIC_RELAXED));
    json_set_number(object, "stored", board_sum(board, COUNTER_SESSION_CACHE_STORED));
    json_set_number(object, "hits", board_sum(board, COUNTER_SESSION_CACHE_HITS));
    json_set_number(object, "misses", board_sum(board, COUNTER_SESSION_CACHE_MISSES));
    json_set_number(object, "replaced", board_sum(board, COUNTER_SESSION_CACHE_REPLACED));
    json_set_number(object, "too_large", board_sum(board, COUNTER_SESSION_CACHE_TOO_LARGE));
    return object;
}

static enum verb_progress show_pump(struct control_request *request, struct error *error)
{
    const struct control *control = request->context;
    const struct board *board = control->view.board;
    json_t *object = json_object();
    (void)error;

    json_set_number(object, "handshakes", board_sum(board, COUNTER_HANDSHAKES));
    json_set_number(object, "offered", board_sum(board, COUNTER_RESUMPTIONS_OFFERED));
    json_set_number(object, "resumed", board_sum(board, COUNTER_HANDSHAKES_RESUMED));
    ignore(json_object_set_new(object, "misses", misses_to_json(board)));
    ignore(json_object_set_new(object, "session_cache", cache_to_json(control)));
    if (epoch_of(board) != 0)
        json_set_time(object, "forgotten", (int64_t)epoch_of(board));
    ignore(request_write(request, object));
    return VERB_DONE;
}

static int begin(struct control_request *request, const json_t *object, struct error *error)
{
    const struct control *control = request->context;
    (void)object;

    return control->serving ? 0 : error_set(error, ERROR_BUSY, "the ticket keys are not read yet");
}

const struct control_verb verb_resumption = {
    .name = "resumption", .begin = begin, .pump = show_pump};

/* The epoch is a time, so that it also rises where an earlier one was lost. */
static void raise_epoch(struct board *board)
{
    uint64_t wall_s = clock_wall_ns() / NS_PER_S, epoch = epoch_of(board);

    __atomic_store_n(&board->resumption_epoch, wall_s > epoch ? wall_s : epoch + 1,
                     __ATOMIC_RELAXED);
}

static enum verb_progress forget_pump(struct control_request *request, struct error *error)
{
    struct control *control = request->context;
    struct error not_yet = {0};
    struct event *event;

    raise_epoch(control->view.board);
    /* To be stored with the ticket keys; when that cannot be now, their keeper tries again. */
    ignore(control_tickets_act(control, TICKET_ADVANCE, &not_yet));
    if ((event = event_begin(&control->worker.events, EVENT_RESUMPTION_FORGOTTEN)) != NULL) {
        event->config = control->feed.config;
        ignore(snprintf(event->detail, sizeof event->detail,
                        "by the operator: who comes back is asked for certificates again"));
        event_end(&control->worker.events, EVENT_RESUMPTION_FORGOTTEN);
    }
    return show_pump(request, error);
}

const struct control_verb verb_resumption_forget = {
    .name = "resumption-forget", .begin = begin, .pump = forget_pump};
