/* When a certificate should have been renewed: the one rule by which a check calls a renewal
 * overdue, and by which people are alerted. All times are Unix seconds. */
#pragma once

#include <stdint.h>

/* The end of the window that the CA suggested (RFC 9773; 0: none is known), else the moment when a
 * third of the life is left; a half, for lives under ten days. */
int64_t renewal_due(int64_t not_before, int64_t not_after, int64_t window_end);

/* How long after that it is late: a fiftieth of the life, between an hour and three days. */
int64_t renewal_grace(int64_t not_before, int64_t not_after);
