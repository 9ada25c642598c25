/* The control process: everything slow. Prints events, answers the control socket and the admin
 * HTTP endpoints, hosts the vault, resolves the names of upstream servers. Traffic goes on without
 * it. */
#pragma once

/* The main of the process that finds its channel to the supervisor at `channel_fd`. Returns the
 * exit code. */
int control_main(int channel_fd);
