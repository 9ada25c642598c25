/* The synthetic clients of the demo: many long-lived TLS sessions that exchange numbered messages
 * and compare every byte of what comes back, and a prober that connects anew to see which
 * certificate is served. One process, one loop. */
#pragma once

#include <stdint.h>

#include "demo/scoreboard.h"

struct clients_options {
    uint32_t sessions;
    uint16_t
        ports[DEMO_VERSION_COUNT]; /* where the edge speaks this version before the echo server */
    const char *trust_path;        /* file with the CA's certificate */
    struct scoreboard *board;
};

/* Runs until SIGTERM. Returns the exit code. */
int clients_run(const struct clients_options *options);
