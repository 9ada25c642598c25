#include "loop/socket.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct error error;

static struct address parsed(const char *text)
{
    struct address address;

    assert_int_equal(address_parse(&address, text, &error), 0);
    return address;
}

static void bad_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        ":80",
        "10.0.0.1",
        "10.0.0.1:",
        "10.0.0.1:x",
        "10.0.0.1:65536",
        "::1:80",
        "[::1]",
        "[::1:80",
        "[]:80",
        "[10.0.0.1]:80",
        "example.org:80",
        "10.0.0.1:-1",
        "10.0.0.1: 80",
        "10.0.0.256:80",
        "unix:",
        "unix:relative",
        "10.0.0.1:80 ",
        "10.0.0.1:99999999999999999999",
    };
    struct address address = {.size = 77};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(address_parse(&address, bad[i], &error), -ERROR_CONFIG);
        assert_int_equal(address.size, 77);
        assert_true(strlen(error.message) > 0);
    }
}

static void hostile_text_is_shown_escaped(void **state)
{
    (void)state;
    struct address address;
    char path[300] = "unix:/";

    assert_true(address_parse(&address, "\x1b[2J:80", &error) < 0);
    assert_null(strchr(error.message, '\x1b'));
    memset(path + 6, 'x', sizeof path - 7);
    assert_true(address_parse(&address, path, &error) < 0);
    assert_non_null(strstr(error.message, "longer than"));
}

static void good_addresses_round_trip(void **state)
{
    (void)state;
    static const char *const good[] = {"10.0.0.5:8080", "[::1]:8080", "0.0.0.0:443",
                                       "[2001:db8::1]:0", "unix:/run/app.sock"};
    char text[ADDRESS_TEXT_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct address address = parsed(good[i]);
        assert_string_equal(address_format(text, sizeof text, &address), good[i]);
    }
    struct address any = parsed("*:443"), none = {0};
    assert_string_equal(address_format(text, sizeof text, &any), "0.0.0.0:443");
    assert_string_equal(address_format(text, sizeof text, &none), "none");
}

static void split(void **state)
{
    (void)state;
    char host[16] = "untouched";
    uint16_t port = 7;

    assert_true(address_split("name", host, sizeof host, &port, &error) < 0);
    assert_true(address_split("a-name-that-is-too-long:80", host, sizeof host, &port, &error) < 0);
    assert_string_equal(host, "untouched");
    assert_int_equal(port, 7);
    assert_int_equal(address_split("app.internal:5432", host, sizeof host, &port, &error), 0);
    assert_string_equal(host, "app.internal");
    assert_int_equal(port, 5432);
    assert_int_equal(address_split("[::1]:1", host, sizeof host, &port, &error), 0);
    assert_string_equal(host, "::1");
}

static void equality_and_ports(void **state)
{
    (void)state;
    struct address a = parsed("10.0.0.5:80"), b = parsed("10.0.0.5:81"), none = {0};
    struct address mapped = parsed("[::ffff:10.0.0.5]:80");
    struct address path = parsed("unix:/a"), other_path = parsed("unix:/ab");

    assert_false(address_equal(&a, &b));
    address_set_port(&b, 80);
    assert_true(address_equal(&a, &b));
    assert_int_equal(address_port(&b), 80);
    assert_false(address_equal(&a, &mapped));
    assert_false(address_equal(&a, &none));
    assert_true(address_equal(&none, &none));
    assert_true(address_equal(&path, &path));
    assert_false(address_equal(&path, &other_path));
    assert_int_equal(address_port(&path), 0);
    assert_int_equal(address_port(&none), 0);
}

static void sixteen_bytes(void **state)
{
    (void)state;
    static const char *const texts[] = {"192.0.2.7:1", "[2001:db8::7]:65535"};
    uint8_t bytes[16];

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct address address = parsed(texts[i]), back;
        address_bytes(bytes, &address);
        address_from_bytes(&back, bytes, address_port(&address));
        assert_true(address_equal(&address, &back));
    }
    struct address path = parsed("unix:/x");
    address_bytes(bytes, &path);
    assert_memory_equal(bytes, (uint8_t[16]){0}, 16);
}

