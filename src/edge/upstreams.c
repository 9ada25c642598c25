#include "edge/upstreams.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/string.h"

#define AVOID_NS                                                                                   \
    NS_PER_S /* without active checks: how long a server that refused is left alone                \
              */

struct server {
    const struct conf_upstream *upstream; /* NULL: no such number */
    const struct conf_server *conf;
    unsigned upstream_index, index, number;
    struct address address; /* size 0: not resolved yet */
    uint64_t avoid_until_ns;
    int32_t credit; /* smooth weighted round robin */
    /* The probe of this server by this relay. */
    struct upstreams *owner;
    struct timer timer;
    int probe_fd; /* -1: none under way */
    uint32_t rises, falls;
};

struct upstreams {
    struct worker *worker;
    struct server *servers; /* by number; pages of numbers that nobody has are never touched */
    uint32_t next_source;
    uint8_t probe_handler;
};

static struct board_server *board_of(const struct server *server)
{
    return &server->owner->worker->board->servers[server->number];
}

static unsigned number_of(const struct upstreams *upstreams, unsigned upstream, unsigned server)
{
    return upstreams->worker->conf->upstreams[upstream].servers[server].number;
}

static struct server *server_at(const struct upstreams *upstreams, unsigned upstream,
                                unsigned server)
{
    return &upstreams->servers[number_of(upstreams, upstream, server)];
}

/* ---- choice ---- */

static uint32_t weight_of(const struct server *server)
{
    uint32_t weight = __atomic_load_n(&board_of(server)->weight, __ATOMIC_RELAXED);
    return weight != 0 ? weight : server->conf->weight;
}

/* May a new session go there? `desperate`: servers that refused just now are tried, too. */
static bool usable(const struct server *server, uint64_t tried, bool desperate)
{
    const struct board_server *board = board_of(server);

    return (tried >> (server->index % 64) & 1) == 0 && server->address.size != 0 &&
           __atomic_load_n(&board->admin, __ATOMIC_RELAXED) == SERVER_READY &&
           (server->upstream->check_interval == 0
                ? desperate || server->avoid_until_ns <= loop_now(server->owner->worker->loop)
                : __atomic_load_n(&board->healthy, __ATOMIC_RELAXED) != 0) &&
           (server->conf->max_connections == 0 ||
            board_server_sessions(server->owner->worker->board, server->number) <
                server->conf->max_connections);
}

/* The server of this index if a new session may go there, else NULL. The servers of an upstream
 * that was removed are still there for its last handshakes; a server that was removed from an
 * upstream is for nobody. */
static struct server *candidate(const struct upstreams *upstreams, unsigned upstream, size_t index,
                                uint64_t tried, bool desperate)
{
    const struct conf_server *conf = &upstreams->worker->conf->upstreams[upstream].servers[index];
    struct server *server = &upstreams->servers[conf->number];

    return conf_server_in_force(conf) && usable(server, tried, desperate) ? server : NULL;
}

/* Rendezvous hashing: a server that leaves moves only its own clients. */
static uint64_t hash_score(const struct server *server, const uint8_t client[16])
{
    uint64_t halves[2];
    memcpy(halves, client, sizeof halves);
    uint64_t hash = hash_mix(hash_mix(halves[0] ^ string_hash(server->conf->name)) ^ halves[1]);
    return (hash >> 32) * weight_of(server);
}

static int choose_round_robin(struct upstreams *upstreams, unsigned upstream, uint64_t tried,
                              bool desperate)
{
    const struct conf_upstream *conf = &upstreams->worker->conf->upstreams[upstream];
    struct server *best = NULL;
    int32_t total = 0;

    for (size_t i = 0; i < conf->server_count; i++) {
        struct server *server = candidate(upstreams, upstream, i, tried, desperate);
        if (server == NULL)
            continue;
        int32_t weight = (int32_t)weight_of(server);
        server->credit += weight;
        total += weight;
        if (best == NULL || server->credit > best->credit)
            best = server;
    }
    if (best == NULL)
        return -1;
    best->credit -= total;
    return (int)best->index;
}

