/* How many descriptors this process may have. */
#pragma once

#include <stdint.h>

/* Raises the limit as far as it may be, and returns it; 0: errno says why it cannot be known. */
uint64_t descriptors_raise(void);
