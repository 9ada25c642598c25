/* Buffer memory shared by all sessions of a relay, and what happens when it runs short.
 *
 * One decision: memory that is held for long (for readers that have stopped, for records that have come in part) never takes more than
 * half of the arena. Once that much is in use, a session reads only what can leave again within the same turn. The other half is so
 * always there for the session whose turn it is, and nobody waits for somebody else's peer. Should memory run out all the same, the
 * session waits in a list until some was given back. */
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "edge/relay.h"

#define WAKE_MAX 16u /* sessions that try again in one batch: the first to fail again stops the rest */

bool memory_take(struct relay *relay, unsigned order, unsigned least, uint32_t *ret_run, uint8_t *ret_order)
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

/* A poll() that finds no room also asks the kernel to announce it, so that the edge-triggered event comes. */
static bool takes_more(int fd)
{
    struct pollfd asked = {.fd = fd, .events = POLLOUT};

    return poll(&asked, 1, 0) != 0;
}

/* Is the next record there as a whole (or wrong enough not to wait for it)? */
static bool has_record(int fd)
{
    uint8_t header[RECORD_HEADER_SIZE];
    int waiting = 0;

    ssize_t got = recv(fd, header, sizeof header, MSG_PEEK);
    if (got < (ssize_t)sizeof header)
        return got <= 0;
    size_t size = sizeof header + ((size_t)header[3] << 8 | header[4]);
    return size > RECORD_WIRE_MAX || ioctl(fd, FIONREAD, &waiting) != 0 || (size_t)waiting >= size;
}

bool memory_allows_write(struct relay *relay, struct relay_session *session, enum relay_side sink)
{
    if (blocks_scarce(relay->blocks) && session->fds[sink] >= 0 && !takes_more(session->fds[sink]))
        session->writable &= (uint8_t)~(1u << sink);
    return (session->writable & (1u << sink)) != 0;
}

bool memory_allows_read(struct relay *relay, struct relay_session *session, enum relay_side source, bool records)
{
    if (!blocks_scarce(relay->blocks))
        return true;
    if (!memory_allows_write(relay, session, source == SIDE_CLIENT ? SIDE_UPSTREAM : SIDE_CLIENT))
        return false;
    if (records && (session->hung_up & (1u << source)) == 0 && !has_record(session->fds[source]))
        session->readable &= (uint8_t)~(1u << source); /* each further byte is announced */
    return (session->readable & (1u << source)) != 0;
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
    for (unsigned i = 0; i < WAKE_MAX && relay->memory_returned && relay->waiting_first != UINT32_MAX; i++) {
        uint32_t index = relay->waiting_first;
        struct relay_session *session = &relay->sessions[index];
        relay->waiting_first = session->next_waiting;
        session->waiting = false;
        session_queue(relay, index);
    }
}
