#include "demo/demo.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/string.h"
#include "conf/conf.h"
#include "demo/changes.h"
#include "demo/clients.h"
#include "demo/echo.h"
#include "demo/process.h"
#include "demo/scoreboard.h"
#include "demo/web.h"
#include "demo/workspace.h"
#include "loop/descriptors.h"
#include "loop/loop.h"

#define START_MS           20000
#define START_ALL_NS       (60 * NS_PER_S) /* until all sessions stand */
#define STOP_MS            10000
#define DESCRIPTOR_RESERVE 512
#define ALL_CHANGES_S      15 /* in so many seconds each kind of change has its turn */

/* In the order in which they are stopped. */
enum { PART_CHANGER, PART_CLIENTS, PART_EDGE, PART_WEB, PART_ECHO, PART_COUNT };

struct demo {
    const struct demo_options *options;
    struct workspace workspace;
    struct scoreboard *board;
    struct process parts[PART_COUNT];
    struct loop *loop;
    struct timer tick;
    struct scoreboard_frame frame;
    uint64_t begun_ns, complete_ns;
    char url[64];
    struct error *error; /* why it ended before its time */
};

/* ---- the parts ---- */

static int run_web(void *context)
{
    struct demo *demo = context;
    return web_run(demo->workspace.web_fd, demo->board);
}

static int run_echo(void *context)
{
    struct demo *demo = context;
    return echo_run(demo->workspace.echo_fd);
}

static int run_clients(void *context)
{
    struct demo *demo = context;
    const struct workspace *workspace = &demo->workspace;
    struct clients_options options = {
        .sessions = demo->options->sessions,
        .ports = {workspace->echo_ports[DEMO_TLS_1_2], workspace->echo_ports[DEMO_TLS_1_3]},
        .trust_path = workspace->trust,
        .board = demo->board};
    return clients_run(&options);
}

static int run_changer(void *context)
{
    struct demo *demo = context;
    return changes_run(&demo->workspace, demo->board);
}

static int start_edge(struct demo *demo, struct error *error)
{
    char program[] = "holdfast", verb[] = "run", option[] = "-c";
    char *const arguments[] = {program, verb, option, demo->workspace.config, NULL};

    if (setenv("NOTIFY_SOCKET", demo->workspace.ready, 1) != 0)
        return error_set(error, ERROR_MEMORY, "out of memory");
    int result = process_execute(&demo->parts[PART_EDGE], "edge", demo->workspace.program,
                                 arguments, demo->workspace.log_fd, error);
    ignore(unsetenv("NOTIFY_SOCKET"));
    return result;
}

/* What the edge said last, for the message about its failure. */
static const char *last_words(const struct demo *demo, char **text)
{
    if (conf_read(text, demo->workspace.log, NULL) != 0)
        return "it said nothing";
    size_t size = strlen(*text);
    return size > 800 ? *text + size - 800 : *text;
}

static int edge_failed(struct demo *demo, const char *what, struct error *error)
{
    char *text = NULL;
    int result =
        error_set(error, ERROR_INTERNAL, "the edge %s:\n%s", what, last_words(demo, &text));

    free(text);
    return result;
}

static int wait_ready(struct demo *demo, struct error *error)
{
    uint64_t deadline_ns = clock_monotonic_ns() + START_MS * NS_PER_MS;
    struct pollfd ready = {.fd = demo->workspace.ready_fd, .events = POLLIN};
    char text[512];

    while (clock_monotonic_ns() < deadline_ns) {
        if (process_ended(&demo->parts[PART_EDGE]))
            return edge_failed(demo, "did not start", error);
        if (poll(&ready, 1, 50) != 1)
            continue;
        ssize_t size = recv(ready.fd, text, sizeof text - 1, 0);
        text[size > 0 ? size : 0] = '\0';
        if (strstr(text, "READY=1") != NULL) {
            workspace_is_ready(&demo->workspace);
            return 0;
        }
    }
    return edge_failed(demo, "was not ready in time", error);
}

