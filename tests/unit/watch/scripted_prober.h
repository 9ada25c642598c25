/* A process that probes nothing and answers from a script, by the target's name. */
#pragma once

#include <sys/types.h>

/* As in struct prober_client_host. `context`: a folder (const char *) where it notes, over all its
 * lives, how often it was asked for each target ("asked-TARGET"), and what it was told of files
 * ("told": "content;", "!trouble;", "-key;"). */
pid_t scripted_prober_start(void *context, int fd);
