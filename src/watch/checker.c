/* A target becomes a *run*: it waits for its turn, is resolved, and has one *visit* per endpoint.
 * Runs in work are as few as connections, so that thousands of targets cost little more than their
 * text; visits wait for the limits of all connections and of one host.
 *
 * What key types an address has is asked with two handshakes: one that takes any, and one that
 * takes only the other type. */
#include "watch/checker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/string.h"
#include "loop/descriptors.h"
#include "watch/judge.h"
#include "watch/mail_runs.h"
#include "watch/prober.h"

#define CONNECTIONS_DEFAULT 200
#define PER_HOST_DEFAULT    8
#define DESCRIPTORS_OTHER   112 /* 64 of them for documents (net/http_client.c) */
#define RESOLVE_TIMEOUT_MS  10000
#define ENDPOINTS_MAX       512 /* of one target */
/* Bytes of certificates that are kept of one target: what becomes of them takes ten times that. */
#define CHAINS_SIZE_MAX (8u << 20)
#define RESOLVERS_MAX   64

/* An IP address that visits are about. */
struct host {
    unsigned visits, running;
};

struct visit {
    struct run *run;
    struct visit *sibling; /* the next one of the run */
    struct visit *next;    /* in the queue */
    struct endpoint *endpoint;
    struct prober_job *job; /* NULL: waiting, or over */
    struct revocation_job *preparing;
    struct host *host; /* NULL: it goes nowhere */
    bool second;       /* asks for the other key type */
};

struct run {
    struct checker *checker;
    struct run *previous, *next;
    const struct checker_options *options;
    struct target target;
    checker_done_fn *done;
    void *context;
    struct names_question *question;
    uint64_t began_ns, resolved_ns;
    struct visit *visits, *visits_last;
    size_t visit_count, open; /* open: not over yet */
    size_t chain_room;
};

struct checker {
    struct loop *loop;
    struct checker_options options;
    struct map resolvers; /* name servers, "" for the system's → struct names */
    struct prober *prober;
    struct http_client *http;
    struct revocation *revocation;
    struct run *waiting, *waiting_last; /* singly linked by `next` */
    struct run *working;                /* doubly linked */
    struct visit *first, *last;         /* visits that wait */
    struct map hosts;                   /* IP address → struct host */
    struct timer turn;                  /* something can begin or is over */
    size_t pending, working_count, running;
    struct mail_runs mail;
};

/* ---- visits ---- */

static const char *host_key(char key[ADDRESS_TEXT_MAX], const struct address *address)
{
    struct address without_port = *address;

    address_set_port(&without_port, 0);
    return address_format(key, ADDRESS_TEXT_MAX, &without_port);
}

static struct host *host_take(struct checker *checker, const struct address *address)
{
    char key[ADDRESS_TEXT_MAX];
    struct host *host = map_get(&checker->hosts, host_key(key, address));

    if (host == NULL) {
        host = calloc(1, sizeof *host);
        if (host == NULL || !map_put(&checker->hosts, key, host)) {
            free(host);
            return NULL;
        }
    }
    host->visits++;
    return host;
}

static void host_leave(struct checker *checker, struct visit *visit)
{
    char key[ADDRESS_TEXT_MAX];

    if (visit->host == NULL || --visit->host->visits > 0)
        return;
    ignore(map_remove(&checker->hosts, host_key(key, &visit->endpoint->address)) != NULL);
    free(visit->host);
}

static void visit_free(struct visit *visit)
{
    prober_cancel(visit->job);
    revocation_cancel(visit->preparing);
    host_leave(visit->run->checker, visit);
    endpoint_free(visit->endpoint);
    free(visit);
}

static struct visit *visit_add(struct run *run)
{
    if (run->visit_count == ENDPOINTS_MAX)
        return NULL;
    struct visit *visit = calloc(1, sizeof *visit);
    if (visit == NULL || (visit->endpoint = endpoint_new(&run->target)) == NULL) {
        free(visit);
        return NULL;
    }
    visit->run = run;
    visit->endpoint->chain_room = &run->chain_room;
    if (run->options->vantage != NULL)
        visit->endpoint->vantage = run->options->vantage;
    visit->endpoint->times.resolve = run->resolved_ns - run->began_ns;
    if (run->visits_last != NULL)
        run->visits_last->sibling = visit;
    else
        run->visits = visit;
    run->visits_last = visit;
    run->visit_count++;
    run->open++;
    return visit;
}

