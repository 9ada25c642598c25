/* Asking the DNS without blocking: c-ares under our own event loop.
 *
 * Addresses come as getaddrinfo() would give them (the hosts file, search by /etc/resolv.conf), all
 * of them, of both families. Each question is answered once, never before its call has returned. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "loop/loop.h"
#include "loop/socket.h"

#define NAMES_ANSWERS_MAX 64

struct names; /* the resolver of a process */
struct names_question;

enum names_outcome {
    NAMES_FOUND,
    NAMES_NONE,    /* the name exists, not what was asked for */
    NAMES_UNKNOWN, /* NXDOMAIN */
    NAMES_FAILED   /* SERVFAIL, refused, no server, time-out: whether there is one is not known */
};

struct names_mx {
    uint16_t preference;
    char host[256]; /* printable, lower case, no final dot; "" : null MX (RFC 7505) */
};
struct names_tlsa { /* RFC 6698 */
    uint8_t usage, selector, matching;
    uint8_t data[64]; /* a longer association is cut and `size` tells the whole size */
    uint16_t size;
};

struct names_answer {
    enum names_outcome outcome;
    const char *reason; /* in words, when nothing was found; static */
    bool authenticated; /* the resolver vouches by DNSSEC (AD), as far as the way to it can be
                           trusted; records only */
    size_t count;
    union {
        struct address
            addresses[NAMES_ANSWERS_MAX]; /* port 0; IPv6 and IPv4 mixed, in the system's order */
        struct names_mx mx[NAMES_ANSWERS_MAX]; /* by preference */
        struct names_tlsa tlsa[NAMES_ANSWERS_MAX];
        char texts[NAMES_ANSWERS_MAX][512]; /* TXT, parts joined, printable */
        char names[NAMES_ANSWERS_MAX][256];
    };
};

typedef void names_done_fn(void *context, const struct names_answer *answer);

struct names_options {
    const char *servers;    /* "127.0.0.1:5353,…"; NULL: /etc/resolv.conf */
    uint32_t timeout_ms;    /* of one question with all its tries */
    unsigned questions_max; /* under way at once; the others wait */
};

MUST_CHECK int names_new(struct names **ret_names, struct loop *loop,
                         const struct names_options *options, struct error *error);
/* Accepts NULL; nobody is called back. Not from inside a call-back of its own. */
void names_free(struct names *names);

/* `family`: AF_INET, AF_INET6 or AF_UNSPEC. NULL: out of memory. */
struct names_question *names_addresses(struct names *names, const char *host, int family,
                                       names_done_fn *done, void *context);
struct names_question *names_mx(struct names *names, const char *domain, names_done_fn *done,
                                void *context);
struct names_question *names_txt(struct names *names, const char *name, names_done_fn *done,
                                 void *context);
struct names_question *names_tlsa(struct names *names, const char *name, names_done_fn *done,
                                  void *context);
/* The asker is no longer interested; not after its call-back. Accepts NULL. */
void names_cancel(struct names_question *question);
