/* Addresses that come and go with a reload. A socket that stays is never touched, but for the
 * settings that accepted connections inherit. */
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "edge/supervisor_reload_internal.h"

static bool take_over(const struct house_socket *sockets, uint32_t count,
                      const struct address *address, struct reload_sockets *next, uint32_t listener)
{
    for (uint32_t i = 0; i < count; i++) {
        if (sockets[i].fd < 0 || !address_equal(&sockets[i].address, address))
            continue;
        next->items[next->count] = sockets[i];
        next->items[next->count].listener = listener;
        next->fresh[next->count++] = false;
        return true;
    }
    return false;
}

/* The kernel lets nobody have 127.0.0.1:443 and *:443, and what waits at the one must not be lost
 * for the other. */
static int explain(const struct house *house, const struct address *address, struct error *error)
{
    char text[ADDRESS_TEXT_MAX];
    struct error first = *error;

    for (uint32_t i = 0; i < house->listening_count; i++) {
        const struct address *other = &house->listening[i].address;
        if (other->any.sa_family != address->any.sa_family || other->any.sa_family == AF_UNIX ||
            address_port(other) != address_port(address))
            continue;
        return error_set(error, first.code,
                         "%.800s; %s is in force until this reload, and both cannot be had at "
                         "once: remove it in one reload and add this one in the next",
                         first.message, address_format(text, sizeof text, other));
    }
    return -(int)first.code;
}

static int bind_listeners(struct reload *reload, struct error *error)
{
    const struct conf *conf = reload->next;
    const struct house *house = reload->supervisor->house;
    struct reload_sockets *next = &reload->listening;

    for (uint32_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *listener = &conf->listeners[i];
        for (size_t j = 0; conf_listener_in_force(listener) && j < listener->bind.count; j++) {
            const struct address *address = &listener->bind.items[j];
            if (take_over(house->listening, house->listening_count, address, next, i))
                continue;
            next->items[next->count] = (struct house_socket){.listener = i, .address = *address};
            if (resources_listen(&next->items[next->count].fd, listener, address, error) < 0)
                return explain(house, address, error);
            next->fresh[next->count++] = true;
        }
    }
    return 0;
}

static int bind_admin(struct reload *reload, struct error *error)
{
    const struct conf *conf = reload->next;
    const struct house *house = reload->supervisor->house;
    struct reload_sockets *next = &reload->admin;

    for (size_t i = 0; i < conf_http_count(conf); i++) {
        const struct address *address = conf_http_address(conf, i);
        int fd;
        if (take_over(house->admin, house->admin_count, address, next, 0))
            continue;
        if (socket_listen(&fd, address, 64, error) < 0)
            return error_prepend(error, i < conf->admin.bind.count ? "admin" : "exporter");
        next->items[next->count] = (struct house_socket){.fd = fd, .address = *address};
        next->fresh[next->count++] = true;
    }
    return 0;
}

static void close_fresh(struct reload_sockets *sockets)
{
    for (uint32_t i = 0; i < sockets->count; i++) {
        if (!sockets->fresh[i])
            continue;
        resources_unlink_socket(sockets->items[i].fd);
        ignore(close(sockets->items[i].fd));
    }
    sockets->count = 0;
}

void bind_undo(struct reload *reload)
{
    close_fresh(&reload->listening);
    close_fresh(&reload->admin);
}

int bind_next(struct reload *reload, struct error *error)
{
    reload->listening.count = reload->admin.count = 0;
    int result = bind_listeners(reload, error);
    if (result == 0)
        result = bind_admin(reload, error);
    if (result < 0)
        bind_undo(reload);
    return result;
}

static bool stays(const struct reload_sockets *next, int fd)
{
    for (uint32_t i = 0; i < next->count; i++) {
        if (next->items[i].fd == fd)
            return true;
    }
    return false;
}

static void replace(struct reload *reload, struct house_socket *sockets, uint32_t *count,
                    const struct reload_sockets *next)
{
    for (uint32_t i = 0; i < *count; i++) {
        if (stays(next, sockets[i].fd))
            continue;
        /* Nobody finds a Unix socket from here on; what found it is accepted still. */
        resources_unlink_socket(sockets[i].fd);
        reload->leaving[reload->leaving_count++] = sockets[i];
    }
    memcpy(sockets, next->items, next->count * sizeof *sockets);
    *count = next->count;
}

void bind_commit(struct reload *reload)
{
    struct house *house = reload->supervisor->house;
    const struct conf *conf = reload->next;

    reload->leaving_count = 0;
    replace(reload, house->listening, &house->listening_count, &reload->listening);
    replace(reload, house->admin, &house->admin_count, &reload->admin);
    for (uint32_t i = 0; i < house->listening_count; i++) {
        const struct conf_listener *listener = &conf->listeners[house->listening[i].listener];
        struct socket_options options = {.keepalive_s = listener->keepalive,
                                         .user_timeout_ms = listener->user_timeout};
        int listens = 0;
        socklen_t size = sizeof listens;
        socket_tune(house->listening[i].fd, &options);
        /* One that a drain has shut stays so. */
        if (getsockopt(house->listening[i].fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 &&
            listens != 0)
            ignore(listen(house->listening[i].fd, listener->backlog));
    }
}

void bind_close_leaving(struct reload *reload)
{
    for (uint32_t i = 0; i < reload->leaving_count; i++)
        ignore(close(reload->leaving[i].fd));
    reload->leaving_count = 0;
}
