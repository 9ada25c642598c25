/* Live sessions and their clients' certificates: when what is trusted changes, and when a
 * certificate ends, those affected, and only they, are ended.
 *
 * Judged by what their slots remember, in small batches, so that control's loop goes on. Nothing is
 * written down of who is to end when: it follows from the sessions' ids, the time of the change and
 * the files, so that a relay or control process that dies takes no duty with it. */
#pragma once

#include "admin/view.h"
#include "loop/loop.h"
#include "session/messages.h"
#include "tls/trust_set.h"

struct rejudge_host {
    void *context;
    /* Has the relay end a session. */
    void (*end)(void *context, unsigned relay, const struct message_session *body);
    /* All sessions were judged after a change; `detail` tells the outcome. */
    void (*done)(void *context, const char *detail);
};

struct rejudge {
    const struct admin_view *view;
    struct loop *loop;
    struct rejudge_host host;
    struct timer timer;
    uint64_t began_ns[BOARD_LISTENERS_MAX]; /* when what is trusted, or the configuration, changed
                                               last */
    uint64_t watch_until_ns; /* handshakes that began before a change may still bring sessions */
    bool changed;            /* a change was not reported yet */
    bool again;              /* … and came while a pass was under way */
    /* the pass under way */
    bool under_way;
    uint64_t begin_ns, previous_ns; /* when it began, and the one before */
    bool repeat;                    /* it also tells of those of whom an earlier one told */
    uint64_t repeat_ns;             /* when to do so next */
    unsigned relay;
    uint32_t slot;
    uint64_t next_ns; /* the next thing to do that it has found; 0: none */
    uint64_t judged, verdicts[TRUST_EXPIRED + 1];
};

void rejudge_init(struct rejudge *rejudge, const struct admin_view *view, struct loop *loop,
                  const struct rejudge_host *host);
/* Something else is trusted at this listener. */
void rejudge_changed(struct rejudge *rejudge, uint32_t listener);
/* A client has shown who it is, in mid-session: its certificate may end, or have been revoked,
 * soon.
 */
void rejudge_joined(struct rejudge *rejudge);
/* Another configuration: what becomes of whom may be another thing. */
void rejudge_look(struct rejudge *rejudge);
void rejudge_fini(struct rejudge *rejudge);

/* What a session's client is now; TRUST_ACCEPTED also where there is nothing to judge by. */
enum trust_verdict rejudge_verdict(const struct admin_view *view, unsigned relay, uint32_t index,
                                   const struct slot *slot, struct client_identity *ret_identity);

/* When a session that is not accepted any more ends (CLOCK_MONOTONIC): within `spread_ns` from
 * `from_ns`. The moments at which it may end are `spread_ns` apart and follow from its id alone:
 * when something changes again and again, and `from_ns` with it, none is put off for ever. */
uint64_t rejudge_due(uint64_t session, uint64_t from_ns, uint64_t spread_ns);
