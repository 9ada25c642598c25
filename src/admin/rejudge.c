#include "admin/rejudge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "admin/sessions.h"
#include "base/clock.h"
#include "base/hash.h"
#include "vault/vault.h"

#define BATCH        500u               /* slots per turn of the loop */
#define LATER_NS     (60 * NS_PER_S)    /* clocks are set, and nobody tells */
#define STEP_NS      (250 * NS_PER_MS)  /* between two looks at sessions that are to end */
#define REPEAT_NS    (2 * NS_PER_S)     /* until a relay is told again: it may have been another */
#define AHEAD_MAX_S  (10 * 366 * 86400) /* of what is to be done later */
#define STRAGGLER_NS (5 * NS_PER_S)     /* from handshaker to slot */
#define LAG_NS       (2 * STEP_NS)      /* who was due just before a change still is */

uint64_t rejudge_due(uint64_t session, uint64_t from_ns, uint64_t spread_ns)
{
    if (spread_ns == 0)
        return from_ns;
    return from_ns + (hash_mix(session) % spread_ns + spread_ns - from_ns % spread_ns) % spread_ns;
}

enum trust_verdict rejudge_verdict(const struct admin_view *view, unsigned relay, uint32_t index,
                                   const struct slot *slot, struct client_identity *ret_identity)
{
    const struct trust_set *set =
        view->vault != NULL ? vault_client_trust(view->vault, slot->listener) : NULL;

    if (slot->generation.trust == 0 || set == NULL ||
        !slot_client(&view->arenas[relay], index, slot->serial, ret_identity))
        return TRUST_ACCEPTED;
    return trust_set_judge(set, ret_identity, (int64_t)(clock_wall_ns() / NS_PER_S));
}

/* ---- one session ---- */

static void come_back(struct rejudge *rejudge, uint64_t time_ns)
{
    if (rejudge->next_ns == 0 || time_ns < rejudge->next_ns)
        rejudge->next_ns = time_ns;
}

/* A moment of the wall clock on the other one; the beginning of time for what is long past. */
static uint64_t monotonic(int64_t wall_s, uint64_t now_ns)
{
    uint64_t wall_ns = clock_wall_ns();
    int64_t ahead = wall_s - (int64_t)(wall_ns / NS_PER_S);

    if (ahead > 0)
        return now_ns + (uint64_t)(ahead < AHEAD_MAX_S ? ahead : AHEAD_MAX_S) * NS_PER_S;
    if ((uint64_t)-ahead >= now_ns / NS_PER_S)
        return 0;
    uint64_t past = (uint64_t)-ahead * NS_PER_S + wall_ns % NS_PER_S;
    return past < now_ns ? now_ns - past : 0;
}

static enum session_end reason_of(enum trust_verdict verdict)
{
    switch (verdict) {
    case TRUST_REVOKED:
        return SESSION_END_CLIENT_REVOKED;
    case TRUST_UNKNOWN:
        return SESSION_END_CLIENT_UNTRUSTED;
    case TRUST_EXPIRED:
        return SESSION_END_CLIENT_EXPIRED;
    case TRUST_ACCEPTED:
        break;
    }
    return SESSION_END_NONE;
}

/* Since when a session may have been out of favour; later rather than earlier, so that those of a
 * CA that has ended do not all end with it. */
static uint64_t since(const struct rejudge *rejudge, const struct slot *slot,
                      const struct client_identity *identity, enum trust_verdict verdict,
                      uint64_t now_ns)
{
    const struct trust_set *set = vault_client_trust(rejudge->view->vault, slot->listener);
    uint64_t from = rejudge->began_ns[slot->listener];
    struct trust_facts facts;

    if (verdict != TRUST_EXPIRED || set == NULL)
        return from;
    trust_set_facts(set, &facts);
    const int64_t ends[] = {identity->not_after, facts.authority_expiry};
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        uint64_t end = monotonic(ends[i], now_ns);
        if (end <= now_ns && end > from)
            from = end;
    }
    return from;
}

static void end_in_time(struct rejudge *rejudge, const struct slot *slot,
                        const struct client_identity *identity, enum trust_verdict verdict,
                        uint64_t now_ns)
{
    const struct conf_listener *conf = &rejudge->view->conf->listeners[slot->listener];
    uint64_t due = rejudge_due(SESSION_ID(rejudge->relay, slot->serial),
                               since(rejudge, slot, identity, verdict, now_ns),
                               conf->client_end_spread * NS_PER_MS);
    const struct message_session body = {
        .slot = rejudge->slot, .reason = reason_of(verdict), .serial = slot->serial};

    if (conf->client_ended == CONF_CLIENT_ENDED_KEEP)
        return;
    if (due > now_ns) {
        come_back(rejudge, due);
        return;
    }
    if (due > rejudge->previous_ns || rejudge->repeat)
        rejudge->host.end(rejudge->host.context, rejudge->relay, &body);
    come_back(rejudge, now_ns + STEP_NS); /* it is seen whether it went */
}

static void judge_slot(struct rejudge *rejudge, uint64_t now_ns)
{
    const struct admin_view *view = rejudge->view;
    const struct arena *arena = &view->arenas[rejudge->relay];
    struct client_identity identity;
    struct slot slot;

    if (__atomic_load_n(&arena->slots[rejudge->slot].generation.trust, __ATOMIC_RELAXED) == 0 ||
        !session_read(arena, rejudge->slot, &slot) || slot.state == SESSION_CLOSING ||
        slot.listener >= view->conf->listener_count || slot.listener >= BOARD_LISTENERS_MAX ||
        !slot_client(arena, rejudge->slot, slot.serial, &identity))
        return;
    enum trust_verdict verdict =
        rejudge_verdict(view, rejudge->relay, rejudge->slot, &slot, &identity);
    rejudge->judged++;
    rejudge->verdicts[verdict]++;
    if (verdict == TRUST_ACCEPTED)
        come_back(rejudge, monotonic(identity.not_after, now_ns) + NS_PER_S);
    else
        end_in_time(rejudge, &slot, &identity, verdict, now_ns);
}

