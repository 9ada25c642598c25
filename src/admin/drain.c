#include "admin/drain.h"

#include "base/clock.h"
#include "base/json.h"

static uint32_t load(const uint32_t *place)
{
    return __atomic_load_n(place, __ATOMIC_RELAXED);
}

static struct drain_rest rest_of_listener(const struct admin_view *view, uint32_t listener)
{
    struct drain_rest rest = {.sessions = board_listener_connections(view->board, listener)};

    for (unsigned i = 0; listener < BOARD_LISTENERS_MAX && i < view->workers; i++)
        rest.handshakes += load(&view->board->listeners[listener].handshakes[i]);
    return rest;
}

struct drain_rest drain_rest(const struct admin_view *view, uint32_t listener)
{
    struct drain_rest rest = {.sessions = 0};

    if (listener != CONF_NONE)
        return rest_of_listener(view, listener);
    /* Not what the processes hold: one that is being replaced holds nothing for a moment. */
    for (uint32_t i = 0; i < BOARD_LISTENERS_MAX; i++) {
        struct drain_rest one = rest_of_listener(view, i);
        rest.sessions += one.sessions;
        rest.handshakes += one.handshakes;
    }
    return rest;
}

struct board_drain *drain_place(const struct admin_view *view, uint32_t listener)
{
    return listener < BOARD_LISTENERS_MAX ? &view->board->listeners[listener].drain
                                          : &view->board->drain;
}

bool drain_of_house(const struct admin_view *view)
{
    struct drain drain;

    return load(&view->board->draining) != 0 || board_drain_read(&view->board->drain, &drain);
}

bool drain_of_listener(const struct admin_view *view, uint32_t listener)
{
    struct drain drain;

    return drain_of_house(view) ||
           (listener < BOARD_LISTENERS_MAX &&
            board_drain_read(&view->board->listeners[listener].drain, &drain));
}

static json_t *listeners_to_json(const struct admin_view *view)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < view->conf->listener_count && i < BOARD_LISTENERS_MAX; i++) {
        const char *name = view_listener_name(view->conf, i);
        if (name == NULL)
            continue;
        struct drain_rest rest = rest_of_listener(view, i);
        json_t *object = json_object();
        json_set_text(object, "listener", name);
        json_set_number(object, "sessions", rest.sessions);
        json_set_number(object, "handshakes", rest.handshakes);
        ignore(json_array_append_new(list, object));
    }
    return list;
}

static const char *state_name(bool drained, bool accepting, const struct drain_rest *rest)
{
    if (!drained)
        return "none";
    if (accepting)
        return "notice";
    return rest->sessions + rest->handshakes != 0 ? "draining" : "drained";
}

json_t *drain_to_json(const struct admin_view *view, uint32_t listener, uint64_t now_ns,
                      int64_t wall_s)
{
    struct drain_rest rest = drain_rest(view, listener);
    struct drain drain;
    bool drained = board_drain_read(drain_place(view, listener), &drain);
    bool accepting = listener == CONF_NONE ? !drained || now_ns < drain.accept_until_ns
                                           : board_accepts(view->board, listener, now_ns);
    json_t *object = json_object();

    json_set_text(object, "drain", listener == CONF_NONE ? "house" : "listener");
    if (listener != CONF_NONE)
        json_set_text(object, "listener", view_listener_name(view->conf, listener));
    json_set_text(object, "state", state_name(drained, accepting, &rest));
    json_set_flag(object, "accepting", accepting);
    json_set_number(object, "sessions", rest.sessions);
    json_set_number(object, "handshakes", rest.handshakes);
    if (drained) {
        uint64_t left_ns = drain.end_ns > now_ns ? drain.end_ns - now_ns : 0;
        json_set_number(object, "left_ms", left_ns / NS_PER_MS);
        json_set_time(object, "deadline", wall_s + (int64_t)(left_ns / NS_PER_S));
    }
    if (listener == CONF_NONE)
        ignore(json_object_set_new(object, "listeners", listeners_to_json(view)));
    return object;
}
