#include "demo/workspace.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/string.h"
#include "demo/demo.h"
#include "loop/socket.h"

#define BACKLOG    4096
#define PROGRAM    "/proc/self/exe"
#define COPY_CHUNK (1u << 20)

/* %s: state folder; ports: web, echo under each version; then the two servers behind; %s: what a
 * reload adds and takes away. */
static const char config_text[] = "# Written by `holdfast demo`.\n"
                                  "state-folder = \"%s/state\"\n"
                                  "drain-timeout = 2s\n"
                                  "protect-after = 500ms\n"
                                  "handshaker-nice = 5\n"
                                  "log-sessions = no\n"
                                  "\n"
                                  "listener \"web\" {\n"
                                  "    bind = {%s}\n"
                                  "    certificates = {\"localhost\"}\n"
                                  "    upstream = \"application\"\n"
                                  "    alpn = {\"http/1.1\"}\n"
                                  "}\n"
                                  "listener \"echo-1.2\" {\n"
                                  "    bind = {\"127.0.0.1:%u\"}\n"
                                  "    certificates = {\"localhost\"}\n"
                                  "    upstream = \"echo\"\n"
                                  "    tls-max = \"1.2\"\n"
                                  "}\n"
                                  "listener \"echo-1.3\" {\n"
                                  "    bind = {\"127.0.0.1:%u\"}\n"
                                  "    certificates = {\"localhost\"}\n"
                                  "    upstream = \"echo\"\n"
                                  "    tls-min = \"1.3\"\n"
                                  "}\n"
                                  "upstream \"application\" {\n"
                                  "    servers = {\"127.0.0.1:%u\"}\n"
                                  "}\n"
                                  "upstream \"echo\" {\n"
                                  "    servers = {\"127.0.0.1:%u\"}\n"
                                  "}\n"
                                  "certificate \"localhost\" {\n"
                                  "    names = {\"localhost\", \"127.0.0.1\", \"::1\"}\n"
                                  "    from = internal\n"
                                  "}\n"
                                  "%s";
static const char listener_text[] = "listener \"guest\" {\n"
                                    "    bind = {\"127.0.0.1:%u\"}\n"
                                    "    certificates = {\"localhost\"}\n"
                                    "    upstream = \"echo\"\n"
                                    "    idle-timeout = 60s\n"
                                    "}\n";

