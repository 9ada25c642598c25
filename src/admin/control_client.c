#include "admin/control_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/server.h"
#include "base/json.h"
#include "base/table.h"
#include "conf/conf.h"

#define SOCKET_NAME   "control.sock"
#define ANSWER_MAX    (16u << 20) /* one line */
#define PATH_TEXT_MAX 4096

int client_option(struct client_options *options, int option, const char *usage)
{
    switch (option) {
    case 'c':
        options->config_path = optarg;
        return -1;
    case CLIENT_OPTION_SOCKET:
        options->socket_path = optarg;
        return -1;
    case CLIENT_OPTION_JSON:
        options->json = true;
        return -1;
    case 'h':
        fputs(usage, stdout);
        return 0;
    default:
        fputs("See its --help\n", stderr); /* getopt has said what is wrong */
        return 2;
    }
}

int client_options(struct client_options *options, int argc, char **argv, const char *usage)
{
    static const struct option long_options[] = {CLIENT_LONG_OPTIONS, {0}};
    int option, code = -1;

    while (code < 0 &&
           (option = getopt_long(argc, argv, CLIENT_SHORT_OPTIONS, long_options, NULL)) != -1)
        code = client_option(options, option, usage);
    return code;
}

int client_no_words(const char *verb, int argc, char **argv)
{
    if (optind >= argc)
        return -1;
    fprintf(stderr, "holdfast %s: takes no argument, found \"%s\"; see --help\n", verb,
            argv[optind]);
    return 2;
}

/* The state folder that a text means which cannot be parsed whole: its daemon may well be running,
 * with what the file said before. */
static void guess_state_folder(const char *text, char *folder, size_t size)
{
    static const char option[] = "state-folder";

    ignore(snprintf(folder, size, "/var/lib/holdfast"));
    for (const char *line = text; *line != '\0';
         line += strcspn(line, "\n"), line += *line != '\0') {
        const char *at = line + strspn(line, " \t");
        if (strncmp(at, option, sizeof option - 1) != 0)
            continue;
        at += sizeof option - 1;
        at += strspn(at, " \t=\"'");
        int length = (int)strcspn(at, "\"'#\n \t");
        if (length > 0 && at[0] == '/')
            ignore(snprintf(folder, size, "%.*s", length, at));
    }
}

static int socket_path(char *path, size_t size, const struct client_options *options,
                       struct error *error)
{
    const char *file = options->config_path != NULL ? options->config_path : CONF_PATH_DEFAULT;
    struct conf *conf = NULL;
    char *text = NULL, folder[PATH_TEXT_MAX];
    int length;

    if (options->socket_path != NULL) {
        length = snprintf(path, size, "%s", options->socket_path);
    } else {
        if (conf_read(&text, file, error) < 0)
            return error_prepend(error, "cannot find the daemon by its configuration (name it with "
                                        "-c FILE, or its socket with --socket PATH)");
        if (conf_parse(&conf, file, text, NULL, NULL, NULL) == 0)
            ignore(snprintf(folder, sizeof folder, "%s", conf->state_folder));
        else
            guess_state_folder(text, folder, sizeof folder);
        free(text);
        conf_free(conf);
        length = snprintf(path, size, "%s/" SOCKET_NAME, folder);
    }
    return length > 0 && (size_t)length < size
               ? 0
               : error_set(error, ERROR_USAGE, "the path of the control socket is too long");
}

/* Paths beyond the 107 bytes of a socket address are reached through their folder's descriptor. */
static int connect_path(int fd, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char folder[PATH_TEXT_MAX];
    int folder_fd = -1;

    if (strlen(path) < sizeof address.sun_path) {
        memcpy(address.sun_path, path, strlen(path) + 1);
    } else {
        const char *slash = strrchr(path, '/');
        ignore(snprintf(folder, sizeof folder, "%.*s", slash == NULL ? 1 : (int)(slash - path),
                        slash == NULL ? "." : path));
        folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (folder_fd < 0)
            return -1;
        if (snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder_fd,
                     slash == NULL ? path : slash + 1) >= (int)sizeof address.sun_path) {
            close(folder_fd);
            errno = ENAMETOOLONG;
            return -1;
        }
    }
    int result = connect(fd, (const struct sockaddr *)(const void *)&address, sizeof address);
    int code = errno;
    if (folder_fd >= 0)
        close(folder_fd);
    errno = code;
    return result;
}

