/* The loop of `holdfast check`: all targets given to the checker, progress on a terminal, an end by
 * a signal or by the time. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "cmd/check.h"
#include "tls/leg.h"
#include "watch/report_words.h"

#define PROGRESS_AFTER_NS (2 * NS_PER_S)
#define PROGRESS_EVERY_NS (NS_PER_S / 4)

/* What became of one target. */
struct slot {
    struct run *run;
    json_t *endpoints; /* NULL: not over yet, or printed */
};

struct run {
    const struct check_order *order;
    struct loop *loop;
    struct checker *checker;
    struct slot *slots;
    size_t finished, counts[4]; /* endpoints per verdict */
    int code;
    bool interrupted, failed;
    struct timer progress, total;
    bool shown; /* a line of progress stands on the terminal */
};

/* ---- progress ---- */

static void clear_progress(struct run *run)
{
    if (run->shown)
        fputs("\r\033[K", stderr);
    run->shown = false;
}

static void show_progress(void *context)
{
    struct run *run = context;

    fprintf(stderr, "\r\033[K%zu of %zu targets checked", run->finished, run->order->count);
    if (run->counts[2] > 0)
        fprintf(stderr, ", %zu endpoints critical", run->counts[2]);
    ignore(fflush(stderr));
    run->shown = true;
    timer_set(run->loop, &run->progress, loop_now(run->loop) + PROGRESS_EVERY_NS);
}

/* ---- results ---- */

static void print_now(struct run *run, json_t *object)
{
    struct buffer line;

    clear_progress(run);
    buffer_init(&line, 64u << 20);
    if (json_line(object, &line))
        ignore((long)fwrite(line.data, 1, line.size, stdout));
    else
        run->failed = true;
    buffer_fini(&line);
}

static void take(struct slot *slot, const struct endpoint *endpoint)
{
    struct run *run = slot->run;
    json_t *object = report_json(endpoint);
    int code = report_verdict(object);

    if (object == NULL) {
        run->failed = true;
        return;
    }
    run->counts[code]++;
    run->code = report_worse(run->code, code);
    if (run->order->output == CHECK_JSON)
        print_now(run, object);
    else
        ignore(json_array_append_new(slot->endpoints, object));
}

/* Whatever came of it, TLS is spoken there. */
static bool speaks_tls(const struct endpoint *endpoint)
{
    return endpoint->outcome == ENDPOINT_SEEN || endpoint->seen.chain_count > 0 ||
           (endpoint->outcome == ENDPOINT_HANDSHAKE_FAILED &&
            endpoint->seen.alert_received != ALERT_NONE);
}

static void target_done(void *context, const struct target *target, struct endpoint **endpoints,
                        size_t count)
{
    struct slot *slot = context;
    struct run *run = slot->run;

    (void)target;
    slot->endpoints = json_array();
    for (size_t i = 0; i < count; i++) {
        if (!run->order->discovering || speaks_tls(endpoints[i]))
            take(slot, endpoints[i]);
        endpoint_free(endpoints[i]);
    }
    if (run->order->output == CHECK_JSON)
        ignore(fflush(stdout));
    if (++run->finished == run->order->count)
        loop_stop(run->loop, 0);
}

/* ---- the end ---- */

static void on_signal(void *context, int signal_number)
{
    struct run *run = context;

    (void)signal_number;
    run->interrupted = true;
    loop_stop(run->loop, 0);
}

static void on_total_timeout(void *context)
{
    struct run *run = context;

    loop_stop(run->loop, 0);
}

static int begin(struct run *run, struct error *error)
{
    uint64_t now;
    size_t count = run->order->count;

    run->slots = calloc(count, sizeof *run->slots);
    run->loop = loop_new();
    if (run->slots == NULL || run->loop == NULL ||
        !loop_signal(run->loop, SIGINT, on_signal, run) ||
        !loop_signal(run->loop, SIGTERM, on_signal, run))
        return error_set(error, ERROR_MEMORY, "the system refuses an event loop");
    if (checker_new(&run->checker, run->loop, &run->order->checker, error) != 0)
        return -(int)error->code;
    now = loop_now(run->loop);
    timer_init(&run->progress, show_progress, run);
    timer_init(&run->total, on_total_timeout, run);
    if (isatty(STDERR_FILENO) && run->order->output != CHECK_NAGIOS)
        timer_set(run->loop, &run->progress, now + PROGRESS_AFTER_NS);
    if (run->order->total_timeout_ms > 0)
        timer_set(run->loop, &run->total, now + run->order->total_timeout_ms * NS_PER_MS);
    for (size_t i = 0; i < count; i++) {
        run->slots[i].run = run;
        if (!checker_add(run->checker, &run->order->targets[i], NULL, target_done, &run->slots[i]))
            return error_set(error, ERROR_MEMORY, "out of memory");
    }
    return 0;
}

static json_t *collect(struct run *run)
{
    json_t *all = json_array();

    for (size_t i = 0; run->slots != NULL && i < run->order->count; i++) {
        if (run->slots[i].endpoints != NULL)
            ignore(json_array_extend(all, run->slots[i].endpoints));
        json_decref(run->slots[i].endpoints);
    }
    return all;
}

int check_run(const struct check_order *order, struct check_outcome *ret_outcome,
              struct error *error)
{
    struct run run = {.order = order};
    int result = begin(&run, error);

    if (result == 0)
        ignore(loop_run(run.loop));
    clear_progress(&run);
    checker_free(run.checker);
    json_t *endpoints = collect(&run);
    if (result == 0 && (run.failed || endpoints == NULL))
        result = error_set(error, ERROR_MEMORY, "out of memory");
    if (result == 0)
        *ret_outcome = (struct check_outcome){.endpoints = endpoints,
                                              .code = run.code,
                                              .unfinished = order->count - run.finished,
                                              .interrupted = run.interrupted};
    else
        json_decref(endpoints);
    free(run.slots);
    loop_free(run.loop);
    return result;
}
