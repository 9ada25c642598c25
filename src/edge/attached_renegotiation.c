/* TLS 1.2 renegotiation in attached sessions: who may begin one, how often, and what becomes of it.
 *
 * Ours begins by HelloRequest, behind all that was written before; from then on nothing is written
 * until the handshake is over: many clients do not take data in the middle of it. One that does not
 * begin in time, or declines, keeps its session or loses it, as the listener says. */
#include "edge/attached_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/rate.h"
#include "base/string.h"

#define NO_BUDGET_NS NS_PER_S /* before we try to ask again */

static const struct conf_listener *conf_of(const struct attached *it)
{
    return &it->handshaker->worker.conf->listeners[it->listener];
}

static bool has_policy(const struct conf_listener *conf)
{
    return conf->renegotiation != CONF_RENEGOTIATION_REFUSE || conf->renegotiate_every != 0;
}

bool renegotiation_possible(const struct conf_listener *conf, const struct handshake *handshake)
{
    return has_policy(conf) && handshake_can_renegotiate(handshake);
}

bool renegotiation_budget(struct handshaker *handshaker)
{
    uint32_t budget = handshaker->worker.conf->renegotiation_budget;

    return rate_take_shared(&handshaker->worker.board->renegotiation_ns, handshaker->now_ns,
                            NS_PER_S / budget, budget);
}

/* The client begins one. */
static bool allows(void *context)
{
    struct attached *it = context;
    const struct conf_listener *conf = conf_of(it);
    const struct conf_rate *rate = &conf->renegotiation_rate;

    switch (conf->renegotiation) {
    case CONF_RENEGOTIATION_REFUSE:
        return false;
    case CONF_RENEGOTIATION_AUTHENTICATED:
        if (!handshake_authenticated(it->handshake))
            return false;
        break;
    case CONF_RENEGOTIATION_ALLOW:
        break;
    }
    return rate_take(&it->rate_ns, it->handshaker->now_ns, rate->period * NS_PER_MS / rate->count,
                     rate->count) &&
           renegotiation_budget(it->handshaker);
}

/* ---- events ---- */

struct event *attached_event_begin(struct attached *it, enum event_type type)
{
    struct event *event = event_begin(&it->handshaker->worker.events, type);
    struct attached_home home;

    if (event == NULL)
        return NULL;
    event->listener = it->listener;
    memcpy(event->client, it->client_address, sizeof event->client);
    event->client_port = it->client_port;
    if (board_attached_home(it->handshaker->worker.board, it->place, it->serial, &home))
        event->session = home.session;
    return event;
}

void attached_report(struct attached *it, enum event_type type, const char *detail)
{
    struct event *event = attached_event_begin(it, type);

    if (event == NULL)
        return;
    ignore(string_copy(event->detail, sizeof event->detail, detail));
    event_end(&it->handshaker->worker.events, type);
}

static void failed(struct attached *it, const char *detail)
{
    worker_count(&it->handshaker->worker, COUNTER_RENEGOTIATIONS_FAILED, 1);
    attached_report(it, EVENT_RENEGOTIATION_FAILED, detail);
}

/* ---- asking ---- */

static void set_timer(struct attached *it, uint64_t after_ns)
{
    timer_set(it->handshaker->worker.loop, &it->timer, it->handshaker->now_ns + after_ns);
}

static void plan(struct attached *it)
{
    const struct conf_listener *conf = conf_of(it);

    if (conf->renegotiate_every != 0 && !it->unanswered && handshake_can_renegotiate(it->handshake))
        set_timer(it, conf->renegotiate_every * NS_PER_MS);
    else
        timer_cancel(it->handshaker->worker.loop, &it->timer);
}

void renegotiation_init(struct attached *it)
{
    const struct conf_listener *conf = conf_of(it);
    const struct handshake_carrying how = {.crypto = it->handshaker->crypto,
                                           .client_hello_max = conf->client_hello_max,
                                           .allows = has_policy(conf) ? allows : NULL,
                                           .context = it};

    handshake_carry(it->handshake, &how);
    plan(it);
}

void renegotiation_await(struct attached *it)
{
    const struct conf_listener *conf = conf_of(it);

    set_timer(it,
              (it->asking ? conf->authenticate_timeout : conf->renegotiation_timeout) * NS_PER_MS);
}

void renegotiation_hold(struct attached *it)
{
    it->held = true;
    renegotiation_await(it);
}

void renegotiation_release(struct attached *it)
{
    it->held = false;
    plan(it);
    attached_queue(it);
}

static void ask(struct attached *it)
{
    if (it->up_ended || it->down_ended)
        return;
    if (!renegotiation_budget(it->handshaker)) {
        set_timer(it, NO_BUDGET_NS);
        return;
    }
    if (!handshake_renegotiate(it->handshake)) {
        it->unanswered = true;
        failed(it, "OpenSSL could not ask for it");
        return;
    }
    renegotiation_hold(it);
    attached_queue(it);
}

