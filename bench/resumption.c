/* The client of the resumption measure: collects tickets, and later offers each on a new
 * connection.
 *
 * Usage: resumption PORT SECONDS SUITE. Takes one order per line and answers each with one line:
 *   collect N   N connections with a full handshake, one request each: {"tickets"}
 *   use         a new connection and a request for each ticket: {"resumed", "full"} */
#include "client.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICKETS_MAX 4096u

static SSL_CTX *context;
static uint16_t port;
static const char *suite;
static SSL_SESSION *tickets[TICKETS_MAX];
static unsigned held;
static SSL_SESSION *latest; /* of the connection at hand */
static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

static int on_ticket(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(latest);
    latest = session;
    return 1;
}

static void ask(SSL *ssl)
{
    struct answer answer;
    char data[4096];
    int size, done = 0;

    if (SSL_write(ssl, request, sizeof request - 1) <= 0)
        client_die("request");
    answer_start(&answer);
    while (done == 0 && (size = SSL_read(ssl, data, sizeof data)) > 0)
        done = answer_feed(&answer, data, (size_t)size);
    if (done != 1)
        client_die("answer");
}

/* One connection, one request; was it resumed? */
static bool visit(SSL_SESSION *offered)
{
    SSL *ssl = SSL_new(context);
    int fd = client_dial(port, false);

    if (ssl == NULL || fd < 0 || SSL_set_fd(ssl, fd) != 1 ||
        SSL_set_tlsext_host_name(ssl, "localhost") != 1 ||
        (offered != NULL && SSL_set_session(ssl, offered) != 1) || SSL_connect(ssl) != 1)
        client_die("handshake");
    bool resumed = SSL_session_reused(ssl) == 1;
    const char *fault = client_negotiation_fault(ssl, suite, resumed);
    if (fault != NULL)
        client_die(fault);
    ask(ssl);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
    return resumed;
}

static void collect(unsigned count)
{
    while (held > 0)
        SSL_SESSION_free(tickets[--held]);
    while (held < count && held < TICKETS_MAX) {
        if (visit(NULL) || latest == NULL)
            client_die("no ticket came");
        tickets[held++] = latest;
        latest = NULL;
    }
    printf("{\"tickets\": %u}\n", held);
}

static void use(void)
{
    unsigned resumed = 0;

    for (unsigned i = 0; i < held; i++)
        resumed += visit(tickets[i]);
    printf("{\"resumed\": %u, \"full\": %u}\n", resumed, held - resumed);
}

int main(int count, char **arguments)
{
    char line[64];

    if (count != 4)
        client_die("usage: resumption PORT SECONDS SUITE");
    port = (uint16_t)atoi(arguments[1]);
    suite = arguments[3];
    client_begin((unsigned)atoi(arguments[2]));
    context = client_context(suite, false);
    SSL_CTX_sess_set_new_cb(context, on_ticket);
    while (fgets(line, sizeof line, stdin) != NULL) {
        unsigned wanted;
        if (sscanf(line, "collect %u", &wanted) == 1)
            collect(wanted);
        else
            use();
        fflush(stdout);
    }
    return 0;
}
