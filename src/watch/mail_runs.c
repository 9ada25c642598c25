#include "watch/mail_runs.h"

#include <stdlib.h>
#include <string.h>

#include "base/string.h"
#include "watch/judge.h"
#include "watch/mail_exchange.h"

struct mail_run {
    struct mail_runs *runs;
    struct mail_run *previous, *next;
    struct target target;
    const struct checker_options *options;
    checker_done_fn *done;
    void *context;
    struct mail_exchange_lookup *lookup;
    struct mail_exchange *exchange;
    struct endpoint **endpoints;
    size_t count, open; /* open: hosts that are being checked */
};

static void unlink_run(struct mail_run *run)
{
    if (run->previous != NULL)
        run->previous->next = run->next;
    else
        run->runs->first = run->next;
    if (run->next != NULL)
        run->next->previous = run->previous;
    run->runs->count--;
}

static void finish(struct mail_run *run)
{
    unlink_run(run);
    for (size_t i = 0; i < run->count; i++)
        mail_exchange_judge(run->exchange, run->endpoints[i]);
    run->done(run->context, &run->target, run->endpoints, run->count);
    mail_exchange_free(run->exchange);
    free(run->endpoints);
    free(run);
}

/* Takes the endpoints; without memory they are lost. */
static void take(struct mail_run *run, struct endpoint **endpoints, size_t count)
{
    struct endpoint **larger = reallocarray(run->endpoints, run->count + count, sizeof *larger);

    if (larger != NULL)
        run->endpoints = larger;
    for (size_t i = 0; i < count; i++) {
        if (larger == NULL)
            endpoint_free(endpoints[i]);
        else
            run->endpoints[run->count++] = endpoints[i];
    }
}

static void host_checked(void *context, const struct target *target, struct endpoint **endpoints,
                         size_t count)
{
    struct mail_run *run = context;
    (void)target;

    if (count > 0)
        take(run, endpoints, count);
    if (--run->open == 0)
        finish(run);
}

/* There is no host: that is the endpoint. */
static void come_to_nothing(struct mail_run *run, bool unknown, const char *reason)
{
    struct endpoint *endpoint = endpoint_new(&run->target);

    if (endpoint != NULL) {
        endpoint->outcome = unknown ? ENDPOINT_RESOLVER_FAILED : ENDPOINT_NOT_RESOLVED;
        endpoint->stage = "mx";
        ignore(string_copy(endpoint->name, sizeof endpoint->name, run->target.host));
        ignore(string_copy(endpoint->reason, sizeof endpoint->reason, reason));
        judge_findings(endpoint, run->options);
        take(run, &endpoint, 1);
    }
    finish(run);
}

static void looked_up(void *context, struct mail_exchange *exchange)
{
    struct mail_run *run = context;

    run->lookup = NULL;
    run->exchange = exchange;
    for (size_t i = 0; i < exchange->host_count; i++)
        run->open += checker_add(run->runs->checker, &exchange->hosts[i].target, run->options,
                                 host_checked, run);
    if (exchange->host_count == 0)
        come_to_nothing(run, exchange->outcome == NAMES_FAILED, exchange->reason);
    else if (run->open == 0)
        come_to_nothing(run, true, "out of memory");
}

bool mail_runs_add(struct mail_runs *runs, const struct target *target,
                   const struct checker_options *options, checker_done_fn *done, void *context)
{
    struct mail_run *run = calloc(1, sizeof *run);

    if (run == NULL)
        return false;
    *run = (struct mail_run){.runs = runs,
                             .next = runs->first,
                             .target = *target,
                             .options = options,
                             .done = done,
                             .context = context};
    struct names *names = checker_names(runs->checker, options->name_servers, NULL);
    if (names != NULL)
        run->lookup = mail_exchange_expand(names, runs->http, target->host, looked_up, run);
    if (run->lookup == NULL) {
        free(run);
        return false;
    }
    if (run->next != NULL)
        run->next->previous = run;
    runs->first = run;
    runs->count++;
    return true;
}

void mail_runs_fini(struct mail_runs *runs)
{
    while (runs->first != NULL) {
        struct mail_run *run = runs->first;
        unlink_run(run);
        mail_exchange_cancel(run->lookup);
        mail_exchange_free(run->exchange);
        for (size_t i = 0; i < run->count; i++)
            endpoint_free(run->endpoints[i]);
        free(run->endpoints);
        free(run);
    }
}
