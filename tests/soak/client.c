/* A soak client: hundreds of sessions in one process, each sending messages to an echoing upstream
 * and checking every byte that comes back. One epoll loop; the TLS library is behind transport.h.
 *
 * Arguments are KEY=VALUE, see parse(). Session N uses the ports in turn and, in turn, TLS 1.2 and
 * 1.3. On standard output: "ready" once every session has had its first answer, "paused" after
 * "pause" once nothing is under way, and after "finish" one JSON object. Standard input takes
 * "pause", "resume", "finish". A wrong byte ends the program at once with exit code 2; lost
 * sessions are counted and told. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "stream.h"
#include "stacks/transport.h"

#define PORTS_MAX   8
#define AT_ONCE     32u /* handshakes under way */
#define READ_SIZE   65536u
#define EVENTS      64
#define TICK_MS     5
#define STILL_NS    (60 * 1000000000ull) /* awaited bytes that do not come: the session is lost */
#define TOLD_MAX    20u                  /* lost sessions that are described */
#define HABIT_CYCLE 16u

enum phase { PHASE_IDLE, PHASE_HANDSHAKE, PHASE_OPEN, PHASE_CLOSING, PHASE_ENDED };

struct session {
    void *tls;
    uint64_t sent, received, end; /* positions in the stream; `end`: of the message in hand */
    uint64_t due_ns;              /* of the next message, while nothing is under way */
    uint64_t moved_ns;            /* last progress */
    uint64_t longest_ns;          /* without progress while some was awaited */
    unsigned number, messages;
    int fd;
    enum phase phase;
    enum habit habit;
    bool tls13, awaits_writing, owes_update;
};

static struct {
    uint16_t ports[PORTS_MAX];
    unsigned port_count, sessions, first, pace;
    const char *root, *name;
    unsigned seed;
} options = {.sessions = 1, .pace = 100};

enum order { ORDER_TALK, ORDER_PAUSE, ORDER_FINISH };

static struct session *sessions;
static unsigned started, standing, spoken, ended, lost, key_updates;
static unsigned by_version[2];
static uint64_t messages, bytes;
static enum order order;
static bool paused_told, ready_told;
static int epoll;

static uint64_t now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "soak-%s: %s: %s\n", transport.name, what, strerror(errno));
    exit(1);
}

static bool under_way(const struct session *session)
{
    return session->received < session->end;
}

/* ---- the end of a session ---- */

static void release(struct session *session)
{
    if (session->tls != NULL)
        transport.free(session->tls);
    session->tls = NULL;
    if (session->fd >= 0)
        close(session->fd);
    session->fd = -1;
    session->phase = PHASE_ENDED;
    ended++;
}

static void lose(struct session *session, const char *why)
{
    if (lost++ < TOLD_MAX)
        fprintf(stderr,
                "soak-%s: session %u (TLS 1.%d, port %u) lost: %s; sent %llu, received %llu, "
                "message ends at %llu\n",
                transport.name, session->number, session->tls13 ? 3 : 2,
                options.ports[session->number / 2 % options.port_count], why,
                (unsigned long long)session->sent, (unsigned long long)session->received,
                (unsigned long long)session->end);
    release(session);
}

static void lose_by_fault(struct session *session)
{
    lose(session, transport.fault(session->tls));
}

static _Noreturn void altered(const struct session *session, const uint8_t *data, size_t size)
{
    const uint8_t *expected = stream_at(session->number, session->received);
    size_t i = 0;

    while (i < size && data[i] == expected[i])
        i++;
    fprintf(stderr,
            "soak-%s: session %u (TLS 1.%d): byte %llu is %#x instead of %#x; sent %llu, message "
            "ends at %llu\n",
            transport.name, session->number, session->tls13 ? 3 : 2,
            (unsigned long long)(session->received + i), i < size ? data[i] : 0u,
            i < size ? expected[i] : 0u, (unsigned long long)session->sent,
            (unsigned long long)session->end);
    exit(2);
}

/* ---- messages ---- */

static void moved(struct session *session)
{
    uint64_t now = now_ns();

    if (now - session->moved_ns > session->longest_ns)
        session->longest_ns = now - session->moved_ns;
    session->moved_ns = now;
}

static void watch(struct session *session, bool writing)
{
    if (session->awaits_writing == writing)
        return;
    session->awaits_writing = writing;
    struct epoll_event event = {.events = EPOLLIN | (writing ? (uint32_t)EPOLLOUT : 0u),
                                .data.ptr = session};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, session->fd, &event) != 0)
        die("epoll_ctl");
}

