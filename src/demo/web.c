#include "demo/web.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/mhd_library.h"
#include "base/clock.h"
#include "base/string.h"
#include "demo/pages.h"
#include "demo/visits.h"
#include "loop/loop.h"

#define CONNECTIONS_MAX 512
#define PAGE_MAX        65536
#define POST_BUFFER     4096
#define POST_MAX        16384
#define COOKIE_NAME     "visit"

static const struct mhd_library *mhd;

struct web {
    struct loop *loop;
    struct scoreboard *board;
    struct visits *visits;
    struct MHD_Daemon *daemon;
    struct timer timer;
};

/* What is known of a TCP connection, and so of the TLS connection before it. */
struct web_connection {
    uint64_t begun_ns;
    struct changes_count before; /* what had been changed when it began */
};

struct web_request {
    struct MHD_PostProcessor *post; /* NULL: no form */
    size_t uploaded;
    size_t answer_size;
    char answer[VISIT_ANSWER_MAX];
};

/* ---- answers ---- */

static bool add_headers(struct MHD_Response *response, const char *type)
{
    static const char policy[] = "default-src 'none'; style-src 'self'; script-src 'self'; "
                                 "connect-src 'self'; form-action 'self'; "
                                 "frame-ancestors 'none'; base-uri 'none'";
    return mhd->add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_YES &&
           mhd->add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") ==
               MHD_YES &&
           mhd->add_response_header(response, "Content-Security-Policy", policy) == MHD_YES &&
           mhd->add_response_header(response, "X-Content-Type-Options", "nosniff") == MHD_YES &&
           mhd->add_response_header(response, "Referrer-Policy", "no-referrer") == MHD_YES;
}

static bool add_cookie(struct MHD_Response *response, const struct visit *visit)
{
    char text[128];

    if (visit == NULL)
        return true;
    ignore(snprintf(text, sizeof text, COOKIE_NAME "=%s; Path=/; Secure; HttpOnly; SameSite=Lax",
                    visit->cookie));
    return mhd->add_response_header(response, MHD_HTTP_HEADER_SET_COOKIE, text) == MHD_YES;
}

