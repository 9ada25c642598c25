/* Following clients live. Each tracer filters for itself; what workers are asked for through the
 * board is the narrowest filter that covers all tracers. */
#pragma once

#include "admin/event_feed.h"
#include "admin/server.h"

#define TRACERS_MAX 8

struct trace_filter {
    bool by_client;
    struct network client;
    char server_name[96]; /* "": any */
};

struct tracer {
    struct control_request *request; /* NULL: free */
    struct trace_filter filter;
    uint64_t dropped; /* lines not sent since the last one because the reader was slow */
};

struct trace {
    struct board *board;
    struct event_feed *feed;
    uint32_t generation; /* of the filter on the board */
    struct tracer tracers[TRACERS_MAX];
};

void trace_init(struct trace *trace, struct board *board, struct event_feed *feed);

/* Reads {"client", "sni"} of a request. */
MUST_CHECK int trace_filter_parse(struct trace_filter *ret_filter, const json_t *request,
                                  struct error *error);
bool trace_matches(const struct trace_filter *filter, const struct event *event);

/* Begins to send matching events to `request`; trace_remove() must be called before it ends. */
MUST_CHECK int trace_add(struct trace *trace, struct control_request *request,
                         const struct trace_filter *filter, struct error *error);
void trace_remove(struct trace *trace, const struct control_request *request);
