/* What the demo does to its edge while sessions are on it: a fixed rotation of changes with a short
 * pause between. Each is made by the very command that an operator would give; a relay is killed
 * with SIGKILL. One process. */
#pragma once

#include "demo/scoreboard.h"
#include "demo/workspace.h"

#define CHANGES_PAUSE_MS 1500

/* Begins once all sessions stand; runs until SIGTERM, and completes a change that is under way.
 * Returns the exit code. */
int changes_run(const struct workspace *workspace, struct scoreboard *board);
