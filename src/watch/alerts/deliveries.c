#include "watch/alerts/deliveries.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/map.h"
#include "base/string.h"

#define KIND            "delivery"
#define AT_ONCE_MAX     4 /* to one channel */
#define RETRY_FIRST_S   30
#define RETRY_LONGEST_S 3600
#define GIVE_UP_S       (3 * 86400)
#define HOPELESS_TRIES  3

struct delivery {
    struct delivery *next;
    struct deliveries *all;
    uint64_t number;
    char channel[CONF_NAME_MAX];
    json_t *message;
    enum delivery_state state;
    unsigned attempts;
    int64_t created_at, next_try, finished_at; /* Unix seconds */
    char error[256];
    struct alert_channel_sending *sending;
};

struct deliveries {
    struct loop *loop;
    struct alert_channel_host *channels;
    struct store *store;
    struct deliveries_host host;
    struct delivery *first, *last; /* oldest first */
    size_t waiting, finished;
    uint64_t last_number;
    struct timer timer;
};

static const char *const state_names[] = {[DELIVERY_WAITING] = "waiting",
                                          [DELIVERY_DELIVERED] = "delivered",
                                          [DELIVERY_FAILED] = "failed"};

const char *delivery_state_name(enum delivery_state state)
{
    return state_names[state];
}

/* ---- as it is remembered ---- */

static json_t *to_json(const struct delivery *delivery)
{
    json_t *object = json_object();

    json_set_number(object, "number", delivery->number);
    json_set_text(object, "channel", delivery->channel);
    json_set_text(object, "state", delivery_state_name(delivery->state));
    json_set_number(object, "attempts", delivery->attempts);
    json_set_time(object, "created_at", delivery->created_at);
    json_set_time(object, "next_try", delivery->next_try);
    json_set_time(object, "finished_at", delivery->finished_at);
    json_set_text(object, "reason", delivery->error);
    json_set_text(object, "kind", json_string_value(json_object_get(delivery->message, "kind")));
    json_set_text(object, "subject",
                  json_string_value(json_object_get(delivery->message, "subject")));
    return object;
}

static void key_of(char key[24], uint64_t number)
{
    ignore(snprintf(key, 24, "%020" PRIu64, number));
}

static void keep(const struct delivery *delivery)
{
    AUTO(json_t_pointer) object = to_json(delivery);
    char key[24];

    key_of(key, delivery->number);
    ignore(json_object_set(object, "message", delivery->message));
    store_put(delivery->all->store, KIND, key, object);
}

static void delivery_free(struct delivery *delivery)
{
    alert_channel_cancel(delivery->sending);
    json_decref(delivery->message);
    free(delivery);
}

static void append(struct deliveries *deliveries, struct delivery *delivery)
{
    if (deliveries->last != NULL)
        deliveries->last->next = delivery;
    else
        deliveries->first = delivery;
    deliveries->last = delivery;
    if (delivery->state == DELIVERY_WAITING)
        deliveries->waiting++;
    else
        deliveries->finished++;
    if (delivery->number > deliveries->last_number)
        deliveries->last_number = delivery->number;
}

static void forget(struct deliveries *deliveries, struct delivery *gone)
{
    struct delivery **link = &deliveries->first, *previous = NULL;
    char key[24];

    while (*link != gone) {
        previous = *link;
        link = &(*link)->next;
    }
    *link = gone->next;
    if (deliveries->last == gone)
        deliveries->last = previous;
    if (gone->state == DELIVERY_WAITING)
        deliveries->waiting--;
    else
        deliveries->finished--;
    key_of(key, gone->number);
    store_put(deliveries->store, KIND, key, NULL);
    delivery_free(gone);
}

/* The oldest that waits, or that is over. */
static struct delivery *oldest(const struct deliveries *deliveries, bool waiting)
{
    for (struct delivery *one = deliveries->first; one != NULL; one = one->next) {
        if ((one->state == DELIVERY_WAITING) == waiting)
            return one;
    }
    return NULL;
}

static int restore(void *context, const char *key, const json_t *document)
{
    struct deliveries *deliveries = context;
    struct delivery *delivery = calloc(1, sizeof *delivery);
    bool wrong = false;
    (void)key;

    if (delivery == NULL)
        return 0;
    const char *channel = json_get_text(document, "channel", &wrong);
    const char *state = json_get_text(document, "state", &wrong);
    const char *error = json_get_text(document, "reason", &wrong);
    delivery->all = deliveries;
    delivery->number = json_get_number(document, "number", 0, &wrong);
    delivery->attempts = (unsigned)json_get_number(document, "attempts", 0, &wrong);
    delivery->created_at = json_get_time(document, "created_at");
    delivery->finished_at = json_get_time(document, "finished_at");
    delivery->message = json_deep_copy(json_object_get(document, "message"));
    if (wrong || channel == NULL || state == NULL || delivery->message == NULL) {
        delivery_free(delivery);
        return 0;
    }
    ignore(string_copy(delivery->channel, sizeof delivery->channel, channel));
    ignore(string_copy(delivery->error, sizeof delivery->error, error != NULL ? error : ""));
    while (delivery->state < DELIVERY_FAILED && strcmp(state, state_names[delivery->state]) != 0)
        delivery->state++;
    append(deliveries, delivery);
    return 0;
}

