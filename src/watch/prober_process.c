#include "watch/prober_process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/map.h"
#include "base/secret.h"
#include "edge/sandbox.h"
#include "tls/handshake.h"
#include "watch/report.h"

#define INPUT_MAX   (1u << 20)
#define OUTPUT_MAX  (64u << 20)
#define OUTPUT_STOP (8u << 20) /* nothing more is taken on until control has read */
#define READ_SIZE   65536
#define ALIVE_NS    (5 * NS_PER_S) /* far below what control waits for */
#define MEMORY_MAX  (2ull << 30)   /* whatever strangers send */

struct prober_process {
    struct loop *loop;
    struct checker *checker; /* NULL: the first line has not come */
    struct map stores;       /* path, "" for the system's → struct chain_store */
    int fd;
    uint8_t handler;
    bool wants_room;
    struct buffer input, output;
    struct timer alive;
    size_t under_way;
    unsigned connections_possible;
};

struct work {
    struct prober_process *process;
    uint64_t id;
    struct prober_options options;
};

/* ---- saying ---- */

static void watch_socket(struct prober_process *process)
{
    bool room = process->output.size != 0, listen = process->output.size < OUTPUT_STOP;

    if (!loop_change(process->loop, process->fd, (listen ? LOOP_READ : 0) | (room ? LOOP_WRITE : 0),
                     process->handler, 0))
        loop_stop(process->loop, 3);
}

static void flush(struct prober_process *process)
{
    while (process->output.size != 0) {
        ssize_t sent = send(process->fd, process->output.data, process->output.size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent <= 0) {
            loop_stop(process->loop, 0);
            return;
        }
        buffer_consume(&process->output, (size_t)sent);
    }
    watch_socket(process);
}

static void say(struct prober_process *process, json_t *line)
{
    if (line == NULL || !json_line(line, &process->output))
        loop_stop(process->loop, 3); /* control asks again */
}

static void say_done(struct prober_process *process, uint64_t id, const char *error)
{
    json_t *line = json_object();

    json_set_number(line, "id", id);
    json_set_text(line, "error", error);
    json_set_flag(line, "done", true);
    say(process, line);
}

/* Some targets take longer than control waits for a sign of life. */
static void on_alive(void *context)
{
    struct prober_process *process = context;

    if (process->under_way == 0)
        return;
    say(process, json_pack("{s:b}", "alive", 1));
    flush(process);
    timer_set(process->loop, &process->alive, loop_now(process->loop) + ALIVE_NS);
}

/* ---- stores ---- */

/* Read once, and kept. */
static struct chain_store *find_store(struct prober_process *process, const char *path,
                                      struct error *error)
{
    struct chain_store *store = map_get(&process->stores, path);

    if (store != NULL)
        return store;
    const char *slash = strrchr(path, '/');
    if (chain_store_new(&store,
                        path[0] == '\0' ? "system"
                        : slash == NULL ? path
                                        : slash + 1,
                        path[0] == '\0' ? NULL : path, error) < 0)
        return NULL;
    if (!map_put(&process->stores, path, store)) {
        chain_store_unref(store);
        ignore(error_set(error, ERROR_MEMORY, "out of memory"));
        return NULL;
    }
    return store;
}

static int fill_stores(struct prober_process *process, struct prober_options *options,
                       struct error *error)
{
    const json_t *paths = json_object_get(options->source, "stores");
    size_t count = json_array_size(paths);

    if (count > ENDPOINT_STORES_MAX)
        return error_set(error, ERROR_USAGE, "found %zu stores; expected at most %d", count,
                         ENDPOINT_STORES_MAX);
    for (size_t i = 0; i < (count == 0 ? 1 : count); i++) {
        const char *path = count == 0 ? "" : json_string_value(json_array_get(paths, i));
        struct chain_store *store = find_store(process, path == NULL ? "" : path, error);
        if (store == NULL)
            return -(int)error->code;
        options->checker.stores[options->checker.store_count++] = store;
    }
    return 0;
}

/* ---- one request ---- */

static void on_checked(void *context, const struct target *target, struct endpoint **endpoints,
                       size_t count)
{
    struct work *work = context;
    struct prober_process *process = work->process;
    (void)target;

    for (size_t i = 0; i < count; i++) {
        json_t *line = json_object(), *endpoint = report_json(endpoints[i]);
        json_set_number(line, "id", work->id);
        ignore(json_object_set_new(line, "endpoint", endpoint));
        if (endpoint == NULL) {
            json_decref(line);
            line = NULL;
        }
        say(process, line);
        endpoint_free(endpoints[i]);
    }
    say_done(process, work->id, NULL);
    process->under_way--;
    prober_options_free(&work->options);
    free(work);
    flush(process);
}

static int begin(struct prober_process *process, struct work *work, const json_t *line,
                 struct error *error)
{
    struct target target;
    bool wrong = false;
    const char *text = json_get_text(line, "target", &wrong);

