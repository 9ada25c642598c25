#include "watch/prober_client_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/string.h"
#include "watch/prober_talk.h"
#include "watch/report_words.h"
#include "watch/supply.h"

#define LINE_MAX_BYTES (4u << 20)
#define ENDPOINTS_MAX  1024             /* of one answer */
#define DEATHS_MAX     3                /* that a request may be under way at */
#define SILENCE_NS     (150 * NS_PER_S) /* with something under way: it hangs */
#define PAUSE_FIRST_NS (200 * NS_PER_MS)
#define PAUSE_MAX_NS   (30 * NS_PER_S)
#define HEALTHY_NS     (10 * NS_PER_S)
#define READ_SIZE      65536
#define PROBER_FD      3

/* ---- queues ---- */

static void push(struct queue *queue, struct request *request)
{
    request->next = NULL;
    if (queue->last != NULL)
        queue->last->next = request;
    else
        queue->first = request;
    queue->last = request;
    queue->count++;
}

static void push_front(struct queue *queue, struct request *request)
{
    request->next = queue->first;
    queue->first = request;
    if (queue->last == NULL)
        queue->last = request;
    queue->count++;
}

static struct request *take(struct queue *queue, uint64_t id)
{
    struct request *before = NULL;

    for (struct request *it = queue->first; it != NULL; before = it, it = it->next) {
        if (id != 0 && it->id != id)
            continue;
        if (before == NULL)
            queue->first = it->next;
        else
            before->next = it->next;
        if (queue->last == it)
            queue->last = before;
        queue->count--;
        return it;
    }
    return NULL;
}

static struct request *find(const struct queue *queue, uint64_t id)
{
    struct request *it = queue->first;

    while (it != NULL && it->id != id)
        it = it->next;
    return it;
}

static void request_free(struct request *request)
{
    json_decref(request->body);
    json_decref(request->endpoints);
    free(request);
}

static void answer(struct request *request, const char *error)
{
    if (request->answer != NULL)
        request->answer(request->context, request->endpoints, error);
    request_free(request);
}

/* ---- its end ---- */

void client_tell(struct prober_client *client, const char *text)
{
    if (client->host.event != NULL)
        client->host.event(client->host.context, text);
}

static void close_all(struct prober_client *client)
{
    int *fds[] = {&client->fd, &client->pidfd};

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        if (*fds[i] < 0)
            continue;
        loop_unwatch(client->loop, *fds[i]);
        ignore(close(*fds[i]));
        *fds[i] = -1;
    }
    client->input.size = client->output.size = 0;
    client->wants_room = false;
    timer_cancel(client->loop, &client->silence);
}

/* The first of those that were under way are the first again; who has seen too many deaths gets no
 * further try. */
static void requeue(struct prober_client *client)
{
    struct queue again = {0};
    struct request *request;

    client->patient_under_way = 0;
    while ((request = take(&client->under_way, 0)) != NULL) {
        ignore(json_array_clear(request->endpoints));
        request->deaths += !client->replaced;
        push(&again, request);
    }
    struct queue reversed = {0};
    while ((request = take(&again, 0)) != NULL)
        push_front(&reversed, request);
    while ((request = take(&reversed, 0)) != NULL) {
        if (request->deaths >= DEATHS_MAX)
            answer(request, "the process that probes died each time this was checked");
        else
            push_front(request->patient ? &client->patient : &client->waiting, request);
    }
}

static void buried(struct prober_client *client, int status)
{
    uint64_t now = loop_now(client->loop), pause = 0;
    char text[120];

    if (WIFSIGNALED(status))
        ignore(snprintf(text, sizeof text, "the process that probes was killed by signal %d (%s)",
                        WTERMSIG(status), strsignal(WTERMSIG(status))));
    else
        ignore(snprintf(text, sizeof text, "the process that probes ended with code %d",
                        WEXITSTATUS(status)));
    client->pid = 0;
    close_all(client);
    if (now - client->started_ns > HEALTHY_NS)
        client->failures = 0;
    if (client->failures != 0 && !client->replaced)
        pause = PAUSE_FIRST_NS << (client->failures < 9 ? client->failures : 9);
    client->failures += !client->replaced;
    timer_set(client->loop, &client->turn, now + (pause < PAUSE_MAX_NS ? pause : PAUSE_MAX_NS));
    if (!client->replaced)
        client_tell(client, text);
    requeue(client);
    client->replaced = false;
}

static void on_death(void *context, uint64_t tag, unsigned events)
{
    struct prober_client *client = context;
    int status = 0;
    (void)events;

    if (client->pid == 0 || tag != client->starts)
        return;
    if (waitpid(client->pid, &status, WNOHANG) == client->pid)
        buried(client, status);
}

