/* A session's way to its server: which one, connecting, trying again, and its TLS. */
#include <string.h>

#include "base/clock.h"
#include "base/string.h"
#include "edge/relay.h"

static const struct conf_upstream *upstream_of(const struct relay *relay, uint32_t index)
{
    return &relay->worker.conf->upstreams[relay->arena.slots[index].upstream];
}

void session_uncount_server(struct relay *relay, uint32_t index)
{
    struct relay_session *session = &relay->sessions[index];
    const struct slot *slot = &relay->arena.slots[index];

    if (!session->counted)
        return;
    session->counted = false;
    upstreams_count(relay->upstreams, slot->upstream, slot->server, -1);
}

static void report_failure(struct relay *relay, uint32_t index, const char *why)
{
    const struct slot *slot = &relay->arena.slots[index];
    struct event *event = event_begin(&relay->worker.events, EVENT_UPSTREAM_FAILED);

    if (event == NULL)
        return;
    event->session = session_id(relay, index);
    event->listener = slot->listener;
    event->upstream = slot->upstream;
    event->server = slot->server;
    memcpy(event->client, slot->client_address, sizeof event->client);
    event->client_port = slot->client_port;
    event->flags = (slot->flags & SLOT_TRACED) != 0 ? EVENT_TRACED : 0;
    ignore(string_copy(event->detail, sizeof event->detail, why));
    event_end(&relay->worker.events, EVENT_UPSTREAM_FAILED);
}

void session_connect(struct relay *relay, uint32_t index)
{
    struct relay_session *session = &relay->sessions[index];
    struct slot *slot = &relay->arena.slots[index];
    const struct conf_upstream *upstream = upstream_of(relay, index);

    while (session->tries < upstream->connect_tries) {
        uint64_t tried = (uint64_t)session->tried[1] << 32 | session->tried[0];
        struct address address;
        int server =
            upstreams_choose(relay->upstreams, slot->upstream, slot->client_address, tried);

        if (server < 0)
            break;
        if (session->tries++ > 0)
            worker_count(&relay->worker, COUNTER_UPSTREAM_RETRIES, 1);
        session->tried[(server % 64) / 32] |= 1u << (server % 32);
        slot->server = (uint16_t)server;
        int fd = upstreams_connect(relay->upstreams, slot->upstream, (unsigned)server, &address);
        if (fd < 0) {
            upstreams_connected(relay->upstreams, slot->upstream, (unsigned)server, false, 0);
            report_failure(relay, index, strerror(-fd));
            continue;
        }
        session->fds[SIDE_UPSTREAM] = fd;
        slot->by_hand &= (uint8_t) ~(1u << SIDE_UPSTREAM);
        slot->by_hand |= address.any.sa_family == AF_UNIX ? 1u << SIDE_UPSTREAM : 0;
        slot->streams[SIDE_UPSTREAM] = (struct slot_stream){0, 0};
        slot->upstream_cookie = 0; /* not the connection that the supervisor may have */
        slot_note(slot);
        address_bytes(slot->upstream_address, &address);
        slot->upstream_port = address_port(&address);
        session->counted = true;
        upstreams_count(relay->upstreams, slot->upstream, (unsigned)server, 1);
        session_enter_state(relay, index, SESSION_CONNECTING);
        if (side_watch(relay, index, SIDE_UPSTREAM))
            return;
        session_end(relay, index, SESSION_END_INTERNAL, false);
        return;
    }
    worker_count(&relay->worker, COUNTER_UPSTREAM_NONE, 1);
    if (session->tries == 0)
        report_failure(relay, index,
                       "no server is ready: all are down, draining, full or without address");
    session_close(relay, index, SESSION_END_NO_UPSTREAM, ALERT_CLOSE_NOTIFY);
}

void session_retry(struct relay *relay, uint32_t index, const char *why)
{
    struct slot *slot = &relay->arena.slots[index];

    upstreams_connected(relay->upstreams, slot->upstream, slot->server, false, 0);
    report_failure(relay, index, why);
    session_uncount_server(relay, index);
    side_close(relay, index, SIDE_UPSTREAM, true);
    relay->sessions[index].settled = false; /* the next connection is a new one */
    relay->sessions[index].written[FLOW_UP] =
        0; /* the next server gets the preamble from its beginning */
    session_connect(relay, index);
}

