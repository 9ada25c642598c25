/* The admin HTTP endpoints: GET /metrics (Prometheus text) and GET /healthz. libmicrohttpd under
 * our own event loop; the listening sockets come from the supervisor. There is no authentication:
 * conf.h allows loopback and Unix sockets only. */
#pragma once

#include "admin/view.h"
#include "loop/loop.h"

#define HTTP_SOCKETS_MAX 8

struct http;

struct http *http_new(struct loop *loop, const struct admin_view *view); /* NULL: out of memory */
/* Serves on a listening socket, which is taken over. Returns its number, or -1 when the library
 * refuses; the socket is closed then. */
MUST_CHECK int http_listen(struct http *http, int listening_fd);
/* Ends this socket with its connections. */
void http_unlisten(struct http *http, int number);
void http_free(struct http *http); /* accepts NULL */

/* 200 with "ok", or 503 with the reason, as /healthz says it. Static text. */
unsigned http_health(const struct admin_view *view, uint64_t now_ns, const char **ret_text);
