#include "loop/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/string.h"

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

/* What the user wrote, fit to be shown in a message. */
#define SHOWN(text)                                                                                \
    string_printable((char[ADDRESS_TEXT_MAX]){0}, ADDRESS_TEXT_MAX, text, strlen(text))

static bool parse_number(const char *text, unsigned maximum, unsigned *ret_number)
{
    unsigned number = 0;

    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        number = number * 10 + (unsigned)(*text - '0');
        if (number > maximum)
            return false;
    }
    *ret_number = number;
    return true;
}

int address_split(const char *text, char *ret_host, size_t host_size, uint16_t *ret_port,
                  struct error *error)
{
    const char *colon = strrchr(text, ':');
    const char *host = text;
    unsigned port;

    if (colon == NULL)
        return error_set(error, ERROR_CONFIG, "\"%s\" has no port: expected host:port",
                         SHOWN(text));
    if (!parse_number(colon + 1, UINT16_MAX, &port))
        return error_set(error, ERROR_CONFIG, "\"%s\": the port must be a number from 0 to 65535",
                         SHOWN(text));
    size_t size = (size_t)(colon - text);
    if (size >= 2 && text[0] == '[' && text[size - 1] == ']') {
        host++;
        size -= 2;
    } else if (memchr(text, ':', size) != NULL) {
        return error_set(error, ERROR_CONFIG, "\"%s\": write an IPv6 address as [address]:port",
                         SHOWN(text));
    }
    if (size == 0 || size >= host_size)
        return error_set(error, ERROR_CONFIG, "\"%s\": the host is %s", SHOWN(text),
                         size == 0 ? "empty" : "too long");
    memcpy(ret_host, host, size);
    ret_host[size] = '\0';
    *ret_port = (uint16_t)port;
    return 0;
}

static int parse_unix(struct address *ret_address, const char *path, struct error *error)
{
    struct address address = {.un.sun_family = AF_UNIX};
    size_t length = strlen(path);

    if (path[0] != '/')
        return error_set(error, ERROR_CONFIG, "\"unix:%s\": expected an absolute path",
                         SHOWN(path));
    if (length >= sizeof address.un.sun_path)
        return error_set(error, ERROR_CONFIG, "\"unix:%s\": the path is longer than %zu bytes",
                         SHOWN(path), sizeof address.un.sun_path - 1);
    memcpy(address.un.sun_path, path, length + 1);
    address.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    *ret_address = address;
    return 0;
}

int address_parse(struct address *ret_address, const char *text, struct error *error)
{
    char host[INET6_ADDRSTRLEN];
    struct address address = {0};
    uint16_t port;

    if (string_starts_with(text, "unix:"))
        return parse_unix(ret_address, text + strlen("unix:"), error);
    int code = address_split(text, host, sizeof host, &port, error);
    if (code != 0)
        return code;
    if (strcmp(host, "*") == 0)
        ignore(string_copy(host, sizeof host, "0.0.0.0"));
    /* Brackets are for IPv6 only, and IPv6 always has them here: a bare one would have failed in
     * address_split(). */
    if (text[0] != '[' && inet_pton(AF_INET, host, &address.in.sin_addr) == 1) {
        address.in.sin_family = AF_INET;
        address.in.sin_port = htons(port);
        address.size = sizeof address.in;
    } else if (text[0] == '[' && inet_pton(AF_INET6, host, &address.in6.sin6_addr) == 1) {
        address.in6.sin6_family = AF_INET6;
        address.in6.sin6_port = htons(port);
        address.size = sizeof address.in6;
    } else {
        return error_set(error, ERROR_CONFIG, "\"%s\": expected an IP address and port, not a name",
                         SHOWN(text));
    }
    *ret_address = address;
    return 0;
}

char *address_format(char *text, size_t size, const struct address *address)
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (address->size == 0) {
        ignore(string_copy(text, size, "none"));
    } else if (address->any.sa_family == AF_INET) {
        ignore(inet_ntop(AF_INET, &address->in.sin_addr, host, sizeof host) != NULL);
        ignore(snprintf(text, size, "%s:%u", host, ntohs(address->in.sin_port)));
    } else if (address->any.sa_family == AF_INET6) {
        ignore(inet_ntop(AF_INET6, &address->in6.sin6_addr, host, sizeof host) != NULL);
        ignore(snprintf(text, size, "[%s]:%u", host, ntohs(address->in6.sin6_port)));
    } else {
        /* An unnamed socket has no path at all, and a kernel-given path need not be terminated. */
        size_t head = offsetof(struct sockaddr_un, sun_path);
        size_t length = address->size > head ? address->size - head : 0;
        ignore(snprintf(text, size, "unix:%.*s", (int)length, address->un.sun_path));
    }
    return text;
}

