/* Buffer memory shared by all sessions of a relay, and what happens when it runs short.
 *
 * Memory that is held for long is held for peers: readers that have stopped, records of which only
 * a part has come. Once half of the arena is in use a session therefore takes no more than can
 * leave at once: it reads nothing for a sink that is full, and one record at a time. When memory
 * runs out all the same, sessions wait in a list until some was given back; and where little is
 * left, those who have kept theirs longest without finishing anything are ended, so that some is
 * always left for the others. (Leaving a partial record in the socket's buffer instead would be no
 * help: a kernel that is short of memory, too, accepts nothing more on a socket until its buffer is
 * empty.) */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "edge/relay.h"

#define WAKE_MAX                                                                                   \
    16u /* sessions that try again in one batch: the first to fail again stops the rest */
#define STUCK_S                                                                                    \
    2u /* who has held memory for so long without finishing anything may be ended for the others'  \
          sake */

bool memory_take(struct relay *relay, unsigned order, unsigned least, uint32_t *ret_run,
                 uint8_t *ret_order)
{
    uint32_t available = blocks_available(relay->blocks);

    while (order > least && (1u << order) > available / 4)
        order--;
    for (;;) {
        uint32_t run = blocks_take(relay->blocks, order);
        if (run != BLOCK_NONE) {
            *ret_run = run;
            *ret_order = (uint8_t)order;
            return true;
        }
        if (order <= least)
            break;
        order--;
    }
    worker_count(&relay->worker, COUNTER_BUFFER_EXHAUSTED, 1);
    return false;
}

void memory_give(struct relay *relay, uint32_t run, unsigned order)
{
    blocks_give(relay->blocks, run, order);
    relay->memory_returned = true;
}

/* A poll() that finds no room also asks the kernel to announce it, so that the edge-triggered event
 * comes. */
static bool takes_more(int fd)
{
    struct pollfd asked = {.fd = fd, .events = POLLOUT};

    return poll(&asked, 1, 0) != 0;
}

bool memory_allows_write(struct relay *relay, struct relay_session *session, enum relay_side sink)
{
    if (blocks_scarce(relay->blocks) && session->fds[sink] >= 0 && !takes_more(session->fds[sink]))
        session->writable &= (uint8_t) ~(1u << sink);
    return (session->writable & (1u << sink)) != 0;
}

/* How many bytes are missing from the record whose beginning is held, as far as its header is there
 * already. */
static size_t rest_of_record(int fd, const uint8_t *held, size_t held_size)
{
    uint8_t header[RECORD_HEADER_SIZE];
    size_t have = held_size < sizeof header ? held_size : sizeof header;

    if (have != 0)
        memcpy(header, held, have);
    if (have < sizeof header) {
        ssize_t got = recv(fd, header + have, sizeof header - have, MSG_PEEK);
        have += got > 0 ? (size_t)got : 0;
    }
    if (have < sizeof header)
        return sizeof header;
    size_t size = sizeof header + ((size_t)header[3] << 8 | header[4]);
    return size > held_size && size <= RECORD_WIRE_MAX ? size - held_size
                                                       : 1; /* if it is none, one byte tells, too */
}

size_t memory_read_limit(struct relay *relay, struct relay_session *session, enum relay_side source,
                         bool records, const uint8_t *held, size_t held_size)
{
    if (!blocks_scarce(relay->blocks))
        return SIZE_MAX;
    if (!memory_allows_write(relay, session, source == SIDE_CLIENT ? SIDE_UPSTREAM : SIDE_CLIENT))
        return 0;
    return records ? rest_of_record(session->fds[source], held, held_size) : BLOCK_SIZE;
}

void memory_await(struct relay *relay, uint32_t index)
{
    struct relay_session *session = &relay->sessions[index];

    relay->memory_returned = false;
    if (session->waiting)
        return;
    session->waiting = true;
    session->next_waiting = UINT32_MAX;
    if (relay->waiting_first == UINT32_MAX)
        relay->waiting_first = index;
    else
        relay->sessions[relay->waiting_last].next_waiting = index;
    relay->waiting_last = index;
}

void memory_wake(struct relay *relay)
{
    for (unsigned i = 0;
         i < WAKE_MAX && relay->memory_returned && relay->waiting_first != UINT32_MAX; i++) {
        uint32_t index = relay->waiting_first;
        struct relay_session *session = &relay->sessions[index];
        relay->waiting_first = session->next_waiting;
        session->waiting = false;
        session_queue(relay, index);
    }
}

static bool holds_memory(const struct slot *slot)
{
    const struct slot_hot *hot = slot_hot(slot);

    for (unsigned i = 0; i < FLOW_COUNT; i++) {
        if (hot->flows[i].input != BLOCK_NONE || hot->flows[i].output != BLOCK_NONE)
            return true;
    }
    return false;
}

void memory_note(struct relay *relay, uint32_t index)
{
    struct relay_session *session = &relay->sessions[index];

    if (!holds_memory(&relay->arena.slots[index]))
        session->stuck_since_s = 0;
    else if (session->stuck_since_s == 0)
        session->stuck_since_s = (uint32_t)(relay->now_ns / NS_PER_S);
}

/* Has the session held memory since that second or longer, by its own peers' fault? One that waits
 * for memory is held up by others. */
static bool stuck(const struct relay *relay, uint32_t index, uint32_t since)
{
    const struct relay_session *session = &relay->sessions[index];

    return session->in_use && !session->waiting && session->stuck_since_s != 0 &&
           session->stuck_since_s <= since;
}

void memory_relieve(struct relay *relay)
{
    uint32_t enough = blocks_total(relay->blocks) / 8;
    uint32_t oldest = (uint32_t)(relay->now_ns / NS_PER_S) - STUCK_S;

    if (blocks_available(relay->blocks) < enough / 2) {
        for (uint32_t i = 0; i < relay->arena.header->high_water; i++) {
            if (stuck(relay, i, oldest))
                oldest = relay->sessions[i].stuck_since_s;
        }
        for (uint32_t i = 0;
             i < relay->arena.header->high_water && blocks_available(relay->blocks) < enough; i++) {
            if (stuck(relay, i, oldest))
                session_end(relay, i, SESSION_END_BUFFER_MEMORY, true);
        }
    }
    relay->memory_returned = true; /* whatever was missed: who waits tries again */
}
