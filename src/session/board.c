#include "session/board.h"

#include <string.h>
#include <unistd.h>

#include "base/attributes.h"
#include "base/clock.h"
#include "conf/conf.h"
#include "ipc/ring.h"
#include "tls/leg.h"

#define FIRST_BUCKET_US 64u

const struct counter_facts counter_facts[COUNTER_COUNT] = {
#define X(symbol, name, help) [symbol] = {name, help},
    COUNTER_LIST(X)
#undef X
};

const struct counter_facts histogram_facts[HISTOGRAM_COUNT] = {
#define X(symbol, name, help) [symbol] = {name, help},
    HISTOGRAM_LIST(X)
#undef X
};

const char *process_kind_name(enum process_kind kind)
{
    static const char *const names[PROCESS_KIND_COUNT] = {
        [PROCESS_SUPERVISOR] = "supervisor",
        [PROCESS_CONTROL] = "control",
        [PROCESS_HANDSHAKER] = "handshaker",
        [PROCESS_RELAY] = "relay",
        [PROCESS_RETIRING_HANDSHAKER] = "retiring-handshaker",
    };
    return (unsigned)kind < PROCESS_KIND_COUNT ? names[kind] : "unknown";
}

unsigned board_worker_number(enum process_kind kind, unsigned index)
{
    switch (kind) {
    case PROCESS_SUPERVISOR:
        return 0;
    case PROCESS_CONTROL:
        return 1;
    case PROCESS_HANDSHAKER:
        return 2 + index;
    case PROCESS_RELAY:
        return 2 + BOARD_WORKERS_MAX + index;
    case PROCESS_RETIRING_HANDSHAKER:
        return 2 + 2 * BOARD_WORKERS_MAX + index;
    case PROCESS_KIND_COUNT:
        break;
    }
    return 0;
}

/* One writer per histogram, so a plain addition that readers may see at any time is enough. */
static void increase(uint64_t *place, uint64_t value)
{
    __atomic_store_n(place, *place + value, __ATOMIC_RELAXED);
}

void board_observe(struct board_histogram *histogram, uint64_t duration_us)
{
    unsigned bucket = 0;

    if (duration_us > FIRST_BUCKET_US)
        bucket = 64 - (unsigned)__builtin_clzll((duration_us - 1) / FIRST_BUCKET_US);
    if (bucket >= HISTOGRAM_BUCKETS)
        bucket = HISTOGRAM_BUCKETS - 1;
    increase(&histogram->buckets[bucket], 1);
    increase(&histogram->sum_us, duration_us);
    increase(&histogram->count, 1);
}

uint64_t board_sum(const struct board *board, enum counter counter)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < BOARD_PROCESSES; i++)
        sum += __atomic_load_n(&board->processes[i].counters[counter], __ATOMIC_RELAXED);
    return sum;
}

uint64_t board_resumption_misses(const struct board *board, enum resumption_miss miss)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < BOARD_PROCESSES; i++)
        sum += __atomic_load_n(&board->processes[i].resumption_misses[miss], __ATOMIC_RELAXED);
    return sum;
}

static uint32_t sum_workers(const uint32_t counts[BOARD_WORKERS_MAX])
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < BOARD_WORKERS_MAX; i++)
        sum += __atomic_load_n(&counts[i], __ATOMIC_RELAXED);
    return sum;
}

uint32_t board_server_sessions(const struct board *board, unsigned server)
{
    return server < BOARD_SERVERS_MAX ? sum_workers(board->servers[server].sessions) : 0;
}

struct board_sealed board_listener_sealed(const struct board *board, unsigned listener)
{
    struct board_sealed sum = {0};

    for (unsigned i = 0; i < BOARD_WORKERS_MAX; i++) {
        const struct board_sealed *sealed = &board->listeners[listener].sealed[i];
        sum.blocks += __atomic_load_n(&sealed->blocks, __ATOMIC_RELAXED);
        sum.records += __atomic_load_n(&sealed->records, __ATOMIC_RELAXED);
    }
    return sum;
}

uint32_t board_listener_connections(const struct board *board, unsigned listener)
{
    return listener < BOARD_LISTENERS_MAX ? sum_workers(board->listeners[listener].connections) : 0;
}

void board_address_set(struct board *board, unsigned server, const void *bytes, uint32_t size)
{
    struct board_address *address = &board->addresses[server];

    if (server >= BOARD_SERVERS_MAX || size > sizeof address->bytes)
        return;
    __atomic_store_n(&address->size, 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    memcpy(address->bytes, bytes, size);
    __atomic_store_n(&address->size, size, __ATOMIC_RELEASE);
}

bool board_address_get(const struct board *board, unsigned server, void *ret_bytes,
                       uint32_t *ret_size)
{
    const struct board_address *address = &board->addresses[server];
    uint8_t bytes[sizeof address->bytes];

    if (server >= BOARD_SERVERS_MAX)
        return false;
    uint32_t size = __atomic_load_n(&address->size, __ATOMIC_ACQUIRE);
    if (size == 0 || size > sizeof bytes)
        return false;
    memcpy(bytes, address->bytes, sizeof bytes);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&address->size, __ATOMIC_RELAXED) != size)
        return false; /* it changes just now: a message will tell */
    memcpy(ret_bytes, bytes, size);
    *ret_size = size;
    return true;
}

