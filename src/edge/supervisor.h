/* The supervisor: owns what outlives the other processes (listening sockets, arenas, channels),
 * starts and restarts them, opens configured files for control, and stops the house. No TLS, no
 * parsing of network input. */
#pragma once

#include "conf/conf.h"

/* Runs until stopped by SIGTERM or SIGINT (or until starting fails); returns the exit code. `conf`
 * stays the caller's. */
int supervisor_run(const struct conf *conf);
