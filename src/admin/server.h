/* The control socket: one request per connection, answered by JSON lines (doc/control-protocol.md).
 *
 * A verb writes its answer piece by piece: its pump is called while there is room, so that a long
 * answer never stands in memory whole and a slow reader slows only itself. Limits: size and time of
 * the request, number of connections, stalled readers. */
#pragma once

#include <jansson.h>
#include <sys/types.h>

#include "base/error.h"
#include "loop/loop.h"

#define CONTROL_REQUEST_MAX 65536 /* bytes of a request */
#define CONTROL_FDS_MAX     4
#define CONTROL_CLIENTS_MAX 32
#define CONTROL_OUTPUT_MAX  (512u << 10)

enum verb_progress {
    VERB_AGAIN,   /* more to write when there is room */
    VERB_WAITING, /* for request_wake() */
    VERB_DONE,
    VERB_FAILED /* the error was filled */
};

/* What a verb sees of its connection. */
struct control_request {
    void *context;            /* as given to server_new() */
    void *state;              /* control_verb.state_size zeroed bytes */
    int fds[CONTROL_FDS_MAX]; /* descriptors that came along; set those taken to -1, the rest are
                                 closed */
    size_t fd_count;
};

struct control_verb {
    const char *name;
    size_t state_size;
    /* Checks the request and prepares; 0 or a negative code with `error` filled. */
    int (*begin)(struct control_request *request, const json_t *object, struct error *error);
    /* Writes some lines. NULL: begin did it all. */
    enum verb_progress (*pump)(struct control_request *request, struct error *error);
    /* The connection ends, for whatever reason; only called after a successful begin. May be NULL.
     */
    void (*end)(struct control_request *request);
};

struct control_server;

/* Serves on `listening_fd` (not taken over). `owner`: a user, besides root and our own, who may
 * ask. `verbs` ends with NULL and outlives the server. NULL when the system refuses. */
struct control_server *server_new(struct loop *loop, int listening_fd, uid_t owner,
                                  const struct control_verb *const *verbs, void *context);
void server_free(struct control_server *server); /* accepts NULL */

/* Sends a line; takes over the reference. False when the reader is too slow: the line is dropped.
 */
bool request_write(struct control_request *request, json_t *line);
/* There is room for more lines of the same pump. */
bool request_has_room(const struct control_request *request);
/* Has the pump called again soon. */
void request_wake(struct control_request *request);
