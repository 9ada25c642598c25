#include "edge/scheduling.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RELAY_SLICE_NS (100 * 1000) /* the shortest that the kernel takes */
/* Longer than the default of any machine (at most 2.8 ms), so that the kernel's network threads go
 * first, too; not much longer, because a kernel before 6.18 lets it run to its end once it runs. */
#define HANDSHAKER_SLICE_NS (6 * 1000 * 1000)

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

void scheduling_apply(enum process_kind kind, int handshaker_nice)
{
    struct attributes attributes = {.size = sizeof attributes};

    if (kind == PROCESS_HANDSHAKER) {
        ignore(setpriority(PRIO_PROCESS, 0, handshaker_nice));
        attributes.policy = SCHED_BATCH; /* does not preempt when it wakes */
        attributes.slice_ns = HANDSHAKER_SLICE_NS;
    } else if (kind == PROCESS_RELAY) {
        attributes.policy = SCHED_OTHER;
        attributes.slice_ns = RELAY_SLICE_NS;
    } else {
        return;
    }
    attributes.nice = getpriority(PRIO_PROCESS, 0);
    ignore(syscall(SYS_sched_setattr, 0, &attributes, 0));
}
