/* One drain in words, for `drain` and `status`. */
#pragma once

#include <jansson.h>

/* "all listeners: draining, 12 sessions and 1 handshakes left, until …", without a newline. */
void drain_print(const json_t *drain);
