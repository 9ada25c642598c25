/* `holdfast demo`: everything at once on loopback. A temporary state folder with an internal CA,
 * the edge itself (this very program, started as `holdfast run`), a web application and an echo
 * server behind it, long-lived synthetic sessions before it. Every few seconds the certificate is
 * replaced, the configuration reloaded, the program upgraded to itself or a relay killed, while a
 * scoreboard counts what gets lost: nothing.
 *
 * Each part is a process of its own; they share the scoreboard (demo/scoreboard.h) and end with the
 * first one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define DEMO_SESSIONS_DEFAULT 300
#define DEMO_SESSIONS_MAX     50000
#define DEMO_PORT_DEFAULT     8443

struct demo_options {
    uint32_t once_s;   /* end after so many seconds of full operation; 0: on Ctrl-C */
    uint32_t sessions; /* synthetic sessions, half of them TLS 1.2 */
    uint16_t port;     /* of the web page; 0: DEMO_PORT_DEFAULT, or any free one */
};

/* Runs the demo. Returns 0 and, in *ret_unbroken, whether it kept its promise: every session was
 * there to the end, every message came back unaltered, no change failed and, with once_s, new
 * handshakes saw another certificate and (from 15 s on) each kind of change was made. */
MUST_CHECK int demo_run(const struct demo_options *options, bool *ret_unbroken,
                        struct error *error);