/* ---- trying ---- */

static void arm(struct deliveries *deliveries)
{
    int64_t first = INT64_MAX, now = time(NULL);

    for (const struct delivery *one = deliveries->first; one != NULL; one = one->next) {
        if (one->state == DELIVERY_WAITING && one->sending == NULL && one->next_try < first)
            first = one->next_try;
    }
    if (first == INT64_MAX)
        timer_cancel(deliveries->loop, &deliveries->timer);
    else
        timer_set(deliveries->loop, &deliveries->timer,
                  loop_now(deliveries->loop) +
                      (first > now ? (uint64_t)(first - now) : 0) * NS_PER_S);
}

static void finish(struct delivery *delivery, enum delivery_state state, int64_t now)
{
    struct deliveries *deliveries = delivery->all;

    delivery->state = state;
    delivery->finished_at = now;
    delivery->next_try = 0;
    deliveries->waiting--;
    deliveries->finished++;
    keep(delivery);
}

/* Not while somebody walks along the list. */
static void prune(struct deliveries *deliveries)
{
    while (deliveries->finished > DELIVERIES_KEPT)
        forget(deliveries, oldest(deliveries, false));
}

static void put_off(struct delivery *delivery, const struct alert_channel_result *result,
                    int64_t now)
{
    struct deliveries *deliveries = delivery->all;
    unsigned doublings = delivery->attempts < 8 ? delivery->attempts - 1 : 7;
    int64_t wait = (int64_t)RETRY_FIRST_S << doublings;

    if (wait > RETRY_LONGEST_S)
        wait = RETRY_LONGEST_S;
    if (result->retry_after_s > wait)
        wait = result->retry_after_s < RETRY_LONGEST_S ? result->retry_after_s : RETRY_LONGEST_S;
    if (now - delivery->created_at >= GIVE_UP_S ||
        (result->hopeless && delivery->attempts >= HOPELESS_TRIES)) {
        deliveries->host.told(deliveries->host.context, delivery->channel, DELIVERY_FAILED,
                              delivery->error);
        finish(delivery, DELIVERY_FAILED, now);
        return;
    }
    if (delivery->attempts == 1)
        deliveries->host.told(deliveries->host.context, delivery->channel, DELIVERY_WAITING,
                              delivery->error);
    delivery->next_try = now + wait;
    keep(delivery);
}

static void sent(void *context, const struct alert_channel_result *result)
{
    struct delivery *delivery = context;
    struct deliveries *deliveries = delivery->all;
    int64_t now = time(NULL);

    delivery->sending = NULL;
    delivery->attempts++;
    ignore(string_copy(delivery->error, sizeof delivery->error, result->error));
    if (result->delivered) {
        if (delivery->attempts > 1)
            deliveries->host.told(deliveries->host.context, delivery->channel, DELIVERY_DELIVERED,
                                  "delivered after failures");
        finish(delivery, DELIVERY_DELIVERED, now);
    } else {
        put_off(delivery, result, now);
    }
    prune(deliveries);
    arm(deliveries);
}

/* By channel. Out of memory one more is sent at once. */
static void count_sending(struct map *sending, const struct delivery *one)
{
    uintptr_t count = (uintptr_t)map_get(sending, one->channel);

    if (one->sending != NULL)
        ignore(map_put(sending, one->channel, (void *)(count + 1)));
}

/* Whatever hinders it at once counts as a try. */
static void refuse(struct delivery *delivery, const char *text, int64_t now)
{
    struct alert_channel_result result = {.retry_after_s = -1};

    delivery->attempts++;
    ignore(string_copy(delivery->error, sizeof delivery->error, text));
    put_off(delivery, &result, now);
}

static void try_one(struct delivery *delivery, int64_t now)
{
    struct deliveries *deliveries = delivery->all;
    struct alert_channel_order order = {.message = delivery->message, .now = now};
    struct error error = {0};

    switch (deliveries->host.way(deliveries->host.context, delivery->channel, &order)) {
    case DELIVERY_GONE:
        ignore(string_copy(delivery->error, sizeof delivery->error,
                           "the channel is no longer configured"));
        finish(delivery, DELIVERY_FAILED, now);
        return;
    case DELIVERY_UNREADABLE:
        refuse(delivery, "its secret-file or its trust file could not be read", now);
        return;
    case DELIVERY_WAIT:
        delivery->next_try = now + 1;
        return;
    case DELIVERY_GO:
        break;
    }
    delivery->sending = alert_channel_send(deliveries->channels, &order, sent, delivery, &error);
    if (delivery->sending == NULL)
        refuse(delivery, error.message, now);
}