static int choose(struct upstreams *upstreams, unsigned upstream, const uint8_t client[16],
                  uint64_t tried, bool desperate)
{
    const struct conf_upstream *conf = &upstreams->worker->conf->upstreams[upstream];
    uint64_t best_score = 0;
    int best = -1;

    if (conf->balance == CONF_BALANCE_ROUND_ROBIN)
        return choose_round_robin(upstreams, upstream, tried, desperate);
    for (size_t i = 0; i < conf->server_count; i++) {
        const struct server *server = candidate(upstreams, upstream, i, tried, desperate);
        if (server == NULL)
            continue;
        uint64_t score;
        if (conf->balance == CONF_BALANCE_SOURCE_HASH)
            score = hash_score(server, client);
        else /* least sessions per weight: the higher the score the fewer */
            score =
                UINT64_MAX -
                ((uint64_t)board_server_sessions(upstreams->worker->board, server->number) << 20) /
                    weight_of(server);
        if (best < 0 || score > best_score) {
            best = (int)i;
            best_score = score;
        }
    }
    return best;
}

int upstreams_choose(struct upstreams *upstreams, unsigned upstream, const uint8_t client[16],
                     uint64_t tried)
{
    int server = choose(upstreams, upstream, client, tried, false);

    return server >= 0 ? server : choose(upstreams, upstream, client, tried, true);
}

/* ---- connections ---- */

int upstreams_connect(struct upstreams *upstreams, unsigned upstream, unsigned server,
                      struct address *ret_address)
{
    const struct conf_upstream *conf = &upstreams->worker->conf->upstreams[upstream];
    const struct address *address = &server_at(upstreams, upstream, server)->address;
    const struct address *source = NULL;

    for (size_t i = 0; i < conf->source_addresses.count && source == NULL; i++) {
        const struct address *next =
            &conf->source_addresses.items[upstreams->next_source++ % conf->source_addresses.count];
        if (next->any.sa_family == address->any.sa_family)
            source = next;
    }
    int fd = socket_connect(address, source);
    if (fd >= 0) {
        int one = 1;
        ignore(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
                          sizeof one)); /* the rest: upstreams_settle() */
        *ret_address = *address;
    }
    return fd;
}

void upstreams_settle(struct upstreams *upstreams, unsigned upstream, int fd)
{
    const struct conf_upstream *conf = &upstreams->worker->conf->upstreams[upstream];
    struct socket_options options = {.keepalive_s = conf->keepalive,
                                     .user_timeout_ms = conf->user_timeout};

    socket_tune(fd, &options);
}

void upstreams_count(struct upstreams *upstreams, unsigned upstream, unsigned server, int change)
{
    struct board_server *board =
        &upstreams->worker->board->servers[number_of(upstreams, upstream, server)];
    uint32_t *sessions = &board->sessions[upstreams->worker->setup.index];
    __atomic_store_n(sessions, *sessions + (uint32_t)change, __ATOMIC_RELAXED);
}

void upstreams_connected(struct upstreams *upstreams, unsigned upstream, unsigned server,
                         bool success, uint64_t duration_us)
{
    struct worker *worker = upstreams->worker;
    struct server *it = server_at(upstreams, upstream, server);

    if (success) {
        worker_count(worker, COUNTER_UPSTREAM_CONNECTS, 1);
        board_add(&board_of(it)->connects, 1);
        board_observe(&worker->self->histograms[HISTOGRAM_CONNECT], duration_us);
        it->avoid_until_ns = 0;
    } else {
        worker_count(worker, COUNTER_UPSTREAM_FAILURES, 1);
        board_add(&board_of(it)->connect_failures, 1);
        it->avoid_until_ns = loop_now(worker->loop) + AVOID_NS;
    }
}

