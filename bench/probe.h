/* An established session that is asked every 3 ms while others do what they do: its answers are
 * timed. It is OpenSSL's, in a thread of its own at real-time priority where that is allowed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct latencies {
    double *items; /* µs */
    size_t count;
};

/* Connects, and is answered once. Ends the program when it cannot. */
void probe_connect(uint16_t port, const char *suite);

/* Begins to ask. Returns whether at real-time priority. */
bool probe_start(void);

/* Where the latencies of requests go that are made from now on; NULL: nowhere. */
void probe_into(struct latencies *latencies);

void probe_stop(void);

/* As a member of a JSON object: , "name": {"count": …, "p50": …, "p90": …, "p99": …} */
void latencies_add(struct latencies *latencies, double microseconds);
void latencies_print(const char *name, struct latencies *latencies);
