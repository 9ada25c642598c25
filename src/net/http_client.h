/* One HTTP request (or SMTP delivery) at a time, without blocking: libcurl's multi interface under
 * our own event loop. For small documents: CRLs, intermediates, renewal information, MTA-STS
 * policies, webhooks, mail. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "loop/loop.h"
#include "loop/socket.h"

struct http_client; /* of a process; any number of requests at once */
struct http_request;

struct http_header {
    const char *name, *value;
};

/* What to ask; plain value, copied. NULL and 0 where not needed. */
struct http_order {
    const char *url;    /* http, https; smtp, smtps for mail */
    const char *method; /* NULL: GET, or POST with a body */
    const struct http_header *headers;
    size_t header_count;
    const void *body;
    size_t body_size;
    const char *user, *password;     /* secrets never reach logs or error texts */
    const char *trust_pem;           /* trusted CAs; NULL: the system's store */
    const struct address *addresses; /* of the URL's host, any port; none: the system's resolver */
    size_t address_count;
    uint32_t timeout_ms; /* the whole of it; 0: 30 s */
    size_t answer_max;   /* bytes; more is a failure that says so; 0: 1 MiB */
    bool follow;         /* redirects, at most 5, to http and https only */
    bool public_only; /* refuse loopback, private and link-local addresses, also behind a redirect:
                         the URL comes from a peer's certificate. No proxy then. */
    /* mail */
    const char *mail_from;
    const char *const *mail_to;
    size_t mail_to_count;
    bool mail_starttls; /* required */
};

struct http_answer {
    bool failed;        /* no answer; `error` says why */
    struct error error; /* printable */
    unsigned status;    /* HTTP status, or SMTP's last code */
    const uint8_t *body;
    size_t body_size;
    int64_t retry_after_s; /* of Retry-After; -1: none */
};
typedef void http_done_fn(void *context, const struct http_answer *answer);

/* libcurl is loaded by the first request of a process, so that a process without one never maps it
 * (net/curl_library.h). Earlier by this, which may be called again: before a sandbox is entered, or
 * to know at once that it is missing. */
MUST_CHECK int http_client_load(struct error *error);

MUST_CHECK int http_client_new(struct http_client **ret_client, struct loop *loop,
                               struct error *error);
void http_client_free(struct http_client *client); /* accepts NULL; nobody is called back */
/* Called back once, never before it returned; the client may be asked again from there, not freed.
 * NULL: refused, and `error` says why. */
struct http_request *http_client_ask(struct http_client *client, const struct http_order *order,
                                     http_done_fn *done, void *context, struct error *error);
void http_client_cancel(struct http_request *request); /* accepts NULL */

/* Does this address belong to everybody's network (no loopback, private, link-local, multicast,
 * shared or reserved one, nor one that is translated into such)? */
bool http_address_public(const struct address *address);
