#include "admin/metrics.h"

#include <inttypes.h>
#include <string.h>

#include "admin/drain.h"
#include "admin/ledger.h"
#include "admin/tickets.h"
#include "base/clock.h"
#include "vault/vault.h"

static void head(struct buffer *output, const char *name, const char *type, const char *help)
{
    buffer_printf(output, "# HELP holdfast_%s %s\n# TYPE holdfast_%s %s\n", name, help, name, type);
}

/* Label values may hold anything; backslash, quote and newline are written as the format demands.
 */
static void label(struct buffer *output, const char *separator, const char *key, const char *value)
{
    buffer_printf(output, "%s%s=\"", separator, key);
    for (const char *at = value; *at != '\0'; at++) {
        if (*at == '\n')
            buffer_append_text(output, "\\n");
        else if (*at == '"' || *at == '\\')
            buffer_printf(output, "\\%c", *at);
        else
            buffer_append(output, at, 1);
    }
    buffer_append_text(output, "\"");
}

static uint64_t load(const uint64_t *place)
{
    return __atomic_load_n(place, __ATOMIC_RELAXED);
}

static uint32_t load32(const uint32_t *place)
{
    return __atomic_load_n(place, __ATOMIC_RELAXED);
}

static unsigned kind_size(const struct admin_view *view, enum process_kind kind)
{
    return kind == PROCESS_SUPERVISOR || kind == PROCESS_CONTROL ? 1 : view->workers;
}

static void write_counters(const struct admin_view *view, struct buffer *output)
{
    for (int counter = 0; counter < COUNTER_COUNT; counter++) {
        head(output, counter_facts[counter].name, "counter", counter_facts[counter].help);
        for (int kind = 0; kind < PROCESS_KIND_COUNT; kind++) {
            uint64_t sum = 0;
            for (unsigned i = 0; i < kind_size(view, (enum process_kind)kind); i++)
                sum += load(&view->board->processes[board_worker_number((enum process_kind)kind, i)]
                                 .counters[counter]);
            buffer_printf(output, "holdfast_%s{process=\"%s\"} %" PRIu64 "\n",
                          counter_facts[counter].name, process_kind_name((enum process_kind)kind),
                          sum);
        }
    }
}

static void write_resumption(const struct admin_view *view, struct buffer *output)
{
    head(output, "resumption_misses_total", "counter",
         "Offers to resume that led to a full handshake");
    for (int miss = RESUMPTION_MISS_NONE + 1; miss < RESUMPTION_MISS_COUNT; miss++)
        buffer_printf(output, "holdfast_resumption_misses_total{reason=\"%s\"} %" PRIu64 "\n",
                      resumption_miss_name((enum resumption_miss)miss),
                      board_resumption_misses(view->board, (enum resumption_miss)miss));
}

static void write_session_cache(const struct admin_view *view, struct buffer *output)
{
    head(output, "session_cache_entries", "gauge", "Sessions in the cache");
    buffer_printf(output, "holdfast_session_cache_entries %" PRIu32 "\n",
                  load32(&view->board->session_cache_entries));
}

static void add_histogram(struct board_histogram *sum, const struct board_histogram *part)
{
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        sum->buckets[i] += load(&part->buckets[i]);
    sum->sum_us += load(&part->sum_us);
}

/* The count is taken from the buckets, so that the text is consistent in itself whatever changed
 * while it was read. */
static void write_histograms(const struct admin_view *view, struct buffer *output)
{
    for (int number = 0; number < HISTOGRAM_COUNT; number++) {
        struct board_histogram sum = {.count = 0};
        const char *name = histogram_facts[number].name;
        uint64_t below = 0;

        for (unsigned i = 0; i < BOARD_PROCESSES; i++)
            add_histogram(&sum, &view->board->processes[i].histograms[number]);
        head(output, name, "histogram", histogram_facts[number].help);
        for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
            below += sum.buckets[i];
            if (i < HISTOGRAM_BUCKETS - 1)
                buffer_printf(output, "holdfast_%s_bucket{le=\"%.6f\"} %" PRIu64 "\n", name,
                              64e-6 * (double)(1ull << i), below);
        }
        buffer_printf(output,
                      "holdfast_%s_bucket{le=\"+Inf\"} %" PRIu64
                      "\nholdfast_%s_sum %.6f\nholdfast_%s_count %" PRIu64 "\n",
                      name, below, name, (double)sum.sum_us / 1e6, name, below);
    }
}