/* It says what no prober of ours would: whatever it is now, it is not to go on. */
static void distrust(struct prober_client *client, const char *why)
{
    client_tell(client, why);
    ignore(kill(client->pid, SIGKILL));
    loop_unwatch(client->loop, client->fd);
    client->input.size = 0;
}

static void on_silence(void *context)
{
    struct prober_client *client = context;

    distrust(client, "the process that probes hangs: it is replaced");
}

static void expect(struct prober_client *client)
{
    if (client->under_way.count != 0)
        timer_set(client->loop, &client->silence, loop_now(client->loop) + SILENCE_NS);
    else
        timer_cancel(client->loop, &client->silence);
}

/* ---- asking ---- */

void client_flush(struct prober_client *client)
{
    while (client->output.size != 0) {
        ssize_t sent = send(client->fd, client->output.data, client->output.size, MSG_NOSIGNAL);
        if (sent <= 0)
            break; /* no room; or its death is about to be noticed */
        buffer_consume(&client->output, (size_t)sent);
    }
    prober_talk_trim(&client->output);
    bool wants = client->output.size != 0;
    if (wants != client->wants_room &&
        loop_change(client->loop, client->fd, LOOP_READ | (wants ? LOOP_WRITE : 0),
                    client->socket_handler, client->starts))
        client->wants_room = wants;
}

/* Some more than it can have connections: it resolves one while it dials another. */
static unsigned at_once(const struct prober_client *client)
{
    return client->limits.connections * 2;
}

/* The patient ones leave room for those that cannot wait. */
static const struct request *next_request(const struct prober_client *client)
{
    if (client->waiting.first != NULL)
        return client->waiting.first;
    return client->patient_under_way < (at_once(client) + 3) / 4 ? client->patient.first : NULL;
}

/* One that was under way at a death goes alone. */
static bool may_go(const struct prober_client *client)
{
    const struct request *next = next_request(client);

    if (next == NULL || client->pid == 0 || client->untold != 0 ||
        client->output.size > OUTPUT_MAX / 2)
        return false;
    if (next->deaths != 0 ||
        (client->under_way.first != NULL && client->under_way.first->deaths != 0))
        return client->under_way.count == 0;
    return client->under_way.count < at_once(client);
}

static void dispatch(struct prober_client *client)
{
    if (client->pid != 0)
        client_tell_contents(client);
    while (may_go(client)) {
        struct request *request =
            take(client->waiting.first != NULL ? &client->waiting : &client->patient, 0);
        if (request->answer == NULL) {
            request_free(request);
        } else if (json_line(json_incref(request->body), &client->output)) {
            push(&client->under_way, request);
            client->patient_under_way += request->patient;
        } else {
            client->output.failed = false;
            answer(request, "the request does not fit");
        }
    }
    if (client->pid != 0) {
        expect(client);
        client_flush(client);
    }
}

/* ---- what it says ---- */

bool client_text_printable(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f ||
            (c == 0xc2 && i + 1 < size && (unsigned char)text[i + 1] < 0xa0)) /* C1 in UTF-8 */
            return false;
    }
    return true;
}

bool prober_client_printable(const json_t *value)
{
    if (json_is_string(value))
        return client_text_printable(json_string_value(value), json_string_length(value));
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!prober_client_printable(json_array_get(value, i)))
            return false;
    }
    if (!json_is_object(value))
        return true;
    for (void *it = json_object_iter((json_t *)(uintptr_t)value); it != NULL;
         it = json_object_iter_next((json_t *)(uintptr_t)value, it)) {
        const char *key = json_object_iter_key(it);
        if (!client_text_printable(key, strlen(key)) ||
            !prober_client_printable(json_object_iter_value(it)))
            return false;
    }
    return true;
}

/* The members that everybody relies on. */
static bool is_endpoint(const json_t *endpoint)
{
    return json_is_string(json_object_get(endpoint, "target")) &&
           json_is_string(json_object_get(endpoint, "checked_at")) &&
           report_verdict_code(json_text(endpoint, "verdict")) >= 0 &&
           prober_client_printable(endpoint);
}

/* False: it breaks the rules. */
static bool take_line(void *context, const json_t *line, const uint8_t *bytes, size_t size)
{
    struct prober_client *client = context;
    bool wrong = false;
    uint64_t id = json_get_number(line, "id", 0, &wrong);
    json_t *endpoint = json_object_get(line, "endpoint");
    struct request *request = id == 0 || wrong ? NULL : find(&client->under_way, id);
    int about_document = client_take_document(client, line, bytes, size);

    if (about_document != 0)
        return about_document > 0;
    if (json_is_true(json_object_get(line, "alive")))
        return true; /* having been heard is all */
    if (request == NULL || bytes != NULL)
        return false;
    if (endpoint != NULL)
        return is_endpoint(endpoint) && json_array_size(request->endpoints) < ENDPOINTS_MAX &&
               json_array_append(request->endpoints, endpoint) == 0;
    const char *error = json_get_text(line, "error", &wrong);
    if (wrong || !json_is_true(json_object_get(line, "done")) ||
        (error != NULL && !client_text_printable(error, strlen(error))))
        return false;
    client->patient_under_way -= request->patient;
    answer(take(&client->under_way, id), error);
    return true;
}

