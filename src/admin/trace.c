#include "admin/trace.h"

#include <string.h>

#include "base/json.h"
#include "base/string.h"

int trace_filter_parse(struct trace_filter *ret_filter, const json_t *request, struct error *error)
{
    struct trace_filter filter = {.by_client = false};
    bool wrong = false;
    const char *client = json_get_text(request, "client", &wrong);
    const char *server_name = json_get_text(request, "sni", &wrong);

    if (wrong)
        return error_set(error, ERROR_USAGE, "\"client\" and \"sni\" are texts");
    if (client != NULL) {
        int result = network_parse(&filter.client, client, error);
        if (result < 0)
            return result;
        filter.by_client = true;
    }
    if (server_name != NULL &&
        !string_copy(filter.server_name, sizeof filter.server_name, server_name))
        return error_set(error, ERROR_USAGE, "the server name is longer than %zu bytes",
                         sizeof filter.server_name - 1);
    string_lower(filter.server_name);
    *ret_filter = filter;
    return 0;
}

bool trace_matches(const struct trace_filter *filter, const struct event *event)
{
    static const uint8_t none[16];
    char server_name[sizeof event->server_name];

    if (memcmp(event->client, none, sizeof none) == 0)
        return false; /* not about a client */
    if (filter->by_client && !network_contains(&filter->client, event->client))
        return false;
    if (filter->server_name[0] == '\0')
        return true;
    memcpy(server_name, event->server_name, sizeof server_name);
    server_name[sizeof server_name - 1] = '\0';
    string_lower(server_name);
    if (server_name[0] ==
        '\0') /* not known at this stage, or not repeated: the worker has compared */
        return (event->flags & EVENT_TRACED) != 0;
    return strcmp(filter->server_name, server_name) == 0;
}

/* What two filters have in common; widens `wide` so that it covers `other`, too. */
static void widen(struct trace_filter *wide, const struct trace_filter *other)
{
    if (!other->by_client || memcmp(&wide->client, &other->client, sizeof wide->client) != 0)
        wide->by_client = false;
    if (strcmp(wide->server_name, other->server_name) != 0)
        wide->server_name[0] = '\0';
}

/* Workers compare whole addresses only; for a wider network they report all clients and the tracer
 * sorts out. */
static void publish(struct trace *trace)
{
    struct board_trace *shared = &trace->board->trace;
    const struct trace_filter *first = NULL;
    struct trace_filter all;

    for (size_t i = 0; i < TRACERS_MAX; i++) {
        const struct tracer *tracer = &trace->tracers[i];
        if (tracer->request == NULL)
            continue;
        if (first == NULL)
            all = tracer->filter;
        else
            widen(&all, &tracer->filter);
        first = &tracer->filter;
    }
    __atomic_store_n(&shared->generation, 0, __ATOMIC_RELEASE);
    if (first == NULL)
        return;
    shared->by_client = all.by_client && all.client.prefix == 128;
    memcpy(shared->client, all.client.bytes, sizeof shared->client);
    memcpy(shared->server_name, all.server_name, sizeof shared->server_name);
    if (++trace->generation == 0)
        trace->generation = 1;
    __atomic_store_n(&shared->generation, trace->generation, __ATOMIC_RELEASE);
}

static void on_event(void *context, const struct event *event, json_t *object)
{
    struct trace *trace = context;

    for (size_t i = 0; i < TRACERS_MAX; i++) {
        struct tracer *tracer = &trace->tracers[i];
        if (tracer->request == NULL || !trace_matches(&tracer->filter, event))
            continue;
        if (tracer->dropped > 0 && request_has_room(tracer->request)) {
            json_t *gap = json_object();
            json_set_text(gap, "event", "trace-gap");
            json_set_number(gap, "dropped", tracer->dropped);
            if (request_write(tracer->request, gap))
                tracer->dropped = 0;
        }
        if (!request_has_room(tracer->request) ||
            !request_write(tracer->request, json_incref(object)))
            tracer->dropped++;
        request_wake(tracer->request);
    }
}

void trace_init(struct trace *trace, struct board *board, struct event_feed *feed)
{
    *trace = (struct trace){.board = board, .feed = feed, .generation = board->trace.generation};
    publish(trace); /* a tracer of an earlier control process is gone */
}

int trace_add(struct trace *trace, struct control_request *request,
              const struct trace_filter *filter, struct error *error)
{
    for (size_t i = 0; i < TRACERS_MAX; i++) {
        if (trace->tracers[i].request != NULL)
            continue;
        trace->tracers[i] = (struct tracer){.request = request, .filter = *filter};
        trace->feed->listener = on_event;
        trace->feed->listener_context = trace;
        publish(trace);
        return 0;
    }
    return error_set(error, ERROR_BUSY, "%d traces run already; end one of them", TRACERS_MAX);
}

void trace_remove(struct trace *trace, const struct control_request *request)
{
    bool left = false;

    for (size_t i = 0; i < TRACERS_MAX; i++) {
        if (trace->tracers[i].request == request)
            trace->tracers[i] = (struct tracer){.request = NULL};
        left = left || trace->tracers[i].request != NULL;
    }
    if (!left)
        trace->feed->listener = NULL;
    publish(trace);
}
