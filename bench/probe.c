#include "probe.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client.h"

#define SECOND        1000000000u
#define PROBE_GAP     3000000u /* ns between two requests */
#define LATENCIES_MAX 200000u

static const char request[] = "GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n";
static SSL *ssl;
static pthread_t thread;
static _Atomic(struct latencies *) into;
static atomic_bool stopping;

static bool ask(void)
{
    static struct answer answer;
    char bytes[4096];
    int fed;

    answer_start(&answer);
    if (SSL_write(ssl, request, sizeof(request) - 1) <= 0)
        return false;
    do {
        int n = SSL_read(ssl, bytes, sizeof(bytes));
        fed = n > 0 ? answer_feed(&answer, bytes, (size_t)n) : -1;
    } while (fed == 0);
    return fed == 1;
}

static void *run(void *unused)
{
    for (uint64_t next = client_now(); !stopping; next += PROBE_GAP) {
        struct timespec time = {.tv_sec = (time_t)(next / SECOND),
                                .tv_nsec = (long)(next % SECOND)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
        struct latencies *latencies = into;
        uint64_t start = client_now();
        if (!ask())
            client_die("the established session was lost in the storm");
        if (latencies)
            latencies_add(latencies, (double)(client_now() - start) / 1e3);
    }
    return unused;
}

void probe_connect(uint16_t port, const char *suite)
{
    int fd = client_dial(port, false);

    if (fd < 0)
        client_die("connect");
    ssl = SSL_new(client_context(suite, false));
    SSL_set_fd(ssl, fd);
    SSL_set_tlsext_host_name(ssl, "localhost");
    if (SSL_connect(ssl) != 1 || client_negotiation_fault(ssl, suite, false) || !ask())
        client_die("session to be probed");
}

bool probe_start(void)
{
    const struct sched_param priority = {.sched_priority = 2};

    if (pthread_create(&thread, NULL, run, NULL) != 0)
        client_die("thread");
    return pthread_setschedparam(thread, SCHED_FIFO, &priority) == 0;
}

void probe_into(struct latencies *latencies)
{
    into = latencies;
}

void probe_stop(void)
{
    stopping = true;
    pthread_join(thread, NULL);
}

void latencies_add(struct latencies *latencies, double microseconds)
{
    if (!latencies->items && !(latencies->items = calloc(LATENCIES_MAX, sizeof(double))))
        client_die("memory");
    if (latencies->count < LATENCIES_MAX)
        latencies->items[latencies->count++] = microseconds;
}

static int compare_doubles(const void *a, const void *b)
{
    const double *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

void latencies_print(const char *name, struct latencies *latencies)
{
    static const struct {
        const char *name;
        double part;
    } parts[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}};

    if (latencies->count)
        qsort(latencies->items, latencies->count, sizeof(double), compare_doubles);
    printf(", \"%s\": {\"count\": %zu", name, latencies->count);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        size_t at = (size_t)((double)(latencies->count - 1) * parts[i].part);
        printf(", \"%s\": %.1f", parts[i].name, latencies->count ? latencies->items[at] : 0.0);
    }
    fputs("}", stdout);
}