static void enqueue(struct checker *checker, struct visit *visit)
{
    if (checker->last != NULL)
        checker->last->next = visit;
    else
        checker->first = visit;
    checker->last = visit;
}

static void wake(struct checker *checker)
{
    timer_set(checker->loop, &checker->turn, loop_now(checker->loop));
}

/* The name that is asked for and judged by. */
static void name_endpoint(struct endpoint *endpoint, const struct run *run, bool sni)
{
    bool given = run->options->name != NULL;

    string_copy(endpoint->name, sizeof endpoint->name,
                given ? run->options->name : run->target.host);
    endpoint->sni = sni && (given || !run->target.is_address);
}

static struct visit *visit_address(struct run *run, const struct address *address, bool sni)
{
    struct visit *visit = visit_add(run);

    if (visit == NULL)
        return NULL;
    name_endpoint(visit->endpoint, run, sni);
    visit->endpoint->address = *address;
    if (address_port(address) == 0)
        address_set_port(&visit->endpoint->address, run->target.port);
    address_format(visit->endpoint->address_text, sizeof visit->endpoint->address_text,
                   &visit->endpoint->address);
    visit->host = host_take(run->checker, &visit->endpoint->address);
    enqueue(run->checker, visit);
    return visit;
}

/* An endpoint that came to nothing before there was an address. */
static void visit_nowhere(struct run *run, enum endpoint_outcome outcome, const char *stage,
                          const char *reason)
{
    struct visit *visit = visit_add(run);

    if (visit == NULL)
        return;
    name_endpoint(visit->endpoint, run, true);
    visit->endpoint->outcome = outcome;
    visit->endpoint->stage = stage;
    string_copy(visit->endpoint->reason, sizeof visit->endpoint->reason, reason);
    judge_findings(visit->endpoint, run->options);
    run->open--;
}

/* ---- the end of visits ---- */

static int key_type_seen(const struct endpoint *endpoint)
{
    if (endpoint->seen.chain_count == 0)
        return -1;
    switch (endpoint->seen.chain[0]->key_kind) {
    case PUBLIC_KEY_RSA:
    case PUBLIC_KEY_RSA_PSS:
        return KEY_TYPE_RSA;
    case PUBLIC_KEY_EC:
        return KEY_TYPE_ECDSA;
    case PUBLIC_KEY_ED25519:
    case PUBLIC_KEY_ED448:
    case PUBLIC_KEY_DSA:
    case PUBLIC_KEY_OTHER:
        break;
    }
    return -1;
}

static void ask_for_other_key_type(struct visit *visit)
{
    int seen = key_type_seen(visit->endpoint);

    if (visit->endpoint->outcome != ENDPOINT_SEEN || seen < 0)
        return;
    visit->endpoint->key_type = seen;
    struct visit *other = visit_address(visit->run, &visit->endpoint->address, true);
    if (other == NULL)
        return;
    other->endpoint->key_type = seen == KEY_TYPE_RSA ? KEY_TYPE_ECDSA : KEY_TYPE_RSA;
    other->second = true;
}

static void visit_over(struct visit *visit)
{
    visit->run->open--;
    wake(visit->run->checker);
}

static void prepared(void *context, struct endpoint *endpoint)
{
    struct visit *visit = context;

    visit->preparing = NULL;
    judge_findings(endpoint, visit->run->options);
    visit_over(visit);
}

static void judge(struct visit *visit)
{
    const struct checker_options *options = visit->run->options;
    const struct revocation_order order = {.crls = options->fetch_crls,
                                           .intermediates = options->browser,
                                           .renewal = options->fetch_renewal_information,
                                           .at = options->policy.at,
                                           .crl_files =
                                               (const struct crl_file *const *)options->crl_files,
                                           .crl_file_count = options->crl_file_count,
                                           .renewal_directory = options->renewal_directory,
                                           .logs = options->policy.logs};

    judge_trust(visit->endpoint, options);
    visit->preparing = revocation_prepare(visit->run->checker->revocation, visit->endpoint, &order,
                                          prepared, visit);
    if (visit->preparing == NULL) /* out of memory: the checks know less */
        prepared(visit, visit->endpoint);
}

