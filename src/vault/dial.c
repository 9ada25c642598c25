/* The connection is an ordinary one that ends with close_notify after the handshake. The board says
 * whose it is: neither handshake nor session is counted, and no upstream server sees it. */
#include "vault/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/string.h"

#define DIALS_AT_ONCE   8
#define DIAL_TIMEOUT_NS (5 * NS_PER_S)
#define LINGER_NS       NS_PER_S
#define INPUT_MAX       (128u << 10)
#define READ_SIZE       16384u

enum dial_state { DIAL_WAITING, DIAL_CONNECTING, DIAL_HANDSHAKING, DIAL_LINGERING };

struct dial {
    struct dial *next;
    struct dialler *dialler;
    struct dial_order order;
    enum dial_state state;
    uint64_t serial;
    int fd;
    struct address local; /* as announced; size 0: not */
    struct handshake *handshake;
    struct buffer input, output;
    struct timer timer;
};

static void dial_event(void *context, uint64_t tag, unsigned events);
static void dial_timeout(void *context);
static void start_waiting(void *context);

/* ---- where and under which name a certificate can be seen ---- */

static bool listener_uses(const struct conf_listener *listener, uint32_t certificate)
{
    if (!conf_listener_in_force(listener) || listener->mode != CONF_MODE_TCP)
        return false;
    for (size_t i = 0; i < listener->certificate_count; i++) {
        if (listener->certificates[i] == certificate)
            return true;
    }
    return false;
}

int dial_checks(const struct conf *conf, uint32_t certificate, struct vault_check **ret_checks,
                size_t *ret_count)
{
    size_t count = 0;

    for (size_t i = 0; i < conf->listener_count; i++)
        count +=
            listener_uses(&conf->listeners[i], certificate) ? conf->listeners[i].bind.count : 0;
    struct vault_check *checks = calloc(count + 1, sizeof *checks);
    if (checks == NULL)
        return -ERROR_MEMORY;
    *ret_checks = checks;
    *ret_count = count;
    for (size_t i = 0; i < conf->listener_count; i++) {
        for (size_t j = 0;
             listener_uses(&conf->listeners[i], certificate) && j < conf->listeners[i].bind.count;
             j++)
            *checks++ = (struct vault_check){.listener = (uint32_t)i, .bind = j};
    }
    return 0;
}

static bool is_address(const char *name)
{
    uint8_t bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/* Does a certificate before ours in the listener's list answer for the same name? */
static bool name_taken(const struct conf *conf, const struct conf_listener *listener,
                       uint32_t certificate, const char *name)
{
    for (size_t i = 0; listener->certificates[i] != certificate; i++) {
        const struct conf_text_list *names = &conf->certificates[listener->certificates[i]].names;
        for (size_t j = 0; j < names->count; j++) {
            if (strcasecmp(names->items[j], name) == 0)
                return true;
        }
    }
    return false;
}

/* The name to ask for; NULL: ask without a name. Returns why it cannot be asked for, or NULL. */
static const char *choose_name(const struct conf *conf, const struct conf_listener *listener,
                               uint32_t certificate, char text[256], const char **ret_name)
{
    const struct conf_text_list *names = &conf->certificates[certificate].names;

    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->items[i];
        if (is_address(name) || name_taken(conf, listener, certificate, name))
            continue;
        /* Any label does for a wildcard. */
        ignore(snprintf(text, 256, "%s%s", name[0] == '*' ? "self-check" : "",
                        name[0] == '*' ? name + 1 : name));
        *ret_name = text;
        return NULL;
    }
    if (listener->certificates[0] != certificate ||
        listener->unknown_name == CONF_UNKNOWN_NAME_REFUSE)
        return "it has no host name of its own to be asked for here";
    *ret_name = NULL;
    return NULL;
}

/* From here we come with the address that we call, or with loopback for an unspecified one. Returns
 * why not, or NULL. */
static const char *choose_address(const struct conf_listener *listener, size_t bind,
                                  struct address *ret_address)
{
    uint8_t source[16];

