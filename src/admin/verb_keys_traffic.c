/* `keys-traffic`: the sessions whose traffic keys are nearest to a limit; `keys-traffic-renew`:
 * another key for one, for those of a listener, or for all. */
#include "admin/control_internal.h"

#include <string.h>

#include "admin/event_json.h"
#include "admin/sessions.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/string.h"
#include "loop/socket_json.h"
#include "tls/governor.h"

#define SLOTS_PER_PUMP 2048
#define LIST_MAX       1000
#define LIST_DEFAULT   20
#define RENEW_TICK_NS  (50 * NS_PER_MS)
#define OVER_MAX_MS    (7ull * 24 * 3600 * 1000)

/* CONF_NONE without a name. */
static int find_listener(const struct control *control, const json_t *object,
                         uint32_t *ret_listener, struct error *error)
{
    bool wrong = false;
    char shown[CONF_NAME_MAX + 1];
    const char *name = json_get_text(object, "listener", &wrong);

    if (wrong)
        return error_set(error, ERROR_USAGE, "\"listener\" is the name of a listener");
    *ret_listener = name == NULL ? CONF_NONE : conf_find_listener(control->view.conf, name);
    return name == NULL || *ret_listener != CONF_NONE
               ? 0
               : error_set(error, ERROR_NOT_FOUND,
                           "there is no listener \"%s\" in the configuration in force",
                           string_printable(shown, sizeof shown, name, strlen(name)));
}

/* The client's leg and the limits of its keys; NULL when it has none. */
static const struct leg *limited_leg(const struct control *control, const struct slot *slot,
                                     struct key_limits *ret_limits)
{
    const struct leg *leg = &slot_hot(slot)->client;
    const struct suite *suite = suite_find(leg->version, leg->suite);
    const struct conf *conf = control->view.conf;

    if (suite == NULL || slot->listener >= conf->listener_count ||
        conf->listeners[slot->listener].name == NULL)
        return NULL;
    governor_limits(conf, &conf->listeners[slot->listener], suite, ret_limits);
    return leg;
}

/* ---- list ---- */

struct candidate {
    unsigned used; /* thousandths of the hard limit */
    unsigned relay;
    uint32_t slot;
    uint64_t serial;
};

struct list_state {
    uint32_t listener;
    size_t limit;
    unsigned relay;
    uint32_t slot;
    size_t count, given;
    struct candidate nearest[LIST_MAX]; /* the most used first */
};

static int list_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    struct list_state *state = request->state;
    bool wrong = false;

    state->limit = json_get_number(object, "limit", LIST_DEFAULT, &wrong);
    if (wrong || state->limit == 0 || state->limit > LIST_MAX)
        return error_set(error, ERROR_USAGE, "\"limit\" is a number from 1 to %d", LIST_MAX);
    return find_listener(control, object, &state->listener, error);
}

static void consider(struct list_state *state, const struct candidate *candidate)
{
    size_t at = state->count;

    while (at > 0 && state->nearest[at - 1].used < candidate->used)
        at--;
    if (at == state->limit)
        return;
    if (state->count < state->limit)
        state->count++;
    memmove(&state->nearest[at + 1], &state->nearest[at],
            (state->count - 1 - at) * sizeof *state->nearest);
    state->nearest[at] = *candidate;
}

static void look(const struct control *control, struct list_state *state, unsigned relay,
                 uint32_t index)
{
    struct key_limits limits;
    enum key_cause cause;
    struct slot slot;

    if (!session_read(&control->view.arenas[relay], index, &slot) ||
        (state->listener != CONF_NONE && slot.listener != state->listener))
        return;
    const struct leg *leg = limited_leg(control, &slot, &limits);
    if (leg == NULL)
        return;
    struct key_usage usage = leg_write_usage(leg);
    struct candidate candidate = {.used =
                                      governor_used(&limits, &usage, clock_monotonic_ns(), &cause),
                                  .relay = relay,
                                  .slot = index,
                                  .serial = slot.serial};
    consider(state, &candidate);
}

