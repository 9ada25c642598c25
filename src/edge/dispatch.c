/* Hand-over to relays. Credits are two counters on the board: what a relay has granted this
 * handshaker and what was sent. The latter is raised after the send, so that sessions lost with a
 * handshaker use up no credit; a handshaker that retires and its successor raise the same one. */
#include <stdlib.h>
#include <unistd.h>

#include "base/secret.h"
#include "edge/handshaker.h"

static uint64_t *sent_to(const struct handshaker *handshaker, unsigned relay)
{
    unsigned number = board_worker_number(PROCESS_HANDSHAKER, handshaker->worker.setup.index);

    return &handshaker->worker.board->processes[number].credits[relay];
}
/* A burst of new sessions keeps a relay from its live ones: it gets few at a time. */
#define SESSIONS_PER_MESSAGE 2

static int64_t credits_at(const struct handshaker *handshaker, unsigned relay)
{
    const struct board_process *peer =
        &handshaker->worker.board->processes[board_worker_number(PROCESS_RELAY, relay)];
    uint64_t granted =
        __atomic_load_n(&peer->credits[handshaker->worker.setup.index], __ATOMIC_RELAXED);

    const struct relay_channel *channel = &handshaker->relays[relay];
    size_t batched = channel->batch == NULL ? 0 : channel->batch->count;

    /* What one sent that died before it counted is known there. */
    uint64_t sent = __atomic_load_n(sent_to(handshaker, relay), __ATOMIC_RELAXED);
    uint64_t received =
        __atomic_load_n(&peer->received[handshaker->worker.setup.index], __ATOMIC_RELAXED);

    if (sent < received)
        sent = received;
    return channel->fd < 0 ? 0 : (int64_t)(granted - sent - batched);
}

int64_t dispatch_credits(const struct handshaker *handshaker)
{
    int64_t sum = -(int64_t)handshaker->under_way;

    for (unsigned i = 0; i < handshaker->worker.setup.workers; i++) {
        int64_t credits = credits_at(handshaker, i);
        sum += credits > 0 ? credits : 0;
    }
    return sum;
}

static void close_batch(struct handshaker *handshaker, unsigned relay)
{
    struct relay_channel *channel = &handshaker->relays[relay];

    for (size_t i = 0; i < channel->batch->count; i++)
        ignore(close(channel->batch->fds[i]));
    secret_wipe(channel->batch->body, channel->batch->size);
    channel->batch->size = channel->batch->count = 0;
}

/* Who retires reads no more, but may have to wait for room. */
static bool watch(struct handshaker *handshaker, unsigned relay, unsigned events)
{
    struct relay_channel *channel = &handshaker->relays[relay];

    if (!handshaker->retiring)
        return loop_change(handshaker->worker.loop, channel->fd, LOOP_READ | events,
                           handshaker->relay_handler, relay);
    loop_unwatch(handshaker->worker.loop, channel->fd);
    return events == 0 || loop_watch(handshaker->worker.loop, channel->fd, events,
                                     handshaker->relay_handler, relay);
}

/* True when the batch is empty afterwards. */
static bool send_batch(struct handshaker *handshaker, unsigned relay)
{
    struct relay_channel *channel = &handshaker->relays[relay];
    struct offer_batch *batch = channel->batch;

    if (batch == NULL || batch->count == 0)
        return true;
    switch (channel_send(channel->fd, MESSAGE_SESSIONS, batch->body, batch->size, batch->fds,
                         batch->count)) {
    case CHANNEL_DONE:
        worker_count(&handshaker->worker, COUNTER_HANDED_OVER, batch->count);
        board_add(sent_to(handshaker, relay), batch->count);
        close_batch(handshaker, relay);
        if (channel->blocked)
            channel->blocked = !watch(handshaker, relay, 0);
        return true;
    case CHANNEL_FULL:
        if (!channel->blocked)
            channel->blocked = watch(handshaker, relay, LOOP_WRITE);
        return false;
    case CHANNEL_CLOSED:
    case CHANNEL_BAD:
        worker_warn(&handshaker->worker, "sessions could not be handed to relay %u and were closed",
                    relay);
        close_batch(handshaker, relay);
        return true;
    }
    return true;
}

/* Among the relays that have credits, the one with the fewest sessions, those on their way from
 * here included. */
static unsigned best_relay(const struct handshaker *handshaker)
{
    unsigned best = 0;
    uint64_t fewest = UINT64_MAX;

    for (unsigned i = 0; i < handshaker->worker.setup.workers; i++) {
        const struct board_process *peer =
            &handshaker->worker.board->processes[board_worker_number(PROCESS_RELAY, i)];
        const struct offer_batch *batch = handshaker->relays[i].batch;
        uint64_t sessions =
            __atomic_load_n(&peer->sessions, __ATOMIC_RELAXED) + (batch == NULL ? 0 : batch->count);
        if (credits_at(handshaker, i) > 0 && sessions < fewest) {
            fewest = sessions;
            best = i;
        }
    }
    return best;
}

void dispatch_session(struct handshaker *handshaker, const struct session_offer *offer,
                      const struct client_identity *client, const uint8_t *preamble,
                      const uint8_t *surplus, int fd)
{
    unsigned relay = best_relay(handshaker);
    struct relay_channel *channel = &handshaker->relays[relay];

    if (channel->batch == NULL)
        channel->batch = calloc(1, sizeof *channel->batch);
    if (channel->batch != NULL && channel->batch->count >= SESSIONS_PER_MESSAGE &&
        !channel->blocked)
        ignore(send_batch(handshaker, relay));
    if (channel->fd < 0 || channel->batch == NULL ||
        (!offer_append(channel->batch, offer, client, preamble, surplus, fd) &&
         (!send_batch(handshaker, relay) ||
          !offer_append(channel->batch, offer, client, preamble, surplus, fd)))) {
        worker_warn(&handshaker->worker, "no relay could take a session; it was closed");
        ignore(close(fd));
    }
}

void dispatch_flush(struct handshaker *handshaker)
{
    for (unsigned i = 0; i < handshaker->worker.setup.workers; i++) {
        if (!handshaker->relays[i].blocked)
            ignore(send_batch(handshaker, i));
    }
}

bool dispatch_idle(const struct handshaker *handshaker)
{
    for (unsigned i = 0; i < handshaker->worker.setup.workers; i++) {
        const struct offer_batch *batch = handshaker->relays[i].batch;
        if (batch != NULL && batch->count != 0)
            return false;
    }
    return true;
}

void dispatch_writable(struct handshaker *handshaker, unsigned relay)
{
    ignore(send_batch(handshaker, relay));
}