/* ---- what becomes of it ---- */

/* Where a session is kept, and how the others end, depends on what the renegotiation was for. */
static bool is_kept(const struct attached *it)
{
    const struct conf_listener *conf = conf_of(it);

    return it->asking ? conf->unauthenticated == CONF_UNAUTHENTICATED_KEEP
                      : conf->renegotiation_on_timeout == CONF_ON_TIMEOUT_KEEP;
}

static void keep(struct attached *it, const char *detail)
{
    it->unanswered = true;
    if (it->asking)
        authentication_failed(it, detail);
    else
        failed(it, detail);
    renegotiation_release(it);
}

static void end(struct attached *it, enum alert alert, const char *detail)
{
    it->unanswered = true;
    if (it->asking) {
        authentication_end(it, detail);
        return;
    }
    failed(it, detail);
    attached_alert(it, alert);
    attached_part(it, ATTACHED_RENEGOTIATION_FAILED);
}

/* The session goes on without OpenSSL, which would end it; where that cannot be, or is not wanted,
 * it ends in order. */
static void declined(struct attached *it)
{
    bool alone = handshake_go_alone(it->handshake);

    if (!alone)
        end(it, ALERT_CLOSE_NOTIFY,
            "declined by the client, and its suite allows no other way: it ends");
    else if (is_kept(it))
        keep(it, "declined by the client, whose session goes on");
    else
        end(it, ALERT_CLOSE_NOTIFY, "declined by the client: its session ends");
}

bool renegotiation_cut(struct attached *it, bool closed)
{
    bool begun = handshake_renegotiation(it->handshake) == RENEGOTIATION_RUNNING;
    struct handshake_failure failure;
    char detail[120];

    if (!it->held || it->asking)
        return false;
    handshake_failure(it->handshake, &failure);
    if (failure.alert_sent != ALERT_NONE)
        ignore(snprintf(detail, sizeof detail, "the session ends with our alert %s",
                        alert_name(failure.alert_sent)));
    else if (failure.alert_received != ALERT_NONE)
        ignore(snprintf(detail, sizeof detail, "the client answered with the alert %s",
                        alert_name(failure.alert_received)));
    else
        ignore(snprintf(detail, sizeof detail, "the client is gone"));
    it->unanswered = true;
    failed(it, detail);
    if (!closed || begun)
        return true;
    renegotiation_release(it);
    return false;
}

static void look_at_counts(struct attached *it)
{
    struct worker *worker = &it->handshaker->worker;
    struct handshake_renegotiations now;

    handshake_renegotiations(it->handshake, &now);
    if (now.refused != it->seen.refused) {
        worker_count(worker, COUNTER_RENEGOTIATIONS_REFUSED, now.refused - it->seen.refused);
        it->refusals += now.refused - it->seen.refused;
    }
    if (now.done != it->seen.done) {
        worker_count(worker, COUNTER_RENEGOTIATIONS, now.done - it->seen.done);
        attached_report(it, EVENT_RENEGOTIATED, "");
        attached_keys_fresh(it);
    }
    it->seen = now;
}

void renegotiation_look(struct attached *it)
{
    look_at_counts(it);
    switch (handshake_renegotiation(it->handshake)) {
    case RENEGOTIATION_NONE:
        if (it->held && it->key.version == TLS_VERSION_1_2)
            renegotiation_release(it);
        break;
    case RENEGOTIATION_ASKED:
        break;
    case RENEGOTIATION_RUNNING:
        if (!it->held)
            renegotiation_hold(it);
        break;
    case RENEGOTIATION_DECLINED:
        declined(it);
        break;
    case RENEGOTIATION_TOO_LARGE:
        end(it, ALERT_ILLEGAL_PARAMETER, "the ClientHello exceeds client-hello-max");
        break;
    case RENEGOTIATION_CHANGED:
        end(it, ALERT_HANDSHAKE_FAILURE,
            "it changed the client's certificate or the application protocol");
        break;
    }
}

static void timed_out(struct attached *it)
{
    if (handshake_renegotiation(it->handshake) == RENEGOTIATION_RUNNING) /* there is no way back */
        end(it, ALERT_NONE, "the client began and did not finish in time: its session ends");
    else if (is_kept(it))
        keep(it, "the client did not begin in time; its session goes on");
    else
        end(it, ALERT_CLOSE_NOTIFY, "the client did not begin in time: its session ends");
}

void renegotiation_timer(struct attached *it)
{
    if (it->held)
        timed_out(it);
    else
        ask(it);
}

bool renegotiation_renew(struct attached *it)
{
    if (handshake_update_key(it->handshake)) {
        worker_count(&it->handshaker->worker, COUNTER_KEY_UPDATES_SENT, 1);
        attached_keys_fresh(it);
        return true;
    }
    if (!has_policy(conf_of(it)) || it->unanswered || !handshake_can_renegotiate(it->handshake))
        return false;
    if (!it->held)
        ask(it);
    return !it->unanswered;
}