/* `visit`: whose cookie to set; `location`: where to go on, or NULL. */
static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              const void *body, size_t size, const struct visit *visit,
                              const char *location)
{
    union {
        const void *in;
        void *out;
    } data = {.in = body}; /* the library copies and never writes */
    struct MHD_Response *response =
        mhd->create_response_from_buffer(size, data.out, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result = MHD_NO;

    if (response == NULL)
        return MHD_NO;
    if (add_headers(response, type) && add_cookie(response, visit) &&
        (location == NULL ||
         mhd->add_response_header(response, MHD_HTTP_HEADER_LOCATION, location) == MHD_YES))
        result = mhd->queue_response(connection, status, response);
    mhd->destroy_response(response);
    return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status,
                                   const char *type, const char *text)
{
    return answer(connection, status, type, text, strlen(text), NULL, NULL);
}

static enum MHD_Result go_to(struct MHD_Connection *connection, const struct visit *visit,
                             const char *location)
{
    return answer(connection, MHD_HTTP_SEE_OTHER, "text/plain", "", 0, visit, location);
}

static enum MHD_Result go_to_page(struct MHD_Connection *connection, const struct visit *visit,
                                  unsigned number)
{
    char location[32] = "/summary";

    if (number <= PAGES_COUNT)
        ignore(snprintf(location, sizeof location, "/page/%u", number));
    return go_to(connection, visit, location);
}

/* Page `number`; 0: the summary. */
static enum MHD_Result answer_page(struct MHD_Connection *connection, const struct visit *visit,
                                   unsigned number, const char *complaint)
{
    __attribute__((cleanup(buffer_auto))) struct buffer html;

    buffer_init(&html, PAGE_MAX);
    if (number == 0)
        pages_summary(&html, visit);
    else
        pages_form(&html, visit, number, complaint);
    if (html.failed)
        return MHD_NO;
    unsigned status = complaint == NULL ? MHD_HTTP_OK : MHD_HTTP_BAD_REQUEST;
    return answer(connection, status, "text/html; charset=utf-8", html.data, html.size, visit,
                  NULL);
}

/* What happened since the visit began, of each kind, and since its connection began, in all. */
static enum MHD_Result answer_status(struct web *web, struct MHD_Connection *connection,
                                     const struct visit *visit)
{
    const union MHD_ConnectionInfo *info =
        mhd->get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    const struct web_connection *life = info != NULL ? info->socket_context : NULL;
    struct changes_count now = scoreboard_changes(web->board), before = now;
    char text[512];

    if (life == NULL)
        return MHD_NO;
    if (visit != NULL)
        before = visit->before;
    ignore(snprintf(text, sizeof text,
                    "{\"age_s\":%" PRIu64 ",\"survived\":%" PRIu64 ",\"certificates\":%" PRIu64
                    ",\"relays\":%" PRIu64 ",\"reloads\":%" PRIu64 ",\"upgrades\":%" PRIu64
                    ",\"lost\":%" PRIu64 ",\"last\":\"%s\"}\n",
                    (uint64_t)((clock_monotonic_ns() - life->begun_ns) / NS_PER_S),
                    scoreboard_changes_since(web->board, &life->before),
                    now.of[CHANGE_CERTIFICATE] - before.of[CHANGE_CERTIFICATE],
                    now.of[CHANGE_KILL] - before.of[CHANGE_KILL],
                    now.of[CHANGE_RELOAD] - before.of[CHANGE_RELOAD],
                    now.of[CHANGE_UPGRADE] - before.of[CHANGE_UPGRADE],
                    scoreboard_get(&web->board->lost), scoreboard_last_change(web->board)));
    return answer_text(connection, MHD_HTTP_OK, "application/json", text);
}

/* ---- requests ---- */

/* The number behind "/page/", or 0. */
static unsigned page_number(const char *path)
{
    static const char prefix[] = "/page/";
    char *end;

    if (!string_starts_with(path, prefix) || path[sizeof prefix - 1] < '1' ||
        path[sizeof prefix - 1] > '9')
        return 0;
    unsigned long number = strtoul(path + sizeof prefix - 1, &end, 10);
    return *end == '\0' && number <= PAGES_COUNT ? (unsigned)number : 0;
}

/* The first page that has not been answered properly, or PAGES_COUNT + 1. */
static unsigned next_page(const struct visit *visit)
{
    unsigned number = 1;

    while (number <= PAGES_COUNT && pages_check(number, visit->answers[number - 1]) == NULL)
        number++;
    return number;
}

static struct visit *visit_of(struct web *web, struct MHD_Connection *connection)
{
    return visits_find(web->visits,
                       mhd->lookup_connection_value(connection, MHD_COOKIE_KIND, COOKIE_NAME));
}

static struct visit *visit_begin(struct web *web)
{
    struct visit *visit = visits_begin(web->visits);

    if (visit != NULL) {
        visit->before = scoreboard_changes(web->board);
        scoreboard_add(&web->board->visits, 1);
    }
    return visit;
}

static enum MHD_Result on_get(struct web *web, struct MHD_Connection *connection, const char *path)
{
    struct visit *visit = visit_of(web, connection);
    unsigned number = page_number(path);

    if (strcmp(path, "/style.css") == 0)
        return answer_text(connection, MHD_HTTP_OK, "text/css; charset=utf-8", pages_style);
    if (strcmp(path, "/status.js") == 0)
        return answer_text(connection, MHD_HTTP_OK, "text/javascript; charset=utf-8", pages_script);
    if (strcmp(path, "/status.json") == 0)
        return answer_status(web, connection, visit);
    if (number == 0 && strcmp(path, "/") != 0 && strcmp(path, "/summary") != 0)
        return answer_text(connection, MHD_HTTP_NOT_FOUND, "text/plain; charset=utf-8",
                           "There is no such page.\n");
    if (visit == NULL) {
        visit = visit_begin(web);
        return visit == NULL ? MHD_NO : go_to_page(connection, visit, 1);
    }
    if (number != 0)
        return answer_page(connection, visit, number, NULL);
    if (strcmp(path, "/") == 0 || next_page(visit) <= PAGES_COUNT)
        return go_to_page(connection, visit, next_page(visit));
    return answer_page(connection, visit, 0, NULL);
}

static enum MHD_Result on_form(struct web *web, struct MHD_Connection *connection, const char *path,
                               const struct web_request *request)
{
    struct visit *visit = visit_of(web, connection);
    unsigned number = page_number(path);

    if (visit == NULL)
        return go_to(connection, NULL, "/");
    if (strcmp(path, "/again") == 0) {
        memset(visit->answers, 0, sizeof visit->answers);
        return go_to_page(connection, visit, 1);
    }
    if (number == 0)
        return answer_text(connection, MHD_HTTP_NOT_FOUND, "text/plain; charset=utf-8",
                           "There is no such form.\n");
    ignore(string_copy(visit->answers[number - 1], VISIT_ANSWER_MAX, request->answer));
    const char *complaint = pages_check(number, request->answer);
    return complaint != NULL ? answer_page(connection, visit, number, complaint)
                             : go_to_page(connection, visit, number + 1);
}

static enum MHD_Result on_field(void *context, enum MHD_ValueKind kind, const char *key,
                                const char *file, const char *type, const char *encoding,
                                const char *data, uint64_t offset, size_t size)
{
    struct web_request *request = context;
    size_t room = sizeof request->answer - 1 - request->answer_size;
    (void)kind, (void)file, (void)type, (void)encoding, (void)offset;

    if (strcmp(key, "answer") != 0)
        return MHD_YES;
    if (size > room)
        size = room;
    memcpy(request->answer + request->answer_size, data, size);
    request->answer_size += size;
    request->answer[request->answer_size] = '\0';
    return MHD_YES;
}

static enum MHD_Result begin_request(struct MHD_Connection *connection, const char *method,
                                     void **state)
{
    struct web_request *request = calloc(1, sizeof *request);

    if (request == NULL)
        return MHD_NO;
    if (strcmp(method, MHD_HTTP_METHOD_POST) == 0)
        request->post = mhd->create_post_processor(connection, POST_BUFFER, on_field, request);
    *state = request;
    return MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *upload, size_t *upload_size, void **state)
{
    struct web *web = context;
    struct web_request *request = *state;
    (void)version;

    if (request == NULL)
        return begin_request(connection, method, state);
    if (*upload_size > 0) {
        request->uploaded += *upload_size;
        if (request->uploaded > POST_MAX)
            return MHD_NO;
        if (request->post != NULL &&
            mhd->post_process(request->post, upload, *upload_size) != MHD_YES)
            return MHD_NO;
        *upload_size = 0;
        return MHD_YES;
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0)
        return on_get(web, connection, path);
    if (request->post != NULL)
        return on_form(web, connection, path, request);
    return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain; charset=utf-8",
                       "Only GET, HEAD and POST.\n");
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    struct web_request *request = *state;
    (void)context, (void)connection, (void)code;

    if (request == NULL)
        return;
    if (request->post != NULL)
        ignore(mhd->destroy_post_processor(request->post));
    free(request);
    *state = NULL;
}

