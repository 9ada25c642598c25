/* admin/server.h over a real socket: malformed, oversized and slow clients first. The server runs
 * in a child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/control_client.h"
#include "admin/server.h"
#include "base/json.h"

#define FLOOD_LINES 20000

static char folder[] = "/tmp/test-server-XXXXXX";
static char path[64];
static pid_t child;

/* ---- verbs of the child ---- */

static int echo_begin(struct control_request *request, const json_t *object, struct error *error)
{
    char text[64] = "";
    bool wrong = false;
    const char *what = json_get_text(object, "text", &wrong);

    if (wrong || what == NULL)
        return error_set(error, ERROR_NOT_FOUND, "no text");
    json_t *line = json_object();
    json_set_text(line, "text", what);
    json_set_number(line, "descriptors", request->fd_count);
    if (request->fd_count > 0 && read(request->fds[0], text, sizeof text - 1) > 0)
        json_set_text(line, "content", text);
    request_write(request, line);
    return 0;
}

static int flood_begin(struct control_request *request, const json_t *object, struct error *error)
{
    (void)request, (void)object, (void)error;
    return 0;
}

static enum verb_progress flood_pump(struct control_request *request, struct error *error)
{
    uint32_t *sent = request->state;
    (void)error;

    while (request_has_room(request)) {
        if (*sent == FLOOD_LINES)
            return VERB_DONE;
        json_t *line = json_object();
        json_set_number(line, "number", (*sent)++);
        if (!request_write(request, line))
            return VERB_FAILED;
    }
    return VERB_AGAIN;
}

static enum verb_progress fail_pump(struct control_request *request, struct error *error)
{
    (void)request;
    error_set(error, ERROR_CERTIFICATE_EXPIRED, "too late");
    return VERB_FAILED;
}

static enum verb_progress wait_pump(struct control_request *request, struct error *error)
{
    (void)request, (void)error;
    return VERB_WAITING;
}

static const struct control_verb verb_echo = {.name = "echo", .begin = echo_begin};
static const struct control_verb verb_flood = {
    .name = "flood", .state_size = sizeof(uint32_t), .begin = flood_begin, .pump = flood_pump};
static const struct control_verb verb_fail = {
    .name = "fail", .begin = flood_begin, .pump = fail_pump};
static const struct control_verb verb_wait = {
    .name = "wait", .begin = flood_begin, .pump = wait_pump};
static const struct control_verb *const verbs[] = {&verb_echo, &verb_flood, &verb_fail, &verb_wait,
                                                   NULL};

static int connect_here(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path, path, strlen(path) + 1);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static int start(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)state;

    signal(SIGPIPE, SIG_IGN);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/control.sock", folder);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listening, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listening, 64), 0);
    child = fork();
    if (child == 0) {
        struct loop *loop = loop_new();
        _exit(loop == NULL || server_new(loop, listening, 0, verbs, NULL) == NULL ? 1
                                                                                  : loop_run(loop));
    }
    close(listening);
    return 0;
}

static int finish(void **state)
{
    int status;
    (void)state;

    assert_int_equal(waitpid(child, &status, WNOHANG), 0); /* it survived all that */
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    unlink(path);
    rmdir(folder);
    return 0;
}

/* Sends bytes as they are and returns the answer, in static storage. */
static const char *exchange(const void *bytes, size_t size, bool half_close)
{
    static char answer[8192];
    size_t have = 0;
    ssize_t part;
    int fd = connect_here();

    for (size_t sent = 0; sent < size;) {
        part = send(fd, (const char *)bytes + sent, size - sent, MSG_NOSIGNAL);
        if (part <= 0)
            break; /* refused early; the answer says why */
        sent += (size_t)part;
    }
    if (half_close)
        shutdown(fd, SHUT_WR);
    while (have < sizeof answer - 1 &&
           (part = read(fd, answer + have, sizeof answer - 1 - have)) > 0)
        have += (size_t)part;
    answer[have] = '\0';
    close(fd);
    return answer;
}

static const char *ask(const char *text)
{
    return exchange(text, strlen(text), false);
}

static void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        print_error("found: %.500s\n", text);
    assert_non_null(strstr(text, part));
}

static void malformed_requests_are_answered_with_an_error(void **state)
{
    static const char *const requests[] = {
        "\n",
        "{\n",
        "nonsense\n",
        "[]\n",
        "{}\n",
        "{\"verb\":5}\n",
        "{\"verb\":null}\n",
        "{\"verb\":\"\\u0000echo\"}\n",
        "{\"verb\":\"no-such\"}\n",
        "{\"verb\":\"echo\",\"verb\":\"echo\"}\n",
        "\xff\xfe{\"verb\":\"echo\"}\n",
        "{\"verb\":\"echo\",\"text\":7}\n",
        "{\"verb\":\"echo\"} trailing\n",
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        const char *answer = ask(requests[i]);
        assert_contains(answer, "{\"error\":{\"code\":");
        assert_int_equal(answer[strlen(answer) - 1], '\n');
    }
    static const char zeros[100] = "";
    assert_contains(exchange(zeros, sizeof zeros, true), "\"error\"");
    assert_string_equal(exchange("", 0, true), "");
}