static void visited(struct visit *visit)
{
    /* A server without a certificate of the other type says so by an alert, or shows the one that
     * it has; one that has shown such a certificate is judged, however it went on. */
    if (visit->second && key_type_seen(visit->endpoint) != visit->endpoint->key_type) {
        visit->endpoint->outcome = ENDPOINT_NO_CERTIFICATE;
        visit_over(visit);
    } else {
        judge(visit);
    }
}

static void probed(void *context, struct endpoint *endpoint)
{
    struct visit *visit = context;
    struct checker *checker = visit->run->checker;

    visit->job = NULL;
    checker->running--;
    if (visit->host != NULL)
        visit->host->running--;
    if (!visit->second && endpoint->sni == visit->run->visits->endpoint->sni)
        ask_for_other_key_type(visit);
    visited(visit);
}

static void start_visit(struct checker *checker, struct visit *visit)
{
    const struct checker_options *options = visit->run->options;

    visit->job = prober_start(checker->prober, visit->endpoint, options, probed, visit);
    if (visit->job == NULL) {
        visit->endpoint->outcome = ENDPOINT_LOCAL_FAILURE;
        visit->endpoint->stage = "start";
        string_copy(visit->endpoint->reason, sizeof visit->endpoint->reason, "out of memory");
        visited(visit);
        return;
    }
    checker->running++;
    if (visit->host != NULL)
        visit->host->running++;
}

static void start_visits(struct checker *checker)
{
    struct visit **link = &checker->first, *previous = NULL;

    while (*link != NULL && checker->running < checker->options.connections_max) {
        struct visit *visit = *link;
        if (visit->host != NULL && visit->host->running >= checker->options.per_host_max) {
            previous = visit;
            link = &visit->next;
            continue;
        }
        *link = visit->next;
        if (checker->last == visit)
            checker->last = previous;
        visit->next = NULL;
        start_visit(checker, visit);
    }
}

/* ---- runs ---- */

static void unlink_run(struct run *run)
{
    if (run->previous != NULL)
        run->previous->next = run->next;
    else
        run->checker->working = run->next;
    if (run->next != NULL)
        run->next->previous = run->previous;
    run->checker->working_count--;
}

/* Forgets the visits, but not the endpoints that are handed over. */
static void give_visits(struct run *run)
{
    struct visit *next;

    for (struct visit *visit = run->visits; visit != NULL; visit = next) {
        next = visit->sibling;
        host_leave(run->checker, visit);
        if (visit->endpoint->outcome == ENDPOINT_NO_CERTIFICATE)
            endpoint_free(visit->endpoint);
        free(visit);
    }
}

/* Hands the endpoints over and forgets the run. */
static void finish_run(struct run *run)
{
    struct endpoint *endpoints[ENDPOINTS_MAX];
    size_t count = 0;

    unlink_run(run);
    run->checker->pending--;
    for (struct visit *visit = run->visits; visit != NULL; visit = visit->sibling) {
        if (visit->endpoint->outcome != ENDPOINT_NO_CERTIFICATE)
            endpoints[count++] = visit->endpoint;
        visit->endpoint->chain_room = NULL;
    }
    check_consistency(endpoints, count);
    give_visits(run);
    run->done(run->context, &run->target, endpoints, count);
    free(run);
}

static int read_target(struct endpoint *endpoint, const struct run *run, struct error *error)
{
    const struct checker_file *file = run->options->file;

    if (file == NULL)
        return certificate_facts_read(endpoint->seen.chain, CHAIN_SERVED_MAX,
                                      &endpoint->seen.chain_count, run->target.host,
                                      run->options->file_password, error);
    if (file->trouble != NULL)
        return error_set(error, ERROR_IO, "%s", file->trouble);
    for (size_t i = 0; i < file->count; i++)
        endpoint->seen.chain[i] = certificate_facts_ref(file->certificates[i]);
    endpoint->seen.chain_count = file->count;
    return 0;
}