static void process_row(struct buffer *output, const char *name, enum process_kind kind,
                        unsigned index, double value)
{
    buffer_printf(output, "holdfast_%s{process=\"%s\",index=\"%u\"} %.15g\n", name,
                  process_kind_name(kind), index, value);
}

static void write_processes(const struct admin_view *view, uint64_t now_ns, struct buffer *output)
{
    static const struct {
        const char *name, *type, *help;
    } rows[] = {
        {"process_up", "gauge", "Whether the process runs and beats"},
        {"process_starts_total", "counter", "Times the process was started"},
        {"process_heartbeat_age_seconds", "gauge", "Time since the last heartbeat"},
        {"process_sessions", "gauge", "Sessions held (relay) or handshakes under way (handshaker)"},
        {"process_overloaded", "gauge", "Whether it refuses connections that waited too long"},
    };

    for (size_t row = 0; row < ARRAY_SIZE(rows); row++) {
        head(output, rows[row].name, rows[row].type, rows[row].help);
        for (int k = 0; k < PROCESS_RETIRING_HANDSHAKER; k++) { /* those are on their way out */
            enum process_kind kind = (enum process_kind)k;
            for (unsigned i = 0; i < kind_size(view, kind); i++) {
                unsigned worker = board_worker_number(kind, i);
                const struct board_process *process = &view->board->processes[worker];
                uint64_t beat = load(&process->heartbeat_ns);
                double values[ARRAY_SIZE(rows)] = {
                    view_process_alive(view->board, worker, now_ns) ? 1 : 0,
                    load32(&process->starts),
                    beat != 0 && beat < now_ns ? (double)(now_ns - beat) / 1e9 : 0,
                    load32(&process->sessions),
                    load32(&process->overloaded),
                };
                process_row(output, rows[row].name, kind, i, values[row]);
            }
        }
    }
}

static uint32_t listener_handshakes(const struct board_listener *listener)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < BOARD_WORKERS_MAX; i++)
        sum += load32(&listener->handshakes[i]);
    return sum;
}

static void write_listeners(const struct admin_view *view, struct buffer *output)
{
    static const struct {
        const char *name, *type, *help;
    } rows[] = {
        {"listener_sessions", "gauge", "Sessions of the listener"},
        {"listener_handshakes", "gauge", "Handshakes under way at the listener"},
        {"listener_accepted_total", "counter", "Connections accepted by the listener"},
        {"listener_refused_total", "counter", "Connections refused by the listener"},
        {"listener_draining", "gauge",
         "Whether the listener is being drained, by itself or with the house"},
        {"listener_drain_left", "gauge", "Sessions that a drain of the listener has still to end"},
        {"listener_sealed_records_total", "counter", "Records sealed for the listener's clients"},
        {"listener_sealed_blocks_total", "counter",
         "Blocks sealed for the listener's clients, as traffic keys are limited by"},
    };

    for (size_t row = 0; row < ARRAY_SIZE(rows); row++) {
        head(output, rows[row].name, rows[row].type, rows[row].help);
        for (unsigned i = 0; i < view->conf->listener_count && i < BOARD_LISTENERS_MAX; i++) {
            const struct board_listener *listener = &view->board->listeners[i];
            if (view->conf->listeners[i].name == NULL)
                continue;
            bool draining = drain_of_listener(view, i);
            struct board_sealed sealed = board_listener_sealed(view->board, i);
            uint64_t values[ARRAY_SIZE(rows)] = {
                board_listener_connections(view->board, i),
                listener_handshakes(listener),
                load(&listener->accepted),
                load(&listener->refused),
                draining,
                draining ? board_listener_connections(view->board, i) : 0,
                sealed.records,
                sealed.blocks,
            };
            buffer_printf(output, "holdfast_%s", rows[row].name);
            label(output, "{", "listener", view->conf->listeners[i].name);
            buffer_printf(output, "} %" PRIu64 "\n", values[row]);
        }
    }
}

