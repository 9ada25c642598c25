/* The life of a session in a relay: begin, states, time-outs, end. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/secret.h"
#include "base/string.h"
#include "edge/relay.h"

#define LINGER_NS                                                                                  \
    (2 * NS_PER_S) /* how long a closing session waits for the client to take its last bytes */

uint64_t session_id(const struct relay *relay, uint32_t index)
{
    return SESSION_ID(relay->worker.setup.index, relay->arena.slots[index].serial);
}

static const struct conf_listener *listener_of(const struct relay *relay, uint32_t index)
{
    return &relay->worker.conf->listeners[relay->arena.slots[index].listener];
}

static const struct conf_upstream *upstream_of(const struct relay *relay, uint32_t index)
{
    return &relay->worker.conf->upstreams[relay->arena.slots[index].upstream];
}

/* ---- time ---- */

static void arm(struct relay *relay, uint32_t index, uint64_t deadline_ns)
{
    timer_set(relay->worker.loop, &relay->sessions[index].timer, deadline_ns);
}

static uint64_t earlier(uint64_t deadline, uint64_t start_ns, uint64_t timeout_ms)
{
    uint64_t other = start_ns + timeout_ms * NS_PER_MS;
    return timeout_ms == 0 || (deadline != 0 && deadline <= other) ? deadline : other;
}

/* The next moment at which one of the time-outs of an established session could be over; 0: none
 * applies. */
static uint64_t next_deadline(struct relay *relay, uint32_t index, enum session_end *ret_end)
{
    const struct conf_listener *listener = listener_of(relay, index);
    const struct slot *slot = &relay->arena.slots[index];
    uint64_t active_ns = (slot->active_s + 1ull) *
                         NS_PER_S; /* the second in which the last data moved, to its end */
    uint64_t age = earlier(0, slot->accepted_ns, listener->max_session_age);
    uint64_t idle = earlier(0, active_ns, listener->idle_timeout);
    uint64_t half = slot->state == SESSION_HALF_CLOSED
                        ? earlier(0, active_ns, listener->half_close_timeout)
                        : 0;
    uint64_t key = keys_age_end(relay, index);
    uint64_t deadline = age;

    *ret_end = SESSION_END_AGE;
    if (idle != 0 && (deadline == 0 || idle < deadline)) {
        deadline = idle;
        *ret_end = SESSION_END_IDLE;
    }
    if (half != 0 && (deadline == 0 || half < deadline)) {
        deadline = half;
        *ret_end = SESSION_END_HALF_CLOSE_TIMEOUT;
    }
    if (key != 0 && (deadline == 0 || key < deadline)) {
        deadline = key;
        *ret_end = SESSION_END_KEY_LIMIT;
    }
    return deadline;
}

static void arm_timeouts(struct relay *relay, uint32_t index)
{
    enum session_end end;
    uint64_t deadline = next_deadline(relay, index, &end);

    if (deadline == 0)
        timer_cancel(relay->worker.loop, &relay->sessions[index].timer);
    else
        arm(relay, index, deadline);
}

void session_rearm(struct relay *relay, uint32_t index)
{
    uint8_t state = relay->arena.slots[index].state;

    if (state == SESSION_OPEN || state == SESSION_HALF_CLOSED)
        arm_timeouts(relay, index);
}

/* Timers carry the session only; its relay is the process's one. */
static struct relay *the_relay;

static void time_out(struct relay *relay, uint32_t index)
{
    enum session_end end;

    switch ((enum session_state)relay->arena.slots[index].state) {
    case SESSION_FREE:
    case SESSION_STATE_COUNT:
        return;
    case SESSION_CONNECTING:
        session_retry(relay, index, "time-out");
        return;
    case SESSION_ENCRYPTING:
        session_retry(relay, index, "time-out of the TLS handshake");
        return;
    case SESSION_CLOSING:
        session_end(relay, index, (enum session_end)relay->arena.slots[index].end, false);
        return;
    case SESSION_OPEN:
    case SESSION_HALF_CLOSED: {
        uint64_t deadline = next_deadline(relay, index, &end);
        if (deadline == 0)
            return;
        if (deadline > relay->now_ns)
            arm(relay, index, deadline);
        else if (end == SESSION_END_KEY_LIMIT && keys_announce_age(relay, index))
            arm_timeouts(relay, index);
        else
            session_close(relay, index, end, ALERT_CLOSE_NOTIFY);
        return;
    }
    }
}

