#include "admin/http.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/drain.h"
#include "admin/metrics.h"
#include "admin/mhd_library.h"
#include "base/clock.h"
#include "watch/export.h"

#define SOCKETS_MAX      HTTP_SOCKETS_MAX
#define CONNECTIONS_MAX  64
#define TIMEOUT_S        10
#define CONNECTION_BYTES 16384

struct http_socket {
    struct http *http; /* NULL: not in use */
    struct MHD_Daemon *daemon;
    int epoll_fd;
    struct timer timer;
    bool ending; /* nobody is suspended any more */
};

/* Suspended in the library until it has its answer. */
struct http_probe {
    struct http_probe *next;
    struct http_socket *socket;
    struct MHD_Connection *connection;
    bool waits, good;
    struct buffer text;
};

struct http {
    struct loop *loop;
    const struct admin_view *view;
    const struct http_host *host; /* NULL: none */
    struct http_probe *probes;
    uint8_t handler;
    struct http_socket sockets[SOCKETS_MAX];
};

static const struct mhd_library *mhd; /* NULL: not loaded yet */

unsigned http_health(const struct admin_view *view, uint64_t now_ns, const char **ret_text)
{
    unsigned status = MHD_HTTP_SERVICE_UNAVAILABLE;

    if (drain_of_house(view)) {
        *ret_text = "draining\n";
    } else if (view->workers == 0) { /* it only watches */
        *ret_text = "ok\n";
        status = MHD_HTTP_OK;
    } else if (view_alive(view, PROCESS_HANDSHAKER, now_ns) == 0) {
        *ret_text = "no handshaker is alive\n";
    } else if (view_alive(view, PROCESS_RELAY, now_ns) == 0) {
        *ret_text = "no relay is alive\n";
    } else {
        *ret_text = "ok\n";
        status = MHD_HTTP_OK;
    }
    return status;
}

/* Consumes `response`. */
static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, const char *type,
                             struct MHD_Response *response)
{
    if (response == NULL)
        return MHD_NO;
    bool ready =
        mhd->add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_YES &&
        mhd->add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") == MHD_YES &&
        mhd->add_response_header(response, "X-Content-Type-Options", "nosniff") == MHD_YES;
    if (ready && status == MHD_HTTP_METHOD_NOT_ALLOWED)
        ready = mhd->add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD") == MHD_YES;
    enum MHD_Result result = ready ? mhd->queue_response(connection, status, response) : MHD_NO;
    mhd->destroy_response(response);
    return result;
}

static enum MHD_Result reply_text(struct MHD_Connection *connection, unsigned status,
                                  const char *text)
{
    /* The library wants a plain pointer but only reads persistent buffers. */
    union {
        const char *in;
        void *out;
    } body = {.in = text};

    return reply(connection, status, "text/plain; charset=utf-8",
                 mhd->create_response_from_buffer(strlen(text), body.out, MHD_RESPMEM_PERSISTENT));
}

#define TYPE_METRICS "text/plain; version=0.0.4; charset=utf-8"

/* Ends the buffer. */
static enum MHD_Result reply_buffer(struct MHD_Connection *connection, unsigned status,
                                    const char *type, struct buffer *text)
{
    if (text->failed) {
        buffer_fini(text);
        return reply_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
    }
    struct MHD_Response *response =
        mhd->create_response_from_buffer(text->size, text->data, MHD_RESPMEM_MUST_COPY);
    buffer_fini(text);
    return reply(connection, status, type, response);
}

static enum MHD_Result reply_metrics(struct MHD_Connection *connection, const struct http *http,
                                     bool exports)
{
    struct buffer text;

    buffer_init(&text, exports ? EXPORT_MAX : METRICS_MAX);
    if (exports)
        http->host->metrics(http->host->context, &text);
    else
        metrics_write(http->view, clock_monotonic_ns(), &text);
    return reply_buffer(connection, MHD_HTTP_OK, TYPE_METRICS, &text);
}

static enum MHD_Result reply_countdown(struct MHD_Connection *connection, const struct http *http)
{
    const char *host = mhd->lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "host");
    struct buffer html;

    buffer_init(&html, EXPORT_MAX);
    bool found = http->host->countdown(http->host->context, &html, host);
    return reply_buffer(connection, found ? MHD_HTTP_OK : MHD_HTTP_NOT_FOUND,
                        "text/html; charset=utf-8", &html);
}

/* ---- /probe ---- */

static void run(struct http_socket *socket);

