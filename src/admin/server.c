#include "admin/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"

#define OUTPUT_ENOUGH   (64u << 10) /* a pump stops here */
#define ROUNDS          8 /* pumps per event, so that one reader does not hold up the loop */
#define REQUEST_TIMEOUT (10 * NS_PER_S)
#define STALL_TIMEOUT   (60 * NS_PER_S)
#define ACCEPT_RETRY    NS_PER_S

enum client_state { CLIENT_FREE, CLIENT_READING, CLIENT_ANSWERING, CLIENT_WAITING, CLIENT_ENDING };

struct control_client {
    struct control_request request; /* first: a request is its client */
    struct control_server *server;
    enum client_state state;
    int fd;
    uint32_t serial; /* told apart from an earlier client of the same place */
    const struct control_verb *verb;
    struct buffer input, output;
    struct timer deadline;
    struct timer wake;
    unsigned watched; /* events asked for */
};

struct control_server {
    struct loop *loop;
    int listening_fd;
    uid_t owner;
    const struct control_verb *const *verbs;
    void *context;
    uint8_t accept_handler, client_handler;
    bool accepting;
    uint32_t serial;
    struct timer retry;
    struct control_client clients[CONTROL_CLIENTS_MAX];
};

static uint64_t client_tag(const struct control_client *client)
{
    return (uint64_t)client->serial << 8 | (uint64_t)(client - client->server->clients);
}

static void pause_accepting(struct control_server *server)
{
    if (server->accepting)
        loop_unwatch(server->loop, server->listening_fd);
    server->accepting = false;
}

static void resume_accepting(void *context)
{
    struct control_server *server = context;

    if (!server->accepting)
        server->accepting =
            loop_watch(server->loop, server->listening_fd, LOOP_READ, server->accept_handler, 0);
    if (!server->accepting)
        timer_set(server->loop, &server->retry, loop_now(server->loop) + ACCEPT_RETRY);
}

static void client_close(struct control_client *client)
{
    struct control_server *server = client->server;

    if (client->verb != NULL && client->verb->end != NULL)
        client->verb->end(&client->request);
    for (size_t i = 0; i < client->request.fd_count; i++) {
        if (client->request.fds[i] >= 0)
            close(client->request.fds[i]);
    }
    timer_cancel(server->loop, &client->deadline);
    timer_cancel(server->loop, &client->wake);
    loop_unwatch(server->loop, client->fd);
    close(client->fd);
    buffer_fini(&client->input);
    buffer_fini(&client->output);
    free(client->request.state);
    client->request = (struct control_request){0};
    client->verb = NULL;
    client->state = CLIENT_FREE;
    resume_accepting(server);
}

static void client_watch(struct control_client *client, unsigned events)
{
    if (client->watched == events)
        return;
    client->watched = events;
    if (!loop_change(client->server->loop, client->fd, events, client->server->client_handler,
                     client_tag(client)))
        client->state =
            CLIENT_ENDING; /* cannot happen with a registered descriptor; the deadline ends it */
}

/* False when the client is gone (and closed). */
static bool client_flush(struct control_client *client)
{
    while (client->output.size > 0) {
        ssize_t sent =
            send(client->fd, client->output.data, client->output.size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            buffer_consume(&client->output, (size_t)sent);
            timer_set(client->server->loop, &client->deadline,
                      loop_now(client->server->loop) + STALL_TIMEOUT);
        } else if (sent < 0 && errno == EAGAIN) {
            return true;
        } else if (sent >= 0 || errno != EINTR) {
            client_close(client);
            return false;
        }
    }
    return true;
}

static const char *const class_names[] = {
    [ERROR_CLASS_USAGE] = "usage",     [ERROR_CLASS_IO] = "io",
    [ERROR_CLASS_PEER] = "peer",       [ERROR_CLASS_PROTOCOL] = "protocol",
    [ERROR_CLASS_FINDING] = "finding", [ERROR_CLASS_INTERNAL] = "internal",
};

static void client_finish(struct control_client *client, const struct error *error)
{
    json_t *line = json_object(), *facts;

    client->state = CLIENT_ENDING;
    if (error == NULL) {
        json_set_flag(line, "done", true);
    } else {
        facts = json_object();
        json_set_text(facts, "code", error_name(error->code));
        json_set_text(facts, "class", class_names[error_class(error->code)]);
        json_set_text(facts, "message", error->message);
        ignore(json_object_set_new(line, "error", facts));
    }
    if (!request_write(&client->request, line))
        client->output.size = 0; /* no memory for a last word: the client sees the connection end */
}

