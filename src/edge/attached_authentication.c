/* Asking the client of an attached session who it is, because an operator wants to know, and what
 * becomes of it.
 *
 * What it shows serves to judge the session from then on, as if it had been shown in the handshake:
 * it goes to the session's slot. The upstream is not told: what the client has sent before is on
 * its way there and is not to be taken for the word of whoever it turned out to be. */
#include "edge/attached_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/secret.h"
#include "base/string.h"

#define TELL_AGAIN_NS (2 * NS_PER_S) /* a relay that dies may take the message with it */

static const struct conf_listener *conf_of(const struct attached *it)
{
    return &it->handshaker->worker.conf->listeners[it->listener];
}

static const struct trust_set *trust_of(const struct attached *it)
{
    return certificates_trust_of(it->handshaker->certificates, it->listener);
}

static bool is_tls13(const struct attached *it)
{
    return it->key.version == TLS_VERSION_1_3;
}

bool authentication_possible(const struct handshake *handshake, const struct handshake_facts *facts)
{
    return facts->version == TLS_VERSION_1_3 && handshake_can_authenticate(handshake);
}

/* Said on the board, where whoever wants to ask looks. */
static bool look_askable(struct attached *it)
{
    struct board *board = it->handshaker->worker.board;
    bool askable = !it->unanswered && handshake_can_authenticate(it->handshake) &&
                   (is_tls13(it) || renegotiation_possible(conf_of(it), it->handshake));

    if (askable)
        board_attached_say(board, it->place, it->serial, ATTACHED_ASKABLE);
    else
        board_attached_unsay(board, it->place, it->serial, ATTACHED_ASKABLE);
    return askable;
}

/* Who was asked before the session came here, and did not answer in time, may still do so. */
void authentication_init(struct attached *it)
{
    it->unanswered = handshake_authentication(it->handshake) != AUTHENTICATION_NONE;
    ignore(look_askable(it));
}

/* ---- outcome ---- */

void authentication_failed(struct attached *it, const char *detail)
{
    struct worker *worker = &it->handshaker->worker;
    struct handshake_failure failure;
    struct event *event = attached_event_begin(it, EVENT_AUTHENTICATION_FAILED);

    it->asking = false;
    worker_count(worker, COUNTER_AUTHENTICATIONS_FAILED, 1);
    ignore(look_askable(it));
    if (event == NULL)
        return;
    handshake_failure(it->handshake, &failure);
    event->alert_sent = failure.alert_sent;
    event->alert_received = failure.alert_received;
    ignore(string_copy(event->detail, sizeof event->detail, detail));
    event_end(&worker->events, EVENT_AUTHENTICATION_FAILED);
}

static void end(struct attached *it, enum alert alert, const char *detail)
{
    attached_alert(it, alert);
    authentication_failed(it, detail);
    attached_part(it, ATTACHED_AUTHENTICATION_FAILED);
}

void authentication_end(struct attached *it, const char *detail)
{
    end(it, is_tls13(it) ? ALERT_CERTIFICATE_REQUIRED : ALERT_HANDSHAKE_FAILURE, detail);
}

void authentication_broke(struct attached *it)
{
    struct handshake_failure failure;

    handshake_failure(it->handshake, &failure);
    authentication_failed(it, failure.alert_received != ALERT_NONE
                                  ? "the client ended the session instead"
                                  : failure.reason);
    attached_part(it, ATTACHED_AUTHENTICATION_FAILED);
}

/* ---- what was gained ---- */

static void forget(struct attached *it)
{
    if (it->identity == NULL)
        return;
    secret_wipe(it->identity, sizeof *it->identity);
    free(it->identity);
    it->identity = NULL;
}

void authentication_fini(struct attached *it)
{
    forget(it);
}

void authentication_tell(struct attached *it)
{
    struct handshaker *handshaker = it->handshaker;
    const struct board *board = handshaker->worker.board;
    struct attached_home home;

    if (it->identity == NULL || handshaker->now_ns < it->tell_ns)
        return;
    if ((board_attached_said(board, it->place, it->serial) & ATTACHED_IDENTIFIED) != 0) {
        forget(it);
        return;
    }
    if (!board_attached_home(board, it->place, it->serial, &home) ||
        home.relay >= BOARD_WORKERS_MAX || handshaker->relays[home.relay].fd < 0)
        return;
    it->identity->slot = home.slot;
    if (channel_send(handshaker->relays[home.relay].fd, MESSAGE_IDENTITY, it->identity,
                     sizeof *it->identity, NULL, 0) == CHANNEL_DONE)
        it->tell_ns = handshaker->now_ns + TELL_AGAIN_NS;
}