static void on_readable(struct prober_client *client)
{
    uint8_t *room = buffer_reserve(&client->input, READ_SIZE);
    ssize_t got = room == NULL ? -1 : recv(client->fd, room, READ_SIZE, MSG_DONTWAIT);

    if (room == NULL) {
        client->input.failed = false;
        distrust(client, "the process that probes sends more than it may: it is replaced");
        return;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) { /* its death follows */
        loop_unwatch(client->loop, client->fd);
        return;
    }
    client->input.size += (size_t)got;
    if (!prober_talk_hear(&client->input, LINE_MAX_BYTES, DOCUMENT_KEPT_MAX, take_line, client)) {
        distrust(client, "the process that probes breaks the rules of talking: it is replaced");
        return;
    }
    dispatch(client);
}

static void on_socket(void *context, uint64_t tag, unsigned events)
{
    struct prober_client *client = context;

    if (tag != client->starts || client->fd < 0)
        return;
    if ((events & LOOP_WRITE) != 0)
        dispatch(client);
    if ((events & (LOOP_READ | LOOP_HANGUP | LOOP_ERROR)) != 0)
        on_readable(client);
}

/* ---- its beginning ---- */

pid_t prober_client_spawn(int program, int fd)
{
    char name[] = "holdfast", verb[] = "worker", kind[] = "prober";
    char *arguments[] = {name, verb, kind, NULL};
    static const char *const kept[] = {"SSL_CERT_FILE", "SSL_CERT_DIR", "ASAN_OPTIONS",
                                       "UBSAN_OPTIONS", "RES_OPTIONS"};
    char pairs[ARRAY_SIZE(kept)][1100], *environment[ARRAY_SIZE(kept) + 1] = {NULL};
    pid_t parent = getpid();
    size_t count = 0;

    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        const char *value = getenv(kept[i]);
        if (value != NULL && snprintf(pairs[count], sizeof pairs[count], "%s=%s", kept[i], value) <
                                 (int)sizeof pairs[count]) {
            environment[count] = pairs[count];
            count++;
        }
    }
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    sigset_t none;
    ignore(sigemptyset(&none));
    ignore(sigprocmask(SIG_SETMASK, &none, NULL));
    ignore(prctl(PR_SET_PDEATHSIG, SIGKILL));
    int moved = fcntl(fd, F_DUPFD, PROBER_FD + 16),
        moved_program = fcntl(program, F_DUPFD, PROBER_FD + 16);
    int null = open("/dev/null", O_RDWR);
    if (getppid() != parent || moved < 0 || moved_program < 0 || null < 0 ||
        dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(moved, PROBER_FD) < 0 || dup3(moved_program, PROBER_FD + 1, O_CLOEXEC) < 0 ||
        close_range(PROBER_FD + 2, ~0u, 0) != 0)
        _exit(70);
    ignore(fexecve(PROBER_FD + 1, arguments, environment));
    _exit(70);
}

static bool watch_both(struct prober_client *client)
{
    return client->pidfd >= 0 &&
           loop_watch(client->loop, client->fd, LOOP_READ, client->socket_handler,
                      client->starts) &&
           loop_watch(client->loop, client->pidfd, LOOP_READ, client->death_handler,
                      client->starts);
}

static void start_failed(struct prober_client *client)
{
    char text[120];

    ignore(snprintf(text, sizeof text, "the process that probes cannot be started: %s",
                    strerror(errno)));
    if (client->pid > 0) {
        ignore(kill(client->pid, SIGKILL));
        ignore(waitpid(client->pid, NULL, 0));
    }
    client->pid = 0;
    close_all(client);
    client_tell(client, text);
    timer_set(client->loop, &client->turn, loop_now(client->loop) + PAUSE_MAX_NS);
}

static void start(struct prober_client *client)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
        start_failed(client);
        return;
    }
    client->fd = ends[0];
    client->starts++;
    client->started_ns = loop_now(client->loop);
    client->pid = client->host.start(client->host.context, ends[1]);
    int saved = errno;
    ignore(close(ends[1]));
    errno = saved;
    if (client->pid > 0)
        client->pidfd = pidfd_open(client->pid, 0);
    if (client->pid <= 0 || !watch_both(client)) {
        start_failed(client);
        return;
    }
    json_t *limits = json_object();
    json_set_number(limits, "connections", client->limits.connections);
    json_set_number(limits, "per_host", client->limits.per_host);
    json_set_flag(limits, "keeps", client->host.keep != NULL);
    ignore(json_line(limits, &client->output));
    client_tell_contents_again(client);
    dispatch(client);
}

