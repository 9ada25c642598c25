/* The verbs: one file each in this folder, one line each in main.c's table. A verb gets its
 * arguments with its own name first and returns the exit code (base/error.h). */
#pragma once

int cmd_run(int argc, char **argv);
int cmd_config(int argc, char **argv);
int cmd_reload(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_sessions(int argc, char **argv);
int cmd_certs(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_cert(int argc, char **argv);
int cmd_upstream(int argc, char **argv);
int cmd_upgrade(int argc, char **argv);
int cmd_keys(int argc, char **argv);
int cmd_keylife(int argc, char **argv);
int cmd_policy(int argc, char **argv);
int cmd_drain(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_alerts(int argc, char **argv);
int cmd_countdown(int argc, char **argv);
int cmd_demo(int argc, char **argv);

/* The hidden verb that the supervisor executes: one of its processes. */
int cmd_worker(int argc, char **argv);