static void on_session_timer(void *context)
{
    struct relay_session *session = context;
    struct relay *relay = the_relay;
    uint32_t index = (uint32_t)(session - relay->sessions);

    relay->now_ns = loop_now(relay->worker.loop);
    hand_take(relay, index);
    time_out(relay, index);
    hand_empty(relay);
}

/* ---- states ---- */

void session_identify(const struct relay *relay, uint32_t index, struct event *event)
{
    const struct slot *slot = &relay->arena.slots[index];

    event->session = session_id(relay, index);
    event->listener = slot->listener;
    event->flags = (slot->flags & SLOT_TRACED) != 0 ? EVENT_TRACED : 0;
    memcpy(event->client, slot->client_address, sizeof event->client);
    event->client_port = slot->client_port;
    ignore(string_copy(event->server_name, sizeof event->server_name, slot->server_name));
}

void session_trace(struct relay *relay, uint32_t index, const char *text)
{
    const struct slot *slot = &relay->arena.slots[index];
    struct event *event;

    if ((slot->flags & SLOT_TRACED) == 0 ||
        (event = event_begin(&relay->worker.events, EVENT_TRACE)) == NULL)
        return;
    session_identify(relay, index, event);
    ignore(string_copy(event->detail, sizeof event->detail, text));
    event_end(&relay->worker.events, EVENT_TRACE);
}

static void arm_state(struct relay *relay, uint32_t index)
{
    switch ((enum session_state)relay->arena.slots[index].state) {
    case SESSION_CONNECTING:
    case SESSION_ENCRYPTING:
        arm(relay, index, relay->now_ns + upstream_of(relay, index)->connect_timeout * NS_PER_MS);
        break;
    case SESSION_OPEN:
    case SESSION_HALF_CLOSED:
        arm_timeouts(relay, index);
        break;
    case SESSION_CLOSING:
        arm(relay, index, relay->now_ns + LINGER_NS);
        break;
    case SESSION_FREE:
    case SESSION_STATE_COUNT:
        timer_cancel(relay->worker.loop, &relay->sessions[index].timer);
        break;
    }
}

void session_enter_state(struct relay *relay, uint32_t index, enum session_state state)
{
    relay->arena.slots[index].state = (uint8_t)state;
    session_trace(relay, index, session_states[state].name);
    arm_state(relay, index);
}

void session_set_state(struct relay *relay, uint32_t index, enum session_state state)
{
    if (relay->arena.slots[index].state != (uint8_t)state)
        session_enter_state(relay, index, state);
}

/* ---- descriptors ---- */

void side_close(struct relay *relay, uint32_t index, enum relay_side side, bool reset)
{
    struct relay_session *session = &relay->sessions[index];
    int fd = session->fds[side];

    if (fd < 0)
        return;
    if (side == SIDE_CLIENT)
        session_let_go(relay, index);
    session->fds[side] = -1;
    session->readable &= (uint8_t) ~(1u << side);
    session->writable &= (uint8_t) ~(1u << side);
    session->hung_up &= (uint8_t) ~(1u << side);
    /* While a duplicate lives, close() alone sends nothing and epoll keeps reporting. Short
     * sessions have none for longer than a handshaker takes to close its own; they are spared the
     * calls (a stale event is known by its tag). */
    bool shared = (session->registered >> side & 1) != 0;
    if (shared)
        loop_unwatch(relay->worker.loop, fd);
    if (reset)
        socket_reset(fd);
    else if (shared)
        ignore(shutdown(fd, SHUT_RDWR));
    ignore(close(fd));
}

bool side_watch(struct relay *relay, uint32_t index, enum relay_side side)
{
    return loop_watch(relay->worker.loop, relay->sessions[index].fds[side], SIDE_EVENTS,
                      SIDE_HANDLER, side_tag(relay->arena.slots[index].serial, index, side));
}

