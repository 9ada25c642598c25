/* One alert: a cause and the places where it is seen. A cause is a certificate with what is wrong
 * with it, or, where no certificate is to blame, a finding at a target: so two hundred hosts under
 * one wildcard certificate are one alert with two hundred places.
 *
 * A place counts bad results until the alert opens, and good ones until the place is clear; the
 * alert closes with its last place. What goes and comes again too often stays open until it has
 * been quiet for a while (flapping), so that nobody is told twice. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

#include "base/error.h"
#include "watch/alerts/expiry.h"
#include "watch/finding.h"

#define ALERT_CAUSE_MAX   640
#define ALERT_PLACES_MAX  1000 /* more are counted */
#define ALERT_PLACE_MAX   640
#define ALERT_CHANGES_MAX 8

enum alert_state {
    ALERT_PENDING, /* seen, not often enough */
    ALERT_OPEN,
    ALERT_CLOSED
};
const char *alert_state_name(enum alert_state state);

struct alert_place {
    char text[ALERT_PLACE_MAX]; /* "shop.example:443 192.0.2.1:443 ecdsa" */
    char target[ALERT_PLACE_MAX];
    char certificate[65]; /* to blame there, SHA-256; it may have followed the alert's own */
    int position;         /* of it among those sent; -1: it was not */
    unsigned bad, good;   /* in a row */
    bool open;            /* bad often enough, not yet good often enough */
    bool over;            /* was open, and is clear; kept until the recovery has been told */
    bool reached;         /* seen in a finished handshake: only such a one can clear it */
    bool seen;            /* in the result that is being taken */
};

struct watch_alert {
    uint64_t number;             /* by which people name it */
    char cause[ALERT_CAUSE_MAX]; /* as it was first seen: others know the alert by it */
    char key[ALERT_CAUSE_MAX];   /* as it is now: bad certificates follow one another */
    char finding[64];            /* id */
    char certificate[65];        /* SHA-256; "" */
    char subject[256];           /* what it is about: the certificate's names, or the target */
    char text[400];              /* what is wrong */
    char next[400];              /* what to do */
    char watch[64], owner[64], service[64];
    bool critical; /* the watch says that this service is */
    enum severity severity;
    bool hard;
    bool expiring; /* the steps below count */
    enum expiry_step step;
    int64_t not_after;
    enum alert_state state;
    /* Unix seconds; 0: never */
    int64_t since, opened_at, closed_at, bad_at; /* bad_at: the last bad result */
    int64_t noticed_at;                          /* the last notice about it */
    int64_t acknowledged_at;
    char acknowledged_by[64], comment[200];
    bool silenced;                      /* a notice was held back by a silence */
    unsigned level;                     /* how often it was escalated */
    int64_t changes[ALERT_CHANGES_MAX]; /* openings, and closings as they would have been, the
                                           latest first */
    unsigned successions;               /* of its certificates since it opened */
    struct alert_place *places;
    size_t place_count, places_dropped;
    char last_place[ALERT_PLACE_MAX]; /* with which it closed */
    int last_position;
};

void alert_free(struct watch_alert *alert); /* accepts NULL */

/* Everything, for storage and for people. */
json_t *alert_to_json(const struct watch_alert *alert);
/* NULL: out of memory, or not of ours. */
struct watch_alert *alert_from_json(const json_t *object);

size_t alert_open_places(const struct watch_alert *alert);
/* NULL: it is not among them. */
struct alert_place *alert_find_place(struct watch_alert *alert, const char *text,
                                     const char *target);
/* What an endpoint of a target is called as a place. */
void alert_place_name(char text[ALERT_PLACE_MAX], const char *target, const json_t *endpoint);