/* Both directions: our key has a limit, the client's is merely told. */
static json_t *to_json(const struct control *control, unsigned relay, const struct slot *slot)
{
    char id[SESSION_ID_TEXT_MAX], number[VIEW_NUMBER_MAX];
    uint64_t now_ns = clock_monotonic_ns();
    struct key_limits limits;
    enum key_cause cause;
    const struct leg *leg = limited_leg(control, slot, &limits);
    json_t *object = json_object();

    if (leg == NULL)
        return object;
    struct key_usage usage = leg_write_usage(leg), peer = leg_read_usage(leg);
    unsigned used = governor_used(&limits, &usage, now_ns, &cause);
    json_set_text(object, "session", session_id_text(id, relay, slot->serial));
    json_set_text(object, "listener", view_listener_name(control->view.conf, slot->listener));
    json_set_address(object, "client", slot->client_address, slot->client_port);
    json_set_field(object, "sni", slot->server_name, sizeof slot->server_name);
    json_set_text(object, "version", view_version_name(leg->version, number));
    json_set_text(object, "suite", view_suite_name(leg->version, leg->suite, number));
    json_set_number(object, "used_permille", used);
    json_set_text(object, "limit", key_cause_name(cause));
    json_set_number(object, "records", usage.records);
    json_set_number(object, "blocks", usage.blocks);
    json_set_number(object, "bytes", usage.bytes);
    json_set_number(object, "age_ms",
                    now_ns > usage.since ? (now_ns - usage.since) / NS_PER_MS : 0);
    json_set_number(object, "epoch", leg->write_epoch);
    json_set_number(object, "client_records", peer.records);
    json_set_number(object, "client_blocks", peer.blocks);
    json_set_number(object, "client_epoch", leg->read_epoch);
    json_set_flag(object, "asked", leg->update_asked);
    json_set_flag(object, "wanted", leg->renewal_wanted);
    json_set_flag(object, "unable", (slot->flags & SLOT_KEY_UPDATE_UNABLE) != 0);
    return object;
}

/* As much as the reader takes for now; true when all is written. */
static bool write_list(struct control_request *request, struct list_state *state)
{
    const struct control *control = request->context;
    struct slot slot;

    while (state->given < state->count && request_has_room(request)) {
        const struct candidate *it = &state->nearest[state->given++];
        if (session_read(&control->view.arenas[it->relay], it->slot, &slot) &&
            slot.serial == it->serial)
            ignore(request_write(request, to_json(control, it->relay, &slot)));
    }
    return state->given == state->count;
}

static enum verb_progress list_pump(struct control_request *request, struct error *error)
{
    const struct control *control = request->context;
    struct list_state *state = request->state;
    (void)error;

    for (unsigned i = 0; i < SLOTS_PER_PUMP && state->relay < control->view.workers; i++) {
        if (state->slot < session_slots(&control->view, state->relay)) {
            look(control, state, state->relay, state->slot++);
        } else {
            state->relay++;
            state->slot = 0;
        }
    }
    return state->relay == control->view.workers && write_list(request, state) ? VERB_DONE
                                                                               : VERB_AGAIN;
}

const struct control_verb verb_keys_traffic = {
    .name = "keys-traffic",
    .state_size = sizeof(struct list_state),
    .begin = list_begin,
    .pump = list_pump,
};

/* ---- renew ---- */

/* Slots are gone through in order, as many as are due by the time: so keys change spread over it
 * without anything being kept per session. It ends with the request. */
struct renew_state {
    uint32_t listener; /* CONF_NONE: any */
    uint32_t flags;    /* RENEW_* */
    bool single;
    unsigned relay;
    uint32_t slot;
    uint64_t serial; /* single: of this one */
    uint64_t begin_ns, over_ns;
    uint64_t passed, total; /* slots */
    uint64_t told, unable;  /* sessions */
    struct timer timer;
};

static void wake(void *context)
{
    request_wake(context);
}

/* One of "session", "listener" and "all" says which. */
static int choose(const struct control *control, struct renew_state *state, const json_t *object,
                  struct error *error)
{
    bool wrong = false;
    const char *session = json_get_text(object, "session", &wrong);
    bool all = json_get_flag(object, "all", &wrong);
    bool listener = json_object_get(object, "listener") != NULL;

    if (wrong || (session != NULL) + all + listener != 1)
        return error_set(error, ERROR_USAGE,
                         "expected one of \"session\", \"listener\" and \"all\"");
    state->listener = CONF_NONE;
    if (session == NULL)
        return listener ? find_listener(control, object, &state->listener, error) : 0;
    state->single = true;
    return session_find(&control->view, session, &state->relay, &state->slot, &state->serial,
                        error);
}

static int renew_begin(struct control_request *request, const json_t *object, struct error *error)
{
    struct control *control = request->context;
    struct renew_state *state = request->state;
    bool wrong = false;

    state->flags = (json_get_flag(object, "request", &wrong) ? RENEW_REQUEST : 0u) |
                   (json_get_flag(object, "now", &wrong) ? RENEW_NOW : 0u);
    uint64_t over_ms = json_get_number(object, "over_ms", 0, &wrong);
    if (wrong || over_ms > OVER_MAX_MS)
        return error_set(error, ERROR_USAGE,
                         "\"over_ms\" is at most %llu, \"request\" and \"now\" are true or false",
                         OVER_MAX_MS);
    int result = choose(control, state, object, error);
    if (result < 0)
        return result;
    state->begin_ns = loop_now(control->worker.loop);
    state->over_ns = over_ms * NS_PER_MS;
    for (unsigned i = 0; i < control->view.workers; i++)
        state->total += session_slots(&control->view, i);
    timer_init(&state->timer, wake, request);
    return 0;
}

