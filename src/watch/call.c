#include "watch/call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/string.h"

#define READ_SIZE       16384
#define OUTPUT_MAX      (64u << 10)
#define TIMEOUT_DEFAULT 10000 /* ms */
#define SLOT_NONE       UINT32_MAX
/* Descriptors of ours come back; that there is none says nothing about the peer. */
#define STARVED_AGAIN_NS    (NS_PER_S / 10)
#define STARVED_PATIENCE_NS (300 * NS_PER_S)

/* A place that events name by number and serial, because those of a descriptor that was closed in
 * the same batch still arrive. */
struct slot {
    struct call *call; /* NULL: free */
    uint32_t serial;   /* 24 bits */
    uint32_t next_free;
};

struct caller {
    struct loop *loop;
    uint8_t handler;
    struct slot *slots;
    uint32_t slot_count, first_free; /* first_free = slot_count: none is free */
    uint8_t input[READ_SIZE];
};

/* ---- slots ---- */

static bool slots_grow(struct caller *caller)
{
    uint32_t count = caller->slot_count > 0 ? caller->slot_count * 2 : 64;
    struct slot *slots = realloc(caller->slots, count * sizeof *slots);

    if (slots == NULL)
        return false;
    for (uint32_t i = caller->slot_count; i < count; i++)
        slots[i] = (struct slot){.next_free = i + 1};
    caller->slots = slots;
    caller->slot_count = count;
    return true;
}

static bool slot_take(struct call *call)
{
    struct caller *caller = call->caller;

    call->slot = SLOT_NONE;
    if (caller->first_free == caller->slot_count && !slots_grow(caller))
        return false;
    call->slot = caller->first_free;
    struct slot *slot = &caller->slots[call->slot];
    caller->first_free = slot->next_free;
    slot->call = call;
    slot->serial = (slot->serial + 1) & 0xffffff;
    return true;
}

static void slot_leave(struct call *call)
{
    if (call->slot == SLOT_NONE)
        return;
    struct slot *slot = &call->caller->slots[call->slot];
    slot->call = NULL;
    slot->next_free = call->caller->first_free;
    call->caller->first_free = call->slot;
}

static uint64_t slot_tag(const struct call *call)
{
    return (uint64_t)call->caller->slots[call->slot].serial << 24 | call->slot;
}

/* ---- the end ---- */

void call_close(struct call *call)
{
    if (call->state == CALL_STATE_CLOSED)
        return;
    call->state = CALL_STATE_CLOSED;
    timer_cancel(call->caller->loop, &call->timer);
    slot_leave(call);
    if (call->fd >= 0) {
        loop_unwatch(call->caller->loop, call->fd);
        ignore(close(call->fd));
    }
    free(call->starttls);
    call->starttls = NULL;
    buffer_fini(&call->output);
}

static void end(struct call *call, enum call_end how)
{
    call_close(call);
    call->events->ended(call->context, how);
}

static void PRINTF_LIKE(4, 5) fail(struct call *call, enum endpoint_outcome outcome,
                                   const char *stage, const char *format, ...)
{
    va_list arguments;

    call->outcome = outcome;
    call->stage = stage;
    va_start(arguments, format);
    ignore(vsnprintf(call->reason, sizeof call->reason, format, arguments));
    va_end(arguments);
    end(call, CALL_FAILED);
}

/* Errors of ours say nothing about the peer. */
static void fail_connecting(struct call *call, int number)
{
    bool ours = number == EMFILE || number == ENFILE || number == ENOMEM || number == ENOBUFS ||
                number == EADDRNOTAVAIL || number == EACCES || number == EPERM;

    if (number == ETIMEDOUT)
        fail(call, ENDPOINT_CONNECT_TIMEOUT, "connect", "no answer to the connection request");
    else
        fail(call, ours ? ENDPOINT_LOCAL_FAILURE : ENDPOINT_REFUSED, "connect", "%s",
             strerror(number));
}

