/* The demo's web application: serves the form over plain HTTP behind the edge and tells every
 * visitor what was done to the edge during the visit, and how much of it this very TLS connection
 * has outlived. The edge carries one
 * connection per connection, so the life of the one here is the life of the one there. One process,
 * one loop. */
#pragma once

#include "demo/scoreboard.h"

/* Serves on `listening_fd` until SIGTERM. Returns the exit code. */
int web_run(int listening_fd, struct scoreboard *board);
