#include "demo/clients.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/string.h"
#include "conf/conf.h"
#include "demo/client_session.h"

#define HANDSHAKES_AT_ONCE 32
#define PROBE_NS           (25 * NS_PER_MS) /* between new connections that look at the certificate */
#define FINISH_NS          (3 * NS_PER_S)
#define KILL_NS            (10 * NS_PER_MS) /* a kill begins, a relay is dead */

struct clients {
    const struct clients_options *options;
    struct scoreboard *board;
    struct loop *loop;
    struct client_pool pool; /* the last one is the prober */
    struct timer probe_timer, finish_timer;
    uint64_t probe_ns; /* when the probe under way began */
    uint32_t started, standing;
    uint8_t leaf[32];
    bool leaf_known;
    bool stopping;
};

static struct client_session *prober(struct clients *clients)
{
    return &clients->pool.sessions[clients->options->sessions];
}

static void count_session(struct clients *clients, const struct client_session *session, int change)
{
    uint32_t *field = &clients->board->sessions[session->version];

    __atomic_store_n(field, *field + (uint32_t)change, __ATOMIC_RELAXED);
    clients->standing += (uint32_t)change;
}

static void count_loss(struct clients *clients, const char *why)
{
    scoreboard_fault(clients->board, &clients->board->lost, why);
}

/* Keeps a few handshakes under way until every session has been started. */
static void start_more(struct clients *clients)
{
    while (clients->started < clients->options->sessions &&
           clients->started < clients->standing + HANDSHAKES_AT_ONCE && !clients->stopping) {
        struct client_session *session = &clients->pool.sessions[clients->started++];
        session->version = session->number % 2 == 0 ? DEMO_TLS_1_2 : DEMO_TLS_1_3;
        if (!client_start(session, clients->options->ports[session->version]))
            count_loss(clients, "a connection could not be made");
    }
}

/* ---- the prober ---- */

static void probe(void *context)
{
    struct clients *clients = context;
    struct client_session *session = prober(clients);

    session->quiet = true;
    clients->probe_ns = clock_monotonic_ns();
    if (!client_start(session, clients->options->ports[DEMO_TLS_1_3]))
        count_loss(clients, "a new connection could not be made");
}

static void probe_again(struct clients *clients)
{
    if (!clients->stopping)
        timer_set(clients->loop, &clients->probe_timer, clock_monotonic_ns() + PROBE_NS);
}

static void probed(struct clients *clients, struct client_session *session)
{
    uint8_t leaf[32];

    if (!handshake_peer_fingerprint(session->handshake, leaf)) {
        count_loss(clients, "a handshake without a certificate");
    } else if (!clients->leaf_known) {
        memcpy(clients->leaf, leaf, sizeof leaf);
        clients->leaf_known = true;
    } else if (memcmp(clients->leaf, leaf, sizeof leaf) != 0) {
        memcpy(clients->leaf, leaf, sizeof leaf);
        scoreboard_set(&clients->board->seen_delay_ns,
                       clock_monotonic_ns() -
                           scoreboard_get(&clients->board->begun_ns[CHANGE_CERTIFICATE]));
        scoreboard_add(&clients->board->seen, 1);
    }
}

/* A connection as young as a probe is not registered yet and dies with its relay: that is the
 * kill's doing, no loss. */
static bool killed_meanwhile(const struct clients *clients)
{
    return scoreboard_get(&clients->board->begun_ns[CHANGE_KILL]) + KILL_NS >= clients->probe_ns;
}

/* ---- what sessions report ---- */

static void on_opened(void *context, struct client_session *session)
{
    struct clients *clients = context;

    if (session == prober(clients)) {
        probed(clients, session);
        return;
    }
    count_session(clients, session, 1);
    if (clients->standing == clients->options->sessions)
        __atomic_store_n(&clients->board->complete, 1, __ATOMIC_RELEASE);
    start_more(clients);
}