static int connect_error(const char *path, int code, struct error *error)
{
    switch (code) {
    case ENOENT:
        return error_set(
            error, ERROR_IO,
            "no daemon runs here: there is no %s; start one with `holdfast run -c FILE`", path);
    case ECONNREFUSED:
        return error_set(error, ERROR_IO,
                         "no daemon listens on %s any more; start it with `holdfast run -c FILE`",
                         path);
    case EACCES:
    case EPERM:
        return error_set(error, ERROR_IO,
                         "not allowed to use %s; run this as root or as the user of the daemon",
                         path);
    default:
        return error_set(error, ERROR_IO, "cannot connect to %s: %s", path, strerror(code));
    }
}

static int send_request(int fd, const char *text, size_t size, const int *fds, size_t fd_count,
                        struct error *error)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(CONTROL_FDS_MAX * sizeof(int))];
    } control;

    memset(&control, 0, sizeof control);
    while (size > 0) {
        struct iovec part = {.iov_len = size};
        struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
        memcpy(&part.iov_base, &text, sizeof text);
        if (fd_count > 0) {
            header.msg_control = &control;
            header.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
            control.header.cmsg_level = SOL_SOCKET;
            control.header.cmsg_type = SCM_RIGHTS;
            control.header.cmsg_len = CMSG_LEN(fd_count * sizeof(int));
            memcpy(CMSG_DATA(&control.header), fds, fd_count * sizeof(int));
        }
        ssize_t sent = sendmsg(fd, &header, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        /* The daemon may refuse early and close; its answer says why. */
        if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
            return 0;
        if (sent < 0)
            return error_set(error, ERROR_IO, "cannot send the request: %s", strerror(errno));
        text += sent;
        size -= (size_t)sent;
        fd_count = 0;
    }
    return 0;
}

int client_open(struct client *ret_client, const struct client_options *options, json_t *request,
                const int *fds, size_t fd_count, struct error *error)
{
    struct client client = {.fd = -1};
    struct buffer text;
    char path[PATH_TEXT_MAX];

    buffer_init(&text, CONTROL_REQUEST_MAX);
    buffer_init(&client.input, ANSWER_MAX);
    int result = fd_count > CONTROL_FDS_MAX || !json_line(request, &text)
                     ? error_set(error, ERROR_USAGE, "the request is too long")
                     : socket_path(path, sizeof path, options, error);
    if (result == 0) {
        client.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (client.fd < 0)
            result = error_set(error, ERROR_IO, "cannot make a socket: %s", strerror(errno));
        else if (connect_path(client.fd, path) != 0)
            result = connect_error(path, errno, error);
        else
            result =
                send_request(client.fd, (const char *)text.data, text.size, fds, fd_count, error);
    }
    buffer_fini(&text);
    if (result < 0)
        client_close(&client);
    else
        *ret_client = client;
    return result;
}

static int carry_error(const json_t *facts, struct error *error)
{
    enum error_code code = error_from_name(client_text(facts, "code"));

    return error_set(error, code != ERROR_NONE ? code : ERROR_INTERNAL, "%s",
                     client_text(facts, "message"));
}

static int take_line(struct client *client, size_t size, json_t **ret_line, struct error *error)
{
    json_error_t reason;
    json_t *line = json_loadb((const char *)client->input.data, size, 0, &reason);
    const json_t *facts = json_object_get(line, "error");
    int result = 1;

    buffer_consume(&client->input, size + 1);
    client->taken = 0;
    if (line == NULL)
        return error_set(error, ERROR_PROTOCOL, "the daemon's answer is not JSON: %s", reason.text);
    if (facts != NULL)
        result = carry_error(facts, error);
    else if (client_flag(line, "done"))
        result = 0;
    else
        *ret_line = json_incref(line);
    json_decref(line);
    return result;
}

