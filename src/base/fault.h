/* Faults on purpose, for tests of what must survive them. Only the program that the tests build
 * for it (HOLDFAST_FAULTS) has any; in all others these are nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#ifdef HOLDFAST_FAULTS

/* HOLDFAST_FAULT="POINT:ACTION" in the environment names the point and what happens there: crash
 * (SIGILL, which no sanitizer makes its own), abort, exit, hang, or yes, which only makes this
 * true. */
bool fault_point(const char *name);
/* Crashes on bytes that contain the text of HOLDFAST_FAULT_INPUT: a session that kills who serves
 * it. */
void fault_input(const void *bytes, size_t size);

#else

static inline bool fault_point(const char *name)
{
    (void)name;
    return false;
}

static inline void fault_input(const void *bytes, size_t size)
{
    (void)bytes;
    (void)size;
}

#endif