void upstreams_address(struct upstreams *upstreams, const struct message_address *body)
{
    if (body->server >= CONF_SERVERS_MAX || upstreams->servers[body->server].upstream == NULL ||
        body->size == 0 || body->size > sizeof body->bytes)
        return;
    struct address *address = &upstreams->servers[body->server].address;
    uint16_t port = address_port(&upstreams->servers[body->server].conf->address);
    memcpy(&address->any, body->bytes, body->size);
    address->size = body->size;
    if (address_port(address) == 0)
        address_set_port(address, port);
}

/* ---- probes ---- */

static void report_health(struct server *server, bool healthy, const char *why)
{
    enum event_type type = healthy ? EVENT_UPSTREAM_UP : EVENT_UPSTREAM_DOWN;
    struct event *event = event_begin(&server->owner->worker->events, type);

    if (event == NULL)
        return;
    event->upstream = (uint16_t)server->upstream_index;
    event->server = (uint16_t)server->index;
    ignore(string_copy(event->detail, sizeof event->detail, why));
    event_end(&server->owner->worker->events, type);
}

static void probe_result(struct server *server, bool success, const char *why)
{
    struct board_server *board = board_of(server);
    bool healthy = __atomic_load_n(&board->healthy, __ATOMIC_RELAXED) != 0;

    server->rises = success ? server->rises + 1 : 0;
    server->falls = success ? 0 : server->falls + 1;
    __atomic_store_n(&board->failures, server->falls, __ATOMIC_RELAXED);
    if (!healthy && server->rises >= server->upstream->check_rise) {
        __atomic_store_n(&board->healthy, 1, __ATOMIC_RELAXED);
        report_health(server, true, "the health check succeeds again");
    } else if (healthy && server->falls >= server->upstream->check_fall) {
        __atomic_store_n(&board->healthy, 0, __ATOMIC_RELAXED);
        report_health(server, false, why);
    }
}

static void probe_done(struct server *server, bool success, const char *why)
{
    struct worker *worker = server->owner->worker;

    if (server->probe_fd >= 0) {
        loop_unwatch(worker->loop, server->probe_fd);
        ignore(close(server->probe_fd));
        server->probe_fd = -1;
    }
    probe_result(server, success, why);
    timer_set(worker->loop, &server->timer,
              loop_now(worker->loop) +
                  server->upstream->check_interval * worker->setup.workers * NS_PER_MS);
}

static void on_probe(void *context, uint64_t tag, unsigned events)
{
    struct upstreams *upstreams = context;
    struct server *server = &upstreams->servers[tag];
    (void)events;

    if (server->probe_fd < 0)
        return;
    int failure = socket_error(server->probe_fd);
    probe_done(server, failure == 0, failure == 0 ? "" : strerror(failure));
}

/* The timer means "probe now" when no probe is under way, else "it took too long". */
static void on_probe_timer(void *context)
{
    struct server *server = context;
    struct worker *worker = server->owner->worker;
    struct address address;

    if (server->probe_fd >= 0) {
        probe_done(server, false, "the health check timed out");
        return;
    }
    if (server->address.size == 0) {
        probe_done(server, false, "the server's name has no address");
        return;
    }
    server->probe_fd =
        upstreams_connect(server->owner, server->upstream_index, server->index, &address);
    if (server->probe_fd < 0) {
        int failure = -server->probe_fd;
        server->probe_fd = -1;
        probe_done(server, false, strerror(failure));
        return;
    }
    if (!loop_watch(worker->loop, server->probe_fd, LOOP_WRITE, server->owner->probe_handler,
                    server->number)) {
        probe_done(server, false, "the probe could not be watched");
        return;
    }
    timer_set(worker->loop, &server->timer,
              loop_now(worker->loop) + server->upstream->check_timeout * NS_PER_MS);
}

/* ---- life ---- */

static bool probed(const struct server *server)
{
    return server->upstream->check_interval != 0 && !server->upstream->retired &&
           !server->conf->retired;
}

static void arm_probe(struct server *server)
{
    struct worker *worker = server->owner->worker;

    /* Relays take turns: relay i begins i intervals later. */
    timer_set(worker->loop, &server->timer,
              loop_now(worker->loop) +
                  server->upstream->check_interval * worker->setup.index * NS_PER_MS);
}