static void broken(struct call *call, int number)
{
    if (call->state == CALL_STATE_TALKING) {
        fail(call, ENDPOINT_STARTTLS_FAILED, "starttls", "the connection broke: %s",
             strerror(number));
        return;
    }
    ignore(snprintf(call->reason, sizeof call->reason, "%s", strerror(number)));
    end(call, CALL_BROKEN);
}

/* Returns 0 or what errno says. */
static int dial(struct call *call)
{
    int fd = socket_connect(&call->address, NULL);

    if (fd < 0)
        return -fd;
    call->fd = fd;
    return loop_watch(call->caller->loop, fd, LOOP_WRITE, call->caller->handler, slot_tag(call))
               ? 0
               : ENOMEM;
}

static bool is_starved(const struct call *call)
{
    return (call->connect_error == EMFILE || call->connect_error == ENFILE) &&
           clock_monotonic_ns() - call->wanted_ns < STARVED_PATIENCE_NS;
}

/* Also a failure is told by the loop: never before call_open() has returned. */
static void begin(struct call *call)
{
    call->began_ns = clock_monotonic_ns();
    if (call->connect_error == 0)
        call->connect_error = dial(call);
    call_deadline(call, call->connect_error == 0 ? call->timeout_ns
                        : is_starved(call)       ? STARVED_AGAIN_NS
                                                 : 0);
}

static void time_out(void *context)
{
    struct call *call = context;
    double seconds = (double)call->timeout_ns / (double)NS_PER_S;

    if (is_starved(call)) {
        call->connect_error = 0;
        begin(call);
        return;
    }
    if (call->connect_error != 0)
        fail_connecting(call, call->connect_error);
    else if (call->state == CALL_STATE_CONNECTING)
        fail(call, ENDPOINT_CONNECT_TIMEOUT, "connect",
             "no answer to the connection request within %g s", seconds);
    else if (call->state == CALL_STATE_TALKING)
        fail(call, ENDPOINT_TIMEOUT, "starttls", "no end of the talk before TLS within %g s",
             seconds);
    else
        end(call, CALL_TIMED_OUT);
}

void call_deadline(struct call *call, uint64_t in_ns)
{
    if (call->state != CALL_STATE_CLOSED)
        timer_set(call->caller->loop, &call->timer, clock_monotonic_ns() + in_ns);
}

/* ---- sending ---- */

/* The loop looks for what is needed now. */
static bool watch(struct call *call, bool writing)
{
    if (call->writing == writing)
        return true;
    call->writing = writing;
    return loop_change(call->caller->loop, call->fd, writing ? LOOP_READ | LOOP_WRITE : LOOP_READ,
                       call->caller->handler, slot_tag(call));
}

/* Failures are left to the reading side, which may still find the peer's last words. */
static void flush_output(struct call *call)
{
    while (call->output.size > 0) {
        ssize_t sent = send(call->fd, call->output.data, call->output.size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            ignore(watch(call, true));
            return;
        }
        buffer_consume(&call->output, sent < 0 ? call->output.size : (size_t)sent);
    }
    ignore(watch(call, false));
}

void call_send(struct call *call, const uint8_t *data, size_t size)
{
    if (call->state == CALL_STATE_CLOSED || size == 0)
        return;
    buffer_append(&call->output, data, size);
    flush_output(call);
}

void call_finish(struct call *call)
{
    if (call->state == CALL_STATE_OPEN && call->output.size == 0)
        ignore(shutdown(call->fd, SHUT_WR));
}

/* ---- the way to TLS ---- */

static void open_up(struct call *call)
{
    call->state = CALL_STATE_OPEN;
    call->opened_ns = clock_monotonic_ns();
    call_deadline(call, call->timeout_ns);
    call->events->opened(call->context);
}

static void starttls_speak(struct call *call)
{
    call_send(call, call->starttls->output, call->starttls->output_size);
    starttls_sent(call->starttls);
}

