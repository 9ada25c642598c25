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
#include "base/string.h"
#include "edge/sandbox.h"
#include "net/http_client.h"
#include "tls/handshake.h"
#include "watch/prober_talk.h"
#include "watch/report.h"
#include "watch/supply.h"

#define INPUT_MAX   (1u << 20)
#define OUTPUT_MAX  (64u << 20)
#define OUTPUT_STOP (8u << 20) /* nothing more is taken on until control has read */
#define READ_SIZE   65536
#define ALIVE_NS    (5 * NS_PER_S) /* far below what control waits for */
#define MEMORY_MAX  (2ull << 30)   /* whatever strangers send */

struct prober_process {
    struct loop *loop;
    struct checker *checker;        /* NULL: the first line has not come */
    struct chain_store *system;     /* of the checker's own options */
    struct documents_keeper keeper; /* control */
    struct map supplies;            /* by key → struct supplied */
    int fd;
    uint8_t handler;
    bool wants_room;
    struct buffer input, output;
    struct timer alive;
    size_t under_way;
    unsigned connections_possible;
};

/* What control has told of a file. */
struct supplied {
    struct supply *supply; /* NULL: `trouble` */
    char trouble[400];
};

#define HELD_MAX (ENDPOINT_STORES_MAX + CHECKER_CRL_FILES_MAX + 2)

struct work {
    struct prober_process *process;
    uint64_t id;
    struct prober_options options;
    struct supply *held[HELD_MAX]; /* as it was when this began */
    size_t held_count;
    struct chain_store *system; /* NULL: not asked */
    struct checker_file file;   /* of a file: target */
    char trouble[400];
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

/* ---- files ---- */

static void forget_supply(struct prober_process *process, const char *key)
{
    struct supplied *supplied = map_remove(&process->supplies, key);

    if (supplied != NULL)
        supply_unref(supplied->supply);
    free(supplied);
}

static void take_supply(struct prober_process *process, const char *key, const json_t *line,
                        const uint8_t *bytes, size_t size)
{
    struct supplied *supplied = calloc(1, sizeof *supplied);
    struct error error = {0};

    forget_supply(process, key);
    if (supplied == NULL || !map_put(&process->supplies, key, supplied)) {
        free(supplied);
        loop_stop(process->loop, 3); /* control tells it again */
        return;
    }
    if (bytes == NULL)
        ignore(snprintf(supplied->trouble, sizeof supplied->trouble, "cannot read %s: %s",
                        strchr(key, ' ') + 1, json_text(line, "error")));
    else if (supply_new_by_key(&supplied->supply, key, bytes, size, &error) < 0)
        ignore(string_copy(supplied->trouble, sizeof supplied->trouble, error.message));
}

static int find_supplied(const struct work *work, enum supply_kind kind, const char *path,
                         const struct supplied **ret_supplied, struct error *error)
{
    char key[SUPPLY_KEY_MAX];

    *ret_supplied =
        path == NULL ? NULL : map_get(&work->process->supplies, supply_key(key, kind, path));
    return *ret_supplied != NULL
               ? 0
               : error_set(error, ERROR_USAGE, "%s: it was not read yet", supply_option(kind));
}

static int hold(struct work *work, enum supply_kind kind, const json_t *path,
                struct supply **ret_supply, struct error *error)
{
    const struct supplied *supplied;
    int result = find_supplied(work, kind, json_string_value(path), &supplied, error);

    if (result != 0)
        return result;
    if (supplied->supply == NULL)
        return error_set(error, ERROR_IO, "%s: %s", supply_option(kind), supplied->trouble);
    *ret_supply = work->held[work->held_count++] = supply_ref(supplied->supply);
    return 0;
}

/* What cannot be read is told as what a check has found. */
static int hold_target(struct work *work, const struct target *target, struct error *error)
{
    const struct supplied *supplied;
    int result = find_supplied(work, SUPPLY_TARGET, target->host, &supplied, error);

    if (result != 0)
        return result;
    work->options.checker.file = &work->file;
    if (supplied->supply == NULL) {
        ignore(string_copy(work->trouble, sizeof work->trouble, supplied->trouble));
        work->file.trouble = work->trouble;
        return 0;
    }
    const struct supply *held = work->held[work->held_count++] = supply_ref(supplied->supply);
    work->file.certificates = held->certificates;
    work->file.count = held->certificate_count;
    return 0;
}

static int hold_stores_of(struct work *work, const char *key, enum supply_kind kind,
                          struct error *error)
{
    struct checker_options *checker = &work->options.checker;
    const json_t *paths = json_object_get(work->options.source, key);
    struct supply *supply;
    int result = 0;

