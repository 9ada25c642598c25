/* What a test client needs of a TLS library. Sockets are non-blocking; one session at a time has to
 * do with the calls that say so. */
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
    const char *(*version)(void); /* of the library that runs: "3.7.9" */
    /* Once: trust `root` (PEM), demand a certificate for `server_name`; renegotiate TLS 1.2 when
     * the peer asks for it only if `renegotiates`, where the library leaves that to its user. */
    bool (*begin)(const char *root, const char *server_name, bool renegotiates);
    /* A client session of exactly TLS 1.3 or 1.2 over `fd`; NULL when that cannot be. */
    void *(*open)(int fd, bool tls13);
    enum io (*handshake)(void *tls);
    /* After IO_AGAIN a write must be repeated with the same bytes. */
    enum io (*read)(void *tls, void *data, size_t size, size_t *ret_done);
    enum io (*write)(void *tls, const void *data, size_t size, size_t *ret_done);
    /* TLS 1.3: renews our sending keys, and asks the peer for the same if `request`. NULL: the
     * library cannot; those that always ask ignore `request`. */
    enum io (*update_keys)(void *tls, bool request);
    /* TLS 1.2: begins a handshake on the session; reading and writing carry it through until
     * negotiating() is false. It was declined if handshakes() has not grown. NULL: the library
     * cannot. */
    enum io (*renegotiate)(void *tls);
    bool (*negotiating)(void *tls);
    unsigned (*handshakes)(void *tls);
    /* The next open() offers what this session got for its resumption (one session at a time). */
    void (*keep_session)(void *tls);
    enum io (*close_notify)(void *tls);
    /* Why the last call failed. */
    const char *(*fault)(void *tls);
    void (*free)(void *tls);
};

/* What all libraries have, by the names that these functions bear in each file. */
#define TRANSPORT_COMMON                                                                           \
    .version = version, .begin = begin, .open = open_session, .handshake = handshake,              \
    .read = read_some, .write = write_some, .handshakes = handshakes,                              \
    .keep_session = keep_session, .fault = fault, .free = free_session

extern const struct transport transport;
