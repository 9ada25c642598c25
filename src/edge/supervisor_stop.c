/* Stopping the house: notice → handshakers → relays → control, each phase when the one before has
 * nobody left. */
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "edge/supervisor_internal.h"

#define STOP_GRACE_NS (5 * NS_PER_S) /* beyond the deadline, before what is left is killed */
#define STOP_CARRY_NS (NS_PER_S)     /* … for attached sessions to end with those of relays */

static bool any_alive(const struct supervisor *supervisor, enum process_kind kind)
{
    for (unsigned i = 0; i < supervisor->process_count; i++) {
        const struct process *process = &supervisor->processes[i];
        if (process->kind != kind)
            continue;
        if (kind == PROCESS_RELAY && process->restart.position != 0)
            return true; /* one is about to be */
        for (enum life_role role = 0; role < LIFE_COUNT; role++) {
            if (life_of(process, role)->pid > 0)
                return true;
        }
    }
    return false;
}

/* Handshakers that carry attached sessions end with the relays, which end those sessions. */
static bool any_handshakes(const struct supervisor *supervisor)
{
    for (unsigned i = 0; i < supervisor->process_count; i++) {
        const struct process *process = &supervisor->processes[i];
        for (enum life_role role = 0; role < LIFE_COUNT; role++) {
            const struct house_life *life = life_of(process, role);
            if (process->kind == PROCESS_HANDSHAKER && life->pid > 0 && !life->carries)
                return true;
        }
    }
    return false;
}

static void stop_life(struct house_life *life, const struct message_stop *body)
{
    if (life->pid <= 0)
        return;
    life->stage = LIFE_STOPPING;
    if (!spawn_tell(life, MESSAGE_STOP, body, sizeof *body, NULL, 0))
        life_kill(life);
}

static void stop_kind(struct supervisor *supervisor, enum process_kind kind)
{
    struct message_stop body = {.deadline_ns = supervisor->stop_deadline_ns,
                                .carry_ns = supervisor->stop_deadline_ns + STOP_CARRY_NS};

    for (unsigned i = 0; i < supervisor->process_count; i++) {
        struct process *process = &supervisor->processes[i];
        if (process->kind != kind)
            continue;
        if (kind != PROCESS_RELAY) {
            timer_cancel(supervisor->loop, &process->restart);
            life_kill(life_of(process, LIFE_SUCCESSOR)); /* it has nothing yet */
        } else if (process->restart.position != 0) {     /* sessions wait there: now or never */
            timer_set(supervisor->loop, &process->restart, loop_now(supervisor->loop));
        }
        stop_life(life_of(process, LIFE_RETIRING), &body);
        stop_life(life_of(process, LIFE_CURRENT), &body);
    }
}

void stop_newcomer(struct process *process)
{
    const struct supervisor *supervisor = process->supervisor;
    struct message_stop body = {.deadline_ns = supervisor->stop_deadline_ns};

    if (supervisor->stop == STOP_RELAYS && process->kind == PROCESS_RELAY)
        stop_life(life_of(process, LIFE_CURRENT), &body);
}

/* In the house as well, for another image. */
static void set_stop(struct supervisor *supervisor, enum supervisor_stop stop)
{
    struct house *house = supervisor->house;

    supervisor->stop = stop;
    house->stop_deadline_ns = supervisor->stop_deadline_ns;
    house->exit_code = supervisor->exit_code;
    house->stop = (uint32_t)stop;
}

void stop_resume(struct supervisor *supervisor)
{
    const struct house *house = supervisor->house;

    if (house->stop == STOP_NONE)
        return;
    supervisor->stop_deadline_ns = house->stop_deadline_ns;
    supervisor->exit_code = house->exit_code;
    supervisor->stop = (enum supervisor_stop)house->stop;
    timer_set(supervisor->loop, &supervisor->stop_timer,
              supervisor->stop == STOP_NOTICE ? loop_now(supervisor->loop)
                                              : supervisor->stop_deadline_ns + STOP_GRACE_NS);
    if (supervisor->stop == STOP_HANDSHAKERS)
        stop_kind(supervisor, PROCESS_HANDSHAKER);
    else if (supervisor->stop == STOP_RELAYS)
        stop_kind(supervisor, PROCESS_RELAY);
    else if (supervisor->stop == STOP_CONTROL)
        stop_kind(supervisor, PROCESS_CONTROL);
    stop_advance(supervisor);
}

