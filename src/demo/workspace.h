/* Where a demo lives: a temporary folder with the configuration, the state folder and the log of
 * the edge, and the ports in use. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "demo/scoreboard.h"

#define WORKSPACE_PATH_MAX 256

struct workspace {
    char folder[WORKSPACE_PATH_MAX];
    char config[WORKSPACE_PATH_MAX + 32];
    char program[WORKSPACE_PATH_MAX + 32]; /* what to execute: a copy of this program */
    char log[WORKSPACE_PATH_MAX + 32];     /* what the edge prints: events and errors */
    char trust[WORKSPACE_PATH_MAX + 32];   /* the certificate of the internal CA */
    char ready[WORKSPACE_PATH_MAX + 32];   /* the socket on which the edge says that it is ready */
    int web_fd, echo_fd;                   /* listening sockets of the servers behind the edge */
    int log_fd, ready_fd;
    uint16_t web_port; /* of the edge, before the web application */
    uint16_t echo_ports[DEMO_VERSION_COUNT];
    uint16_t guest_port; /* of the listener that comes and goes */
    bool web_too_on_6;   /* the web page is on [::1], too */
};

/* Makes the folder, chooses ports (`port` 0: DEMO_PORT_DEFAULT when it is free, else any), listens,
 * copies the program and writes the configuration. What was made so far is for workspace_fini() on
 * failure, too. */
MUST_CHECK int workspace_init(struct workspace *workspace, uint16_t port, struct error *error);
/* Writes the configuration anew, whole or not at all; with `guest` it has one listener more. */
MUST_CHECK int workspace_configure(const struct workspace *workspace, bool guest,
                                   struct error *error);
/* The edge is ready; nobody listens to what it tells a service manager from now on. */
void workspace_is_ready(struct workspace *workspace);
/* Closes and removes everything; accepts a zeroed workspace. */
void workspace_fini(struct workspace *workspace);
