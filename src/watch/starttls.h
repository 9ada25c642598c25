/* The conversations before TLS, as their RFCs define them. Bytes in, bytes out; no sockets.
 *
 * Strict where it matters: what a server sends behind its consent, before TLS has begun, is
 * injected plaintext (CVE-2011-0411 and its kin) and ends the check by name. */
#pragma once

#include "watch/target.h"

enum starttls_status {
    STARTTLS_WANT_READ, /* send the output, feed more */
    STARTTLS_DONE,      /* send the output (may be empty), then TLS begins */
    STARTTLS_REFUSED,   /* the server does not offer TLS, or said no */
    STARTTLS_INJECTED,  /* bytes behind the consent */
    STARTTLS_PROTOCOL   /* it speaks something else, or too much */
};

struct starttls {
    enum target_protocol protocol;
    unsigned step;
    char host[TARGET_HOST_MAX];
    uint8_t input[8192]; /* a reply that is not whole yet */
    size_t input_size;
    uint8_t output[1024];
    size_t output_size;
    size_t received;  /* of all of it: bounded */
    char reason[256]; /* of a failure: what was said, printable */
};

/* `host`: named in EHLO-less protocols that want it (XMPP's "to"). */
void starttls_init(struct starttls *starttls, enum target_protocol protocol, const char *host);
MUST_CHECK enum starttls_status starttls_feed(struct starttls *starttls, const uint8_t *input,
                                              size_t size);
/* The caller has sent `output` whole: it is empty again. */
void starttls_sent(struct starttls *starttls);