void stop_carries(struct supervisor *supervisor, struct house_life *handshaker)
{
    if (handshaker->stage != LIFE_STOPPING)
        return;
    handshaker->carries = true;
    stop_advance(supervisor);
}

void stop_advance(struct supervisor *supervisor)
{
    if (supervisor->stop == STOP_HANDSHAKERS && !any_handshakes(supervisor)) {
        set_stop(supervisor, STOP_RELAYS);
        stop_kind(supervisor, PROCESS_RELAY);
    }
    if (supervisor->stop == STOP_RELAYS && !any_alive(supervisor, PROCESS_RELAY) &&
        !any_alive(supervisor, PROCESS_HANDSHAKER)) {
        set_stop(supervisor, STOP_CONTROL);
        event_flush(&supervisor->events);
        stop_kind(supervisor, PROCESS_CONTROL);
    }
    if (supervisor->stop == STOP_CONTROL && !any_alive(supervisor, PROCESS_CONTROL))
        loop_stop(supervisor->loop, supervisor->exit_code);
}

void stop_listening(struct supervisor *supervisor)
{
    struct house *house = supervisor->house;

    set_stop(supervisor, STOP_HANDSHAKERS);
    resources_release(supervisor);
    for (uint32_t i = 0; i < house->listening_count; i++) {
        ignore(close(house->listening[i].fd));
        house->listening[i].fd = -1;
    }
    house->listening_count = 0;
    stop_kind(supervisor, PROCESS_HANDSHAKER);
    timer_set(supervisor->loop, &supervisor->stop_timer,
              supervisor->stop_deadline_ns + STOP_GRACE_NS);
    stop_advance(supervisor);
}

void stop_timer_fired(void *context)
{
    struct supervisor *supervisor = context;

    if (supervisor->stop == STOP_NOTICE) {
        stop_listening(supervisor);
        return;
    }
    for (unsigned i = 0; i < supervisor->process_count; i++) {
        struct process *process = &supervisor->processes[i];
        if (process->kind == PROCESS_CONTROL && supervisor->stop != STOP_CONTROL)
            continue;
        timer_cancel(supervisor->loop, &process->restart); /* one that failed so far is too late */
        for (enum life_role role = 0; role < LIFE_COUNT; role++)
            life_kill(life_of(process, role));
    }
    timer_set(supervisor->loop, &supervisor->stop_timer,
              loop_now(supervisor->loop) + STOP_GRACE_NS);
    stop_advance(supervisor);
}

void stop_begin(struct supervisor *supervisor, int exit_code)
{
    uint64_t now = loop_now(supervisor->loop);

    supervisor->exit_code = exit_code;
    supervisor->stop_deadline_ns =
        now + (supervisor->conf->drain_notice + supervisor->conf->drain_timeout) * NS_PER_MS;
    set_stop(supervisor, STOP_NOTICE);
    __atomic_store_n(&supervisor->board->draining, 1, __ATOMIC_RELAXED);
    supervisor_event(supervisor, EVENT_STOPPING, "sessions may finish within %llu s",
                     (unsigned long long)(supervisor->conf->drain_timeout / 1000));
    supervisor_notify("STOPPING=1");
    timer_set(supervisor->loop, &supervisor->stop_timer,
              now + supervisor->conf->drain_notice * NS_PER_MS);
}

/* The first signal drains; another one means now. */
void stop_signalled(void *context, int signal_number)
{
    struct supervisor *supervisor = context;
    (void)signal_number;

    if (supervisor->stop == STOP_NONE) {
        stop_begin(supervisor, 0);
        return;
    }
    supervisor->stop_deadline_ns = loop_now(supervisor->loop);
    if (supervisor->stop == STOP_NOTICE) {
        timer_set(supervisor->loop, &supervisor->stop_timer, supervisor->stop_deadline_ns);
        return;
    }
    for (unsigned i = 0; supervisor->stop == STOP_HANDSHAKERS && i < supervisor->process_count;
         i++) {
        struct process *process = &supervisor->processes[i];
        for (enum life_role role = 0; role < LIFE_COUNT; role++) {
            if (process->kind == PROCESS_HANDSHAKER)
                life_kill(life_of(process, role));
        }
    }
    if (supervisor->stop == STOP_RELAYS)
        stop_kind(supervisor, PROCESS_RELAY);
}
