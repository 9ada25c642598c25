/* Inside watch/starttls*.c: a protocol is one step function that looks at the input.
 *
 * A step takes whole units of what has come (replies, packets, tags) and goes on to its next step;
 * when a unit is not whole yet it says STARTTLS_WANT_READ and takes nothing. */
#pragma once

#include "watch/starttls.h"

typedef enum starttls_status starttls_step_fn(struct starttls *starttls);

starttls_step_fn starttls_step_smtp, starttls_step_imap, starttls_step_pop3, starttls_step_ftp,
    starttls_step_nntp, starttls_step_sieve; /* starttls_line.c */
starttls_step_fn starttls_step_ldap, starttls_step_postgres,
    starttls_step_mysql;             /* starttls_binary.c */
starttls_step_fn starttls_step_xmpp; /* starttls_xmpp.c */

/* What the client says first, for those that do not wait for a greeting. */
void starttls_open_ldap(struct starttls *starttls);
void starttls_open_postgres(struct starttls *starttls);
void starttls_open_xmpp(struct starttls *starttls);

/* Into the output; the next step begins. */
void starttls_say(struct starttls *starttls, unsigned step, const void *data, size_t size);
void starttls_say_text(struct starttls *starttls, unsigned step, const char *text);
/* Drops what has been understood. */
void starttls_take(struct starttls *starttls, size_t size);
/* "<words>: <what was said, printable>" as the reason; `size` 0: the words alone. Returns
 * `status`. */
enum starttls_status starttls_end(struct starttls *starttls, enum starttls_status status,
                                  const char *words, const void *said, size_t size);
