/* What the soak client needs of a TLS library. Sockets are non-blocking. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum io {
    IO_DONE,
    IO_AGAIN, /* wait until the socket can be read or, after a write, written */
    IO_END,   /* close_notify came */
    IO_FAILED
};

struct transport {
    const char *name;
    /* Once: trust `root` (PEM), demand a certificate for `server_name`. */
    bool (*begin)(const char *root, const char *server_name);
    /* A client session of exactly TLS 1.3 or 1.2 over `fd`; NULL when that cannot be. */
    void *(*open)(int fd, bool tls13);
    enum io (*handshake)(void *tls);
    /* After IO_AGAIN a write must be repeated with the same bytes. */
    enum io (*read)(void *tls, void *data, size_t size, size_t *ret_done);
    enum io (*write)(void *tls, const void *data, size_t size, size_t *ret_done);
    /* TLS 1.3: renews our sending keys, and asks the peer for the same if `request`. */
    enum io (*update_keys)(void *tls, bool request);
    enum io (*close_notify)(void *tls);
    /* Why the last call failed. */
    const char *(*fault)(void *tls);
    void (*free)(void *tls);
};

extern const struct transport transport;