static void upstream_ready(struct relay *relay, uint32_t index)
{
    session_set_state(relay, index, SESSION_OPEN);
    session_run(relay, index);
}

/* The PROXY header goes first, in the clear; then a handshaker makes TLS of the connection. */
static void begin_encryption(struct relay *relay, uint32_t index)
{
    struct relay_session *session = &relay->sessions[index];
    struct slot *slot = &relay->arena.slots[index];
    struct message_encrypt body = {
        .slot = index, .upstream = slot->upstream, .server = slot->server, .serial = slot->serial};
    bool failed;

    if (!flow_flush(relay, index, FLOW_UP, &failed)) {
        if (failed)
            session_retry(relay, index, "connection broke");
        return; /* more room will be announced */
    }
    loop_unwatch(relay->worker.loop, session->fds[SIDE_UPSTREAM]);
    session->readable &= (uint8_t) ~(1u << SIDE_UPSTREAM);
    unsigned workers = relay->worker.setup.workers;
    for (unsigned i = 0; i < workers; i++) {
        int channel = relay->handshakers[(slot->serial + i) % workers];
        if (channel >= 0 && channel_send(channel, MESSAGE_ENCRYPT, &body, sizeof body,
                                         &session->fds[SIDE_UPSTREAM], 1) == CHANNEL_DONE) {
            session_set_state(relay, index, SESSION_ENCRYPTING);
            return;
        }
    }
    session_retry(relay, index, "no handshaker could take the TLS handshake");
}

void session_encrypted(struct relay *relay, const struct message_encrypted *body,
                       const uint8_t *surplus)
{
    if (body->slot >= relay->arena.header->capacity)
        return;
    struct slot *slot = &relay->arena.slots[body->slot];
    struct relay_session *session = &relay->sessions[body->slot];
    if (!session->in_use || slot->serial != body->serial || slot->state != SESSION_ENCRYPTING ||
        slot->server != body->server)
        return; /* it ended or went to another server meanwhile */
    hand_take(relay, body->slot);
    if (body->result != 0) {
        char why[sizeof body->detail + 1] = "";
        ignore(string_copy(why, sizeof why, body->detail));
        session_retry(relay, body->slot, why);
        return;
    }
    struct slot_upstream_secrets *secrets = &relay->arena.upstream_secrets[body->slot];
    secrets->keys = body->keys;
    slot->flags |= SLOT_UPSTREAM_TLS;
    struct leg leg = body->leg;
    leg_start(&leg, relay->now_ns / NS_PER_MS);
    slot_commit_upstream(slot, slot_hot(slot), secrets, &leg);
    session->writable |= 1u << SIDE_UPSTREAM;
    session->readable |= 1u << SIDE_UPSTREAM;
    if ((slot->by_hand >> SIDE_UPSTREAM & 1) !=
        0) /* the handshaker has read them; our counter knows only what we did */
        slot->streams[SIDE_UPSTREAM].received += body->surplus_size;
    if (!flow_preload_input(relay, body->slot, FLOW_DOWN, surplus, body->surplus_size) ||
        !side_watch(relay, body->slot, SIDE_UPSTREAM)) {
        session_end(relay, body->slot, SESSION_END_BUFFER_MEMORY, false);
        return;
    }
    upstream_ready(relay, body->slot);
}

void session_connected(struct relay *relay, uint32_t index, bool broken)
{
    const struct slot *slot = &relay->arena.slots[index];
    const struct conf_upstream *upstream = upstream_of(relay, index);
    int failure = broken ? socket_error(relay->sessions[index].fds[SIDE_UPSTREAM]) : 0;

    if (failure != 0) {
        session_retry(relay, index, strerror(failure));
        return;
    }
    uint64_t began =
        relay->sessions[index].timer.deadline_ns - upstream->connect_timeout * NS_PER_MS;
    upstreams_connected(relay->upstreams, slot->upstream, slot->server, true,
                        (relay->now_ns - began) / NS_PER_US);
    if (upstream->tls)
        begin_encryption(relay, index);
    else
        upstream_ready(relay, index);
}
