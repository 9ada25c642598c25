/* The governor of traffic keys (tls/governor.h) in a relay: which limits are a session's, and what
 * is done about what it says. Limits are worked out once per configuration, not per session. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/string.h"
#include "edge/relay_turn.h"
#include "tls/governor.h"

/* A suite of each kind that has limits of its own. */
static const struct suite *suite_of_kind(unsigned kind)
{
    return suite_find(TLS_VERSION_1_3, kind == KEYS_CHACHA20 ? 0x1303 : 0x1301);
}

void keys_configure(struct relay *relay)
{
    const struct conf *conf = relay->worker.conf;

    for (size_t i = 0; i < conf->listener_count; i++) {
        if (conf->listeners[i].name == NULL)
            continue;
        for (unsigned kind = 0; kind < KEYS_KINDS; kind++)
            governor_limits(conf, &conf->listeners[i], suite_of_kind(kind),
                            &relay->key_limits[i][kind]);
    }
}

static const struct key_limits *limits_of(const struct relay *relay, uint32_t index,
                                          const struct leg *leg)
{
    const struct suite *suite = suite_find(leg->version, leg->suite);
    bool chacha20 = suite != NULL && suite->aead == AEAD_CHACHA20_POLY1305;

    return &relay->key_limits[relay->arena.slots[index].listener]
                             [chacha20 ? KEYS_CHACHA20 : KEYS_AES_GCM];
}

/* ---- TLS 1.3 ---- */

/* What is known of a client does not hold for the server behind. */
static bool is_unable(const struct turn *turn, enum relay_side side)
{
    return side == SIDE_CLIENT && (turn->slot->flags & SLOT_KEY_UPDATE_UNABLE) != 0;
}

static void note_renewal(struct turn *turn, enum relay_side side, enum key_cause cause,
                         const struct leg *leg)
{
    static const enum counter counters[KEY_CAUSE_COUNT] = {
        [KEY_CAUSE_RECORDS] = COUNTER_KEY_UPDATES_RECORDS,
        [KEY_CAUSE_BLOCKS] = COUNTER_KEY_UPDATES_BLOCKS,
        [KEY_CAUSE_BYTES] = COUNTER_KEY_UPDATES_BYTES,
        [KEY_CAUSE_AGE] = COUNTER_KEY_UPDATES_AGE,
        [KEY_CAUSE_OPERATOR] = COUNTER_KEY_UPDATES_OPERATOR,
        [KEY_CAUSE_PEER] = COUNTER_KEY_UPDATES_PEER,
    };
    char text[96];

    worker_count(&turn->relay->worker, counters[cause], 1);
    if (leg->update_request)
        worker_count(&turn->relay->worker, COUNTER_KEY_REQUESTS, 1);
    if ((turn->slot->flags & SLOT_TRACED) == 0)
        return;
    ignore(snprintf(text, sizeof text, "key %u towards the %s is renewed: %s%s",
                    (unsigned)leg->write_epoch, side == SIDE_CLIENT ? "client" : "server",
                    key_cause_name(cause),
                    leg->update_request ? ", and the peer's asked for" : ""));
    session_trace(turn->relay, turn->index, text);
}

bool keys_renew(struct turn *turn, enum relay_side side)
{
    struct leg *leg = turn_leg(turn, side);
    enum key_cause cause;

    if (leg == NULL || !governor_renew(leg, limits_of(turn->relay, turn->index, leg),
                                       is_unable(turn, side), turn->relay->now_ns, &cause))
        return false;
    turn->dirty = true;
    note_renewal(turn, side, cause, leg);
    return true;
}

void keys_opened(struct turn *turn, enum relay_side side, bool owed_before,
                 const struct leg_opened *opened)
{
    struct worker *worker = &turn->relay->worker;
    struct leg *leg = turn_leg(turn, side);
    enum key_cause cause;

    if (opened->key_updates != 0)
        worker_count(worker, COUNTER_KEY_UPDATES_RECEIVED, opened->key_updates);
    if (leg->update_owed && !owed_before)
        worker_count(worker, COUNTER_KEY_UPDATES_ANSWERS, 1);
    if (opened->update_answered)
        worker_count(worker, COUNTER_KEY_REQUESTS_ANSWERED, 1);
    if (governor_ask(leg, limits_of(turn->relay, turn->index, leg), is_unable(turn, side),
                     turn->relay->now_ns, &cause))
        note_renewal(turn, side, cause, leg);
}

void keys_sealed(struct turn *turn, enum relay_side side, uint64_t blocks, uint64_t records)
{
    struct board_listener *listener = &turn->relay->worker.board->listeners[turn->slot->listener];
    struct board_sealed *sealed = &listener->sealed[turn->relay->worker.setup.index];

    if (side != SIDE_CLIENT)
        return;
    __atomic_store_n(&sealed->blocks, sealed->blocks + blocks, __ATOMIC_RELAXED);
    __atomic_store_n(&sealed->records, sealed->records + records, __ATOMIC_RELAXED);
}