static void talk(struct call *call, const uint8_t *data, size_t size)
{
    switch (starttls_feed(call->starttls, data, size)) {
    case STARTTLS_WANT_READ:
        starttls_speak(call);
        return;
    case STARTTLS_DONE:
        starttls_speak(call);
        open_up(call);
        return;
    case STARTTLS_REFUSED:
        fail(call, ENDPOINT_STARTTLS_REFUSED, "starttls", "%s", call->starttls->reason);
        return;
    case STARTTLS_INJECTED:
        fail(call, ENDPOINT_STARTTLS_INJECTED, "starttls", "%s", call->starttls->reason);
        return;
    case STARTTLS_PROTOCOL:
        fail(call, ENDPOINT_STARTTLS_FAILED, "starttls", "%s", call->starttls->reason);
        return;
    }
}

static void connected(struct call *call)
{
    int number = socket_error(call->fd);

    if (number != 0) {
        fail_connecting(call, number);
        return;
    }
    call->connected_ns = clock_monotonic_ns();
    socket_tune(call->fd, &(struct socket_options){0});
    call->writing = true;
    if (!watch(call, false)) {
        fail_connecting(call, ENOMEM);
    } else if (call->starttls == NULL) {
        open_up(call);
    } else {
        call->state = CALL_STATE_TALKING;
        call_deadline(call, call->timeout_ns);
        starttls_speak(call);
    }
}

/* ---- events ---- */

static void receive(struct call *call)
{
    uint8_t *input = call->caller->input;
    ssize_t got = recv(call->fd, input, READ_SIZE, 0);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got < 0)
        broken(call, errno);
    else if (got > 0 && call->state == CALL_STATE_OPEN)
        call->events->received(call->context, input, (size_t)got);
    else if (got > 0)
        talk(call, input, (size_t)got);
    else if (call->state == CALL_STATE_OPEN)
        end(call, CALL_CLOSED);
    else
        fail(call, ENDPOINT_STARTTLS_FAILED, "starttls",
             "the connection was closed in the talk before TLS");
}

static void on_event(void *context, uint64_t tag, unsigned events)
{
    struct caller *caller = context;
    uint32_t slot = tag & 0xffffff;

    if (slot >= caller->slot_count || caller->slots[slot].call == NULL ||
        caller->slots[slot].serial != tag >> 24)
        return;
    struct call *call = caller->slots[slot].call;
    if (call->state == CALL_STATE_CONNECTING) {
        connected(call);
        return;
    }
    if ((events & LOOP_WRITE) != 0)
        flush_output(call);
    if ((events & (LOOP_READ | LOOP_ERROR)) != 0)
        receive(call);
}

/* ---- all of it ---- */

struct caller *caller_new(struct loop *loop)
{
    struct caller *caller = calloc(1, sizeof *caller);

    if (caller == NULL)
        return NULL;
    caller->loop = loop;
    caller->handler = loop_handler(loop, on_event, caller);
    return caller;
}

void caller_free(struct caller *caller)
{
    if (caller == NULL)
        return;
    for (uint32_t i = 0; i < caller->slot_count; i++) {
        if (caller->slots[i].call != NULL)
            call_close(caller->slots[i].call);
    }
    free(caller->slots);
    free(caller);
}

static bool prepare_talk(struct call *call, const struct endpoint *endpoint)
{
    if (endpoint->target.protocol == TARGET_TLS)
        return true;
    call->starttls = malloc(sizeof *call->starttls);
    if (call->starttls == NULL)
        return false;
    starttls_init(call->starttls, endpoint->target.protocol,
                  endpoint->name[0] != '\0' ? endpoint->name : endpoint->target.host);
    return true;
}

void call_open(struct call *call, struct caller *caller, const struct endpoint *endpoint,
               uint32_t timeout_ms, const struct call_events *events, void *context)
{
    *call = (struct call){.caller = caller,
                          .events = events,
                          .context = context,
                          .state = CALL_STATE_CONNECTING,
                          .fd = -1,
                          .address = endpoint->address,
                          .wanted_ns = clock_monotonic_ns()};
    call->timeout_ns = (timeout_ms > 0 ? timeout_ms : TIMEOUT_DEFAULT) * NS_PER_MS;
    buffer_init(&call->output, OUTPUT_MAX);
    timer_init(&call->timer, time_out, call);
    call->connect_error = slot_take(call) && prepare_talk(call, endpoint) ? 0 : ENOMEM;
    begin(call);
}
