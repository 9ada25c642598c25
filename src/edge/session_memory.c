#include "edge/session_memory.h"

#include <sys/stat.h>

#include "base/clock.h"
#include "base/secret.h"
#include "ipc/memory.h"

#define SWEEP_NS NS_PER_S

static void on_sweep(void *context)
{
    struct session_memory *sessions = context;
    uint32_t entries = session_cache_sweep(sessions->cache, (int64_t)(clock_wall_ns() / NS_PER_S));

    __atomic_store_n(&sessions->worker->board->session_cache_entries, entries, __ATOMIC_RELAXED);
    session_memory_go(sessions);
}

void session_memory_go(struct session_memory *sessions)
{
    if (sessions->cache != NULL)
        timer_set(sessions->worker->loop, &sessions->sweep,
                  loop_now(sessions->worker->loop) + SWEEP_NS);
}

void session_memory_init(struct session_memory *sessions, struct worker *worker)
{
    int fd = worker->descriptors[SETUP_SESSION_CACHE];
    struct stat facts;

    sessions->worker = worker;
    timer_init(&sessions->sweep, on_sweep, sessions);
    if (fd < 0)
        return;
    sessions->size = fstat(fd, &facts) == 0 ? (size_t)facts.st_size : 0;
    sessions->memory = sessions->size == 0 ? NULL : memory_map(fd, sessions->size, true);
    sessions->cache =
        sessions->memory == NULL ? NULL : session_cache_open(sessions->memory, sessions->size);
    if (sessions->cache == NULL)
        worker_warn(worker, "the cache of sessions cannot be used: TLS 1.2 clients without tickets "
                            "get full handshakes");
    else
        ignore(secret_protect(sessions->memory, sessions->size));
}

void session_memory_count(struct session_memory *sessions)
{
    struct session_cache_counts *told = &sessions->told;

    if (sessions->cache == NULL)
        return;
    const struct session_cache_counts now = *session_cache_counts(sessions->cache);
    const struct {
        enum counter counter;
        uint64_t more;
    } rows[] = {
        {COUNTER_SESSION_CACHE_HITS, now.hits - told->hits},
        {COUNTER_SESSION_CACHE_MISSES, now.misses - told->misses},
        {COUNTER_SESSION_CACHE_STORED, now.stored - told->stored},
        {COUNTER_SESSION_CACHE_REPLACED, now.replaced - told->replaced},
        {COUNTER_SESSION_CACHE_TOO_LARGE, now.too_large - told->too_large},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        worker_count(sessions->worker, rows[i].counter, rows[i].more);
    *told = now;
}
