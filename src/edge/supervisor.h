/* The supervisor: owns what outlives the other processes (listening sockets, arenas, channels),
 * starts and restarts them, opens configured files for control, and stops the house. No TLS, no
 * parsing of network input. */
#pragma once

#include "conf/conf.h"

/* Runs until stopped by SIGTERM or SIGINT (or until starting fails); returns the exit code. `conf`
 * stays the caller's, and so does `text`, which it was parsed from. */
int supervisor_run(const struct conf *conf, const char *text);

/* The same in an image that another one has executed in its place: everything it needs is in the
 * house (edge/house.h) at this descriptor. `returned`: why the image that was to replace this one
 * was left again; NULL when this one replaces another. */
int supervisor_resume(int house_fd, const char *returned);
