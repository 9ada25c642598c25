/* HTTP of the daemon itself: libmicrohttpd under our own event loop; the listening sockets come
 * from the supervisor. A socket is admin's (/metrics, /healthz, /countdown), or the exporter's
 * (/probe, /metrics of the watch, /countdown). There is no authentication: conf.h allows loopback
 * and Unix sockets only for admin, and the exporter probes only what is listed. */
#pragma once

#include "admin/view.h"
#include "base/buffer.h"
#include "base/error.h"
#include "loop/loop.h"

#define HTTP_SOCKETS_MAX 8

struct http;
struct http_probe; /* a request that waits for its probe */

/* What stands behind the pages. */
struct http_host {
    void *context;
    bool (*exports)(void *context, int number); /* this socket is the exporter's */
    /* All of the page or of the metrics; false: there is no such host. */
    bool (*countdown)(void *context, struct buffer *html, const char *host);
    void (*metrics)(void *context, struct buffer *output); /* of the watch */
    /* Begins a probe, which ends in http_probed(), but not at once. */
    int (*probe)(void *context, struct http_probe *who, const char *target, const char *module,
                 struct error *error);
    void (*forget)(void *context, struct http_probe *who); /* nobody waits for it any more */
};

/* `host` outlives it; NULL: there are /metrics and /healthz only. NULL: out of memory. */
struct http *http_new(struct loop *loop, const struct admin_view *view,
                      const struct http_host *host);
/* The metrics, taken over; NULL: it failed. */
void http_probed(struct http_probe *who, struct buffer *text);
/* Serves on a listening socket, which is taken over, and closed on failure. Returns its number. The
 * first one of a process loads libmicrohttpd. */
MUST_CHECK int http_listen(struct http *http, int listening_fd, struct error *error);
/* Ends this socket with its connections. */
void http_unlisten(struct http *http, int number);
void http_free(struct http *http); /* accepts NULL */

/* 200 with "ok", or 503 with the reason, as /healthz says it. Static text. */
unsigned http_health(const struct admin_view *view, uint64_t now_ns, const char **ret_text);
