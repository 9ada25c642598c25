/* epoll_data holds the handler number in its top 8 bits and the tag below, so that an event finds
 * its owner without any table of descriptors. Handler 0 is the loop's own: signals. */
#include "loop/loop.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "loop/timer.h"

#define BATCH_MAX    128
#define HANDLERS_MAX 256
#define HOOKS_MAX    8
#define TAG_BITS     48
#define TAG_MASK     ((1ull << TAG_BITS) - 1)
#define HANDLER_BITS 56 /* where the handler number begins */

struct loop {
    int epoll_fd;
    int signal_fd;
    uint64_t now_ns;
    bool again;
    bool stopped;
    int stop_code;
    unsigned handler_count;
    unsigned hook_count;
    struct {
        loop_batch_fn *fn;
        void *context;
    } hooks[HOOKS_MAX];
    struct timer_heap timers;
    struct {
        loop_handler_fn *fn;
        void *context;
    } handlers[HANDLERS_MAX];
    sigset_t signals;
    struct {
        loop_signal_fn *fn;
        void *context;
    } signal_handlers[NSIG];
    struct epoll_event batch[BATCH_MAX];
};

static void on_signal(void *context, uint64_t tag, unsigned events)
{
    struct loop *loop = context;
    struct signalfd_siginfo signals[8];

    (void)tag;
    (void)events;
    ssize_t size = read(loop->signal_fd, signals, sizeof signals);
    for (size_t i = 0; size > 0 && i < (size_t)size / sizeof signals[0]; i++) {
        int number = (int)signals[i].ssi_signo;
        loop->signal_handlers[number].fn(loop->signal_handlers[number].context, number);
    }
}

struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof *loop);

    if (loop == NULL)
        return NULL;
    loop->signal_fd = -1;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0 || !timer_heap_init(&loop->timers)) {
        loop_free(loop);
        return NULL;
    }
    sigemptyset(&loop->signals);
    loop->now_ns = clock_monotonic_ns();
    ignore(loop_handler(loop, on_signal, loop));
    return loop;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    if (loop->signal_fd >= 0)
        ignore(close(loop->signal_fd));
    if (loop->epoll_fd >= 0)
        ignore(close(loop->epoll_fd));
    timer_heap_fini(&loop->timers);
    free(loop);
}

uint8_t loop_handler(struct loop *loop, loop_handler_fn *fn, void *context)
{
    assert(loop->handler_count < LOOP_HANDLER_FIXED);
    unsigned number = loop->handler_count++;
    loop->handlers[number].fn = fn;
    loop->handlers[number].context = context;
    return (uint8_t)number;
}

void loop_handler_fixed(struct loop *loop, uint8_t number, loop_handler_fn *fn, void *context)
{
    assert(number >= LOOP_HANDLER_FIXED);
    loop->handlers[number].fn = fn;
    loop->handlers[number].context = context;
}

int loop_watches_new(void)
{
    return epoll_create1(EPOLL_CLOEXEC);
}

void loop_use_watches(struct loop *loop, int fd)
{
    assert(loop->signal_fd < 0); /* it would have to be watched again */
    ignore(close(loop->epoll_fd));
    loop->epoll_fd = fd;
}

static bool control(struct loop *loop, int operation, int fd, unsigned events, uint8_t handler,
                    uint64_t tag)
{
    struct epoll_event event = {
        .data.u64 = (uint64_t)handler << HANDLER_BITS | tag,
    };

    assert(tag <= TAG_MASK);
    if (events & LOOP_READ)
        event.events |= EPOLLIN;
    if (events & LOOP_WRITE)
        event.events |= EPOLLOUT;
    if (events & LOOP_HANGUP)
        event.events |= EPOLLRDHUP;
    if (events & LOOP_URGENT)
        event.events |= EPOLLPRI;
    if (events & LOOP_EDGE)
        event.events |= EPOLLET;
    if (events & LOOP_EXCLUSIVE)
        event.events |= EPOLLEXCLUSIVE;
    return epoll_ctl(loop->epoll_fd, operation, fd, &event) == 0;
}