/* ---- a pass ---- */

static void report(struct rejudge *rejudge)
{
    char text[160];

    ignore(snprintf(text, sizeof text,
                    "%" PRIu64 " sessions with a client certificate: %" PRIu64 " accepted, %" PRIu64
                    " revoked, %" PRIu64 " untrusted, %" PRIu64 " expired",
                    rejudge->judged, rejudge->verdicts[TRUST_ACCEPTED],
                    rejudge->verdicts[TRUST_REVOKED], rejudge->verdicts[TRUST_UNKNOWN],
                    rejudge->verdicts[TRUST_EXPIRED]));
    rejudge->host.done(rejudge->host.context, text);
}

static void end_pass(struct rejudge *rejudge, uint64_t now_ns)
{
    rejudge->under_way = false;
    if (rejudge->changed && !rejudge->again) {
        rejudge->changed = false;
        report(rejudge);
    }
    if (rejudge->again)
        come_back(rejudge, now_ns);
    else if (now_ns < rejudge->watch_until_ns)
        come_back(rejudge, now_ns + NS_PER_S);
    come_back(rejudge, now_ns + LATER_NS);
    if (rejudge->next_ns < now_ns + STEP_NS && !rejudge->again)
        rejudge->next_ns = now_ns + STEP_NS;
    rejudge->again = false;
    timer_set(rejudge->loop, &rejudge->timer, rejudge->next_ns);
}

static void begin_pass(struct rejudge *rejudge, uint64_t now_ns)
{
    rejudge->under_way = true;
    rejudge->previous_ns = rejudge->begin_ns;
    rejudge->begin_ns = now_ns;
    rejudge->repeat = now_ns >= rejudge->repeat_ns;
    if (rejudge->repeat)
        rejudge->repeat_ns = now_ns + REPEAT_NS;
    rejudge->relay = rejudge->slot = 0;
    rejudge->next_ns = rejudge->judged = 0;
    memset(rejudge->verdicts, 0, sizeof rejudge->verdicts);
}

static bool anything_to_judge_by(const struct conf *conf)
{
    bool any = false;

    for (size_t i = 0; i < conf->listener_count; i++)
        any |= conf->listeners[i].client_ca != NULL;
    return any;
}

static void go_on(void *context)
{
    struct rejudge *rejudge = context;
    uint64_t now = loop_now(rejudge->loop);

    if (!rejudge->under_way && !anything_to_judge_by(rejudge->view->conf))
        return; /* a reload or a change wakes us */
    if (!rejudge->under_way)
        begin_pass(rejudge, now);
    for (unsigned i = 0; i < BATCH;) {
        if (rejudge->relay >= rejudge->view->workers) {
            end_pass(rejudge, now);
            return;
        }
        if (rejudge->slot >= session_slots(rejudge->view, rejudge->relay)) {
            rejudge->relay++;
            rejudge->slot = 0;
            continue;
        }
        judge_slot(rejudge, now);
        rejudge->slot++;
        i++;
    }
    timer_set(rejudge->loop, &rejudge->timer, now);
}

/* ---- what sets it going ---- */

void rejudge_init(struct rejudge *rejudge, const struct admin_view *view, struct loop *loop,
                  const struct rejudge_host *host)
{
    *rejudge = (struct rejudge){.view = view, .loop = loop, .host = *host};
    timer_init(&rejudge->timer, go_on, rejudge);
}

static void look(struct rejudge *rejudge)
{
    rejudge->again |= rejudge->under_way; /* what it has passed already is looked at again */
    timer_set(rejudge->loop, &rejudge->timer, loop_now(rejudge->loop));
}

static void begin_anew(struct rejudge *rejudge, uint32_t listener)
{
    uint64_t now = loop_now(rejudge->loop);

    rejudge->began_ns[listener] = now > LAG_NS ? now - LAG_NS : 0;
}

void rejudge_look(struct rejudge *rejudge)
{
    for (uint32_t i = 0; i < BOARD_LISTENERS_MAX; i++)
        begin_anew(rejudge, i);
    look(rejudge);
}

void rejudge_changed(struct rejudge *rejudge, uint32_t listener)
{
    if (listener >= BOARD_LISTENERS_MAX)
        return;
    begin_anew(rejudge, listener);
    rejudge->watch_until_ns = loop_now(rejudge->loop) + STRAGGLER_NS;
    rejudge->changed = true;
    look(rejudge);
}

void rejudge_joined(struct rejudge *rejudge)
{
    uint64_t soon = loop_now(rejudge->loop) + NS_PER_S;

    rejudge->watch_until_ns = soon + STRAGGLER_NS;
    if (rejudge->under_way || (rejudge->next_ns != 0 && rejudge->next_ns <= soon))
        return;
    rejudge->next_ns = soon;
    timer_set(rejudge->loop, &rejudge->timer, soon);
}

void rejudge_fini(struct rejudge *rejudge)
{
    if (rejudge->loop != NULL)
        timer_cancel(rejudge->loop, &rejudge->timer);
}