/* Sends as much of the message in hand as the socket takes. */
static void send_message(struct session *session)
{
    enum io result = IO_DONE;

    if (session->owes_update) {
        result = transport.update_keys(session->tls, session->messages % 4 == 0);
        session->owes_update = result == IO_AGAIN;
        key_updates += result == IO_DONE;
    }
    while (result == IO_DONE && session->sent < session->end) {
        size_t done = 0, size = (size_t)(session->end - session->sent);
        if (size > STREAM_RUN)
            size = STREAM_RUN;
        result =
            transport.write(session->tls, stream_at(session->number, session->sent), size, &done);
        session->sent += done;
    }
    if (result == IO_FAILED || result == IO_END)
        lose_by_fault(session);
    else
        watch(session, result == IO_AGAIN);
}

static void begin_message(struct session *session)
{
    session->end = session->sent + stream_message_size(session->habit);
    session->moved_ns = now_ns();
    session->owes_update =
        session->habit == HABIT_UPDATER && session->tls13 && session->messages % 2 == 0;
    send_message(session);
}

static void message_done(struct session *session)
{
    messages++;
    if (session->messages++ == 0)
        spoken++;
    session->due_ns = now_ns() + stream_pause_ns(session->habit) * options.pace / 100;
}

static void take(struct session *session, const uint8_t *data, size_t size)
{
    if (size > session->sent - session->received ||
        memcmp(data, stream_at(session->number, session->received), size) != 0)
        altered(session, data, size);
    moved(session);
    session->received += size;
    bytes += size;
    if (!under_way(session))
        message_done(session);
}

static void receive(struct session *session)
{
    uint8_t data[READ_SIZE];

    /* What the library holds inside is not seen by epoll: only IO_AGAIN says that nothing is. */
    for (;;) {
        size_t size = 0;
        enum io result = transport.read(session->tls, data, sizeof data, &size);
        if (result == IO_AGAIN)
            return;
        if (result == IO_END && session->phase == PHASE_CLOSING)
            release(session);
        else if (result == IO_END)
            lose(session, "the edge ended it");
        else if (result == IO_FAILED)
            lose_by_fault(session);
        if (result != IO_DONE)
            return;
        take(session, data, size);
    }
}

/* ---- begin and end ---- */

static void opened(struct session *session)
{
    session->phase = PHASE_OPEN;
    standing++;
    by_version[session->tls13]++;
    begin_message(session);
}

static void handshake(struct session *session)
{
    enum io result = transport.handshake(session->tls);

    if (result == IO_DONE)
        opened(session);
    else if (result != IO_AGAIN)
        lose_by_fault(session);
    else
        watch(session, false);
}

static void start(struct session *session)
{
    unsigned turn = session->number / 2;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(options.ports[turn % options.port_count]),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    session->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    session->phase = PHASE_HANDSHAKE;
    session->awaits_writing = true;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = session};
    setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (session->fd < 0 ||
        (connect(session->fd, (struct sockaddr *)&address, sizeof address) != 0 &&
         errno != EINPROGRESS) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, session->fd, &event) != 0)
        die("connect");
    session->tls = transport.open(session->fd, session->tls13);
    if (session->tls == NULL)
        die("a client session");
}

static void finish(struct session *session)
{
    session->phase = PHASE_CLOSING;
    session->moved_ns = now_ns();
    if (transport.close_notify(session->tls) == IO_FAILED)
        lose_by_fault(session);
}

static void on_event(struct session *session, uint32_t events)
{
    if (session->phase == PHASE_HANDSHAKE) {
        handshake(session);
        return;
    }
    if (session->phase == PHASE_OPEN && (events & EPOLLOUT) != 0)
        send_message(session);
    if (session->phase == PHASE_OPEN || session->phase == PHASE_CLOSING)
        receive(session);
}

/* What time brings: starts, next messages, the end of patience. */
static bool tick(void)
{
    uint64_t now = now_ns();
    unsigned talking = 0;

    while (started < options.sessions && started < standing + lost + AT_ONCE)
        start(&sessions[started++]);
    for (unsigned i = 0; i < started; i++) {
        struct session *session = &sessions[i];
        bool waits = session->phase == PHASE_HANDSHAKE || session->phase == PHASE_CLOSING ||
                     (session->phase == PHASE_OPEN && under_way(session));
        talking += waits;
        if (waits && now > session->moved_ns + STILL_NS)
            lose(session, "stands still");
        else if (session->phase == PHASE_OPEN && !waits && order == ORDER_FINISH)
            finish(session);
        else if (session->phase == PHASE_OPEN && !waits && order == ORDER_TALK &&
                 now >= session->due_ns)
            begin_message(session);
    }
    return talking == 0;
}

