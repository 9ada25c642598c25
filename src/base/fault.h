/* Faults on purpose, for tests of what must survive them. Only a build with -Dfaults=true has any;
 * in all others a fault point is nothing.
 *
 * HOLDFAST_FAULT="POINT:ACTION" in the environment names the point and what happens there: crash
 * (SIGSEGV), abort, exit, hang. */
#pragma once

#ifdef HOLDFAST_FAULTS
void fault_point(const char *name);
#else
static inline void fault_point(const char *name)
{
    (void)name;
}
#endif