    if (json_array_size(paths) > ENDPOINT_STORES_MAX - checker->store_count)
        return error_set(error, ERROR_USAGE, "found more stores than may be");
    for (size_t i = 0; result == 0 && i < json_array_size(paths); i++) {
        result = hold(work, kind, json_array_get(paths, i), &supply, error);
        if (result == 0)
            checker->stores[checker->store_count++] = supply->store;
    }
    return result;
}

static int hold_stores(struct work *work, struct error *error)
{
    struct checker_options *checker = &work->options.checker;
    int result = hold_stores_of(work, "stores", SUPPLY_STORE, error);

    if (result == 0)
        result = hold_stores_of(work, "stores_ignoring_ends", SUPPLY_STORE_IGNORING_ENDS, error);
    if (result != 0 || checker->store_count != 0)
        return result;
    /* Made anew, because the distribution's may have changed. */
    result = chain_store_new(&work->system, "system", NULL, error);
    if (result == 0)
        checker->stores[checker->store_count++] = work->system;
    return result;
}

static int hold_files(struct work *work, struct error *error)
{
    struct checker_options *checker = &work->options.checker;
    const json_t *source = work->options.source, *lists = json_object_get(source, "crl"),
                 *logs = json_object_get(source, "log_list");
    struct supply *supply;

    if (json_array_size(lists) > CHECKER_CRL_FILES_MAX)
        return error_set(error, ERROR_USAGE, "found more files than may be");
    int result = hold_stores(work, error);
    for (size_t i = 0; result == 0 && i < json_array_size(lists); i++) {
        result = hold(work, SUPPLY_CRL, json_array_get(lists, i), &supply, error);
        if (result == 0)
            checker->crl_files[checker->crl_file_count++] = supply->lists;
    }
    if (result == 0 && logs != NULL) {
        result = hold(work, SUPPLY_LOG_LIST, logs, &supply, error);
        if (result == 0)
            checker->policy.logs = supply->logs;
    }
    return result;
}

/* ---- what was fetched: control keeps it ---- */

/* What does not fit now is fetched again by the next process. */
static void tell_keeper(struct prober_process *process, json_t *line, const void *bytes,
                        size_t size)
{
    ignore(prober_talk_say(&process->output, line, bytes, size));
    flush(process);
}

static void keep(void *context, const char *key, const struct document_copy *copy, int64_t until)
{
    json_t *line = json_pack("{s:s}", "keep", key);

    json_set_number(line, "until", (uint64_t)until);
    if (copy->retry_after_s >= 0)
        json_set_number(line, "retry_after", (uint64_t)copy->retry_after_s);
    tell_keeper(context, line, copy->body, copy->size);
}

static void drop(void *context, const char *key)
{
    tell_keeper(context, json_pack("{s:s}", "drop", key), NULL, 0);
}

static bool recall(void *context, const char *key)
{
    struct prober_process *process = context;
    json_t *line = json_pack("{s:s}", "recall", key); /* NULL: no UTF-8, and never kept */
    bool asked = line != NULL && prober_talk_say(&process->output, line, NULL, 0);

    flush(process);
    return asked;
}

static void take_recalled(struct prober_process *process, const char *key, const json_t *line,
                          const uint8_t *bytes, size_t size)
{
    bool wrong = false;
    uint64_t retry_after = json_get_number(line, "retry_after", INT64_MAX, &wrong);
    const struct document_copy copy = {
        .body = bytes,
        .size = size,
        .fetched_at = (int64_t)json_get_number(line, "fetched_at", 0, &wrong),
        .retry_after_s = retry_after == INT64_MAX ? -1 : (int64_t)retry_after};

    checker_recalled(process->checker, key, bytes == NULL || wrong ? NULL : &copy);
}

/* ---- one request ---- */

static void work_free(struct work *work)
{
    for (size_t i = 0; i < work->held_count; i++)
        supply_unref(work->held[i]);
    chain_store_unref(work->system);
    prober_options_free(&work->options);
    free(work);
}

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
    work_free(work);
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
        result = hold_files(work, error);
    if (result == 0 && target.kind == TARGET_FILE)
        result = hold_target(work, &target, error);
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
        .stores = {process->system},
        .store_count = 1,
        .connections_max = (unsigned)json_get_number(line, "connections", 0, &wrong),
        .per_host_max = (unsigned)json_get_number(line, "per_host", 0, &wrong),
        .revocation.keeper = json_get_flag(line, "keeps", &wrong) ? &process->keeper : NULL};
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
        work_free(work);
        return;
    }
    if (process->under_way++ == 0)
        timer_set(process->loop, &process->alive, loop_now(process->loop) + ALIVE_NS);
}

/* ---- hearing ---- */

static bool take_line(void *context, const json_t *line, const uint8_t *bytes, size_t size)
{
    struct prober_process *process = context;
    const char *supply = json_text(line, "supply"), *forget = json_text(line, "forget"),
               *recalled = json_text(line, "recalled");

    if (strchr(supply, ' ') != NULL)
        take_supply(process, supply, line, bytes, size);
    else if (forget[0] != '\0')
        forget_supply(process, forget);
    else if (process->checker == NULL)
        begin_checking(process, line);
    else if (recalled[0] != '\0')
        take_recalled(process, recalled, line, bytes, size);
    else
        take_request(process, line);
    return true;
}

static void take_lines(struct prober_process *process)
{
    if (!prober_talk_hear(&process->input, INPUT_MAX, SUPPLY_BYTES_MAX, take_line, process))
        loop_stop(process->loop, 3);
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
    process->keeper =
        (struct documents_keeper){.context = process, .recall = recall, .keep = keep, .drop = drop};
    buffer_init(&process->input, INPUT_MAX + SUPPLY_BYTES_MAX + READ_SIZE);
    buffer_init(&process->output, OUTPUT_MAX);
    map_init(&process->supplies);
    timer_init(&process->alive, on_alive, process);
#if !defined(__SANITIZE_ADDRESS__)
    ignore(setrlimit(RLIMIT_AS, &memory));
#else
    (void)memory;
#endif
    process->loop = loop_new();
    if (process->loop == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    /* Here, not in the sandbox. Without it targets are still checked, and each document that cannot
     * be fetched says why. */
    ignore(http_client_load(NULL));
    /* Read now, though nobody asked yet: the first answers come sooner. */
    if (chain_store_new(&process->system, "system", NULL, error) < 0 ||
        sandbox_enter(SANDBOX_PROBER, error) < 0)
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