bool address_equal(const struct address *a, const struct address *b)
{
    uint8_t a_bytes[16], b_bytes[16];

    if (a->size == 0 || b->size == 0)
        return a->size == b->size;
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_UNIX)
        return strncmp(a->un.sun_path, b->un.sun_path, sizeof a->un.sun_path) == 0;
    address_bytes(a_bytes, a);
    address_bytes(b_bytes, b);
    return address_port(a) == address_port(b) && memcmp(a_bytes, b_bytes, sizeof a_bytes) == 0;
}

uint16_t address_port(const struct address *address)
{
    if (address->size == 0)
        return 0;
    if (address->any.sa_family == AF_INET)
        return ntohs(address->in.sin_port);
    return address->any.sa_family == AF_INET6 ? ntohs(address->in6.sin6_port) : 0;
}

void address_set_port(struct address *address, uint16_t port)
{
    if (address->any.sa_family == AF_INET)
        address->in.sin_port = htons(port);
    else if (address->any.sa_family == AF_INET6)
        address->in6.sin6_port = htons(port);
}

void address_bytes(uint8_t ret_bytes[16], const struct address *address)
{
    memset(ret_bytes, 0, 16);
    if (address->size == 0)
        return;
    if (address->any.sa_family == AF_INET) {
        memcpy(ret_bytes, mapped_prefix, sizeof mapped_prefix);
        memcpy(ret_bytes + sizeof mapped_prefix, &address->in.sin_addr, 4);
    } else if (address->any.sa_family == AF_INET6) {
        memcpy(ret_bytes, &address->in6.sin6_addr, 16);
    }
}

void address_from_bytes(struct address *ret_address, const uint8_t bytes[16], uint16_t port)
{
    *ret_address = (struct address){0};
    if (memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0) {
        ret_address->in.sin_family = AF_INET;
        ret_address->in.sin_port = htons(port);
        memcpy(&ret_address->in.sin_addr, bytes + sizeof mapped_prefix, 4);
        ret_address->size = sizeof ret_address->in;
    } else {
        ret_address->in6.sin6_family = AF_INET6;
        ret_address->in6.sin6_port = htons(port);
        memcpy(&ret_address->in6.sin6_addr, bytes, 16);
        ret_address->size = sizeof ret_address->in6;
    }
}

