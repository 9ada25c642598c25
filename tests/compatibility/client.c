/* One session of one TLS library, which does what the matrix of doc/compatibility.md asks of it.
 *
 *   client PORT ROOT NAME VERSION [renegotiates]
 *
 * Says "connected LIBRARY-VERSION", then answers each line of its input with one line, "ok …" or,
 * before it ends, "failed REASON":
 *   echo COUNT SIZE   that many messages, one after the other, to an echoing upstream
 *   start, stop       traffic runs freely in both directions from the one to the other
 *   update, request   a KeyUpdate, without and with asking for the peer's
 *   renegotiate [MAX] a TLS 1.2 handshake on the session within so many seconds: "ok done" or "ok
 * declined" reconnect         a clean end, then a new connection that offers the session close
 * close_notify, then reads to the end of the peer await-close       reads until the peer ends the
 * session Each byte that comes back is checked. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "stacks/transport.h"

#define PERIOD   251u /* of the stream of bytes: no record size is a multiple of it */
#define CHUNK    16384u
#define AHEAD    (512u << 10) /* bytes that may be under way while traffic runs freely */
#define PATIENCE 30           /* seconds */
#define TURN_MS  2

static struct {
    void *tls;
    uint64_t sent, received, end; /* positions in the stream of bytes */
    size_t writing;               /* bytes of a write that is to be repeated */
    int fd;
    bool running, ended;
} session;

static struct {
    uint16_t port;
    bool tls13;
} options;

static uint8_t pattern[PERIOD + CHUNK];

static _Noreturn void fail(const char *why)
{
    printf("failed %s\n", why != NULL ? why : "without a reason");
    exit(1);
}

static time_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

/* ---- moving bytes ---- */

static void check_io(enum io result)
{
    if (result == IO_FAILED)
        fail(transport.fault(session.tls));
    session.ended |= result == IO_END;
}

static void take(const uint8_t *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        size_t part = size - done < CHUNK ? size - done : CHUNK;
        if (session.received + part > session.sent ||
            memcmp(data + done, pattern + session.received % PERIOD, part) != 0)
            fail("a byte came back that was not sent");
        session.received += part;
        done += part;
    }
}

static void read_all(void)
{
    uint8_t data[CHUNK];
    enum io result = IO_DONE;

    while (result == IO_DONE && !session.ended) {
        size_t size = 0;
        result = transport.read(session.tls, data, sizeof data, &size);
        take(data, size);
        check_io(result);
    }
}

/* A library that wants a write repeated is given the same bytes again: `writing` remembers. */
static void write_some(void)
{
    if (session.running && session.sent - session.received < AHEAD)
        session.end = session.sent + CHUNK;
    while (session.sent < session.end && !session.ended) {
        uint64_t left = session.end - session.sent;
        size_t done = 0;
        if (session.writing == 0)
            session.writing = left < CHUNK ? (size_t)left : CHUNK;
        enum io result =
            transport.write(session.tls, pattern + session.sent % PERIOD, session.writing, &done);
        check_io(result);
        if (result != IO_DONE)
            return;
        session.sent += done;
        session.writing = 0;
    }
}

/* One turn of reading and writing; waits a little for the peer. */
static void turn(void)
{
    struct pollfd peer = {.fd = session.fd, .events = POLLIN};

    write_some();
    poll(&peer, 1, TURN_MS);
    read_all();
}

static void turn_before(time_t deadline, const char *what)
{
    if (session.ended)
        fail("the edge ended the session");
    if (now() > deadline)
        fail(what);
    turn();
}

static void catch_up(void)
{
    time_t deadline = now() + PATIENCE;

    while (session.received < session.end)
        turn_before(deadline, "what was sent does not come back");
}

/* ---- connecting ---- */