/* ---- begin ---- */

static void fill_slot(struct relay *relay, uint32_t index, const struct session_offer *offer,
                      const struct client_identity *client)
{
    struct slot *slot = &relay->arena.slots[index];
    struct slot_hot hot = {.client = offer->leg};

    memset(slot, 0, sizeof *slot);
    for (unsigned i = 0; i < FLOW_COUNT; i++)
        hot.flows[i].input = hot.flows[i].output = BLOCK_NONE;
    leg_start(&hot.client, relay->now_ns / NS_PER_MS);
    slot->serial = relay->arena.header->next_serial++;
    slot_commit(slot, &hot);
    slot->flags = offer->flags;
    slot->key_type = offer->key_type;
    slot->listener = offer->listener;
    slot->upstream = offer->upstream;
    slot->certificate = offer->certificate;
    slot->generation = offer->generation;
    slot->accepted_ns = offer->accepted_ns;
    slot->open_ns = relay->now_ns;
    slot->active_s = (uint32_t)(relay->now_ns / NS_PER_S);
    memcpy(slot->client_address, offer->client_address, sizeof slot->client_address);
    slot->client_port = offer->client_port;
    slot->group = offer->group;
    slot->attached = offer->attached;
    slot->by_hand = (offer->flags & SLOT_ATTACHED) != 0 ? 1u << SIDE_CLIENT : 0;
    memcpy(slot->server_name, offer->server_name, sizeof slot->server_name);
    memcpy(slot->alpn, offer->alpn, sizeof slot->alpn);
    relay->arena.secrets[index].client = offer->keys;
    if (client != NULL)
        slot_set_client(&relay->arena, index, client);
}

/* The session is this process's from now on, and is counted. */
static void take_in(struct relay *relay, uint32_t index, const int fds[SIDE_COUNT])
{
    struct relay_session *session = &relay->sessions[index];
    unsigned listener = relay->arena.slots[index].listener;

    the_relay = relay;
    memset(session, 0, sizeof *session);
    memcpy(session->fds, fds, sizeof session->fds);
    session->in_use = true;
    session->alert_sent = session->alert_received = ALERT_NONE;
    session->writable = 1u << SIDE_CLIENT; /* what can be read will be announced */
    timer_init(&session->timer, on_session_timer, session);
    relay->arena.header->used++;
    relay->worker.self->sessions++;
    relay->worker.board->listeners[listener].connections[relay->worker.setup.index]++;
}

/* The flag stands while the session may be counted, a little longer on both sides: a relay killed
 * just then takes one too many off its source's count, which is made good when the last session of
 * that source ends. One too few would stay for ever. */
static bool count_source(struct relay *relay, uint32_t index)
{
    struct slot *slot = &relay->arena.slots[index];
    uint32_t limit = listener_of(relay, index)->max_connections_per_source;

    if (limit == 0)
        return true;
    slot->flags |= SLOT_SOURCE_COUNTED;
    if (board_source_acquire(relay->worker.board, slot->listener, slot->client_address, limit))
        return true;
    slot->flags &= (uint8_t)~SLOT_SOURCE_COUNTED;
    return false;
}

void session_uncount_source(struct relay *relay, uint32_t index)
{
    struct slot *slot = &relay->arena.slots[index];

    if ((slot->flags & SLOT_SOURCE_COUNTED) == 0 || slot->listener >= BOARD_LISTENERS_MAX)
        return;
    board_source_release(relay->worker.board, slot->listener, slot->client_address);
    slot->flags &= (uint8_t)~SLOT_SOURCE_COUNTED;
}