int network_parse(struct network *ret_network, const char *text, struct error *error)
{
    struct network network = {.prefix = 128};
    char host[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t length = slash != NULL ? (size_t)(slash - text) : strlen(text);
    unsigned width = 128, prefix;

    if (length >= sizeof host)
        return error_set(error, ERROR_CONFIG, "\"%s\" is not a network", SHOWN(text));
    memcpy(host, text, length);
    host[length] = '\0';
    if (inet_pton(AF_INET, host, network.bytes + sizeof mapped_prefix) == 1) {
        memcpy(network.bytes, mapped_prefix, sizeof mapped_prefix);
        width = 32;
    } else if (inet_pton(AF_INET6, host, network.bytes) != 1) {
        return error_set(error, ERROR_CONFIG,
                         "\"%s\" is not a network: expected an address such as 10.0.0.0/8 or ::1",
                         SHOWN(text));
    }
    if (slash != NULL) {
        if (!parse_number(slash + 1, width, &prefix))
            return error_set(error, ERROR_CONFIG,
                             "\"%s\": the prefix length must be a number from 0 to %u", SHOWN(text),
                             width);
        network.prefix = (uint8_t)(128 - width + prefix);
    }
    *ret_network = network;
    return 0;
}

bool network_contains(const struct network *network, const uint8_t bytes[16])
{
    unsigned whole = network->prefix / 8, rest = network->prefix % 8;

    if (memcmp(network->bytes, bytes, whole) != 0)
        return false;
    return rest == 0 || ((network->bytes[whole] ^ bytes[whole]) >> (8 - rest)) == 0;
}

bool network_list_contains(const struct network *networks, size_t count, const uint8_t bytes[16])
{
    for (size_t i = 0; i < count; i++) {
        if (network_contains(&networks[i], bytes))
            return true;
    }
    return false;
}

static void set_option(int fd, int level, int option, int value)
{
    ignore(setsockopt(fd, level, option, &value, sizeof value));
}

static int new_socket(const struct address *address)
{
    return socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* A socket file whose owner died stays behind and blocks bind(). A refused connect proves that
 * nobody listens there, but a plain file refuses as well. */
static bool remove_stale(const struct address *address)
{
    struct stat facts;
    int fd;

    if (lstat(address->un.sun_path, &facts) != 0 || !S_ISSOCK(facts.st_mode))
        return false;
    fd = new_socket(address);
    if (fd < 0)
        return false;
    bool refused = connect(fd, &address->any, address->size) != 0 && errno == ECONNREFUSED;
    ignore(close(fd));
    return refused && unlink(address->un.sun_path) == 0;
}

/* Returns 0 or an errno. */
static int bind_or_replace(int fd, const struct address *address)
{
    if (bind(fd, &address->any, address->size) == 0)
        return 0;
    int number = errno;
    if (number == EADDRINUSE && address->any.sa_family == AF_UNIX && remove_stale(address))
        number = bind(fd, &address->any, address->size) == 0 ? 0 : errno;
    return number;
}

static int listen_error(const struct address *address, int number, struct error *error)
{
    char text[ADDRESS_TEXT_MAX];

    address_format(text, sizeof text, address);
    if (number == EADDRINUSE)
        return error_set(error, ERROR_BUSY,
                         "cannot listen on %s: the %s is in use by another program", text,
                         address->any.sa_family == AF_UNIX ? "path" : "port");
    if (number == EACCES && address->any.sa_family != AF_UNIX)
        return error_set(error, ERROR_IO,
                         "cannot listen on %s: ports below 1024 are not for every user; start as "
                         "root, give this user CAP_NET_BIND_SERVICE, or take a higher port",
                         text);
    if (number == EADDRNOTAVAIL)
        return error_set(
            error, ERROR_IO,
            "cannot listen on %s: this machine does not have the address; `ip address` "
            "lists those it has",
            text);
    return error_set(error, ERROR_IO, "cannot listen on %s: %s", text, strerror(number));
}

int socket_listen(int *ret_fd, const struct address *address, int backlog, struct error *error)
{
    int fd = new_socket(address);

    if (fd < 0)
        return listen_error(address, errno, error);
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (address->any.sa_family == AF_INET6)
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    int number = bind_or_replace(fd, address);
    if (number == 0 && listen(fd, backlog) != 0)
        number = errno;
    if (number != 0) {
        ignore(close(fd));
        return listen_error(address, number, error);
    }
    *ret_fd = fd;
    return 0;
}

int socket_connect(const struct address *address, const struct address *source)
{
    int fd = new_socket(address);

    if (fd < 0)
        return -errno;
    if (source != NULL && source->size > 0) {
        /* The port is chosen at connect(), when the other side is known: 28,000 ports per server,
         * not in all. */
        set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        if (bind(fd, &source->any, source->size) != 0)
            goto failed;
    }
    if (connect(fd, &address->any, address->size) == 0 || errno == EINPROGRESS)
        return fd;
failed:;
    int number = errno;
    ignore(close(fd));
    return -number;
}

int socket_error(int fd)
{
    int number = 0;
    socklen_t size = sizeof number;

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size) == 0 ? number : errno;
}

void socket_reset(int fd)
{
    static const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};

    if (connect(fd, &nowhere, sizeof nowhere) != 0)
        ignore(shutdown(fd, SHUT_RDWR));
}

bool socket_ended(int fd)
{
    struct pollfd asked = {.fd = fd};

    return poll(&asked, 1, 0) > 0 && (asked.revents & POLLHUP) != 0;
}

void socket_tune(int fd, const struct socket_options *options)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1);
    if (options->keepalive_s > 0) {
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)options->keepalive_s);
    }
    if (options->user_timeout_ms > 0)
        set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)options->user_timeout_ms);
}

uint64_t socket_cookie(int fd)
{
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;

    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}