static void on_lost(void *context, struct client_session *session, bool was_open, const char *why)
{
    struct clients *clients = context;

    if (session == prober(clients)) {
        if (!killed_meanwhile(clients))
            count_loss(clients, why);
        probe_again(clients);
        return;
    }
    count_loss(clients, why);
    if (was_open)
        count_session(clients, session, -1);
}

static void finish(void *context)
{
    struct clients *clients = context;

    for (uint32_t i = 0; i < clients->pool.count; i++) {
        if (clients->pool.sessions[i].waiting)
            count_loss(clients, "a message did not come back before the end");
        client_end(&clients->pool.sessions[i]);
    }
    loop_stop(clients->loop, 0);
}

static bool any_waiting(const struct clients *clients)
{
    for (uint32_t i = 0; i < clients->options->sessions; i++) {
        if (clients->pool.sessions[i].waiting)
            return true;
    }
    return false;
}

static void on_answered(void *context, struct client_session *session, uint64_t latency_ns)
{
    struct clients *clients = context;

    scoreboard_add(&clients->board->messages, 1);
    /* The storm of handshakes at the start would stay in the percentiles for ever. */
    if (clients->board->complete != 0)
        scoreboard_latency(clients->board, latency_ns);
    if (clients->stopping)
        timer_cancel(clients->loop, &session->timer);
}

/* A session may not be ended inside its own callback: the prober's end, and ours, come after the
 * batch. */
static void after_batch(void *context)
{
    struct clients *clients = context;

    if (prober(clients)->phase == CLIENT_OPEN) {
        client_end(prober(clients));
        probe_again(clients);
    }
    if (clients->stopping && !any_waiting(clients) && clients->finish_timer.position != 0) {
        timer_cancel(clients->loop, &clients->finish_timer);
        finish(clients);
    }
}

/* No new messages; those under way may come back. */
static void on_stop(void *context, int signal_number)
{
    struct clients *clients = context;
    (void)signal_number;

    if (clients->stopping)
        return;
    clients->stopping = true;
    timer_cancel(clients->loop, &clients->probe_timer);
    for (uint32_t i = 0; i < clients->options->sessions; i++) {
        if (!clients->pool.sessions[i].waiting)
            timer_cancel(clients->loop, &clients->pool.sessions[i].timer);
    }
    timer_set(clients->loop, &clients->finish_timer, clock_monotonic_ns() + FINISH_NS);
}

static int serve(struct clients *clients)
{
    struct client_pool *pool = &clients->pool;

    if (!client_pool_init(pool, clients->loop, pool->tls, clients->options->sessions + 1))
        return 1;
    pool->context = clients;
    pool->events =
        (struct client_events){.opened = on_opened, .lost = on_lost, .answered = on_answered};
    timer_init(&clients->probe_timer, probe, clients);
    timer_init(&clients->finish_timer, finish, clients);
    loop_after_batch(clients->loop, after_batch, clients);
    if (!loop_signal(clients->loop, SIGTERM, on_stop, clients))
        return 1;
    start_more(clients);
    probe(clients);
    return loop_run(clients->loop);
}

static int trust(struct clients *clients, struct error *error)
{
    char *pem = NULL;
    int result = conf_read(&pem, clients->options->trust_path, error);

    if (result == 0) {
        struct tls_client_policy policy = {.trust_pem = pem, .verify = true, .only_key_type = -1};
        result = tls_client_new(&clients->pool.tls, &policy, error);
    }
    free(pem);
    return result;
}

int clients_run(const struct clients_options *options)
{
    struct clients clients = {.options = options, .board = options->board, .loop = loop_new()};
    struct error error = {.message = "no event loop"};
    int code = 1;

    if (clients.loop == NULL || trust(&clients, &error) < 0)
        count_loss(&clients, error.message);
    else
        code = serve(&clients);
    client_pool_fini(&clients.pool);
    tls_client_unref(clients.pool.tls);
    loop_free(clients.loop);
    return code;
}