static void visit_file(struct run *run)
{
    struct visit *visit = visit_add(run);
    struct error error = {0};

    if (visit == NULL)
        return;
    struct endpoint *endpoint = visit->endpoint;
    endpoint->vantage = "file";
    string_copy(endpoint->address_text, sizeof endpoint->address_text, run->target.host);
    if (run->options->name != NULL)
        string_copy(endpoint->name, sizeof endpoint->name, run->options->name);
    if (read_target(endpoint, run, &error) != 0) {
        endpoint->outcome = ENDPOINT_UNREADABLE;
        endpoint->stage = "file";
        string_copy(endpoint->reason, sizeof endpoint->reason, error.message);
    }
    judge(visit);
}

static void visit_addresses(struct run *run, const struct address *address)
{
    ignore(visit_address(run, address, true) != NULL);
    if (run->options->without_sni && !run->target.is_address)
        ignore(visit_address(run, address, false) != NULL);
}

static void resolved(void *context, const struct names_answer *answer)
{
    struct run *run = context;

    run->question = NULL;
    run->resolved_ns = clock_monotonic_ns();
    if (answer->outcome == NAMES_FOUND) {
        for (size_t i = 0; i < answer->count; i++)
            visit_addresses(run, &answer->addresses[i]);
    } else {
        visit_nowhere(
            run, answer->outcome == NAMES_FAILED ? ENDPOINT_RESOLVER_FAILED : ENDPOINT_NOT_RESOLVED,
            "resolve", answer->reason);
    }
    wake(run->checker);
}

static void visit_pinned(struct run *run)
{
    for (size_t i = 0; i < run->options->connect_count; i++)
        visit_addresses(run, &run->options->connect[i]);
}

static void visit_literal(struct run *run)
{
    struct address address;
    struct error error;
    char text[TARGET_HOST_MAX + 16];

    snprintf(text, sizeof text, strchr(run->target.host, ':') != NULL ? "[%s]:%u" : "%s:%u",
             run->target.host, run->target.port);
    if (address_parse(&address, text, &error) == 0)
        visit_addresses(run, &address);
    else
        visit_nowhere(run, ENDPOINT_NOT_RESOLVED, "resolve", error.message);
}

static void visit_resolved(struct run *run)
{
    struct error error = {.message = "out of memory"};
    struct names *names = checker_names(run->checker, run->options->name_servers, &error);

    if (names != NULL)
        run->question =
            names_addresses(names, run->target.host, run->options->family, resolved, run);
    if (run->question == NULL)
        visit_nowhere(run, ENDPOINT_LOCAL_FAILURE, "resolve", error.message);
}

static void begin_run(struct run *run)
{
    run->began_ns = run->resolved_ns = clock_monotonic_ns();
    if (run->target.kind == TARGET_FILE) {
        visit_file(run);
    } else if (run->options->connect_count > 0) {
        visit_pinned(run);
    } else if (run->target.is_address) {
        visit_literal(run);
    } else {
        visit_resolved(run);
    }
}

static void begin_runs(struct checker *checker)
{
    while (checker->waiting != NULL && checker->working_count < checker->options.connections_max) {
        struct run *run = checker->waiting;
        checker->waiting = run->next;
        if (checker->waiting == NULL)
            checker->waiting_last = NULL;
        run->next = checker->working;
        if (run->next != NULL)
            run->next->previous = run;
        checker->working = run;
        checker->working_count++;
        begin_run(run);
    }
}

static void finish_runs(struct checker *checker)
{
    struct run *next;

    for (struct run *run = checker->working; run != NULL; run = next) {
        next = run->next;
        if (run->open == 0 && run->question == NULL)
            finish_run(run);
    }
}

static void take_turn(void *context)
{
    struct checker *checker = context;

    begin_runs(checker);
    start_visits(checker);
    finish_runs(checker);
    if (checker->waiting != NULL && checker->working_count < checker->options.connections_max)
        wake(checker);
}

/* ---- resolvers ---- */

struct names *checker_names(struct checker *checker, const char *servers, struct error *error)
{
    const struct names_options options = {.servers = servers,
                                          .timeout_ms = RESOLVE_TIMEOUT_MS,
                                          .questions_max = checker->options.connections_max};
    const char *key = servers != NULL ? servers : "";
    struct names *names = map_get(&checker->resolvers, key);

