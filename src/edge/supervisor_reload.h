/* Reload, from the supervisor's side: another configuration is read, checked whole, and put in
 * force in every process, step by step; or refused, and nothing is changed.
 *
 *   read and merge (conf/merge.h)                          at once
 *   → a process of its own opens and examines the files    supervisor_check.c
 *   → addresses are bound                                  from here on it is the house's
 *   → handshakers prepare → relays swap → control swaps and sends certificates, whereupon
 *     handshakers swap → addresses that went are closed
 *
 * Each arrow waits for the answers of the step before; a process that dies on the way starts again
 * with the new configuration, and one that does not answer in time is waited for no longer.
 *
 * Also here: what goes back by itself (`--confirm`), and the history (supervisor_history.h). */
#pragma once

#include <sys/types.h>

#include "conf/conf.h"
#include "session/messages.h"

struct supervisor;
struct process;
struct house_life;
struct reload;

/* Once the house stands. `text` is the configuration as its user wrote it, or NULL in an image that
 * was put in the place of another: then the house says which one is in force. NULL: out of memory.
 */
struct reload *reload_new(struct supervisor *supervisor, const char *text);
void reload_free(struct reload *reload); /* accepts NULL */

/* SIGHUP */
void reload_signalled(void *context, int signal_number);
/* MESSAGE_RELOAD of control. */
void reload_requested(struct reload *reload, const struct message_reload *body);
/* MESSAGE_CONFIG_LOADED */
void reload_loaded(struct reload *reload, pid_t pid, const struct message_config_loaded *body);
/* A child of the supervisor ended. True when it was the reload's own. */
bool reload_child_ended(struct reload *reload, pid_t pid, int status);
/* A process of the house ended: it is not waited for. */
void reload_life_ended(struct reload *reload, pid_t pid);
/* Once a second. */
void reload_tick(struct reload *reload);
/* Nothing else may change the house meanwhile. NULL, or what is under way, for people. */
const char *reload_busy(const struct reload *reload);
/* Where the configuration in force came from. */
const char *reload_source(const struct reload *reload);
