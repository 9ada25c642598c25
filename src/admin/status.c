#include "admin/status.h"

#include "admin/certificates.h"
#include "admin/drain.h"
#include "admin/ledger.h"
#include "admin/tickets.h"
#include "base/clock.h"
#include "base/json.h"
#include "vault/vault.h"

static uint32_t load(const uint32_t *place)
{
    return __atomic_load_n(place, __ATOMIC_RELAXED);
}

const char *server_admin_name(uint32_t admin)
{
    static const char *const names[] = {
        [SERVER_READY] = "ready", [SERVER_DRAIN] = "drain", [SERVER_DOWN] = "down"};

    return admin < ARRAY_SIZE(names) ? names[admin] : "unknown";
}

json_t *status_server_to_json(const struct admin_view *view, uint32_t upstream, uint32_t server)
{
    const struct conf_upstream *conf = &view->conf->upstreams[upstream];
    unsigned number = conf->servers[server].number;
    json_t *object = json_object();

    json_set_text(object, "upstream", conf->name);
    json_set_text(object, "server", conf->servers[server].name);
    if (number >= BOARD_SERVERS_MAX)
        return object;
    const struct board_server *shared = &view->board->servers[number];
    uint32_t weight = load(&shared->weight);
    json_set_text(object, "state",
                  conf->retired || conf->servers[server].retired
                      ? "removed"
                      : server_admin_name(load(&shared->admin)));
    json_set_flag(object, "healthy", load(&shared->healthy) != 0);
    json_set_flag(object, "checked", conf->check_interval != 0);
    json_set_number(object, "weight", weight != 0 ? weight : conf->servers[server].weight);
    json_set_number(object, "sessions", board_server_sessions(view->board, number));
    json_set_number(object, "connects", __atomic_load_n(&shared->connects, __ATOMIC_RELAXED));
    json_set_number(object, "connect_failures",
                    __atomic_load_n(&shared->connect_failures, __ATOMIC_RELAXED));
    return object;
}

static json_t *process_to_json(const struct admin_view *view, enum process_kind kind,
                               unsigned index, uint64_t now_ns)
{
    unsigned worker = board_worker_number(kind, index);
    const struct board_process *process = &view->board->processes[worker];
    uint64_t beat = __atomic_load_n(&process->heartbeat_ns, __ATOMIC_RELAXED);
    uint64_t started = __atomic_load_n(&process->started_ns, __ATOMIC_RELAXED);
    json_t *object = json_object();

    json_set_text(object, "kind", process_kind_name(kind));
    json_set_number(object, "index", index);
    json_set_number(object, "pid", load(&process->pid));
    json_set_number(object, "starts", load(&process->starts));
    json_set_flag(object, "alive", view_process_alive(view->board, worker, now_ns));
    json_set_number(object, "heartbeat_age_ms",
                    beat != 0 && now_ns > beat ? (now_ns - beat) / NS_PER_MS : 0);
    if (started != 0 && now_ns > started)
        json_set_number(object, "uptime_s", (now_ns - started) / NS_PER_S);
    json_set_number(object, "sessions", load(&process->sessions));
    json_set_number(object, "config_generation", load(&process->config));
    if (kind == PROCESS_HANDSHAKER)
        json_set_flag(object, "overloaded", load(&process->overloaded) != 0);
    return object;
}

static json_t *processes_to_json(const struct admin_view *view, uint64_t now_ns)
{
    json_t *list = json_array();

    ignore(json_array_append_new(list, process_to_json(view, PROCESS_SUPERVISOR, 0, now_ns)));
    ignore(json_array_append_new(list, process_to_json(view, PROCESS_CONTROL, 0, now_ns)));
    for (unsigned i = 0; i < view->workers; i++)
        ignore(json_array_append_new(list, process_to_json(view, PROCESS_HANDSHAKER, i, now_ns)));
    for (unsigned i = 0; i < view->workers; i++)
        ignore(json_array_append_new(list, process_to_json(view, PROCESS_RELAY, i, now_ns)));
    return list;
}