enum tell_result { TELL_SKIPPED, TELL_DONE, TELL_UNABLE, TELL_LATER };

/* TLS 1.2 has one key for the life of a session, but where it stays with OpenSSL and its listener
 * lets it renegotiate. */
static bool renewable(const struct control *control, const struct slot *slot)
{
    const struct conf *conf = control->view.conf;
    const struct conf_listener *listener =
        slot->listener < conf->listener_count ? &conf->listeners[slot->listener] : NULL;

    if (slot_hot(slot)->client.version == TLS_VERSION_1_3)
        return true;
    return (slot->flags & SLOT_ATTACHED) != 0 && listener != NULL &&
           (listener->renegotiation != CONF_RENEGOTIATION_REFUSE ||
            listener->renegotiate_every != 0);
}

static enum tell_result tell(struct control *control, const struct renew_state *state,
                             unsigned relay_index, uint32_t index)
{
    struct slot slot;

    if (!session_read(&control->view.arenas[relay_index], index, &slot) ||
        (state->listener != CONF_NONE && slot.listener != state->listener) ||
        (state->single && slot.serial != state->serial))
        return TELL_SKIPPED;
    if (!renewable(control, &slot))
        return TELL_UNABLE;
    struct message_renew body = {.slot = index, .flags = state->flags, .serial = slot.serial};
    struct peer *relay = peers_find(&control->peers, PROCESS_RELAY, relay_index);
    return relay != NULL && peer_send(relay, MESSAGE_RENEW_KEYS, &body, sizeof body, -1)
               ? TELL_DONE
               : TELL_LATER;
}

/* False when the relay takes nothing more for now. */
static bool renew_one(struct control *control, struct renew_state *state)
{
    enum tell_result result = tell(control, state, state->relay, state->slot);

    state->told += result == TELL_DONE;
    state->unable += result == TELL_UNABLE;
    return result != TELL_LATER;
}

static uint64_t due(const struct control *control, const struct renew_state *state)
{
    uint64_t elapsed = loop_now(control->worker.loop) - state->begin_ns;

    return elapsed >= state->over_ns
               ? state->total
               : (uint64_t)((unsigned __int128)state->total * elapsed / state->over_ns);
}

static enum verb_progress renew_finish(struct control_request *request, struct error *error)
{
    const struct renew_state *state = request->state;

    if (state->single && state->unable != 0) {
        error_set(error, ERROR_USAGE,
                  "the session is not TLS 1.3: it has one key for its life, or none here");
        return VERB_FAILED;
    }
    json_t *line = json_object();
    json_set_number(line, "sessions", state->told);
    json_set_number(line, "skipped", state->unable);
    ignore(request_write(request, line));
    return VERB_DONE;
}

static enum verb_progress renew_later(struct control *control, struct renew_state *state)
{
    timer_set(control->worker.loop, &state->timer, loop_now(control->worker.loop) + RENEW_TICK_NS);
    return VERB_WAITING;
}

static enum verb_progress renew_pump(struct control_request *request, struct error *error)
{
    struct control *control = request->context;
    struct renew_state *state = request->state;

    if (state->single)
        return renew_one(control, state) ? renew_finish(request, error)
                                         : renew_later(control, state);
    uint64_t until = due(control, state);
    for (unsigned i = 0; i < SLOTS_PER_PUMP && state->relay < control->view.workers; i++) {
        if (state->slot >= session_slots(&control->view, state->relay)) {
            state->relay++;
            state->slot = 0;
            continue;
        }
        if (state->passed >= until && until < state->total)
            return renew_later(control, state);
        if (!renew_one(control, state))
            return renew_later(control, state);
        state->slot++;
        state->passed++;
    }
    return state->relay < control->view.workers ? VERB_AGAIN : renew_finish(request, error);
}

static void renew_end(struct control_request *request)
{
    struct control *control = request->context;
    struct renew_state *state = request->state;

    timer_cancel(control->worker.loop, &state->timer);
}

const struct control_verb verb_keys_traffic_renew = {
    .name = "keys-traffic-renew",
    .state_size = sizeof(struct renew_state),
    .begin = renew_begin,
    .pump = renew_pump,
    .end = renew_end,
};
