/* The echo server behind the edge: returns every byte; one process, one loop. */
#pragma once

/* Serves on `listening_fd` until SIGTERM. Returns the exit code. */
int echo_run(int listening_fd);