/* Nothing for a listener without client-ca. */
static void set_client_trust(json_t *object, const struct admin_view *view, uint32_t listener)
{
    struct vault_client_trust state;
    json_t *trust;

    if (view->vault == NULL || !vault_client_trust_state(view->vault, listener, &state))
        return;
    trust = json_object();
    json_set_flag(trust, "in_force", state.present);
    json_set_number(trust, "generation", state.generation);
    json_set_number(trust, "authorities", state.facts.authorities);
    json_set_number(trust, "lists", state.facts.lists);
    json_set_number(trust, "revoked", state.facts.revoked);
    json_set_flag(trust, "stale", state.stale);
    if (state.facts.next_update != 0)
        json_set_time(trust, "next_update", state.facts.next_update);
    if (state.present)
        json_set_time(trust, "authority_expiry", state.facts.authority_expiry);
    json_set_text(trust, "trouble", state.trouble);
    ignore(json_object_set_new(object, "client_trust", trust));
}

static json_t *listener_to_json(const struct admin_view *view, uint32_t listener)
{
    const struct conf_listener *conf = &view->conf->listeners[listener];
    json_t *object = json_object(), *addresses = json_array();
    char text[ADDRESS_TEXT_MAX];

    json_set_text(object, "listener", conf->name);
    json_set_text(object, "mode", conf->mode == CONF_MODE_PASS_THROUGH ? "pass-through" : "tcp");
    json_set_flag(object, "removed", conf->retired);
    for (size_t i = 0; i < conf->bind.count; i++)
        ignore(json_array_append_new(
            addresses, json_name(address_format(text, sizeof text, &conf->bind.items[i]))));
    ignore(json_object_set_new(object, "addresses", addresses));
    if (listener >= BOARD_LISTENERS_MAX)
        return object;
    const struct board_listener *shared = &view->board->listeners[listener];
    uint64_t under_way = 0;
    for (unsigned i = 0; i < view->workers; i++)
        under_way += load(&shared->handshakes[i]);
    set_client_trust(object, view, listener);
    json_set_flag(object, "draining", drain_of_listener(view, listener));
    json_set_number(object, "sessions", board_listener_connections(view->board, listener));
    json_set_number(object, "handshakes_under_way", under_way);
    json_set_number(object, "accepted", __atomic_load_n(&shared->accepted, __ATOMIC_RELAXED));
    json_set_number(object, "refused", __atomic_load_n(&shared->refused, __ATOMIC_RELAXED));
    return object;
}

/* One entry per drain that stands, as `drain` shows it. */
static json_t *drains_to_json(const struct admin_view *view, uint64_t now_ns, int64_t wall_s)
{
    json_t *list = json_array();
    struct drain drain;

    if (board_drain_read(&view->board->drain, &drain))
        ignore(json_array_append_new(list, drain_to_json(view, CONF_NONE, now_ns, wall_s)));
    for (uint32_t i = 0; i < view->conf->listener_count && i < BOARD_LISTENERS_MAX; i++) {
        if (board_drain_read(&view->board->listeners[i].drain, &drain))
            ignore(json_array_append_new(list, drain_to_json(view, i, now_ns, wall_s)));
    }
    return list;
}

static void set_lists(json_t *object, const struct admin_view *view, uint64_t now_ns,
                      int64_t wall_s)
{
    json_t *listeners = json_array(), *servers = json_array();

    for (uint32_t i = 0; i < view->conf->listener_count; i++) {
        if (view->conf->listeners[i].name != NULL)
            ignore(json_array_append_new(listeners, listener_to_json(view, i)));
    }
    for (uint32_t u = 0; u < view->conf->upstream_count; u++) {
        for (uint32_t s = 0; s < view->conf->upstreams[u].server_count; s++) {
            if (view_server(view->conf, u, s) != NULL)
                ignore(json_array_append_new(servers, status_server_to_json(view, u, s)));
        }
    }
    ignore(json_object_set_new(object, "drains", drains_to_json(view, now_ns, wall_s)));
    ignore(json_object_set_new(object, "processes", processes_to_json(view, now_ns)));
    ignore(json_object_set_new(object, "listeners", listeners));
    ignore(json_object_set_new(object, "servers", servers));
    ignore(json_object_set_new(object, "certificates", certificates_summary(view, wall_s)));
}