/* Calls the verb's pump until it waits or enough stands in the output. */
static void client_pump(struct control_client *client)
{
    struct error error = {.code = ERROR_NONE};

    while (client->state == CLIENT_ANSWERING && client->output.size < OUTPUT_ENOUGH) {
        switch (client->verb->pump(&client->request, &error)) {
        case VERB_AGAIN:
            return;
        case VERB_WAITING:
            client->state = CLIENT_WAITING;
            break;
        case VERB_DONE:
            client_finish(client, NULL);
            break;
        case VERB_FAILED:
            client_finish(client, &error);
            break;
        }
    }
}

static void client_run(struct control_client *client)
{
    for (int round = 0; round < ROUNDS; round++) {
        client_pump(client);
        if (!client_flush(client))
            return;
        if (client->output.size > 0 || client->state != CLIENT_ANSWERING)
            break;
    }
    if (client->output.size == 0 && client->state == CLIENT_ENDING) {
        client_close(client);
        return;
    }
    if (client->output.size == 0 && client->state == CLIENT_WAITING)
        timer_cancel(client->server->loop, &client->deadline); /* it waits for us, not we for it */
    else if (client->deadline.position == 0)
        timer_set(client->server->loop, &client->deadline,
                  loop_now(client->server->loop) + STALL_TIMEOUT);
    client_watch(client,
                 client->output.size > 0 || client->state == CLIENT_ANSWERING ? LOOP_WRITE : 0);
}

static int client_begin(struct control_client *client, const json_t *object, struct error *error)
{
    bool wrong = false;
    const char *name = json_get_text(object, "verb", &wrong);

    if (!json_is_object(object) || name == NULL || wrong)
        return error_set(error, ERROR_USAGE, "a request is a JSON object with a text \"verb\"");
    for (const struct control_verb *const *at = client->server->verbs; *at != NULL; at++) {
        const struct control_verb *verb = *at;
        if (strcmp(verb->name, name) != 0)
            continue;
        client->request.state = calloc(1, verb->state_size + 1);
        if (client->request.state == NULL)
            return error_set(error, ERROR_MEMORY, "out of memory");
        int result = verb->begin(&client->request, object, error);
        if (result == 0)
            client->verb = verb;
        return result;
    }
    return error_set(
        error, ERROR_USAGE,
        "this daemon does not know the verb of the request; is it of the same version?");
}

static void client_request(struct control_client *client, size_t size)
{
    struct error error = {.code = ERROR_NONE};
    json_error_t reason;
    int result;

    json_t *object =
        json_loadb((const char *)client->input.data, size, JSON_REJECT_DUPLICATES, &reason);
    if (object == NULL)
        result =
            error_set(&error, ERROR_PROTOCOL, "the request is not JSON (byte %d)", reason.position);
    else
        result = client_begin(client, object, &error);
    json_decref(object);
    buffer_fini(&client->input);
    timer_set(client->server->loop, &client->deadline,
              loop_now(client->server->loop) + STALL_TIMEOUT);
    if (result < 0)
        client_finish(client, &error);
    else if (client->verb->pump == NULL)
        client_finish(client, NULL);
    else
        client->state = CLIENT_ANSWERING;
    client_run(client);
}

static void take_descriptors(struct control_client *client, struct msghdr *header)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL;
         part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            if (client->request.fd_count < CONTROL_FDS_MAX)
                client->request.fds[client->request.fd_count++] = fd;
            else
                close(fd);
        }
    }
}

static ssize_t client_receive(struct control_client *client)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(CONTROL_FDS_MAX * sizeof(int))];
    } control;
    uint8_t *place = buffer_reserve(&client->input, 4096);
    struct iovec part = {.iov_base = place, .iov_len = 4096};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof control};

    if (place == NULL) {
        errno = EMSGSIZE;
        return -1;
    }
    ssize_t size = recvmsg(client->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size >= 0)
        take_descriptors(client, &header);
    if (size > 0)
        client->input.size += (size_t)size;
    return size;
}