static int start_parts(struct demo *demo, struct error *error)
{
    static const struct {
        const char *name;
        process_fn *fn;
    } parts[PART_COUNT] = {[PART_CHANGER] = {"changer", run_changer},
                           [PART_CLIENTS] = {"clients", run_clients},
                           [PART_WEB] = {"web application", run_web},
                           [PART_ECHO] = {"echo server", run_echo}};
    int result = start_edge(demo, error);

    if (result == 0)
        result = wait_ready(demo, error);
    for (int i = PART_COUNT - 1; i >= 0 && result == 0; i--) {
        if (i != PART_EDGE)
            result = process_start(&demo->parts[i], parts[i].name, parts[i].fn, demo, error);
    }
    return result;
}

/* True when every part ended as it should. */
static bool stop_parts(struct demo *demo)
{
    bool clean = true;

    for (int i = 0; i < PART_COUNT; i++) {
        bool was_running = demo->parts[i].pid != 0;
        bool ended_well = process_stop(&demo->parts[i], STOP_MS);
        if (was_running)
            clean = clean && ended_well;
    }
    return clean;
}

/* ---- the show ---- */

static void fail(struct demo *demo, const char *what)
{
    loop_stop(demo->loop, error_set(demo->error, ERROR_INTERNAL, "%s", what));
}

static void watch_parts(struct demo *demo)
{
    const char *fault = scoreboard_first_fault(demo->board);

    for (int i = 0; i < PART_COUNT; i++) {
        char text[96];
        if (!process_ended(&demo->parts[i]))
            continue;
        ignore(snprintf(text, sizeof text, "the %s ended by itself", demo->parts[i].name));
        if (i == PART_EDGE)
            loop_stop(demo->loop, edge_failed(demo, "ended by itself", demo->error));
        else
            fail(demo, fault[0] != '\0' ? fault : text);
        return;
    }
}

static void on_tick(void *context)
{
    struct demo *demo = context;
    const char *fault = scoreboard_first_fault(demo->board);
    uint64_t now = clock_monotonic_ns();

    if (demo->complete_ns == 0 && __atomic_load_n(&demo->board->complete, __ATOMIC_ACQUIRE) != 0)
        demo->complete_ns = now;
    demo->frame.elapsed_ns = demo->complete_ns != 0 ? now - demo->complete_ns : 0;
    scoreboard_draw(demo->board, &demo->frame);
    demo->frame.first = false;
    timer_set(demo->loop, &demo->tick, now + (demo->frame.terminal ? 250 * NS_PER_MS : NS_PER_S));
    watch_parts(demo);
    if (demo->complete_ns == 0 && now - demo->begun_ns > START_ALL_NS)
        fail(demo, fault[0] != '\0' ? fault : "the sessions did not all open within a minute");
    else if (demo->options->once_s != 0 &&
             demo->frame.elapsed_ns >= demo->options->once_s * NS_PER_S)
        loop_stop(demo->loop, 0);
}

/* By Ctrl-C, by its terminal's or its reader's end: what was made is always removed. */
static const int stops[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};

/* They wait until the loop runs. */
static void hold_stops(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    for (size_t i = 0; i < ARRAY_SIZE(stops); i++)
        sigaddset(&signals, stops[i]);
    ignore(sigprocmask(SIG_BLOCK, &signals, NULL));
}

static void on_stop(void *context, int signal_number)
{
    struct demo *demo = context;
    (void)signal_number;

    loop_stop(demo->loop, 0);
}

static int show(struct demo *demo, struct error *error)
{
    demo->loop = loop_new();
    demo->error = error;
    demo->begun_ns = clock_monotonic_ns();
    demo->frame = (struct scoreboard_frame){.url = demo->url,
                                            .folder = demo->workspace.folder,
                                            .sessions_wanted = demo->options->sessions,
                                            .once_s = demo->options->once_s,
                                            .terminal = isatty(STDOUT_FILENO) == 1,
                                            .first = true};
    bool heard = demo->loop != NULL;
    for (size_t i = 0; heard && i < ARRAY_SIZE(stops); i++)
        heard = loop_signal(demo->loop, stops[i], on_stop, demo);
    if (!heard)
        return error_set(error, ERROR_IO, "cannot make an event loop: %s", strerror(errno));
    timer_init(&demo->tick, on_tick, demo);
    on_tick(demo);
    return loop_run(demo->loop);
}