static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct web *web = context;
    struct web_connection *life = *socket_context;
    (void)connection;

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        free(life);
        *socket_context = NULL;
        return;
    }
    life = calloc(1, sizeof *life);
    if (life != NULL)
        *life = (struct web_connection){.begun_ns = clock_monotonic_ns(),
                                        .before = scoreboard_changes(web->board)};
    *socket_context = life;
}

/* ---- life ---- */

static void run(struct web *web)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;

    ignore(mhd->run(web->daemon));
    if (mhd->get_timeout(web->daemon, &wait_ms) == MHD_YES)
        timer_set(web->loop, &web->timer, clock_monotonic_ns() + (wait_ms + 1) * NS_PER_MS);
    else
        timer_cancel(web->loop, &web->timer);
}

static void on_ready(void *context, uint64_t tag, unsigned events)
{
    (void)tag, (void)events;
    run(context);
}

static void on_timer(void *context)
{
    run(context);
}

static void on_stop(void *context, int signal_number)
{
    struct web *web = context;
    (void)signal_number;

    loop_stop(web->loop, 0);
}

int web_run(int listening_fd, struct scoreboard *board)
{
    struct web web = {.loop = loop_new(), .board = board, .visits = visits_new()};
    struct error error;
    int code = 1;

    if (web.loop == NULL || web.visits == NULL)
        return 1;
    if (mhd_library_load(&mhd, &error) < 0) {
        ignore(fprintf(stderr, "holdfast demo: %s\n", error.message));
        return error_exit_code(&error);
    }
    timer_init(&web.timer, on_timer, &web);
    web.daemon = mhd->start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, on_request, &web, MHD_OPTION_LISTEN_SOCKET, listening_fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, &web, MHD_OPTION_NOTIFY_CONNECTION, on_connection, &web, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        web.daemon != NULL ? mhd->get_daemon_info(web.daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (info != NULL && loop_signal(web.loop, SIGTERM, on_stop, &web) &&
        loop_watch(web.loop, info->epoll_fd, LOOP_READ, loop_handler(web.loop, on_ready, &web), 0))
        code = loop_run(web.loop);
    if (web.daemon != NULL)
        mhd->stop_daemon(web.daemon);
    visits_free(web.visits);
    loop_free(web.loop);
    return code;
}