int client_next(struct client *client, json_t **ret_line, struct error *error)
{
    for (;;) {
        const uint8_t *from = client->input.data + client->taken;
        const uint8_t *end = client->input.size > client->taken
                                 ? memchr(from, '\n', client->input.size - client->taken)
                                 : NULL;
        if (end != NULL)
            return take_line(client, (size_t)(end - client->input.data), ret_line, error);
        client->taken = client->input.size;
        uint8_t *place = buffer_reserve(&client->input, 65536);
        if (place == NULL)
            return error_set(error, ERROR_PROTOCOL, "a line of the daemon's answer is too long");
        ssize_t size = read(client->fd, place, 65536);
        if (size > 0)
            client->input.size += (size_t)size;
        else if (size == 0)
            return error_set(error, ERROR_IO,
                             "the daemon ended the connection before its answer was complete");
        else if (errno != EINTR)
            return error_set(error, ERROR_IO, "cannot read the daemon's answer: %s",
                             strerror(errno));
    }
}

void client_close(struct client *client)
{
    if (client->fd > 0)
        close(client->fd);
    buffer_fini(&client->input);
    *client = (struct client){.fd = -1};
}

int client_fail(const char *verb, const struct error *error)
{
    fprintf(stderr, "holdfast %s: %s\n", verb, error->message);
    return error_exit_code(error);
}

void client_print_json(FILE *stream, const json_t *object)
{
    ignore(json_dumpf(object, stream, JSON_COMPACT));
    fputc('\n', stream);
    ignore(fflush(stream));
}

void client_print_line(void *context, json_t *line)
{
    (void)context;
    client_print_json(stdout, line);
}

int client_each(const char *verb, const struct client_options *options, json_t *request,
                client_line_fn *fn, void *context)
{
    struct error error = {.code = ERROR_NONE};
    struct client client = {.fd = -1};
    json_t *line = NULL;
    int result = client_open(&client, options, request, NULL, 0, &error);

    /* What nobody can read is not followed: main() says so. */
    while (result >= 0 && !ferror(stdout) && (result = client_next(&client, &line, &error)) > 0) {
        fn(context, line);
        json_decref(line);
    }
    client_close(&client);
    return result < 0 ? client_fail(verb, &error) : 0;
}

int client_list(const char *verb, const struct client_options *options, json_t *request,
                const char *const *headings, client_line_fn *fn, const char *none)
{
    struct table table;

    if (options->json)
        return client_each(verb, options, request, client_print_line, NULL);
    table_init(&table, headings);
    int code = client_each(verb, options, request, fn, &table);
    table_print(&table, stdout);
    if (code == 0 && none != NULL && table_rows(&table) == 0)
        puts(none);
    table_fini(&table);
    return code;
}

int client_set_number(json_t *request, const char *key, uint64_t number)
{
    return json_object_set_new(request, key, json_integer((json_int_t)number));
}

int client_set_text(json_t *request, const char *key, const char *text, size_t size,
                    struct error *error)
{
    json_t *value = json_stringn(text, size);

    return value != NULL && json_object_set_new(request, key, value) == 0
               ? 0
               : error_set(error, ERROR_USAGE, "--%s: not a text in UTF-8", key);
}

const char *client_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

const char *client_or_dash(const char *text)
{
    return text[0] == '\0' ? "-" : text;
}

uint64_t client_number(const json_t *object, const char *key)
{
    json_int_t number = json_integer_value(json_object_get(object, key));
    return number > 0 ? (uint64_t)number : 0;
}

bool client_flag(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

int client_duration(uint64_t *ret_ms, const char *text, struct error *error)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1},      {"s", 1000},    {"", 1000},      {"m", 60000},
                 {"min", 60000}, {"h", 3600000}, {"d", 86400000}, {"w", 604800000}};
    char *end;

    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    for (size_t i = 0; end != text && text[0] != '-' && errno == 0 && i < ARRAY_SIZE(units); i++) {
        if (strcmp(end, units[i].unit) == 0 && number <= UINT64_MAX / 1000000 / units[i].ms) {
            *ret_ms = number * units[i].ms;
            return 0;
        }
    }
    return error_set(error, ERROR_USAGE, "\"%s\" is no duration; write 90s, 15min, 2h or 3d", text);
}

int client_count(uint64_t *ret_number, const char *text, uint64_t maximum, struct error *error)
{
    char *end;

    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || text[0] == '-' || errno != 0 || number > maximum)
        return error_set(error, ERROR_USAGE, "\"%s\" is not a number from 0 to %llu", text,
                         (unsigned long long)maximum);
    *ret_number = number;
    return 0;
}
