/* holdfast check: the strictest client, once. */
#include "cmd/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/secret.h"
#include "base/table.h"
#include "cmd/cmd.h"
#include "tls/handshake.h"
#include "watch/report_words.h"

#define PROMETHEUS_MAX (256u << 20)

void check_order_fini(struct check_order *order)
{
    for (size_t i = 0; i < order->checker.store_count; i++)
        chain_store_unref(order->checker.stores[i]);
    for (size_t i = 0; i < order->checker.crl_file_count; i++)
        crl_file_free(order->checker.crl_files[i]);
    certificate_logs_free(order->logs);
    secret_free(order->password, CHECK_PASSWORD_SIZE);
    free(order->targets);
}

static void print_prometheus(const json_t *endpoints)
{
    struct buffer text;

    buffer_init(&text, PROMETHEUS_MAX);
    report_prometheus(&text, endpoints, report_targets(endpoints) > 1);
    fputs(buffer_text(&text), stdout);
    buffer_fini(&text);
}

static void print_trace(const json_t *endpoints)
{
    for (size_t i = 0; i < json_array_size(endpoints); i++) {
        if (i > 0)
            putchar('\n');
        report_trace(stdout, json_array_get(endpoints, i));
    }
}

/* Returns the exit code, which is `code` where the verdicts count. */
static int print_outcome(const struct check_order *order, const json_t *endpoints, int code)
{
    switch (order->output) {
    case CHECK_TABLE:
        report_table(stdout, endpoints, table_colour(stdout));
        break;
    case CHECK_NAGIOS:
        return report_nagios(stdout, endpoints, &order->nagios);
    case CHECK_PROMETHEUS:
        print_prometheus(endpoints);
        break;
    case CHECK_TRACE:
        print_trace(endpoints);
        break;
    case CHECK_CAMPAIGN:
        return check_campaign(order, endpoints);
    case CHECK_COMPARE:
        return check_compare(order, endpoints);
    case CHECK_JSON: /* said already */
        break;
    }
    return code;
}

/* A plugin says everything in its first line. */
static void print_nothing_known(const struct check_order *order, size_t unfinished)
{
    printf("SSL_CERT UNKNOWN - %s%s: no answer within %g s\n", order->targets[0].text,
           unfinished > 1 ? " and others" : "", (double)order->total_timeout_ms / 1000);
}

static int finish(struct check_order *order, struct check_outcome *outcome)
{
    bool none = json_array_size(outcome->endpoints) == 0;
    int code = outcome->code;

    order->nagios.unfinished = outcome->unfinished;
    order->nagios.targets = order->count;
    if (none && order->output == CHECK_TABLE && outcome->unfinished == 0)
        fputs("holdfast check: nothing there speaks TLS\n", stderr);
    if (none && order->output == CHECK_NAGIOS && outcome->unfinished > 0)
        print_nothing_known(order, outcome->unfinished);
    else
        code = print_outcome(order, outcome->endpoints, code);
    if (outcome->unfinished > 0) {
        code = report_worse(code, 3);
        if (order->output != CHECK_NAGIOS)
            fprintf(stderr, "holdfast check: %s: %zu of %zu targets were not finished\n",
                    outcome->interrupted ? "interrupted" : "the time is over", outcome->unfinished,
                    order->count);
    }
    json_decref(outcome->endpoints);
    return code;
}

int cmd_check(int argc, char **argv)
{
    struct check_order order = {.output = CHECK_TABLE};
    struct check_outcome outcome;
    struct error error = {0};

    tls_process_init();
    int code = check_options(&order, argc, argv);

    if (code < 0)
        code = check_run(&order, &outcome, &error) == 0 ? finish(&order, &outcome)
                                                        : check_complain(&order, &error);
    check_order_fini(&order);
    return code;
}