    *ret_address = listener->bind.items[bind];
    if (ret_address->any.sa_family == AF_UNIX)
        return NULL;
    if (address_port(ret_address) == 0)
        return "its port is chosen by the system";
    if (ret_address->any.sa_family == AF_INET &&
        ret_address->in.sin_addr.s_addr == htonl(INADDR_ANY))
        ret_address->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else if (ret_address->any.sa_family == AF_INET6 &&
             IN6_IS_ADDR_UNSPECIFIED(&ret_address->in6.sin6_addr))
        ret_address->in6.sin6_addr = in6addr_loopback;
    address_bytes(source, ret_address);
    if (network_list_contains(listener->deny.items, listener->deny.count, source) ||
        (listener->allow.count > 0 &&
         !network_list_contains(listener->allow.items, listener->allow.count, source)))
        return "the listener does not allow this machine to connect";
    return NULL;
}

/* A listener that expects the PROXY protocol from us gets the header of a health check (version 2,
 * LOCAL). */
static void put_proxy_header(struct dial *dial, const struct conf_listener *listener,
                             const struct address *address)
{
    static const uint8_t local[16] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a,
                                      0x51, 0x55, 0x49, 0x54, 0x0a, 0x20};
    uint8_t source[16];

    address_bytes(source, address);
    if (network_list_contains(listener->proxy_from.items, listener->proxy_from.count, source))
        buffer_append(&dial->output, local, sizeof local);
}

/* ---- life ---- */

void dialler_init(struct dialler *dialler, const struct conf *conf, struct loop *loop,
                  struct board *board)
{
    *dialler = (struct dialler){.conf = conf,
                                .loop = loop,
                                .board = board,
                                .handler = loop_handler(loop, dial_event, dialler)};
    timer_init(&dialler->start, start_waiting, dialler);
    /* Announced by a control process that died: a client may have that port by now. */
    for (unsigned i = 0; board != NULL && i < BOARD_DIALS; i++)
        __atomic_store_n(&board->dials[i].port, 0, __ATOMIC_RELEASE);
}

/* Says on the board, before the first byte is sent, that this connection is no client's. */
static void announce(struct dial *dial)
{
    struct address *local = &dial->local;

    local->size = sizeof local->un;
    if (dial->dialler->board == NULL || getsockname(dial->fd, &local->any, &local->size) != 0 ||
        local->any.sa_family == AF_UNIX) {
        local->size = 0;
        return;
    }
    uint8_t bytes[16];
    address_bytes(bytes, local);
    board_dial_begin(dial->dialler->board, bytes, address_port(local));
}

static void announce_end(const struct dial *dial)
{
    uint8_t bytes[16];

    if (dial->local.size == 0)
        return;
    address_bytes(bytes, &dial->local);
    board_dial_end(dial->dialler->board, bytes, address_port(&dial->local));
}

static void dial_free(struct dial *dial)
{
    timer_cancel(dial->dialler->loop, &dial->timer);
    if (dial->fd >= 0) {
        announce_end(dial);
        loop_unwatch(dial->dialler->loop, dial->fd);
        close(dial->fd);
    }
    handshake_free(dial->handshake);
    buffer_fini(&dial->input);
    buffer_fini(&dial->output);
    free(dial);
}

static void dial_end(struct dial *dial)
{
    struct dial **place = &dial->dialler->running;

    while (*place != dial)
        place = &(*place)->next;
    *place = dial->next;
    dial_free(dial);
}

void dialler_fini(struct dialler *dialler)
{
    struct dial *dial;

    while ((dial = dialler->running) != NULL) {
        dialler->running = dial->next;
        dial_free(dial);
    }
    while ((dial = dialler->first) != NULL) {
        dialler->first = dial->next;
        dial_free(dial);
    }
    for (enum key_type type = 0; type < KEY_TYPE_COUNT; type++)
        tls_client_unref(dialler->clients[type]);
    timer_cancel(dialler->loop, &dialler->start);
}

bool dialler_add(struct dialler *dialler, const struct dial_order *order)
{
    struct dial *dial = calloc(1, sizeof *dial);

    if (dial == NULL)
        return false;
    dial->dialler = dialler;
    dial->order = *order;
    dial->fd = -1;
    dial->serial = ++dialler->serial;
    buffer_init(&dial->input, INPUT_MAX);
    buffer_init(&dial->output, INPUT_MAX);
    timer_init(&dial->timer, dial_timeout, dial);
    if (dialler->first == NULL)
        dialler->first = dial;
    else
        dialler->last->next = dial;
    dialler->last = dial;
    timer_set(dialler->loop, &dialler->start, loop_now(dialler->loop));
    return true;
}

static void nobody(void *context, size_t number, const struct vault_check *check)
{
    (void)context, (void)number, (void)check;
}

