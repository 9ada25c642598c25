/* Jobs, and the first look of each: one connection that shakes hands with everything on offer, asks
 * for HTTP's headers where there is HTTP, and stays for the tickets that TLS 1.3 sends behind. */
#include "watch/prober.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/string.h"
#include "watch/http_head.h"
#include "watch/prober_internal.h"

#define FAREWELL_NS (1 * NS_PER_S) /* for tickets and the answer to close_notify */

struct prober {
    struct loop *loop;
    struct caller *caller;
    struct prober_job *jobs;
};

struct caller *prober_caller(const struct prober *prober)
{
    return prober->caller;
}

/* ---- jobs ---- */

static void job_free(struct prober_job *job)
{
    if (job->previous != NULL)
        job->previous->next = job->next;
    else
        job->prober->jobs = job->next;
    if (job->next != NULL)
        job->next->previous = job->previous;
    call_close(&job->call);
    probe_free(job->probe);
    probe_session_free(job->session);
    inventory_free(job->inventory);
    buffer_fini(&job->response);
    free(job);
}

void prober_finish(struct prober_job *job)
{
    prober_done_fn *done = job->done;
    struct endpoint *endpoint = job->endpoint;
    void *context = job->context;

    job_free(job);
    done(context, endpoint);
}

void prober_cancel(struct prober_job *job)
{
    if (job != NULL)
        job_free(job);
}

static bool wants_http(const struct prober_job *job)
{
    return job->endpoint->target.https && job->endpoint->key_type < 0;
}

struct probe_offer prober_offer(const struct prober_job *job)
{
    static const uint8_t http1[] = "\x08http/1.1";
    const struct endpoint *endpoint = job->endpoint;

    return (struct probe_offer){
        .server_name = endpoint->sni ? endpoint->name : NULL,
        .only_key_type = endpoint->key_type,
        .alpn = http1,
        .alpn_size = endpoint->target.https ? sizeof http1 - 1 : 0,
    };
}

void prober_send(struct prober_job *job)
{
    const uint8_t *data;
    size_t size = probe_output(job->probe, &data);

    call_send(&job->call, data, size);
    probe_sent(job->probe, size);
}

/* ---- the end of the first look ---- */

static void note_times(struct prober_job *job)
{
    struct endpoint_times *times = &job->endpoint->times;
    const struct call *call = &job->call;

    if (call->connected_ns != 0)
        times->connect = call->connected_ns - call->began_ns;
    if (call->opened_ns != 0 && job->endpoint->target.protocol != TARGET_TLS)
        times->starttls = call->opened_ns - call->connected_ns;
    if (job->shaken_ns != 0)
        times->handshake = job->shaken_ns - call->opened_ns;
}

/* Whoever hears no good-bye thinks the connection cut, and forgets the session. */
static void take_seen(struct prober_job *job)
{
    if (job->probe == NULL)
        return;
    probe_close(job->probe);
    prober_send(job);
    job->session = probe_session(job->probe);
    probe_take(job->probe, &job->endpoint->seen);
    probe_free(job->probe);
    job->probe = NULL;
}

/* The connection is over; there may be others. */
static void look_over(struct prober_job *job, enum endpoint_outcome outcome)
{
    job->endpoint->outcome = outcome;
    note_times(job);
    take_seen(job);
    call_close(&job->call);
    if (inventory_wanted(job))
        inventory_start(job);
    else
        prober_finish(job);
}

/* ---- HTTP ---- */

/* A name that stands in a URL; the port when it is not the usual one. */
static void put_host(struct buffer *request, const struct endpoint *endpoint)
{
    const char *name = endpoint->name[0] != '\0' ? endpoint->name : endpoint->target.host;

    buffer_printf(request, strchr(name, ':') != NULL ? "[%s]" : "%s", name);
    if (endpoint->target.port != 443)
        buffer_printf(request, ":%u", endpoint->target.port);
}

static void ask_http(struct prober_job *job)
{
    struct endpoint *endpoint = job->endpoint;
    struct buffer request;

    buffer_init(&request, 2048);
    buffer_printf(&request, "GET %s HTTP/1.1\r\nHost: ",
                  endpoint->target.path[0] == '/' ? endpoint->target.path : "/");
    put_host(&request, endpoint);
    buffer_append_text(&request, "\r\nUser-Agent: holdfast-check\r\nAccept: */*\r\n"
                                 "Connection: close\r\n\r\n");
    endpoint->http.asked = true;
    if (!request.failed)
        ignore(probe_write(job->probe, request.data, request.size));
    buffer_fini(&request);
    prober_send(job);
}

/* ---- after the handshake ---- */

/* Reads what has come; false: nothing more will. */
static bool read_on(struct prober_job *job)
{
    uint8_t data[4096];
    long got;

    while ((got = probe_read(job->probe, data, sizeof data)) > 0) {
        if (wants_http(job))
            buffer_append(&job->response, data, (size_t)got);
    }
    return got == 0;
}

static void go_on(struct prober_job *job)
{
    bool more = read_on(job);

    if (wants_http(job)) {
        const struct buffer *response = &job->response;
        enum http_head_status status =
            http_head_read(response->data, response->size, &job->endpoint->http);
        if (status != HTTP_HEAD_MORE || response->failed)
            more = false;
        if (status == HTTP_HEAD_DONE)
            job->endpoint->times.http = clock_monotonic_ns() - job->shaken_ns;
    }
    if (!more)
        look_over(job, ENDPOINT_SEEN);
}

