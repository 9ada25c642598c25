/* All of alerting in one: results in, messages out to the channels that the routes name, unless a
 * silence or a maintenance window forbids it. What people do about it (acknowledge, silence, try a
 * channel) comes in here, too. */
#pragma once

#include "session/event.h"
#include "watch/alerts/alerts.h"
#include "watch/alerts/deliveries.h"
#include "watch/alerts/silence.h"

struct alerting_host {
    void *context;
    /* Something to be logged: an alert opened, got worse or recovered; a delivery failed or came
     * through. */
    void (*event)(void *context, enum event_type type, const char *text);
    /* Does the watch itself live? Asked before each heartbeat. */
    bool (*alive)(void *context);
};

struct alerting;

/* Takes up what the store remembers. `conf` and `store` outlive it. NULL: out of memory. */
struct alerting *alerting_new(struct loop *loop, struct http_client *http, struct store *store,
                              const struct conf *conf, const struct alerting_host *host);
void alerting_free(struct alerting *alerting); /* accepts NULL */
/* The configuration before is still there. */
void alerting_reload(struct alerting *alerting, const struct conf *conf);

/* What the secret-file of a channel holds (white space at the end does not count; copied into
 * secret memory), and its trust file. NULL: it cannot be read. Until they are known, what is to be
 * delivered through the channel waits. */
void alerting_set_secret(struct alerting *alerting, const char *channel, const char *secret,
                         size_t size);
void alerting_set_trust(struct alerting *alerting, const char *channel, const char *pem);
/* Was that told since the start or the last reload? */
bool alerting_knows(const struct alerting *alerting, const char *channel, bool trust);

/* A target was checked (report_json() objects), or is no longer watched. */
void alerting_result(struct alerting *alerting, const struct conf_watch *watch, const char *target,
                     const json_t *endpoints);
void alerting_forget(struct alerting *alerting, const char *target);
/* Forgets all other targets: at the start, when what was restored may be of another configuration.
 */
void alerting_keep(struct alerting *alerting, alerts_watched_fn *watched, const void *context);

/* ---- for the verbs ---- */

typedef void alerting_each_fn(void *context, json_t *object);
/* Open alerts (and the pending and lately closed ones with `all`), each with "routes": the channels
 * that hear of it. */
void alerting_each(const struct alerting *alerting, bool all, alerting_each_fn *fn, void *context);
MUST_CHECK int alerting_acknowledge(struct alerting *alerting, uint64_t number, const char *by,
                                    const char *comment, struct error *error);
/* Fills in the id. */
MUST_CHECK int alerting_silence(struct alerting *alerting, struct silence *silence,
                                struct error *error);
MUST_CHECK int alerting_unsilence(struct alerting *alerting, const char *id, struct error *error);
void alerting_each_silence(const struct alerting *alerting, alerting_each_fn *fn, void *context);
/* A trial message; its number among the deliveries. */
MUST_CHECK int alerting_test(struct alerting *alerting, const char *channel, uint64_t *ret_number,
                             struct error *error);
const struct deliveries *alerting_deliveries(const struct alerting *alerting);
/* For status and metrics: numbers of open alerts by severity, of deliveries that wait. */
struct alerting_counts {
    unsigned open, critical, acknowledged, silenced;
    size_t waiting;
    int64_t heartbeat_at; /* the last one that arrived; 0: none yet */
};
void alerting_counts(const struct alerting *alerting, struct alerting_counts *ret_counts);