static void stop_probe(struct server *server)
{
    struct loop *loop = server->owner->worker->loop;

    timer_cancel(loop, &server->timer);
    if (server->probe_fd >= 0) {
        loop_unwatch(loop, server->probe_fd);
        ignore(close(server->probe_fd));
        server->probe_fd = -1;
    }
}

static void server_init(struct upstreams *upstreams, unsigned upstream, unsigned index)
{
    struct worker *worker = upstreams->worker;
    const struct conf_upstream *conf = &worker->conf->upstreams[upstream];
    struct server *server = &upstreams->servers[conf->servers[index].number];
    uint32_t resolved;

    if (server->upstream != NULL)
        stop_probe(server);
    *server = (struct server){.upstream = conf,
                              .conf = &conf->servers[index],
                              .upstream_index = upstream,
                              .index = index,
                              .number = conf->servers[index].number,
                              .owner = upstreams,
                              .probe_fd = -1};
    if (server->conf->host == NULL)
        server->address = server->conf->address;
    else if (board_address_get(worker->board, server->number, &server->address.any, &resolved))
        server->address.size = resolved;
    timer_init(&server->timer, on_probe_timer, server);
    if (probed(server))
        arm_probe(server);
}

struct upstreams *upstreams_new(struct worker *worker)
{
    struct upstreams *upstreams = calloc(1, sizeof *upstreams);
    const struct conf *conf = worker->conf;

    if (upstreams == NULL)
        return NULL;
    upstreams->worker = worker;
    upstreams->servers = calloc(CONF_SERVERS_MAX, sizeof *upstreams->servers);
    if (upstreams->servers == NULL) {
        upstreams_free(upstreams);
        return NULL;
    }
    upstreams->probe_handler = loop_handler(worker->loop, on_probe, upstreams);
    for (unsigned i = 0; i < conf->upstream_count; i++) {
        for (unsigned j = 0; j < conf->upstreams[i].server_count; j++) {
            if (conf->upstreams[i].servers[j].name != NULL)
                server_init(upstreams, i, j);
        }
    }
    return upstreams;
}

/* The same server in another configuration: what is known of it stays, and a probe keeps its time,
 * so that frequent reloads do not put it off for ever. */
static void server_go_on(struct server *server, const struct conf_upstream *upstream,
                         const struct conf_server *conf, bool was_probed, uint64_t interval)
{
    server->upstream = upstream;
    server->conf = conf;
    if (!probed(server))
        stop_probe(server);
    else if (!was_probed)
        arm_probe(server);
    else if (interval != upstream->check_interval && server->probe_fd < 0)
        timer_set(server->owner->worker->loop, &server->timer,
                  loop_now(server->owner->worker->loop));
}

void upstreams_reload(struct upstreams *upstreams, const struct conf *before)
{
    const struct conf *conf = upstreams->worker->conf;
    bool there[CONF_SERVERS_MAX] = {false};

    for (unsigned i = 0; i < conf->upstream_count; i++) {
        const struct conf_upstream *upstream = &conf->upstreams[i];
        for (unsigned j = 0; j < upstream->server_count; j++) {
            const struct conf_server *next = &upstream->servers[j];
            if (next->name == NULL)
                continue;
            struct server *server = &upstreams->servers[next->number];
            there[next->number] = true;
            /* `before` is still whole: the pointers into it are good. */
            if (server->upstream != NULL && strcmp(server->conf->name, next->name) == 0 &&
                server->upstream_index == i)
                server_go_on(server, upstream, next, probed(server),
                             server->upstream->check_interval);
            else
                server_init(upstreams, i, j);
        }
    }
    for (unsigned i = 0; i < before->server_numbers; i++) {
        struct server *server = &upstreams->servers[i];
        if (there[i] || server->upstream == NULL)
            continue;
        stop_probe(server);
        server->upstream = NULL;
        server->conf = NULL;
    }
}

void upstreams_free(struct upstreams *upstreams)
{
    if (upstreams == NULL)
        return;
    free(upstreams->servers);
    free(upstreams);
}