void dialler_cancel(struct dialler *dialler, const void *context)
{
    for (struct dial *dial = dialler->first; dial != NULL; dial = dial->next)
        dial->order.done = dial->order.context == context ? nobody : dial->order.done;
    for (struct dial *dial = dialler->running; dial != NULL; dial = dial->next)
        dial->order.done = dial->order.context == context ? nobody : dial->order.done;
}

void dialler_reload(struct dialler *dialler, const struct conf *conf)
{
    struct dial *dial;

    while ((dial = dialler->first) != NULL) {
        dialler->first = dial->next;
        dial_free(dial);
    }
    for (dial = dialler->running; dial != NULL; dial = dial->next)
        dial->order.done = nobody;
    dialler->conf = conf;
    dialler->held = true;
}

void dialler_resume(struct dialler *dialler)
{
    dialler->held = false;
    timer_set(dialler->loop, &dialler->start, loop_now(dialler->loop));
}

/* ---- one dial ---- */

/* Tells the result. The dial may live on to say good-bye. */
static void PRINTF_LIKE(3, 4)
    conclude(struct dial *dial, enum vault_check_result result, const char *format, ...)
{
    struct vault_check *check = &dial->order.check;
    va_list arguments;

    if (dial->state == DIAL_LINGERING)
        return;
    dial->state = DIAL_LINGERING;
    dial->dialler->running_count--;
    check->result = result;
    check->at = (int64_t)time(NULL);
    va_start(arguments, format);
    ignore(vsnprintf(check->text, sizeof check->text, format, arguments));
    va_end(arguments);
    timer_set(dial->dialler->loop, &dial->dialler->start, loop_now(dial->dialler->loop));
    timer_set(dial->dialler->loop, &dial->timer, loop_now(dial->dialler->loop) + LINGER_NS);
    dial->order.done(dial->order.context, dial->order.number, check);
}

static void dial_timeout(void *context)
{
    struct dial *dial = context;

    conclude(dial, VAULT_CHECK_UNREACHABLE, "no answer within %d s",
             (int)(DIAL_TIMEOUT_NS / NS_PER_S));
    dial_end(dial);
}

