#include "edge/scheduling.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHORTEST_SLICE_NS (100 * 1000)        /* what the kernel takes: 0.1 ms … */
#define LONGEST_SLICE_NS  (100 * 1000 * 1000) /* … to 100 ms */

/* struct sched_attr of sched_setattr(2), which the C library does not know. */
struct attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t slice_ns; /* sched_runtime */
    uint64_t deadline_ns;
    uint64_t period_ns;
};

static void set(uint32_t policy, int nice_value, uint64_t slice_ns)
{
    const struct attributes attributes = {
        .size = sizeof attributes, .policy = policy, .nice = nice_value, .slice_ns = slice_ns};

    ignore(syscall(SYS_sched_setattr, 0, &attributes, 0));
}

void scheduling_apply(enum process_kind kind, int handshaker_nice)
{
    int inherited = getpriority(PRIO_PROCESS, 0);

    if (kind == PROCESS_RELAY)
        set(SCHED_OTHER, inherited, SHORTEST_SLICE_NS);
    else if (kind == PROCESS_HANDSHAKER)
        set(SCHED_BATCH, handshaker_nice, LONGEST_SLICE_NS);
}