    if (names != NULL)
        return names;
    if (checker->resolvers.count == RESOLVERS_MAX) {
        ignore(error_set(error, ERROR_LIMIT, "more than %d different lists of name servers",
                         RESOLVERS_MAX));
        return NULL;
    }
    if (names_new(&names, checker->loop, &options, error) != 0)
        return NULL;
    if (!map_put(&checker->resolvers, key, names)) {
        names_free(names);
        ignore(error_set(error, ERROR_MEMORY, "out of memory"));
        return NULL;
    }
    return names;
}

static void free_resolvers(struct checker *checker)
{
    const struct map_entry *entry;

    for (size_t at = 0; (entry = map_next(&checker->resolvers, &at)) != NULL;)
        names_free(entry->value);
    map_fini(&checker->resolvers);
}

/* ---- all of it ---- */

unsigned checker_connections_possible(void)
{
    uint64_t limit = descriptors_raise();
    uint64_t room = limit > 2 * DESCRIPTORS_OTHER ? limit - DESCRIPTORS_OTHER : limit / 2;

    return room == 0 ? 1 : room < UINT16_MAX ? (unsigned)room : UINT16_MAX;
}

int checker_new(struct checker **ret_checker, struct loop *loop,
                const struct checker_options *options, struct error *error)
{
    struct checker *checker = calloc(1, sizeof *checker);

    if (checker == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    checker->loop = loop;
    checker->options = *options;
    if (options->connections_max == 0)
        checker->options.connections_max = CONNECTIONS_DEFAULT;
    if (options->per_host_max == 0)
        checker->options.per_host_max = PER_HOST_DEFAULT;
    map_init(&checker->hosts);
    map_init(&checker->resolvers);
    timer_init(&checker->turn, take_turn, checker);
    int result =
        checker_names(checker, options->name_servers, error) == NULL ? -(int)error->code : 0;
    if (result == 0 && (checker->prober = prober_new(loop)) == NULL)
        result = error_set(error, ERROR_MEMORY, "out of memory");
    if (result == 0)
        result = http_client_new(&checker->http, loop, error);
    if (result == 0)
        result = revocation_new(&checker->revocation, loop, checker->http,
                                &checker->options.revocation, error);
    if (result != 0) {
        checker_free(checker);
        return result;
    }
    checker->mail = (struct mail_runs){.checker = checker, .http = checker->http};
    *ret_checker = checker;
    return 0;
}

static void run_free(struct run *run)
{
    struct visit *next;

    names_cancel(run->question);
    for (struct visit *visit = run->visits; visit != NULL; visit = next) {
        next = visit->sibling;
        visit_free(visit);
    }
    free(run);
}

void checker_free(struct checker *checker)
{
    struct run *next;

    if (checker == NULL)
        return;
    timer_cancel(checker->loop, &checker->turn);
    mail_runs_fini(&checker->mail);
    for (struct run *run = checker->waiting; run != NULL; run = next) {
        next = run->next;
        run_free(run);
    }
    for (struct run *run = checker->working; run != NULL; run = next) {
        next = run->next;
        run_free(run);
    }
    map_fini(&checker->hosts);
    prober_free(checker->prober);
    revocation_free(checker->revocation);
    http_client_free(checker->http);
    free_resolvers(checker);
    free(checker);
}

bool checker_add(struct checker *checker, const struct target *target,
                 const struct checker_options *options, checker_done_fn *done, void *context)
{
    if (options == NULL)
        options = &checker->options;
    if (target->kind == TARGET_MX)
        return mail_runs_add(&checker->mail, target, options, done, context);
    struct run *run = calloc(1, sizeof *run);
    if (run == NULL)
        return false;
    *run = (struct run){.checker = checker,
                        .options = options,
                        .chain_room = CHAINS_SIZE_MAX,
                        .target = *target,
                        .done = done,
                        .context = context};
    if (checker->waiting_last != NULL)
        checker->waiting_last->next = run;
    else
        checker->waiting = run;
    checker->waiting_last = run;
    checker->pending++;
    wake(checker);
    return true;
}

void checker_recalled(struct checker *checker, const char *key, const struct document_copy *copy)
{
    revocation_recalled(checker->revocation, key, copy);
}

size_t checker_pending(const struct checker *checker)
{
    return checker->pending + checker->mail.count;
}