static void set_counts(json_t *object, const struct board *board)
{
    static const struct {
        const char *key;
        enum counter counter;
    } counts[] = {
        {"accepted", COUNTER_ACCEPTED},
        {"refused_overload", COUNTER_REFUSED_OVERLOAD},
        {"handshakes", COUNTER_HANDSHAKES},
        {"handshakes_resumed", COUNTER_HANDSHAKES_RESUMED},
        {"resumptions_offered", COUNTER_RESUMPTIONS_OFFERED},
        {"handshake_failures", COUNTER_HANDSHAKE_FAILURES},
        {"renegotiations", COUNTER_RENEGOTIATIONS},
        {"renegotiations_failed", COUNTER_RENEGOTIATIONS_FAILED},
        {"renegotiations_refused", COUNTER_RENEGOTIATIONS_REFUSED},
        {"client_authentications", COUNTER_AUTHENTICATIONS},
        {"client_authentications_failed", COUNTER_AUTHENTICATIONS_FAILED},
        {"sessions_opened", COUNTER_SESSIONS_OPENED},
        {"sessions_closed", COUNTER_SESSIONS_CLOSED},
        {"sessions_failed", COUNTER_SESSIONS_FAILED},
        {"process_restarts", COUNTER_PROCESS_RESTARTS},
        {"events_dropped", COUNTER_EVENTS_DROPPED},
        {"log_lines_dropped", COUNTER_LOG_DROPPED},
    };
    json_t *counters = json_object();

    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        json_set_number(counters, counts[i].key, board_sum(board, counts[i].counter));
    ignore(json_object_set_new(object, "counters", counters));
}

static void set_superseded(json_t *object, const struct admin_view *view, uint64_t now_ns)
{
    json_t *kinds = json_object();
    struct ledger ledger;

    ledger_take(view, now_ns, &ledger);
    for (unsigned kind = 0; kind < SUPERSEDED_COUNT; kind++) {
        if (!ledger_knows(view, (enum superseded)kind))
            continue;
        json_t *entry = json_object();
        json_set_number(entry, "sessions", ledger.sums[kind].sessions);
        json_set_number(entry, "oldest_ms", ledger.sums[kind].oldest_ns / NS_PER_MS);
        ignore(json_object_set_new(kinds, superseded_name((enum superseded)kind), entry));
    }
    ignore(json_object_set_new(object, "superseded", kinds));
}

/* Sessions that OpenSSL carries, by why. */
static void set_attached(json_t *object, const struct board *board)
{
    uint32_t counts[ATTACHED_REASON_COUNT];
    json_t *reasons = json_object();

    board_attached_count(board, counts);
    for (unsigned i = 0; i < ATTACHED_REASON_COUNT; i++)
        json_set_number(reasons, attached_reason_name((enum attached_reason)i), counts[i]);
    ignore(json_object_set_new(object, "attached", reasons));
}

json_t *status_to_json(const struct admin_view *view, const char *config_path, uint64_t now_ns)
{
    const struct board *board = view->board;
    uint64_t wall = clock_wall_ns(), sessions = 0;
    json_t *object = json_object();

    for (unsigned i = 0; i < view->workers; i++)
        sessions += load(&board->processes[board_worker_number(PROCESS_RELAY, i)].sessions);
    json_set_text(object, "version", HOLDFAST_VERSION);
    json_set_time(object, "started", (int64_t)(board->started_wall_ns / NS_PER_S));
    json_set_number(object, "uptime_s",
                    wall > board->started_wall_ns ? (wall - board->started_wall_ns) / NS_PER_S : 0);
    json_set_text(object, "config", config_path);
    json_set_number(object, "config_generation",
                    load(&board->processes[board_worker_number(PROCESS_CONTROL, 0)].config));
    json_set_flag(object, "draining", drain_of_house(view));
    json_set_flag(object, "crash_survival", board->crash_survival != 0);
    json_set_number(object, "sessions", sessions);
    json_set_number(object, "capacity", (uint64_t)load(&board->relay_capacity) * view->workers);
    set_attached(object, board);
    set_superseded(object, view, now_ns);
    if (view->tickets != NULL)
        ignore(json_object_set_new(object, "ticket_keys",
                                   tickets_to_json(view, (int64_t)(wall / NS_PER_S))));
    set_lists(object, view, now_ns, (int64_t)(wall / NS_PER_S));
    set_counts(object, board);
    return object;
}
