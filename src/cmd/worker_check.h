/* A process that looks at a configuration for the supervisor, which itself parses nothing but the
 * configuration's text: it opens every file that the configuration names, gives up its privileges,
 * and only then looks into them. */
#pragma once

/* Arguments of the hidden verb: "check" UID GID PATH, where PATH is only for messages and UID "-"
 * means that nothing is given up. Findings go to the descriptor 3, one a line; warnings begin with
 * "warning: ". Exit code 0 right, 3 a file cannot be opened, 6 a finding. */
int worker_check(int argc, char **argv);
