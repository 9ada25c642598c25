/* Another configuration comes into force in a relay, between two turns of its loop.
 *
 * Sessions keep their listener, upstream and server, whose indices do not change: those that stay
 * are *moved*, which means that the new time-outs count for them. Those that were removed follow
 * `on-removal`: kept with the options they had, or drained over the drain time-out. Which moment of
 * it is a session's is worked out from its serial, so nothing has to be noted per session. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/secret.h"
#include "edge/relay.h"

#define DRAIN_STEP_NS (100 * NS_PER_MS)

/* ---- what is removed ---- */

static uint64_t since(uint64_t before, bool retired, uint64_t now)
{
    return !retired ? 0 : before != 0 ? before : now;
}

static void note_removal(struct relay *relay)
{
    const struct conf *conf = relay->worker.conf;
    struct relay_removal *removal = &relay->removal;
    uint64_t now = loop_now(relay->worker.loop);
    bool any = false;

    for (size_t i = 0; i < conf->listener_count; i++) {
        removal->listeners[i] = since(removal->listeners[i], conf->listeners[i].retired, now);
        any |= removal->listeners[i] != 0;
    }
    for (size_t i = 0; i < conf->upstream_count; i++) {
        const struct conf_upstream *upstream = &conf->upstreams[i];
        for (size_t j = 0; j < upstream->server_count; j++) {
            const struct conf_server *server = &upstream->servers[j];
            if (server->name == NULL)
                continue;
            uint64_t *place = &removal->servers[server->number];
            *place = since(*place, upstream->retired || server->retired, now);
            any |= *place != 0;
        }
    }
    removal->draining = any;
}

/* Since when what the session lives on is removed; 0: it is not. */
static uint64_t removed_since(const struct relay *relay, uint32_t index)
{
    const struct slot *slot = &relay->arena.slots[index];
    const struct conf_upstream *upstream = &relay->worker.conf->upstreams[slot->upstream];
    uint64_t listener = relay->removal.listeners[slot->listener], server = 0;

    if (slot->server < upstream->server_count && upstream->servers[slot->server].name != NULL)
        server = relay->removal.servers[upstream->servers[slot->server].number];
    return listener == 0 || (server != 0 && server < listener) ? server : listener;
}

/* ---- draining ---- */

/* When this session is to go: somewhere within the drain time-out, always the same. */
static uint64_t leaving_ns(const struct relay *relay, uint32_t index, uint64_t removed_ns)
{
    uint64_t span = relay->worker.conf->drain_timeout * NS_PER_MS;
    uint64_t spread = hash_mix(relay->arena.slots[index].serial) >> 32; /* of 2^32 */

    return removed_ns + (uint64_t)((unsigned __int128)span * spread >> 32);
}

/* True when the session is still there and will have to go. */
static bool drain_one(struct relay *relay, uint32_t index)
{
    const struct slot *slot = &relay->arena.slots[index];
    const struct conf_listener *listener = &relay->worker.conf->listeners[slot->listener];
    uint64_t removed = removed_since(relay, index);

    if (removed == 0 || listener->on_removal != CONF_ON_REMOVAL_DRAIN ||
        slot->state == SESSION_CLOSING)
        return false;
    if (relay->now_ns < leaving_ns(relay, index, removed))
        return true;
    hand_take(relay, index);
    session_close(relay, index, SESSION_END_DRAINED, ALERT_CLOSE_NOTIFY);
    hand_empty(relay);
    return false;
}

/* Handshakes under way at a removed listener still become sessions for a while, so looking goes on
 * as long as anything is retired; seldom when nobody has to go. */
static void on_drain(void *context)
{
    struct relay *relay = context;
    bool left = false;

    relay->now_ns = loop_now(relay->worker.loop);
    for (uint32_t i = 0; i < relay->arena.header->high_water; i++) {
        if (relay->sessions[i].in_use)
            left |= drain_one(relay, i);
    }
    if (relay->removal.draining)
        timer_set(relay->worker.loop, &relay->removal.timer,
                  relay->now_ns + (left ? DRAIN_STEP_NS : 10 * DRAIN_STEP_NS));
}

static void watch_removal(struct relay *relay)
{
    note_removal(relay);
    if (relay->removal.draining)
        timer_set(relay->worker.loop, &relay->removal.timer, loop_now(relay->worker.loop));
    else
        timer_cancel(relay->worker.loop, &relay->removal.timer);
}

/* ---- sessions ---- */

static void move_session(struct relay *relay, uint32_t index, const struct conf *before)
{
    struct slot *slot = &relay->arena.slots[index];
    struct timer *timer = &relay->sessions[index].timer;
    const struct conf *conf = relay->worker.conf;

    if (slot->state == SESSION_CONNECTING || slot->state == SESSION_ENCRYPTING) {
        uint64_t began =
            timer->deadline_ns - before->upstreams[slot->upstream].connect_timeout * NS_PER_MS;
        timer_set(relay->worker.loop, timer,
                  began + conf->upstreams[slot->upstream].connect_timeout * NS_PER_MS);
    }
    session_rearm(relay, index);
    if (removed_since(relay, index) == 0)
        slot->generation.config = relay->worker.setup.config_generation;
}

/* The part of the secrets that only TLS upstreams use was left unlocked without one. */
static void protect_upstream_secrets(struct relay *relay)
{
    const struct conf *conf = relay->worker.conf;
    size_t size = arena_secrets_size(relay->worker.setup.slot_capacity);
    bool tls = false;

    for (size_t i = 0; i < conf->upstream_count; i++)
        tls |= conf->upstreams[i].name != NULL && conf->upstreams[i].tls;
    if (tls && !secret_protect(relay->arena.secrets, size))
        worker_warn(&relay->worker,
                    "session secrets are not locked in memory: raise RLIMIT_MEMLOCK to %zu KiB or "
                    "more",
                    size / 1024 + 64);
}

static void swap(struct relay *relay)
{
    struct conf *before = worker_swap_config(&relay->worker);

    upstreams_reload(relay->upstreams, before);
    keys_configure(relay);
    if (relay->worker.begun) {
        watch_removal(relay);
        for (uint32_t i = 0; i < relay->arena.header->high_water; i++) {
            if (relay->sessions[i].in_use)
                move_session(relay, i, before);
        }
    }
    protect_upstream_secrets(relay);
    conf_free(before);
}

void reload_message(struct relay *relay, struct message *message)
{
    relay->now_ns = loop_now(relay->worker.loop);
    if (message->type == MESSAGE_CONFIG) {
        ignore(worker_take_config(&relay->worker, message));
    } else if (message->type == MESSAGE_CONFIG_GO && relay->worker.next_conf != NULL) {
        swap(relay);
        worker_config_loaded(&relay->worker, relay->worker.setup.config_generation, true);
    }
}

void reload_init(struct relay *relay)
{
    timer_init(&relay->removal.timer, on_drain, relay);
}

void reload_take_over(struct relay *relay)
{
    watch_removal(relay);
    for (uint32_t i = 0; i < relay->arena.header->high_water; i++) {
        if (relay->sessions[i].in_use && removed_since(relay, i) == 0)
            relay->arena.slots[i].generation.config = relay->worker.setup.config_generation;
    }
}
