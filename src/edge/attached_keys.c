/* The traffic keys of an attached session, for which OpenSSL knows no limits: ours are counted and
 * renewed, or end the session, by the rules of those that have left it (tls/governor.h), and the
 * client's KeyUpdates metered as there. */
#include "edge/attached_internal.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/rate.h"

#define UPDATE_COST 512 /* bytes that could have been moved in the time that one takes */

void attached_keys_look(struct attached *it)
{
    uint32_t now = handshake_key_updates(it->handshake), more = now - it->updates;
    bool good = true;

    if (more == 0 || it->phase != ATTACHED_CARRYING)
        return;
    it->updates = now;
    it->moved += (size_t)more * UPDATE_COST;
    worker_count(&it->handshaker->worker, COUNTER_KEY_UPDATES_RECEIVED, more);
    for (; good && more != 0; more--)
        good = rate_take(&it->updates_ns, it->handshaker->now_ns, NS_PER_S / LEG_UPDATES_PER_S,
                         LEG_UPDATE_BURST);
    if (good)
        return;
    attached_alert(it, ALERT_UNEXPECTED_MESSAGE);
    attached_part(it, ATTACHED_CLIENT_FAULT);
}

/* ---- ours ---- */

/* Where none of ours is in use (CBC), the limits of AES-GCM are on the safe side. */
static const struct suite *suite_like(uint16_t version, uint16_t number)
{
    const struct suite *suite = suite_find(version, number);

    return suite != NULL ? suite : suite_find(TLS_VERSION_1_2, 0xc02b);
}

void attached_keys_init(struct attached *it, const struct handshake_facts *facts)
{
    leg_init(&it->key, suite_like(facts->version, facts->suite), false, facts->fragment_max);
    attached_keys_fresh(it);
}

void attached_keys_fresh(struct attached *it)
{
    it->key.write_sequence = it->key.write_blocks = 0;
    it->key.update_owed = it->key.limit_announced = 0;
    leg_start(&it->key, it->handshaker->now_ns / NS_PER_MS);
}

void attached_keys_wrote(struct attached *it, size_t size)
{
    size_t records = (size + it->key.fragment_max - 1) / it->key.fragment_max;

    it->key.write_sequence += records;
    it->key.write_blocks += key_blocks(size) + (records - 1) * key_blocks(0);
}

static const struct key_limits *limits_of(struct attached *it)
{
    const struct worker *worker = &it->handshaker->worker;

    if (it->limits_generation != worker->setup.config_generation || it->limits.blocks_soft == 0)
        governor_limits(worker->conf, &worker->conf->listeners[it->listener],
                        suite_like(it->key.version, it->key.suite), &it->limits);
    it->limits_generation = worker->setup.config_generation;
    return &it->limits;
}

static void renew(struct attached *it)
{
    enum key_cause cause;

    if (!governor_renew(&it->key, limits_of(it), it->update_unable, it->handshaker->now_ns, &cause))
        return;
    it->key.update_owed = 0;
    ignore(renegotiation_renew(it));
}

/* TLS 1.2: by a renegotiation, if the client can be asked. */
static bool renew_or_end(struct attached *it, bool idle)
{
    enum governor_end end =
        governor_end(&it->key, limits_of(it), hash_mix(it->serial) >> 32, it->handshaker->now_ns);

    if (end == GOVERNOR_GO_ON)
        return true;
    if (end != GOVERNOR_END_NOW && renegotiation_renew(it))
        return !it->held;
    if (!it->key.limit_announced)
        attached_report(it, EVENT_TRAFFIC_KEY_EXHAUSTING,
                        "the key towards the client cannot be renewed: the session will end");
    it->key.limit_announced = 1;
    if (end == GOVERNOR_ENDING || (end == GOVERNOR_END_IDLE && !idle))
        return true;
    handshake_shutdown(it->handshake);
    attached_part(it, ATTACHED_KEY_LIMIT);
    return false;
}

bool attached_keys_allow(struct attached *it, bool idle)
{
    if (it->phase != ATTACHED_CARRYING || it->held || it->down_ended)
        return false;
    if (it->key.version == TLS_VERSION_1_2)
        return renew_or_end(it, idle);
    if (!idle)
        renew(it);
    return true;
}