static void server_row(const struct admin_view *view, const char *name, unsigned upstream,
                       unsigned server, uint64_t value, struct buffer *output)
{
    buffer_printf(output, "holdfast_%s", name);
    label(output, "{", "upstream", view->conf->upstreams[upstream].name);
    label(output, ",", "server", view->conf->upstreams[upstream].servers[server].name);
    buffer_printf(output, "} %" PRIu64 "\n", value);
}

static void write_servers(const struct admin_view *view, struct buffer *output)
{
    static const struct {
        const char *name, *type, *help;
    } rows[] = {
        {"server_up", "gauge", "Whether the upstream server is healthy"},
        {"server_ready", "gauge", "Whether the operator lets the server have new sessions"},
        {"server_sessions", "gauge", "Sessions at the upstream server"},
        {"server_weight", "gauge", "Weight of the server in balancing"},
        {"server_connects_total", "counter", "Connections made to the server"},
        {"server_connect_failures_total", "counter", "Connections to the server that failed"},
    };
    const struct conf *conf = view->conf;

    for (size_t row = 0; row < ARRAY_SIZE(rows); row++) {
        head(output, rows[row].name, rows[row].type, rows[row].help);
        for (unsigned u = 0; u < conf->upstream_count; u++) {
            for (unsigned s = 0; s < conf->upstreams[u].server_count; s++) {
                if (view_server(conf, u, s) == NULL)
                    continue;
                uint32_t number = conf->upstreams[u].servers[s].number;
                const struct board_server *server = &view->board->servers[number];
                uint32_t weight = load32(&server->weight);
                uint64_t values[ARRAY_SIZE(rows)] = {
                    load32(&server->healthy) != 0,
                    load32(&server->admin) == SERVER_READY,
                    board_server_sessions(view->board, number),
                    weight != 0 ? weight : conf->upstreams[u].servers[s].weight,
                    load(&server->connects),
                    load(&server->connect_failures),
                };
                server_row(view, rows[row].name, u, s, values[row], output);
            }
        }
    }
}

static int certificate_row(void *context, const struct vault_entry *entry)
{
    struct buffer *output = context;

    if (!entry->present)
        return 0;
    buffer_append_text(output, "holdfast_certificate_not_after_seconds");
    label(output, "{", "certificate", entry->name);
    label(output, ",", "host", entry->host);
    label(output, ",", "key_type", key_type_name(entry->key_type));
    buffer_printf(output, "} %" PRId64 "\n", entry->not_after);
    return output->failed;
}

static void write_attached(const struct board *board, struct buffer *output)
{
    uint32_t counts[ATTACHED_REASON_COUNT];

    board_attached_count(board, counts);
    head(output, "sessions_attached", "gauge", "Sessions that OpenSSL carries in a handshaker");
    for (unsigned i = 0; i < ATTACHED_REASON_COUNT; i++) {
        buffer_printf(output, "holdfast_sessions_attached");
        label(output, "{", "reason", attached_reason_name((enum attached_reason)i));
        buffer_printf(output, "} %u\n", counts[i]);
    }
}

