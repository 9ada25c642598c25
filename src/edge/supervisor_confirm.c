/* A configuration that must be confirmed goes back by itself: when nobody confirms it in time, or
 * at once when handshakes fail more often than before.
 *
 * The rule: of the handshakes since the reload at least CONFIRM_ATTEMPTS have ended, and the share
 * of failures among them is more than twice the share of the five minutes before, plus ten in a
 * hundred. A quiet site has a few failures by strangers who scan it: twice nothing is nothing, so
 * the ten are what they may cost; a site under a scan has its noise in the share before. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "edge/supervisor_reload_internal.h"

#define CONFIRM_ATTEMPTS 20
#define SAMPLE_NS        (10 * NS_PER_S)
#define TRY_AGAIN_NS     (10 * NS_PER_S)

static struct handshake_sample sample_now(const struct reload *reload)
{
    const struct supervisor *supervisor = reload->supervisor;

    return (struct handshake_sample){
        .at_ns = loop_now(supervisor->loop),
        .done = board_sum(supervisor->board, COUNTER_HANDSHAKES),
        .failed = board_sum(supervisor->board, COUNTER_HANDSHAKE_FAILURES),
    };
}

/* Share of failures between two moments; counts that a restarted process began anew count as none.
 */
static double share(const struct handshake_sample *from, const struct handshake_sample *to,
                    uint64_t *ret_attempts)
{
    uint64_t done = to->done > from->done ? to->done - from->done : 0;
    uint64_t failed = to->failed > from->failed ? to->failed - from->failed : 0;

    *ret_attempts = done + failed;
    return done + failed == 0 ? 0 : (double)failed / (double)(done + failed);
}

static void take_sample(struct reload *reload)
{
    struct handshake_sample now = sample_now(reload);
    unsigned count = reload->sample_count;

    if (count > 0 && now.at_ns < reload->samples[count - 1].at_ns + SAMPLE_NS)
        return;
    if (count == SAMPLES_MAX) {
        memmove(&reload->samples[0], &reload->samples[1],
                (SAMPLES_MAX - 1) * sizeof reload->samples[0]);
        count--;
    }
    reload->samples[count] = now;
    reload->sample_count = count + 1;
}

static void go_back(struct reload *reload)
{
    const struct message_reload request = {.action = RELOAD_ROLLBACK,
                                           .entry = reload->confirm.entry};

    if (reload->stage == RELOAD_IDLE)
        reload_begin(reload, ORIGIN_RETURN, &request);
    /* If it was refused, or something else was under way. */
    if (reload->confirm.waiting)
        timer_set(reload->supervisor->loop, &reload->confirm.timer,
                  loop_now(reload->supervisor->loop) + TRY_AGAIN_NS);
}

static void on_timer(void *context)
{
    struct reload *reload = context;

    if (reload->confirm.why[0] == '\0')
        ignore(snprintf(reload->confirm.why, sizeof reload->confirm.why,
                        "nobody confirmed it within %llu s",
                        (unsigned long long)(reload->confirm.duration_ms / 1000)));
    go_back(reload);
}

static void look_at_failures(struct reload *reload)
{
    struct handshake_sample now = sample_now(reload);
    uint64_t attempts;
    double after = share(&reload->confirm.begun, &now, &attempts);

    if (attempts < CONFIRM_ATTEMPTS || after <= 2 * reload->confirm.baseline + 0.1)
        return;
    ignore(snprintf(reload->confirm.why, sizeof reload->confirm.why,
                    "%.0f %% of %llu handshakes failed since, %.0f %% before", after * 100,
                    (unsigned long long)attempts, reload->confirm.baseline * 100));
    go_back(reload);
}

void confirm_tick(struct reload *reload)
{
    take_sample(reload);
    if (reload->confirm.waiting && reload->confirm.why[0] == '\0')
        look_at_failures(reload);
}

void confirm_begin(struct reload *reload, uint64_t duration_ms, uint32_t before)
{
    struct reload_confirm *confirm = &reload->confirm;
    uint64_t attempts;

    confirm->waiting = true;
    confirm->entry = before;
    confirm->duration_ms = duration_ms;
    confirm->why[0] = '\0';
    confirm->begun = sample_now(reload);
    confirm->baseline =
        reload->sample_count == 0 ? 0 : share(&reload->samples[0], &confirm->begun, &attempts);
    timer_set(reload->supervisor->loop, &confirm->timer,
              loop_now(reload->supervisor->loop) + duration_ms * NS_PER_MS);
}

void confirm_end(struct reload *reload)
{
    reload->confirm.waiting = false;
    timer_cancel(reload->supervisor->loop, &reload->confirm.timer);
}

void confirm_init(struct reload *reload)
{
    timer_init(&reload->confirm.timer, on_timer, reload);
}
