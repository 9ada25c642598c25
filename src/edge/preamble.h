/* What an upstream is told of a session before its first byte: the PROXY header. */
#pragma once

#include "conf/conf.h"
#include "session/proxy_protocol.h"
#include "tls/handshake.h"

struct preamble {
    const struct conf_upstream *upstream;
    const uint8_t *client; /* 16 bytes */
    uint16_t client_port;
    const struct address *local;       /* where the client came to */
    const char *server_name;           /* "": it asked for none */
    const struct handshake *handshake; /* NULL: pass-through; may be detached already */
    bool asked; /* the client was asked who it is after its handshake: that is not told, because
                   what it has sent before follows, too */
};

/* `output` has PROXY_PROTOCOL_V2_MAX bytes; returns the size, 0: the upstream wants none. */
size_t preamble_build(const struct preamble *preamble, uint8_t *output);