static enum alert alert_for(enum trust_verdict verdict)
{
    return verdict == TRUST_REVOKED   ? ALERT_CERTIFICATE_REVOKED
           : verdict == TRUST_EXPIRED ? ALERT_CERTIFICATE_EXPIRED
                                      : ALERT_UNKNOWN_CA;
}

/* What clients are judged by may have changed since it was asked. */
static bool still_accepted(struct attached *it, const struct client_identity *client)
{
    const struct trust_set *now = trust_of(it);
    enum trust_verdict verdict =
        now == NULL ? TRUST_UNKNOWN
                    : trust_set_judge(now, client, (int64_t)(clock_wall_ns() / NS_PER_S));
    char text[64];

    if (verdict == TRUST_ACCEPTED)
        return true;
    ignore(snprintf(text, sizeof text, "the client's certificate is %s by now",
                    trust_verdict_name(verdict)));
    end(it, alert_for(verdict), text);
    return false;
}

static void gained(struct attached *it)
{
    struct handshake_facts facts;

    handshake_facts(it->handshake, &facts);
    if (!still_accepted(it, facts.client_identity))
        return;
    it->identity = calloc(1, sizeof *it->identity);
    if (it->identity == NULL) { /* nobody could judge it again */
        authentication_end(it, "out of memory");
        return;
    }
    it->asking = false;
    it->identity->identity = *facts.client_identity;
    it->identity->trust = trust_set_generation(trust_of(it));
    it->identity->attached_serial = it->serial;
    it->tell_ns = 0;
    worker_count(&it->handshaker->worker, COUNTER_AUTHENTICATIONS, 1);
    attached_report(it, EVENT_CLIENT_AUTHENTICATED, facts.client_identity->subject);
    ignore(look_askable(it));
    authentication_tell(it);
}

void authentication_look(struct attached *it)
{
    enum handshake_authentication now = handshake_authentication(it->handshake);

    if (it->phase != ATTACHED_CARRYING)
        return;
    if (now == AUTHENTICATION_RUNNING && !it->held) {
        it->asking = true; /* again, if it comes after the time-out */
        renegotiation_hold(it);
    }
    if (now != AUTHENTICATION_DONE && now != AUTHENTICATION_EMPTY)
        return;
    if (is_tls13(it))
        renegotiation_release(it);
    if (now == AUTHENTICATION_DONE)
        gained(it);
    else
        authentication_failed(it, "the client has sent no certificate; its session goes on");
}

/* ---- asking ---- */

/* OpenSSL does not ask twice. */
bool authentication_timer(struct attached *it)
{
    if (!it->asking || !is_tls13(it))
        return false;
    if (it->held) {
        authentication_end(it, "the client did not finish its answer in time: its session ends");
    } else if (conf_of(it)->unauthenticated == CONF_UNAUTHENTICATED_CLOSE) {
        authentication_end(it, "the client did not answer in time: its session ends");
    } else {
        it->unanswered = true;
        authentication_failed(it, "the client did not answer in time; its session goes on");
    }
    return true;
}

/* It waits for the rest of a message: as long as the client likes. */
static void refused_to_be_asked(struct attached *it)
{
    if (conf_of(it)->unauthenticated == CONF_UNAUTHENTICATED_CLOSE)
        authentication_end(it, "OpenSSL could not ask for it: its session ends");
    else
        authentication_failed(it, "OpenSSL could not ask for it; its session goes on");
}

bool authentication_ask(struct attached *it)
{
    struct handshake_asking asking;

    if (it->asking || it->up_ended || it->down_ended || !look_askable(it))
        return true;
    if (!certificates_asking(it->handshaker->certificates, it->listener, &asking)) {
        authentication_failed(it, "it cannot be asked: client-ca could not be read");
        return true;
    }
    if (it->held || !renegotiation_budget(it->handshaker))
        return false;
    if (!handshake_authenticate(it->handshake, &asking)) {
        it->unanswered = true;
        refused_to_be_asked(it);
        return true;
    }
    it->asking = true;
    if (is_tls13(it))
        renegotiation_await(it);
    else
        renegotiation_hold(it);
    attached_queue(it);
    return true;
}
