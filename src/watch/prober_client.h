/* Control's side of the process that probes (watch/prober_process.h): starts it, asks it, and
 * believes nothing it says.
 *
 * The process parses what strangers send, so it may be lost at any time: it is started again, with
 * a growing pause, and asked again what it owes. What was under way when it died is asked again
 * one at a time, so that a target that kills it is found, and told so after three times.
 *
 * Lines of JSON over a socket pair, first {"connections", "per_host", "keeps"}. Asked: {"id",
 * "target", "options": {…}}; answered: {"id", "endpoint": {… as report_json() makes it}} for each,
 * then
 * {"id", "done": true} or {"id", "error": "…", "done": true}. {"alive": true} comes now and then
 * while something is under way, however long that takes: one that is silent hangs, and is replaced.
 *
 * What is in files that a check needs is told before: {"supply": KEY, "size"} and the bytes, or
 * {"supply": KEY, "error"}; {"forget": KEY}. A request names them by KEY (watch/supply.h), so it
 * means what was told last.
 *
 * What it fetches outlives it: {"keep": KEY, "retry_after", "until", "size"} and the bytes,
 * {"drop": KEY}; {"recall": KEY} is answered by {"recalled": KEY, "fetched_at", "retry_after",
 * "size"} and the bytes, or {"recalled": KEY} alone. */
#pragma once

#include <jansson.h>
#include <sys/types.h>

#include "base/error.h"
#include "loop/loop.h"
#include "watch/documents.h"

struct prober_client;

/* `endpoints`: borrowed array; `error` NULL, or why there is none. Never called before the request
 * has returned. */
typedef void prober_answer_fn(void *context, const json_t *endpoints, const char *error);

struct prober_client_host {
    void *context;
    /* Starts the process with the socket `fd` (stays the caller's); returns its id or -1 and errno.
     * prober_client_spawn() does it for good. */
    pid_t (*start)(void *context, int fd);
    /* For people: it died, it breaks the rules; NULL: nobody wants to know. */
    void (*event)(void *context, const char *text);
    /* Keep what the process has fetched, and forget it (watch/documents.h). All three NULL: nobody
     * keeps it. */
    void (*keep)(void *context, const char *key, const struct document_copy *copy, int64_t until);
    void (*drop)(void *context, const char *key);
    /* Answers by prober_client_recalled(), now or later. */
    void (*recall)(void *context, const char *key);
};

/* What the process is told first; the checker's limits (watch/checker.h). */
struct prober_limits {
    unsigned connections, per_host;
};

MUST_CHECK int prober_client_new(struct prober_client **ret_client, struct loop *loop,
                                 const struct prober_client_host *host,
                                 const struct prober_limits *limits, struct error *error);
/* Others from now on: the process is replaced if they differ. */
void prober_client_limit(struct prober_client *client, const struct prober_limits *limits);
/* Ends the process; nobody is called back. Accepts NULL. */
void prober_client_free(struct prober_client *client);

/* `request`: {"target", "options"}, taken over. False: out of memory. */
MUST_CHECK bool prober_client_ask(struct prober_client *client, json_t *request,
                                  prober_answer_fn *answer, void *context);
/* The same for what there may be thousands of: it lets all others go first. */
MUST_CHECK bool prober_client_ask_patiently(struct prober_client *client, json_t *request,
                                            prober_answer_fn *answer, void *context);
/* What the file of this key (watch/supply.h) holds: known to the process before all that is asked
 * from now on, also to the next one. `data` (at most SUPPLY_BYTES_MAX) is taken over; NULL:
 * `trouble` says why it cannot be read. False: out of memory. */
MUST_CHECK bool prober_client_supply(struct prober_client *client, const char *key, uint8_t *data,
                                     size_t size, const char *trouble);
/* `copy` NULL: nothing is kept of it. */
void prober_client_recalled(struct prober_client *client, const char *key,
                            const struct document_copy *copy);
void prober_client_withdraw(struct prober_client *client, const char *key);

/* Nobody waits for answers with this context any more. */
void prober_client_forget(struct prober_client *client, const void *context);
/* Nor for those that would be given to `answer` with a context that is gone: many at once. */
void prober_client_forget_gone(struct prober_client *client, prober_answer_fn *answer,
                               bool (*gone)(const void *context));
size_t prober_client_pending(const struct prober_client *client);

struct prober_client_state {
    pid_t pid; /* 0: not running */
    unsigned starts;
    size_t pending;
};
void prober_client_state(const struct prober_client *client, struct prober_client_state *ret_state);

/* Executes `program` (a descriptor of our own binary) afresh as `worker prober`, with nothing but
 * the socket: no other descriptor, hardly any environment, and it ends when we do. */
pid_t prober_client_spawn(int program, int fd);

/* May a JSON value of the process be kept and shown: no control characters in any text or key. */
bool prober_client_printable(const json_t *value);