static void bad_networks(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "10.0.0.0/33",
                                      "10.0.0.0/",
                                      "::1/129",
                                      "10.0.0/8",
                                      "/8",
                                      "10.0.0.0/-1",
                                      "10.0.0.0/8/8",
                                      "localhost",
                                      "10.0.0.0:80",
                                      "::1 ",
                                      "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/1"};
    struct network network = {.prefix = 77};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(network_parse(&network, bad[i], &error), -ERROR_CONFIG);
    assert_int_equal(network.prefix, 77);
}

static bool contains(const char *network_text, const char *host)
{
    struct network network;
    char text[ADDRESS_TEXT_MAX];
    uint8_t bytes[16];

    assert_int_equal(network_parse(&network, network_text, &error), 0);
    ignore(snprintf(text, sizeof text, strchr(host, ':') != NULL ? "[%s]:1" : "%s:1", host));
    struct address address = parsed(text);
    address_bytes(bytes, &address);
    assert_int_equal(network_list_contains(&network, 1, bytes), network_contains(&network, bytes));
    assert_false(network_list_contains(&network, 0, bytes));
    return network_contains(&network, bytes);
}

static void networks(void **state)
{
    (void)state;
    assert_true(contains("10.0.0.0/8", "10.255.0.1"));
    assert_false(contains("10.0.0.0/8", "11.0.0.1"));
    assert_true(contains("192.0.2.1", "192.0.2.1"));
    assert_false(contains("192.0.2.1", "192.0.2.2"));
    assert_true(contains("192.0.2.0/23", "192.0.3.9"));
    assert_false(contains("192.0.2.0/23", "192.0.4.0"));
    assert_true(contains("0.0.0.0/0", "203.0.113.9"));
    /* "Any IPv4" holds no IPv6 address, and "any" holds both. */
    assert_false(contains("0.0.0.0/0", "2001:db8::1"));
    assert_true(contains("::/0", "2001:db8::1"));
    assert_true(contains("::/0", "203.0.113.9"));
    assert_true(contains("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(contains("2001:db8::/33", "2001:db8:8000::1"));
    /* An IPv4 client may not slip past a list by arriving mapped. */
    assert_true(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
}

static int listening(struct address *address)
{
    socklen_t size = sizeof(struct sockaddr_in6);
    int fd = -1;

    assert_int_equal(socket_listen(&fd, address, 16, &error), 0);
    if (address->any.sa_family != AF_UNIX)
        assert_int_equal(getsockname(fd, &address->any, &size), 0);
    return fd;
}

static void port_in_use(void **state)
{
    (void)state;
    struct address address = parsed("127.0.0.1:0");
    char text[ADDRESS_TEXT_MAX];
    int fd = listening(&address), second = -7;

    assert_int_equal(socket_listen(&second, &address, 16, &error), -ERROR_BUSY);
    assert_int_equal(second, -7);
    assert_non_null(strstr(error.message, "in use"));
    assert_non_null(strstr(error.message, address_format(text, sizeof text, &address)));
    close(fd);
}

static void foreign_address(void **state)
{
    (void)state;
    struct address address = parsed("192.0.2.1:0");
    int fd = -7;

    assert_int_equal(socket_listen(&fd, &address, 16, &error), -ERROR_IO);
    assert_non_null(strstr(error.message, "192.0.2.1:0"));
    assert_int_equal(fd, -7);
}

static void connects(void **state)
{
    (void)state;
    struct address address = parsed("127.0.0.1:0"), source = parsed("127.0.0.2:0"), peer = {0};
    int listener = listening(&address);
    int fd = socket_connect(&address, &source);

    assert_true(fd >= 0);
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 10000), 1);
    assert_int_equal(socket_error(fd), 0);
    assert_int_equal(poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, 10000), 1);
    peer.size = sizeof peer.in6;
    int accepted = accept(listener, &peer.any, &peer.size);
    assert_true(accepted >= 0);
    address_set_port(&peer, 0);
    assert_true(address_equal(&peer, &source));
    assert_true(socket_cookie(fd) != 0);
    assert_true(socket_cookie(fd) != socket_cookie(accepted));
    close(accepted);
    close(fd);
    close(listener);
}