static struct address loopback(uint16_t port)
{
    struct address address = {.in = {.sin_family = AF_INET,
                                     .sin_port = htons(port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
                              .size = sizeof address.in};
    return address;
}

static struct address loopback6(uint16_t port)
{
    struct address address = {.in6 = {.sin6_family = AF_INET6,
                                      .sin6_port = htons(port),
                                      .sin6_addr = IN6ADDR_LOOPBACK_INIT},
                              .size = sizeof address.in6};
    return address;
}

static uint16_t port_of(int fd)
{
    struct address address = {.size = sizeof address.in};

    return getsockname(fd, &address.any, &address.size) == 0 ? address_port(&address) : 0;
}

static bool is_free(const struct address *address)
{
    int fd;

    if (socket_listen(&fd, address, 1, NULL) != 0)
        return false;
    ignore(close(fd));
    return true;
}

/* A port that nothing listens on; what the system gives stays free until someone asks for it by
 * number. */
static int any_port(uint16_t *ret_port, struct error *error)
{
    struct address address = loopback(0);
    int fd, result = socket_listen(&fd, &address, 1, error);

    if (result == 0) {
        *ret_port = port_of(fd);
        ignore(close(fd));
    }
    return result;
}

static int choose_web_port(struct workspace *workspace, uint16_t wanted, struct error *error)
{
    struct address address = loopback(wanted != 0 ? wanted : DEMO_PORT_DEFAULT);

    workspace->web_port = address_port(&address);
    if (is_free(&address))
        return 0;
    if (wanted != 0)
        return error_set(
            error, ERROR_IO,
            "port %u is in use; choose another with --port, or leave the choice to the demo",
            wanted);
    return any_port(&workspace->web_port, error);
}

static int choose_ports(struct workspace *workspace, uint16_t wanted, struct error *error)
{
    struct address any = loopback(0);
    int result = choose_web_port(workspace, wanted, error);

    for (int i = 0; i < DEMO_VERSION_COUNT && result == 0; i++)
        result = any_port(&workspace->echo_ports[i], error);
    if (result == 0)
        result = any_port(&workspace->guest_port, error);
    if (result == 0)
        result = socket_listen(&workspace->web_fd, &any, BACKLOG, error);
    if (result == 0)
        result = socket_listen(&workspace->echo_fd, &any, BACKLOG, error);
    /* Browsers try ::1 first when they are sent to localhost. */
    struct address address6 = loopback6(workspace->web_port);
    workspace->web_too_on_6 = result == 0 && is_free(&address6);
    return result;
}

static int print_config(const struct workspace *workspace, bool guest, FILE *file)
{
    char bind[96], listener[sizeof listener_text + 8] = "";

    ignore(snprintf(bind, sizeof bind,
                    workspace->web_too_on_6 ? "\"127.0.0.1:%u\", \"[::1]:%u\"" : "\"127.0.0.1:%u\"",
                    workspace->web_port, workspace->web_port));
    if (guest)
        ignore(snprintf(listener, sizeof listener, listener_text, workspace->guest_port));
    return fprintf(file, config_text, workspace->folder, bind, workspace->echo_ports[DEMO_TLS_1_2],
                   workspace->echo_ports[DEMO_TLS_1_3], port_of(workspace->web_fd),
                   port_of(workspace->echo_fd), listener);
}

int workspace_configure(const struct workspace *workspace, bool guest, struct error *error)
{
    char path[sizeof workspace->config + 8];

    ignore(snprintf(path, sizeof path, "%s.new", workspace->config));
    FILE *file = fopen(path, "we");
    bool written = file != NULL && print_config(workspace, guest, file) > 0;
    if (file != NULL && fclose(file) != 0)
        written = false;
    if (!written || rename(path, workspace->config) != 0)
        return error_set(error, ERROR_IO, "cannot write %s: %s", workspace->config,
                         strerror(errno));
    return 0;
}

static int make_folder(struct workspace *workspace, struct error *error)
{
    const char *base = getenv("TMPDIR");
    int size = snprintf(workspace->folder, sizeof workspace->folder, "%s/holdfast-demo-XXXXXX",
                        base != NULL ? base : "/tmp");

    if (size < 0 || (size_t)size >= sizeof workspace->folder ||
        mkdtemp(workspace->folder) == NULL) {
        workspace->folder[0] = '\0';
        return error_set(error, ERROR_IO, "cannot make a folder in %s: %s",
                         base != NULL ? base : "/tmp", strerror(errno));
    }
    ignore(snprintf(workspace->config, sizeof workspace->config, "%s/holdfast.conf",
                    workspace->folder));
    ignore(
        snprintf(workspace->program, sizeof workspace->program, "%s/holdfast", workspace->folder));
    ignore(snprintf(workspace->log, sizeof workspace->log, "%s/edge.log", workspace->folder));
    ignore(snprintf(workspace->trust, sizeof workspace->trust, "%s/state/internal-ca.pem",
                    workspace->folder));
    ignore(snprintf(workspace->ready, sizeof workspace->ready, "%s/ready", workspace->folder));
    return 0;
}

static int open_files(struct workspace *workspace, struct error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    workspace->log_fd = open(workspace->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    workspace->ready_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (workspace->log_fd < 0 || workspace->ready_fd < 0 ||
        !string_copy(address.sun_path, sizeof address.sun_path, workspace->ready) ||
        bind(workspace->ready_fd, (struct sockaddr *)&address, sizeof address) != 0)
        return error_set(error, ERROR_IO, "cannot use %s: %s", workspace->folder, strerror(errno));
    return 0;
}

/* A copy of its own, so that an upgrade takes the very same program even when the original is
 * rebuilt meanwhile, or lies where others may write and an upgrade would refuse it. Where nothing
 * in a temporary folder may be executed, the original must do. */
static int copy_program(struct workspace *workspace, struct error *error)
{
    int from = open(PROGRAM, O_RDONLY | O_CLOEXEC);
    int to = open(workspace->program, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    ssize_t size = -1;

    /* Processes of the edge that run as another user execute it by its descriptor. */
    if (from >= 0 && to >= 0 && fchmod(to, 0755) == 0) {
        while ((size = sendfile(to, from, NULL, COPY_CHUNK)) > 0)
            continue;
    }
    int result = size == 0 ? 0
                           : error_set(error, ERROR_IO, "cannot copy the program to %s: %s",
                                       workspace->program, strerror(errno));
    if (from >= 0)
        ignore(close(from));
    if (to >= 0)
        ignore(close(to));
    if (result == 0 && access(workspace->program, X_OK) != 0)
        ignore(string_copy(workspace->program, sizeof workspace->program, PROGRAM));
    return result;
}

int workspace_init(struct workspace *workspace, uint16_t port, struct error *error)
{
    *workspace = (struct workspace){.web_fd = -1, .echo_fd = -1, .log_fd = -1, .ready_fd = -1};
    int result = make_folder(workspace, error);
    if (result == 0)
        result = open_files(workspace, error);
    if (result == 0)
        result = copy_program(workspace, error);
    if (result == 0)
        result = choose_ports(workspace, port, error);
    if (result == 0)
        result = workspace_configure(workspace, false, error);
    return result;
}

void workspace_is_ready(struct workspace *workspace)
{
    ignore(close(workspace->ready_fd));
    workspace->ready_fd = -1;
}

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *place)
{
    (void)facts, (void)kind, (void)place;
    ignore(remove(path));
    return 0;
}

void workspace_fini(struct workspace *workspace)
{
    const int fds[] = {workspace->web_fd, workspace->echo_fd, workspace->log_fd,
                       workspace->ready_fd};

    if (workspace->folder[0] == '\0')
        return;
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        if (fds[i] >= 0)
            ignore(close(fds[i]));
    }
    ignore(nftw(workspace->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS));
}