/* TLS 1.3 sends its tickets, and what it thinks of a client without a certificate, behind the
 * handshake: good-bye is said, and the answer awaited. */
static void say_goodbye(struct prober_job *job)
{
    probe_close(job->probe);
    prober_send(job);
    call_finish(&job->call);
    if (job->call.timeout_ns > FAREWELL_NS)
        call_deadline(&job->call, FAREWELL_NS);
}

static void shaken(struct prober_job *job)
{
    job->over = true;
    job->shaken_ns = clock_monotonic_ns();
    call_deadline(&job->call, job->call.timeout_ns);
    if (wants_http(job))
        ask_http(job);
    else
        say_goodbye(job);
    if (wants_http(job) || (probe_tickets_follow(job->probe) && job->endpoint->key_type < 0))
        go_on(job);
    else
        look_over(job, ENDPOINT_SEEN);
}

/* ---- events of the first look ---- */

/* A server that refuses for want of a client certificate has shown all that it has. */
static void handshake_failed(struct prober_job *job)
{
    struct endpoint *endpoint = job->endpoint;
    const struct probe_seen *seen = &endpoint->seen;

    take_seen(job);
    string_copy(endpoint->reason, sizeof endpoint->reason, seen->reason);
    endpoint->stage = seen->stage;
    look_over(job, seen->client_certificate_required ? ENDPOINT_SEEN
                   : seen->not_tls                   ? ENDPOINT_NOT_TLS
                                                     : ENDPOINT_HANDSHAKE_FAILED);
}

static void handshake_timed_out(struct prober_job *job)
{
    struct endpoint *endpoint = job->endpoint;

    take_seen(job);
    endpoint->stage = endpoint->seen.stage;
    ignore(snprintf(endpoint->reason, sizeof endpoint->reason, "%s within %g s",
                    endpoint->seen.reason, (double)job->call.timeout_ns / (double)NS_PER_S));
    look_over(job, ENDPOINT_TIMEOUT);
}

static void advance(struct prober_job *job, enum probe_status status)
{
    switch (status) {
    case PROBE_WANT_READ:
        prober_send(job);
        return;
    case PROBE_DONE: /* what it says next goes out with its Finished */
        shaken(job);
        return;
    case PROBE_FAILED:
        handshake_failed(job);
        return;
    }
}

static void look_opened(void *context)
{
    struct prober_job *job = context;
    struct probe_offer offer = prober_offer(job);
    struct error error = {0};

    offer.trace = job->options->trace;
    offer.chain_room = job->endpoint->chain_room;
    if (probe_new(&job->probe, &offer, &error) != 0) {
        string_copy(job->endpoint->reason, sizeof job->endpoint->reason, error.message);
        job->endpoint->stage = "handshake";
        look_over(job, ENDPOINT_LOCAL_FAILURE);
        return;
    }
    advance(job, probe_feed(job->probe, NULL, 0));
}

static void look_received(void *context, const uint8_t *data, size_t size)
{
    struct prober_job *job = context;
    enum probe_status status = probe_feed(job->probe, data, size);

    if (job->over)
        go_on(job);
    else
        advance(job, status);
}

static void look_ended(void *context, enum call_end end)
{
    struct prober_job *job = context;
    struct endpoint *endpoint = job->endpoint;
    char how[sizeof job->call.reason + 32];

    if (end == CALL_FAILED) {
        endpoint->stage = job->call.stage;
        string_copy(endpoint->reason, sizeof endpoint->reason, job->call.reason);
        look_over(job, job->call.outcome);
    } else if (job->over) {
        look_over(job, ENDPOINT_SEEN);
    } else if (end == CALL_TIMED_OUT) {
        handshake_timed_out(job);
    } else {
        ignore(snprintf(how, sizeof how, "the connection %s%s",
                        end == CALL_CLOSED ? "was closed" : "broke: ", job->call.reason));
        advance(job, probe_end(job->probe, how));
    }
}

/* ---- all of it ---- */

struct prober *prober_new(struct loop *loop)
{
    struct prober *prober = calloc(1, sizeof *prober);

    if (prober == NULL)
        return NULL;
    prober->loop = loop;
    prober->caller = caller_new(loop);
    if (prober->caller == NULL) {
        free(prober);
        return NULL;
    }
    return prober;
}

void prober_free(struct prober *prober)
{
    if (prober == NULL)
        return;
    while (prober->jobs != NULL)
        job_free(prober->jobs);
    caller_free(prober->caller);
    free(prober);
}

struct prober_job *prober_start(struct prober *prober, struct endpoint *endpoint,
                                const struct checker_options *options, prober_done_fn *done,
                                void *context)
{
    static const struct call_events look = {look_opened, look_received, look_ended};
    struct prober_job *job = calloc(1, sizeof *job);

    if (job == NULL)
        return NULL;
    *job = (struct prober_job){.prober = prober,
                               .next = prober->jobs,
                               .endpoint = endpoint,
                               .options = options,
                               .done = done,
                               .context = context};
    if (job->next != NULL)
        job->next->previous = job;
    prober->jobs = job;
    buffer_init(&job->response, HTTP_HEAD_MAX);
    call_open(&job->call, prober->caller, endpoint, options->timeout_ms, &look, job);
    return job;
}
