/* What alerts.c and succession.c share. */
#pragma once

#include "watch/alerts/alerts.h"

/* What a result says of one cause at one place. */
struct observation {
    const struct alert_subject *subject;
    const json_t *endpoints; /* the whole result */
    char cause[ALERT_CAUSE_MAX];
    char place[ALERT_PLACE_MAX];
    const char *finding, *certificate, *text, *next;
    int position; /* of the certificate among those sent; -1: it was not sent, or none is to blame
                   */
    char about[256];
    enum severity severity;
    bool hard, reached, expiring;
    enum expiry_step step;
    int64_t not_after;
};

/* Where an observation belongs. */
struct succession {
    struct watch_alert *alert; /* NULL: a new one is to be made */
    bool successor;            /* the certificate is the one that the alert speaks of from now on */
    unsigned bad;              /* bad results in a row that the place brings along */
};

/* The alert of the observation's cause, or the one that the place is in because of a certificate
 * that it serves no more: where a bad certificate is replaced by one that is no better, the trouble
 * is the same, and people have been told. An alert goes on under the new certificate once none of
 * its places serves the old one; before that, a place that is graver than the alert leaves it. */
void alert_succession(struct alerts *alerts, const struct observation *seen,
                      struct succession *ret_succession);
