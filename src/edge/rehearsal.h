/* What a new binary has to show before it replaces a running one: that it can read the state of the
 * supervisor, an arena and the configuration in force. Runs as a child without privileges, of which
 * nothing is left but its answer. */
#pragma once

/* Finds at `first_fd` and the next three: where to write the answer ("ok", or why not), the house,
 * the configuration, the metadata of an arena. Returns the exit code. */
int rehearsal_main(int first_fd);