static void connection_refused(void **state)
{
    (void)state;
    struct address address = parsed("127.0.0.1:0"), missing = parsed("unix:/nonexistent/socket");

    close(listening(&address));
    int fd = socket_connect(&address, NULL);
    assert_true(fd >= 0);
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 10000), 1);
    assert_int_equal(socket_error(fd), ECONNREFUSED);
    close(fd);
    assert_int_equal(socket_connect(&missing, NULL), -ENOENT);
    assert_int_equal(socket_error(-1), EBADF);
    assert_true(socket_cookie(-1) == 0);
}

static void stale_unix_socket_is_replaced(void **state)
{
    (void)state;
    char folder[] = "/tmp/holdfast-test-XXXXXX";
    char text[ADDRESS_TEXT_MAX];
    int second = -7;

    assert_non_null(mkdtemp(folder));
    ignore(snprintf(text, sizeof text, "unix:%s/socket", folder));
    struct address address = parsed(text);
    int fd = listening(&address);
    assert_int_equal(socket_listen(&second, &address, 16, &error), -ERROR_BUSY);
    close(fd);
    fd = listening(&address);
    close(fd);
    /* Anything else of that name is not ours to remove. */
    assert_int_equal(unlink(address.un.sun_path), 0);
    FILE *file = fopen(address.un.sun_path, "w");
    assert_non_null(file);
    fclose(file);
    assert_true(socket_listen(&second, &address, 16, &error) < 0);
    assert_int_equal(access(address.un.sun_path, F_OK), 0);
    unlink(address.un.sun_path);
    rmdir(folder);
}

static int option_of(int fd, int level, int option)
{
    int value = -1;
    socklen_t size = sizeof value;

    assert_int_equal(getsockopt(fd, level, option, &value, &size), 0);
    return value;
}

static void tuning(void **state)
{
    (void)state;
    const struct socket_options options = {.keepalive_s = 61, .user_timeout_ms = 5000};
    int pair[2], fd = socket(AF_INET, SOCK_STREAM, 0);

    socket_tune(fd, &options);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_OOBINLINE), 1);
    assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 61);
    assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 5000);
    close(fd);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    socket_tune(pair[0], &options);
    close(pair[0]);
    close(pair[1]);
}

/* Both ends of a connection over loopback. */
static void connected_pair(int ret_fds[2])
{
    struct address address = parsed("127.0.0.1:0");
    socklen_t size = address.size;
    int listening;

    assert_int_equal(socket_listen(&listening, &address, 1, &error), 0);
    assert_int_equal(getsockname(listening, &address.any, &size), 0);
    ret_fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(ret_fds[0], &address.any, size), 0);
    struct pollfd wait = {.fd = listening, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 5000), 1);
    ret_fds[1] = accept(listening, NULL, NULL);
    assert_true(ret_fds[1] >= 0);
    close(listening);
}

static void breaking_connections(void **state)
{
    (void)state;
    char byte;

    for (int family = 0; family < 2; family++) {
        int fds[2];
        if (family == 0)
            connected_pair(fds);
        else
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        int duplicate = dup(fds[0]); /* it does not keep the connection alive */
        struct timeval patience = {.tv_sec = 5};
        setsockopt(fds[1], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);

        assert_false(socket_ended(fds[0]));
        assert_int_equal(shutdown(fds[0], SHUT_WR), 0);
        assert_false(socket_ended(fds[0])); /* one direction is left */
        socket_reset(fds[0]);
        assert_true(socket_ended(fds[0]));
        assert_int_equal(recv(fds[1], &byte, 1, 0), 0);
        if (family == 0)
            assert_int_equal(socket_error(fds[1]), EPIPE); /* a reset behind the end of stream */
        close(duplicate);
        close(fds[0]);
        close(fds[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(hostile_text_is_shown_escaped),
        cmocka_unit_test(good_addresses_round_trip),
        cmocka_unit_test(split),
        cmocka_unit_test(equality_and_ports),
        cmocka_unit_test(sixteen_bytes),
        cmocka_unit_test(bad_networks),
        cmocka_unit_test(networks),
        cmocka_unit_test(port_in_use),
        cmocka_unit_test(foreign_address),
        cmocka_unit_test(connects),
        cmocka_unit_test(connection_refused),
        cmocka_unit_test(stale_unix_socket_is_replaced),
        cmocka_unit_test(tuning),
        cmocka_unit_test(breaking_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