void session_begin(struct relay *relay, const struct session_offer *offer,
                   const struct client_identity *client, const uint8_t *data, int client_fd)
{
    if (relay->free_count == 0) {
        worker_count(&relay->worker, COUNTER_REFUSED_LIMIT, 1);
        if ((offer->flags & SLOT_ATTACHED) != 0)
            board_attached_say(relay->worker.board, offer->attached, offer->leg.write_nonce,
                               ATTACHED_LET_GO);
        ignore(close(client_fd));
        return;
    }
    uint32_t index = relay->free_slots[--relay->free_count];

    hand_take(relay, index);
    fill_slot(relay, index, offer, client);
    take_in(relay, index, (const int[SIDE_COUNT]){client_fd, -1});
    if (index >= relay->arena.header->high_water)
        relay->arena.header->high_water = index + 1;
    worker_count(&relay->worker, COUNTER_SESSIONS_OPENED, 1);
    if (!count_source(relay, index)) {
        worker_count(&relay->worker, COUNTER_REFUSED_LIMIT, 1);
        session_end(relay, index, SESSION_END_LIMIT, true);
        return;
    }
    if (!flow_preload_output(relay, index, FLOW_UP, data, offer->preamble_size) ||
        !flow_preload_input(relay, index, FLOW_UP, data + offer->preamble_size,
                            offer->surplus_size)) {
        session_end(relay, index, SESSION_END_BUFFER_MEMORY, false);
        return;
    }
    memory_note(relay, index);
    session_tell_home(relay, index);
    if (!side_watch(relay, index, SIDE_CLIENT)) {
        session_end(relay, index, SESSION_END_INTERNAL, false);
        return;
    }
    session_connect(relay, index);
}

void session_settle(struct relay *relay, uint32_t index, bool now)
{
    struct relay_session *session = &relay->sessions[index];
    const struct slot *slot = &relay->arena.slots[index];

    if (session->settled || session->fds[SIDE_UPSTREAM] < 0 ||
        (!now && relay->now_ns - slot->open_ns < NS_PER_S))
        return;
    session->settled = true;
    upstreams_settle(relay->upstreams, slot->upstream, session->fds[SIDE_UPSTREAM]);
}

/* ---- from a predecessor ---- */

static void adopt_descriptors(struct relay *relay, uint32_t index)
{
    struct relay_session *session = &relay->sessions[index];
    const struct slot *slot = &relay->arena.slots[index];

    session->registered = (uint8_t)(1u | (session->fds[SIDE_UPSTREAM] >= 0 ? 2u : 0u));
    session->settled = true;
    session->writable = 3; /* what can be read will be asked for */
    /* A closing session has no use for its server any more, and one that was still connecting
     * begins to anew. */
    if (slot->state == SESSION_CLOSING || slot->state == SESSION_CONNECTING)
        side_close(relay, index, SIDE_UPSTREAM, true);
    if (slot->state == SESSION_ENCRYPTING) /* a handshaker has it for now */
        session->writable = 1u << SIDE_CLIENT;
    /* What these two have will not be what the supervisor has. */
    if (slot->state == SESSION_ENCRYPTING || slot->state == SESSION_CONNECTING)
        registration_release(relay, index);
}

/* A predecessor may have been killed when it had committed that the end was passed on, and had not
 * done it. A second time does no harm. */
static void repeat_ends(struct relay *relay, uint32_t index)
{
    const struct relay_session *session = &relay->sessions[index];
    const struct flow *flows = slot_hot(&relay->arena.slots[index])->flows;

    if (flows[FLOW_UP].sink_ended && session->fds[SIDE_UPSTREAM] >= 0)
        ignore(shutdown(session->fds[SIDE_UPSTREAM], SHUT_WR));
    if (flows[FLOW_DOWN].sink_ended)
        ignore(shutdown(session->fds[SIDE_CLIENT], SHUT_WR));
}

static void adopt_state(struct relay *relay, uint32_t index)
{
    struct relay_session *session = &relay->sessions[index];
    const struct slot *slot = &relay->arena.slots[index];
    enum session_state state = (enum session_state)slot->state;

    if (state == SESSION_CONNECTING) {
        session->written[FLOW_UP] = 0; /* the preamble goes to the next server from its beginning */
        session_connect(relay, index);
        return;
    }
    session_enter_state(relay, index, state);
    if (state == SESSION_CLOSING)
        return;
    session->counted = true;
    upstreams_count(relay->upstreams, slot->upstream, slot->server, 1);
}

