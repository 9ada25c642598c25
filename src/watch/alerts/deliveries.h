/* What is still to be delivered, to which channel, and what really was. Durable: a delivery is
 * remembered before it is tried, and after a restart tried again (at least once, rarely twice).
 * Failures are tried again after half a minute, then ever less often, for three days. */
#pragma once

#include "store/store.h"
#include "watch/channels/channel.h"

#define DELIVERIES_WAITING_MAX 10000 /* the oldest is given up for a new one */
#define DELIVERIES_KEPT        500   /* of those that are over */

enum delivery_state { DELIVERY_WAITING, DELIVERY_DELIVERED, DELIVERY_FAILED };
const char *delivery_state_name(enum delivery_state state);

enum delivery_way {
    DELIVERY_GO,
    DELIVERY_WAIT,       /* its files are being read */
    DELIVERY_UNREADABLE, /* one of them cannot be */
    DELIVERY_GONE        /* there is no such channel any more */
};

struct deliveries_host {
    void *context;
    /* Fills in the channel of this name as it is configured, with what its files hold. */
    enum delivery_way (*way)(void *context, const char *name, struct alert_channel_order *order);
    /* A try failed (the first of a delivery), or it was given up, or it came through after
     * failures. */
    void (*told)(void *context, const char *channel, enum delivery_state state, const char *text);
};

struct deliveries;

/* Takes up what `store` remembers. NULL: out of memory. */
struct deliveries *deliveries_new(struct loop *loop, struct alert_channel_host *channels,
                                  struct store *store, const struct deliveries_host *host);
void deliveries_free(struct deliveries *deliveries); /* accepts NULL */

/* Queues a message (a reference of its own) for a channel. Returns its number, 0: out of memory. */
uint64_t deliveries_add(struct deliveries *deliveries, const char *channel, json_t *message);
/* Another configuration. What is being sent goes on when it leaves the channel as it is, else it
 * begins anew; what waits is tried at once. */
typedef bool deliveries_same_fn(const void *context, const char *channel);
void deliveries_reload(struct deliveries *deliveries, deliveries_same_fn *same,
                       const void *context);

/* Those that wait and those that are over, oldest first; objects with number, channel, kind,
 * subject, state, attempts, created_at, next_try, finished_at, reason. */
typedef void deliveries_each_fn(void *context, json_t *delivery);
void deliveries_each(const struct deliveries *deliveries, deliveries_each_fn *fn, void *context);
/* One of them, a new reference; NULL: no such number. */
json_t *deliveries_find(const struct deliveries *deliveries, uint64_t number);
/* When the channel last delivered really, Unix seconds; 0: never known. */
int64_t deliveries_last(const struct deliveries *deliveries, const char *channel);
size_t deliveries_waiting(const struct deliveries *deliveries);
