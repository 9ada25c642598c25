/* Where a demo lives: a temporary folder with the configuration, the state folder and the log of
 * the edge, and the ports in use. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "demo/scoreboard.h"

#define WORKSPACE_PATH_MAX 256

struct workspace {
    char folder[WORKSPACE_PATH_MAX];
    char config[WORKSPACE_PATH_MAX + 32];
    char log[WORKSPACE_PATH_MAX + 32];   /* what the edge prints: events and errors */
    char trust[WORKSPACE_PATH_MAX + 32]; /* the certificate of the internal CA */
    char ready[WORKSPACE_PATH_MAX + 32]; /* the socket on which the edge says that it is ready */
    int web_fd, echo_fd;                 /* listening sockets of the servers behind the edge */
    int log_fd, ready_fd;
    uint16_t web_port; /* of the edge, before the web application */
    uint16_t echo_ports[DEMO_VERSION_COUNT];
};

/* Makes the folder, chooses ports (`port` 0: DEMO_PORT_DEFAULT when it is free, else any), listens,
 * writes the configuration. What was made so far is for workspace_fini() on failure, too. */
MUST_CHECK int workspace_init(struct workspace *workspace, uint16_t port, struct error *error);
/* Closes and removes everything; accepts a zeroed workspace. */
void workspace_fini(struct workspace *workspace);
