/* What control does about drains: writes them on the board, tells the workers to look there, and
 * watches for the end. */
#include <inttypes.h>
#include <stdio.h>

#include "admin/control_internal.h"
#include "admin/drain.h"
#include "base/clock.h"
#include "base/string.h"

#define WATCH_NS (100 * NS_PER_MS)

static void tell_workers(struct control *control)
{
    for (unsigned i = 0; i < control->view.workers; i++) {
        ignore(peer_send(peers_find(&control->peers, PROCESS_HANDSHAKER, i), MESSAGE_DRAIN, NULL, 0,
                         -1));
        ignore(
            peer_send(peers_find(&control->peers, PROCESS_RELAY, i), MESSAGE_DRAIN, NULL, 0, -1));
    }
}

/* ---- the end ---- */

/* True while it is to be watched. */
static bool watch_one(struct control *control, uint32_t listener, uint64_t now_ns)
{
    struct board_drain *place = drain_place(&control->view, listener);
    struct drain_rest rest;
    struct drain drain;
    char text[96], time[32];

    if (!board_drain_read(place, &drain) || place->over != 0)
        return false;
    rest = drain_rest(&control->view, listener);
    if (now_ns < drain.accept_until_ns || rest.sessions + rest.handshakes != 0)
        return true;
    place->over = 1;
    ignore(snprintf(text, sizeof text, "%s: nobody is left, after %s",
                    listener == CONF_NONE ? "the house" : "the listener",
                    string_duration(time, sizeof time, (now_ns - drain.begin_ns) / NS_PER_MS)));
    control_report(control, EVENT_DRAIN_ENDED, listener, text);
    return false;
}

static void watch(void *context)
{
    struct control *control = context;
    uint64_t now = loop_now(control->worker.loop);
    bool again = watch_one(control, CONF_NONE, now);

    for (uint32_t i = 0; i < control->view.conf->listener_count && i < BOARD_LISTENERS_MAX; i++)
        again |= watch_one(control, i, now);
    if (again)
        timer_set(control->worker.loop, &control->drain_watch, now + WATCH_NS);
}

void control_drain_init(struct control *control)
{
    timer_init(&control->drain_watch, watch, control);
    watch(control); /* an earlier control process may have begun one */
}

/* ---- begin ---- */

static void report_begin(struct control *control, uint32_t listener, const struct drain *drain,
                         bool changed)
{
    struct drain_rest rest = drain_rest(&control->view, listener);
    char text[160], over[32];

    ignore(
        snprintf(text, sizeof text, "%s%s: %" PRIu64 " sessions end within %s%s",
                 listener == CONF_NONE ? "the house" : "the listener",
                 changed ? ", with another time" : "", rest.sessions,
                 string_duration(over, sizeof over, (drain->end_ns - drain->begin_ns) / NS_PER_MS),
                 drain->accept_until_ns > drain->begin_ns ? ", after the notice" : ""));
    control_report(control, EVENT_DRAIN_BEGUN, listener, text);
}

int control_drain_begin(struct control *control, uint32_t listener, uint64_t over_ms,
                        struct error *error)
{
    struct board_drain *place = drain_place(&control->view, listener);
    uint64_t now = loop_now(control->worker.loop);
    struct drain drain = {.begin_ns = now, .accept_until_ns = now}, before;

    if (__atomic_load_n(&control->view.board->draining, __ATOMIC_RELAXED) != 0)
        return error_set(error, ERROR_BUSY,
                         "the daemon is stopping: all its sessions end within drain-timeout as it "
                         "is; there is nothing left to drain");
    bool changed = board_drain_read(place, &before);
    if (changed) /* whom it was announced to knows already */
        drain.accept_until_ns = before.accept_until_ns;
    else if (listener == CONF_NONE)
        drain.accept_until_ns += control->view.conf->drain_notice * NS_PER_MS;
    drain.end_ns =
        (drain.accept_until_ns > now ? drain.accept_until_ns : now) + over_ms * NS_PER_MS;
    board_drain_write(place, &drain);
    tell_workers(control);
    report_begin(control, listener, &drain, changed);
    timer_set(control->worker.loop, &control->drain_watch, now + WATCH_NS);
    return 0;
}

/* ---- cancel ---- */

static bool cancel_one(struct control *control, uint32_t listener)
{
    struct board_drain *place = drain_place(&control->view, listener);
    char text[96];
    struct drain drain;

    if (!board_drain_read(place, &drain))
        return false;
    board_drain_write(place, NULL);
    ignore(snprintf(text, sizeof text, "%s: %" PRIu64 " sessions stay",
                    listener == CONF_NONE ? "the house" : "the listener",
                    drain_rest(&control->view, listener).sessions));
    control_report(control, EVENT_DRAIN_CANCELLED, listener, text);
    return true;
}

int control_drain_cancel(struct control *control, uint32_t listener, struct error *error)
{
    const struct conf *conf = control->view.conf;
    bool any = cancel_one(control, listener);
    struct drain house;

    /* The whole house comes back with all its listeners. */
    for (uint32_t i = 0; listener == CONF_NONE && i < conf->listener_count; i++)
        any |= i < BOARD_LISTENERS_MAX && cancel_one(control, i);
    if (any) {
        tell_workers(control);
        return 0;
    }
    if (listener == CONF_NONE)
        return error_set(error, ERROR_NOT_FOUND, "nothing is being drained");
    if (board_drain_read(&control->view.board->drain, &house))
        return error_set(error, ERROR_NOT_FOUND,
                         "listener %s is drained with the whole house: only that can be cancelled, "
                         "with `holdfast drain --cancel`",
                         conf->listeners[listener].name);
    return error_set(error, ERROR_NOT_FOUND, "listener %s is not being drained",
                     conf->listeners[listener].name);
}