static void oversized_requests_are_refused(void **state)
{
    size_t size = CONTROL_REQUEST_MAX + 8192;
    char *request = malloc(size);
    (void)state;

    memset(request, ' ', size);
    assert_contains(exchange(request, size, false), "\"code\":\"limit\"");
    memset(request, '[', size);
    request[60000] = '\n'; /* as deep as it can be made */
    assert_contains(exchange(request, 60001, false), "\"code\":\"protocol\"");
    free(request);
}

static void requests_in_pieces_and_without_newline_work(void **state)
{
    int fd = connect_here();
    char answer[256];
    (void)state;

    for (const char *at = "{\"verb\":\"echo\",\"text\":\"x\"}\n"; *at != '\0'; at++)
        assert_int_equal(send(fd, at, 1, 0), 1);
    assert_true(read(fd, answer, sizeof answer) > 0);
    close(fd);
    const char *request = "{\"verb\":\"echo\",\"text\":\"y\"}";
    assert_string_equal(exchange(request, strlen(request), true),
                        "{\"text\":\"y\",\"descriptors\":0}\n{\"done\":true}\n");
}

static void errors_keep_their_code_and_class(void **state)
{
    struct client_options options = {.socket_path = path};
    struct error error = {.code = ERROR_NONE};
    struct client client;
    json_t *line;
    (void)state;

    assert_int_equal(
        client_open(&client, &options, json_pack("{s:s}", "verb", "fail"), NULL, 0, &error), 0);
    assert_true(client_next(&client, &line, &error) < 0);
    assert_int_equal(error.code, ERROR_CERTIFICATE_EXPIRED);
    assert_int_equal(error_exit_code(&error), 6);
    assert_string_equal(error.message, "too late");
    client_close(&client);
    options.socket_path = "/nonexistent/control.sock";
    assert_true(
        client_open(&client, &options, json_pack("{s:s}", "verb", "fail"), NULL, 0, &error) < 0);
    assert_contains(error.message, "holdfast run");
    assert_int_equal(error_exit_code(&error), 3);
}

static void descriptors_come_along(void **state)
{
    struct client_options options = {.socket_path = path};
    struct error error;
    struct client client;
    json_t *line;
    int fds[2];
    (void)state;

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "secret", 6), 6);
    assert_int_equal(client_open(&client, &options,
                                 json_pack("{s:s,s:s}", "verb", "echo", "text", "t"), fds, 1,
                                 &error),
                     0);
    assert_int_equal(client_next(&client, &line, &error), 1);
    assert_string_equal(client_text(line, "content"), "secret");
    json_decref(line);
    assert_int_equal(client_next(&client, &line, &error), 0);
    client_close(&client);
    close(fds[0]);
    close(fds[1]);
}

static void a_long_answer_to_a_slow_reader_is_complete(void **state)
{
    struct client_options options = {.socket_path = path};
    struct error error = {.code = ERROR_NONE};
    struct client slow, fast;
    json_t *line;
    int result;
    (void)state;

    /* The first reader takes nothing until the second, which comes later, has its whole answer. */
    assert_int_equal(
        client_open(&slow, &options, json_pack("{s:s}", "verb", "flood"), NULL, 0, &error), 0);
    assert_int_equal(
        client_open(&fast, &options, json_pack("{s:s}", "verb", "flood"), NULL, 0, &error), 0);
    struct client *const readers[] = {&fast, &slow};
    for (size_t i = 0; i < 2; i++) {
        uint64_t expected = 0;
        while ((result = client_next(readers[i], &line, &error)) > 0) {
            assert_int_equal(client_number(line, "number"), expected++);
            json_decref(line);
        }
        assert_int_equal(result, 0);
        assert_int_equal(expected, FLOOD_LINES);
        client_close(readers[i]);
    }
}

static void more_clients_than_places_wait_their_turn(void **state)
{
    int fds[CONTROL_CLIENTS_MAX];
    char answer[256];
    (void)state;

    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        fds[i] = connect_here();
        assert_true(send(fds[i], "{\"verb\":\"wait\"}\n", 16, 0) == 16);
    }
    int late = connect_here();
    assert_true(send(late, "{\"verb\":\"echo\",\"text\":\"z\"}\n", 27, 0) == 27);
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
        close(fds[i]);
    assert_true(read(late, answer, sizeof answer) > 0);
    close(late);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_requests_are_answered_with_an_error),
        cmocka_unit_test(oversized_requests_are_refused),
        cmocka_unit_test(requests_in_pieces_and_without_newline_work),
        cmocka_unit_test(errors_keep_their_code_and_class),
        cmocka_unit_test(descriptors_come_along),
        cmocka_unit_test(a_long_answer_to_a_slow_reader_is_complete),
        cmocka_unit_test(more_clients_than_places_wait_their_turn),
    };
    return cmocka_run_group_tests(tests, start, finish);
}