/* Each process has a rare ring and a bulk ring, one behind the other, both on cache lines of their
 * own. */
static size_t rounded_ring_size(uint32_t capacity)
{
    return (ring_size(sizeof(struct event), capacity) + 63) & ~(size_t)63;
}

static size_t process_rings_size(void)
{
    return rounded_ring_size(EVENT_RARE_CAPACITY) + rounded_ring_size(EVENT_BULK_CAPACITY);
}

size_t events_size(void)
{
    return BOARD_PROCESSES * process_rings_size();
}

struct ring *events_ring(void *events, unsigned worker, bool rare)
{
    uint8_t *place = (uint8_t *)events + worker * process_rings_size();

    return (struct ring *)(void *)(rare ? place : place + rounded_ring_size(EVENT_RARE_CAPACITY));
}

void events_init(void *events)
{
    for (unsigned i = 0; i < BOARD_PROCESSES; i++) {
        ring_init(events_ring(events, i, true), sizeof(struct event), EVENT_RARE_CAPACITY);
        ring_init(events_ring(events, i, false), sizeof(struct event), EVENT_BULK_CAPACITY);
    }
}

void event_writer_init(struct event_writer *writer, void *events, unsigned worker, int notify_fd,
                       struct board *board)
{
    *writer = (struct event_writer){
        .rare = events_ring(events, worker, true),
        .bulk = events_ring(events, worker, false),
        .notify_fd = notify_fd,
        .worker = (uint16_t)worker,
        .dropped = &board->processes[worker].counters[COUNTER_EVENTS_DROPPED],
    };
}

struct event *event_begin(struct event_writer *writer, enum event_type type)
{
    if (writer->muted)
        return NULL;
    struct event *event = ring_claim(event_is_rare(type) ? writer->rare : writer->bulk);

    if (event == NULL) {
        increase(writer->dropped, 1);
        return NULL;
    }
    *event = (struct event){
        .wall_ns = clock_wall_ns(),
        .type = (uint16_t)type,
        .worker = writer->worker,
        .listener = EVENT_NO_INDEX,
        .upstream = EVENT_NO_INDEX,
        .server = EVENT_NO_INDEX,
        .alert_sent = ALERT_NONE,
        .alert_received = ALERT_NONE,
        .certificate = CONF_NONE,
    };
    return event;
}

void event_end(struct event_writer *writer, enum event_type type)
{
    ring_publish(event_is_rare(type) ? writer->rare : writer->bulk);
    writer->pending = true;
}

void event_flush(struct event_writer *writer)
{
    static const uint64_t one = 1;

    if (!writer->pending)
        return;
    writer->pending = false;
    /* A full counter (EAGAIN) means that control has been woken already. */
    ignore(write(writer->notify_fd, &one, sizeof one));
}

/* ---- dials ---- */

static struct board_dial *find_dial(struct board *board, const uint8_t address[16], uint32_t port)
{
    for (unsigned i = 0; i < BOARD_DIALS; i++) {
        struct board_dial *dial = &board->dials[i];
        if (__atomic_load_n(&dial->port, __ATOMIC_ACQUIRE) == port &&
            (port == 0 || memcmp(dial->address, address, sizeof dial->address) == 0))
            return dial;
    }
    return NULL;
}

void board_dial_begin(struct board *board, const uint8_t address[16], uint16_t port)
{
    struct board_dial *dial = find_dial(board, address, 0);

    if (dial == NULL)
        return; /* more at once than there are places: this one will look like a client */
    memcpy(dial->address, address, sizeof dial->address);
    __atomic_store_n(&dial->port, port, __ATOMIC_RELEASE);
}

void board_dial_end(struct board *board, const uint8_t address[16], uint16_t port)
{
    struct board_dial *dial = port == 0 ? NULL : find_dial(board, address, port);

    if (dial != NULL)
        __atomic_store_n(&dial->port, 0, __ATOMIC_RELEASE);
}

bool board_is_dial(const struct board *board, const uint8_t address[16], uint16_t port)
{
    for (unsigned i = 0; i < BOARD_DIALS; i++) {
        const struct board_dial *dial = &board->dials[i];
        if (port != 0 && __atomic_load_n(&dial->port, __ATOMIC_ACQUIRE) == port &&
            memcmp(dial->address, address, sizeof dial->address) == 0)
            return true;
    }
    return false;
}