static void write_superseded(const struct admin_view *view, uint64_t now_ns, struct buffer *output)
{
    static const struct {
        const char *name, *help;
    } rows[] = {
        {"sessions_superseded", "Sessions that still hang on something that was replaced"},
        {"sessions_superseded_oldest_seconds", "Age of the oldest of them; 0: there is none"},
    };
    struct ledger ledger;

    ledger_take(view, now_ns, &ledger);
    for (size_t row = 0; row < ARRAY_SIZE(rows); row++) {
        head(output, rows[row].name, "gauge", rows[row].help);
        for (unsigned kind = 0; kind < SUPERSEDED_COUNT; kind++) {
            if (!ledger_knows(view, (enum superseded)kind))
                continue;
            for (unsigned i = 0; i < view->conf->listener_count && i < BOARD_LISTENERS_MAX; i++) {
                const struct ledger_entry *entry = &ledger.entries[kind][i];
                const char *listener = view_listener_name(view->conf, i);
                if (listener == NULL)
                    continue;
                buffer_printf(output, "holdfast_%s", rows[row].name);
                label(output, "{", "kind", superseded_name((enum superseded)kind));
                label(output, ",", "listener", listener);
                buffer_printf(output, "} %.15g\n",
                              row == 0 ? (double)entry->sessions : (double)entry->oldest_ns / 1e9);
            }
        }
    }
}

static void trust_row(struct buffer *output, const char *name, const char *listener, double value)
{
    buffer_printf(output, "holdfast_%s", name);
    label(output, "{", "listener", listener);
    buffer_printf(output, "} %.15g\n", value);
}

/* Of listeners with client-ca. */
static void write_client_trust(const struct admin_view *view, struct buffer *output)
{
    static const struct {
        const char *name, *help;
    } rows[] = {
        {"client_trust_good", "Whether the files that clients are judged by are in force as they "
                              "are and no revocation list is over"},
        {"client_trust_revoked", "Entries of the revocation lists in force"},
        {"client_trust_next_update_seconds",
         "When the first revocation list is over, in Unix seconds; 0: none says"},
    };
    struct vault_client_trust state;

    for (size_t row = 0; row < ARRAY_SIZE(rows); row++) {
        head(output, rows[row].name, "gauge", rows[row].help);
        for (unsigned i = 0; view->vault != NULL && i < view->conf->listener_count; i++) {
            const char *listener = view_listener_name(view->conf, i);
            if (listener == NULL || !vault_client_trust_state(view->vault, i, &state))
                continue;
            double values[ARRAY_SIZE(rows)] = {
                state.present && !state.stale && state.trouble[0] == '\0' ? 1 : 0,
                (double)state.facts.revoked, (double)state.facts.next_update};
            trust_row(output, rows[row].name, listener, values[row]);
        }
    }
}

static void write_gauges(const struct admin_view *view, struct buffer *output)
{
    const struct board *board = view->board;

    head(output, "build_info", "gauge", "The version that runs");
    buffer_printf(output, "holdfast_build_info{version=\"%s\"} 1\n", HOLDFAST_VERSION);
    head(output, "start_time_seconds", "gauge", "Start of the daemon in Unix seconds");
    buffer_printf(output, "holdfast_start_time_seconds %.3f\n",
                  (double)board->started_wall_ns / 1e9);
    head(output, "draining", "gauge", "Whether the daemon is being drained");
    buffer_printf(output, "holdfast_draining %u\n", drain_of_house(view) ? 1u : 0u);
    head(output, "crash_survival", "gauge", "Whether sessions survive the crash of their relay");
    buffer_printf(output, "holdfast_crash_survival %u\n", board->crash_survival != 0 ? 1u : 0u);
    head(output, "session_capacity", "gauge", "Sessions that fit");
    buffer_printf(output, "holdfast_session_capacity %" PRIu64 "\n",
                  (uint64_t)load32(&board->relay_capacity) * view->workers);
}

void metrics_write(const struct admin_view *view, uint64_t now_ns, struct buffer *output)
{
    write_gauges(view, output);
    write_processes(view, now_ns, output);
    write_listeners(view, output);
    write_attached(view->board, output);
    write_superseded(view, now_ns, output);
    write_servers(view, output);
    write_client_trust(view, output);
    head(output, "certificate_not_after_seconds", "gauge",
         "End of the certificate in service, in Unix seconds");
    if (view->vault != NULL)
        ignore(vault_each(view->vault, certificate_row, output));
    tickets_metrics(view, (int64_t)(clock_wall_ns() / NS_PER_S), output);
    write_counters(view, output);
    write_resumption(view, output);
    write_session_cache(view, output);
    write_histograms(view, output);
}