static void client_read(struct control_client *client)
{
    static const struct error too_long = {
        .code = ERROR_LIMIT, .message = "the request is longer than 64 KiB or has no end of line"};

    for (;;) {
        size_t before = client->input.size;
        ssize_t size = client_receive(client);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0 && errno == EAGAIN)
            return;
        if (size < 0 && errno == EMSGSIZE) {
            client_finish(client, &too_long);
            client_run(client);
            return;
        }
        if (size < 0 || (size == 0 && before == 0)) {
            client_close(client);
            return;
        }
        const uint8_t *end = size == 0 ? client->input.data + before
                                       : memchr(client->input.data + before, '\n', (size_t)size);
        if (end != NULL) {
            client_request(client, (size_t)(end - client->input.data));
            return;
        }
    }
}

static void on_client(void *context, uint64_t tag, unsigned events)
{
    struct control_server *server = context;
    struct control_client *client = &server->clients[(tag & 0xff) % CONTROL_CLIENTS_MAX];

    if (client->state == CLIENT_FREE || client_tag(client) != tag)
        return;
    if (client->state == CLIENT_READING)
        client_read(client);
    else if ((events & LOOP_ERROR) != 0)
        client_close(client);
    else
        client_run(client);
}

static void on_deadline(void *context)
{
    client_close(context);
}

static void on_wake(void *context)
{
    struct control_client *client = context;

    if (client->state == CLIENT_WAITING)
        client->state = CLIENT_ANSWERING;
    client_run(client);
}

static bool client_allowed(const struct control_server *server, int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return false;
    return peer.uid == 0 || peer.uid == geteuid() || peer.uid == server->owner;
}

static void client_open(struct control_server *server, int fd)
{
    static const struct error denied = {
        .code = ERROR_USAGE,
        .message = "only root and the user of the daemon may use the control socket"};
    struct control_client *client = server->clients;

    while (client->state != CLIENT_FREE)
        client++;
    *client = (struct control_client){.server = server,
                                      .fd = fd,
                                      .serial = ++server->serial,
                                      .state = CLIENT_READING,
                                      .watched = LOOP_READ};
    client->request.context = server->context;
    buffer_init(&client->input, CONTROL_REQUEST_MAX);
    buffer_init(&client->output, CONTROL_OUTPUT_MAX);
    timer_init(&client->deadline, on_deadline, client);
    timer_init(&client->wake, on_wake, client);
    timer_set(server->loop, &client->deadline, loop_now(server->loop) + REQUEST_TIMEOUT);
    if (!loop_watch(server->loop, fd, LOOP_READ, server->client_handler, client_tag(client))) {
        client_close(client);
    } else if (!client_allowed(server, fd)) {
        client_finish(client, &denied);
        client_run(client);
    }
}

static bool has_place(const struct control_server *server)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (server->clients[i].state == CLIENT_FREE)
            return true;
    }
    return false;
}

static void on_accept(void *context, uint64_t tag, unsigned events)
{
    struct control_server *server = context;
    (void)tag, (void)events;

    while (has_place(server)) {
        int fd = accept4(server->listening_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            client_open(server, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            pause_accepting(server);
            timer_set(server->loop, &server->retry, loop_now(server->loop) + ACCEPT_RETRY);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
    pause_accepting(server); /* the next client that ends lets it go on */
}

struct control_server *server_new(struct loop *loop, int listening_fd, uid_t owner,
                                  const struct control_verb *const *verbs, void *context)
{
    struct control_server *server = calloc(1, sizeof *server);

    if (server == NULL)
        return NULL;
    server->loop = loop;
    server->listening_fd = listening_fd;
    server->owner = owner;
    server->verbs = verbs;
    server->context = context;
    server->accept_handler = loop_handler(loop, on_accept, server);
    server->client_handler = loop_handler(loop, on_client, server);
    timer_init(&server->retry, resume_accepting, server);
    resume_accepting(server);
    return server;
}

void server_free(struct control_server *server)
{
    if (server == NULL)
        return;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (server->clients[i].state != CLIENT_FREE)
            client_close(&server->clients[i]);
    }
    pause_accepting(server);
    timer_cancel(server->loop, &server->retry);
    free(server);
}

static struct control_client *client_of(struct control_request *request)
{
    return (struct control_client *)(void *)request;
}

bool request_write(struct control_request *request, json_t *line)
{
    return json_line(line, &client_of(request)->output);
}

bool request_has_room(const struct control_request *request)
{
    return ((const struct control_client *)(const void *)request)->output.size < OUTPUT_ENOUGH;
}

void request_wake(struct control_request *request)
{
    struct control_client *client = client_of(request);

    if (client->state == CLIENT_WAITING)
        timer_set(client->server->loop, &client->wake, loop_now(client->server->loop));
}