static void try_due(struct deliveries *deliveries, struct map *sending, int64_t now)
{
    struct delivery *next;

    for (struct delivery *one = deliveries->first; one != NULL; one = next) {
        next = one->next;
        if (one->state != DELIVERY_WAITING || one->sending != NULL || one->next_try > now)
            continue;
        if ((uintptr_t)map_get(sending, one->channel) < AT_ONCE_MAX) {
            try_one(one, now);
            count_sending(sending, one);
        } else {
            one->next_try = now + 1;
        }
    }
}

static void on_timer(void *context)
{
    struct deliveries *deliveries = context;
    struct map sending;

    map_init(&sending);
    for (const struct delivery *one = deliveries->first; one != NULL; one = one->next)
        count_sending(&sending, one);
    try_due(deliveries, &sending, time(NULL));
    map_fini(&sending);
    prune(deliveries);
    arm(deliveries);
}

/* ---- all of it ---- */

struct deliveries *deliveries_new(struct loop *loop, struct alert_channel_host *channels,
                                  struct store *store, const struct deliveries_host *host)
{
    struct deliveries *deliveries = calloc(1, sizeof *deliveries);
    struct error error;

    if (deliveries == NULL)
        return NULL;
    *deliveries =
        (struct deliveries){.loop = loop, .channels = channels, .store = store, .host = *host};
    timer_init(&deliveries->timer, on_timer, deliveries);
    /* A store that cannot be read is in trouble, and says so itself. */
    ignore(store_each_document(store, KIND, restore, deliveries, &error));
    arm(deliveries);
    return deliveries;
}

void deliveries_free(struct deliveries *deliveries)
{
    struct delivery *next;

    if (deliveries == NULL)
        return;
    timer_cancel(deliveries->loop, &deliveries->timer);
    for (struct delivery *one = deliveries->first; one != NULL; one = next) {
        next = one->next;
        delivery_free(one);
    }
    free(deliveries);
}

uint64_t deliveries_add(struct deliveries *deliveries, const char *channel, json_t *message)
{
    struct delivery *delivery = calloc(1, sizeof *delivery);

    if (delivery == NULL)
        return 0;
    if (deliveries->waiting == DELIVERIES_WAITING_MAX) {
        struct delivery *victim = oldest(deliveries, true);
        deliveries->host.told(deliveries->host.context, victim->channel, DELIVERY_FAILED,
                              "given up: too many are waiting");
        forget(deliveries, victim);
    }
    delivery->all = deliveries;
    delivery->number = deliveries->last_number + 1;
    delivery->message = json_incref(message);
    delivery->created_at = delivery->next_try = time(NULL);
    ignore(string_copy(delivery->channel, sizeof delivery->channel, channel));
    append(deliveries, delivery);
    keep(delivery);
    timer_set(deliveries->loop, &deliveries->timer, loop_now(deliveries->loop)); /* it is due */
    return delivery->number;
}

void deliveries_reload(struct deliveries *deliveries, deliveries_same_fn *same, const void *context)
{
    for (struct delivery *one = deliveries->first; one != NULL; one = one->next) {
        if (one->state != DELIVERY_WAITING || (one->sending != NULL && same(context, one->channel)))
            continue;
        alert_channel_cancel(one->sending);
        one->sending = NULL;
        one->next_try = time(NULL);
    }
    arm(deliveries);
}

void deliveries_each(const struct deliveries *deliveries, deliveries_each_fn *fn, void *context)
{
    for (const struct delivery *one = deliveries->first; one != NULL; one = one->next) {
        AUTO(json_t_pointer) object = to_json(one);
        fn(context, object);
    }
}

json_t *deliveries_find(const struct deliveries *deliveries, uint64_t number)
{
    for (const struct delivery *one = deliveries->first; one != NULL; one = one->next) {
        if (one->number == number)
            return to_json(one);
    }
    return NULL;
}

int64_t deliveries_last(const struct deliveries *deliveries, const char *channel)
{
    int64_t last = 0;

    for (const struct delivery *one = deliveries->first; one != NULL; one = one->next) {
        if (one->state == DELIVERY_DELIVERED && strcmp(one->channel, channel) == 0 &&
            one->finished_at > last)
            last = one->finished_at;
    }
    return last;
}

size_t deliveries_waiting(const struct deliveries *deliveries)
{
    return deliveries->waiting;
}
