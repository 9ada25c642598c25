/* What both load generators share: dialling, the TLS client context, the check of what was
 * negotiated, HTTP answers. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#define ANSWER_HEAD_MAX 1024u

struct answer {
    size_t head_length;
    size_t body_left;
    char head[ANSWER_HEAD_MAX];
};

/* Dies with whoever started us, and after `seconds` at the latest. */
void client_begin(unsigned seconds);

/* Prints and ends the program. */
_Noreturn void client_die(const char *what);

uint64_t client_now(void); /* ns */

/* To the next of arrivals that do not know of each other, `rate` a second: exponential gaps, in ns,
 * the same row of them for every contestant. */
uint64_t client_gap(double rate);

/* epoll_wait() until `until` on the clock of client_now(). */
int client_wait(int epoll, struct epoll_event *events, int count, uint64_t until);

/* To a port of 127.0.0.1; -1 when refused. */
int client_dial(uint16_t port, bool nonblocking);

/* Waits for a line on standard input; ends the program when there will be none. */
void client_wait_line(void);

/* TLS 1.3, X25519 and this one suite. */
SSL_CTX *client_context(const char *suite, bool save_memory);

/* What is not as it has to be, or NULL. */
const char *client_negotiation_fault(SSL *ssl, const char *suite, bool want_resumed);

void answer_start(struct answer *answer);

/* Feeds bytes of an answer. Returns 1 when it is complete, 0 when it goes on, -1 when it is none.
 */
int answer_feed(struct answer *answer, const char *bytes, size_t length);