void session_adopt(struct relay *relay, uint32_t index, const int fds[SIDE_COUNT],
                   const struct slot_rest *rest)
{
    struct relay_session *session = &relay->sessions[index];
    const struct slot_hot *hot = slot_hot(&relay->arena.slots[index]);
    bool busy = false;

    take_in(relay, index, fds);
    for (unsigned i = 0; i < FLOW_COUNT; i++) {
        session->input_size[i] = rest->input_size[i];
        session->written[i] = rest->written[i];
        busy = busy || hot->flows[i].input != BLOCK_NONE || hot->flows[i].output != BLOCK_NONE ||
               hot->flows[i].source_ended;
    }
    adopt_descriptors(relay, index);
    repeat_ends(relay, index);
    adopt_state(relay, index);
    if (!session->in_use)
        return;
    memory_note(relay, index);
    if (busy || relay->arena.slots[index].state == SESSION_CLOSING || flow_owes(relay, index))
        session_queue(relay, index);
}

/* ---- events ---- */

void session_queue(struct relay *relay, uint32_t index)
{
    struct relay_session *session = &relay->sessions[index];

    if (session->queued)
        return;
    session->queued = true;
    session->next_ready = UINT32_MAX;
    if (relay->ready_first == UINT32_MAX)
        relay->ready_first = index;
    else
        relay->sessions[relay->ready_last].next_ready = index;
    relay->ready_last = index;
    relay->ready_count++;
    loop_again(relay->worker.loop);
}

/* False when the session is over. */
static bool run_flows(struct relay *relay, uint32_t index)
{
    if (flow_run(relay, index, FLOW_UP) == FLOW_DEAD ||
        flow_run(relay, index, FLOW_DOWN) == FLOW_DEAD)
        return false;
    /* The server may have asked for something that is answered upwards (KeyUpdate). */
    const struct flow *up = &slot_hot(&relay->arena.slots[index])->flows[FLOW_UP];
    return up->output_size == relay->sessions[index].written[FLOW_UP] ||
           flow_run(relay, index, FLOW_UP) != FLOW_DEAD;
}

void session_run(struct relay *relay, uint32_t index)
{
    struct slot *slot = &relay->arena.slots[index];

    if (run_flows(relay, index)) {
        const struct slot_hot *hot = slot_hot(slot);
        slot->killed = 0; /* it did no harm */
        bool up = hot->flows[FLOW_UP].sink_ended, down = hot->flows[FLOW_DOWN].sink_ended;
        bool up_source = hot->flows[FLOW_UP].source_ended;
        if (up && down)
            session_end(relay, index, SESSION_END_BOTH_CLOSED, false);
        else if (down && !up_source && hot->flows[FLOW_UP].discard != DISCARD_NOTHING)
            session_close(relay, index, SESSION_END_BOTH_CLOSED, ALERT_NONE);
        else if ((up || down) && slot->state == SESSION_OPEN)
            session_set_state(relay, index, SESSION_HALF_CLOSED);
        if (slot->state != SESSION_CLOSING && keys_worn_out(relay, index))
            session_close(relay, index, SESSION_END_KEY_LIMIT, ALERT_CLOSE_NOTIFY);
        memory_note(relay, index);
    }
}

/* Writes what is left for the client, then the alert if that found no room before. */
static bool flush_closing(struct relay *relay, uint32_t index, bool *ret_failed)
{
    const struct slot *slot = &relay->arena.slots[index];

    if (!flow_flush(relay, index, FLOW_DOWN, ret_failed))
        return false;
    if (slot_hot(slot)->client.suite == 0 || !leg_owes(&slot_hot(slot)->client))
        return true;
    flow_send_owed(relay, index, SIDE_CLIENT);
    return !leg_owes(&slot_hot(slot)->client) && flow_flush(relay, index, FLOW_DOWN, ret_failed);
}

/* A closing session: push out what is left, then wait for the client's end (reading and dropping,
 * so that unread data does not turn our last bytes into a reset). */
