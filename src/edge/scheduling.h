/* How the processes share a core: a relay that has something to do goes before a handshaker.
 *
 * A nice value alone shares out time and does not decide who runs at a wake-up. The length of the
 * slice does, on Linux since 6.12: of two processes below their share the one with the shorter
 * slice has the earlier deadline, and it takes the core from a running one with a longer slice. */
#pragma once

#include "session/board.h"

/* Of the calling process; it lasts through exec. An older kernel keeps its own slices. */
void scheduling_apply(enum process_kind kind, int handshaker_nice);