bool loop_watch(struct loop *loop, int fd, unsigned events, uint8_t handler, uint64_t tag)
{
    return control(loop, EPOLL_CTL_ADD, fd, events, handler, tag) ||
           (errno == EEXIST && control(loop, EPOLL_CTL_MOD, fd, events, handler, tag));
}

bool loop_change(struct loop *loop, int fd, unsigned events, uint8_t handler, uint64_t tag)
{
    return control(loop, EPOLL_CTL_MOD, fd, events, handler, tag);
}

void loop_unwatch(struct loop *loop, int fd)
{
    ignore(epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL));
}

void timer_init(struct timer *timer, loop_timer_fn *fn, void *context)
{
    *timer = (struct timer){.fn = fn, .context = context};
}

void timer_set(struct loop *loop, struct timer *timer, uint64_t deadline_ns)
{
    timer_heap_set(&loop->timers, timer, deadline_ns);
}

void timer_cancel(struct loop *loop, struct timer *timer)
{
    timer_heap_remove(&loop->timers, timer);
}

bool loop_signal(struct loop *loop, int signal_number, loop_signal_fn *fn, void *context)
{
    bool first = loop->signal_fd < 0;

    assert(signal_number > 0 && signal_number < NSIG);
    loop->signal_handlers[signal_number].fn = fn;
    loop->signal_handlers[signal_number].context = context;
    sigaddset(&loop->signals, signal_number);
    if (sigprocmask(SIG_BLOCK, &loop->signals, NULL) != 0)
        return false;
    int fd = signalfd(loop->signal_fd, &loop->signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return false;
    loop->signal_fd = fd;
    return !first || loop_watch(loop, fd, LOOP_READ, 0, 0);
}

void loop_after_batch(struct loop *loop, loop_batch_fn *fn, void *context)
{
    assert(loop->hook_count < HOOKS_MAX);
    loop->hooks[loop->hook_count].fn = fn;
    loop->hooks[loop->hook_count].context = context;
    loop->hook_count++;
}

void loop_again(struct loop *loop)
{
    loop->again = true;
}

uint64_t loop_now(const struct loop *loop)
{
    return loop->now_ns;
}

/* An error or a full close wakes reader and writer alike: whichever acts next learns of it from its
 * system call. */
static unsigned translate(uint32_t reported)
{
    unsigned events = 0;

    if (reported & (EPOLLIN | EPOLLHUP | EPOLLERR))
        events |= LOOP_READ;
    if (reported & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        events |= LOOP_WRITE;
    if (reported & EPOLLRDHUP)
        events |= LOOP_HANGUP;
    if (reported & EPOLLPRI)
        events |= LOOP_URGENT;
    if (reported & (EPOLLHUP | EPOLLERR))
        events |= LOOP_ERROR;
    return events;
}

static void run_batch(struct loop *loop)
{
    int wait_ms = loop->again ? 0 : timer_heap_wait_ms(&loop->timers, loop->now_ns);

    loop->again = false;
    int count = epoll_wait(loop->epoll_fd, loop->batch, BATCH_MAX, wait_ms);
    assert(count >= 0 || errno == EINTR);
    loop->now_ns = clock_monotonic_ns();
    for (int i = 0; i < count; i++) {
        uint64_t data = loop->batch[i].data.u64;
        unsigned handler = (unsigned)(data >> HANDLER_BITS);
        if (loop->handlers[handler].fn == NULL)
            continue; /* of another program that used these watches */
        loop->handlers[handler].fn(loop->handlers[handler].context, data & TAG_MASK,
                                   translate(loop->batch[i].events));
    }
    timer_heap_run(&loop->timers, loop->now_ns);
    for (unsigned i = 0; i < loop->hook_count; i++)
        loop->hooks[i].fn(loop->hooks[i].context);
}

int loop_run(struct loop *loop)
{
    loop->now_ns = clock_monotonic_ns();
    while (!loop->stopped)
        run_batch(loop);
    loop->stopped = false;
    return loop->stop_code;
}

void loop_stop(struct loop *loop, int code)
{
    loop->stopped = true;
    loop->stop_code = code;
}