static void tell(bool *told, const char *word)
{
    if (!*told) {
        puts(word);
        fflush(stdout);
    }
    *told = true;
}

static void take_order(void)
{
    static const char *const words[] = {"resume", "pause", "finish"};
    static char text[256];
    static size_t size;
    ssize_t done = read(STDIN_FILENO, text + size, sizeof text - size);

    if (done <= 0) /* whoever started us is gone */
        exit(1);
    size += (size_t)done;
    for (char *line; (line = memchr(text, '\n', size)) != NULL;) {
        *line = '\0';
        for (int i = 0; i < 3; i++) {
            if (strcmp(text, words[i]) == 0)
                order = (enum order)i;
        }
        paused_told = false;
        size -= (size_t)(line + 1 - text);
        memmove(text, line + 1, size);
    }
}

static void report(void)
{
    uint64_t longest = 0;

    for (unsigned i = 0; i < options.sessions; i++) {
        if (sessions[i].longest_ns > longest)
            longest = sessions[i].longest_ns;
    }
    printf("{\"client\": \"%s\", \"sessions\": %u, \"tls12\": %u, \"tls13\": %u, "
           "\"messages\": %llu, \"bytes\": %llu, \"key_updates\": %u, \"lost\": %u, "
           "\"longest_wait_ms\": %llu}\n",
           transport.name, options.sessions, by_version[0], by_version[1],
           (unsigned long long)messages, (unsigned long long)bytes, key_updates, lost,
           (unsigned long long)longest / 1000000);
}

static void parse_ports(char *list)
{
    for (char *port; (port = strsep(&list, ",")) != NULL;) {
        if (options.port_count == PORTS_MAX)
            die("too many ports");
        options.ports[options.port_count++] = (uint16_t)atoi(port);
    }
}

static void parse(int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        char *value = arguments[i], *key = strsep(&value, "=");
        errno = EINVAL;
        if (value == NULL)
            die(key);
        if (strcmp(key, "ports") == 0)
            parse_ports(value);
        else if (strcmp(key, "root") == 0)
            options.root = value;
        else if (strcmp(key, "name") == 0)
            options.name = value;
        else if (strcmp(key, "sessions") == 0)
            options.sessions = (unsigned)atoi(value);
        else if (strcmp(key, "first") == 0) /* number of the first session */
            options.first = (unsigned)atoi(value);
        else if (strcmp(key, "seed") == 0)
            options.seed = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(key, "pace") == 0) /* pauses in percent of the usual */
            options.pace = (unsigned)atoi(value);
        else
            die(key);
    }
    if (options.port_count == 0 || options.root == NULL || options.name == NULL)
        die("ports=, root= and name= are needed");
}

static void make_sessions(void)
{
    static const enum habit habits[HABIT_CYCLE] = {
        [0] = HABIT_STREAMER, [1] = HABIT_SLEEPER, [2] = HABIT_SLEEPER, [3] = HABIT_SLEEPER,
        [4] = HABIT_SLEEPER,  [5] = HABIT_UPDATER, [6] = HABIT_UPDATER};

    sessions = calloc(options.sessions, sizeof *sessions);
    if (sessions == NULL)
        die("memory");
    for (unsigned i = 0; i < options.sessions; i++) {
        struct session *session = &sessions[i];
        session->number = options.first + i;
        session->fd = -1;
        session->tls13 = session->number % 2 == 1;
        session->habit = habits[session->number / 2 / options.port_count % HABIT_CYCLE];
        session->moved_ns = now_ns();
    }
}

int main(int count, char **arguments)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    parse(count, arguments);
    stream_begin(options.seed);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0)
        die("epoll");
    if (!transport.begin(options.root, options.name, false))
        die(options.root);
    make_sessions();
    while (ended < options.sessions) {
        struct epoll_event events[EVENTS];
        int happened = epoll_wait(epoll, events, EVENTS, TICK_MS);
        for (int i = 0; i < happened; i++) {
            if (events[i].data.ptr == NULL)
                take_order();
            else
                on_event(events[i].data.ptr, events[i].events);
        }
        bool quiet = tick();
        if (spoken + lost >= options.sessions)
            tell(&ready_told, "ready");
        if (quiet && order == ORDER_PAUSE)
            tell(&paused_told, "paused");
    }
    report();
    return lost > 0;
}