static enum MHD_Result begin_probe(struct http_socket *socket, struct MHD_Connection *connection,
                                   void **request)
{
    struct http *http = socket->http;
    const char *target = mhd->lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "target");
    const char *module = mhd->lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "module");
    struct http_probe *probe = calloc(1, sizeof *probe);
    struct error error = {0};

    if (probe == NULL || socket->ending) {
        free(probe);
        return MHD_NO;
    }
    if (http->host->probe(http->host->context, probe, target, module, &error) < 0) {
        free(probe);
        struct buffer text;
        buffer_init(&text, sizeof error.message + 1);
        buffer_printf(&text, "%s\n", error.message);
        return reply_buffer(connection,
                            error.code == ERROR_USAGE       ? MHD_HTTP_BAD_REQUEST
                            : error.code == ERROR_NOT_FOUND ? MHD_HTTP_FORBIDDEN
                                                            : MHD_HTTP_SERVICE_UNAVAILABLE,
                            "text/plain; charset=utf-8", &text);
    }
    *probe = (struct http_probe){
        .next = http->probes, .socket = socket, .connection = connection, .waits = true};
    http->probes = probe;
    *request = probe;
    mhd->suspend_connection(connection);
    return MHD_YES;
}

static void resume(struct http_probe *probe)
{
    probe->waits = false;
    mhd->resume_connection(probe->connection);
}

void http_probed(struct http_probe *probe, struct buffer *text)
{
    probe->good = text != NULL;
    if (text != NULL) {
        probe->text = *text;
        *text = (struct buffer){.data = NULL};
    }
    resume(probe);
    run(probe->socket);
}

static enum MHD_Result end_probe(struct http_probe *probe, struct MHD_Connection *connection)
{
    if (!probe->good)
        return reply_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
                          "it could not be probed just now\n");
    return reply_buffer(connection, MHD_HTTP_OK, TYPE_METRICS, &probe->text);
}

/* The connection is over, whether answered or not. */
static void on_completed(void *context, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode how)
{
    const struct http_socket *socket = context;
    struct http_probe *probe = *request;
    (void)connection, (void)how;

    if (probe == NULL)
        return;
    struct http_probe **link = &socket->http->probes;
    while (*link != probe)
        link = &(*link)->next;
    *link = probe->next;
    if (probe->waits)
        socket->http->host->forget(socket->http->host->context, probe);
    buffer_fini(&probe->text);
    free(probe);
    *request = NULL;
}

/* ---- requests ---- */

static enum MHD_Result reply_exporter(struct http_socket *socket, struct MHD_Connection *connection,
                                      const char *path, void **request)
{
    if (strcmp(path, "/probe") == 0)
        return begin_probe(socket, connection, request);
    if (strcmp(path, "/metrics") == 0)
        return reply_metrics(connection, socket->http, true);
    if (strcmp(path, "/countdown") == 0)
        return reply_countdown(connection, socket->http);
    return reply_text(connection, MHD_HTTP_NOT_FOUND,
                      "not found; there are /probe?target=HOST:PORT&module=tcp, /metrics and "
                      "/countdown\n");
}

static enum MHD_Result reply_admin(const struct http *http, struct MHD_Connection *connection,
                                   const char *path)
{
    const char *health;

    if (strcmp(path, "/metrics") == 0)
        return reply_metrics(connection, http, false);
    if (strcmp(path, "/countdown") == 0 && http->host != NULL)
        return reply_countdown(connection, http);
    if (strcmp(path, "/healthz") == 0) {
        unsigned status = http_health(http->view, clock_monotonic_ns(), &health);
        return reply_text(connection, status, health);
    }
    return reply_text(connection, MHD_HTTP_NOT_FOUND,
                      "not found; there are /metrics, /healthz and /countdown\n");
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *upload, size_t *upload_size, void **request)
{
    struct http_socket *socket = context;
    const struct http *http = socket->http;
    (void)version, (void)upload, (void)upload_size;

    if (*request != NULL)
        return end_probe(*request, connection);
    /* Answered at the first call, before any body is read; the library then closes a connection
     * with a body under way. */
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return reply_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    if (http->host != NULL &&
        http->host->exports(http->host->context, (int)(socket - http->sockets)))
        return reply_exporter(socket, connection, path, request);
    return reply_admin(http, connection, path);
}

