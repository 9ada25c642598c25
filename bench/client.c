#include "client.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000u /* ns */

void client_begin(unsigned seconds)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    alarm(seconds);
    /* Keep what was freed: page faults are expensive on a virtual machine. */
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    mallopt(M_TOP_PAD, 16 << 20);
}

_Noreturn void client_die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

uint64_t client_now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t client_gap(double rate)
{
    static uint64_t state = 0x9e3779b97f4a7c15u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    double uniform = ((double)(state >> 11) + 1.0) / 9007199254740993.0;
    return (uint64_t)(-log(uniform) * SECOND / rate);
}

int client_wait(int epoll, struct epoll_event *events, int count, uint64_t until)
{
    uint64_t time = client_now();
    uint64_t left = until > time ? until - time : 0;
    struct timespec timeout = {.tv_sec = (time_t)(left / SECOND), .tv_nsec = (long)(left % SECOND)};

    return epoll_pwait2(epoll, events, count, &timeout, NULL);
}

int client_dial(uint16_t port, bool nonblocking)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);

    if (fd < 0)
        client_die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

void client_wait_line(void)
{
    char line[16];

    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin))
        exit(0);
}

/* The certificate is the bench's own: checking the chain would only cost the load generator its
 * speed. OpenSSL still verifies the server's signature with the leaf's key. */
static int accept_chain(X509_STORE_CTX *store, void *unused)
{
    (void)unused;
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

SSL_CTX *client_context(const char *suite, bool save_memory)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    if (!context || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(context, suite) != 1 ||
        SSL_CTX_set1_groups_list(context, "X25519") != 1 ||
        SSL_CTX_set1_sigalgs_list(context, "ECDSA+SHA256") != 1)
        client_die("TLS client context");
    if (save_memory)
        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_cert_verify_callback(context, accept_chain, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    return context;
}

const char *client_negotiation_fault(SSL *ssl, const char *suite, bool want_resumed)
{
    if (SSL_version(ssl) != TLS1_3_VERSION)
        return "not TLS 1.3";
    if (SSL_get_negotiated_group(ssl) != NID_X25519)
        return "not X25519";
    if (strcmp(SSL_get_cipher_name(ssl), suite) != 0)
        return "another suite";
    if (SSL_session_reused(ssl) != want_resumed)
        return want_resumed ? "not resumed" : "resumed";
    return NULL;
}

void answer_start(struct answer *answer)
{
    answer->head_length = 0;
    answer->body_left = 0;
}

/* Takes the head, and returns how many of the bytes belonged to it: 0 when it is not whole yet, -1
 * when it is none. */
static long take_head(struct answer *answer, const char *bytes, size_t length)
{
    size_t before = answer->head_length;
    size_t room = ANSWER_HEAD_MAX - 1 - before;
    size_t taken = length < room ? length : room;

    memcpy(answer->head + before, bytes, taken);
    answer->head_length += taken;
    answer->head[answer->head_length] = '\0';
    const char *end = strstr(answer->head, "\r\n\r\n");
    if (!end)
        return taken == room ? -1 : 0;
    const char *field = strcasestr(answer->head, "\r\nContent-Length:");
    if (!field || strncmp(answer->head, "HTTP/1.1 200", 12) != 0)
        return -1;
    answer->body_left = strtoul(field + 17, NULL, 10);
    return end + 4 - (answer->head + before);
}

int answer_feed(struct answer *answer, const char *bytes, size_t length)
{
    if (answer->body_left == 0) {
        long head = take_head(answer, bytes, length);
        if (head <= 0)
            return (int)head;
        length -= (size_t)head;
    }
    if (length > answer->body_left)
        return -1;
    answer->body_left -= length;
    return answer->body_left == 0;
}