static bool flush_output(struct dial *dial)
{
    while (dial->output.size > 0) {
        ssize_t sent = send(dial->fd, dial->output.data, dial->output.size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN &&
                   loop_change(dial->dialler->loop, dial->fd, LOOP_READ | LOOP_WRITE,
                               dial->dialler->handler, dial->serial);
        buffer_consume(&dial->output, (size_t)sent);
    }
    return loop_change(dial->dialler->loop, dial->fd, LOOP_READ, dial->dialler->handler,
                       dial->serial);
}

static bool take_output(struct dial *dial)
{
    const uint8_t *data;
    size_t size = handshake_output(dial->handshake, &data);

    if (!buffer_append(&dial->output, data, size))
        return false;
    handshake_sent(dial->handshake, size);
    return true;
}

static void compare(struct dial *dial)
{
    uint8_t seen[32];
    char hex[17];

    if (!handshake_peer_fingerprint(dial->handshake, seen)) {
        conclude(dial, VAULT_CHECK_FAILED, "no certificate was shown");
    } else if (memcmp(seen, dial->order.fingerprint, sizeof seen) != 0) {
        string_hex(hex, seen, 8);
        conclude(dial, VAULT_CHECK_MISMATCH, "another certificate is shown (SHA-256 %s...)", hex);
    } else {
        conclude(dial, VAULT_CHECK_SERVED, "%s", "");
    }
}

/* Feeds what has arrived; the dial is concluded when the handshake ends. */
static void advance(struct dial *dial)
{
    struct handshake_failure failure;
    size_t consumed;

    enum handshake_status status =
        handshake_feed(dial->handshake, dial->input.data, dial->input.size, &consumed);
    buffer_consume(&dial->input, consumed);
    if (status == HANDSHAKE_DONE)
        handshake_shutdown(dial->handshake);
    bool sent = take_output(dial) && flush_output(dial);
    if (status == HANDSHAKE_FAILED) {
        handshake_failure(dial->handshake, &failure);
        conclude(dial, VAULT_CHECK_FAILED, "%.100s", failure.reason);
    } else if (status == HANDSHAKE_DONE) {
        compare(dial);
        if (dial->output.size == 0)
            ignore(shutdown(dial->fd, SHUT_WR));
    } else if (!sent) {
        conclude(dial, VAULT_CHECK_UNREACHABLE, "the connection broke");
    }
}

/* False: the connection ended. */
static bool receive(struct dial *dial)
{
    uint8_t *room = buffer_reserve(&dial->input, READ_SIZE);

    if (room == NULL)
        return false;
    ssize_t got = recv(dial->fd, room, READ_SIZE, 0);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    dial->input.size += (size_t)got;
    return got > 0;
}

static void connected(struct dial *dial)
{
    int reason = socket_error(dial->fd);

    if (reason != 0) {
        conclude(dial, VAULT_CHECK_UNREACHABLE, "cannot connect: %s", strerror(reason));
        return;
    }
    dial->state = DIAL_HANDSHAKING;
    advance(dial);
}

static void dial_event(void *context, uint64_t tag, unsigned events)
{
    struct dialler *dialler = context;
    struct dial *dial = dialler->running;

    while (dial != NULL && dial->serial != tag)
        dial = dial->next;
    if (dial == NULL)
        return; /* ended earlier in this batch */
    if (dial->state == DIAL_CONNECTING && (events & (LOOP_WRITE | LOOP_ERROR)) != 0) {
        connected(dial);
    } else if ((events & LOOP_WRITE) != 0 && !flush_output(dial)) {
        conclude(dial, VAULT_CHECK_UNREACHABLE, "the connection broke");
    }
    bool open = (events & (LOOP_READ | LOOP_ERROR)) == 0 || receive(dial);
    if (dial->state == DIAL_HANDSHAKING && dial->input.size > 0)
        advance(dial);
    if (dial->state == DIAL_LINGERING)
        buffer_consume(&dial->input, dial->input.size);
    if (!open) {
        conclude(dial, VAULT_CHECK_FAILED, "the connection was closed during the handshake");
        dial_end(dial);
    }
}

static struct tls_client *client_for(struct dialler *dialler, enum key_type type)
{
    struct tls_client_policy policy = {.only_key_type = (int)type};

    if (dialler->clients[type] == NULL &&
        tls_client_new(&dialler->clients[type], &policy, NULL) != 0)
        return NULL;
    return dialler->clients[type];
}

/* Returns why it could not even begin, or NULL. */
static const char *begin(struct dial *dial, enum vault_check_result *ret_result)
{
    struct dialler *dialler = dial->dialler;
    const struct conf_listener *listener = &dialler->conf->listeners[dial->order.check.listener];
    struct address address;
    const char *name = NULL, *reason;
    char text[256];

    *ret_result = VAULT_CHECK_SKIPPED;
    if (dialler->board != NULL &&
        !board_accepts(dialler->board, dial->order.check.listener, loop_now(dialler->loop)))
        return "the listener is being drained";
    if ((reason = choose_address(listener, dial->order.check.bind, &address)) != NULL ||
        (reason = choose_name(dialler->conf, listener, dial->order.certificate, text, &name)) !=
            NULL)
        return reason;
    *ret_result = VAULT_CHECK_UNREACHABLE;
    struct tls_client *client = client_for(dialler, dial->order.key_type);
    dial->handshake = client != NULL ? handshake_new_client(client, name) : NULL;
    if (dial->handshake == NULL)
        return "cannot make a TLS client";
    put_proxy_header(dial, listener, &address);
    int fd = socket_connect(&address, NULL);
    if (fd < 0)
        return strerror(-fd);
    dial->fd = fd;
    dial->state = DIAL_CONNECTING;
    announce(dial);
    if (!loop_watch(dialler->loop, fd, LOOP_WRITE, dialler->handler, dial->serial))
        return "cannot watch the connection";
    timer_set(dialler->loop, &dial->timer, loop_now(dialler->loop) + DIAL_TIMEOUT_NS);
    return NULL;
}

static void start_waiting(void *context)
{
    struct dialler *dialler = context;
    enum vault_check_result result;

    while (!dialler->held && dialler->first != NULL && dialler->running_count < DIALS_AT_ONCE) {
        struct dial *dial = dialler->first;
        dialler->first = dial->next;
        dial->next = dialler->running;
        dialler->running = dial;
        dialler->running_count++;
        const char *reason = begin(dial, &result);
        if (reason != NULL) {
            conclude(dial, result, "%s", reason);
            dial_end(dial);
        }
    }
}