static void run_closing(struct relay *relay, uint32_t index)
{
    struct relay_session *session = &relay->sessions[index];
    enum session_end end = (enum session_end)relay->arena.slots[index].end;
    uint8_t nowhere[4096];
    bool failed = false;

    if (!session->linger && flush_closing(relay, index, &failed)) {
        if (end != SESSION_END_UPSTREAM_PROTOCOL) /* else the client is to see that it was none */
            session_end_client(relay, index);
        flow_end_sink(relay, index, FLOW_DOWN);
        session->linger = true;
    } else if (failed) {
        session_end(relay, index, end, false);
        return;
    }
    for (unsigned i = 0; i < 16; i++) {
        ssize_t got = recv(session->fds[SIDE_CLIENT], nowhere, sizeof nowhere, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            session_end(relay, index, end, false);
            return;
        }
    }
    session_queue(relay, index);
}

void session_event(struct relay *relay, uint32_t index, enum relay_side side, unsigned events)
{
    struct relay_session *session = &relay->sessions[index];

    if ((events & (LOOP_READ | LOOP_HANGUP | LOOP_ERROR)) != 0)
        session->readable |= (uint8_t)(1u << side);
    if ((events & (LOOP_WRITE | LOOP_ERROR)) != 0)
        session->writable |= (uint8_t)(1u << side);
    if ((events & (LOOP_HANGUP | LOOP_URGENT | LOOP_ERROR)) != 0)
        session->hung_up |= (uint8_t)(1u << side);
    else if (session->readable == 0 && events == LOOP_WRITE && flow_idle(relay, index))
        return; /* there is room, for nothing */
    switch ((enum session_state)relay->arena.slots[index].state) {
    case SESSION_FREE:
    case SESSION_STATE_COUNT:
        return;
    case SESSION_CONNECTING:
        if (side == SIDE_UPSTREAM && (events & (LOOP_WRITE | LOOP_ERROR)) != 0)
            session_connected(relay, index, (events & LOOP_ERROR) != 0);
        else if (side == SIDE_CLIENT && (events & LOOP_ERROR) != 0)
            session_end(relay, index, session_broken_end(relay, index), true);
        return;
    case SESSION_ENCRYPTING:
        if (side == SIDE_CLIENT && (events & LOOP_ERROR) != 0)
            session_end(relay, index, session_broken_end(relay, index), true);
        return;
    case SESSION_OPEN:
    case SESSION_HALF_CLOSED:
        if (!session->queued) /* else its turn comes at the end of the batch: one in each */
            session_run(relay, index);
        return;
    case SESSION_CLOSING:
        run_closing(relay, index);
        return;
    }
}

/* ---- end ---- */

void session_report_end(struct relay *relay, uint32_t index, enum session_end end)
{
    static const bool failures[] = {
#define X(symbol, name, failure) [symbol] = failure,
        SESSION_END_LIST(X)
#undef X
    };
    const struct slot *slot = &relay->arena.slots[index];
    const struct slot_hot *hot = slot_hot(slot);
    uint64_t age_us = (relay->now_ns - slot->accepted_ns) / NS_PER_US;
    struct event *event;

    worker_count(&relay->worker, COUNTER_SESSIONS_CLOSED, 1);
    if (end == SESSION_END_KEY_LIMIT)
        worker_count(&relay->worker, COUNTER_KEY_LIMIT_ENDS, 1);
    keys_ended(relay, index);
    if (failures[end])
        worker_count(&relay->worker, COUNTER_SESSIONS_FAILED, 1);
    board_observe(&relay->worker.self->histograms[HISTOGRAM_SESSION], age_us);
    if (!relay->worker.conf->log_sessions && (slot->flags & SLOT_TRACED) == 0)
        return;
    event = event_begin(&relay->worker.events, EVENT_SESSION_CLOSED);
    if (event == NULL)
        return;
    event->session = session_id(relay, index);
    event->duration_us = age_us;
    event->bytes_in = hot->flows[FLOW_UP].read_position;
    event->bytes_out = hot->flows[FLOW_DOWN].write_position;
    event->listener = slot->listener;
    event->upstream = slot->upstream;
    event->server = slot->server;
    event->version = hot->client.version;
    event->suite = hot->client.suite;
    memcpy(event->client, slot->client_address, sizeof event->client);
    event->client_port = slot->client_port;
    event->reason = (uint8_t)end;
    event->alert_sent = relay->sessions[index].alert_sent;
    event->alert_received = relay->sessions[index].alert_received;
    if (relay->sessions[index].reason != LEG_REASON_NONE)
        ignore(string_copy(event->detail, sizeof event->detail,
                           leg_reason_text((enum leg_reason)relay->sessions[index].reason)));
    event->flags = (slot->flags & SLOT_TRACED) != 0 ? EVENT_TRACED : 0;
    event->config = slot->generation.config;
    event->certificate = slot->certificate;
    event->certificate_version = slot->generation.certificate_version;
    ignore(string_copy(event->server_name, sizeof event->server_name, slot->server_name));
    event_end(&relay->worker.events, EVENT_SESSION_CLOSED);
}