/* It is to be started, or there is something to ask. */
static void on_turn(void *context)
{
    struct prober_client *client = context;

    if (client->pid == 0)
        start(client);
    else
        dispatch(client);
}

int prober_client_new(struct prober_client **ret_client, struct loop *loop,
                      const struct prober_client_host *host, const struct prober_limits *limits,
                      struct error *error)
{
    struct prober_client *client = calloc(1, sizeof *client);

    if (client == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    client->loop = loop;
    client->host = *host;
    client->limits = *limits;
    client->fd = client->pidfd = -1;
    client->next_id = 1;
    client->socket_handler = loop_handler(loop, on_socket, client);
    client->death_handler = loop_handler(loop, on_death, client);
    timer_init(&client->turn, on_turn, client);
    timer_init(&client->silence, on_silence, client);
    buffer_init(&client->input, LINE_MAX_BYTES + DOCUMENT_KEPT_MAX + READ_SIZE);
    buffer_init(&client->output, OUTPUT_MAX + SUPPLY_BYTES_MAX);
    map_init(&client->contents);
    timer_set(loop, &client->turn, loop_now(loop));
    *ret_client = client;
    return 0;
}

void prober_client_free(struct prober_client *client)
{
    struct request *request;

    if (client == NULL)
        return;
    if (client->pid > 0) {
        ignore(kill(client->pid, SIGKILL));
        ignore(waitpid(client->pid, NULL, 0));
    }
    close_all(client);
    timer_cancel(client->loop, &client->turn);
    while ((request = take(&client->under_way, 0)) != NULL ||
           (request = take(&client->waiting, 0)) != NULL ||
           (request = take(&client->patient, 0)) != NULL)
        request_free(request);
    client_free_contents(client);
    buffer_fini(&client->input);
    buffer_fini(&client->output);
    free(client);
}

static bool add(struct prober_client *client, json_t *request, prober_answer_fn *fn, void *context,
                bool patient)
{
    struct request *made = calloc(1, sizeof *made);

    if (made == NULL || request == NULL || (made->endpoints = json_array()) == NULL) {
        free(made);
        json_decref(request);
        return false;
    }
    made->id = client->next_id++;
    made->body = request;
    made->answer = fn;
    made->context = context;
    made->patient = patient;
    json_set_number(request, "id", made->id);
    push(patient ? &client->patient : &client->waiting, made);
    /* From the loop, so that no answer comes before this has returned. */
    if (client->pid != 0 && may_go(client))
        timer_set(client->loop, &client->turn, loop_now(client->loop));
    return true;
}

bool prober_client_ask(struct prober_client *client, json_t *request, prober_answer_fn *fn,
                       void *context)
{
    return add(client, request, fn, context, false);
}

bool prober_client_ask_patiently(struct prober_client *client, json_t *request,
                                 prober_answer_fn *fn, void *context)
{
    return add(client, request, fn, context, true);
}

void prober_client_limit(struct prober_client *client, const struct prober_limits *limits)
{
    if (client->limits.connections == limits->connections &&
        client->limits.per_host == limits->per_host)
        return;
    client->limits = *limits;
    if (client->pid == 0)
        return;
    client->replaced = true;
    ignore(kill(client->pid, SIGKILL));
}

void prober_client_forget(struct prober_client *client, const void *context)
{
    const struct queue *queues[] = {&client->waiting, &client->patient, &client->under_way};

    for (size_t i = 0; i < ARRAY_SIZE(queues); i++) {
        for (struct request *it = queues[i]->first; it != NULL; it = it->next) {
            if (it->context == context)
                it->answer = NULL;
        }
    }
}

void prober_client_forget_gone(struct prober_client *client, prober_answer_fn *fn,
                               bool (*gone)(const void *context))
{
    const struct queue *queues[] = {&client->waiting, &client->patient, &client->under_way};

    for (size_t i = 0; i < ARRAY_SIZE(queues); i++) {
        for (struct request *it = queues[i]->first; it != NULL; it = it->next) {
            if (it->answer == fn && gone(it->context))
                it->answer = NULL;
        }
    }
}

size_t prober_client_pending(const struct prober_client *client)
{
    return client->waiting.count + client->patient.count + client->under_way.count;
}

void prober_client_state(const struct prober_client *client, struct prober_client_state *ret_state)
{
    *ret_state = (struct prober_client_state){
        .pid = client->pid, .starts = client->starts, .pending = prober_client_pending(client)};
}
