#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#include "base/attributes.h"

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t clock_monotonic_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

char *clock_rfc3339(char *destination, size_t size, uint64_t wall_ns)
{
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    unsigned milliseconds = (unsigned)(wall_ns % NS_PER_S / NS_PER_MS);
    struct tm utc;
    char text[32] = "";

    gmtime_r(&seconds, &utc);
    ignore((long)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc));
    ignore(snprintf(destination, size, "%s.%03uZ", text, milliseconds));
    return destination;
}

char *clock_rfc3339_seconds(char *destination, size_t size, int64_t unix_s)
{
    static const int64_t first = -62135596800, last = 253402300799;
    time_t seconds = (time_t)(unix_s < first ? first : unix_s > last ? last : unix_s);
    struct tm utc;

    gmtime_r(&seconds, &utc);
    ignore(snprintf(destination, size, "%04d-%02d-%02dT%02d:%02d:%02dZ", utc.tm_year + 1900,
                    utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec));
    return destination;
}