static int connect_edge(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail(strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void open_session(void)
{
    time_t deadline = now() + PATIENCE;
    enum io result;

    session.fd = connect_edge();
    session.tls = transport.open(session.fd, options.tls13);
    if (session.tls == NULL)
        fail("no session can be made");
    while ((result = transport.handshake(session.tls)) == IO_AGAIN && now() < deadline)
        poll(&(struct pollfd){.fd = session.fd, .events = POLLIN}, 1, TURN_MS);
    if (result != IO_DONE)
        fail(result == IO_AGAIN ? "the handshake does not end" : transport.fault(session.tls));
}

static void read_to_end(void)
{
    time_t deadline = now() + PATIENCE;

    while (!session.ended) {
        if (now() > deadline)
            fail("no close_notify came");
        turn();
    }
}

static void end_session(void)
{
    enum io result;

    while ((result = transport.close_notify(session.tls)) == IO_AGAIN)
        poll(&(struct pollfd){.fd = session.fd, .events = POLLOUT}, 1, TURN_MS);
    check_io(result);
    read_to_end();
    transport.free(session.tls);
    close(session.fd);
}

/* ---- orders ---- */

static void echo(const char *arguments)
{
    unsigned long count = 1, size = 100;

    sscanf(arguments, "%lu %lu", &count, &size);
    for (unsigned long i = 0; i < count; i++) {
        session.end += size;
        catch_up();
    }
    puts("ok");
}

static void start(const char *arguments)
{
    (void)arguments;
    session.running = true;
    puts("ok");
}

static void stop(const char *arguments)
{
    (void)arguments;
    session.running = false;
    catch_up();
    puts("ok");
}

/* No call but another write may come between a write and its repetition. */
static void finish_write(void)
{
    time_t deadline = now() + PATIENCE;

    while (session.writing > 0)
        turn_before(deadline, "a write does not end");
}

static void update_keys(bool request)
{
    enum io result;

    if (transport.update_keys == NULL)
        fail("this library cannot");
    finish_write();
    while ((result = transport.update_keys(session.tls, request)) == IO_AGAIN)
        poll(&(struct pollfd){.fd = session.fd, .events = POLLIN}, 1, TURN_MS);
    check_io(result);
    puts("ok");
}

static void update(const char *arguments)
{
    (void)arguments;
    update_keys(false);
}

static void request(const char *arguments)
{
    (void)arguments;
    update_keys(true);
}

static void renegotiate(const char *arguments)
{
    int patience = PATIENCE;

    sscanf(arguments, "%d", &patience);
    if (transport.renegotiate == NULL)
        fail("this library cannot");
    finish_write();
    unsigned before = transport.handshakes(session.tls);
    time_t deadline = now() + patience;
    check_io(transport.renegotiate(session.tls));
    while (transport.negotiating(session.tls))
        turn_before(deadline, "it waits for ever");
    puts(transport.handshakes(session.tls) > before ? "ok done" : "ok declined");
}

static void reconnect(const char *arguments)
{
    (void)arguments;
    transport.keep_session(session.tls);
    end_session();
    memset(&session, 0, sizeof session);
    open_session();
    puts("ok");
}

static void close_cleanly(const char *arguments)
{
    (void)arguments;
    end_session();
    puts("ok");
    exit(0);
}

static void await_close(const char *arguments)
{
    (void)arguments;
    read_to_end();
    transport.close_notify(session.tls); /* the edge may have gone already */
    close(session.fd);
    puts("ok");
}

static const struct order {
    const char *name;
    void (*run)(const char *arguments);
} orders[] = {
    {"echo", echo},           {"start", start},         {"stop", stop},
    {"update", update},       {"request", request},     {"renegotiate", renegotiate},
    {"reconnect", reconnect}, {"close", close_cleanly}, {"await-close", await_close},
};

static void take_order(void)
{
    char line[100];

    if (fgets(line, sizeof line, stdin) == NULL)
        exit(0);
    size_t length = strcspn(line, " \n");
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        if (strlen(orders[i].name) == length && strncmp(orders[i].name, line, length) == 0) {
            orders[i].run(line + length);
            return;
        }
    }
    fail("there is no such order");
}

int main(int count, char **arguments)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    setvbuf(stdin, NULL, _IONBF, 0);
    if (count < 5)
        fail("PORT ROOT NAME VERSION [renegotiates]");
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (uint8_t)(i % PERIOD);
    options.port = (uint16_t)atoi(arguments[1]);
    options.tls13 = strcmp(arguments[4], "1.3") == 0;
    if (!transport.begin(arguments[2], arguments[3], count > 5))
        fail("the library does not begin");
    open_session();
    printf("connected %s\n", transport.version());
    for (;;) {
        struct pollfd both[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                {.fd = session.ended ? -1 : session.fd, .events = POLLIN}};
        write_some();
        poll(both, 2, session.running ? TURN_MS : -1);
        if (both[1].revents != 0)
            read_all();
        if (both[0].revents != 0)
            take_order();
    }
}