static unsigned connections_of(struct MHD_Daemon *daemon)
{
    const union MHD_DaemonInfo *info =
        mhd->get_daemon_info(daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

    return info != NULL ? info->num_connections : 0;
}

/* At its limit the library stops listening. It listens again in the run after the one in which
 * connections have ended, and that run must come by itself: when none is left nothing wakes us. */
static void run(struct http_socket *socket)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;
    unsigned before;

    do {
        before = connections_of(socket->daemon);
        ignore(mhd->run(socket->daemon));
    } while (connections_of(socket->daemon) < before);
    if (mhd->get_timeout(socket->daemon, &wait_ms) == MHD_YES)
        timer_set(socket->http->loop, &socket->timer,
                  loop_now(socket->http->loop) + (wait_ms + 1) * NS_PER_MS);
    else
        timer_cancel(socket->http->loop, &socket->timer);
}

static void on_ready(void *context, uint64_t tag, unsigned events)
{
    struct http *http = context;
    (void)events;

    if (http->sockets[tag].http != NULL)
        run(&http->sockets[tag]);
}

static void on_timer(void *context)
{
    run(context);
}

/* What the library complains about (mostly strangers' bad requests) is nobody's business. */
PRINTF_LIKE(2, 0) static void quiet(void *context, const char *format, va_list arguments)
{
    (void)context, (void)format, (void)arguments;
}

struct http *http_new(struct loop *loop, const struct admin_view *view,
                      const struct http_host *host)
{
    struct http *http = calloc(1, sizeof *http);

    if (http == NULL)
        return NULL;
    http->loop = loop;
    http->view = view;
    http->host = host;
    http->handler = loop_handler(loop, on_ready, http);
    return http;
}

static int free_socket(const struct http *http)
{
    for (int i = 0; i < SOCKETS_MAX; i++) {
        if (http->sockets[i].http == NULL)
            return i;
    }
    return -1;
}

/* Takes over the descriptor, if it comes about. */
static struct MHD_Daemon *start_daemon(struct http_socket *socket, int listening_fd)
{
    return mhd->start_daemon(
        MHD_USE_EPOLL | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request,
        socket, MHD_OPTION_NOTIFY_COMPLETED, on_completed, socket, MHD_OPTION_EXTERNAL_LOGGER,
        quiet, NULL, MHD_OPTION_LISTEN_SOCKET, listening_fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_END);
}

static int begin_socket(struct http *http, int number, int listening_fd, struct error *error)
{
    struct http_socket *socket = &http->sockets[number];
    int result = mhd != NULL ? 0 : mhd_library_load(&mhd, error);

    if (result == 0 && (socket->daemon = start_daemon(socket, listening_fd)) == NULL)
        result = error_set(error, ERROR_IO, "libmicrohttpd refuses the socket");
    if (result < 0) {
        close(listening_fd);
        return result;
    }
    const union MHD_DaemonInfo *info =
        mhd->get_daemon_info(socket->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL ||
        !loop_watch(http->loop, info->epoll_fd, LOOP_READ, http->handler, (uint64_t)number)) {
        mhd->stop_daemon(socket->daemon);
        return error_set(error, ERROR_IO, "the socket cannot be watched");
    }
    socket->epoll_fd = info->epoll_fd;
    return 0;
}

int http_listen(struct http *http, int listening_fd, struct error *error)
{
    int number = free_socket(http);

    if (number < 0) {
        close(listening_fd);
        return error_set(error, ERROR_LIMIT, "there are %d sockets already", SOCKETS_MAX);
    }
    struct http_socket *socket = &http->sockets[number];
    timer_init(&socket->timer, on_timer, socket);
    socket->http = http;
    socket->ending = false;
    int result = begin_socket(http, number, listening_fd, error);
    if (result < 0) {
        socket->http = NULL;
        return result;
    }
    return number;
}

void http_unlisten(struct http *http, int number)
{
    struct http_socket *socket = &http->sockets[number];

    if (socket->http == NULL)
        return;
    /* The library wants nobody suspended when it stops, also of those that ask just now. */
    socket->ending = true;
    for (struct http_probe *probe = http->probes; probe != NULL; probe = probe->next) {
        if (probe->socket == socket && probe->waits) {
            http->host->forget(http->host->context, probe);
            resume(probe);
        }
    }
    ignore(mhd->run(socket->daemon));
    timer_cancel(http->loop, &socket->timer);
    loop_unwatch(http->loop, socket->epoll_fd);
    mhd->stop_daemon(socket->daemon);
    socket->http = NULL;
}

void http_free(struct http *http)
{
    if (http == NULL)
        return;
    for (int i = 0; i < SOCKETS_MAX; i++)
        http_unlisten(http, i);
    free(http);
}