void keys_ended(struct relay *relay, uint32_t index)
{
    const struct slot_hot *hot = slot_hot(&relay->arena.slots[index]);

    if (hot->client.suite != 0 && hot->client.update_asked)
        worker_count(&relay->worker, COUNTER_KEY_REQUESTS_UNANSWERED, 1);
}

/* ---- an operator's wish ---- */

void keys_renew_wanted(struct relay *relay, const struct message_renew *body)
{
    struct turn turn;

    if (body->slot >= relay->arena.header->capacity || !relay->sessions[body->slot].in_use ||
        relay->arena.slots[body->slot].serial != body->serial)
        return;
    session_renew_attached(relay, body->slot);
    hand_take(relay, body->slot);
    turn_begin(&turn, relay, body->slot, FLOW_DOWN);
    struct leg *leg = turn_leg(&turn, SIDE_CLIENT);
    if (leg != NULL && leg->version == TLS_VERSION_1_3 && !leg->close_sent) {
        leg->renewal_wanted = 1;
        leg->renewal_request = (body->flags & RENEW_REQUEST) != 0;
        bool now = (body->flags & RENEW_NOW) != 0 && turn.slot->state == SESSION_OPEN &&
                   keys_renew(&turn, SIDE_CLIENT);
        turn_commit(&turn);
        if (now)
            session_queue(relay, body->slot);
    }
    hand_empty(relay);
}

/* ---- TLS 1.2: the session ends with its key ---- */

static uint64_t spread_of(const struct relay *relay, uint32_t index)
{
    return hash_mix(relay->arena.slots[index].serial) >> 32;
}

static void announce_end(struct relay *relay, uint32_t index, enum relay_side side)
{
    struct turn turn;
    enum key_cause cause;
    struct event *event;

    turn_begin(&turn, relay, index, FLOW_DOWN);
    struct leg *leg = turn_leg(&turn, side);
    struct key_usage usage = leg_write_usage(leg);
    unsigned used = governor_used(limits_of(relay, index, leg), &usage, relay->now_ns, &cause);
    leg->limit_announced = 1;
    turn_commit(&turn);
    event = event_begin(&relay->worker.events, EVENT_TRAFFIC_KEY_EXHAUSTING);
    if (event == NULL)
        return;
    session_identify(relay, index, event);
    ignore(snprintf(event->detail, sizeof event->detail,
                    "the key towards the %s has %u %% of its %s left and cannot be renewed with "
                    "TLS 1.2: the session will end",
                    side == SIDE_CLIENT ? "client" : "server", used >= 1000 ? 0 : 100 - used / 10,
                    key_cause_name(cause)));
    event_end(&relay->worker.events, EVENT_TRAFFIC_KEY_EXHAUSTING);
}

/* The leg as it stands in the slot; NULL for a plain side. */
static const struct leg *committed_leg(const struct relay *relay, uint32_t index,
                                       enum relay_side side)
{
    const struct slot *slot = &relay->arena.slots[index];
    const struct slot_hot *hot = slot_hot(slot);

    if (side == SIDE_CLIENT)
        return hot->client.suite != 0 ? &hot->client : NULL;
    return hot->upstream_tls ? &relay->arena.upstream_secrets[index].leg[slot->current & 1] : NULL;
}

/* True when the session is to end now for this leg. */
static bool wears_out(struct relay *relay, uint32_t index, enum relay_side side)
{
    const struct leg *leg = committed_leg(relay, index, side);

    if (leg == NULL || leg->version != TLS_VERSION_1_2)
        return false;
    enum governor_end end =
        governor_end(leg, limits_of(relay, index, leg), spread_of(relay, index), relay->now_ns);
    if (end == GOVERNOR_GO_ON)
        return false;
    if (!leg->limit_announced)
        announce_end(relay, index, side);
    return end == GOVERNOR_END_NOW || (end == GOVERNOR_END_IDLE && flow_idle(relay, index));
}

bool keys_worn_out(struct relay *relay, uint32_t index)
{
    return wears_out(relay, index, SIDE_CLIENT) || wears_out(relay, index, SIDE_UPSTREAM);
}

bool keys_announce_age(struct relay *relay, uint32_t index)
{
    const struct leg *leg = committed_leg(relay, index, SIDE_CLIENT);

    if (leg == NULL || leg->limit_announced)
        return false;
    announce_end(relay, index, SIDE_CLIENT);
    return true;
}

uint64_t keys_age_end(const struct relay *relay, uint32_t index)
{
    const struct leg *leg = committed_leg(relay, index, SIDE_CLIENT);

    return leg == NULL
               ? 0
               : governor_age_end(leg, limits_of(relay, index, leg), spread_of(relay, index));
}