/* Every session takes a descriptor of the clients, one of the echo server and two of a relay. */
static int check_descriptors(const struct demo_options *options, struct error *error)
{
    uint64_t limit = descriptors_raise();

    if (limit == 0)
        return error_set(error, ERROR_IO, "cannot read the descriptor limit: %s", strerror(errno));
    if ((uint64_t)options->sessions * 2 + DESCRIPTOR_RESERVE > limit)
        return error_set(error, ERROR_LIMIT,
                         "%u sessions need a descriptor limit of %" PRIu64 ", here it is %" PRIu64
                         "; use fewer with --sessions, or raise it with ulimit -n",
                         options->sessions, (uint64_t)options->sessions * 2 + DESCRIPTOR_RESERVE,
                         limit);
    return 0;
}

/* With --once, what was to be shown must have happened. */
static void check_changes(struct demo *demo)
{
    static const char *const missing[CHANGE_COUNT] = {
        [CHANGE_CERTIFICATE] = "no certificate was replaced",
        [CHANGE_KILL] = "no relay was killed",
        [CHANGE_RELOAD] = "no configuration was reloaded",
        [CHANGE_UPGRADE] = "no upgrade was made"};
    struct scoreboard *board = demo->board;

    if (demo->options->once_s == 0)
        return;
    for (int i = 0; i < CHANGE_COUNT && demo->options->once_s >= ALL_CHANGES_S; i++) {
        if (scoreboard_get(&board->changes[i]) == 0)
            scoreboard_fault(board, &board->failed, missing[i]);
    }
    if (scoreboard_get(&board->seen) == 0)
        scoreboard_fault(board, &board->failed, "no new connection saw another certificate");
}

static void summarise(const struct scoreboard *board, bool unbroken)
{
    const char *fault = scoreboard_first_fault(board);
    const uint64_t *changes = board->changes;

    printf("%s: %" PRIu64 " messages came back unaltered; certificates replaced: %" PRIu64
           " (%" PRIu64 " seen), relays killed: %" PRIu64 ", reloads: %" PRIu64
           ", upgrades: %" PRIu64 ", lost: %" PRIu64 "%s%s\n",
           unbroken ? "Unbroken" : "Broken", scoreboard_get(&board->messages),
           scoreboard_get(&changes[CHANGE_CERTIFICATE]), scoreboard_get(&board->seen),
           scoreboard_get(&changes[CHANGE_KILL]), scoreboard_get(&changes[CHANGE_RELOAD]),
           scoreboard_get(&changes[CHANGE_UPGRADE]), scoreboard_get(&board->lost),
           fault[0] != '\0' ? ": " : "", fault);
}

static int perform(struct demo *demo, bool *ret_unbroken, struct error *error)
{
    int result = check_descriptors(demo->options, error);

    if (result == 0)
        result = workspace_init(&demo->workspace, demo->options->port, error);
    if (result != 0)
        return result;
    ignore(
        snprintf(demo->url, sizeof demo->url, "https://localhost:%u/", demo->workspace.web_port));
    printf("Open %s in a browser and fill in the form.\n"
           "(The browser does not know this demo's own CA and says so.)\n\n",
           demo->url);
    ignore(fflush(stdout));
    result = start_parts(demo, error);
    if (result == 0)
        result = show(demo, error);
    bool clean = stop_parts(demo);
    if (result != 0)
        return result;
    if (!clean)
        return edge_failed(demo, "or another part did not end as it should", error);
    check_changes(demo);
    *ret_unbroken = scoreboard_get(&demo->board->lost) == 0 &&
                    scoreboard_get(&demo->board->failed) == 0 && demo->complete_ns != 0 &&
                    scoreboard_get(&demo->board->messages) > 0;
    summarise(demo->board, *ret_unbroken);
    return 0;
}

int demo_run(const struct demo_options *options, bool *ret_unbroken, struct error *error)
{
    struct demo demo = {.options = options, .board = scoreboard_new()};

    if (demo.board == NULL)
        return error_set(error, ERROR_MEMORY, "out of memory");
    hold_stops();
    int result = perform(&demo, ret_unbroken, error);
    loop_free(demo.loop);
    workspace_fini(&demo.workspace);
    scoreboard_free(demo.board);
    return result;
}