/* What the client is told when somebody ends his session on purpose. */
static enum alert planned_alert(enum session_end end)
{
    return end == SESSION_END_CLIENT_REVOKED     ? ALERT_CERTIFICATE_REVOKED
           : end == SESSION_END_CLIENT_EXPIRED   ? ALERT_CERTIFICATE_EXPIRED
           : end == SESSION_END_CLIENT_UNTRUSTED ? ALERT_UNKNOWN_CA
                                                 : ALERT_CLOSE_NOTIFY;
}

void session_close_for(struct relay *relay, uint32_t index, enum session_end end)
{
    session_close(relay, index, end, planned_alert(end));
}

void session_close(struct relay *relay, uint32_t index, enum session_end end, enum alert alert)
{
    struct relay_session *session = &relay->sessions[index];
    struct slot *slot = &relay->arena.slots[index];
    struct slot_hot next = *slot_hot(slot);

    if (slot->state == SESSION_CLOSING)
        return;
    session_uncount_server(relay, index);
    side_close(relay, index, SIDE_UPSTREAM,
               end != SESSION_END_BOTH_CLOSED && alert != ALERT_CLOSE_NOTIFY &&
                   planned_alert(end) == ALERT_CLOSE_NOTIFY);
    slot->end = (uint8_t)end;
    if (next.client.suite != 0 && alert != ALERT_NONE) {
        leg_alert(&next.client, alert);
        session->alert_sent = alert == ALERT_CLOSE_NOTIFY ? ALERT_NONE : (uint8_t)alert;
        if (next.upstream_tls) {
            struct slot_upstream_secrets *secrets = &relay->arena.upstream_secrets[index];
            struct leg upstream = secrets->leg[slot->current & 1];
            slot_commit_upstream(slot, &next, secrets, &upstream);
        } else {
            slot_commit(slot, &next);
        }
        flow_send_owed(relay, index, SIDE_CLIENT);
    }
    session_set_state(relay, index, SESSION_CLOSING);
    run_closing(relay, index);
}

void session_end(struct relay *relay, uint32_t index, enum session_end end, bool reset)
{
    struct relay_session *session = &relay->sessions[index];
    struct slot *slot = &relay->arena.slots[index];

    if (!session->in_use)
        return;
    session_report_end(relay, index, end);
    session_uncount_server(relay, index);
    side_close(relay, index, SIDE_CLIENT, reset);
    side_close(relay, index, SIDE_UPSTREAM, reset);
    registration_release(relay, index);
    session_set_state(relay, index, SESSION_FREE);
    session_uncount_source(relay, index);
    flow_drop(relay, index);
    secret_wipe(&relay->arena.secrets[index], sizeof relay->arena.secrets[index]);
    secret_wipe(relay->arena.change, sizeof *relay->arena.change); /* should a change have failed */
    if ((slot->flags & SLOT_UPSTREAM_TLS) != 0)
        secret_wipe(&relay->arena.upstream_secrets[index],
                    sizeof relay->arena.upstream_secrets[index]);
    relay->worker.board->listeners[slot->listener].connections[relay->worker.setup.index]--;
    relay->worker.self->sessions--;
    relay->arena.header->used--;
    session->in_use = false;
    if (!session->queued &&
        !session->waiting) /* else a list still names it; it is freed when its turn comes */
        relay->free_slots[relay->free_count++] = index;
}
