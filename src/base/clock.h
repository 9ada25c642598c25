/* Time. Durations and deadlines are nanoseconds of CLOCK_MONOTONIC; wall-clock time is for people
 * and certificates only. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

uint64_t clock_monotonic_ns(void);
uint64_t clock_wall_ns(void);

/* RFC 3339 in UTC with milliseconds ("2026-11-21T04:06:01.123Z"); `size` at least 25. Returns
 * `destination`. */
char *clock_rfc3339(char *destination, size_t size, uint64_t wall_ns);
/* The same from Unix seconds, without milliseconds: for dates of certificates, which reach from the
 * year 1 to 9999; what lies beyond is shown as the first or last of these seconds. `size` at least
 * 21. */
char *clock_rfc3339_seconds(char *destination, size_t size, int64_t unix_s);
