/* Addresses and sockets. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/error.h"

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
    socklen_t size; /* 0: none */
};

/* A network: address + prefix length, for allow and deny lists. */
struct network {
    uint8_t bytes[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint8_t prefix;    /* 0–128 over those 16 bytes */
};

#define ADDRESS_TEXT_MAX 128

/* "10.0.0.5:8080", "[::1]:8080", "*:443" (any IPv4), "unix:/run/app.sock". Names are refused: see
 * address_split(). Port 0 is let through (any free port, when listening). */
MUST_CHECK int address_parse(struct address *ret_address, const char *text, struct error *error);
/* Splits "host:port" without resolving; `host` may be a name. Fails on a missing or bad port. */
MUST_CHECK int address_split(const char *text, char *ret_host, size_t host_size, uint16_t *ret_port,
                             struct error *error);
/* The form that address_parse reads. Returns `text`. */
char *address_format(char *text, size_t size, const struct address *address);
bool address_equal(const struct address *a, const struct address *b);
uint16_t address_port(const struct address *address);
void address_set_port(struct address *address, uint16_t port);
/* 16 bytes, IPv4 mapped; all zero for Unix sockets. */
void address_bytes(uint8_t ret_bytes[16], const struct address *address);
void address_from_bytes(struct address *ret_address, const uint8_t bytes[16], uint16_t port);

/* "10.0.0.0/8", "::1", "192.0.2.1". */
MUST_CHECK int network_parse(struct network *ret_network, const char *text, struct error *error);
bool network_contains(const struct network *network, const uint8_t bytes[16]);
bool network_list_contains(const struct network *networks, size_t count, const uint8_t bytes[16]);

/* A bound, listening, non-blocking, close-on-exec stream socket; the message names the address and,
 * for a port in use, says so. A stale Unix socket file that nobody listens on is replaced. */
MUST_CHECK int socket_listen(int *ret_fd, const struct address *address, int backlog,
                             struct error *error);

/* Begins a non-blocking connect; `source` may be NULL (else bound with IP_BIND_ADDRESS_NO_PORT).
 * Returns the descriptor or -errno. The connection is up when the socket is writable and
 * socket_error() is 0. */
int socket_connect(const struct address *address, const struct address *source);
int socket_error(int fd); /* SO_ERROR */
/* Breaks the connection, also for duplicates of the descriptor: the peer sees a reset, or the end
 * where the family knows none (Unix sockets). */
void socket_reset(int fd);
/* Both directions were ended, so that there is nothing to break any more: what was sent may still
 * be on its way. */
bool socket_ended(int fd);

struct socket_options {
    uint32_t keepalive_s;     /* idle seconds before the first probe; 0 = off */
    uint32_t user_timeout_ms; /* TCP_USER_TIMEOUT; 0 = system default */
};
/* TCP_NODELAY, SO_OOBINLINE and `options`; quietly does what fits the socket's family. */
void socket_tune(int fd, const struct socket_options *options);

uint64_t socket_cookie(int fd); /* SO_COOKIE; 0 when the system has none */