    if (text == NULL)
        return error_set(error, ERROR_USAGE, "found no target");
    int result = target_parse(&target, text, error);
    if (result == 0)
        result = prober_options_read(&work->options, json_object_get(line, "options"), error);
    if (result == 0)
        result = fill_stores(process, &work->options, error);
    if (result == 0 &&
        !checker_add(process->checker, &target, &work->options.checker, on_checked, work))
        result = error_set(error, ERROR_MEMORY, "out of memory");
    return result;
}

/* The first line: the limits. */
static void begin_checking(struct prober_process *process, const json_t *line)
{
    bool wrong = false;
    struct checker_options options = {
        .stores = {map_get(&process->stores, "")},
        .store_count = 1,
        .connections_max = (unsigned)json_get_number(line, "connections", 0, &wrong),
        .per_host_max = (unsigned)json_get_number(line, "per_host", 0, &wrong)};
    struct error error = {0};

    if (options.connections_max == 0 || options.connections_max > process->connections_possible)
        options.connections_max = process->connections_possible;
    if (checker_new(&process->checker, process->loop, &options, &error) == 0)
        return;
    ignore(fprintf(stderr, "holdfast: prober: %s\n", error.message));
    loop_stop(process->loop, 3);
}

static void take_request(struct prober_process *process, const json_t *line)
{
    struct work *work = calloc(1, sizeof *work);
    struct error error = {0};
    bool wrong = false;
    uint64_t id = json_get_number(line, "id", 0, &wrong);

    if (work == NULL) {
        say_done(process, id, "out of memory");
        return;
    }
    work->process = process;
    work->id = id;
    if (begin(process, work, line, &error) < 0) {
        say_done(process, id, error.message);
        prober_options_free(&work->options);
        free(work);
        return;
    }
    if (process->under_way++ == 0)
        timer_set(process->loop, &process->alive, loop_now(process->loop) + ALIVE_NS);
}

/* ---- hearing ---- */

static void take_lines(struct prober_process *process)
{
    size_t taken = 0;

    for (;;) {
        const uint8_t *from = process->input.data + taken;
        const uint8_t *end = memchr(from, '\n', process->input.size - taken);
        if (end == NULL)
            break;
        json_t *line = json_loadb((const char *)from, (size_t)(end - from), 0, NULL);
        if (line != NULL && process->checker == NULL)
            begin_checking(process, line);
        else if (line != NULL)
            take_request(process, line);
        json_decref(line);
        taken += (size_t)(end - from) + 1;
    }
    buffer_consume(&process->input, taken);
    flush(process);
}

static void on_socket(void *context, uint64_t tag, unsigned events)
{
    struct prober_process *process = context;
    (void)tag;

    if ((events & LOOP_WRITE) != 0)
        flush(process);
    if ((events & (LOOP_READ | LOOP_HANGUP | LOOP_ERROR)) == 0)
        return;
    uint8_t *room = buffer_reserve(&process->input, READ_SIZE);
    ssize_t got = room == NULL ? 0 : recv(process->fd, room, READ_SIZE, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) { /* control is gone */
        loop_stop(process->loop, 0);
        return;
    }
    process->input.size += (size_t)got;
    take_lines(process);
}

/* ---- life ---- */

static int prober_init(struct prober_process *process, int fd, struct error *error)
{
    struct rlimit memory = {MEMORY_MAX, MEMORY_MAX};

    process->fd = fd;
    process->connections_possible = checker_connections_possible();
    buffer_init(&process->input, INPUT_MAX);
    buffer_init(&process->output, OUTPUT_MAX);
    map_init(&process->stores);
    timer_init(&process->alive, on_alive, process);
#if !defined(__SANITIZE_ADDRESS__)
    ignore(setrlimit(RLIMIT_AS, &memory));
#else
    (void)memory;
#endif
    process->loop = loop_new();
    if (process->loop == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    /* Read now, though nobody asked yet: the first answers come sooner. */
    if (find_store(process, "", error) == NULL || sandbox_enter(SANDBOX_PROBER, error) < 0)
        return -(int)error->code;
    process->handler = loop_handler(process->loop, on_socket, process);
    return loop_watch(process->loop, fd, LOOP_READ, process->handler, 0)
               ? 0
               : error_set(error, ERROR_IO, "cannot watch the socket: %s", strerror(errno));
}

int prober_main(int fd)
{
    static struct prober_process process;
    struct error error = {0};

    secret_harden_process();
    ignore(prctl(PR_SET_PDEATHSIG, SIGKILL));
    ignore(signal(SIGPIPE, SIG_IGN) == SIG_ERR);
    ignore(signal(SIGINT, SIG_IGN) == SIG_ERR);
    ignore(signal(SIGTERM, SIG_IGN) == SIG_ERR);
    ignore(signal(SIGHUP, SIG_IGN) == SIG_ERR);
    tls_process_init();
    if (prober_init(&process, fd, &error) < 0) {
        ignore(fprintf(stderr, "holdfast: prober: %s\n", error.message));
        return error_exit_code(&error);
    }
    return loop_run(process.loop);
}
